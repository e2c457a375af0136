"""What the tests of CDS Hooks share: charts and orders as a client sends them, and our own schema of the answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema_rs

SCHEMA = json.loads((Path(__file__).parent / "cds_hooks.schema.json").read_text())
RXNORM, SNOMED = "http://www.nlm.nih.gov/research/umls/rxnorm", "http://snomed.info/sct"
LOINC = "http://loinc.org"
CALL = "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
VIEW, SELECT, SIGN = "treatment-suggestions", "order-select-check", "order-sign-check"
HOOK = {VIEW: "patient-view", SELECT: "order-select", SIGN: "order-sign"}
_VALIDATOR = {
    name: jsonschema_rs.validator_for({**SCHEMA, "$ref": f"#/$defs/{name}"}) for name in ("answer", "discovery")
}


def whole(answer: Any, kind: str = "answer") -> Any:
    """The answer, after it was held against our schema: with no null and no empty value anywhere."""
    _VALIDATOR[kind].validate(answer)

    def walk(value: Any, path: str) -> None:
        assert value not in (None, "", {}) and (value != [] or path == ".cards"), path
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, part in parts:
            walk(part, f"{path}.{name}")

    walk(answer, "")
    return answer


def coded(system: str, code: str, display: str = "") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, **({"display": display} if display else {})}]}


def drug(code: str, name: str = "") -> dict[str, Any]:
    return {"medicationCodeableConcept": coded(RXNORM, code, name)}


def of(kind: str, **told: Any) -> dict[str, Any]:
    who = "patient" if kind == "AllergyIntolerance" else "subject"
    return {"resourceType": kind, who: {"reference": "Patient/p1"}, **told}


def order(what: dict[str, Any], **told: Any) -> dict[str, Any]:
    return of("MedicationRequest", status="active", intent="order", **what, **told)


def draft(id_: str, what: dict[str, Any], **told: Any) -> dict[str, Any]:
    return of("MedicationRequest", id=id_, status="draft", intent="order", **what, **told)


def bundle(*resources: dict[str, Any], kind: str = "searchset") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"resource": one} for one in resources]}


def born(years: float) -> str:
    return (datetime.now(UTC) - timedelta(days=years * 365.25)).date().isoformat()


def value(code: str, number: float, days: int = 1, **more: Any) -> dict[str, Any]:
    day = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    quantity = {"valueQuantity": {"value": number}}
    return of("Observation", status="final", code=coded(LOINC, code), effectiveDateTime=day, **quantity, **more)


PATIENT = {"resourceType": "Patient", "id": "p1", "birthDate": born(69.5), "gender": "male"}
NOTHING = {  # a chart that tells everything, and that there is nothing
    "patient": PATIENT, "conditions": bundle(), "medicationRequests": bundle(), "medicationStatements": bundle(),
    "allergies": bundle(), "observations": bundle(),
}  # fmt: skip
PENICILLIN = of("AllergyIntolerance", code=coded(SNOMED, "91936005", "allergy to penicillin"))
WARFARIN, IBUPROFEN, AMOXICILLIN = drug("11289", "warfarin"), drug("5640", "ibuprofen"), drug("723", "amoxicillin")
METFORMIN, ASPIRIN = drug("6809", "metformin"), drug("1191", "aspirin")
ACETAMINOPHEN = drug("161", "acetaminophen")


def call(service: str, prefetch: Any = NOTHING, *drafts: dict[str, Any], patient: str = "p1", **context: Any) -> Any:
    """A hook's call, whole; all drafts are selected."""
    about: dict[str, Any] = {"userId": "Practitioner/abc", "patientId": patient, **context}
    if service in (SELECT, SIGN):
        about = {"draftOrders": bundle(*drafts, kind="collection"), **about}
    if service == SELECT:
        about = {"selections": [f"MedicationRequest/{one.get('id')}" for one in drafts], **about}
    told = {"prefetch": prefetch} if prefetch is not None else {}
    return {"hook": HOOK[service], "hookInstance": CALL, "context": about, **told}

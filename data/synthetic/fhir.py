"""In: the tables of a block as `Export` makes them; out: the same people as FHIR R4 resources, in bulk NDJSON.

Every row becomes one resource, cell for cell, so whatever is in the CSV is here too, dirt included. The resources have
what their US Core profiles ask for of such data, and ids that depend on the seed and the row alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from data.synthetic import text

Json = dict[str, Any]
Row = dict[str, Any]

RXNORM, SNOMED = "http://www.nlm.nih.gov/research/umls/rxnorm", "http://snomed.info/sct"
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
HL7 = "http://terminology.hl7.org/CodeSystem/"
US_CORE = "http://hl7.org/fhir/us/core/"
OMB = "urn:oid:2.16.840.1.113883.6.238"
RACES = {
    "white": ("2106-3", "White"),
    "black": ("2054-5", "Black or African American"),
    "asian": ("2028-9", "Asian"),
    "native": ("1002-5", "American Indian or Alaska Native"),
    "hawaiian": ("2076-8", "Native Hawaiian or Other Pacific Islander"),
    "other": ("2131-1", "Other Race"),
}
ETHNICITIES = {"hispanic": ("2135-2", "Hispanic or Latino"), "nonhispanic": ("2186-5", "Not Hispanic or Latino")}
CLASSES = {"emergency": ("EMER", "emergency"), "inpatient": ("IMP", "inpatient encounter")}
SYSTEMS = {"RxNorm": RXNORM, "SNOMED-CT": SNOMED}
KEYS = {"medications": 6, "conditions": 7, "allergies": 8, "procedures": 9, "observations": 10}  # after export.KEYS
EXPORTED = "2026-11-01T00:00:00Z"  # when the data end


def resources(tables: dict[str, pa.Table], seed: int, number: int) -> dict[str, tuple[int, bytes]]:
    """Resource type -> how many and their NDJSON. `seed` and block `number` give ids to rows that have none."""
    found: dict[str, tuple[int, bytes]] = {}
    for name, (kind, build) in BUILDERS.items():
        rows = tables[name].to_pylist()
        if name in KEYS:
            place = np.arange(len(rows), dtype=np.uint64) + np.uint64(number << 32)
            for row, own in zip(rows, text.uuids(seed * 16 + KEYS[name], place).to_pylist(), strict=True):
                row["Id"] = own
        lines = (
            orjson.dumps({"resourceType": kind, "id": row["Id"], **_told(build(row))}, option=orjson.OPT_APPEND_NEWLINE)
            for row in rows
        )
        found[kind] = (len(rows), b"".join(lines))
    return found


def manifest(rows: dict[str, int]) -> bytes:
    """What a bulk export says of itself; `rows`: how many resources of each type."""
    output = [{"type": kind, "url": file_name(kind), "count": count} for kind, count in rows.items() if count]
    told = {"transactionTime": EXPORTED, "request": "$export", "requiresAccessToken": False, "output": output}
    return orjson.dumps({**told, "deleted": [], "error": []}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def file_name(kind: str) -> str:
    return f"{kind}.000.ndjson"


def _told(value: Any) -> Any:
    """Without what is None or empty: FHIR has no null."""
    if isinstance(value, dict):
        return {name: kept for name, part in value.items() if (kept := _told(part)) not in (None, {}, [])}
    return [_told(part) for part in value] if isinstance(value, list) else value


def _concept(system: str, code: str | None, name: str | None) -> Json:
    return {"coding": [{"system": system, "code": code, "display": name}] if code else [], "text": name}


def _coded(system: str, code: str) -> Json:
    return {"coding": [{"system": system, "code": code}]}


def _of(row: Row, subject: str = "subject") -> Json:
    return {
        subject: {"reference": f"Patient/{row['PATIENT']}"},
        "encounter": {"reference": f"Encounter/{row['ENCOUNTER']}"},
    }


def _reason(row: Row) -> list[Json]:
    return [_concept(SNOMED, row["REASONCODE"], row["REASONDESCRIPTION"])] if row["REASONCODE"] else []


def _omb(name: str, code: tuple[str, str]) -> Json:
    category = {"url": "ombCategory", "valueCoding": {"system": OMB, "code": code[0], "display": code[1]}}
    return {
        "url": f"{US_CORE}StructureDefinition/us-core-{name}",
        "extension": [category, {"url": "text", "valueString": code[1]}],
    }


def _patient(row: Row) -> Json:
    return {
        "extension": [_omb("race", RACES[row["RACE"]]), _omb("ethnicity", ETHNICITIES[row["ETHNICITY"]])],
        "name": [
            {
                "use": "official",
                "family": row["LAST"],
                "given": [row["FIRST"]],
                "prefix": [row["PREFIX"]] if row["PREFIX"] else [],
            }
        ],
        "gender": {"F": "female", "M": "male"}[row["GENDER"]],
        "birthDate": row["BIRTHDATE"],
        "deceasedDateTime": row["DEATHDATE"],
        "address": [{"city": row["CITY"], "state": row["STATE"], "postalCode": row["ZIP"], "country": "US"}],
    }


def _encounter(row: Row) -> Json:
    code, display = CLASSES.get(row["ENCOUNTERCLASS"], ("AMB", "ambulatory"))
    return {
        "status": "finished",
        "class": {"system": f"{HL7}v3-ActCode", "code": code, "display": display},
        "type": [_concept(SNOMED, row["CODE"], row["DESCRIPTION"])],
        "subject": {"reference": f"Patient/{row['PATIENT']}"},
        "period": {"start": row["START"], "end": row["STOP"]},
        "reasonCode": _reason(row),
        "serviceProvider": {"identifier": {"value": row["ORGANIZATION"]}},
    }


def _medication_request(row: Row) -> Json:
    return {
        "status": "completed" if row["STOP"] else "active",
        "intent": "order",
        "medicationCodeableConcept": _concept(RXNORM, row["CODE"], row["DESCRIPTION"]),
        **_of(row),
        "authoredOn": row["START"],
        "reasonCode": _reason(row),
        "dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": {"start": row["START"], "end": row["STOP"]}}}}],
    }


def _condition(row: Row) -> Json:
    return {
        "clinicalStatus": _coded(f"{HL7}condition-clinical", "resolved" if row["STOP"] else "active"),
        "verificationStatus": _coded(f"{HL7}condition-ver-status", "confirmed"),
        "category": [_coded(f"{HL7}condition-category", "encounter-diagnosis")],
        "code": _concept(SNOMED, row["CODE"], row["DESCRIPTION"]),
        **_of(row),
        "onsetDateTime": row["START"],
        "abatementDateTime": row["STOP"],
        "recordedDate": row["START"],
    }


def _allergy(row: Row) -> Json:
    manifestation = [_concept(SNOMED, row["REACTION1"], row["DESCRIPTION1"])] if row["REACTION1"] else []
    severity = row["SEVERITY1"] and row["SEVERITY1"].lower()
    return {
        "clinicalStatus": _coded(f"{HL7}allergyintolerance-clinical", "active"),
        "verificationStatus": _coded(f"{HL7}allergyintolerance-verification", "confirmed"),
        "type": row["TYPE"],
        "category": [row["CATEGORY"]],
        "code": _concept(SYSTEMS[row["SYSTEM"]], row["CODE"], row["DESCRIPTION"]),
        **_of(row, "patient"),
        "recordedDate": row["START"],
        "reaction": [{"manifestation": manifestation, "severity": severity}] if manifestation else [],
    }


def _procedure(row: Row) -> Json:
    return {
        "status": "completed",
        "code": _concept(SNOMED, row["CODE"], row["DESCRIPTION"]),
        **_of(row),
        "performedPeriod": {"start": row["START"], "end": row["STOP"]},
        "reasonCode": _reason(row),
    }


def _care_plan(row: Row) -> Json:
    profile = _coded(f"{US_CORE}CodeSystem/careplan-category", "assess-plan")
    return {
        "status": "completed" if row["STOP"] else "active",
        "intent": "order",
        "category": [profile, _concept(SNOMED, row["CODE"], row["DESCRIPTION"])],
        **_of(row),
        "period": {"start": row["START"], "end": row["STOP"]},
    }


def _observation(row: Row) -> Json:
    unit = {"unit": row["UNITS"], "system": UCUM, "code": row["UNITS"]} if row["UNITS"] else {}
    return {
        "status": "final",
        "category": [_coded(f"{HL7}observation-category", row["CATEGORY"])],
        "code": _concept(LOINC, row["CODE"], row["DESCRIPTION"]),
        **_of(row),
        "effectiveDateTime": row["DATE"],
        "valueQuantity": {"value": float(row["VALUE"]), **unit},
    }


BUILDERS: dict[str, tuple[str, Callable[[Row], Json]]] = {
    "patients": ("Patient", _patient),
    "encounters": ("Encounter", _encounter),
    "medications": ("MedicationRequest", _medication_request),
    "conditions": ("Condition", _condition),
    "allergies": ("AllergyIntolerance", _allergy),
    "procedures": ("Procedure", _procedure),
    "careplans": ("CarePlan", _care_plan),
    "observations": ("Observation", _observation),
}

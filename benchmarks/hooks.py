"""A synthetic hospital in; how long a hook's call and a chart in the request take, as a table, out.

Every call brings the whole chart of another patient as a client's prefetch does, and is answered by the application in
this process; the network is not in it. Beside the time that passes stands the processor's time, which does not depend
on what else the machine does. `python benchmarks/hooks.py --patients 3000 --calls 200`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import uuid
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from flask.testing import FlaskClient

from api import create_app
from data.synthetic import write_hospital
from recommender.embedded_redis import EmbeddedRedis
from recommender.features import build_matrix
from recommender.loaders import load
from recommender.models.directed import DirectedModel
from recommender.pipeline import make_snapshot
from recommender.safety.screen import Screen
from recommender.settings import Settings
from recommender.store import Store
from recommender.vocabulary import DrugVocabulary

WARM = 5
KEYS = {
    "Condition": "conditions",
    "MedicationRequest": "medicationRequests",
    "AllergyIntolerance": "allergies",
    "Observation": "observations",
}
DRAFTS = [("5640", "ibuprofen"), ("723", "amoxicillin"), ("36567", "simvastatin"), ("6809", "metformin")]
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def charts(folder: Path) -> dict[str, dict[str, Any]]:
    """Patient id -> prefetch, from a FHIR export."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for file in sorted(folder.glob("*.ndjson")):
        for line in file.read_text().splitlines():
            resource = json.loads(line)
            kind = resource["resourceType"]
            if kind == "Patient":
                found[resource["id"]]["patient"] = resource
            elif kind in KEYS:
                who = resource.get("subject") or resource.get("patient")
                of = found[who["reference"].rpartition("/")[2]]
                bundle = of.setdefault(KEYS[kind], {"resourceType": "Bundle", "type": "searchset", "entry": []})
                bundle["entry"].append({"resource": resource})
    for prefetch in found.values():
        for key in (*KEYS.values(), "medicationStatements"):
            prefetch.setdefault(key, {"resourceType": "Bundle", "type": "searchset", "entry": []})
    return {patient: prefetch for patient, prefetch in found.items() if "patient" in prefetch}


def call(hook: str, patient: str, prefetch: dict[str, Any] | None, number: int) -> dict[str, Any]:
    code, name = DRAFTS[number % len(DRAFTS)]
    draft = {
        "resourceType": "MedicationRequest",
        "id": "d1",
        "status": "draft",
        "intent": "order",
        "subject": {"reference": f"Patient/{patient}"},
        "medicationCodeableConcept": {"coding": [{"system": RXNORM, "code": code, "display": name}]},
    }
    orders = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": draft}]}
    context: dict[str, Any] = {"userId": "Practitioner/1", "patientId": patient}
    context |= {} if hook == "patient-view" else {"draftOrders": orders}
    context |= {"selections": ["MedicationRequest/d1"]} if hook == "order-select" else {}
    told = {"hook": hook, "hookInstance": str(uuid.uuid4()), "context": context}
    return told if prefetch is None else {**told, "prefetch": prefetch}


def timed(client: FlaskClient, path: str, bodies: list[dict[str, Any]]) -> np.ndarray:
    """Milliseconds that passed and that a processor worked (calls, 2), without the first WARM calls."""
    took = []
    for body in bodies:
        data = json.dumps(body)
        began, worked = time.perf_counter(), time.process_time()
        answer = client.post(path, data=data, content_type="application/json")
        took.append((1000 * (time.perf_counter() - began), 1000 * (time.process_time() - worked)))
        assert answer.status_code == 200, answer.text
    return np.array(took[WARM:])


def measured(patients: int, calls: int) -> dict[str, np.ndarray]:
    """What was asked -> milliseconds (calls, 2): `timed`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_hospital(folder / "fhir", patients=patients, seed=5, fmt="fhir")
        records = load("fhir", folder / "fhir", vocabulary=DrugVocabulary.load())
        matrix = build_matrix(records)
        snapshot = make_snapshot(
            records, matrix, DirectedModel(), "v1", {"created": "2026-11-01T00:00:00+00:00"}, Screen.load()
        )
        del matrix, records
        embedded = EmbeddedRedis(folder / "work")
        try:
            settings = Settings(workdir=folder / "work", redis_url=embedded.url)
            store = Store(embedded.url, settings)
            store.publish(snapshot)
            store.activate("v1")
            client = create_app(settings, store).test_client()
            every = charts(folder / "fhir")
            some = list(every)[:: max(1, len(every) // calls)][:calls]
            sizes = [len(json.dumps(every[one])) for one in some]
            typical, most = np.median(sizes) / 1024, max(sizes) / 1024
            print(f"{len(some)} charts, KiB of prefetch: median {typical:.0f}, most {most:.0f}")
            routes = {
                "order-select, prefetch": ("order-select-check", "order-select", True),
                "order-select, published": ("order-select-check", "order-select", False),
                "order-sign, prefetch": ("order-sign-check", "order-sign", True),
                "patient-view, prefetch": ("treatment-suggestions", "patient-view", True),
                "patient-view, published": ("treatment-suggestions", "patient-view", False),
            }
            took = {}
            for what, (service, hook, with_chart) in routes.items():
                bodies = [
                    call(hook, patient, every[patient] if with_chart else None, number)
                    for number, patient in enumerate([*some[:WARM], *some])
                ]
                took[what] = timed(client, f"/cds-services/{service}", bodies)
            bodies = []
            for patient in [*some[:WARM], *some]:
                entries = [{"resource": every[patient]["patient"]}]
                entries += [entry for key in KEYS.values() for entry in every[patient][key]["entry"]]
                bodies.append({"resourceType": "Bundle", "type": "collection", "entry": entries})
            took["a Bundle, 10 suggestions"] = timed(client, "/v1/recommendations", bodies)
            return took
        finally:
            embedded.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=3_000)
    parser.add_argument("--calls", type=int, default=200)
    asked = parser.parse_args()
    print("| asked | p50 ms | p99 ms | processor, p50 ms | p99 ms |\n|---|---|---|---|---|")
    for what, times in measured(asked.patients, asked.calls).items():
        (passed, worked), (slow, hard) = np.percentile(times, 50, axis=0), np.percentile(times, 99, axis=0)
        print(f"| {what} | {passed:.0f} | {slow:.0f} | {worked:.0f} | {hard:.0f} |")

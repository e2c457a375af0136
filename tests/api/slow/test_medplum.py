"""A record system that is not ours speaks to our hooks: Medplum's client discovers, fetches the prefetch, and calls."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from flask import Flask, jsonify, request

from tests.api.cds import (
    AMOXICILLIN,
    IBUPROFEN,
    PATIENT,
    PENICILLIN,
    SELECT,
    SIGN,
    VIEW,
    WARFARIN,
    bundle,
    draft,
    order,
    value,
    whole,
)

pytestmark = pytest.mark.slow
NODE = Path(__file__).parents[3] / ".venv" / "node"
CHART = {
    "Condition": [],
    "MedicationRequest": [order(WARFARIN)],
    "MedicationStatement": [],
    "AllergyIntolerance": [PENICILLIN],
    "Observation": [value("98979-8", 80)],
}


@pytest.fixture
def fhir(serve):
    """A FHIR server with one patient; `asked` is what it was asked for."""
    app = Flask("fhir")
    asked: list[str] = []

    @app.get("/fhir/R4/Patient/<patient>")
    def patient(patient: str) -> object:
        asked.append(f"Patient/{patient}")
        return jsonify(PATIENT)

    @app.get("/fhir/R4/<kind>")
    def search(kind: str) -> object:
        asked.append(f"{kind}?{request.query_string.decode()}")
        return jsonify(bundle(*CHART[kind]))

    server = serve(app)
    return server.url, asked


@pytest.fixture
def medplum(client, published, serve, fhir):
    if not (NODE / "node_modules").is_dir():
        pytest.fail("Medplum's client is not installed: run `make test-slow`")
    ours = serve(client.application)

    def call(service, **context):
        told = {
            "services": f"{ours.url}/cds-services",
            "fhir": f"{fhir[0]}/",
            "service": service,
            "context": {"userId": "Practitioner/d1", "patientId": "p1", **context},
        }
        script = Path(__file__).with_name("medplum_client.cjs")
        done = subprocess.run(
            ["node", script, json.dumps(told)],
            env={**os.environ, "MEDPLUM": str(NODE)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


def test_it_discovers_our_services_and_fetches_what_they_ask_for(medplum, fhir):
    got = medplum(VIEW)
    whole(got["discovered"], "discovery")
    assert set(got["request"]["prefetch"]) == set(got["discovered"]["services"][0]["prefetch"])
    kinds = {one.partition("?")[0] for one in fhir[1]}
    assert kinds == {"Patient/p1", *CHART}
    cards = whole(got["response"])["cards"]
    suggested = [card["summary"] for card in cards if card["source"]["topic"]["code"] == "suggestion"]
    assert suggested and not any("amoxicillin" in one or "warfarin" in one for one in suggested)


@pytest.mark.parametrize("service", [SELECT, SIGN])
def test_it_is_warned_of_what_is_ordered(medplum, service):
    orders = bundle(draft("a", AMOXICILLIN), draft("b", IBUPROFEN), kind="collection")
    selections = {"selections": ["MedicationRequest/a", "MedicationRequest/b"]} if service == SELECT else {}
    cards = whole(medplum(service, draftOrders=orders, **selections)["response"])["cards"]
    alerts = [card for card in cards if card["source"]["topic"]["code"] == "safety"]
    assert [card["indicator"] for card in alerts] == ["critical", "warning"]
    assert "allergy to penicillin" in alerts[0]["detail"] and "warfarin" in alerts[1]["detail"]

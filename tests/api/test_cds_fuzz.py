"""Whatever a chart, a Bundle or a hook's call holds: no fault of ours, and every card as the schema says."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from api import create_app
from recommender.settings import Settings
from recommender.store import open_store
from tests.api.cds import (
    AMOXICILLIN,
    CALL,
    IBUPROFEN,
    METFORMIN,
    NOTHING,
    PATIENT,
    PENICILLIN,
    SELECT,
    SIGN,
    VIEW,
    WARFARIN,
    bundle,
    call,
    draft,
    of,
    order,
    value,
    whole,
)

SMALL, LARGE = 60, 1_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12) | st.sampled_from(["2026-01-01", "Patient/p1", "#m", "active", "urn:uuid:1", "<b>"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["resourceType", "id", "code", "coding", "system", "display", "text", "reference", "status", "entry", "value"]
    ), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
INSIDE = {"contained": [{"resourceType": "Medication", "id": "m", "code": {"text": "ibuprofen"}}]}
RESOURCES = [
    PATIENT, PENICILLIN, order(WARFARIN), order(METFORMIN, authoredOn="2026-02-30"), draft("a", AMOXICILLIN),
    draft("b", {"medicationReference": {"reference": "#m"}}, **INSIDE), value("98979-8", 25),
    value("2823-3", 9.9, days=900), of("Condition", code={"text": "asthma"}, recordedDate="2024"),
    of("MedicationStatement", status="active", **IBUPROFEN),
    of("Encounter", id="e", status="finished", **{"class": {"code": "AMB"}}),
    {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]}, {"resourceType": "Medication", "id": "m2"},
    {"resourceType": "Bundle", "type": "searchset"}, {"resourceType": "Unheard"},
]  # fmt: skip


def changed(draw: Any, whole_: Any, changes: int) -> Any:
    """A copy in which some values, wherever they stand, are others, or gone."""
    made = copy.deepcopy(whole_)
    for _ in range(changes):
        at, parts = made, []
        while isinstance(at, dict | list) and at and (not parts or draw(st.integers(0, 4))):
            name = draw(st.sampled_from(sorted(at))) if isinstance(at, dict) else draw(st.integers(0, len(at) - 1))
            parts.append((at, name))
            at = at[name]
        if parts:
            holder, name = parts[-1]
            if draw(st.booleans()) and isinstance(holder, dict):
                del holder[name]
            else:
                holder[name] = draw(JSON)
    return made


@st.composite
def bundles(draw: Any) -> Any:
    some = draw(st.lists(st.sampled_from(RESOURCES), max_size=6))
    return changed(draw, bundle(*some, kind="collection"), draw(st.integers(0, 4)))


@st.composite
def calls(draw: Any) -> tuple[str, Any]:
    service = draw(st.sampled_from([VIEW, SELECT, SIGN]))
    keys = st.fixed_dictionaries({}, optional={name: bundles() | st.none() | JSON for name in NOTHING})
    drafts = draw(st.lists(st.sampled_from([one for one in RESOURCES if one.get("status") == "draft"]), max_size=3))
    made = call(service, draw(keys | st.none()), *drafts, patient=draw(st.sampled_from(["p1", "PAT-2"])))
    return service, changed(draw, made, draw(st.integers(0, 2)))


@st.composite
def charts(draw: Any) -> Any:
    chart = {
        "patient": {"age": 70, "sex": "female"},
        "drugs": [{"name": "warfarin", "start": "2020-01-01"}, {"code": "rxnorm:6809", "name": "metformin"}],
        "conditions": [{"code": "icd10cm:E11.9"}, {"name": "asthma", "start": "2020", "stop": "2021-01-01"}],
        "allergies": [{"name": "penicillin"}],
        "observations": [{"code": "loinc:98979-8", "value": 20.5, "unit": "mL/min/{1.73_m2}"}],
        "n": 5, "kind": ["drug"], "exclude": ["rxnorm:723"], "explain": True,
    }  # fmt: skip
    return changed(draw, chart, draw(st.integers(0, 4)))


@pytest.fixture(scope="module")
def client(redis_server: Any, tiny_snapshot: Any, tmp_path_factory: Any) -> Iterator[FlaskClient]:
    folder = tmp_path_factory.mktemp("fuzz")
    given_ = Settings(workdir=folder, redis_url=redis_server.url[:-1] + "4")
    with open_store(given_) as store:
        store.publish(tiny_snapshot("v1"))
        store.activate("v1")
        yield create_app(given_, store).test_client()


def held(examples: int) -> Any:
    return settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


HOW_MANY = pytest.mark.parametrize("examples", [SMALL, pytest.param(LARGE, marks=pytest.mark.slow)])


@HOW_MANY
def test_hooks(client: FlaskClient, examples: int) -> None:
    seen = set()

    @held(examples)
    @given(calls())
    def run(made: tuple[str, Any]) -> None:
        service, body = made
        response = client.post(f"/cds-services/{service}", json=body)
        seen.add(response.status_code)
        if response.status_code == 200:
            whole(response.json)
        else:
            assert response.status_code in (400, 412), response.text
            assert response.content_type == "application/problem+json" and response.json["detail"]

    run()
    assert seen == {200, 400, 412}


@HOW_MANY
def test_feedback_on_cards(client: FlaskClient, examples: int) -> None:
    cards = client.post(f"/cds-services/{VIEW}", json=call(VIEW, None, patient="PAT-2")).json["cards"]
    card = next(card for card in cards if "uuid" in card)
    told = {
        "card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": "2026-11-01T00:00:00Z",
        "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}],
        "overrideReason": {"reason": {"code": "will-monitor"}, "userComment": "x"},
    }  # fmt: skip

    @held(examples)
    @given(st.data())
    def run(data: Any) -> None:
        body = changed(data.draw, {"feedback": [told, {**told, "outcome": "accepted"}]}, data.draw(st.integers(0, 3)))
        assert client.post(f"/cds-services/{VIEW}/feedback", json=body).status_code in (200, 400)

    run()


@HOW_MANY
def test_charts_and_bundles(client: FlaskClient, examples: int) -> None:
    seen = set()

    @held(examples)
    @given(charts() | bundles() | JSON)
    def run(body: Any) -> None:
        response = client.post("/v1/recommendations", data=orjson.dumps(body), content_type="application/json")
        seen.add(response.status_code)
        assert response.status_code in (200, 400), response.text
        if response.status_code == 200:
            assert response.json["source"] in ("live", "leading condition", "popularity")
            taken = {one["code"] for one in response.json["current_therapy"]}
            assert not taken & {item["code"] for item in response.json["items"]}
            for item in response.json["items"]:
                assert all(warning["severity"] != "contraindicated" for warning in item["warnings"])

    run()
    assert seen == {200, 400} and CALL

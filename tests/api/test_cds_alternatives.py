"""What order-select suggests instead of a drug, on a synthetic hospital: safer, or better supported, and screened."""

import copy
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from api import create_app
from data.synthetic import write_hospital
from recommender.features import build_matrix
from recommender.loaders import load
from recommender.models.directed import DirectedModel
from recommender.pipeline import make_snapshot
from recommender.safety.screen import Screen
from recommender.settings import Settings
from recommender.store import open_store
from recommender.vocabulary import DrugVocabulary
from tests.api.cds import (
    IBUPROFEN,
    NOTHING,
    SELECT,
    SIGN,
    WARFARIN,
    bundle,
    call,
    draft,
    drug,
    order,
    value,
    whole,
)

pytestmark = pytest.mark.xdist_group("hooked hospital")  # one worker makes it once


@pytest.fixture(scope="module")
def hospital(redis_server, tmp_path_factory) -> Iterator[FlaskClient]:
    folder = tmp_path_factory.mktemp("hooked")
    write_hospital(folder / "sample", patients=300, seed=5)
    records = load("synthea", folder / "sample", vocabulary=DrugVocabulary.load())
    manifest = {"created": "2026-11-24T02:00:00+00:00"}
    snapshot = make_snapshot(records, build_matrix(records), DirectedModel(), "v1", manifest, Screen.load())
    settings = Settings(workdir=folder, redis_url=redis_server.url[:-1] + "6")
    with open_store(settings) as store:
        store.publish(snapshot)
        store.activate("v1")
        client = create_app(settings, store).test_client()
        client.snapshot = snapshot  # type: ignore[attr-defined]
        yield client


def ask(client, service, *told, **context):
    response = client.post(f"/cds-services/{service}", json=call(service, *told, **context))
    assert response.status_code == 200, response.text
    return whole(response.json)["cards"]


def about(cards, topic):
    return [card for card in cards if card["source"]["topic"]["code"] == topic]


def suggested(card):
    return [
        suggestion["actions"][0]["resource"]["medicationCodeableConcept"]["text"]
        for suggestion in card.get("suggestions", ())
    ]


SIMVASTATIN, CLARITHROMYCIN = drug("36567", "simvastatin"), drug("21212", "clarithromycin")
SAFER = {"pravastatin", "rosuvastatin", "pitavastatin", "fluvastatin", "atorvastatin"}  # the last with a caution


def test_a_forbidden_drug_comes_with_safer_ones_of_its_class(hospital):
    chart = {**NOTHING, "medicationRequests": bundle(order(CLARITHROMYCIN))}
    (card,) = about(ask(hospital, SELECT, chart, draft("a", SIMVASTATIN)), "safety")
    assert card["indicator"] == "critical" and card["selectionBehavior"] == "at-most-one"
    assert suggested(card) and set(suggested(card)) <= SAFER
    for suggestion in card["suggestions"]:
        resource = suggestion["actions"][0]["resource"]
        assert (resource["status"], resource["subject"]) == ("draft", {"reference": "Patient/p1"})
        again = ask(hospital, SIGN, chart, {**resource, "id": "x"})  # what is suggested passes the same check
        assert not [one for one in again if one["indicator"] in ("warning", "critical")]


def test_what_is_suggested_is_screened_against_the_other_drafts_too(hospital):
    body = call(SELECT, NOTHING, draft("a", SIMVASTATIN), draft("b", CLARITHROMYCIN))
    body["context"]["selections"] = ["MedicationRequest/a"]
    cards = whole(hospital.post(f"/cds-services/{SELECT}", json=body).json)["cards"]
    (card,) = about(cards, "safety")
    assert suggested(card) and set(suggested(card)) <= SAFER


def test_all_of_a_class_forbidden_leaves_none(hospital):
    chart = {**NOTHING, "medicationRequests": bundle(order(WARFARIN)), "observations": bundle(value("98979-8", 15))}
    (card,) = about(ask(hospital, SELECT, chart, draft("a", IBUPROFEN)), "safety")
    assert "suggestions" not in card and "selectionBehavior" not in card


def test_signing_suggests_nothing(hospital):
    cards = ask(hospital, SIGN, NOTHING, draft("a", SIMVASTATIN), draft("b", CLARITHROMYCIN))
    assert cards and all("suggestions" not in card for card in cards)


def test_a_drug_far_down_the_list_meets_one_of_its_class_that_stands_on_top(hospital):
    """For some published patient an uncommon drug of a class is ordered whose common one is suggested."""
    snapshot = hospital.snapshot
    index, found = snapshot.release.index, 0
    for patient_ix in range(60):
        entry, patient = snapshot.entry(patient_ix), str(snapshot.patient_ids[patient_ix])
        first = [index.columns[ix] for ix in entry.columns[:10].tolist()]
        top = next((c for c in first if c.kind == "drug" and c.group), None)
        others = [
            c
            for c in index.columns
            if top and c.kind == "drug" and c.group == top.group and c not in first and "+" not in c.code
            and index.place["drug", c.code] not in entry.row_columns.tolist()
        ]  # fmt: skip
        if top is None or not others:
            continue
        ordered = drug(others[-1].code.removeprefix("rxnorm:"), others[-1].name)
        resource = {**draft("a", ordered), "subject": {"reference": f"Patient/{patient}"}}
        for card in about(ask(hospital, SELECT, None, resource, patient=patient), "alternative"):
            assert card["indicator"] == "info" and f"than {others[-1].name} here" in card["summary"]
            assert set(suggested(card)) <= {c.name for c in first}
            found += 1
        same = {**draft("a", drug(top.code.removeprefix("rxnorm:"), top.name)), "subject": resource["subject"]}
        assert not about(ask(hospital, SELECT, None, same, patient=patient), "alternative")
    assert found >= 3


def test_a_published_patient_s_own_drugs_raise_nothing(hospital):
    """Whatever is taken already may be ordered again without a word."""
    snapshot, tried = hospital.snapshot, 0
    for patient_ix in range(40):
        chart, patient = snapshot.charts.of(patient_ix), str(snapshot.patient_ids[patient_ix])
        for ix, days in zip(chart.concept.tolist(), chart.days.tolist(), strict=True):
            concept = snapshot.release.known.concepts[ix]
            if concept.kind != "drug" or days != 0 or not concept.code.removeprefix("rxnorm:").isdigit():
                continue
            again = {**draft("a", drug(concept.code.removeprefix("rxnorm:"), concept.name))}
            again["subject"] = {"reference": f"Patient/{patient}"}
            for service in (SELECT, SIGN):
                assert not ask(hospital, service, None, copy.deepcopy(again), patient=patient), concept.name
            tried += 1
    assert tried > 20

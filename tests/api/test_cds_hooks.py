"""The contract of /cds-services: CDS Hooks 2.0 as a record system speaks it, every card held against our own schema."""

import base64
import copy
import html
import re

import pytest
from flask.testing import FlaskClient

from api import create_app
from recommender.settings import Settings
from recommender.snapshot import Snapshot
from tests.api.cds import (
    ACETAMINOPHEN,
    AMOXICILLIN,
    ASPIRIN,
    CALL,
    HOOK,
    IBUPROFEN,
    METFORMIN,
    NOTHING,
    PATIENT,
    PENICILLIN,
    RXNORM,
    SELECT,
    SIGN,
    VIEW,
    WARFARIN,
    bundle,
    call,
    draft,
    drug,
    of,
    order,
    value,
    whole,
)  # fmt: skip


@pytest.fixture
def ask(client: FlaskClient, published: Snapshot):
    """`ask(service, prefetch, draft, ...)`: its cards, checked."""

    def asked(service, *told, **context):
        response = client.post(f"/cds-services/{service}", json=call(service, *told, **context))
        assert response.status_code == 200, response.text
        return whole(response.json)["cards"]

    return asked


def about(cards, topic):
    return [card for card in cards if card["source"]["topic"]["code"] == topic]


def problem(response, status, parameter=None):
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    assert response.json.get("parameter") == parameter
    return response.json


# --- discovery -------------------------------------------------------------------------------------------------------


def test_discovery_names_the_three_services_and_what_they_ask_for(client):
    response = client.get("/cds-services")
    services = whole(response.json, "discovery")["services"]
    assert {one["id"]: one["hook"] for one in services} == HOOK
    for one in services:
        assert set(one["prefetch"]) == set(NOTHING)
        assert all("{{context.patientId}}" in query for query in one["prefetch"].values())
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    again = client.get("/cds-services", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.headers["Access-Control-Allow-Origin"]) == (304, "*")


def test_discovery_works_while_nothing_is_published_and_answers_a_preflight(client):
    assert client.get("/cds-services").status_code == 200
    preflight = client.options(
        "/cds-services", headers={"Origin": "https://ehr.example", "Access-Control-Request-Method": "GET"}
    )
    assert preflight.status_code == 200 and "GET" in preflight.headers["Access-Control-Allow-Methods"]


def test_no_page_of_another_origin_may_read_a_call(client, published):
    """Nobody signs in yet: whoever can reach the port may ask, so a browser must not ask for any web page."""
    for path in (f"/cds-services/{VIEW}", f"/cds-services/{VIEW}/feedback"):
        for response in (client.options(path), client.post(path, json=call(VIEW, None, patient="PAT-2"))):
            assert "Access-Control-Allow-Origin" not in response.headers


# --- patient-view ----------------------------------------------------------------------------------------------------


def test_a_published_patient_gets_the_published_suggestions(ask, client):
    cards = about(ask(VIEW, None, patient="PAT-2"), "suggestion")
    items = client.get("/v1/patients/PAT-2/recommendations?n=3").json["items"]
    assert [card["summary"].split(" (")[0] for card in cards] == [f"Consider {item['name']}" for item in items]
    first = cards[0]
    assert first["selectionBehavior"] == "at-most-one" and len(first["overrideReasons"]) == 8
    (suggestion,) = first["suggestions"]
    (action,) = suggestion["actions"]
    assert action["type"] == "create"
    assert action["resource"] == {
        "resourceType": "MedicationRequest", "status": "draft", "intent": "order",
        "medicationCodeableConcept": {
            "coding": [{"system": RXNORM, "code": "36567", "display": "simvastatin"}], "text": "simvastatin",
        },
        "subject": {"reference": "Patient/PAT-2"},
    }  # fmt: skip
    assert "Suggested because of: diabetes, metformin" in first["detail"]


def test_the_encounter_of_the_call_stands_in_a_draft(ask):
    cards = about(ask(VIEW, None, patient="PAT-2", encounterId="e7"), "suggestion")
    assert cards[0]["suggestions"][0]["actions"][0]["resource"]["encounter"] == {"reference": "Encounter/e7"}


def test_a_chart_of_the_prefetch_goes_before_the_published_one(ask):
    chart = {**NOTHING, "allergies": bundle(PENICILLIN)}
    cards = ask(
        VIEW,
        {
            **chart,
            "patient": {**PATIENT, "id": "PAT-2"},
            "allergies": bundle({**PENICILLIN, "patient": {"reference": "Patient/PAT-2"}}),
        },
        patient="PAT-2",
    )
    suggested = [card["summary"] for card in about(cards, "suggestion")]
    assert any("metformin" in one for one in suggested)  # the prefetch says that PAT-2 takes nothing
    assert not any("amoxicillin" in one for one in suggested)


def test_a_patient_with_everything_gets_no_suggestion_and_is_told_why(ask, client, store, ward):
    store.publish(ward("w"))
    store.activate("w")
    cards = ask(VIEW, None, patient="EMPTY")
    assert not about(cards, "suggestion")
    assert "already on this patient" in about(cards, "not-checked")[0]["detail"]


# --- what was not told -----------------------------------------------------------------------------------------------

OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]}
NOT_TOLD = [
    None, OUTCOME, {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": OUTCOME}]},
    {**bundle(), "link": [{"relation": "next", "url": "https://ehr.example/2"}]}, {**bundle(), "total": 3},
    {"resourceType": "Bundle", "type": "searchset", "entry": {}}, [], "no", {}, 3,
]  # fmt: skip


@pytest.mark.parametrize("told", NOT_TOLD)
@pytest.mark.parametrize("key", ["allergies", "conditions", "medicationRequests"])
@pytest.mark.parametrize("service", [VIEW, SELECT, SIGN])
def test_what_is_not_told_is_not_checked_and_never_none(ask, service, key, told):
    drafts = () if service == VIEW else (draft("a", AMOXICILLIN),)
    words = {"allergies": "allergies", "conditions": "conditions", "medicationRequests": "MedicationRequest"}[key]
    (card,) = about(ask(service, {**NOTHING, key: told}, *drafts), "not-checked")
    assert words in html.unescape(card["detail"])
    left_out = {name: one for name, one in NOTHING.items() if name != key}
    (card,) = about(ask(service, left_out, *drafts), "not-checked")
    assert words in html.unescape(card["detail"])
    for whole_ in about(ask(service, NOTHING, *drafts), "not-checked"):
        assert words not in html.unescape(whole_["detail"])


def test_nothing_to_go_by_is_412(client, published):
    for prefetch in (None, {}, dict.fromkeys(NOTHING), dict.fromkeys(NOTHING, OUTCOME)):
        for service in (VIEW, SELECT, SIGN):
            response = client.post(
                f"/cds-services/{service}", json=call(service, prefetch, draft("a", WARFARIN), patient="p9")
            )
            assert problem(response, 412)["type"] == "/problems/no-chart"
            assert "p9" not in response.text


def test_a_patient_alone_is_a_chart_of_which_little_is_known(ask):
    cards = ask(SIGN, {"patient": PATIENT}, draft("a", WARFARIN))
    (card,) = about(cards, "not-checked")
    assert "allergies" in card["summary"]


def test_values_alone_do_not_hide_a_published_chart(ask):
    told = {"observations": bundle(), "patient": {**PATIENT, "id": "PAT-3"}}
    again = {**draft("a", AMOXICILLIN), "subject": {"reference": "Patient/PAT-3"}}
    assert about(ask(SIGN, told, again, patient="PAT-3"), "safety")[0]["indicator"] == "critical"  # of penicillin
    assert not about(ask(SIGN, {"observations": bundle()}, draft("a", AMOXICILLIN)), "safety")


# --- orders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", [SELECT, SIGN])
def test_an_order_that_nothing_speaks_against_is_met_with_silence(ask, service):
    assert ask(service, NOTHING, draft("a", ACETAMINOPHEN)) == []


def test_a_missing_value_is_told_of_when_selecting_where_a_contraindication_depends_on_it(ask):
    assert ask(SELECT, NOTHING, draft("a", ACETAMINOPHEN)) == []  # a low ALT only warns
    (card,) = ask(SELECT, NOTHING, draft("a", METFORMIN))
    assert card["summary"].startswith("Not checked: no ") and "filtration" in card["summary"]
    fresh = {**NOTHING, "observations": bundle(value("98979-8", 90))}
    assert "filtration" not in ask(SELECT, fresh, draft("a", METFORMIN))[0]["detail"]
    assert ask(SIGN, NOTHING, draft("a", METFORMIN)) == []
    untold = {**NOTHING, "allergies": None}
    assert (
        "filtration" in ask(SIGN, untold, draft("a", METFORMIN))[0]["detail"]
    )  # where there is a card, all stands on it


@pytest.mark.parametrize("service", [SELECT, SIGN])
def test_an_allergy_is_critical(ask, service):
    cards = ask(service, {**NOTHING, "allergies": bundle(PENICILLIN)}, draft("a", AMOXICILLIN))
    (card,) = about(cards, "safety")
    assert card["indicator"] == "critical" and card["summary"].startswith("amoxicillin: contraindicated.")
    assert "Because of: allergy to penicillin" in card["detail"]
    assert [one["code"] for one in card["overrideReasons"]][:2] == ["will-monitor", "tolerated-before"]


@pytest.mark.parametrize("service", [SELECT, SIGN])
def test_an_interaction_with_what_is_taken_is_a_warning(ask, service):
    cards = ask(service, {**NOTHING, "medicationRequests": bundle(order(WARFARIN))}, draft("a", IBUPROFEN))
    (card,) = about(cards, "safety")
    assert card["indicator"] == "warning" and "Because of: warfarin" in card["detail"]


def test_two_drafts_that_do_not_go_together_are_told_once(ask):
    cards = ask(SIGN, NOTHING, draft("a", WARFARIN), draft("b", IBUPROFEN))
    rules = [
        card["summary"]
        for card in about(cards, "safety")
        if "warfarin" in card["detail"] or "ibuprofen" in card["detail"]
    ]
    pair = [
        card
        for card in about(cards, "safety")
        if "Because of: ibuprofen" in card["detail"] or "Because of: warfarin" in card["detail"]
    ]
    assert len(pair) == 1, rules
    assert pair[0]["summary"].startswith("warfarin")


def test_only_what_was_selected_is_told_of_and_screened_beside_the_others(ask, client):
    body = call(SELECT, NOTHING, draft("a", WARFARIN), draft("b", IBUPROFEN))
    body["context"]["selections"] = ["MedicationRequest/b"]
    cards = about(whole(client.post(f"/cds-services/{SELECT}", json=body).json)["cards"], "safety")
    assert [card["summary"].split(":")[0] for card in cards] == ["ibuprofen"]
    assert "Because of: warfarin" in cards[0]["detail"]
    body["context"]["selections"] = ["NutritionOrder/n"]
    assert client.post(f"/cds-services/{SELECT}", json=body).json == {"cards": []}


@pytest.mark.parametrize("service", [SELECT, SIGN])
def test_an_order_that_renews_what_is_taken_says_nothing_new(ask, service):
    """Warfarin and ibuprofen are taken together already, and metformin with failing kidneys."""
    taken = bundle(order(WARFARIN), order(IBUPROFEN), order(METFORMIN))
    chart = {**NOTHING, "medicationRequests": taken, "observations": bundle(value("98979-8", 12))}
    for renewed in (WARFARIN, IBUPROFEN, METFORMIN):
        assert not about(ask(service, chart, draft("a", renewed)), "safety")
    (card,) = about(ask(service, chart, draft("a", ASPIRIN)), "safety")  # a new drug is still told of
    assert "warfarin" in card["detail"]


def test_a_drug_that_ended_is_no_renewal(ask):
    ended = order(IBUPROFEN, authoredOn="2020-01-01") | {"status": "completed"}
    chart = {**NOTHING, "medicationRequests": bundle(order(WARFARIN), ended)}
    assert about(ask(SIGN, chart, draft("a", IBUPROFEN)), "safety")


def test_safety_needs_no_store(tmp_path):
    down = create_app(Settings(workdir=tmp_path, redis_url="redis://127.0.0.1:1/0")).test_client()
    chart = {**NOTHING, "allergies": bundle(PENICILLIN)}
    for service in (SELECT, SIGN):
        response = down.post(f"/cds-services/{service}", json=call(service, chart, draft("a", AMOXICILLIN)))
        assert response.status_code == 200 and whole(response.json)["cards"][0]["indicator"] == "critical"
    for response in (
        down.post(f"/cds-services/{VIEW}", json=call(VIEW, chart)),
        down.post(f"/cds-services/{SIGN}", json=call(SIGN, None, draft("a", AMOXICILLIN))),
    ):
        assert problem(response, 503)["type"] == "/problems/store-unavailable"


# --- draft orders as they come ---------------------------------------------------------------------------------------


def test_drafts_as_clients_write_them(ask):
    chart = {**NOTHING, "allergies": bundle(PENICILLIN)}
    contained = draft(
        "a", {"medicationReference": {"reference": "#m"}},
        contained=[{"resourceType": "Medication", "id": "m", "code": {"text": "Amoxicillin 500 MG capsule"}}],
    )  # fmt: skip
    beside = draft("b", {"medicationReference": {"reference": "Medication/m2"}})
    other_system = draft(
        "c", {"medicationCodeableConcept": {"coding": [{"system": "urn:oid:1.2.3", "code": "77", "display": "Amoxil"}]}}
    )
    displayed = draft("d", {"medicationReference": {"reference": "Medication/gone", "display": "amoxicillin"}})
    medication = {"resourceType": "Medication", "id": "m2", "code": drug("723")["medicationCodeableConcept"]}
    for drafts in ((contained,), (beside, medication), (other_system,), (displayed,)):
        (card,) = about(ask(SIGN, chart, *drafts), "safety")
        assert card["indicator"] == "critical"


def test_a_draft_without_a_medication_yet_is_not_checked(ask):
    (card,) = ask(SIGN, NOTHING, draft("a", {}))
    assert "names no medication yet" in card["detail"] and card["indicator"] == "info" and "uuid" not in card


def test_a_drug_that_nobody_knows_is_not_checked(ask):
    (card,) = ask(SELECT, NOTHING, draft("a", {"medicationCodeableConcept": {"text": "zzyzx elixir"}}))
    assert "zzyzx elixir" in card["summary"] and card["source"]["topic"]["code"] == "not-checked"


def test_an_order_not_to_give_a_drug_and_other_orders_are_passed_over(ask):
    chart = {**NOTHING, "allergies": bundle(PENICILLIN)}
    assert ask(SIGN, chart, draft("a", AMOXICILLIN, doNotPerform=True), of("ServiceRequest", id="s")) == []
    assert ask(SIGN, chart) == []


# --- what is shown ---------------------------------------------------------------------------------------------------

EVIL = "<img src=x onerror=alert(1)> [click](javascript:alert(1)) **bold** `x` | www.evil.example http://e.example"


@pytest.mark.parametrize("service", [SELECT, SIGN])
def test_what_comes_from_data_is_escaped_for_html_and_markdown(ask, service):
    allergy = of("AllergyIntolerance", code={"text": EVIL})
    chart = {
        **NOTHING, "allergies": bundle(allergy, PENICILLIN),
        "conditions": bundle(of("Condition", code={"text": EVIL})),
        "medicationRequests": bundle(order({"medicationCodeableConcept": {"text": EVIL}}), order(WARFARIN)),
    }  # fmt: skip
    cards = ask(service, chart, draft("a", {"medicationCodeableConcept": {"text": EVIL}}), draft("b", AMOXICILLIN))
    assert cards
    for card in cards:
        assert not re.search(r"[<>`|]|\]\(|http://|www\.|javascript:alert\(1\)\)$", card["detail"]), card["detail"]
        assert "**bold**" not in card["detail"] and not re.search(r"^\s*#", card["detail"], re.M)
        assert not re.search(r"[<>\n]", card["summary"])
    assert "<img src=x onerror=alert(1)>" in html.unescape(cards[-1]["detail"])  # and shown as it was written


def test_a_summary_is_cut(ask):
    long = {"medicationCodeableConcept": {"text": "x" * 300}}
    (card,) = ask(SIGN, NOTHING, draft("a", long))
    assert len(card["summary"]) == 139 and card["summary"].endswith("…")


# --- what is malformed -----------------------------------------------------------------------------------------------


TOKEN = {"access_token": "SECRET", "token_type": "Bearer", "expires_in": 300, "scope": "s", "subject": "c"}


@pytest.mark.parametrize(
    ("change", "parameter"),
    [
        (lambda body: body.pop("hook"), "hook"),
        (lambda body: body.update(hook="patient-view"), "hook"),
        (lambda body: body.pop("hookInstance"), "hookInstance"),
        (lambda body: body.update(hookInstance="not-a-uuid"), "hookInstance"),
        (lambda body: body.pop("context"), "context"),
        (lambda body: body["context"].pop("patientId"), "context.patientId"),
        (lambda body: body["context"].pop("userId"), "context.userId"),
        (lambda body: body["context"].pop("selections"), "context.selections"),
        (lambda body: body["context"].pop("draftOrders"), "context.draftOrders"),
        (lambda body: body["context"].update(draftOrders={"resourceType": "List"}), "context.draftOrders"),
        (lambda body: body.update(prefetch=[]), "prefetch"),
        (lambda body: body.update(fhirAuthorization=TOKEN), "fhirServer"),
        (lambda body: body.update(fhirAuthorization={"access_token": "SECRET"}), "fhirAuthorization.token_type"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(client, published, capfd, change, parameter):
    body = copy.deepcopy(call(SELECT, NOTHING, draft("a", WARFARIN)))
    change(body)
    response = client.post(f"/cds-services/{SELECT}", json=body)
    problem(response, 400, parameter)
    assert "SECRET" not in response.text and "SECRET" not in "".join(capfd.readouterr())


def test_another_patient_s_prefetch_or_draft_is_refused(client, published):
    other = {**PATIENT, "id": "p2"}
    response = client.post(f"/cds-services/{VIEW}", json=call(VIEW, {**NOTHING, "patient": other}))
    problem(response, 400, "prefetch.patient")
    strange = {**PENICILLIN, "patient": {"reference": "Patient/p2"}}
    response = client.post(f"/cds-services/{VIEW}", json=call(VIEW, {**NOTHING, "allergies": bundle(strange)}))
    problem(response, 400, "entry")
    response = client.post(
        f"/cds-services/{SIGN}",
        json=call(SIGN, NOTHING, {**draft("a", WARFARIN), "subject": {"reference": "Patient/p2"}}),
    )
    problem(response, 400, "context.draftOrders")
    assert "p2" not in response.text


def test_unknown_services_and_forms(client, published):
    assert problem(client.post("/cds-services/nope", json={}), 404)["type"] == "/problems/not-found"
    assert client.post(f"/cds-services/{VIEW}", data="x").status_code == 415
    assert client.post(f"/cds-services/{VIEW}", data=b"{", content_type="application/json").status_code == 400
    assert client.get(f"/cds-services/{VIEW}").status_code == 405


def test_the_token_and_the_server_are_accepted_not_used_and_not_logged(client, published, capfd, settings):
    body = call(SIGN, NOTHING, draft("a", WARFARIN))
    body |= {
        "fhirServer": "http://127.0.0.1:9/SECRET-SERVER",
        "fhirAuthorization": {
            "access_token": "SECRET-TOKEN", "token_type": "Bearer", "expires_in": 300, "scope": "user/*.read",
            "subject": "client", "patient": "p1", "added": {"by": "another version"},
        },
        "extension": {"com.example": 1},
    }  # fmt: skip
    response = client.post(f"/cds-services/{SIGN}", json=body, headers={"Authorization": "Bearer SECRET-JWT"})
    assert response.status_code == 200
    assert "SECRET" not in "".join(capfd.readouterr()) + response.text
    for path in settings.workdir.rglob("*"):
        assert not path.is_file() or b"SECRET" not in path.read_bytes()


def test_nothing_of_a_call_is_stored(client, published, settings):
    """But the key that cards are sealed with; the site's own is older than the call."""
    client.post(f"/cds-services/{VIEW}", json=call(VIEW, NOTHING))
    files = {path.name for path in settings.workdir.rglob("*") if path.is_file()}
    assert files == {"cds-hooks.key", "site.key"}
    assert (settings.workdir / "cds-hooks.key").stat().st_mode & 0o777 == 0o600


def test_a_card_tells_nobody_whom_it_is_about(client, published):
    body = call(SIGN, None, draft("a", AMOXICILLIN), patient="PAT-3")
    body["context"]["draftOrders"] = bundle({**draft("a", AMOXICILLIN), "subject": {"reference": "Patient/PAT-3"}})
    (card,) = about(whole(client.post(f"/cds-services/{SIGN}", json=body).json)["cards"], "safety")
    raw = base64.urlsafe_b64decode(card["uuid"] + "===")
    assert not any(word in raw for word in (b"PAT-3", b"rxnorm", b"allergy", CALL[:8].encode()))

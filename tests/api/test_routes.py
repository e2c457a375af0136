"""`route=oral` and the like: which drugs a list then holds, what each tells of its routes here, in API and pages."""

import csv
import dataclasses
import io

import pytest

from api.types import WISHES
from recommender.given import COUNTED, NOT_KNOWN, Given

METFORMIN, LISINOPRIL, SIMVASTATIN, WARFARIN, AMOXICILLIN = (
    f"rxnorm:{number}" for number in (6809, 29046, 36567, 11289, 723)
)
# of 1,000 patients, in tens; of simvastatin nobody's record tells a route, and amoxicillin is on no record
GIVEN = Given(
    1_000,
    {
        METFORMIN: {"oral": 31, "intravenous": 0, NOT_KNOWN: 2},
        LISINOPRIL: {"subcutaneous": 4},
        SIMVASTATIN: {NOT_KNOWN: 30},
        WARFARIN: {"oral": 0},
    },
)
METFORMIN_ROUTES = [
    {"route": "oral", "patients": "310"},
    {"route": "intravenous", "patients": "<11"},
    {"route": "not_known", "patients": "20"},
]


@pytest.fixture
def routes(store, tiny_snapshot, with_manifest):
    """The tiny hospital being served, with counts of routes."""
    snapshot = with_manifest(tiny_snapshot("v1"))
    store.publish(dataclasses.replace(snapshot, release=dataclasses.replace(snapshot.release, given=GIVEN)))
    store.activate("v1")


def codes(response):
    assert response.status_code == 200, response.text
    return {item["code"] for item in response.json["items"]}


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        ("oral", {METFORMIN, WARFARIN}),  # also where it was a few
        ("intravenous", {METFORMIN}),
        ("subcutaneous", {LISINOPRIL}),
        ("injected", {METFORMIN, LISINOPRIL}),  # into a vein and under the skin
        (NOT_KNOWN, {SIMVASTATIN, AMOXICILLIN}),
        ("ophthalmic", set()),
        ("systemic", {METFORMIN, LISINOPRIL, SIMVASTATIN, WARFARIN, AMOXICILLIN}),
        ("local", set()),
    ],
)
def test_a_list_holds_what_was_given_so(client, routes, wish, wanted):
    """PAT-6 has no history, so all five can be suggested; a chart that is sent, and a batch, ask in the body."""
    assert codes(client.get(f"/v1/patients/PAT-6/recommendations?route={wish}")) == wanted
    sent = {"patient": {"age": 24.5, "sex": "male"}, "drugs": [], "conditions": [], "route": wish}
    assert codes(client.post("/v1/recommendations", json=sent)) == wanted
    batch = client.post("/v1/recommendations/batch", json={"patient_ids": ["PAT-6"], "route": wish}).json
    assert {item["code"] for item in batch["answers"][0]["items"]} == wanted
    assert codes(client.get(f"/v1/treatments?route={wish}&on_record=true")) == wanted


def test_each_suggestion_tells_its_routes(client, routes):
    items = client.get("/v1/patients/PAT-6/recommendations").json["items"]
    told = {item["code"]: item["routes"] for item in items}
    assert told[METFORMIN] == METFORMIN_ROUTES
    assert (told[WARFARIN], told[AMOXICILLIN]) == ([{"route": "oral", "patients": "<11"}], [])


def test_what_is_no_route_is_a_problem(client, routes):
    for url in ("/v1/patients/PAT-6/recommendations", "/v1/treatments"):
        answer = client.get(f"{url}?route=tablet")
        assert (answer.status_code, answer.json["parameter"]) == (400, "route")
        assert answer.json["type"] == "/problems/bad-parameter"
        assert all(wish in answer.json["detail"] for wish in WISHES)
    sent = client.post("/v1/recommendations", json={"drugs": [], "route": "tablet"})
    assert (sent.status_code, sent.json["parameter"]) == (400, "route")


def test_a_version_without_counts_knows_no_route(client, published):
    assert codes(client.get("/v1/patients/PAT-6/recommendations?route=oral")) == set()
    assert len(codes(client.get(f"/v1/patients/PAT-6/recommendations?route={NOT_KNOWN}"))) == 5
    one = client.get(f"/v1/treatments/{METFORMIN}").json
    assert one["routes"] == [] and "published without routes" in one["routes_statement"]


def test_the_pharmacy_sees_the_table(client, routes):
    one = client.get(f"/v1/treatments/{METFORMIN}").json
    assert one["routes"] == METFORMIN_ROUTES
    assert "What was done here, not what it is licensed for" in one["routes_statement"]
    never = client.get(f"/v1/treatments/{AMOXICILLIN}").json
    assert never["routes"] == [] and "No patient here is known" in never["routes_statement"]
    told = client.get("/v1/treatments?route=oral&format=csv")
    rows = {row["code"]: row["routes"] for row in csv.DictReader(io.StringIO(told.text))}
    assert rows == {METFORMIN: "oral:310|intravenous:<11|not_known:20", WARFARIN: "oral:<11"}


def test_the_document_names_every_route(client):
    schemas = client.get("/openapi.json").json
    (told,) = (p["schema"] for p in schemas["paths"]["/v1/treatments"]["get"]["parameters"] if p["name"] == "route")
    assert sorted(told["enum"]) == sorted(WISHES) and "not_known" in told["enum"]
    by_route = schemas["components"]["schemas"]["ByRoute"]["properties"]
    assert sorted(by_route["route"]["enum"]) == sorted(COUNTED)


def test_fhir_is_told_what_is_usual_here(client, routes):
    """A route of fewer than 11 may be a slip of the pen: no `intendedRoute`."""

    def intended(code):
        (entry,) = client.get(f"/fhir/MedicationKnowledge?code={code[7:]}").json["entry"]
        return entry["resource"].get("intendedRoute")

    oral = {"coding": [{"system": "urn:rxrec:route", "code": "oral"}], "text": "by mouth"}
    assert (intended(METFORMIN), intended(WARFARIN), intended(AMOXICILLIN)) == ([oral], None, None)


def test_pages_tell_them_in_the_reader_s_language(client, routes):
    english = client.get(f"/drugs/{METFORMIN}").text
    assert (
        "by mouth (about 310 patients), intravenous (fewer than 11 patients), not told (about 20 patients)" in english
    )
    chinese = client.get(f"/drugs/{METFORMIN}", headers={"Accept-Language": "zh-CN"}).text
    assert "口服（约 310 名患者）、静脉（少于 11 名患者）、未记录（约 20 名患者）" in chinese
    page = client.post("/patient", data={"patient_id": "PAT-6"}).text
    assert "Routes on record: by mouth 310, intravenous &lt;11." in page
    assert "Routes on record: not told." in page  # of simvastatin, which people here had
    found = client.get("/drugs?route=subcutaneous").text
    assert f"/drugs/{LISINOPRIL}" in found and f"/drugs/{METFORMIN}" not in found
    assert '<option value="subcutaneous" selected>subcutaneous</option>' in found
    assert '<option value="ophthalmic"' not in found  # nobody had anything so

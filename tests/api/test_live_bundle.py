"""POST /v1/recommendations with a FHIR Bundle: read as an export is, and what it cannot be read for is told."""

from datetime import UTC, datetime, timedelta

import pytest

ROUTE = "/v1/recommendations"
RXNORM, SNOMED = "http://www.nlm.nih.gov/research/umls/rxnorm", "http://snomed.info/sct"
LOINC = "http://loinc.org"


def coded(system, code, display=""):
    return {"coding": [{"system": system, "code": code, **({"display": display} if display else {})}]}


def of(kind, patient="Patient/p1", **told):
    return {"resourceType": kind, "subject": {"reference": patient}, **told}


def order(drug, **told):
    return of("MedicationRequest", status="active", intent="order", **drug, **told)


def codeable(code, name):
    return {"medicationCodeableConcept": coded(RXNORM, code, name)}


def bundle(*resources, **more):
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in resources], **more}


def born(years):
    return (datetime.now(UTC) - timedelta(days=years * 365.25)).date().isoformat()


PATIENT = {"resourceType": "Patient", "id": "p1", "birthDate": born(69.5), "gender": "male"}
DIABETES = of("Condition", code=coded(SNOMED, "44054006", "diabetes"), clinicalStatus=coded("x", "active"))
HYPERTENSION = of("Condition", code=coded(SNOMED, "38341003", "hypertension"))
NO_ALLERGY = {
    "resourceType": "AllergyIntolerance", "patient": {"reference": "Patient/p1"}, "code": coded(SNOMED, "716186003"),
}  # fmt: skip
METFORMIN, LISINOPRIL = codeable("6809", "metformin"), codeable("29046", "lisinopril")


@pytest.fixture
def ask(client, published):
    return lambda value, query="": client.post(f"{ROUTE}?{query}", json=value)


def about(body):
    return {(gap["kind"], gap["about"]) for gap in body["not_checked"]}


def drugs(body):
    return [drug["name"] for drug in body["current_therapy"]]


def test_a_bundle_gives_what_the_published_chart_gives(ask, client):
    long_ago = "2020-01-01"
    sent = bundle(
        PATIENT, DIABETES, HYPERTENSION, NO_ALLERGY, order(METFORMIN, authoredOn=long_ago),
        order(LISINOPRIL, authoredOn=long_ago),
    )  # fmt: skip
    body, published = ask(sent).json, client.get("/v1/patients/PAT-2/recommendations").json
    assert body["source"] == "live"
    assert body["items"] == published["items"] and body["current_therapy"] == published["current_therapy"]
    assert about(body) == set()  # an observation that is missing is told with each drug that it concerns


@pytest.mark.parametrize("kind", ["searchset", "collection", "transaction", "batch"])
def test_kinds_of_bundle(ask, kind):
    sent = {**bundle(order(METFORMIN)), "type": kind}
    for entry in sent["entry"]:
        entry |= {"request": {"method": "POST", "url": "MedicationRequest"}} if kind in ("transaction", "batch") else {}
    assert drugs(ask(sent).json) == ["metformin"]


def test_a_batch_s_answer_is_taken_apart(ask):
    inner = [bundle(order(METFORMIN)), bundle(order(LISINOPRIL))]
    assert drugs(ask({**bundle(*inner), "type": "batch-response"}).json) == ["lisinopril", "metformin"]


def test_what_a_transaction_deletes_is_not_there(ask):
    sent = bundle({**order(METFORMIN), "id": "a"}, {**order(LISINOPRIL), "id": "b"})
    sent["entry"].append({"request": {"method": "DELETE", "url": "MedicationRequest/b"}})
    assert drugs(ask(sent).json) == ["metformin"]


def test_medications_contained_in_the_bundle_and_nowhere(ask):
    inside = order(
        {"medicationReference": {"reference": "#m"}},
        contained=[{"resourceType": "Medication", "id": "m", "code": coded(RXNORM, "6809")}],
    )
    beside = order({"medicationReference": {"reference": "Medication/m2"}})
    by_urn = order({"medicationReference": {"reference": "urn:uuid:3F1C"}})
    displayed = order({"medicationReference": {"reference": "Medication/gone", "display": "warfarin"}})
    gone = order({"medicationReference": {"reference": "Medication/gone"}})
    sent = bundle(
        inside, beside, by_urn, displayed, gone,
        {"resourceType": "Medication", "id": "m2", "code": {"text": "lisinopril 10 mg"}},
    )  # fmt: skip
    sent["entry"].append(
        {
            "fullUrl": "urn:uuid:3f1c",
            "resource": {"resourceType": "Medication", "code": coded(RXNORM, "36567", "simvastatin")},
        }
    )
    body = ask(sent).json
    assert sorted(drugs(body)) == ["lisinopril", "metformin", "simvastatin", "warfarin"]
    (gap,) = [gap for gap in body["not_checked"] if gap["about"] == "an unnamed drug"]
    assert gap["mend"] == "its Medication is not in the request, or has no code and no name"


def test_what_is_no_part_of_the_chart_is_left_out_and_not_told_of(ask):
    sent = bundle(
        {**order(METFORMIN), "status": "draft"}, {**order(METFORMIN), "intent": "proposal"},
        {**order(METFORMIN), "status": "entered-in-error"}, {**order(METFORMIN), "doNotPerform": True},
        {"resourceType": "Claim", "id": "c"}, {"resourceType": "Unheard"}, order(LISINOPRIL), NO_ALLERGY, DIABETES,
    )  # fmt: skip
    body = ask(sent).json
    assert drugs(body) == ["lisinopril"]
    assert about(body) == {("person", "age"), ("person", "sex")}


def test_an_operation_outcome_is_a_lack_and_not_an_absence(ask):
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]}
    body = ask(bundle(outcome, PATIENT)).json
    assert {("allergy", "allergies"), ("condition", "conditions"), ("therapy", "current drugs")} <= about(body)
    assert ("therapy", "the request's resources") in about(body)
    warning = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "x"}]}
    assert ("therapy", "the request's resources") not in about(ask(bundle(warning, PATIENT)).json)


def test_what_goes_on_without_a_date_is_known_now_and_a_value_without_one_is_not(ask):
    value = of("Observation", status="final", code=coded(LOINC, "98979-8"), valueQuantity={"value": 12})
    body = ask(bundle(PATIENT, order(METFORMIN), value, {**value, "effectiveDateTime": "soon"})).json
    assert drugs(body) == ["metformin"]
    assert not body["current_therapy"][0]["warnings"]
    told = {gap["about"]: gap["mend"] for gap in body["not_checked"] if gap["kind"] == "lab"}
    assert told == {"loinc:98979-8": "not a date or time of FHIR such as 2021, 2021-03-05 or 2021-03-05T06:07:08Z"}
    dated = {**value, "effectiveDateTime": datetime.now(UTC).isoformat()}
    warned = ask(bundle(PATIENT, order(METFORMIN), dated)).json["current_therapy"][0]["warnings"]
    assert "egfr-metformin-30" in [one["rule"] for one in warned]


def test_a_bound_of_a_value_that_rules_ask_for_is_told(ask):
    bound = of(
        "Observation", status="final", code=coded(LOINC, "98979-8", "eGFR"), effectiveDateTime="2026-01-01",
        valueQuantity={"value": 60, "comparator": ">"},
    )  # fmt: skip
    unasked = {**bound, "code": coded(LOINC, "1988-5", "CRP")}
    told = [gap["about"] for gap in ask(bundle(bound, unasked)).json["not_checked"] if gap["kind"] == "lab"]
    assert told == ["eGFR"]


def test_the_later_version_counts(ask):
    old = {**order(METFORMIN), "id": "m", "meta": {"lastUpdated": "2026-01-01T00:00:00Z"}}
    new = {**order(LISINOPRIL), "id": "m", "meta": {"lastUpdated": "2026-02-01T00:00:00Z"}}
    assert drugs(ask(bundle(new, old)).json) == drugs(ask(bundle(old, new)).json) == ["lisinopril"]


def test_resources_of_two_people_are_refused(ask):
    other = {**order(LISINOPRIL), "subject": {"reference": "Patient/p2"}}
    for sent in (bundle(PATIENT, order(METFORMIN), other), bundle(PATIENT, {**PATIENT, "id": "p2"})):
        response = ask(sent)
        assert (response.status_code, response.json["parameter"]) == (400, "entry")
        assert "p2" not in response.text
    merged = {**PATIENT, "id": "p2", "link": [{"type": "replaces", "other": {"reference": "Patient/p1"}}]}
    assert ask(bundle(PATIENT, merged, order(METFORMIN), other)).status_code == 200


def test_what_acts_where_it_is_put_interacts_with_nothing(ask):
    tizanidine, ciprofloxacin = order(codeable("57258", "tizanidine")), order(codeable("2551", "ciprofloxacin"))
    drops = {**ciprofloxacin, "dosageInstruction": [{"route": {"text": "ophthalmic"}}]}

    def warned(*orders):
        return [one["rule"] for drug in ask(bundle(*orders)).json["current_therapy"] for one in drug["warnings"]]

    assert warned(tizanidine, ciprofloxacin) and not warned(tizanidine, drops)


@pytest.mark.parametrize(
    "resources", [[{"resourceType": "Bundle", "entry": [{"resource": None}]}], [], [{"resourceType": "Patient"}]]
)
def test_a_bundle_of_nothing_is_a_chart_of_which_nothing_is_known(ask, resources):
    body = ask(bundle(*resources)).json
    assert ("allergy", "allergies") in about(body) and body["source"] == "live"


@pytest.mark.parametrize("sent", [{"resourceType": "Bundle", "entry": {}}, {"resourceType": "Bundle", "entry": [1]}])
def test_what_is_no_bundle_is_refused(ask, sent):
    assert ask(sent).status_code == 400

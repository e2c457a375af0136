"""FHIR resource by resource: which statuses are history, which dates are taken, which coding; and data types."""

from datetime import UTC, datetime

import pytest

from recommender.loaders.fhir_elements import concept, duration, key, last_moment, moment, text
from recommender.loaders.fhir_event import Event
from recommender.loaders.fhir_resources import READERS

SUBJECT = {"subject": {"reference": "Patient/p1"}, "patient": {"reference": "Patient/p1"}}
DAY = {
    "MedicationRequest": {"authoredOn": "2020-01-10"},
    "MedicationDispense": {"whenHandedOver": "2020-01-10"},
    "MedicationStatement": {"effectiveDateTime": "2020-01-10"},
    "MedicationAdministration": {"effectiveDateTime": "2020-01-10"},
    "Immunization": {"occurrenceDateTime": "2020-01-10"},
    "Procedure": {"performedDateTime": "2020-01-10"},
    "CarePlan": {"period": {"start": "2020-01-10"}},
    "Encounter": {"period": {"start": "2020-01-10"}},
    "Condition": {"onsetDateTime": "2020-01-10"},
    "AllergyIntolerance": {"onsetDateTime": "2020-01-10"},
    "Observation": {"effectiveDateTime": "2020-01-10", "valueInteger": 3},
}
LOINC, SNOMED, RXNORM = "http://loinc.org", "http://snomed.info/sct", "http://www.nlm.nih.gov/research/umls/rxnorm"


def read(kind: str, **elements) -> Event:
    """The one event of a resource of 10 January 2020, with these elements."""
    (event,) = READERS[kind][1]({"resourceType": kind, **SUBJECT, **DAY[kind], **elements})
    return event


def day(seconds: int | None) -> str:
    return (
        "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().split("+")[0].split("T00:00:00")[0]
    )


def span(event: Event) -> tuple[str, str]:
    assert event.rejected is None
    return day(event.start), day(event.stop)


# --- statuses --------------------------------------------------------------------------------------------------------

# every status that R4 lists; "-": rejected, "=": over at once or with its encounter, ">": goes on
STATUSES = {
    "MedicationRequest": "active> on-hold> cancelled- completed= entered-in-error- stopped= draft- unknown>",
    "MedicationStatement": "active> completed= entered-in-error- intended- stopped= on-hold> unknown> not-taken-",
    "MedicationAdministration": "in-progress= not-done- on-hold= completed= entered-in-error- stopped= unknown=",
    "MedicationDispense": "preparation- in-progress- cancelled- on-hold- completed= entered-in-error- stopped= "
    "declined- unknown=",
    "Immunization": "completed= entered-in-error- not-done-",
    "Procedure": "preparation- in-progress> not-done- on-hold> stopped= completed= entered-in-error- unknown=",
    "Encounter": "planned- arrived> triaged> in-progress> onleave> finished= cancelled- entered-in-error- unknown=",
    "CarePlan": "draft- active> on-hold> revoked= completed= entered-in-error- unknown>",
    "Observation": "registered- preliminary= final= amended= corrected= cancelled- entered-in-error- unknown=",
}


@pytest.mark.parametrize(
    ("kind", "status", "fate"),
    [(kind, word[:-1], word[-1]) for kind, words in STATUSES.items() for word in words.split()],
)
def test_status(kind, status, fate):
    event = read(kind, status=status)
    assert (event.rejected is not None) == (fate == "-")
    if fate == "-":
        assert event.rejected[0] == "status"
        assert status in event.rejected[1]
    else:
        assert day(event.start) == "2020-01-10"
        assert (event.stop is not None or event.over) == (fate == "=")


@pytest.mark.parametrize(
    ("kind", "rejected"),
    [("MedicationRequest", {"proposal", "plan", "option"}), ("CarePlan", {"proposal", "option"})],
)
def test_intent(kind, rejected):
    intents = (
        "proposal",
        "plan",
        "option",
        "order",
        "original-order",
        "reflex-order",
        "filler-order",
        "instance-order",
    )
    assert {intent for intent in intents if read(kind, intent=intent).rejected} == rejected


@pytest.mark.parametrize("kind", ["Condition", "AllergyIntolerance"])
@pytest.mark.parametrize("form", ["code", "concept"])  # a code alone is how STU3 wrote it
def test_verification(kind, form):
    def rejected(status: str) -> bool:
        value = status if form == "code" else {"coding": [{"system": "x", "code": status}]}
        return read(kind, verificationStatus=value).rejected is not None

    statuses = ("unconfirmed", "provisional", "differential", "confirmed", "refuted", "entered-in-error")
    assert {s for s in statuses if rejected(s)} == {"differential", "refuted", "entered-in-error"}


def test_only_a_statement_is_reported():
    assert {kind for kind in DAY if read(kind).reported} == {"MedicationStatement"}


def test_only_an_active_allergy_counts():
    def rejected(status: str) -> bool:
        return read("AllergyIntolerance", clinicalStatus={"coding": [{"code": status}]}).rejected is not None

    assert [rejected(status) for status in ("active", "inactive", "resolved")] == [False, True, True]


@pytest.mark.parametrize(
    ("status", "stop"),
    [(s, "") for s in ("active", "recurrence", "relapse")]
    + [(s, "2020-01-20") for s in ("inactive", "remission", "resolved")],
)
def test_a_condition_that_is_over_stops_at_the_latest_when_that_was_recorded(status, stop):
    clinical = {"coding": [{"code": status}]}
    assert span(read("Condition", clinicalStatus=clinical, recordedDate="2020-01-20")) == ("2020-01-10", stop)


# --- dates -----------------------------------------------------------------------------------------------------------


def bounds(**period) -> dict:
    return {"dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": period}}}]}


@pytest.mark.parametrize(
    ("elements", "stop"),
    [
        ({}, ""),
        (bounds(start="2020-01-10", end="2020-02-01"), "2020-02-01"),
        (bounds(end="2020-02-01") | {"dispenseRequest": {"validityPeriod": {"end": "2021-01-01"}}}, "2020-02-01"),
        ({"dosageInstruction": [{"timing": {"repeat": {"boundsDuration": {"value": 2, "code": "wk"}}}}]}, "2020-01-24"),
        ({"dispenseRequest": {"expectedSupplyDuration": {"value": 10, "unit": "days"}}}, "2020-01-20"),
        ({"dispenseRequest": {"validityPeriod": {"end": "2020-03"}}}, "2020-03-31"),
        ({"status": "stopped", **bounds(end="2020-02-01")}, "2020-02-01"),
        (
            {"status": "stopped", "meta": {"lastUpdated": "2020-01-15T00:00:00Z"}, **bounds(end="2020-02-01")},
            "2020-01-15",
        ),
        (
            {"status": "active", "meta": {"lastUpdated": "2020-01-15T00:00:00Z"}, **bounds(end="2020-02-01")},
            "2020-02-01",
        ),
        (
            {"status": "stopped", "meta": {"lastUpdated": "2019-01-15T00:00:00Z"}, **bounds(end="2020-02-01")},
            "2020-01-10",
        ),
    ],
)
def test_when_an_order_ends(elements, stop):
    assert span(read("MedicationRequest", **elements)) == ("2020-01-10", stop)


@pytest.mark.parametrize(
    ("kind", "elements", "expected"),
    [
        ("MedicationRequest", {"authoredOn": None, **bounds(start="2020-02-01")}, ("2020-02-01", "")),
        ("Condition", {"onsetDateTime": None, "onsetPeriod": {"start": "2019", "end": "2020"}}, ("2019-01-01", "")),
        ("Condition", {"onsetDateTime": "soon", "recordedDate": "2020-03-01"}, ("2020-03-01", "")),
        ("Condition", {"onsetDateTime": None, "onsetString": "1999"}, ("1999-01-01", "")),
        ("Condition", {"abatementPeriod": {"start": "2020-02-01"}}, ("2020-01-10", "2020-02-01")),
        ("Condition", {"abatementString": "in summer"}, ("2020-01-10", "2020-01-10")),
        ("Procedure", {"performedDateTime": None, "performedPeriod": {"end": "2020-02-01"}}, ("2020-02-01",) * 2),
        ("Observation", {"effectiveDateTime": None, "issued": "2020-02-01T00:00:00Z"}, ("2020-02-01",) * 2),
        ("Immunization", {"occurrenceDateTime": None, "occurrenceString": "2019-05"}, ("2019-05-01",) * 2),
        ("MedicationDispense", {"daysSupply": {"value": 7}}, ("2020-01-10", "2020-01-10")),  # seven of what?
    ],
)
def test_which_dates_are_taken(kind, elements, expected):
    assert span(read(kind, **elements)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2021", "2021-01-01"),
        ("2021-03", "2021-03-01"),
        ("2021-03-05", "2021-03-05"),
        ("2021-03-05T06:07:08Z", "2021-03-05T06:07:08"),
        ("2021-03-05T06:07:08.999999999+05:30", "2021-03-05T00:37:08"),
        ("2021-03-05T06:07:08", "2021-03-05T06:07:08"),  # without a zone: UTC
        ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59"),
        ("9999-12-31", "9999-12-31"),
        *((bad, "") for bad in ("", "0000", "2021-13", "2021-02-30", "20210305", "2021-W05", "2021-03-05 06:07:08")),
        *((bad, "") for bad in ("2021-03-05T06:07", "２０２１", "0001-01-01T00:00:00+05:00", 2021, None, True, {}, [])),
    ],
)
def test_moment(value, expected):
    assert day(moment(value)) == expected


@pytest.mark.parametrize(
    ("value", "begun", "expected"),
    [
        ("2020", "2019-05", "2020-12-31"),
        ("2020-02", "2019-05", "2020-02-29"),
        ("2020-02-03", "2019-05", "2020-02-03"),
        ("2020-02-03", "2020-02-03T23:00:00-05:00", "2020-02-04T04:00:00"),  # the same day there
        ("2020-02-03T10:00:00Z", "2020-02-03T11:00:00Z", "2020-02-03T10:00:00"),  # before its start: for `assemble`
        ("2020-02-02", "2020-02-03", "2020-02-02"),
        ("9999-99", "2020", ""),
        (None, "2020", ""),
    ],
)
def test_last_moment(value, begun, expected):
    assert day(last_moment(value, begun, moment(begun))) == expected


def test_duration():
    units = {"d": 86_400, "days": 86_400, "wk": 604_800, "Hours": 3_600, "mo": 2_629_800, "a": 31_557_600, "s": 1}
    assert {unit: duration({"value": 1, "unit": unit}) for unit in units} == units
    assert [duration(d) for d in (None, {"value": 1}, {"value": "1", "code": "d"}, {"value": -1, "code": "d"})] == [
        None
    ] * 4


# --- codes and references --------------------------------------------------------------------------------------------


def coding(system: str | None, code: str, display: str | None = None) -> dict:
    return {"system": system, "code": code, "display": display}


@pytest.mark.parametrize(
    ("codings", "words", "expected"),
    [
        ([], None, (None, None)),
        ([], " Back\n pain ", (None, "Back pain")),
        ([coding("urn:x", "1", "one"), coding(SNOMED, "2", "two")], "text", ("snomed:2", "two")),
        ([coding("http://hl7.org/fhir/sid/icd-10-cm", "I10"), coding(SNOMED, "2")], "text", ("snomed:2", "text")),
        ([coding(f"{SNOMED}/731000124108/version/1", "2")], None, ("snomed:2", None)),
        ([coding("urn:oid:2.16.840.1.113883.6.88", "3", "three")], None, ("rxnorm:3", "three")),
        ([coding("urn:x", "1", "one"), coding("urn:y", "2", "two")], None, ("urn:x:1", "one")),
        ([coding(None, "1", "one")], None, (None, "one")),  # which system's 1?
        ([coding(None, "1")], None, ("1", None)),
        (
            [coding("http://terminology.hl7.org/CodeSystem/data-absent-reason", "unknown", "Unknown")],
            None,
            (None, None),
        ),
        ([coding("http://terminology.hl7.org/CodeSystem/v3-NullFlavor", "UNK")], "gout", (None, "gout")),
    ],
)
def test_concept(codings, words, expected):
    assert concept({"coding": codings, "text": words}) == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ({"reference": "Patient/1"}, "1"),
        ({"reference": "Patient/1/_history/3"}, "1"),
        ({"reference": "https://fhir.example/r4/Patient/1"}, "1"),
        ({"reference": "urn:uuid:ABC"}, "urn:uuid:abc"),
        ({"reference": "Patient?identifier=urn:mrn|7"}, "urn:mrn|7"),
        ({"identifier": {"system": "urn:mrn", "value": "7"}}, "urn:mrn|7"),
        ({"identifier": {"value": "7"}}, "|7"),
        *(
            (other, None)
            for other in ({"reference": "Group/1"}, {"display": "Ann"}, {"reference": 7}, {}, None, "Patient/1")
        ),
    ],
)
def test_key(reference, expected):
    assert key(reference, "Patient") == expected


def test_text_that_is_none():
    assert [text(value) for value in ("", "  ", "x" * 1001, 7, None, ["x"], "\0")] == [None] * 7


def test_an_observation_tells_its_own_value_and_its_components():
    parts = [{"code": {"text": word}, "valueQuantity": {"value": 1.5, "unit": "mm"}} for word in "ab"]
    panel = {
        "resourceType": "Observation",
        **SUBJECT,
        **DAY["Observation"],
        "code": {"text": "own"},
        "component": parts,
    }
    found = READERS["Observation"][1](panel)
    assert [(event.name, event.value, event.unit) for event in found] == [
        ("own", 3, None),
        ("a", 1.5, "mm"),
        ("b", 1.5, "mm"),
    ]


def test_route_and_the_vaccine_behind_a_code():
    route = {"route": {"coding": [{"system": SNOMED, "code": "6064005", "display": "Topical route"}]}}
    assert read("MedicationRequest", dosageInstruction=[{}, route]).route == "Topical route"
    assert read("MedicationAdministration", dosage=route).route == "Topical route"
    vaccine = {"coding": [{"system": "http://hl7.org/fhir/sid/cvx", "code": "21", "display": "varicella"}]}
    event = read("Immunization", vaccineCode=vaccine)
    assert (event.code, event.name) == ("cvx:21", "varicella vaccine")

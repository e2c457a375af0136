"""By which routes each drug was given: counted by hand on each source's fixture, hidden where few, alike in parts."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.errors import StoreCorrupt
from recommender.given import COUNTED, NOT_KNOWN, ByRoute, Given, counts_in, no_counts, told_of
from recommender.loaders import load
from recommender.loaders.fhir_resources import immunization, medication_request
from recommender.records import Records
from recommender.safety.charts import Known
from recommender.snapshot import Release, pack_release, unpack_release
from recommender.vocabulary import DrugVocabulary
from recommender.vocabulary.routes import ROUTES, route_bit

FIXTURES = Path(__file__).parents[1] / "fixtures"
SNOMED, HL7 = "http://snomed.info/sct", "http://terminology.hl7.org/CodeSystem"


@pytest.fixture(scope="module")
def vocabulary() -> DrugVocabulary:
    return DrugVocabulary.load()


def counted(records: Records) -> dict[str, dict[str, int]]:
    """Patients by drug's name and route, as they are before any is hidden."""
    counts, names = counts_in(records), records.concepts["name"]
    return {
        str(names[ix]): {COUNTED[place]: int(counts[ix, place]) for place in np.flatnonzero(counts[ix])}
        for ix in np.flatnonzero(counts.any(axis=1))
    }


# --- what each source tells -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "folder", "expected"),
    [
        # ordered into the vein and by mouth for the same hours; an order whose stop precedes its start does not count
        ("mimic", "mimic", {
            "furosemide": {"oral": 1, "intravenous": 1}, "thiamine": {"intravenous": 1}, "warfarin": {"oral": 1},
        }),
        ("mimic3", "mimic3", {"furosemide": {"oral": 1, "intravenous": 1}, "warfarin": {"oral": 2}}),
        # at home and of infusions no route is told; an order without a name is of the drug that its number stands for
        ("eicu", "eicu", {
            "warfarin": {"oral": 1}, "diltiazem": {"intravenous": 1}, "aspirin": {"oral": 1},
            "insulin lispro": {"subcutaneous": 1}, "lorazepam": {"intravenous": 2},
            "lisinopril": {"oral": 1, NOT_KNOWN: 1}, "norepinephrine": {NOT_KNOWN: 1}, "propofol": {NOT_KNOWN: 1},
            "hicl:18084": {"intravenous": 1}, "hicl:9999": {"oral": 1},
        }),
        # 'amoxicillin 250 MG Oral Capsule' and 'Aspirin 81 mg tab' name their forms, 'Metoprolol Succinate XL' does not
        ("omop", "omop", {
            "amoxicillin": {"oral": 3}, "aspirin": {"oral": 1}, "metoprolol": {NOT_KNOWN: 1},
            "00002751001": {"subcutaneous": 1},
        }),
        # 'Aspirin 81 MG', 'Warfarin 5 mg', 'Ginkgo' and a vaccine tell none; 'lisinopril 10 MG Oral Tablet' does
        ("fhir", "fhir/bulk", {
            "metformin": {"oral": 3}, "lisinopril": {"oral": 1}, "aspirin": {NOT_KNOWN: 2}, "warfarin": {NOT_KNOWN: 1},
            "ginkgo": {NOT_KNOWN: 1}, "hydrochlorothiazide / lisinopril": {NOT_KNOWN: 1},
            "COVID-19 vaccine": {NOT_KNOWN: 1},
        }),
        # the form is told also of a drug that nobody knows
        ("synthea", "synthea", {
            "metformin": {"oral": 1}, "lisinopril": {"oral": 1}, "Frobnicol 5 MG Oral Tablet": {"oral": 1},
        }),
        ("csv", "csv", {"metformin": {NOT_KNOWN: 1}, "aspirin": {NOT_KNOWN: 1}}),
    ],
)  # fmt: skip
def test_each_source_tells_its_routes(vocabulary, source, folder, expected):
    assert counted(load(source, FIXTURES / folder, vocabulary=vocabulary)) == expected


def test_plain_tables_may_have_a_route_and_patients_are_counted_once(vocabulary, tmp_path):
    """The column goes before the name; two orders of one patient are one patient; a procedure has no route."""
    (tmp_path / "treatments.csv").write_text(
        "patient_id,code,name,kind,route,start\n"
        "a,,Vancomycin 125 mg capsule,,,2020-01-01\n"
        "a,,Vancomycin 125 mg capsule,,,2020-02-01\n"
        "a,,Vancomycin,,IV,2020-01-01\n"
        "b,,Vancomycin 125 mg capsule,,IVPB,2020-01-01\n"
        "c,,Vancomycin,,as directed,2020-01-01\n"
        "c,,Vancomycin,,,2020-03-01\n"
        "d,,Vancomycin,,PO/NG,2020-01-01\n"
        "d,,Vancomycin,,,2020-02-01\n"
        "a,,Oral surgery,procedure,PO,2020-01-01\n"
    )
    records = load("csv", tmp_path, vocabulary=vocabulary)
    assert counted(records) == {"vancomycin": {"oral": 2, "intravenous": 2, NOT_KNOWN: 1}}


def test_an_order_told_twice_by_two_routes_is_one_event_with_both(vocabulary, tmp_path):
    rows = [("a", "PO"), ("a", "IV"), ("a", "PO"), ("b", "IM")]
    lines = [f"{who},,Ondansetron,{route},2020-01-01" for who, route in rows]
    (tmp_path / "treatments.csv").write_text("\n".join(["patient_id,code,name,route,start", *lines, ""]))
    records = load("csv", tmp_path, vocabulary=vocabulary)
    events = records.treatments.set_index("patient_ix")["routes"].to_dict()
    assert events == {0: route_bit("oral") | route_bit("intravenous"), 1: route_bit("intramuscular")}
    assert [f.first_rows for f in records.log.findings if f.reason.startswith("repeats")] == [(3, 4)]


@pytest.mark.parametrize(
    ("route", "told"),
    [
        ({"coding": [{"system": SNOMED, "code": "26643006"}]}, "oral"),
        ({"coding": [{"system": SNOMED, "code": "47625008", "display": "Intravenous route"}]}, "Intravenous route"),
        ({"coding": [{"system": f"{HL7}/v3-RouteOfAdministration", "code": "IM"}]}, "IM"),
        ({"text": "by mouth", "coding": [{"system": SNOMED, "code": "26643006"}]}, "by mouth"),
        (None, None), ("oral", None), ({"coding": "?"}, None),
    ],
)  # fmt: skip
def test_fhir_tells_a_route_in_words_or_by_code(route, told):
    drug = {"text": "Ondansetron"}
    request = {"resourceType": "MedicationRequest", "intent": "order", "medicationCodeableConcept": drug}
    (event,) = medication_request({**request, "dosageInstruction": [{"route": route}]})
    vaccine = {"resourceType": "Immunization", "vaccineCode": drug, "occurrenceDateTime": "2020-01-01", "route": route}
    assert (event.route, immunization(vaccine)[0].route) == (told, told)


# --- what is told of it ----------------------------------------------------------------------------------------------


def table(**patients: dict[str, int]) -> tuple[np.ndarray, pd.DataFrame]:
    """Counts of drugs by name, and their concepts."""
    concepts = pd.DataFrame({"code": list(patients), "kind": "drug"})
    counts = no_counts(concepts)
    for ix, found in enumerate(patients.values()):
        for route, n in found.items():
            counts[ix, COUNTED.index(route)] = n
    return counts, concepts


def test_counts_are_told_in_tens_and_few_are_hidden():
    """Of 1,000: 312 and 314 -> 310, 41 -> 40, 11 -> 20 (the lowest told), 10 and 1 hidden; the most usual first."""
    found = told_of(
        *table(a={"intravenous": 41, "oral": 312, "rectal": 10, NOT_KNOWN: 314}, b={"inhaled": 1}, c={NOT_KNOWN: 11}),
        1_000,
    )
    assert found.of("a") == (
        ByRoute("oral", "310"), ByRoute("intravenous", "40"), ByRoute("rectal", "<11"), ByRoute(NOT_KNOWN, "310"),
    )  # fmt: skip
    assert (found.of("b"), found.of("c")) == ((ByRoute("inhaled", "<11"),), (ByRoute(NOT_KNOWN, "20"),))
    assert found.of("never given") == ()
    assert found.routes == ("oral", "intravenous", "inhaled", "rectal", NOT_KNOWN)


def test_all_but_a_few_are_not_told_apart_from_all():
    """Of 100: 95 and 100 are told as 90, or who did not have it so would be a small number."""
    found = told_of(*table(a={"oral": 95}, b={"oral": 100}), 100)
    assert found.of("a") == found.of("b") == (ByRoute("oral", "90"),)


def test_a_drug_without_a_route_is_by_none():
    drugs = table(a={"oral": 3, NOT_KNOWN: 30}, b={NOT_KNOWN: 30}, c={"subcutaneous": 20}, d={"intradermal": 1})
    found = told_of(*drugs, 99)
    by = {route: {code for code in "abcde" if found.by(code, route)} for route in COUNTED}
    assert {route: codes for route, codes in by.items() if codes} == {
        "oral": {"a"}, "subcutaneous": {"c"}, "intradermal": {"d"}, "injected": {"c", "d"}, NOT_KNOWN: {"b", "e"},
    }  # fmt: skip


def test_routes_fit_the_bits_of_an_event():
    assert len(ROUTES) <= 32 and len({route_bit(route) for route in ROUTES}) == len(ROUTES)
    assert route_bit("systemic") == route_bit("") == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4), st.integers(0, 2 ** len(ROUTES) - 1)), max_size=30),
    st.integers(0, 9),
)
def test_counts_are_sets_of_patients_and_add_up(events, cut):
    """Worked out again with sets of patients; of some patients and the others it is the same."""
    concepts = pd.DataFrame({"code": [f"d{n}" for n in range(5)], "kind": ["drug"] * 4 + ["procedure"]})

    def part(chosen: list[tuple[int, int, int]]) -> np.ndarray:
        person, concept, routes = np.array(chosen, dtype=np.int64).reshape(-1, 3).T
        frame = {"patient_ix": person.astype(np.int32), "concept_ix": concept.astype(np.int32)}
        frame = pd.DataFrame({**frame, "routes": routes.astype(np.uint32)})
        return counts_in(SimpleNamespace(concepts=concepts, treatments=frame))

    expected = no_counts(concepts)
    for drug in range(4):
        routes = {p: 0 for p, concept, _ in events if concept == drug}
        for person, concept, bits in events:
            if concept == drug:
                routes[person] |= bits
        for bits in routes.values():
            for place in range(len(ROUTES)):
                expected[drug, place] += bits >> place & 1
            expected[drug, -1] += bits == 0
    np.testing.assert_array_equal(part(events), expected)
    parts = [[one for one in events if (one[0] < cut) == first] for first in (True, False)]
    np.testing.assert_array_equal(part(parts[0]) + part(parts[1]), expected)


# --- in a release ----------------------------------------------------------------------------------------------------


def test_a_release_keeps_them_sealed(tiny_snapshot):
    told = told_of(*table(a={"oral": 30, "rectal": 2}), 1_000)
    release = dataclasses.replace(tiny_snapshot().release, given=told)
    assets = pack_release(release)
    again = unpack_release("v1", assets)
    assert again.given == told and again.routes("a") == (ByRoute("oral", "30"), ByRoute("rectal", "<11"))
    assert unpack_release("v1", pack_release(tiny_snapshot().release)).given is None  # of an older program
    with pytest.raises(StoreCorrupt, match="asset given of version v1 was altered"):
        unpack_release("v1", {**assets, "given": assets["given"].replace(b'"oral":3', b'"oral":4')})


def test_groups_are_what_they_were_and_nothing_is_known_without_counts(tiny_snapshot):
    release = dataclasses.replace(tiny_snapshot().release, known=Known((), local=frozenset({"x"})))
    wishes = ("local", "systemic", "oral", NOT_KNOWN)
    assert [release.by_route("x", wish) for wish in wishes] == [True, False, False, True]
    assert [release.by_route("y", wish) for wish in ("local", "systemic")] == [False, True]
    assert release.routes("x") == ()
    assert isinstance(release, Release) and Given(5, {}).of("x") == ()

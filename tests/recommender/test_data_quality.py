"""The account of an export, worked by hand on the tiny hospital (see conftest.py)."""

import dataclasses
import json

import pytest

from recommender.data_quality import describe


@pytest.fixture(scope="module")
def quality(tiny_records):
    return describe(tiny_records)


def test_people(quality):
    people = quality["patients"]
    assert people["count"] == 6
    assert people["without_treatment"] == 1  # PAT-6
    assert people["sex"] == {"F": 3, "M": 3}
    # born 1950, 1955, 1960, 1965, 1985, 2000, each on 1 July; read on 2025-01-01
    assert {band: n for band, n in people["age"].items() if n} == {
        "20-29": 1,
        "30-39": 1,
        "50-59": 1,
        "60-69": 2,
        "70-79": 1,
    }
    assert people["missing"] == {"birth date": 0, "sex": 0, "race": 6, "ethnicity": 6}
    assert people["treatments_each"]["p50"] == 2  # 3, 2, 2, 2, 2, 0


def test_tables(quality):
    drugs = quality["tables"]["treatments"]
    assert (drugs["events"], drugs["patients"], drugs["concepts"]) == (11, 5, 5)
    assert (drugs["first"], drugs["last"], drugs["per_year"]) == ("2020-01-01", "2020-01-01", {"2020": 11})
    assert drugs["still going on"] == 10  # all but the warfarin of PAT-5
    assert quality["tables"]["observations"]["events"] == 1


def test_kinds(quality):
    assert quality["treatments_by_kind"] == {
        "drug": {"events": 11, "patients": 5, "concepts": 5},
        **{kind: {"events": 0, "patients": 0, "concepts": 0} for kind in ("procedure", "care_plan", "care_resource")},
    }


def test_visits_are_no_treatment_of_a_person(tiny_records):
    """What is said of the treatments of each person is of therapies."""
    concepts = tiny_records.concepts.assign(kind=tiny_records.concepts["kind"].replace("drug", "care_resource"))
    described = describe(dataclasses.replace(tiny_records, concepts=concepts))
    assert described["treatments_by_kind"]["care_resource"] == {"events": 11, "patients": 5, "concepts": 5}
    assert described["patients"]["without_treatment"] == 6


def test_most_given(quality):
    drugs = [(row["name"], row["patients"]) for row in quality["most_given"]["drug"]]
    # by patients; warfarin before simvastatin as their codes are, 11289 and 36567
    assert drugs == [("lisinopril", 3), ("metformin", 3), ("warfarin", 2), ("simvastatin", 2), ("amoxicillin", 1)]
    assert quality["most_given"]["procedure"] == []


def test_conditions_by_chapter(quality):
    # three with type 2 diabetes, three with hypertension
    counts = quality["conditions_by_chapter"]
    assert sorted(counts.values()) == [3, 3]
    assert "no chapter known" not in counts


def test_measurements(quality):
    (row,) = quality["measurements"]
    assert (row["name"], row["values"], row["patients"], row["median"]) == ("eGFR", 1, 1, 55.0)


def test_the_account_of_rows_is_part_of_it(quality):
    assert quality["files"]["drug.csv"] == {"read": 11, "kept": 11, "rejected": 0}
    assert quality["findings"] == []


def test_it_is_json_and_names_no_patient(quality):
    assert "PAT-" not in json.dumps(quality)


def test_guesses_for_unknown_names_are_near_or_none(tiny_records, monkeypatch):
    monkeypatch.setattr(tiny_records.log, "unmapped", {"metforman": 3, "adde": 1})
    described = describe(tiny_records, lambda name: [("metformin", 0.89), ("adenine", 0.5)])
    assert described["drug_names"]["unmapped_names"] == 2
    assert described["drug_names"]["unmapped"][0] == {"name": "metforman", "rows": 3, "nearest": ["metformin"]}

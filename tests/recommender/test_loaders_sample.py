"""The project's own synthetic hospital: all the dirt that its writer mixes in is accounted for."""

from pathlib import Path

import pandas as pd
import pytest

from data.synthetic import write_hospital
from recommender.loaders import load
from recommender.vocabulary import DrugVocabulary

MEASUREMENTS = Path(__file__).parents[2] / "data" / "vocabulary" / "measurements.csv"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hospital") / "sample"
    write_hospital(folder, patients=1000, seed=7, processes=1)
    return folder


def test_all_dirt_of_the_sample_is_counted(hospital):
    records = load("synthea", hospital, vocabulary=None)
    orders = pd.read_csv(hospital / "medications.csv", dtype=str)
    undated, reversed_ = orders["START"].isna(), orders["STOP"] < orders["START"]
    usable = orders[~undated & ~reversed_]
    usable = usable.assign(code=usable["CODE"].fillna(usable["DESCRIPTION"].str.lower()))
    distinct = usable.drop_duplicates(["PATIENT", "code", "START", "STOP"])
    values = pd.read_csv(hospital / "observations.csv", dtype=str)
    limits = pd.read_csv(MEASUREMENTS).set_index("loinc").loc[values["CODE"], ["low", "high"]].to_numpy()
    possible = values[values["VALUE"].astype(float).between(limits[:, 0], limits[:, 1])]
    once = possible.drop_duplicates(["PATIENT", "CODE", "DATE", "VALUE"])
    repeats = "repeats an earlier row (same patient, code, times and value)"
    assert {(f.file, f.reason): f.count for f in records.log.findings} == {
        ("medications.csv", "date missing"): undated.sum(),
        ("medications.csv", "stop is before start"): reversed_.sum(),
        ("medications.csv", repeats): len(usable) - len(distinct),
        ("observations.csv", repeats): len(possible) - len(once),
        ("observations.csv", "not a possible value of this measurement"): len(values) - len(possible),
    }
    kinds = records.concepts["kind"].iloc[records.treatments["concept_ix"]]
    assert (kinds == "drug").sum() == len(distinct)
    assert records.n_patients == 1000


def test_drugs_of_the_sample_are_known(hospital):
    log = load("synthea", hospital, vocabulary=DrugVocabulary.load()).log
    assert log.mapped.get("none", 0) <= 0.01 * sum(log.mapped.values()), log.unmapped
    assert not any(finding.reason.startswith("not therapy") for finding in log.findings)

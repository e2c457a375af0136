"""The synthetic hospital as OMOP: the same people and events as in Synthea's layout, every difference explained."""

import io
from collections import Counter
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from data.synthetic import block, export, omop, write_hospital, writer
from data.synthetic.omop_cdm import COLUMNS, concepts
from recommender.loaders import load
from recommender.records import Records
from recommender.vocabulary import DrugVocabulary

PATIENTS = 400


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("hospital")
    for fmt in ("csv", "omop"):
        write_hospital(folder / fmt, patients=PATIENTS, seed=7, fmt=fmt, processes=1)
    return {"synthea": folder / "csv", "omop": folder / "omop"}


@pytest.fixture(scope="module")
def both(folders) -> tuple[Records, Records]:
    vocabulary = DrugVocabulary.load()
    synthea, cdm = (load(source, folder, vocabulary=vocabulary) for source, folder in folders.items())
    return synthea, cdm


@pytest.fixture(scope="module")
def uuid(folders) -> dict[str, str]:
    """person_id -> Synthea's id."""
    person = pd.read_csv(folders["omop"] / "person.csv", dtype=str)
    return dict(zip(person["person_id"], person["person_source_value"], strict=True))


def events(records: Records, table: str, ids: dict[str, str] | None = None) -> Counter[tuple]:
    """(patient id, kind, code, name, unit, start, stop, value) of each event."""
    frame = getattr(records, table)
    of = records.concepts.iloc[frame["concept_ix"]]
    patients = records.patients["patient_id"].map(lambda patient: (ids or {}).get(patient, patient))
    columns = [patients.iloc[frame["patient_ix"]], *(of[name] for name in ("kind", "code", "name", "unit"))]
    columns += [frame[name].astype(str).fillna("") for name in ("start", "stop")]
    return Counter(zip(*columns, frame.get("value", frame["start"]), strict=True))


def test_people(both, uuid):
    synthea, cdm = (records.patients for records in both)
    assert len(synthea) == PATIENTS
    pd.testing.assert_frame_equal(synthea, cdm.assign(patient_id=cdm["patient_id"].map(uuid)))


@pytest.mark.parametrize("table", ["conditions", "observations", "allergies"])
def test_events(both, uuid, table):
    expected = events(both[0], table)
    assert sum(expected.values()) > 100
    assert events(both[1], table, uuid) == expected


def test_treatments(both, uuid):
    synthea, cdm = events(both[0], "treatments"), events(both[1], "treatments", uuid)
    care_plans = {event for event in synthea if event[1] == "care_plan"}  # OMOP has none
    going_on = {event for event in synthea if event[1] == "drug" and event[6] == ""}
    assert care_plans and going_on
    assert {kind for _, kind, *_ in cdm} == {"drug", "procedure", "care_resource"}
    # CDM 5.4 asks for an end: an order that goes on has the last second of the hospital's last day, after all else
    ended = Counter((*event[:6], "2026-10-31 23:59:59+00:00", event[7]) for event in going_on)
    assert cdm == Counter(event for event in synthea if event not in care_plans | going_on) + ended
    assert (both[1].patients["as_of"] < pd.Timestamp("2026-10-31 23:59:59", tz="UTC")).all()


def test_an_environmental_allergy_has_no_concept_of_its_own_in_omop(both):
    groups = [dict(zip(r.concepts["code"], r.concepts["group"], strict=True)) for r in both]
    allergies = both[0].concepts.loc[both[0].concepts["kind"] == "allergy", "code"]
    differ = {(groups[0][code], groups[1][code]) for code in allergies if groups[0][code] != groups[1][code]}
    assert differ == {("environment", "")}


def test_the_same_rows_are_rejected(both):
    def reasons(records: Records, file: str) -> Counter[tuple]:
        return Counter({(f.reason, f.first_rows): f.count for f in records.log.findings if f.file == file})

    assert reasons(both[0], "medications.csv") == reasons(both[1], "drug_exposure.csv")
    assert reasons(both[0], "observations.csv") == reasons(both[1], "measurement.csv")


def test_columns_are_those_of_the_cdm(folders):
    assert {path.stem for path in folders["omop"].glob("*.csv")} == set(COLUMNS)
    for name, columns in COLUMNS.items():
        table = pd.read_csv(folders["omop"] / f"{name}.csv", dtype=str)
        assert list(table) == columns.split()
        if name not in ("cdm_source", "death"):
            assert table.iloc[:, 0].is_unique


def test_every_concept_is_ours_and_used_ids_are_known(folders):
    known = {str(concept) for concept, _ in concepts().values()}
    assert all(int(concept) > 2_000_000_000 for concept in known)
    for name, column in {
        "drug_exposure": "drug_source_concept_id",
        "drug_era": "drug_concept_id",
        "condition_occurrence": "condition_source_concept_id",
        "procedure_occurrence": "procedure_source_concept_id",
        "measurement": "measurement_source_concept_id",
        "observation": "value_as_concept_id",
        "visit_occurrence": "visit_source_concept_id",
    }.items():
        used = pd.read_csv(folders["omop"] / f"{name}.csv", dtype=str)[column]
        assert set(used) <= known | ({"0"} if name == "drug_exposure" else set())  # free text has no concept


def test_eras_are_of_ingredients(folders):
    """Those of the patient with most of them, worked out again in plain Python."""
    eras = pd.read_csv(folders["omop"] / "drug_era.csv", dtype=str)
    person = eras["person_id"].value_counts().index[0]
    exposures = pd.read_csv(folders["omop"] / "drug_exposure.csv", dtype=str)
    exposures = exposures[(exposures["person_id"] == person) & (exposures["drug_source_concept_id"] != "0")]
    name, vocabulary = {str(concept): name for concept, name in concepts().values()}, DrugVocabulary.load()
    spans: dict[str, list[tuple[date, date]]] = {}
    for order in exposures.dropna(subset="drug_exposure_start_date").itertuples():
        start, stop = map(date.fromisoformat, (order.drug_exposure_start_date, order.drug_exposure_end_date))
        if start <= stop:
            for code in vocabulary.match(name[order.drug_source_concept_id]).ingredients:
                spans.setdefault(vocabulary.drugs[code].name, []).append((start, stop))
    expected = []
    for drug, times in spans.items():
        (first, last), count = min(times), 0
        for start, stop in sorted(times):
            if (start - last).days > 30:
                expected.append((drug, str(first), str(last), str(count)))
                first, last, count = start, stop, 0
            last, count = max(last, stop), count + 1
        expected.append((drug, str(first), str(last), str(count)))
    own = eras[eras["person_id"] == person]
    found = zip(
        own["drug_concept_id"].map(name).str.lower(),
        *(own[column] for column in ("drug_era_start_date", "drug_era_end_date", "drug_exposure_count")),
        strict=True,
    )
    assert sorted(found) == sorted((drug.lower(), *era) for drug, *era in expected)
    assert len(expected) > 10


def test_blocks_make_one_hospital(tmp_path, monkeypatch):
    """Two blocks: the same bytes again, people numbered on, no id of an event twice, one CONCEPT table."""
    for module in (block, export, omop):
        monkeypatch.setattr(module, "BLOCK", 60)
    parts = [writer.encode(3, number, size, "omop") for number, size in ((0, 60), (1, 40))]
    assert parts == [writer.encode(3, number, size, "omop") for number, size in ((0, 60), (1, 40))]

    def column(name: str) -> pd.Series:
        return pd.read_csv(io.BytesIO(b"".join(part[name][1] for part in parts)), dtype=str).iloc[:, 0]

    assert list(column("person")) == [str(number) for number in range(1, 101)]
    assert all(column(name).is_unique for name in ("measurement", "drug_exposure", "visit_occurrence", "drug_era"))
    assert ["concept" in part for part in parts] == [True, False]

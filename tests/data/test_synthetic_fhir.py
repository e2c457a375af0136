"""The synthetic hospital as FHIR: the same people as in the CSV, in the same bytes every time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from data.synthetic import write_hospital, writer
from recommender.loaders import load
from recommender.records import TREATMENT_KINDS, Records
from recommender.vocabulary import DrugVocabulary

pytestmark = pytest.mark.xdist_group("synthetic fhir")  # one worker makes the shared hospital once

PATIENTS, SEED = 400, 11
TABLES = {
    "patients": "Patient",
    "encounters": "Encounter",
    "medications": "MedicationRequest",
    "conditions": "Condition",
    "allergies": "AllergyIntolerance",
    "procedures": "Procedure",
    "careplans": "CarePlan",
    "observations": "Observation",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("synthetic")
    for fmt in ("csv", "fhir"):
        write_hospital(folder / fmt, patients=PATIENTS, seed=SEED, fmt=fmt, processes=1)  # type: ignore[arg-type]
    return folder / "csv", folder / "fhir"


@pytest.fixture(scope="module")
def both(folders: tuple[Path, Path]) -> tuple[Records, Records]:
    vocabulary = DrugVocabulary.load()
    return load("synthea", folders[0], vocabulary=vocabulary), load("fhir", folders[1], vocabulary=vocabulary)


def events(records: Records, table: str) -> pd.DataFrame:
    """patient_id, kind, code, name, group, unit, start, stop[, value], in order."""
    frame = getattr(records, table).reset_index(drop=True)
    words = records.concepts.iloc[frame["concept_ix"]].reset_index(drop=True)
    people = records.patients["patient_id"].iloc[frame["patient_ix"]].reset_index(drop=True)
    told = pd.concat([people, words, frame.drop(columns=["patient_ix", "concept_ix"])], axis=1)
    return told.sort_values(list(told.columns), ignore_index=True)


def test_the_same_patients(both: tuple[Records, Records]) -> None:
    pd.testing.assert_frame_equal(both[0].patients, both[1].patients)
    assert len(both[0].patients) == PATIENTS


@pytest.mark.parametrize("table", ["conditions", "allergies", "observations"])
def test_the_same_conditions_allergies_and_observations(both: tuple[Records, Records], table: str) -> None:
    csv, fhir = (events(records, table) for records in both)
    assert len(csv) > 50
    pd.testing.assert_frame_equal(csv, fhir)


def test_the_same_treatments_and_the_undated_orders_besides(
    both: tuple[Records, Records], folders: tuple[Path, Path]
) -> None:
    """An order without a date is rejected from the CSV; its resource names its encounter, so FHIR dates it by that."""
    csv, fhir = (events(records, "treatments") for records in both)
    orders = pd.read_csv(folders[0] / "medications.csv", dtype=str)
    starts = pd.read_csv(folders[0] / "encounters.csv", dtype=str).set_index("Id")["START"]
    undated = orders[orders["START"].isna()].drop_duplicates()
    added = {
        (
            order.PATIENT,
            pd.Timestamp(starts[order.ENCOUNTER]),
            "" if pd.isna(order.STOP) else str(pd.Timestamp(order.STOP)),
        )
        for order in undated.itertuples()
    }
    assert len(undated) > 5
    assert set(csv["kind"]) == set(TREATMENT_KINDS)
    merged = fhir.merge(csv, how="outer", indicator=True)
    assert not (merged["_merge"] == "right_only").any()
    only = merged[merged["_merge"] == "left_only"]
    assert len(only) == len(undated)
    found = {(e.patient_id, e.start, "" if pd.isna(e.stop) else str(e.stop)) for e in only.itertuples()}
    assert found == added


def test_the_same_rejections_but_for_the_undated_orders(both: tuple[Records, Records]) -> None:
    def counts(records: Records, names: dict[str, str]) -> dict[tuple[str, str], int]:
        return {(names[f.file.split(".")[0]], f.reason): f.count for f in records.log.findings}

    csv = counts(both[0], TABLES)
    assert csv.pop(("MedicationRequest", "date missing")) > 5
    assert counts(both[1], {kind: kind for kind in TABLES.values()}) == csv


def test_every_row_is_one_resource_and_the_manifest_counts_them(folders: tuple[Path, Path]) -> None:
    manifest = json.loads((folders[1] / "manifest.json").read_text())
    promised = {output["type"]: output["count"] for output in manifest["output"]}
    for table, kind in TABLES.items():
        resources = [json.loads(line) for line in (folders[1] / f"{kind}.000.ndjson").read_bytes().splitlines()]
        rows = len(pd.read_csv(folders[0] / f"{table}.csv", dtype=str))
        assert len(resources) == promised[kind] == rows
        assert {resource["resourceType"] for resource in resources} == {kind}
        assert len({resource["id"] for resource in resources}) == rows
        assert "null" not in json.dumps(resources)
        assert not any(value in ("", [], {}) for resource in resources for value in resource.values())


def test_bytes_do_not_depend_on_the_number_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BLOCK", 2)  # two blocks
    digests = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        write_hospital(folder, patients=3, seed=5, fmt="fhir", processes=processes)
        digests.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()})
    assert digests[0] == digests[1]
    lines = (tmp_path / "1" / "Observation.000.ndjson").read_bytes().splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == len(lines)  # also across blocks

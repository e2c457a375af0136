"""A real server's bulk export in, records out; every number checked against a plain pass with `json`."""

import json
from collections import Counter
from datetime import UTC, datetime

import pandas as pd
import pytest

from recommender.loaders import load
from recommender.vocabulary import DrugVocabulary

pytestmark = pytest.mark.real_data


def instant(text: str) -> pd.Timestamp:
    return pd.Timestamp(datetime.fromisoformat(text).astimezone(UTC)).floor("s")


@pytest.fixture(scope="module")
def resources(real_data) -> dict[str, list[dict]]:
    files = {path.name.split(".")[0]: path for path in (real_data / "fhir_bulk_13").glob("*.000.ndjson")}
    return {kind: [json.loads(line) for line in path.read_text().splitlines()] for kind, path in files.items()}


def test_fhir_bulk_13(real_data, resources):
    records = load("fhir", real_data / "fhir_bulk_13", vocabulary=None)
    log = records.log
    assert log.read == {f"{kind}.000.ndjson": len(found) for kind, found in resources.items()}
    assert records.n_patients == len(resources["Patient"]) == 13
    assert dict(zip(records.patients["patient_id"], records.patients["sex"], strict=True)) == {
        patient["id"]: {"female": "F", "male": "M"}[patient["gender"]] for patient in resources["Patient"]
    }

    ended = {encounter["id"]: encounter["period"]["end"] for encounter in resources["Encounter"]}
    orders = Counter()
    for order in resources["MedicationRequest"]:
        start = instant(order["authoredOn"])
        last = instant(ended[order["encounter"]["reference"].removeprefix("Encounter/")])
        stop = max(start, last) if order["status"] == "stopped" else None
        code = order["medicationCodeableConcept"]["coding"][0]["code"]
        orders[order["subject"]["reference"], f"rxnorm:{code}", start, stop] += 1
    frame = records.treatments.assign(
        kind=records.concepts["kind"].array[records.treatments["concept_ix"]],
        code=records.concepts["code"].array[records.treatments["concept_ix"]],
        patient="Patient/" + records.patients["patient_id"].array[records.treatments["patient_ix"]].astype(object),
    )
    mine = frame[(frame["kind"] == "drug") & frame["code"].str.startswith("rxnorm:")]
    assert {
        (row.patient, row.code, row.start, None if pd.isna(row.stop) else row.stop) for row in mine.itertuples()
    } == set(orders)
    assert len(mine) == len(orders) == 1742
    assert mine["stop"].isna().sum() == 23  # the active ones; the 1,722 that were stopped do not go on

    kinds = frame["kind"].value_counts()
    assert kinds["drug"] == 1742 + len(resources["Immunization"]) == 1742 + 161
    assert kinds["procedure"] == len(resources["Procedure"]) == 2056
    assert len(records.conditions) == len(resources["Condition"]) == 555
    assert records.conditions["stop"].notna().sum() == 448
    assert len(records.allergies) == len(resources["AllergyIntolerance"]) == 11
    others = ("Location", "Organization", "Practitioner", "PractitionerRole")
    assert {f.file.split(".")[0]: f.count for f in log.findings} == {
        **{kind: len(resources[kind]) for kind in others},
        "MedicationRequest": 3,  # repeats
        "Encounter": 1,  # a repeat
    }


def test_drugs_of_fhir_bulk_13(real_data, resources):
    log = load("fhir", real_data / "fhir_bulk_13", vocabulary=DrugVocabulary.load()).log
    drugs = len(resources["MedicationRequest"]) + len(resources["Immunization"])
    assert sum(log.mapped.values()) == drugs  # none is taken for no therapy
    assert log.mapped.get("none", 0) <= 0.01 * len(resources["MedicationRequest"])

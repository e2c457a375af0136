"""A risk learned from records: whose chart is read when, what is an input, and what followed; by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from recommender.errors import InputError, TrainingError
from recommender.evaluation.trial import make_trial
from recommender.moments import now
from recommender.risk.context import trial_with_risk, with_risk
from recommender.risk.records_table import inputs_at, learn_records, outcome_of, read_records
from recommender.risk.table import Feature

DIABETES = "snomed:44054006"


@pytest.fixture
def records(tiny_records):
    """The tiny hospital; the diabetes of PAT-2 began on 2024-06-01, that of PAT-3 on 2024-12-31."""
    conditions = tiny_records.conditions.copy()
    code = tiny_records.concepts["code"].to_numpy()[conditions["concept_ix"]]
    for patient, day in ((1, "2024-06-01"), (2, "2024-12-31")):
        mine = (conditions["patient_ix"] == patient) & (code == DIABETES)
        conditions.loc[mine, "start"] = pd.Timestamp(day, tz="UTC")
    return dataclasses.replace(tiny_records, conditions=conditions)


def test_the_outcome_is_what_began_within_the_horizon(records):
    table = learn_records(records, outcome_of(records, DIABETES, 365))
    # PAT-1 had it a year ago; PAT-6 was not known then
    assert table.person.tolist() == ["PAT-2", "PAT-3", "PAT-4", "PAT-5"]
    assert table.outcome.tolist() == [True, True, False, False]
    values = dict(zip([f.name for f in table.inputs.features], table.inputs.values.T.tolist(), strict=True))
    assert values["age"] == pytest.approx([68.5, 63.5, 58.5, 38.5], abs=0.05)
    assert values["female"] == [0, 1, 0, 1]
    assert table.said == "diabetes, by the chart of 1 year ago, in those who did not have it"


def test_a_shorter_horizon_reads_a_later_chart(records):
    table = learn_records(records, outcome_of(records, DIABETES, 30))
    assert dict(zip(table.person, table.outcome, strict=True)) == {"PAT-3": True, "PAT-4": False, "PAT-5": False}


def test_without_a_horizon_the_condition_is_no_input_of_itself(records):
    table = learn_records(records, outcome_of(records, "diabetes"))
    assert dict(zip(table.person, table.outcome.tolist(), strict=True)) == {f"PAT-{n}": n <= 3 for n in range(1, 7)}
    sources = [f.source for f in table.inputs.features]
    assert not any("diabetes" in source for source in sources if source.startswith("condition_group:"))
    assert any("hypertension" in source for source in sources)


def test_a_measurement_of_the_future_is_not_seen(records):
    newest = Feature("eGFR", "loinc:33914-3", "number")
    outcome = outcome_of(records, DIABETES, 365)
    earlier = records.observations.assign(start=pd.Timestamp("2023-01-01", tz="UTC").as_unit("s"))
    inputs, has = read_records(dataclasses.replace(records, observations=earlier), [newest], outcome)
    assert inputs.values[0, 0] == 55 and np.isnan(inputs.values[1:, 0]).all()
    assert has.tolist() == [True, True, True, False, False, False]
    later = records.observations.assign(start=pd.Timestamp("2024-12-22", tz="UTC").as_unit("s"))
    moved = dataclasses.replace(records, observations=later)
    table = learn_records(moved, outcome)
    assert "loinc:33914-3" not in [f.source for f in table.inputs.features]


def test_what_nobody_could_be_asked_is_said(records):
    with pytest.raises(InputError, match="neither a condition of these records nor a group"):
        outcome_of(records, "no-such")
    with pytest.raises(TrainingError, match="nobody was known 20 years before"):
        learn_records(records, outcome_of(records, DIABETES, 20 * 365))


def test_the_risk_is_a_column_of_its_band(tiny_matrix):
    matrix = with_risk(tiny_matrix, np.array([0.0, 0.03, 0.05, 0.5, 1.0, np.nan]), "diabetes")
    block = matrix.index.block("risk")
    assert [column.name for column in matrix.index.columns[block]][:2] == [
        "risk of diabetes 0 to 1%",
        "risk of diabetes 1 to 5%",
    ]
    bands = matrix.rows[:, block].toarray()
    assert bands.argmax(axis=1).tolist()[:5] == [0, 1, 2, 5, 5] and bands.sum(axis=1).tolist() == [1, 1, 1, 1, 1, 0]
    assert np.array_equal(matrix.rows[:, : len(tiny_matrix.index)].toarray(), tiny_matrix.rows.toarray())


def test_a_trial_has_the_column_on_both_sides(tiny_records):
    trial = make_trial(tiny_records, "hidden-half", ["drug"])
    grown = trial_with_risk(trial, np.full(len(trial), 0.3), "diabetes")
    assert grown.taught.index.columns[-1].code == "risk:diabetes:5"
    assert grown.relevant.shape == grown.asked.rows.shape and grown.relevant.nnz == trial.relevant.nnz
    features = [Feature("age", "age", "number")]
    values = inputs_at(tiny_records, features, outcome_of(tiny_records, DIABETES), now(tiny_records)).values
    assert values[:, 0] == pytest.approx([74.5, 69.5, 64.5, 59.5, 39.5, 24.5], abs=0.05)

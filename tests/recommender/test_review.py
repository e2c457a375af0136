"""Conditions as targets: their columns and what is hidden, by hand; and what a reviewer tells of a chart."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from recommender.errors import NothingPublished, StoreCorrupt, TrainingError
from recommender.evaluation.compare import evaluate
from recommender.evaluation.split import folds_of
from recommender.models.popularity import PopularityModel
from recommender.review.columns import patterns, review_matrix
from recommender.review.reviewer import NAME, Reviewer, ReviewFiles, usual_model
from recommender.review.trial import hidden_conditions, related
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen
from recommender.vocabulary import ConditionVocabulary

CODES = {
    "metformin": "rxnorm:6809",
    "lisinopril": "rxnorm:29046",
    "warfarin": "rxnorm:11289",
}


@pytest.fixture(scope="module")
def vocabulary():
    return ConditionVocabulary.load()


@pytest.fixture(scope="module")
def known():
    return patterns({measure.id: measure.codes for measure in Screen.load().rules.measures.values()})


@pytest.fixture(scope="module")
def matrix(tiny_matrix, tiny_charts, vocabulary, known):
    return review_matrix(tiny_matrix, tiny_charts, vocabulary, known)


def named(matrix, patient):
    row = matrix.rows[patient]
    return {matrix.index.columns[ix].code: float(w) for ix, w in zip(row.indices, row.data, strict=True)}


def test_conditions_are_groups_and_values_are_patterns(matrix):
    assert [matrix.index.columns[ix].code for ix in matrix.index.targets] == ["hypertension", "type-2-diabetes"]
    told = named(matrix, 0)
    assert told["type-2-diabetes"] == told["hypertension"] == told["rxnorm:6809"] == told["sex:F"] == 1
    assert told["lab:egfr<60"] == told["baseline"] == 1 and "lab:creatinine>1.3" not in told
    assert "lab:egfr<60" not in named(matrix, 1) and "snomed:44054006" not in told
    assert set(named(matrix, 5)) == {"age:18-29", "sex:M", "baseline"}
    assert matrix.had.toarray().tolist() == [[1, 1], [1, 1], [0, 1], [1, 0], [0, 0], [0, 0]]


def test_the_newest_value_counts(tiny_matrix, tiny_charts, vocabulary, known):
    egfr = int(np.flatnonzero(~np.isnan(tiny_charts.value))[0])
    # a second value of the same patient, 65, ten days old, beside 55 of long ago
    at = egfr + 1
    charts = dataclasses.replace(
        tiny_charts,
        indptr=np.where(np.arange(7) >= 1, tiny_charts.indptr + 1, tiny_charts.indptr),
        concept=np.insert(tiny_charts.concept, at, tiny_charts.concept[egfr]),
        days=np.insert(tiny_charts.days, at, 10),
        value=np.insert(tiny_charts.value, at, 65.0),
    )
    assert "lab:egfr<60" not in named(review_matrix(tiny_matrix, charts, vocabulary, known), 0)


def test_half_is_hidden_and_what_would_give_it_away(matrix, tiny_records, vocabulary):
    trial = hidden_conditions(matrix, tiny_records, vocabulary, seed=0)
    targets = matrix.index.targets
    relevant = trial.relevant[:, targets].toarray()
    assert relevant.sum(axis=1).tolist() == [1, 1, 0, 0, 0, 0]  # half, rounded down
    seen = trial.asked.had.toarray() > 0
    assert ((seen | relevant) == (matrix.had.toarray() > 0)).all() and not (seen & relevant).any()
    others = np.setdiff1d(np.arange(len(matrix.index)), targets)
    assert (trial.asked.rows[:, others] != matrix.rows[:, others]).nnz == 0
    # with 'type 1 diabetes' goes its ketoacidosis, which a code of it tells
    concepts = pd.DataFrame({"kind": ["condition"] * 2, "code": ["icd10cm:E10.10", "icd10cm:I10"]})
    columns = (*matrix.index.columns, *(dataclasses.replace(matrix.index.columns[0], code=c) for c in ("x",)))
    index = dataclasses.replace(matrix.index, columns=columns)
    groups = list(vocabulary.groups("icd10cm:E10.10"))
    assert len(groups) > 1
    wide = dataclasses.replace(
        index,
        columns=tuple(dataclasses.replace(columns[0], code=code) for code in [*groups, "hypertension"]),
        targets=np.arange(len(groups) + 1, dtype=np.int32),
    )

    @dataclasses.dataclass
    class Coded:
        concepts: pd.DataFrame

    together = related(wide, Coded(concepts), vocabulary).toarray()
    assert together[: len(groups), : len(groups)].all() and together[-1].tolist() == [0] * len(groups) + [1]


def test_what_therapy_says_is_found_again(matrix, tiny_records, vocabulary):
    """Sixty copies of the six patients: metformin tells of diabetes, popularity cannot tell them apart."""
    many = matrix.take(np.tile(np.arange(6), 60))
    people = tiny_records.patients.loc[np.tile(np.arange(6), 60)].reset_index(drop=True)
    records = dataclasses.replace(tiny_records, patients=people)
    trial = hidden_conditions(many, records, vocabulary, seed=0)
    found = evaluate([usual_model(), PopularityModel()], trial, folds_of(trial.person, 3))
    assert found.gain("linear", "popularity", "mrr").value >= 0
    assert found.summary("linear")["ndcg"].value == pytest.approx(1.0)


# --- the reviewer ----------------------------------------------------------------------------------------------------


@pytest.fixture
def reviewer(tmp_path, matrix, vocabulary, known):
    many = matrix.take(np.tile(np.arange(6), 60))
    rows = many.rows.toarray()
    for block in ("demographics", "allergies"):  # sixty copies of one person are told by age and sex
        rows[:, matrix.index.block(block)] = 0
    many = dataclasses.replace(many, rows=sparse.csr_matrix(rows))
    files = ReviewFiles(tmp_path)
    manifest = files.save(many, 0.1, {"synthetic": False})
    files.files.activate(NAME, manifest["version"])
    return files.current(known, vocabulary, Indications.load(conditions=vocabulary))


def suspected(reviewer, tiny_matrix, tiny_charts, patient, without=()):
    """What is told of a patient of the tiny hospital whose chart lacks conditions."""
    row = tiny_matrix.rows[patient]
    keep = [tiny_matrix.index.columns[ix].code not in without for ix in row.indices]
    columns, weights = row.indices[keep], row.data[keep]
    return reviewer.suspected(tiny_matrix.index, columns, weights, tiny_charts.of(patient), tiny_charts.known)


def test_therapy_without_its_condition_is_told_with_its_parts(reviewer, tiny_matrix, tiny_charts):
    listed = suspected(reviewer, tiny_matrix, tiny_charts, 2)  # the diabetes of PAT-3 is on the list
    assert "type-2-diabetes" not in [one.code for one in listed]
    one = suspected(reviewer, tiny_matrix, tiny_charts, 2, without=["snomed:44054006"])[0]
    assert (one.code, one.name) == ("type-2-diabetes", "Type 2 diabetes")
    first = one.parts[0]
    assert first.column.code == CODES["metformin"] and first.labelled
    weight = reviewer.model.weights[reviewer.index.place["drug", CODES["metformin"]], 1]
    assert first.value == pytest.approx(weight, rel=1e-6)
    assert suspected(reviewer, tiny_matrix, tiny_charts, 5) == ()


def test_what_the_list_itself_suggests_is_no_gap(reviewer, tiny_matrix, tiny_charts):
    index = reviewer.index
    weights = np.zeros_like(reviewer.model.weights)
    weights[index.place["condition", "hypertension"], 1] = 0.5
    weights[index.place["drug", CODES["lisinopril"]], 1] = 0.4
    other = dataclasses.replace(reviewer, model=dataclasses.replace(reviewer.model, weights=weights))
    assert suspected(other, tiny_matrix, tiny_charts, 3) == ()  # 0.4 of 0.9 from a drug
    weights[index.place["drug", CODES["lisinopril"]], 1] = 0.6
    (one,) = suspected(other, tiny_matrix, tiny_charts, 3)
    assert one.score == pytest.approx(1.1) and [p.value for p in one.parts] == pytest.approx([0.6])
    assert not one.parts[0].labelled  # lisinopril is labelled for no diabetes


def test_it_is_kept_as_written(reviewer, tmp_path, matrix, vocabulary, known):
    files = ReviewFiles(tmp_path)
    again = files.current(known, vocabulary, reviewer.indications)
    assert isinstance(again, Reviewer) and again.version == reviewer.version
    rows = sparse.csr_matrix(matrix.rows)
    assert np.array_equal(again.model.score(rows), reviewer.model.score(rows))
    state = files.files.path(NAME, reviewer.version) / "state.npz"
    state.write_bytes(state.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreCorrupt, match="rxrec conditions train"):
        files.current(known, vocabulary, reviewer.indications)
    with pytest.raises(NothingPublished):
        ReviewFiles(tmp_path / "other").current(known, vocabulary, reviewer.indications)
    with pytest.raises(TrainingError, match="no hidden condition was found again"):
        files.save(matrix, float("inf"), {})


@pytest.mark.real_data
def test_hidden_conditions_of_real_patients_are_found_above_popularity(real_data, vocabulary, known):
    from recommender.features import build_matrix
    from recommender.loaders import load
    from recommender.safety.charts import read_charts
    from recommender.vocabulary import DrugVocabulary

    records = load("mimic", str(real_data / "mimic_iv_demo"), vocabulary=DrugVocabulary.load())
    charts = read_charts(records, Screen.load().observed)
    matrix = review_matrix(build_matrix(records), charts, vocabulary, known)
    trial = hidden_conditions(matrix, records, vocabulary)
    found = evaluate([usual_model(), PopularityModel()], trial, folds_of(trial.person))
    gain = found.gain("linear", "popularity")
    assert gain.low > 0 and gain.value == pytest.approx(0.066, abs=0.02)

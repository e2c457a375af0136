"""Figures worked by hand, and a split that leaks nothing."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from recommender.errors import TrainingError
from recommender.evaluation.compare import bootstrap, evaluate
from recommender.evaluation.metrics import hits, ndcg, recall
from recommender.evaluation.split import hide_half
from recommender.features import Block, Column, ColumnIndex, PatientMatrix
from recommender.models.linear import LinearModel
from recommender.models.popularity import PopularityModel
from recommender.ranking import TopN


def csr(sets, n_columns):
    row = np.repeat(np.arange(len(sets)), [len(s) for s in sets])
    column = np.array([i for s in sets for i in s], dtype=int)
    return sparse.csr_matrix((np.ones(len(row), bool), (row, column)), shape=(len(sets), n_columns))


def lists(*ranked):
    lengths = [len(r) for r in ranked]
    flat = np.array([i for r in ranked for i in r], dtype=np.int32)
    return TopN(np.concatenate([[0], np.cumsum(lengths)]), flat, np.zeros(len(flat), np.float32))


class TestMetrics:
    top = lists([4, 1, 0], [2], [], [5, 6, 7])
    hidden = csr([{1, 3}, {2}, {0}, {5, 6, 7, 0}], 8)

    def test_hits(self):
        assert hits(self.top, self.hidden, 3).astype(int).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]]

    def test_ndcg(self):
        # patient 0: a hit in second place, 1/log2(3), of an ideal 1 + 1/log2(3); patient 3: three of an ideal three
        second = 1 / np.log2(3)
        assert ndcg(self.top, self.hidden, 3).tolist() == pytest.approx([second / (1 + second), 1, 0, 1])

    def test_recall_has_all_hidden_in_its_denominator(self):
        assert recall(self.top, self.hidden, 3).tolist() == [0.5, 1, 0, 0.75]
        assert recall(self.top, self.hidden, 1).tolist() == [0, 1, 0, 0.25]


def hospital(n_patients=400, seed=0):
    """Two conditions; each has its own three drugs, so that a model with context can tell and popularity cannot."""
    rng = np.random.default_rng(seed)
    condition = rng.integers(0, 2, n_patients)
    dense = np.zeros((n_patients, 9), dtype=np.float32)
    for u, c in enumerate(condition):
        dense[u, c * 3 : c * 3 + 3] = rng.random(3) < 0.8
        dense[u, 6 + c] = 1
    dense[:, 8] = 1
    index = ColumnIndex(
        tuple(Column(str(i), "drug" if i < 6 else "condition", str(i), "") for i in range(9)),
        (Block("treatments", 0, 6), Block("conditions", 6, 8), Block("baseline", 8, 9)),
        np.arange(6, dtype=np.int32),
    )
    return PatientMatrix(sparse.csr_matrix(dense), index, np.arange(n_patients).astype(str).astype(object))


class TestSplit:
    def test_visible_and_hidden_make_the_patient_whole(self):
        matrix = hospital()
        split = hide_half(matrix, seed=3)
        position = {patient: row for row, patient in enumerate(matrix.patient_ids)}
        whole = matrix.rows[[position[p] for p in split.visible.patient_ids]]
        assert (split.visible.rows + split.hidden.astype(np.float32) != whole).nnz == 0
        assert split.visible.rows.multiply(split.hidden).nnz == 0

    def test_half_of_each_patients_treatments_is_hidden_rounded_down(self):
        split = hide_half(hospital(), seed=3)
        hidden = np.diff(split.hidden.indptr)
        seen = split.visible.rows[:, :6].getnnz(axis=1)
        assert np.array_equal(hidden, (hidden + seen) // 2)
        assert hidden.min() >= 1

    def test_only_treatments_of_the_kinds_asked_for_are_hidden_and_suggested(self):
        matrix = hospital()
        kinds = ["procedure", "care_resource", *["drug"] * 4]
        columns = [replace(column, kind=kind) for column, kind in zip(matrix.index.columns, kinds, strict=False)]
        index = replace(matrix.index, columns=(*columns, *matrix.index.columns[6:]))
        matrix = replace(matrix, index=index)
        split = hide_half(matrix, kinds=["drug"], seed=3)
        assert set(split.train.index.targets) == {2, 3, 4, 5}
        assert set(split.hidden.indices) == {3, 4, 5}  # who has drug 2 has no other drug
        split = hide_half(matrix, kinds=["drug", "care_resource"], seed=3)
        assert set(split.train.index.targets) == set(split.hidden.indices) == {1, 2, 3, 4, 5}
        assert 1 not in hide_half(matrix, seed=3).hidden.indices  # by default the therapies

    def test_only_treatments_are_hidden(self):
        assert hide_half(hospital(), seed=3).hidden.indices.max() < 6

    def test_nobody_is_on_both_sides_and_everyone_is_accounted_for(self):
        split = hide_half(hospital(), seed=3)
        assert not set(split.train.patient_ids) & set(split.visible.patient_ids)
        assert len(split.train.patient_ids) + len(split.visible.patient_ids) + split.skipped == 400

    def test_the_seed_decides(self):
        one, same, other = (hide_half(hospital(), seed=s).hidden for s in (1, 1, 2))
        assert (one != same).nnz == 0
        assert one.shape != other.shape or (one != other).nnz > 0

    def test_treatments_that_training_lacks_are_still_to_be_found(self):
        matrix = hospital()
        split = hide_half(matrix, seed=3)
        only_tested = split.visible.patient_ids
        dense = matrix.rows.toarray()
        dense[~np.isin(matrix.patient_ids, only_tested), 0] = 0  # treatment 0 now occurs among the tested alone
        again = hide_half(PatientMatrix(sparse.csr_matrix(dense), matrix.index, matrix.patient_ids), seed=3)
        assert 0 not in again.train.index.targets
        assert 0 in again.hidden.indices

    def test_too_few_patients_is_an_error_in_words(self):
        with pytest.raises(TrainingError, match="too few patients"):
            hide_half(hospital().take(np.arange(1)))


def test_bootstrap_covers_a_known_mean_and_is_seeded():
    values = np.random.default_rng(0).normal(1.0, 2.0, 1_000)
    interval = bootstrap(values, seed=5)
    assert interval == bootstrap(values, seed=5)
    assert interval.value == pytest.approx(values.mean())
    half_width = 1.96 * values.std() / np.sqrt(1_000)  # what the central limit theorem says
    assert interval.high - interval.value == pytest.approx(half_width, rel=0.1)
    assert interval.value - interval.low == pytest.approx(half_width, rel=0.1)


def test_context_beats_popularity_where_conditions_decide():
    evaluation = evaluate([LinearModel(), PopularityModel()], hospital())
    assert evaluation.gain["popularity"].low > 0
    difference = evaluation.ndcg["linear"].value - evaluation.ndcg["popularity"].value
    assert evaluation.gain["popularity"].value == pytest.approx(difference)

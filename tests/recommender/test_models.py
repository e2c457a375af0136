"""The linear model, popularity and the simple models against their definitions; test_models_contract has the rest."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from recommender.errors import TrainingError
from recommender.matrix import Block, Column, ColumnIndex, PatientMatrix
from recommender.models.gram import gram_matrix, times_together
from recommender.models.linear import PENALTIES, LinearModel, gram_matrices
from recommender.models.popularity import PopularityModel
from recommender.models.simple import ConditionalModel, RecencyModel, RepeatLastModel

N_TREATMENTS, N_CONDITIONS = 12, 6
N_COLUMNS = N_TREATMENTS + N_CONDITIONS + 1
KINDS = [*["drug"] * N_TREATMENTS, *["condition"] * N_CONDITIONS, "baseline"]
INDEX = ColumnIndex(
    tuple(Column(f"c{i}", kind, f"n{i}", "") for i, kind in enumerate(KINDS)),
    (
        Block("treatments", 0, N_TREATMENTS),
        Block("conditions", N_TREATMENTS, N_COLUMNS - 1),
        Block("baseline", N_COLUMNS - 1, N_COLUMNS),
    ),
    np.array([0, 2, 3, 5, 7, 8, 11], dtype=np.int32),
)
# the same, and what says it anew: which drugs began last, and two classes
DERIVED_INDEX = ColumnIndex(
    (
        *INDEX.columns,
        *(Column(f"recent:{c.code}", "recent", c.name, "") for c in INDEX.columns[:N_TREATMENTS]),
        *(Column(f"class:{c}", "class", c, "") for c in "ab"),
    ),
    (
        *INDEX.blocks,
        Block("recent", N_COLUMNS, N_COLUMNS + N_TREATMENTS),
        Block("classes", N_COLUMNS + N_TREATMENTS, N_COLUMNS + N_TREATMENTS + 2),
    ),
    INDEX.targets,
)


def random_matrix(seed, n_patients=200, density=0.25, with_later=False, index=INDEX):
    """Weights that float16 holds; with `with_later`, targets not in the row that began after it, 30% of those."""
    rng = np.random.default_rng(seed)
    shape = (n_patients, len(index))
    dense = np.where(rng.random(shape) < density, rng.random(shape), 0)
    dense[:, N_COLUMNS - 1] = 1
    rows = sparse.csr_matrix(dense.astype(np.float16).astype(np.float32))
    later = sparse.csr_matrix((rng.random((n_patients, 7)) < 0.3) & (dense[:, INDEX.targets] == 0), dtype=np.float32)
    ids = np.array([f"p{i}" for i in range(n_patients)], dtype=object)
    return PatientMatrix(rows, index, ids, later if with_later else None)


def matrix_of(index, rows, later=None):
    """A matrix written out by hand: lists of weights, one list a patient."""
    rows = np.array(rows, dtype=np.float32)
    ids = np.array([f"p{i}" for i in range(len(rows))], dtype=object)
    later = None if later is None else sparse.csr_matrix(np.array(later, dtype=np.float32))
    return PatientMatrix(sparse.csr_matrix(rows), index, ids, later)


def index_of(n_treatments, n_conditions):
    """So many treatments, all targets, so many conditions, and the baseline."""
    n = n_treatments + n_conditions
    return ColumnIndex(
        tuple(Column(f"c{i}", "drug" if i < n_treatments else "condition", f"n{i}", "") for i in range(n + 1)),
        (Block("treatments", 0, n_treatments), Block("conditions", n_treatments, n), Block("baseline", n, n + 1)),
        np.arange(n_treatments, dtype=np.int32),
    )


def test_popularity_is_the_share_of_patients():
    # treatment 0: patients 0 and 1 of 4; treatment 2: patient 0 alone
    entries = [(0, 0), (1, 0), (0, 2), (0, N_COLUMNS - 1), (1, N_COLUMNS - 1), (2, N_COLUMNS - 1), (3, N_COLUMNS - 1)]
    row, column = zip(*entries, strict=True)
    rows = sparse.csr_matrix((np.ones(7, np.float32), (row, column)), shape=(4, N_COLUMNS))
    matrix = PatientMatrix(rows, INDEX, np.array(list("abcd"), dtype=object))
    assert PopularityModel().fit(matrix).score(rows[3:]).tolist() == [[0.5, 0.25, 0, 0, 0, 0, 0]]


def test_popularity_is_among_those_who_could_begin_it_where_what_came_later_is_known():
    # of three patients two have treatment 0 already: one of 3 - 2 + 5 began it; two of 3 - 0 + 5 began treatment 1
    matrix = matrix_of(index_of(2, 0), [[1, 0, 1], [1, 0, 1], [0, 0, 1]], later=[[0, 1], [0, 0], [1, 1]])
    np.testing.assert_allclose(PopularityModel().fit(matrix).score(matrix.rows[:1]), [[1 / 6, 2 / 8]], rtol=1e-6)


def test_popularity_counts_a_patient_by_its_weight():
    matrix = replace(matrix_of(index_of(2, 0), [[1, 0, 1], [0, 1, 1]]), weight=np.array([1.5, 0.5]))
    assert PopularityModel().fit(matrix).score(matrix.rows[:1]).tolist() == [[0.75, 0.25]]


class TestConditional:
    """Four patients, treatments a and b, conditions x (patients 0 and 1) and y (patient 0)."""

    MATRIX = matrix_of(index_of(2, 2), [[1, 0, 1, 1, 1], [1, 1, 1, 0, 1], [0, 1, 0, 0, 1], [0, 1, 0, 0, 1]])

    def test_by_hand(self):
        """share (a, b) = (2/4, 3/4); with shrink 2, given x: (2+1)/4, (1+1.5)/4; given y: (1+1)/3, (0+1.5)/3.

        idf x = log 2, idf y = log 4 = 2 log 2. A patient with both at full weight and the prior 3 log 2, in units of
        log 2: a = (3/4 + 2 x 2/3 + 3 x 1/2) / 6, b = (2.5/4 + 2 x 1/2 + 3 x 3/4) / 6.
        """
        fitted = ConditionalModel(shrink=2.0, prior=3 * np.log(2)).fit(self.MATRIX)
        expected = [(0.75 + 4 / 3 + 1.5) / 6, (0.625 + 1 + 2.25) / 6]
        np.testing.assert_allclose(fitted.score(self.MATRIX.rows[0])[0], expected, rtol=1e-6)

    def test_without_conditions_it_is_popularity(self):
        np.testing.assert_allclose(ConditionalModel().fit(self.MATRIX).score(self.MATRIX.rows[2])[0], [0.5, 0.75])

    def test_what_came_later_is_what_it_predicts(self):
        rows = self.MATRIX.rows.toarray()
        later = matrix_of(self.MATRIX.index, rows, later=[[0, 1], [0, 1], [0, 0], [0, 0]])
        scores = ConditionalModel(shrink=0.0, prior=1e-6).fit(later).score(later.rows[1])  # has x alone
        np.testing.assert_allclose(scores[0], [0, 1], atol=1e-5)


def test_recency_is_the_weight_in_the_row_then_popularity():
    matrix = matrix_of(index_of(3, 0), [[0.5, 0, 0, 1], [0, 1, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1]])
    scores = RecencyModel(prior=0.1).fit(matrix).score(matrix.rows[0])[0]
    np.testing.assert_allclose(scores, [0.5 + 0.025, 0.05, 0], rtol=1e-6)


def test_repeat_last_is_what_began_last_then_the_chart_then_popularity():
    """Drugs a, b, c, all targets; popularity 1/3, 2/3, 1/3. The first patient's last was b, before that a."""
    index = ColumnIndex(
        (
            *index_of(3, 0).columns,
            *(Column(f"recent:c{i}", "recent", f"n{i}", "") for i in (0, 1)),  # c is too rare to have one
        ),
        (*index_of(3, 0).blocks, Block("recent", 4, 6)),
        np.arange(3, dtype=np.int32),
    )
    matrix = matrix_of(index, [[0.5, 1, 0, 1, 0, 1], [0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 0, 0]])
    scores = RepeatLastModel(earlier=0.1, prior=0.01).fit(matrix).score(matrix.rows[0])[0]
    np.testing.assert_allclose(scores, [0.05 + 0.01 / 3, 1 + 0.1 + 0.02 / 3, 0.01 / 3], rtol=1e-6)


class TestLinear:
    def test_it_learns_from_what_came_later_too(self):
        matrix = random_matrix(6, with_later=True)
        whole = PatientMatrix(matrix.whole, INDEX, matrix.patient_ids)
        assert np.array_equal(LinearModel().fit(matrix).state()["weights"], LinearModel().fit(whole).state()["weights"])

    def test_by_hand(self):
        """Two treatments, one baseline column, two patients: patient 0 had both, patient 1 none.

        X'X + penalties (1 for each treatment, 2 for the baseline) = [[2,1,1],[1,2,1],[1,1,4]]. For treatment 0 the
        weights b of (treatment 1, baseline) solve [[2,1],[1,4]] b = [1,1]: b = (3/7, 1/7).
        """
        index = ColumnIndex(
            tuple(Column(c, "drug", c, "") for c in "ab1"),
            (Block("treatments", 0, 2), Block("baseline", 2, 3)),
            np.array([0, 1], dtype=np.int32),
        )
        rows = sparse.csr_matrix(np.array([[1, 1, 1], [0, 0, 1]], dtype=np.float32))
        fitted = LinearModel({"treatments": 1.0, "baseline": 2.0}).fit(PatientMatrix(rows, index, np.array(["p", "q"])))
        expected = [[0, 3 / 7], [3 / 7, 0], [1 / 7, 1 / 7]]
        np.testing.assert_allclose(fitted.state()["weights"], expected, atol=1e-7)
        np.testing.assert_allclose(fitted.score(rows), [[4 / 7, 4 / 7], [1 / 7, 1 / 7]], atol=1e-7)

    def test_each_target_is_the_ridge_regression_on_all_other_columns(self):
        matrix = random_matrix(3)
        weights = LinearModel().fit(matrix).state()["weights"]
        dense = matrix.rows.toarray().astype(np.float64)
        penalty = np.concatenate([np.full(b.stop - b.start, PENALTIES[b.name]) for b in INDEX.blocks])
        for position, target in enumerate(INDEX.targets):
            others = np.arange(N_COLUMNS) != target
            gram = dense[:, others].T @ dense[:, others] + np.diag(penalty[others])
            expected = np.linalg.solve(gram, dense[:, others].T @ (dense[:, target] > 0))
            np.testing.assert_allclose(weights[others, position], expected, atol=1e-6)
            assert weights[target, position] == 0

    def test_strength_multiplies_every_penalty_but_the_baselines(self):
        stronger = {name: 3 * penalty for name, penalty in PENALTIES.items()} | {"baseline": PENALTIES["baseline"]}
        one, other = (m.fit(random_matrix(3)).weights for m in (LinearModel(strength=3.0), LinearModel(stronger)))
        assert np.array_equal(one, other)

    def test_on_plain_zeros_and_ones_with_one_penalty_it_is_ease(self):
        matrix = random_matrix(5)
        matrix.rows.data[:] = 1
        weights = LinearModel(dict.fromkeys(PENALTIES, 30.0)).fit(matrix).state()["weights"]
        dense = matrix.rows.toarray().astype(np.float64)
        inverse = np.linalg.inv(dense.T @ dense + 30 * np.eye(N_COLUMNS))
        ease = -inverse / np.diag(inverse)  # Steck 2019, equation 8
        np.fill_diagonal(ease, 0)
        np.testing.assert_allclose(weights, ease[:, INDEX.targets], atol=1e-6)

    def test_gram_matrices(self):
        rows = random_matrix(4).rows
        dense = rows.toarray().astype(np.float64)
        gram, had = gram_matrices(rows, INDEX.target_of_column, len(INDEX.targets))
        np.testing.assert_allclose(gram, dense.T @ dense, rtol=1e-12)
        np.testing.assert_allclose(had, dense.T @ (dense[:, INDEX.targets] > 0), rtol=1e-12)

    def test_gram_of_some_columns_and_of_counts(self):
        rows, used = random_matrix(4).rows, np.arange(len(INDEX)) % 3 > 0
        used[-2:] = False
        dense = rows.toarray().astype(np.float64)
        together = np.outer(used, used)
        np.testing.assert_allclose(gram_matrix(rows, used), dense.T @ dense * together, rtol=1e-12)
        counts = (dense > 0).T.astype(int) @ (dense > 0)
        np.testing.assert_array_equal(times_together(rows, used), counts * together)
        np.testing.assert_array_equal(times_together(rows), counts)

    def test_a_column_that_nobody_has_and_no_penalty_is_an_error_in_words(self):
        matrix = random_matrix(0, density=0.0)
        with pytest.raises(TrainingError, match="penalty above 0"):
            LinearModel({"treatments": 0.0, "conditions": 0.0, "baseline": 0.0}).fit(matrix)

"""One suite that every model passes, and the linear model against its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recommender.errors import TrainingError
from recommender.features import Block, Column, ColumnIndex, PatientMatrix
from recommender.models import MODELS
from recommender.models.linear import PENALTIES, LinearModel, gram_matrices
from recommender.models.popularity import PopularityModel

N_TREATMENTS, N_CONDITIONS = 12, 6
N_COLUMNS = N_TREATMENTS + N_CONDITIONS + 1
INDEX = ColumnIndex(
    tuple(Column(f"c{i}", "drug" if i < N_TREATMENTS else "condition", f"n{i}", "") for i in range(N_COLUMNS)),
    (
        Block("treatments", 0, N_TREATMENTS),
        Block("conditions", N_TREATMENTS, N_COLUMNS - 1),
        Block("baseline", N_COLUMNS - 1, N_COLUMNS),
    ),
    np.array([0, 2, 3, 5, 7, 8, 11], dtype=np.int32),
)


def random_matrix(seed, n_patients=200, density=0.25):
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((n_patients, N_COLUMNS)) < density, rng.random((n_patients, N_COLUMNS)), 0)
    dense[:, -1] = 1
    rows = sparse.csr_matrix(dense.astype(np.float16).astype(np.float32))
    return PatientMatrix(rows, INDEX, np.array([f"p{i}" for i in range(n_patients)], dtype=object))


@pytest.fixture(params=sorted(MODELS))
def model(request):
    return MODELS[request.param]()


class TestEveryModel:
    def test_scores_have_one_column_a_target_and_are_finite(self, model):
        matrix = random_matrix(0)
        scores = model.fit(matrix).score(matrix.rows)
        assert scores.shape == (200, 7)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_fitting_changes_nothing_and_repeats_to_the_byte(self, model):
        one, other = random_matrix(0), random_matrix(1, n_patients=90)
        first = model.fit(one).score(one.rows)
        model.fit(other)
        assert np.array_equal(model.fit(other).fit(one).score(one.rows), first)

    def test_the_order_of_patients_does_not_matter(self, model):
        matrix = random_matrix(0)
        shuffled = matrix.take(np.random.default_rng(1).permutation(200))
        np.testing.assert_allclose(
            model.fit(matrix).score(matrix.rows), model.fit(shuffled).score(matrix.rows), atol=1e-6
        )

    def test_one_patient_alone_scores_as_in_a_batch(self, model):
        matrix = random_matrix(0)
        fitted = model.fit(matrix)
        batch = fitted.score(matrix.rows)
        alone = np.vstack([fitted.score(matrix.rows[u]) for u in range(200)])
        assert np.array_equal(batch, alone)

    def test_saved_and_read_again_it_scores_the_same_bytes(self, model):
        matrix = random_matrix(0)
        fitted = model.fit(matrix)
        again = type(model).from_state(fitted.parameters(), fitted.state())
        assert np.array_equal(again.score(matrix.rows), fitted.score(matrix.rows))

    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 2**32 - 1), n_patients=st.integers(1, 60), density=st.floats(0, 1))
    @pytest.mark.parametrize("name", sorted(MODELS))
    def test_contributions_add_up_to_the_score(self, name, seed, n_patients, density):
        matrix = random_matrix(seed, n_patients, density)
        fitted = MODELS[name]().fit(matrix)
        scores = fitted.score(matrix.rows)
        for u in range(min(n_patients, 5)):
            row = matrix.rows[u]
            for target in range(7):
                parts = fitted.contributions(row.indices, row.data, target)
                assert sum(p.value for p in parts) == pytest.approx(scores[u, target], abs=1e-5)

    def test_a_patient_with_no_history_still_gets_scores(self, model):
        matrix = random_matrix(0)
        nothing_known = sparse.csr_matrix(([1.0], ([0], [N_COLUMNS - 1])), shape=(1, N_COLUMNS), dtype=np.float32)
        assert np.isfinite(model.fit(matrix).score(nothing_known)).all()


def test_popularity_is_the_share_of_patients():
    # treatment 0: patients 0 and 1 of 4; treatment 2: patient 0 alone
    entries = [(0, 0), (1, 0), (0, 2), (0, N_COLUMNS - 1), (1, N_COLUMNS - 1), (2, N_COLUMNS - 1), (3, N_COLUMNS - 1)]
    row, column = zip(*entries, strict=True)
    rows = sparse.csr_matrix((np.ones(7, np.float32), (row, column)), shape=(4, N_COLUMNS))
    matrix = PatientMatrix(rows, INDEX, np.array(list("abcd"), dtype=object))
    assert PopularityModel().fit(matrix).score(rows[3:]).tolist() == [[0.5, 0.25, 0, 0, 0, 0, 0]]


class TestLinear:
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

    def test_a_column_that_nobody_has_and_no_penalty_is_an_error_in_words(self):
        matrix = random_matrix(0, density=0.0)
        with pytest.raises(TrainingError, match="penalty above 0"):
            LinearModel({"treatments": 0.0, "conditions": 0.0, "baseline": 0.0}).fit(matrix)

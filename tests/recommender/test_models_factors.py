"""The factor models: `implicit` fits them, and our fold-in of a patient is its own where it has one."""

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse
from test_models import INDEX, index_of, matrix_of, random_matrix
from threadpoolctl import threadpool_limits

from recommender.models.factors import AlsModel, BprModel, LogisticMfModel

FACTOR_MODELS = [AlsModel, BprModel, LogisticMfModel]


def implicit_als(fitted):
    """An object of implicit that holds our model's points, and the confidence of rows as it wants it."""
    with threadpool_limits(1, "blas"):
        theirs = AlternatingLeastSquares(
            factors=fitted.points.shape[1], regularization=fitted.ridge, num_threads=1, random_state=0
        )
    theirs.item_factors = fitted.points
    return theirs


def confidence(fitted, matrix):
    known = matrix.rows[:, :-1]  # without the baseline
    return sparse.csr_matrix((1 + fitted.alpha * known.data, known.indices, known.indptr), shape=matrix.rows.shape)


class TestAls:
    def test_the_fold_in_is_implicits_recalculation(self):
        matrix = random_matrix(3)
        fitted = AlsModel(factors=8, prior=0.0).fit(matrix)
        people = implicit_als(fitted).recalculate_user(np.arange(200), confidence(fitted, matrix))
        expected = people @ fitted.points[INDEX.targets].T
        np.testing.assert_allclose(fitted.score(matrix.rows), expected, rtol=1e-3, atol=1e-4)

    def test_the_parts_are_implicits_explanation(self):
        matrix = random_matrix(3)
        fitted = AlsModel(factors=8, prior=0.0).fit(matrix)
        theirs, rows = implicit_als(fitted), confidence(fitted, matrix)
        for u in range(5):
            for target, column in enumerate(INDEX.targets):
                _, parts, _ = theirs.explain(u, rows, column, N=len(INDEX))
                row = matrix.rows[u]
                ours = dict(zip(*fitted.contributions(row.indices, row.data, target), strict=True))
                for column_ix, value in parts:
                    assert ours.get(column_ix, 0.0) == pytest.approx(value, rel=1e-3, abs=1e-4)

    def test_one_factor_by_hand(self):
        """Points 1 of a and 2 of b, alpha 1, ridge 1; a patient with a at full weight, so of confidence 2:

        A = (1 + 4) + (2 - 1) 1 + 1 = 7, x = 2 x 1 / 7; the score of b is 2 x = 4/7.
        """
        state = AlsModel(factors=1).fit(matrix_of(index_of(2, 0), [[1, 1, 1]])).state()
        state |= {"points": np.array([[1], [2], [0]], dtype=np.float32)}
        model = AlsModel.from_state({"alpha": 1.0, "ridge": 1.0, "prior": 0.0, "baseline_ix": 2}, state)
        scores = model.score(sparse.csr_matrix(np.array([[1, 0, 1]], dtype=np.float32)))
        np.testing.assert_allclose(scores[0], [2 / 7, 4 / 7], rtol=1e-6)


@pytest.mark.parametrize("model", FACTOR_MODELS)
def test_a_patients_point_is_the_ridge_regression_on_the_columns_points(model):
    matrix = random_matrix(4)
    fitted = model(factors=6, prior=0.0).fit(matrix)
    points = fitted.points.astype(np.float64)
    scores = fitted.score(matrix.rows)
    for u in range(20):
        row = matrix.rows[u].toarray()[0]
        row[-1] = 0  # the baseline has no point
        weight = 1 + fitted.alpha * row
        normal = (points.T * weight) @ points + fitted.ridge * np.eye(points.shape[1])
        person = np.linalg.solve(normal, points.T @ (weight * (row > 0)))
        np.testing.assert_allclose(scores[u], points[INDEX.targets] @ person, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", FACTOR_MODELS)
def test_what_goes_together_is_found(model):
    """Two groups of patients, each with its own five treatments, of which each lacks one: that one is first."""
    groups = np.repeat(np.kron(np.eye(2), np.ones(5)), 100, axis=0)
    lacks = np.arange(200) % 5 + np.repeat([0, 5], 100)
    groups[np.arange(200), lacks] = 0
    matrix = matrix_of(index_of(10, 0), np.hstack([groups, np.ones((200, 1))]))
    scores = model(factors=4).fit(matrix).score(matrix.rows)
    scores[groups > 0] = -np.inf
    assert (scores.argmax(axis=1) == lacks).mean() > 0.95


def test_a_column_that_nobody_had_has_no_say():
    rows = np.hstack([np.ones((6, 3)), np.zeros((6, 1)), np.ones((6, 1))])
    for model in FACTOR_MODELS:
        assert not model(factors=3).fit(matrix_of(index_of(4, 0), rows)).points[3].any()

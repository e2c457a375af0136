"""The directed model against its definition; test_models_contract has the rest."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from test_models import DERIVED_INDEX, N_COLUMNS, index_of, matrix_of, random_matrix

from recommender.errors import TrainingError
from recommender.models import directed
from recommender.models.directed import PENALTIES, DirectedModel

BASELINE = N_COLUMNS - 1
ONES = dict.fromkeys(PENALTIES, 1.0)


def test_by_hand(monkeypatch):
    """Treatments a and b, condition x; all penalties 1. Moment 0 has x and a began; moment 1 has nothing, b began.

    Lengths 1 and 0, so m = 1/2 and the rows (x, baseline) become (1/2, 1) and (0, 1). X'X + I = [[5/4, 1/2], [1/2, 3]],
    of determinant 7/2. a: X'y = (1/2, 1), b = (2/7, 2/7). b: X'y = (0, 1), b = (-1/7, 5/14).
    """
    monkeypatch.setattr(directed, "MIN_SEEN", 1)
    matrix = matrix_of(index_of(2, 1), [[0, 0, 1, 1], [0, 0, 0, 1]], later=[[1, 0], [0, 1]])
    fitted = DirectedModel(penalties=ONES).fit(matrix)
    np.testing.assert_allclose(fitted.weights[2:], [[2 / 7, -1 / 7], [2 / 7, 5 / 14]], rtol=1e-6)
    np.testing.assert_allclose(fitted.score(matrix.rows), [[3 / 7, 2 / 7], [2 / 7, 5 / 14]], rtol=1e-6)


def dense_solution(matrix, strength=1.0, surplus=0.2):
    """Weights and row factors by the formulas of the module, written out densely."""
    later = matrix.later.toarray()
    taught = later.sum(axis=1) > 0
    x, y = matrix.rows.toarray().astype(np.float64)[taught], later[taught]
    penalty = np.array([PENALTIES[c.kind] * (1 if c.kind == "baseline" else strength) for c in matrix.index.columns])
    used = (x > 0).sum(axis=0) >= 5
    weighed = used & (np.arange(len(penalty)) != BASELINE)
    length = np.sqrt((x[:, weighed] ** 2 / penalty[weighed]).sum(axis=1))
    x[:, weighed] *= (length.mean() / length)[:, None]
    had = matrix.had.toarray()[taught] > 0
    share = y.sum(axis=0) / (len(y) - had.sum(axis=0) + 5)
    y = np.where(had, share + surplus, y)
    v = 1 / np.sqrt(later[taught].sum(axis=1))
    gram = (x[:, used] * v[:, None]).T @ x[:, used] + np.diag(penalty[used])
    weights = np.zeros((len(penalty), y.shape[1]))
    weights[used] = np.linalg.solve(gram, (x[:, used] * v[:, None]).T @ y)
    return weights


@pytest.mark.parametrize(("strength", "surplus"), [(1.0, 0.2), (0.01, 0.0), (3.0, 0.5)])
def test_it_is_the_weighted_ridge_regression_on_rows_of_one_length(strength, surplus):
    matrix = random_matrix(2, with_later=True, index=DERIVED_INDEX)
    fitted = DirectedModel(strength, surplus).fit(matrix)
    np.testing.assert_allclose(fitted.weights, dense_solution(matrix, strength, surplus), atol=1e-6)


def test_a_long_chart_does_not_shout_louder():
    matrix = random_matrix(4, with_later=True, index=DERIVED_INDEX)
    fitted, rows = DirectedModel().fit(matrix), matrix.rows.copy()
    rows.data[rows.indices != BASELINE] /= 8
    np.testing.assert_allclose(fitted.score(rows), fitted.score(matrix.rows), rtol=1e-5)


def test_what_was_on_the_chart_is_put_at_its_share_among_those_who_could_begin_it_and_the_surplus():
    # treatment 0: two of three have it already, one of 3 - 2 + 5 begins it; treatment 1: two of 3 - 0 + 5
    matrix = matrix_of(index_of(2, 0), [[1, 0, 1], [0.5, 0, 1], [0, 0, 1]], later=[[0, 1], [0, 1], [1, 0]])
    expected = [[1 / 6 + 0.2, 1], [1 / 6 + 0.2, 1], [1, 0]]
    np.testing.assert_allclose(directed._targets(matrix, 0.2).toarray(), expected, rtol=1e-6)


def test_a_column_seen_at_too_few_moments_has_no_say():
    matrix = random_matrix(5, with_later=True, index=DERIVED_INDEX)
    rows = matrix.rows.tolil()
    rows[:, 13] = 0
    rows[:4, 13] = 1
    fitted = DirectedModel().fit(replace(matrix, rows=sparse.csr_matrix(rows)))
    assert not fitted.weights[13].any()
    assert fitted.length[13] == 0
    assert fitted.weights[12].any()


def test_a_moment_after_which_nothing_began_teaches_nothing():
    matrix = random_matrix(6, with_later=True, density=0.6)
    began = np.flatnonzero(np.diff(matrix.later.indptr))
    assert len(began) < matrix.n_patients
    assert np.array_equal(DirectedModel().fit(matrix).weights, DirectedModel().fit(matrix.take(began)).weights)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (random_matrix(0), "tell no visits"),
        (matrix_of(index_of(1, 0), [[0, 1]], later=[[0]]), "nothing began"),
    ],
)
def test_without_anything_to_foresee_it_says_so(matrix, words):
    with pytest.raises(TrainingError, match=words):
        DirectedModel().fit(matrix)

"""The one top-N: exact, tie-broken by column, never padded, never what the patient already has."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from recommender.errors import EngineError
from recommender.matrix import Block, Column, ColumnIndex, PatientMatrix
from recommender.models.base import Model
from recommender.models.directed import DirectedModel
from recommender.models.linear import LinearModel
from recommender.ranking import BLOCK_ROWS, Ranker, top_n
from recommender.records import THERAPIES, TREATMENT_KINDS


class Given(Model):
    """A model whose score of row u is row u of a given array: the patient's number stands in the last column."""

    name = "given"

    def __init__(self, scores):
        self.scores = scores

    def score(self, rows):
        return self.scores[rows[:, -1].toarray().ravel().astype(int)].copy()

    fit = contributions = state = parameters = from_state = None


def matrix_of(taken, targets=None, kinds=None):
    """taken (n_patients, n_treatments) bool -> matrix of drugs, or `kinds`; the patient's number is the last column."""
    n, m = taken.shape
    number = sparse.csr_matrix(np.arange(n, dtype=np.float32)[:, None])
    rows = sparse.hstack([sparse.csr_matrix(taken.astype(np.float32)), number], format="csr")
    index = ColumnIndex(
        tuple(Column(str(i), kinds[i] if kinds and i < m else "drug", str(i), "") for i in range(m + 1)),
        (Block("treatments", 0, m), Block("baseline", m, m + 1)),
        np.arange(m, dtype=np.int32) if targets is None else np.array(targets, dtype=np.int32),
    )
    return PatientMatrix(rows, index, np.arange(n).astype(str))


def test_by_hand():
    scores = np.array([[0.1, 0.9, 0.9, np.nan, 0.5, np.inf], [3, 2, 1, 0, -1, -2]], dtype=np.float32)
    taken = np.array([[0, 0, 0, 0, 1, 0], [1, 1, 1, 1, 0, 0]], dtype=bool)
    top = top_n(Given(scores), matrix_of(taken), 3)
    # patient 0: 4 is taken, 3 and 5 are not finite; 1 and 2 tie and the lower column goes first
    assert top.of(0)[0].tolist() == [1, 2, 0]
    # in steps of 2**-17: 0.9 is 117,964.8 of them and 0.1 is 13,107.2
    assert top.of(0)[1].tolist() == [117_965 / 131_072, 117_965 / 131_072, 13_107 / 131_072]
    # patient 1 has only two left: the list is short, not padded
    assert top.of(1)[0].tolist() == [4, 5]


def test_columns_that_are_no_target_do_not_shift_the_answer():
    scores = np.array([[1.0, 5.0, 3.0]], dtype=np.float32)  # of targets 1, 4, 6
    taken = np.zeros((1, 8), dtype=bool)
    taken[0, [0, 4]] = True
    assert top_n(Given(scores), matrix_of(taken, [1, 4, 6]), 5).of(0)[0].tolist() == [6, 1]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_it_is_what_a_full_sort_gives(data):
    n, m, k = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 30)), data.draw(st.integers(0, 12))
    # few distinct values, so that ties are common
    values = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, float("nan"), float("inf"), float("-inf")])
    scores = data.draw(arrays(np.float32, (n, m), elements=values))
    taken = data.draw(arrays(bool, (n, m)))
    top = top_n(Given(scores), matrix_of(taken), k)
    for u in range(n):
        allowed = [i for i in range(m) if np.isfinite(scores[u, i]) and not taken[u, i]]
        expected = sorted(allowed, key=lambda i: (-scores[u, i], i))[:k]
        assert top.of(u)[0].tolist() == expected
        assert top.of(u)[1].tolist() == scores[u, expected].tolist()


def best(scores, allowed, n):
    return sorted(allowed, key=lambda i: (-scores[i], i))[:n]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_few_of_many_are_what_a_full_sort_gives(data):
    """Lists so short beside what there is that scores are looked at in groups; of all, of kinds that lie apart."""
    n, m = 3, data.draw(st.integers(100, 700))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    steps = data.draw(st.sampled_from([2, 30, 10**6]))  # from nearly all tied to hardly any
    scores = (rng.integers(-steps, steps, (n, m)) / steps).astype(np.float32)
    scores[rng.random((n, m)) < data.draw(st.sampled_from([0, 0.1, 0.99]))] = np.nan
    taken = rng.random((n, m)) < 0.05
    kinds = rng.choice(TREATMENT_KINDS[: data.draw(st.integers(1, 4))], m)
    if data.draw(st.booleans()):
        kinds = np.sort(kinds)
    top = top_n(Given(scores), matrix_of(taken, kinds=kinds.tolist()), 7, of=THERAPIES, per_kind=2)
    for u in range(n):
        free = np.flatnonzero(np.isfinite(scores[u]) & ~taken[u])
        chosen = set(best(scores[u], free[np.isin(kinds[free], list(THERAPIES))], 7))
        for kind in TREATMENT_KINDS:
            chosen |= set(best(scores[u], free[kinds[free] == kind], 2))
        expected = best(scores[u], chosen, m)
        assert top.of(u)[0].tolist() == expected
        assert top.of(u)[1].tolist() == (np.rint(scores[u, expected] * 2.0**17) / 2.0**17).tolist()  # in steps


def test_every_kind_has_its_best_by_hand():
    kinds = ["drug", "drug", "drug", "procedure", "care_resource", "care_resource"]
    scores = np.array([[0.9, 0.8, 0.7, 0.1, 0.85, 0.7]], dtype=np.float32)
    matrix = matrix_of(np.zeros((1, 6), dtype=bool), kinds=kinds)
    # the two best therapies are drugs; of each kind one: the procedure comes last, a care resource in between
    top = top_n(Given(scores), matrix, 2, of=THERAPIES, per_kind=1)
    assert top.of(0)[0].tolist() == [0, 4, 1, 3]
    assert top_n(Given(scores), matrix, 0, of=THERAPIES, per_kind=2).of(0)[0].tolist() == [0, 4, 1, 5, 3]
    assert top_n(Given(scores), matrix, 2, of=["care_resource"]).of(0)[0].tolist() == [4, 5]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_of_every_kind_it_is_what_full_sorts_give(data):
    n, m = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 30))
    k, per_kind = data.draw(st.integers(0, 10)), data.draw(st.integers(0, 5))
    kinds = data.draw(st.lists(st.sampled_from(TREATMENT_KINDS), min_size=m, max_size=m))
    of = data.draw(st.sets(st.sampled_from(TREATMENT_KINDS)))
    values = st.sampled_from([-1.0, -0.0, 0.0, 0.25, 0.5, 1.0, float("nan"), float("inf")])
    scores = data.draw(arrays(np.float32, (n, m), elements=values))
    taken = data.draw(arrays(bool, (n, m)))
    top = top_n(Given(scores), matrix_of(taken, kinds=kinds), k, of=of, per_kind=per_kind)
    for u in range(n):
        allowed = [i for i in range(m) if np.isfinite(scores[u, i]) and not taken[u, i]]
        chosen = set(best(scores[u], [i for i in allowed if kinds[i] in of], k))
        for kind in TREATMENT_KINDS:
            chosen |= set(best(scores[u], [i for i in allowed if kinds[i] == kind], per_kind))
        expected = best(scores[u], chosen, m)
        assert top.of(u)[0].tolist() == expected
        assert top.of(u)[1].tolist() == scores[u, expected].tolist()


def test_many_blocks_are_one_answer():
    n = 2 * BLOCK_ROWS + 7
    rng = np.random.default_rng(0)
    scores, taken = rng.random((n, 9), dtype=np.float32), rng.random((n, 9)) < 0.3
    done = []
    top = top_n(Given(scores), matrix_of(taken), 4, progress=done.append)
    masked = np.where(taken, -np.inf, scores)
    for u in range(n):
        expected = np.argsort(-masked[u], kind="stable")[: min(4, 9 - taken[u].sum())]
        assert top.of(u)[0].tolist() == expected.tolist()
    assert sum(done) == n


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_sum_and_its_ranking_at_once_are_what_score_and_rank_give(data):
    """To the last bit, with many ties, weights that are not finite, and models that even their rows out."""
    n, m, extra = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 90)), data.draw(st.integers(0, 9))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    values = np.array([0, 0, 0, -0.0, 0.1, 0.1, 0.3, -1, 1e-30, 7, np.nan, np.inf], dtype=np.float32)
    usable = values[: data.draw(st.sampled_from([10, 12]))]
    weights = rng.choice(usable, (m + extra + 1, m))
    known = sparse.random(n, m + extra, 0.3, format="csr", dtype=np.float32, rng=rng)
    rows = sparse.csr_matrix(sparse.hstack([known, np.ones((n, 1))], format="csr"), dtype=np.float32)
    rows.sort_indices()
    kinds = sorted(data.draw(st.lists(st.sampled_from(TREATMENT_KINDS), min_size=m, max_size=m)))
    columns = [Column(str(i), kinds[i] if i < m else "condition", str(i), "") for i in range(m + extra + 1)]
    blocks = (Block("treatments", 0, m), Block("conditions", m, m + extra), Block("baseline", m + extra, m + extra + 1))
    index = ColumnIndex(tuple(columns), blocks, np.arange(m, dtype=np.int32))
    matrix = PatientMatrix(rows, index, np.arange(n).astype(str))
    length = rng.choice(np.array([0, 0.5, 1], dtype=np.float32), m + extra + 1)
    for model in (
        LinearModel(weights=weights),
        DirectedModel(weights=weights, length=length, mean_length=np.array([1.5], dtype=np.float32)),
    ):
        plain = Given(model.score(rows))
        plain.score = lambda asked, scores=plain.scores: scores[: asked.shape[0]].copy()
        for n_best, per_kind in ((5, 0), (50, 3), (0, 2)):
            fused = top_n(model, matrix, n_best, of=THERAPIES, per_kind=per_kind)
            apart = top_n(plain, matrix, n_best, of=THERAPIES, per_kind=per_kind)
            for name in ("indptr", "columns", "scores"):
                assert getattr(fused, name).tobytes() == getattr(apart, name).tobytes()
            ranker = Ranker(model, index, n_best, THERAPIES, per_kind)
            for u in range(n):
                columns, scores = ranker.one(rows[u].indices, rows[u].data)
                assert columns.tolist() == fused.of(u)[0].tolist() and scores.tobytes() == fused.of(u)[1].tobytes()


def test_one_by_a_model_that_is_asked_for_its_scores():
    scores = np.array([[0.1, 0.9, 0.9], [3, 2, 1]], dtype=np.float32)
    ranker = Ranker(Given(scores), matrix_of(np.zeros((2, 3), dtype=bool)).index, 2)
    assert ranker.one(np.array([3], dtype=np.int32), np.zeros(1, np.float32))[0].tolist() == [1, 2]
    taken = np.array([0, 3], dtype=np.int32), np.ones(2, np.float32)  # patient 1 has treatment 0
    assert [part.tolist() for part in ranker.one(*taken)] == [[1, 2], [2, 1]]


def test_nobody_has_no_list():
    matrix = matrix_of(np.zeros((1, 3), dtype=bool)).take(np.arange(0))
    model = LinearModel(weights=np.zeros((4, 3), dtype=np.float32))
    assert top_n(model, matrix, 2).indptr.tolist() == [0]


def test_who_is_scored_alone_gets_the_same_scores():
    """So a night that scores only whom something changed for gives what a full one would."""
    rng = np.random.default_rng(1)
    rows = sparse.random(700, 40, 0.2, format="csr", dtype=np.float32, rng=rng)
    rows.sort_indices()
    model = DirectedModel(
        weights=rng.normal(size=(40, 9)).astype(np.float32),
        length=rng.random(40, dtype=np.float32),
        mean_length=np.array([2], dtype=np.float32),
    )
    together = model.score(rows)
    assert all(model.score(rows[u]).tobytes() == together[u].tobytes() for u in range(700))


def test_a_model_of_other_targets_is_refused(tiny_matrix):
    fitted = LinearModel().fit(tiny_matrix)
    with pytest.raises(EngineError, match="scores 5 treatments, and the matrix has 2"):
        top_n(fitted, tiny_matrix.with_targets(np.array([0, 2])), 3)

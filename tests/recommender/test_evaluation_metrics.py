"""Every metric worked by hand, and beside other people's implementations."""

import numpy as np
import pytest
from hypothesis import given as having
from hypothesis import settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, ndcg_score

from recommender.evaluation import metrics
from recommender.ranking import places

# places of four lists of up to 3 among 8 targets, and what was relevant
PLACES = np.array([[4, 1, 0], [2, -1, -1], [-1, -1, -1], [5, 6, 7]])
RELEVANT = [{1, 3}, {2}, {0}, {5, 6, 7, 0}]
GIVEN = np.array([[i in wanted for i in range(8)] for wanted in RELEVANT])
HIT = metrics.hits(PLACES, GIVEN)
COUNT = GIVEN.sum(axis=1)
SECOND = 1 / np.log2(3)  # the discount of the second place


def test_hits_and_what_is_beyond_the_end_of_a_list():
    assert HIT.astype(int).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("recall", [1 / 2, 1, 0, 3 / 4]),
        ("capped_recall", [1 / 2, 1, 0, 1]),  # of four, three fit
        ("precision", [1 / 3, 1 / 3, 0, 1]),  # out of three, though the second list has one
        ("hit_rate", [1, 1, 0, 1]),
        ("mrr", [1 / 2, 1, 0, 1]),
        ("map", [(1 / 2) / 2, 1, 0, 1]),  # precision 1/2 at the second place, out of two
        ("ndcg", [SECOND / (1 + SECOND), 1, 0, 1]),
    ],
)
def test_by_hand(name, expected):
    assert metrics.LIST_METRICS[name](HIT, COUNT).tolist() == pytest.approx(expected)


def test_every_list_metric_is_worked_by_hand_here():
    assert set(metrics.LIST_METRICS) == {"recall", "capped_recall", "precision", "hit_rate", "mrr", "map", "ndcg"}


def test_weighted_recall_counts_the_rare_more():
    # patient 0 has target 1 (seen 10 times) and 3 (never seen, counts as once): finds the common one, 0.1 of 1.1
    frequency = np.array([100, 10, 4, 0, 1, 2, 4, 5])
    found = metrics.weighted_recall(PLACES, GIVEN, frequency)
    assert found.tolist() == pytest.approx([0.1 / 1.1, 1, 0, (0.5 + 0.25 + 0.2) / (0.5 + 0.25 + 0.2 + 0.01)])


def test_pr_auc_by_hand():
    nothing = -np.inf
    scores = np.array([[0.9, 0.5, 0.7, nothing], [nothing, nothing, nothing, nothing], [0.5, 0.5, 0.5, 0.5]])
    given = np.array([[1, 1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0]], dtype=bool)
    # hits at places 1 and 3: 1 + 2/3, out of three of which one cannot be suggested; of equal scores the lower first
    assert metrics.pr_auc(scores, given).tolist() == pytest.approx([(1 + 2 / 3) / 3, 0, 1 / 3])


def test_sets_by_hand():
    chosen = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], dtype=bool)
    given = np.array([[1, 0, 1, 1], [0, 1, 0, 0]], dtype=bool)
    found = metrics.set_metrics(chosen, given)
    assert {name: values.tolist() for name, values in found.items()} == {
        "jaccard": [1 / 4, 0],
        "f1": [2 / 5, 0],
        "size": [2, 0],
    }


def test_the_best_threshold_gives_the_best_mean_jaccard():
    scores = np.array([[0.9, 0.6, 0.1], [0.8, 0.7, -np.inf]])
    given = np.array([[1, 0, 0], [1, 1, 0]], dtype=bool)
    # at 0.7: (1 + 1) / 2; at 0.8: (1 + 1/2) / 2; at 0.9: (1 + 0) / 2
    assert metrics.best_threshold(scores, given, steps=3) == pytest.approx(0.7)
    assert metrics.best_threshold(scores, np.zeros_like(given)) == np.inf


# --- beside scikit-learn, on anything ------------------------------------------------------------------------------


@st.composite
def examples(draw):
    n, m = draw(st.integers(1, 6)), draw(st.integers(2, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    given = rng.random((n, m)) < draw(st.floats(0.05, 0.9))
    given[np.arange(n), rng.integers(0, m, n)] = True
    return rng.permuted(np.tile(np.arange(1, m + 1), (n, 1)), axis=1).astype(np.float32), given, draw(st.integers(1, m))


@settings(max_examples=150, deadline=None)
@having(examples())
def test_the_same_as_scikit_learn(example):
    scores, given, k = example
    hit, relevant = metrics.hits(places(scores, k), given), given.sum(axis=1)
    assert metrics.ndcg(hit, relevant).mean() == pytest.approx(ndcg_score(given, scores, k=k))
    areas = [average_precision_score(one, score) for one, score in zip(given, scores, strict=True)]
    assert metrics.pr_auc(scores, given).tolist() == pytest.approx(areas)
    everything = metrics.hits(places(scores, scores.shape[1]), given)
    assert metrics.average_precision(everything, relevant).tolist() == pytest.approx(areas)
    chosen = scores > np.median(scores)
    sets = metrics.set_metrics(chosen, given)
    assert sets["jaccard"].mean() == pytest.approx(jaccard_score(given, chosen, average="samples", zero_division=0))
    assert sets["f1"].mean() == pytest.approx(f1_score(given, chosen, average="samples", zero_division=0))


@settings(max_examples=150, deadline=None)
@having(examples())
def test_every_figure_is_a_share_and_a_perfect_list_has_the_most(example):
    scores, given, k = example
    relevant = given.sum(axis=1)
    perfect = metrics.hits(places(given.astype(np.float32), k), given)
    hit = metrics.hits(places(scores, k), given)
    for metric in metrics.LIST_METRICS.values():
        found, most = metric(hit, relevant), metric(perfect, relevant)
        assert (found >= 0).all()
        assert (found <= most + 1e-12).all()
        assert (most <= 1 + 1e-12).all()
    for name in ("ndcg", "capped_recall", "map"):
        assert metrics.LIST_METRICS[name](perfect, relevant).tolist() == pytest.approx([1] * len(given))


# --- beside RecTools -----------------------------------------------------------------------------------------------
# It needs pandas < 3 and so cannot be installed here. These are what RecTools 0.19.0 says of the examples below, run in
# an environment of its own: NDCG(divide_by_achievable=True), MAP(divide_by_k=False), the others as they are.
RECTOOLS = {
    1: {"ndcg": 0.0833333333, "recall": 0.0169444444, "precision": 0.0833333333, "map": 0.0169444444},
    5: {"ndcg": 0.1207208439, "recall": 0.1255555556, "precision": 0.13, "map": 0.0551759259},
    10: {"ndcg": 0.1823450139, "recall": 0.245, "precision": 0.1266666667, "map": 0.0867658730},
}
RECTOOLS[1] |= {"mrr": 0.0833333333, "hit_rate": 0.0833333333}
RECTOOLS[5] |= {"mrr": 0.2291666667, "hit_rate": 0.5333333333}
RECTOOLS[10] |= {"mrr": 0.2510846561, "hit_rate": 0.7}


@pytest.mark.parametrize("k", RECTOOLS)
def test_the_same_as_rectools(k):
    u, i = np.ogrid[:60, :30]
    scores = ((37 * u + (101 + u) * i) % 211).astype(np.float32)
    scores[(u + 3 * i) % 5 == 0] = -np.inf
    scores[:3] = -np.inf
    scores[3, 5:] = -np.inf
    given = (53 * u + 29 * i + u * i) % 7 == 0
    given[np.arange(60), np.arange(60) % 30] = True
    hit, relevant = metrics.hits(places(scores, k), given), given.sum(axis=1)
    found = {name: metric(hit, relevant) for name, metric in metrics.LIST_METRICS.items() if name != "capped_recall"}
    found["map"] *= np.minimum(k, relevant) / relevant  # RecTools divides by all that is relevant
    assert {name: values.mean() for name, values in found.items()} == pytest.approx(RECTOOLS[k])

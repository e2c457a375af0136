"""Figures of probabilities, worked out by hand and held against scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from recommender.evaluation.outcomes import Foreseen, Ranking


def foreseen(outcome, seed=0, fold=None, person=None, **probability):
    n = len(outcome)
    return Foreseen(
        np.array(outcome, dtype=bool),
        np.arange(n) if person is None else np.array(person),
        np.zeros(n, dtype=int) if fold is None else np.array(fold),
        seed,
        {name: np.array(one, dtype=float) for name, one in probability.items()},
    )


def test_figures_by_hand():
    # with the event: 0.9, 0.4; without: 0.5, 0.4, 0.1. Of 6 pairs 3 + 1 are in order, one tie counts half
    found = foreseen([1, 1, 0, 0, 0], a=[0.9, 0.4, 0.5, 0.4, 0.1])
    summary = found.summary("a")
    assert summary["auc"].value == pytest.approx(4.5 / 6)
    # precision 1 at the first event, 2 of 4 where the tied second is shown
    assert summary["pr_auc"].value == pytest.approx((1 + 2 / 4) / 2)
    assert summary["brier"].value == pytest.approx((0.01 + 0.36 + 0.25 + 0.16 + 0.01) / 5)
    assert summary["accuracy"].value == pytest.approx(3 / 5)
    assert summary["observed_to_expected"].value == pytest.approx(2 / 2.3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.integers(1, 6))
def test_both_areas_are_those_of_scikit_learn(seed, n, steps):
    rng = np.random.default_rng(seed)
    outcome = rng.random(n) < 0.4
    outcome[:2] = [True, False]
    scores, weight = rng.integers(0, steps, n).astype(float), rng.integers(0, 3, n).astype(float)
    weight[:2] = 1
    ranking = Ranking.of(scores, outcome)
    for metric, theirs in (("auc", roc_auc_score), ("pr_auc", average_precision_score)):
        above, below = ranking.figure(metric, weight[None])
        assert above[0] / below[0] == pytest.approx(theirs(outcome, scores, sample_weight=weight))


def test_ranks_are_compared_within_a_fold_alone():
    # the constant model of fold 0 learned of few events, that of fold 1 of many: pooled, its AUC would be 1/4
    found = foreseen([1, 1, 1, 0, 1, 0, 0, 0], fold=[0, 0, 0, 0, 1, 1, 1, 1], a=[0.2] * 4 + [0.7] * 4)
    assert found.summary("a")["auc"].value == 0.5


def test_a_person_is_drawn_whole():
    # twenty copies of two persons: the interval is as wide as that of two
    found = foreseen([1, 0] * 20, person=[0, 1] * 20, a=[0.6, 0.4] * 20)
    assert found.summary("a")["brier"].low == pytest.approx(0.16)
    few = foreseen([1, 0, 0] * 20, person=[0, 1, 2] * 20, a=[0.6, 0.4, 0.0] * 20).summary("a")["brier"]
    assert few.low == 0 and few.high == pytest.approx(0.16)


def test_the_gain_is_paired():
    rng = np.random.default_rng(1)
    outcome = rng.random(300) < 0.3
    score = outcome + rng.normal(0, 1, 300)
    found = foreseen(outcome, a=score, b=score, c=rng.random(300))
    same, more = found.gain("a", "b"), found.gain("a", "c")
    assert (same.low, same.value, same.high) == (0, 0, 0)
    assert more.low > 0 and more.value == pytest.approx(
        roc_auc_score(outcome, score) - roc_auc_score(outcome, found.probability["c"])
    )


def test_groups_have_their_own_auc_and_a_gap():
    rng = np.random.default_rng(2)
    outcome = rng.random(600) < 0.4
    clear, noise = outcome + rng.normal(0, 0.3, 600), rng.random(600)
    group = np.where(np.arange(600) < 300, "told", "guessed")
    of = pd.DataFrame({"ward": [*group[:595], *["few"] * 5]})
    table = foreseen(outcome, a=np.where(group == "told", clear, noise)).by_group(of, "a").set_index("group")
    assert table.loc["told", "value"] == pytest.approx(roc_auc_score(outcome[:300], clear[:300]))
    assert np.isnan(table.loc["few", "value"]) and table.loc["few", "patients"] == 5
    assert table.loc["guessed", "best"] == "told" and table.loc["guessed", "distinguishable"]
    assert table.loc["guessed", "gap"] == pytest.approx(table.loc["told", "value"] - table.loc["guessed", "value"])
    assert table.loc["told", "observed"] == outcome[:300].mean()

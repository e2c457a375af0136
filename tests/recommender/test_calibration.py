"""From scores to probabilities: curves by hand, their properties, and a judgement that is made on others."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given as having
from hypothesis import settings
from hypothesis import strategies as st
from scipy import sparse

from recommender.calibration import Calibration
from recommender.evaluation.calibrate import (
    METHODS,
    brier,
    calibrate,
    equal_mass,
    expected_error,
    isotonic,
    platt,
)
from recommender.evaluation.compare import Evaluation, Judged
from recommender.evaluation.trial import Trial


class TestUse:
    curve = Calibration(np.array([0.0, 1.0, 3.0]), np.array([0.1, 0.2, 0.6]))

    def test_straight_lines_between_knots_and_level_beyond(self):
        assert self.curve.probability(np.array([-5, 0, 0.5, 2, 3, 99])).tolist() == pytest.approx(
            [0.1, 0.1, 0.15, 0.4, 0.6, 0.6]
        )

    def test_what_has_no_score_has_no_probability(self):
        found = self.curve.probability(np.array([[np.nan, 1.0]], dtype=np.float32))
        assert np.isnan(found[0, 0])
        assert found[0, 1] == 0.2
        assert found.dtype == np.float64

    def test_it_travels_as_json(self):
        again = Calibration.from_dict(json.loads(json.dumps(self.curve.as_dict())))
        scores = np.linspace(-1, 4, 50)
        assert np.array_equal(again.probability(scores), self.curve.probability(scores))

    @pytest.mark.parametrize(
        ("scores", "probabilities", "said"),
        [
            ([0, 1], [0.5], "as many"),
            ([], [], "as many"),
            ([0, 1], [-0.1, 0.5], "0 to 1"),
            ([0, 1], [0.1, 1.5], "0 to 1"),
            ([0, 1], [0.5, 0.4], "rise"),
            ([1, 0], [0.4, 0.5], "rise"),
            ([0, 1], [0.4, np.nan], "0 to 1"),
        ],
    )
    def test_what_is_no_rising_curve_is_refused(self, scores, probabilities, said):
        with pytest.raises(ValueError, match=said):
            Calibration(np.array(scores, dtype=float), np.array(probabilities, dtype=float))


class TestFit:
    def test_pool_adjacent_violators_by_hand(self):
        # 2 and 3 are in the wrong order and share their mean; so do 4 and 5
        curve = isotonic(np.array([1.0, 2, 3, 4, 5, 6]), np.array([0, 1, 0, 1, 0, 1], dtype=bool))
        assert curve.probability(np.array([1.0, 2, 3, 4, 5, 6])).tolist() == [0, 0.5, 0.5, 0.5, 0.5, 1]
        assert curve.probability(np.array([1.5, 5.5])).tolist() == [0.25, 0.75]

    def test_equal_scores_share_their_mean(self):
        curve = isotonic(np.array([1.0, 1, 1, 2]), np.array([1, 0, 0, 1], dtype=bool))
        assert curve.probability(np.array([1.0, 2])).tolist() == pytest.approx([1 / 3, 1])

    def test_platt_finds_the_curve_that_made_the_outcomes(self):
        rng = np.random.default_rng(0)
        scores = rng.normal(5, 3, 40_000)
        true = 1 / (1 + np.exp(-(0.8 * scores - 5)))
        curve = platt(scores, rng.random(40_000) < true)
        assert np.abs(curve.probability(scores) - true).max() < 0.02

    def test_a_falling_curve_is_level(self):
        scores = np.arange(100.0)
        assert len(set(platt(scores, scores < 50).probability(scores))) == 1

    @settings(max_examples=60, deadline=None)
    @having(st.sampled_from(sorted(METHODS)), st.integers(0, 2**32), st.integers(1, 200), st.floats(0, 1))
    def test_every_curve_rises_within_zero_and_one(self, method, seed, n, share):
        rng = np.random.default_rng(seed)
        scores, outcomes = rng.normal(size=n).round(1).astype(np.float32), rng.random(n) < share
        curve = METHODS[method](scores, outcomes)
        found = curve.probability(np.linspace(-4, 4, 200))
        assert (np.diff(found) >= 0).all()
        assert 0 <= found[0] <= found[-1] <= 1
        if method == "isotonic":  # its mean is that of the outcomes
            assert curve.probability(scores).mean() == pytest.approx(outcomes.mean(), abs=1e-5)


class TestErrors:
    def test_brier_by_hand(self):
        assert brier(np.array([0.5, 0.2, 1.0]), np.array([1, 0, 1])) == pytest.approx((0.25 + 0.04 + 0) / 3)

    def test_expected_error_by_hand(self):
        # two bins of two: 0.15 promised and 0.5 true; 0.8 promised and 1 true
        p, outcome = np.array([0.1, 0.2, 0.7, 0.9]), np.array([0, 1, 1, 1])
        assert expected_error(p, outcome, bins=2) == pytest.approx((2 * 0.35 + 2 * 0.2) / 4)

    def test_bins_are_of_one_size_and_keep_equals_together(self):
        assert equal_mass(np.array([0.4, 0.1, 0.3, 0.2]), 2).tolist() == [1, 0, 1, 0]
        assert equal_mass(np.array([0.1, 0.5, 0.5, 0.5, 0.9, 0.95]), 3).tolist() == [0, 0, 0, 0, 2, 2]
        assert len(set(equal_mass(np.full(50, 0.3)).tolist())) == 1


def evaluation(seed=0, n=3_000, n_targets=30, folds=5):
    """Scores s come true with probability s / 2; the last target, a rare one, never does."""
    rng = np.random.default_rng(seed)
    scores = rng.random((n, n_targets)).astype(np.float32)
    outcome = rng.random(scores.shape) < scores / 2
    outcome[:, -1] = False
    scores[rng.random(scores.shape) < 0.6] = -np.inf
    outcome &= np.isfinite(scores)
    person, fold = np.arange(n) // 2, np.arange(n) // 2 % folds
    some = outcome.any(axis=1)
    nothing = sparse.csr_matrix(scores.shape, dtype=bool)
    trial = Trial("started", "", None, None, nothing, person, person, person, person, person)
    at = np.arange(n)
    frequency = np.full((folds, n_targets), 500)
    frequency[:, -1] = 4
    made = Evaluation(trial, 0, at[some], fold[some], outcome[some], at[~some], fold[~some], frequency)
    made.judged["m"] = Judged(pd.DataFrame(), scores[some], scores[~some], 0.0, 0.0)
    return made


class TestCalibrate:
    def test_it_finds_what_is_true(self):
        found = calibrate(evaluation(), "m")
        true = np.array([0.3, 0.5, 0.8]) / 2 * 29 / 30  # one target of thirty never comes true
        assert found.calibration.probability(np.array([0.3, 0.5, 0.8])) == pytest.approx(true, abs=0.04)
        methods = found.methods.set_index("method")
        assert found.method == methods["brier"].idxmin() != "constant"
        assert methods.loc["isotonic", "ece"] < 0.02
        assert methods.loc["isotonic", "brier"] < methods.loc["constant", "brier"]
        assert methods["observed"].nunique() == 1

    def test_the_table_holds_all_that_is_listed_and_its_intervals_the_promise(self):
        made = evaluation()
        found = calibrate(made, "m")
        n_listed = sum(
            np.minimum(np.isfinite(scores).sum(axis=1), 10).sum()
            for scores in (made.judged["m"].scores, made.judged["m"].idle_scores)
        )
        assert found.reliability["pairs"].sum() == found.by_rarity["pairs"].sum() == n_listed
        within = found.reliability["predicted"].between(found.reliability["low"], found.reliability["high"])
        assert within.mean() >= 0.8
        assert (calibrate(made, "m", depth=1).reliability["pairs"].sum()) <= 3_000

    def test_what_is_off_for_rare_treatments_shows(self):
        rare = calibrate(evaluation(), "m").by_rarity.set_index("trained").loc["under 10"]
        assert rare["value"] == 0 < rare["predicted"]

    def test_lists_after_which_nothing_began_count(self):
        made = evaluation(n_targets=4)  # few targets: many such lists
        assert len(made.idle) > 100
        methods = calibrate(made, "m").methods
        pairs = np.isfinite(made.judged["m"].scores).sum() + np.isfinite(made.judged["m"].idle_scores).sum()
        assert methods["pairs"].unique().tolist() == [pairs]
        assert methods["observed"].iloc[0] == pytest.approx(made.given.sum() / pairs)

    @pytest.mark.parametrize("folds", [1, 5])
    def test_nobody_is_judged_by_a_curve_learned_from_them(self, folds):
        # outcomes that have nothing to do with the scores: a curve judged on its own pairs would seem to know something
        made = evaluation(n=200, folds=folds)
        rng = np.random.default_rng(3)
        made.given[:] = rng.permuted(made.given & np.isfinite(made.judged["m"].scores), axis=0)
        methods = calibrate(made, "m").methods.set_index("method")["brier"]
        assert methods["isotonic"] > methods["constant"]

"""An `Evaluation` in, a `Calibration` of a model's scores out, and how far its probabilities can be trusted.

The outcome of a (patient, treatment) pair is whether the treatment was relevant: with the protocol `started`, whether
it began before the next visit and within 30 days. Held-out examples at which nothing began count as well. One curve is
learned from the pairs that are listed, whatever the treatment. Not from all pairs: of two with the same score, the one
at the end of a list of high scores came true less often, so a curve learned from all of them promised the listed ones
too much (docs/evaluation.md). Not by treatment, of which most are too rare: `by_rarity` tells how far off that is.

Every figure is cross-fitted: the curve that a pair is judged by was learned from other patients' pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recommender.calibration import Calibration
from recommender.evaluation.bootstrap import intervals
from recommender.evaluation.breakdown import RARITIES
from recommender.evaluation.compare import Evaluation, K
from recommender.ranking import places

BINS = 10
KNOTS = 256  # of the curve of Platt; straight lines between so many are off by less than 1e-4


def isotonic(scores: np.ndarray, outcomes: np.ndarray) -> Calibration:
    """The rising steps that are nearest to the outcomes (Zadrozny & Elkan, KDD 2002). scores, outcomes (n,)."""
    from sklearn.isotonic import IsotonicRegression  # seconds to import, only needed to fit

    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores.astype(np.float64), outcomes)
    return Calibration(fitted.X_thresholds_, fitted.y_thresholds_)


def platt(scores: np.ndarray, outcomes: np.ndarray) -> Calibration:
    """A logistic curve (Platt 1999), which needs fewer examples and may have the wrong shape. scores, outcomes (n,)."""
    from sklearn.linear_model import LogisticRegression  # seconds to import, only needed to fit

    if outcomes.all() or not outcomes.any():
        return constant(scores, outcomes)
    knots = np.linspace(scores.min(), scores.max(), KNOTS)
    centre, spread = scores.mean(), max(float(scores.std()), 1e-12)
    fitted = LogisticRegression(C=1e9).fit(((scores - centre) / spread)[:, None], outcomes)
    if fitted.coef_[0, 0] < 0:  # a falling curve would turn lists upside down
        return constant(scores, outcomes)
    return Calibration(knots, fitted.predict_proba(((knots - centre) / spread)[:, None])[:, 1])


def constant(scores: np.ndarray, outcomes: np.ndarray) -> Calibration:
    """The same for every score: what the others must beat."""
    return Calibration(np.zeros(1), np.array([outcomes.mean()]))


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], Calibration]] = {
    "isotonic": isotonic,
    "platt": platt,
    "constant": constant,
}


def brier(probabilities: np.ndarray, outcomes: np.ndarray) -> float:
    """Mean squared error (Brier 1950)."""
    return float(np.mean((probabilities - outcomes) ** 2))


def equal_mass(probabilities: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Which of `bins` bins (n,) each is in: all of one size, but equal probabilities are in one."""
    order = np.argsort(probabilities, kind="stable")
    bin_of_place = np.arange(len(order)) * bins // max(len(order), 1)
    _, same = np.unique(probabilities[order], return_inverse=True)
    first = np.searchsorted(same, np.arange(same.max(initial=-1) + 1))
    bin_of = np.empty(len(order), dtype=np.int64)
    bin_of[order] = bin_of_place[first[same]]
    return bin_of


def expected_error(probabilities: np.ndarray, outcomes: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: |mean probability - share of outcomes| of each bin, weighted by its size."""
    bin_of = equal_mass(probabilities, bins)
    difference = np.bincount(bin_of, probabilities - outcomes, minlength=bins)
    return float(np.abs(difference).sum() / len(outcomes))


@dataclass(frozen=True)
class Calibrated:
    """`calibration` by `method`: the one of METHODS with the best Brier score. For the `depth` first of a list only.

    methods: method, pairs, observed (share), predicted (mean), brier, ece. reliability, of `method`, in bins of one
    size: pairs, patients, predicted, and value, low, high: the share observed with its 95% interval over patients.
    by_rarity: the same by how many training examples had the treatment.
    """

    method: str
    depth: int
    calibration: Calibration
    methods: pd.DataFrame
    reliability: pd.DataFrame
    by_rarity: pd.DataFrame


def calibrate(evaluation: Evaluation, model: str, depth: int = K) -> Calibrated:
    """Learn and judge the curves of one judged model, from the `depth` first of each list."""
    judged = evaluation.judged[model]
    scores = np.concatenate([judged.scores, judged.idle_scores])
    given = np.concatenate([evaluation.given, np.zeros_like(judged.idle_scores, dtype=bool)])
    fold = np.concatenate([evaluation.fold, evaluation.idle_fold])
    first = places(scores, depth)
    example, place = (first >= 0).nonzero()
    target = first[example, place]
    score, outcome = scores[example, target], given[example, target]
    person = np.concatenate([evaluation.person, evaluation.trial.person[evaluation.idle]])[example]
    fold = fold[example]
    part = evaluation.apart(person, fold)
    found = {name: _cross_fitted(fit, score, outcome, part) for name, fit in METHODS.items()}
    methods = pd.DataFrame(
        [
            {
                "method": name,
                "pairs": len(outcome),
                "observed": float(outcome.mean()),
                "predicted": float(probability.mean()),
                "brier": brier(probability, outcome),
                "ece": expected_error(probability, outcome),
            }
            for name, probability in found.items()
        ]
    )
    method = str(methods.loc[methods["brier"].idxmin(), "method"])
    names, upper = np.array(list(RARITIES)), [below for _, below in RARITIES.values()]
    rarity = np.searchsorted(upper, evaluation.frequency[fold, target], side="right")
    reliability, by_rarity = (
        reliability_of(bin_of, found[method], outcome, person, evaluation.seed)
        for bin_of in (equal_mass(found[method]), rarity)
    )
    return Calibrated(
        method,
        depth,
        METHODS[method](score, outcome),
        methods,
        reliability.drop(columns="bin"),
        by_rarity.assign(bin=names[by_rarity["bin"]]).rename(columns={"bin": "trained"}),
    )


def _cross_fitted(
    fit: Callable[[np.ndarray, np.ndarray], Calibration], score: np.ndarray, outcome: np.ndarray, part: np.ndarray
) -> np.ndarray:
    probability = np.empty(len(score))
    for number in np.unique(part):
        mine = part == number
        probability[mine] = fit(score[~mine], outcome[~mine]).probability(score[mine])
    return probability


def reliability_of(
    bin_of: np.ndarray, probability: np.ndarray, outcome: np.ndarray, person: np.ndarray, seed: int
) -> pd.DataFrame:
    """bin, pairs, patients, predicted (mean), and value, low, high: the share observed with its 95% interval. All but
    the seed (n,)."""
    bins = np.unique(bin_of)
    member = bin_of[:, None] == bins
    observed = intervals(member & outcome[:, None], person, seed, member)
    return pd.DataFrame(
        {
            "bin": bins,
            "pairs": member.sum(axis=0),
            "patients": [len(np.unique(person[one])) for one in member.T],
            "predicted": [probability[one].mean() for one in member.T],
            **{name: [getattr(one, name) for one in observed] for name in ("value", "low", "high")},
        }
    )

"""Models, a trial and its folds in; every model's figures on the same examples out, with intervals, paired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from recommender.errors import TrainingError
from recommender.evaluation import metrics
from recommender.evaluation.bootstrap import Interval, intervals
from recommender.evaluation.split import Fold
from recommender.evaluation.trial import Trial
from recommender.features import MIN_TARGET_PATIENTS
from recommender.matrix import PatientMatrix
from recommender.models.base import Model
from recommender.ranking import places

K = 10
MAIN = "ndcg"


@dataclass(frozen=True)
class Judged:
    """One model. figures: a row for each tested example, a column for each metric.

    scores (n_tested, n_targets) and idle_scores (n_idle, n_targets), float32: -inf where it may not or cannot suggest;
    seconds over all folds.
    """

    figures: pd.DataFrame
    scores: np.ndarray
    idle_scores: np.ndarray
    fit_seconds: float
    score_seconds: float

    @property
    def coverage(self) -> float:
        """The share of targets that stand in at least one of the lists."""
        named = np.unique(places(self.scores, K))
        return float((named >= 0).sum() / self.scores.shape[1])


@dataclass(frozen=True)
class Evaluation:
    """What was measured of each model on the same examples.

    tested (n_tested,): positions in the trial; fold (n_tested,): in which fold; given (n_tested, n_targets) bool.
    idle (n_idle,) and idle_fold: held-out examples at which nothing was to be found, so that no list can be judged by
    them; but a probability can. frequency (n_folds, n_targets): how many training examples had each.
    """

    trial: Trial
    seed: int
    tested: np.ndarray
    fold: np.ndarray
    given: np.ndarray
    idle: np.ndarray
    idle_fold: np.ndarray
    frequency: np.ndarray
    judged: dict[str, Judged] = field(default_factory=dict)

    @property
    def person(self) -> np.ndarray:
        return self.trial.person[self.tested]

    def apart(self, person: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """Parts (n,) int such that what is learned from some can be judged by the others: the folds; of a single one,
        two halves of its persons."""
        return fold if len(self.frequency) > 1 else np.unique(person, return_inverse=True)[1] % 2

    def summary(self, model: str) -> dict[str, Interval]:
        """Each metric's mean over examples, with its interval."""
        figures = self.judged[model].figures
        return dict(zip(figures, intervals(figures.to_numpy(), self.person, self.seed), strict=True))

    def gain(self, model: str, other: str, metric: str = MAIN) -> Interval:
        """How much better `model` is than `other`, paired."""
        difference = self.judged[model].figures[metric] - self.judged[other].figures[metric]
        return intervals(difference.to_numpy()[:, None], self.person, self.seed)[0]

    def as_dict(self) -> dict[str, Any]:
        first = next(iter(self.judged))
        return {
            "protocol": self.trial.protocol,
            "question": self.trial.said,
            "k": K,
            "seed": self.seed,
            "examples": len(self.trial),
            "folds": len(self.frequency),
            "tested": len(self.tested),
            "nothing_to_find": len(self.idle),
            "patients": len(np.unique(self.person)),
            "models": {
                name: {
                    **{metric: asdict(interval) for metric, interval in self.summary(name).items()},
                    "coverage": judged.coverage,
                    "fit_seconds": judged.fit_seconds,
                    "score_seconds": judged.score_seconds,
                }
                for name, judged in self.judged.items()
            },
            "gain": {name: asdict(self.gain(first, name)) for name in self.judged if name != first},
        }


def evaluate(
    models: Sequence[Model],
    trial: Trial,
    folds: Sequence[Fold],
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Fit every model on each fold's training examples and judge it by the tested ones that have something relevant.

    A target that fewer than MIN_TARGET_PATIENTS training examples had is not suggested, but counts where it is
    relevant. `progress` is told 1 after each model. Raises TrainingError when nothing can be tested.
    """
    folds = [fold for fold in folds if len(fold.train)]
    has_relevant = np.diff(trial.relevant.indptr) > 0
    every = np.concatenate([fold.test for fold in folds] or [np.empty(0, dtype=np.int64)])
    counts = has_relevant[every]
    if not counts.any():
        raise TrainingError("no tested example has anything to find")
    fold_of = np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds])
    given = trial.relevant[every[counts]][:, trial.taught.index.targets].toarray()
    taught = [_taught(trial.taught.take(fold.train)) for fold in folds]
    frequency = np.stack([frequency for _, frequency in taught])
    evaluation = Evaluation(
        trial, seed, every[counts], fold_of[counts], given, every[~counts], fold_of[~counts], frequency
    )
    for model in models:
        scores = np.full((len(every), given.shape[1]), -np.inf, dtype=np.float32)
        fit_seconds = score_seconds = 0.0
        for number, (fold, (train, had)) in enumerate(zip(folds, taught, strict=True)):
            known = np.flatnonzero(had >= MIN_TARGET_PATIENTS)
            began = perf_counter()
            fitted = model.fit(model.reads(train))
            fit_seconds += perf_counter() - began
            asked = model.reads(trial.asked.take(fold.test).with_targets(known))
            began = perf_counter()
            found = fitted.score(asked.rows)
            score_seconds += perf_counter() - began
            found[~np.isfinite(found)] = -np.inf
            if not trial.repeats:
                found[asked.had.nonzero()] = -np.inf
            scores[np.ix_(fold_of == number, known)] = found
        figures = _figures(evaluation, scores[counts])
        judged = Judged(figures, scores[counts], scores[~counts], fit_seconds, score_seconds)
        evaluation.judged[model.name] = judged
        if progress:
            progress(1)
    return evaluation


def _taught(matrix: PatientMatrix) -> tuple[PatientMatrix, np.ndarray]:
    """The training examples with the targets that enough of them have; and how many have each (n_targets,)."""
    frequency = np.bincount(matrix.whole.indices, minlength=len(matrix.index))[matrix.index.targets]
    known = np.flatnonzero(frequency >= MIN_TARGET_PATIENTS)
    if not len(known):
        raise TrainingError(f"no treatment was given to {MIN_TARGET_PATIENTS} or more of the training patients")
    return matrix.with_targets(known), frequency


def _figures(evaluation: Evaluation, scores: np.ndarray) -> pd.DataFrame:
    given, first = evaluation.given, places(scores, K)
    hit, relevant = metrics.hits(first, given), given.sum(axis=1)
    figures = {name: metric(hit, relevant) for name, metric in metrics.LIST_METRICS.items()}
    weighted = np.empty(len(given))
    sets = {name: np.empty(len(given)) for name in ("jaccard", "f1", "size")}
    part = evaluation.apart(evaluation.person, evaluation.fold)
    for number in np.unique(part):
        mine = part == number
        # the threshold comes from examples that are not judged by it
        threshold = metrics.best_threshold(scores[~mine], given[~mine])
        for name, values in metrics.set_metrics(scores[mine] >= threshold, given[mine]).items():
            sets[name][mine] = values
    for number, frequency in enumerate(evaluation.frequency):
        mine = evaluation.fold == number
        weighted[mine] = metrics.weighted_recall(first[mine], given[mine], frequency)
    return pd.DataFrame({**figures, "rare_recall": weighted, "pr_auc": metrics.pr_auc(scores, given), **sets})

"""A `Trial` in, who is learned from and who is judged, out: by patient, by hospital, or by the calendar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommender.errors import TrainingError

FOLDS = 5


@dataclass(frozen=True)
class Fold:
    """Positions of examples, ascending: `train` to learn from, `test` to be judged by."""

    train: np.ndarray
    test: np.ndarray


def folds_of(groups: np.ndarray, n_folds: int = FOLDS, seed: int = 0) -> list[Fold]:
    """Every example is tested once, and nobody of its group (n,) (a patient, a hospital) is learned from then.

    Groups are drawn by the seed, the larger ones first, each into the fold that is smallest so far. Raises
    TrainingError when there are fewer groups than folds.
    """
    names, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < n_folds:
        raise TrainingError(f"{len(names)} groups cannot be split into {n_folds} folds")
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-size[order], kind="stable")]
    fold_of = np.empty(len(names), dtype=np.int64)
    filled = np.zeros(n_folds, dtype=np.int64)
    for name in order.tolist():
        fold_of[name] = filled.argmin()
        filled[fold_of[name]] += size[name]
    fold = fold_of[group]
    return [Fold(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(n_folds)]


def after(when: np.ndarray, followed_until: np.ndarray, cutoff: int) -> list[Fold]:
    """Learn from what was over before the cutoff, judge by what was asked from it on. All in seconds since 1970.

    Half-open: train has followed_until <= cutoff, test has when >= cutoff; what lies astride is used for neither.
    """
    fold = Fold(np.flatnonzero(followed_until <= cutoff), np.flatnonzero(when >= cutoff))
    if not len(fold.train) or not len(fold.test):
        raise TrainingError("no example is over before that day, or none begins from it on")
    return [fold]


def one_of(folds: Sequence[Fold], most: int, seed: int = 0) -> list[Fold]:
    """The first fold alone, with `most` test examples drawn by the seed: for large hospitals, and every night."""
    fold = folds[0]
    if len(fold.test) <= most:
        return [fold]
    drawn = np.random.default_rng(seed).choice(fold.test, most, replace=False)
    return [Fold(fold.train, np.sort(drawn))]

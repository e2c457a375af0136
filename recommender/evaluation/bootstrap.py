"""Figures of examples in, means with 95% intervals out: the bootstrap over patients, the same draws for every model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 2_000
CHUNK = 50  # resamples at a time, so that memory does not follow their number


@dataclass(frozen=True)
class Interval:
    """A mean over examples and its 95% bootstrap interval (2.5 and 97.5 percentiles of the resampled means)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def resampled(values: np.ndarray, person: np.ndarray, seed: int) -> np.ndarray:
    """Means over examples of each column of values (n, m) when persons are drawn again: (RESAMPLES, m).

    person (n,): whose example it is; all examples of a person are drawn together (Field & Welsh 2007). The same persons
    and seed give the same draws, so differences of columns, and of calls, are paired. An empty draw is NaN.
    """
    _, who = np.unique(person, return_inverse=True)
    n_persons = int(who.max(initial=-1)) + 1
    sums = np.zeros((n_persons, values.shape[1]))
    np.add.at(sums, who, values)
    sizes = np.bincount(who, minlength=n_persons).astype(np.float64)
    rng = np.random.default_rng(seed)
    means = []
    for start in range(0, RESAMPLES, CHUNK):
        drawn = rng.integers(0, max(n_persons, 1), (min(CHUNK, RESAMPLES - start), n_persons))
        weight = np.stack([np.bincount(one, minlength=n_persons) for one in drawn]).astype(np.float64)
        means.append((weight @ sums) / (weight @ sizes)[:, None])
    return np.concatenate(means)


def intervals(values: np.ndarray, person: np.ndarray, seed: int) -> list[Interval]:
    """Of each column of values (n, m)."""
    low, high = np.percentile(resampled(values, person, seed), [2.5, 97.5], axis=0)
    return [Interval(float(v), float(a), float(b)) for v, a, b in zip(values.mean(axis=0), low, high, strict=True)]

"""Figures of examples in, means with 95% intervals out: the bootstrap over patients, the same draws for every model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2_000
CHUNK = 50  # resamples at a time, so that memory does not follow their number


@dataclass(frozen=True)
class Interval:
    """A mean over examples, or a share, and its 95% bootstrap interval (percentiles 2.5 and 97.5 of the draws)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def draws(n_persons: int, seed: int) -> Iterator[np.ndarray]:
    """How often each person is drawn: RESAMPLES rows (n_persons,) float64, in blocks of CHUNK at most."""
    rng = np.random.default_rng(seed)
    for start in range(0, RESAMPLES, CHUNK):
        lots = rng.integers(0, n_persons, (min(CHUNK, RESAMPLES - start), n_persons))
        yield np.stack([np.bincount(one, minlength=n_persons) for one in lots]).astype(np.float64)


def resampled(values: np.ndarray, person: np.ndarray, seed: int, out_of: np.ndarray | None = None) -> np.ndarray:
    """What each column of values (n, m) comes to when persons are drawn again: (RESAMPLES, m).

    Its mean over examples; or its sum over that of `out_of` (n, m), where not every example counts, or not as one: NaN
    in a draw in which none counts. person (n,): whose example it is; all examples of a person are drawn together (Field
    & Welsh 2007). The same persons and seed give the same draws, so differences of columns, and of calls, are paired.
    """
    _, who = np.unique(person, return_inverse=True)
    below = np.ones((len(values), 1)) if out_of is None else out_of
    n_persons, width = int(who.max()) + 1, values.shape[1]
    sums = np.zeros((n_persons, width + below.shape[1]))
    np.add.at(sums, who, np.hstack([values, below]))
    drawn = []
    for drawn_persons in draws(n_persons, seed):
        times = drawn_persons @ sums
        with np.errstate(invalid="ignore"):
            drawn.append(times[:, :width] / times[:, width:])
    return np.concatenate(drawn)


def intervals(values: np.ndarray, person: np.ndarray, seed: int, out_of: np.ndarray | None = None) -> list[Interval]:
    """Of each column of values (n, m); `out_of` as in `resampled`, and no column of it empty."""
    found = values.mean(axis=0) if out_of is None else values.sum(axis=0) / out_of.sum(axis=0)
    low, high = np.nanpercentile(resampled(values, person, seed, out_of), [2.5, 97.5], axis=0)
    return [Interval(float(v), float(a), float(b)) for v, a, b in zip(found, low, high, strict=True)]

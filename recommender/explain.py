"""A release and one patient's entry in, the exact reasons for its suggestions out: parts that add up to the scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recommender.models.base import Contributions
from recommender.snapshot import Entry, Release


def explain(release: Release, entry: Entry, columns: Sequence[int]) -> list[Contributions]:
    """Every part of the score of each of some suggested columns, largest first by size, of equals the first by kind and
    code; they add up to the score to 1e-5."""
    index, model = release.index, release.model
    known, weights = entry.row_columns, entry.row_weights
    targets = index.target_of_column[np.asarray(columns, dtype=np.intp)]
    summed = model.summed(np.array([0, len(known)], dtype=np.int32), known, weights)
    if summed is None:
        each = [model.contributions(known, weights, target) for target in targets.tolist()]
        return [Contributions(*(part[0] for part in _sorted(index.rank[c], c, v[None]))) for c, v in each]
    data, of_columns = summed
    parts = of_columns[known[:, None], targets].T * data.astype(np.float64)  # (n, k)
    found = zip(*_sorted(index.rank[known], known, parts), np.count_nonzero(parts, axis=1).tolist(), strict=True)
    return [Contributions(columns[:count], values[:count]) for columns, values, count in found]


def _sorted(rank: np.ndarray, columns: np.ndarray, parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """parts (n, k) by size in each row, and the columns (n, k) that they are of; what adds nothing comes last."""
    order = np.lexsort((np.broadcast_to(rank, parts.shape), -np.abs(parts)))
    return columns[order], np.take_along_axis(parts, order, axis=1)

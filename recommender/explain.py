"""A release and one patient's entry in, the exact reasons for one suggestion out: parts that add up to the score."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recommender.matrix import Column
from recommender.snapshot import Entry, Release


class Reason(NamedTuple):
    """One thing known of the patient, the block of the chart it stands in, and what it adds to the score."""

    column_ix: int
    column: Column
    block: str
    contribution: float


def explain(release: Release, entry: Entry, column_ix: int) -> tuple[Reason, ...]:
    """Every part of the score of the suggested column, largest first by size; they add up to the score to 1e-5."""
    index = release.index
    target = int(index.target_of_column[column_ix])
    columns, values = release.model.contributions(entry.row_columns, entry.row_weights, target)
    order = np.lexsort(([index.rank[ix] for ix in columns.tolist()], -np.abs(values)))
    ixs = columns[order].tolist()
    return tuple(map(Reason, ixs, [index.columns[ix] for ix in ixs], map(index.block_of, ixs), values[order].tolist()))

"""A release and one patient's entry in, the exact reasons for one suggestion out: parts that add up to the score."""

from __future__ import annotations

from typing import NamedTuple

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
    parts = release.model.contributions(entry.row_columns, entry.row_weights, target)
    rank = index.rank
    parts.sort(key=lambda part: (-abs(part.value), rank[part.column_ix]))
    return tuple(Reason(ix, index.columns[ix], index.block_of(ix), value) for ix, value in parts)

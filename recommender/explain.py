"""A release and one patient's entry in, the exact reasons for one suggestion out: parts that add up to the score."""

from __future__ import annotations

from dataclasses import dataclass

from recommender.features import Column
from recommender.snapshot import Entry, Release


@dataclass(frozen=True)
class Reason:
    """One thing known of the patient, the block of the chart it stands in, and what it adds to the score."""

    column_ix: int
    column: Column
    block: str
    contribution: float


def explain(release: Release, entry: Entry, column_ix: int) -> tuple[Reason, ...]:
    """Every part of the score of the suggested column, largest first by size; they add up to the score to 1e-5."""
    target = int(release.index.target_of_column[column_ix])
    parts = release.model.contributions(entry.row_columns, entry.row_weights, target)
    reasons = [
        Reason(
            part.column_ix, release.index.columns[part.column_ix], release.index.block_of(part.column_ix), part.value
        )
        for part in parts
    ]
    return tuple(sorted(reasons, key=lambda r: (-abs(r.contribution), r.column.kind, r.column.code)))

"""A desk and an entry in; which candidates it is answered with, and by which source, out: each answer names its own.

The chain, for a chart that a request brings: the model, where it knows anything clinical of the chart ("live"); else
what patients with its leading condition had, where a condition of the chart shares a clinical group with one that this
version has counted ("leading condition"); else the model by age and sex alone ("live"); else what most patients had
("popularity"). A published entry is a "published list". Nothing here looks at safety: whatever the source, the list is
screened by `Desk.offer`, and a list of which everything is withheld stays empty rather than fall back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from recommender.explain import explain
from recommender.models.base import Contributions
from recommender.offer import Candidate, Desk
from recommender.ranking import Ranker, places
from recommender.safety.charts import Known
from recommender.snapshot import Entry, Release
from recommender.support import Support

Source = Literal["published list", "live", "leading condition", "popularity"]
BASELINE = ("baseline", "baseline")
NOT_CLINICAL = ("age", "sex", "baseline")


@dataclass(frozen=True)
class Basis:
    """Where candidates come from. `column`: the condition whose patients were counted, or the baseline's column where
    all were; None where the model scored.

    A score is then about how many patients had the treatment, and its only reason is that column.
    """

    source: Source
    column: int | None = None

    @property
    def counted(self) -> bool:
        return self.column is not None

    def reasons(self, release: Release, entry: Entry, candidates: Sequence[Candidate]) -> list[Contributions]:
        """Parts that add up to each candidate's score, largest first by size."""
        if self.column is None:
            return explain(release, entry, [one.column_ix for one in candidates])
        column = np.array([self.column])
        return [Contributions(column, np.array([one.score])) for one in candidates]


PUBLISHED = Basis("published list")
LIVE = Basis("live")


def fallen_back(desk: Desk, entry: Entry, known: Known, kinds: Collection[str]) -> tuple[Entry, Basis]:
    """The candidates of a live entry by the first link of the chain that has any of `kinds`, and that link.

    known: what the concepts of the entry's chart are.
    """
    columns = desk.release.index.columns
    kinds_of_row = {columns[ix].kind for ix in entry.row_columns.tolist()}
    support = desk.release.support
    if support is None or kinds_of_row - set(NOT_CLINICAL):
        return entry, LIVE
    leading = _leading(desk, entry, known, support)
    if leading is not None:
        found = _counted(desk, entry, support.beside(leading), leading, "leading condition", kinds)
        if found is not None:
            return found
    if kinds_of_row & {"age", "sex"} or (place := desk.release.index.place.get(BASELINE)) is None:
        return entry, LIVE
    totals = np.array([support.had(target).about for target in range(len(support.targets))], dtype=np.int64)
    return _counted(desk, entry, totals, place, "popularity", kinds) or (entry, LIVE)


def narrowed(desk: Desk, entry: Entry, basis: Basis, stays: np.ndarray) -> Entry:
    """The entry with those candidates alone that stay, however far down the ranking; stays (n_columns,) bool.

    An entry holds the first of its ranking only, so what the model scored is ranked whole anew: the same order, the
    same scores.
    """
    if not basis.counted:
        everything = Ranker(desk.release.model, desk.release.index, len(desk.release.index.targets))
        columns, scores = everything.one(entry.row_columns, entry.row_weights)
        entry = replace(entry, columns=columns, scores=scores)
    mine = stays[entry.columns]
    return replace(entry, columns=entry.columns[mine], scores=entry.scores[mine])


def _counted(
    desk: Desk, entry: Entry, patients: np.ndarray, column: int, source: Source, kinds: Collection[str]
) -> tuple[Entry, Basis] | None:
    """Candidates by how many patients had them; patients (n_targets,) int64, 0 where that is hidden."""
    index = desk.release.index
    scores = np.where(patients > 0, patients, np.nan).astype(np.float32)
    taken = index.target_of_column[entry.row_columns]
    scores[taken[taken >= 0]] = np.nan
    best = places(scores[None], len(scores))[0]
    best = best[best >= 0]
    if not any(index.columns[ix].kind in kinds for ix in index.targets[best].tolist()):
        return None
    return replace(entry, columns=index.targets[best], scores=scores[best]), Basis(source, column)


def _leading(desk: Desk, entry: Entry, known: Known, support: Support) -> int | None:
    """The condition of this version that stands for the chart's: of the condition last recorded that shares a clinical
    group with any that is counted, the one of its narrowest such group that most patients have."""
    chart = entry.chart
    facts = zip(chart.days.tolist(), chart.concept.tolist(), strict=True)
    conditions = ((days, known.concepts[ix].code) for days, ix in facts if known.concepts[ix].kind == "condition")
    best: tuple[int, int, int, int] | None = None
    for days, code in conditions:
        for breadth, group in enumerate(desk.screen.conditions.groups(code)):  # the narrowest first
            for column in _conditions_of_groups(desk).get(group, ()):
                found = (days, breadth, -support.of_column(column).about, column)
                best = found if best is None else min(best, found)
    return None if best is None else best[3]


@lru_cache(maxsize=4)  # as many versions as are held, twice over
def _conditions_of_groups(desk: Desk) -> dict[str, tuple[int, ...]]:
    """The counted conditions of each clinical group, without those whose number is hidden."""
    support = desk.release.support
    found: dict[str, list[int]] = {}
    if support is not None:
        for ix in support.columns.tolist():
            column = desk.release.index.columns[ix]
            if column.kind == "condition" and not support.of_column(ix).hidden:
                for group in desk.screen.conditions.groups(column.code):
                    found.setdefault(group, []).append(ix)
    return {group: tuple(columns) for group, columns in found.items()}

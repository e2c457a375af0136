"""A release, one patient's candidates and chart in, the list as it is served out: kept, withheld and not checked.

The same for a published entry, for a chart that a request brings and for a "what if": only where the candidates and the
chart come from differs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from recommender.features import PatientMatrix
from recommender.ranking import DEPTH, PER_KIND, SPARE, top_n, within_depth
from recommender.records import THERAPIES
from recommender.safety.charts import Chart, Known
from recommender.safety.kernel import CONTRAINDICATED
from recommender.safety.screen import Read, Screen
from recommender.safety.sets import in_order, pair_rank
from recommender.safety.tables import ragged
from recommender.safety.verdict import Gap, Reading, Verdict
from recommender.snapshot import Entry, Release

MOST_WITHHELD = 20  # shown of one list
MOST_ALTERNATIVES = 3
SERIOUS = 2


@dataclass(frozen=True)
class Candidate:
    """place: where its score alone put it among what was asked for, from 1."""

    column_ix: int
    score: float
    place: int
    verdict: Verdict


@dataclass(frozen=True)
class Withheld:
    """A candidate that would stand on the list but for a contraindication: its verdict's, or, where that knows of
    none, with the item `beside` which is on it. alternatives: the best supported drugs of the same class that nothing
    serious stands against, for this patient, best first."""

    candidate: Candidate
    beside: int | None
    alternatives: tuple[Candidate, ...]


@dataclass(frozen=True)
class Offer:
    """items in the order of the list; therapy: what stands against what the patient takes already, drug by drug; gaps:
    what of the chart could not be read; drugs_checked: (understood, all) of the drugs that the patient takes."""

    items: tuple[Candidate, ...]
    withheld: tuple[Withheld, ...]
    therapy: tuple[Verdict, ...]
    gaps: tuple[Gap, ...]
    drugs_checked: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Desk:
    """A release and a screen, ready to make offers: what both mean together is worked out once."""

    release: Release
    screen: Screen
    cost: float = 0.0  # of interactions within a list: recommender/safety/sets.py

    @cached_property
    def _read(self) -> Read:
        return self.screen.read(self.release.known)

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        return self.screen.parts(self.release.index.columns)

    def reading(self, chart: Chart, known: Known | None = None, elapsed: int = 0) -> Reading:
        """A chart of this release, or one with concepts of its own."""
        read = self._read if known is None else self.screen.read(known)
        return Reading(self.screen, read, chart, elapsed)

    def offer(self, entry: Entry, reading: Reading, n: int, kinds: Collection[str]) -> Offer:
        """The n best of `kinds`. `entry`: its candidates and row; its chart has been read as `reading`."""
        columns = self.release.index.columns
        asked = np.array([columns[ix].kind in kinds for ix in entry.columns.tolist()], dtype=bool)
        candidates, scores = entry.columns[asked], entry.scores[asked]
        ptr, parts = self._parts
        tiers = reading.tiers(ptr, parts, candidates)
        free = np.flatnonzero(tiers.rank < CONTRAINDICATED)
        free_ptr, free_parts = ragged(parts[ptr[ix] : ptr[ix + 1]] for ix in candidates[free].tolist())
        served = in_order(self.screen.arrays, scores[free], tiers.rank[free], free_ptr, free_parts, n, self.cost)

        def candidate(place: int) -> Candidate:
            verdict = reading.verdict(columns[candidates[place]])
            return Candidate(int(candidates[place]), float(scores[place]), place + 1, verdict)

        on_list = free[served.order]
        # what would stand on a list of this length but for the screen
        lowest = on_list.max(initial=-1) if len(on_list) == n else len(candidates)
        forbidden = [place for place in np.flatnonzero(tiers.rank == CONTRAINDICATED).tolist() if place <= lowest]
        apart = [place for place in free[served.apart].tolist() if place <= lowest]
        whole = self._scores(entry) if forbidden or apart else np.empty(0)
        withheld = [
            Withheld(
                candidate(place),
                self._beside(candidates[place], candidates[on_list]) if place in apart else None,
                self._alternatives(int(candidates[place]), entry, reading, whole),
            )
            for place in sorted([*forbidden, *apart])[:MOST_WITHHELD]
        ]
        items = tuple(candidate(place) for place in on_list.tolist())
        return Offer(items, tuple(withheld), reading.therapy(), reading.gaps, reading.drugs_checked())

    def live(
        self, row_columns: np.ndarray, row_weights: np.ndarray, chart: Chart, known: Known, elapsed: int = 0
    ) -> tuple[Entry, Reading]:
        """The entry that the night would have published for such a row and chart: the same list, the same scores; and
        its chart, read. row_columns (k,) int32 ascending, row_weights (k,) float32.
        """
        row = sparse.csr_matrix((row_weights, row_columns, [0, len(row_columns)]), shape=(1, len(self.release.index)))
        one = PatientMatrix(row, self.release.index, np.array([""], dtype=object))
        top = top_n(self.release.model, one, DEPTH + SPARE, of=THERAPIES, per_kind=PER_KIND)
        reading = self.reading(chart, known, elapsed)
        tiers = reading.tiers(*self._parts, top.columns)
        top = top.where(within_depth(top, self.release.index, tiers.rank < CONTRAINDICATED, DEPTH, PER_KIND))
        return Entry(top.columns, top.scores, row_columns, row_weights, chart), reading

    def _scores(self, entry: Entry) -> np.ndarray:  # (n_targets,) float32, NaN where it cannot be scored or is taken
        shape = (1, len(self.release.index))
        row = sparse.csr_matrix((entry.row_weights, entry.row_columns, [0, len(entry.row_columns)]), shape=shape)
        scores = self.release.model.score(row)[0]
        taken = self.release.index.target_of_column[entry.row_columns]
        scores[taken[taken >= 0]] = np.nan
        return scores

    @cached_property
    def _of_class(self) -> dict[str, list[int]]:
        """Targets (positions) of each class of drugs."""
        found: dict[str, list[int]] = {}
        for place, ix in enumerate(self.release.index.targets.tolist()):
            column = self.release.index.columns[ix]
            if column.kind == "drug" and column.group:
                found.setdefault(column.group, []).append(place)
        return found

    def _alternatives(
        self, column_ix: int, entry: Entry, reading: Reading, scores: np.ndarray
    ) -> tuple[Candidate, ...]:
        index = self.release.index
        column = index.columns[column_ix]
        near = [p for p in self._of_class.get(column.group, ()) if index.targets[p] != column_ix]
        near = [place for place in near if np.isfinite(scores[place])]
        if column.kind != "drug" or not near:
            return ()
        near.sort(key=lambda place: (-scores[place], place))
        tiers = reading.tiers(*self._parts, index.targets[near])
        safe = [place for place, rank in zip(near, tiers.rank.tolist(), strict=True) if rank < SERIOUS]
        return tuple(
            Candidate(int(index.targets[p]), float(scores[p]), 0, reading.verdict(index.columns[index.targets[p]]))
            for p in safe[:MOST_ALTERNATIVES]
        )

    def _beside(self, column_ix: int, on_list: np.ndarray) -> int | None:
        """The item of the list that a candidate is contraindicated with."""
        ptr, parts = self._parts
        mine = parts[ptr[column_ix] : ptr[column_ix + 1]]
        for ix in on_list.tolist():
            if pair_rank(self.screen.arrays.inter, mine, parts[ptr[ix] : ptr[ix + 1]]) == CONTRAINDICATED:
                return int(ix)
        return None

"""A release, one patient's candidates and chart in, the list as it is served out: kept, withheld and not checked.

The same for a published entry, for a chart that a request brings and for a "what if": only where the candidates and the
chart come from differs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from recommender.formulary import Formulary
from recommender.matrix import Column
from recommender.ranking import DEPTH, PER_KIND, SPARE, Ranker, TopN, within_depth
from recommender.records import THERAPIES
from recommender.safety.charts import Chart, Known
from recommender.safety.indications import Indications
from recommender.safety.kernel import CONTRAINDICATED
from recommender.safety.screen import Read, Screen
from recommender.safety.sets import in_order, pair_rank
from recommender.safety.tables import Candidates
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
class Alternative:
    """group: the class that it shares with what it may stand for, "" when it is another; labelled_for: names of the
    patient's conditions that both are labelled for."""

    column_ix: int
    score: float
    group: str
    labelled_for: tuple[str, ...]
    verdict: Verdict


@dataclass(frozen=True)
class Withheld:
    """A candidate that would stand on the list but for a contraindication: its verdict's, or, where that knows of
    none, with the item `beside` which is on it. alternatives: the best supported drugs, for this patient, of the same
    class or labelled for the same of the patient's conditions, that nothing serious stands against; best first."""

    candidate: Candidate
    beside: int | None
    alternatives: tuple[Alternative, ...]


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
    indications: Indications
    cost: float = 0.0  # of interactions within a list: recommender/safety/sets.py
    formulary: Callable[[], Formulary] = Formulary  # as it stands now
    formulary_first: bool = False  # whether what is not on it stands below what is

    @cached_property
    def _read(self) -> Read:
        return self.screen.read(self.release.known)

    @cached_property
    def _ranker(self) -> Ranker:
        """Makes the lists that the night makes."""
        return Ranker(self.release.model, self.release.index, DEPTH + SPARE, THERAPIES, PER_KIND)

    @cached_property
    def candidates(self) -> Candidates:
        """All columns as what may be suggested."""
        return self.screen.candidates(self.release.index.columns, self.release.known)

    def _in_body(self, column_ix: int) -> np.ndarray:
        """The ingredients of a drug that can interact with others of the list; none of what is given locally."""
        ptr, parts, local = self.candidates
        return parts[:0] if local[column_ix] else parts[ptr[column_ix] : ptr[column_ix + 1]]

    def _in_bodies(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same of many, one after another: (n + 1,) int64 where each begins, and the ingredients int32."""
        ptr, parts, local = self.candidates
        lengths = np.where(local[columns], 0, ptr[columns + 1] - ptr[columns])
        ends = np.concatenate([[0], np.cumsum(lengths)])
        return ends, parts[np.repeat(ptr[columns] - ends[:-1], lengths) + np.arange(ends[-1])]

    def warm(self) -> None:
        """Work out now what the first request would otherwise wait for: an offer for a chart that says nothing."""
        nothing = np.empty(0, dtype=np.int32)
        chart = Chart(nothing, nothing, np.empty(0, dtype=np.float32))
        entry, reading = self.live(nothing, np.empty(0, dtype=np.float32), chart, Known(()))
        self.offer(entry, reading, 1, THERAPIES)
        self._scores(entry)  # of alternatives, which this one does not ask for

    def reading(self, chart: Chart, known: Known | None = None, elapsed: int = 0) -> Reading:
        """A chart of this release, or one with concepts of its own."""
        read = self._read
        if known is not None:  # what is given on the skin here is told by all records, not by one chart
            read = self.screen.read(replace(known, local=self.release.known.local))
        return Reading(self.screen, read, chart, elapsed)

    def offer(self, entry: Entry, reading: Reading, n: int, kinds: Collection[str]) -> Offer:
        """The n best of `kinds`. `entry`: its candidates and row; its chart has been read as `reading`."""
        columns = self.release.index.columns
        asked = self.release.index.is_of(kinds)[entry.columns]
        candidates, scores = entry.columns[asked], entry.scores[asked]
        tiers = reading.tiers(self.candidates, candidates)
        free = np.flatnonzero(tiers.rank < CONTRAINDICATED)
        free_ptr, free_parts = self._in_bodies(candidates[free])
        last = self._last(candidates[free])
        served = in_order(self.screen.arrays, scores[free], tiers.rank[free], free_ptr, free_parts, n, self.cost, last)

        def candidate(place: int) -> Candidate:
            tier = int(tiers.rank[place]), int(tiers.unchecked[place])
            verdict = reading.verdict(columns[candidates[place]], tier)
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

    def _last(self, columns: np.ndarray) -> np.ndarray:  # (n,) bool
        """Which of some candidates come after all others: those not on the formulary, where a site wants it so."""
        if not self.formulary_first:
            return np.zeros(len(columns), dtype=bool)
        formulary, told = self.formulary(), [self.release.index.columns[ix] for ix in columns.tolist()]
        return np.array([formulary.order_key(c.code, c.kind) for c in told], dtype=bool)

    def live(
        self, row_columns: np.ndarray, row_weights: np.ndarray, chart: Chart, known: Known, elapsed: int = 0
    ) -> tuple[Entry, Reading]:
        """The entry that the night would have published for such a row and chart: the same list, the same scores; and
        its chart, read. row_columns (k,) int32 ascending, row_weights (k,) float32.
        """
        columns, scores = self._ranker.one(row_columns, row_weights)
        top = TopN(np.array([0, len(columns)]), columns, scores)
        reading = self.reading(chart, known, elapsed)
        tiers = reading.tiers(self.candidates, top.columns)
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
    def _of_class(self) -> dict[str, set[int]]:
        """Targets (positions) of each class of drugs."""
        found: dict[str, set[int]] = {}
        for place, ix in enumerate(self.release.index.targets.tolist()):
            column = self.release.index.columns[ix]
            if column.kind == "drug" and column.group:
                found.setdefault(column.group, set()).add(place)
        return found

    @cached_property
    def _labelled(self) -> dict[str, set[int]]:
        """Targets (positions) of drugs labelled for each disease, by its name."""
        found: dict[str, set[int]] = {}
        for place, ix in enumerate(self.release.index.targets.tolist()):
            for term in self.indications.of(self.release.index.columns[ix].code):
                found.setdefault(self.indications.names[term], set()).add(place)
        return found

    def _alternatives(
        self, column_ix: int, entry: Entry, reading: Reading, scores: np.ndarray
    ) -> tuple[Alternative, ...]:
        index, column = self.release.index, self.release.index.columns[column_ix]
        if column.kind != "drug":
            return ()
        diseases = self.labelled_for(column_ix, self.labels(reading)) or ()
        near = self._of_class.get(column.group, set()).union(*(self._labelled[name] for name in diseases))
        places = [place for place in near if index.targets[place] != column_ix and np.isfinite(scores[place])]
        if not places:
            return ()
        places.sort(key=lambda place: (-scores[place], place))
        tiers = reading.tiers(self.candidates, index.targets[places])
        safe = [place for place, rank in zip(places, tiers.rank.tolist(), strict=True) if rank < SERIOUS]
        return tuple(
            self._alternative(place, float(scores[place]), column, diseases, reading)
            for place in safe[:MOST_ALTERNATIVES]
        )

    def _alternative(
        self, place: int, score: float, instead_of: Column, diseases: tuple[str, ...], reading: Reading
    ) -> Alternative:
        ix = int(self.release.index.targets[place])
        column = self.release.index.columns[ix]
        group = column.group if column.group == instead_of.group else ""
        shared = tuple(name for name in diseases if place in self._labelled[name])
        return Alternative(ix, score, group, shared, reading.verdict(column))

    def labels(self, reading: Reading) -> frozenset[str]:
        """What a drug may be labelled for that a patient has."""
        return self.indications.terms_of(reading.codes("condition"))

    def labelled_for(self, column_ix: int, labels: Collection[str]) -> tuple[str, ...] | None:
        """Names of the patient's conditions (their `labels`) that a drug is labelled for; None when no labelled use is
        on file."""
        column = self.release.index.columns[column_ix]
        terms = self.indications.of(column.code) if column.kind == "drug" else ()
        return self.indications.shared(terms, labels) if terms else None

    def _beside(self, column_ix: int, on_list: np.ndarray) -> int | None:
        """The item of the list that a candidate is contraindicated with."""
        mine = self._in_body(column_ix)
        for ix in on_list.tolist():
            if pair_rank(self.screen.arrays.inter, mine, self._in_body(ix)) == CONTRAINDICATED:
                return int(ix)
        return None

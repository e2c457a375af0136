"""Lists, rows and charts of a block of patients after the other in; those of all, as a snapshot holds them, out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recommender.blocks import CHUNK, Blocks
from recommender.examples import ends_of
from recommender.matrix import PatientMatrix
from recommender.ranking import TopN
from recommender.records import Records
from recommender.safety.charts import Charts, everything, read_charts
from recommender.safety.screen import Screen
from recommender.support import counts_in


def some(matrix: PatientMatrix, first: int, end: int) -> PatientMatrix:
    """The rows [first, end) of a matrix that has no outcomes: as `take`, of neighbours."""
    return PatientMatrix(matrix.rows[first:end], matrix.index, matrix.patient_ids[first:end])


class Lists:
    def __init__(self, blocks: Blocks) -> None:
        self._columns, self._scores = blocks.growing(np.int32), blocks.growing(np.float32)
        self._lengths: list[np.ndarray] = []

    def append(self, top: TopN) -> None:
        self._columns.append(top.columns)
        self._scores.append(top.scores)
        self._lengths.append(np.diff(top.indptr))

    def whole(self) -> TopN:
        return TopN(ends_of(self._lengths), self._columns.whole(), self._scores.whole())


class Totals:
    """`counts_in`, added up."""

    totals: np.ndarray
    together: np.ndarray

    def __init__(self) -> None:
        self._begun = False

    def add(self, matrix: PatientMatrix) -> None:
        totals, together = counts_in(matrix)
        if self._begun:
            totals += self.totals
            together += self.together
        self.totals, self.together, self._begun = totals, together, True


class ChartsRead:
    """The charts of all. Which concepts stand in any of them is known at the end, so until then they are over all
    that could; `meant`: what the screen reads in these."""

    def __init__(self, records: Records, screen: Screen, blocks: Blocks) -> None:
        self._concepts, self._observed, self._told = records.concepts, screen.observed, everything(records)
        self.known = self._told.known(records.concepts)
        self.meant = screen.read(self.known)
        self._used = np.zeros(len(self.known.concepts), dtype=bool)
        self._facts = {name: blocks.growing(dtype) for name, dtype in FACTS.items()}
        self._lengths: list[np.ndarray] = []

    def of(self, records: Records) -> Charts:
        """Those of some patients, the next ones."""
        charts = read_charts(records, self._observed, told=self._told)
        self._used[charts.concept] = True
        for name, pieces in self._facts.items():
            pieces.append(getattr(charts, name))
        self._lengths.append(np.diff(charts.indptr))
        return charts

    def whole(self) -> Charts:
        """Those of all, over the concepts that stand in any."""
        facts = {name: pieces.whole() for name, pieces in self._facts.items()}
        place = (np.cumsum(self._used) - 1).astype(np.int32)
        concept = facts["concept"]
        for at in range(0, len(concept), CHUNK):
            concept[at : at + CHUNK] = place[concept[at : at + CHUNK]]
        used = np.zeros(len(self._concepts), dtype=bool)
        used[np.flatnonzero(self._told.used)[self._used]] = True
        known = replace(self._told, used=used).known(self._concepts)
        return Charts(known, ends_of(self._lengths), **facts)


FACTS: dict[str, type[np.generic]] = {
    "concept": np.int32,
    "days": np.int32,
    "value": np.float32,
    "age": np.float32,
    "sex": np.uint8,
}

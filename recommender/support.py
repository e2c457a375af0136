"""`PatientMatrix` in, `Support` out: about how many patients had each treatment and each pair of things, to publish.

Counted are patients, by what their charts show today: one target (`had`), and one treatment or condition together with
one target (`together`). What leaves this module is never a count but one of a few steps, with N patients in all:

    fewer than 11          -> "<11", none at all included
    11 to 24               -> "20"
    25 and more            -> the nearest ten: 405 to 414 -> "410"
    so near N that fewer than 11 others are left: the step below, which so reaches up to N

Why no count below 11 can be worked out from these. Call a *small* number one that is below 11.

1. Every step spans ten numbers or more, so what is told of one count leaves ten possibilities or more ("10" for 11 to
   14 would leave four: that is why 20 is the lowest).
2. Two counts: who had a treatment but not the condition are had - together, two steps 10k and 10m. Where k = m there
   are 0 to 9 of them (0 to 13 at the lowest step), where k = m + 1 at least ten numbers up to 19, where k > m + 1 more
   than 10. So if the difference is small, it is one of ten numbers or more, which is what "<11" would have told.
3. N is published exactly, so "all but a few" is a difference with an exact count: hence the last line above.
4. Nothing adds up: of things that divide the patients into parts (age, sex, race) nothing is counted, nor are three
   things at once, so there are no rows of a table whose sum would give a hidden cell.

`tests/recommender/test_support.py` tries 1 to 3 for every pair of counts. What is not claimed: three counts or more (N
may be one of them) bound each other, and where all of them happen to stand at the edge of their steps, that can narrow
a small number further. So can what someone knows from elsewhere (that three treatments exclude each other and nobody
goes without), and comparing two nights, which tells when a count crossed an edge. That a thing is known at all tells
that someone had it, and that it is ever suggested, that a few had.

Time and memory follow the pairs of entries within each row, and one (n_columns, n_targets) uint32 array: no matrix of
patients by drugs is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numba
import numpy as np

from recommender.matrix import ColumnIndex, PatientMatrix

FEW = 11  # counts below never leave
STEP = 10
LOWEST = 20  # what is told of the lowest counts that are told
BLOCKS = ("treatments", "conditions")  # what is counted together with targets; demographics would divide the patients


@dataclass(frozen=True)
class Count:
    """About how many patients: `text` for people ("<11", "1,410"), `about` to sort and divide by (0 where hidden)."""

    text: str
    about: int

    @property
    def hidden(self) -> bool:
        return self.about == 0

    @property
    def plain(self) -> str:
        """For programs: "<11", "1410"."""
        return self.text if self.hidden else str(self.about)


@dataclass(frozen=True, eq=False)
class Support:
    """Steps in tens, 0 where hidden, of n counted columns and n_targets targets.

    columns (n,) int32 ascending: which columns of the matrix are counted; targets (n_targets,) int32 ascending, all of
    them counted columns; totals (n,) and counts (n, n_targets): uint16, or uint32 beyond 655,350 patients.
    """

    n_patients: int
    columns: np.ndarray
    targets: np.ndarray
    totals: np.ndarray
    counts: np.ndarray

    def __post_init__(self) -> None:
        if not (
            self.totals.shape == self.columns.shape
            and self.counts.shape == (len(self.columns), len(self.targets))
            and np.isin(self.targets, self.columns).all()
        ):
            raise ValueError("the arrays of a Support do not fit together")

    def had(self, target_ix: int) -> Count:
        """Patients who had a target (its position among the targets)."""
        return self.of_column(int(self.targets[target_ix]))

    def of_column(self, column_ix: int) -> Count:
        """Patients who have a treatment or condition (a column of the matrix). Raises KeyError for another column."""
        return self._count(self.totals[self._place[column_ix]])

    def together(self, column_ix: int, target_ix: int) -> Count:
        """Patients who have a treatment or condition (a column of the matrix) and had a target (its position)."""
        return self._count(self.counts[self._place[column_ix], target_ix])

    def beside(self, column_ix: int) -> np.ndarray:  # (n_targets,)
        """What `together` tells of a column and every target: patients to the ten, 0 where hidden."""
        return STEP * self.counts[self._place[column_ix]].astype(np.int64)

    def to_state(self) -> dict[str, np.ndarray]:
        """Named arrays; `from_state` gives the same value again."""
        return {
            "patients": np.array([self.n_patients], dtype=np.int64),
            "columns": self.columns,
            "targets": self.targets,
            "totals": self.totals,
            "counts": self.counts,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> Self:
        """Raises KeyError or ValueError when an array is missing or they do not fit together."""
        arrays = (np.asarray(state[name]) for name in ("columns", "targets", "totals", "counts"))
        return cls(int(state["patients"][0]), *arrays)

    @cached_property
    def _place(self) -> dict[int, int]:
        return {column_ix: place for place, column_ix in enumerate(self.columns.tolist())}

    def _count(self, tens: int) -> Count:
        found = self._counts.get(tens)
        if found is None:
            about = STEP * int(tens)
            found = self._counts[tens] = Count(f"{about:,}" if about else f"<{least_told(self.n_patients)}", about)
        return found

    @cached_property
    def _counts(self) -> dict[int, Count]:
        """Those that were told, by their tens."""
        return {}


def count_support(matrix: PatientMatrix) -> Support:
    """Count the patients of a matrix that has one row for each. A million patients of 12 treatments and 8 conditions
    take under a second, and next to no memory beside the matrix."""
    return stepped(matrix.index, matrix.n_patients, *counts_in(matrix))


def stepped(index: ColumnIndex, n_patients: int, totals: np.ndarray, counts: np.ndarray) -> Support:
    """What may be told of the counts of `counts_in`, added up over all patients."""
    return Support(n_patients, _counted(index), index.targets, steps(totals, n_patients), steps(counts, n_patients))


def _counted(index: ColumnIndex) -> np.ndarray:  # (n,) int32 ascending
    counted = np.zeros(len(index), dtype=bool)
    for block in index.blocks:
        if block.name in BLOCKS:
            counted[block.start : block.stop] = True
    counted[index.targets] = True
    return np.flatnonzero(counted).astype(np.int32)


def counts_in(matrix: PatientMatrix) -> tuple[np.ndarray, np.ndarray]:
    """Patients, to be kept to ourselves: totals (n,) of each counted column, counts (n, n_targets) together, uint32."""
    index = matrix.index
    columns = _counted(index)
    place = np.full(len(index), -1, dtype=np.int32)
    place[columns] = np.arange(len(columns), dtype=np.int32)
    totals = np.zeros(len(columns), dtype=np.uint32)
    counts = np.zeros((len(columns), len(index.targets)), dtype=np.uint32)
    rows = matrix.rows
    _count_pairs(rows.indptr, rows.indices, rows.data, place, index.target_of_column, totals, counts)
    return totals, counts


def least_told(n_patients: int) -> int:
    """Counts below this are hidden: 11, or all where 11 to 20 patients are all there are, as the others are too few."""
    return FEW if n_patients < FEW or n_patients > 2 * FEW - 2 else 2 * FEW - 1


def in_tens(count: int) -> int:
    """A number of patients or events that stands for itself, to the ten (20 is the lowest), so that two nights or two
    reports cannot be subtracted from each other; 0 for fewer than 11."""
    return 0 if count < FEW else max(LOWEST, (count + STEP // 2) // STEP * STEP)


def tens_told(count: int) -> str:
    """What `in_tens` gives, for people: "1,410", "<11"."""
    return f"{in_tens(count):,}" if count >= FEW else f"<{FEW}"


def steps(counts: np.ndarray, n_patients: int) -> np.ndarray:
    """Counts of patients out of `n_patients` -> the steps at the top of this file, in tens; 0 is hidden."""
    tens = (counts.astype(np.int64) + STEP // 2) // STEP
    highest = max(LOWEST, (n_patients - STEP // 2) // STEP * STEP)  # so that its step holds the 11 numbers up to N
    tens = np.clip(tens, LOWEST // STEP, highest // STEP)
    tens[counts < least_told(n_patients)] = 0
    return tens.astype(np.uint16 if highest // STEP <= 0xFFFF else np.uint32)


@numba.njit(cache=True, nogil=True)
def _count_pairs(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    place: np.ndarray,
    target_of: np.ndarray,
    totals: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Add up totals (n,) and counts (n, n_targets); place (n_columns,) is each column's row in them, or -1."""
    had = np.empty(counts.shape[1], dtype=np.int32)
    for row in range(len(indptr) - 1):
        n_had = 0
        for a in range(indptr[row], indptr[row + 1]):
            if data[a] > 0 and target_of[indices[a]] >= 0:
                had[n_had] = target_of[indices[a]]
                n_had += 1
        for a in range(indptr[row], indptr[row + 1]):
            at = place[indices[a]]
            if at >= 0 and data[a] > 0:
                totals[at] += 1
                line = counts[at]
                for b in range(n_had):
                    line[had[b]] += 1

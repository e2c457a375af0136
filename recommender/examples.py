"""`Records` in, their matrix of today and that of moments of the past out, made of a block of patients at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise

import numpy as np
from scipy import sparse

from recommender.blocks import Blocks
from recommender.features import MIN_TARGET_PATIENTS, Seen, build_matrix, seen_in
from recommender.matrix import PatientMatrix
from recommender.moments import STAY_HOURS, Moments, Stays, drawn, moments_in, stays_of, visits
from recommender.records import Records, Table

TREATMENTS: tuple[Table, ...] = ("treatments",)
CHARTED: tuple[Table, ...] = ("treatments", "conditions", "allergies")  # what rows are made of
HOURS = (0.0, STAY_HOURS)  # into a visit that a list is asked for


class Rows:
    """A CSR matrix that is made of some rows at a time."""

    def __init__(self, blocks: Blocks) -> None:
        self._indices, self._data = blocks.growing(np.int32), blocks.growing(np.float32)
        self._lengths: list[np.ndarray] = []
        self._width = 0

    def append(self, rows: sparse.csr_matrix) -> None:
        self._width = rows.shape[1]
        self._indices.append(rows.indices)
        self._data.append(rows.data)
        self._lengths.append(np.diff(rows.indptr))

    def whole(self) -> sparse.csr_matrix:
        return as_rows(self._data.whole(), self._indices.whole(), ends_of(self._lengths), self._width)


def as_rows(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, width: int) -> sparse.csr_matrix:
    """Float32 over int32 columns; in the same place, which the constructor leaves as long as both integers are of one
    type."""
    integer = np.int32 if indptr[-1] <= np.iinfo(np.int32).max else np.int64
    shape = (len(indptr) - 1, width)
    return sparse.csr_matrix((data, indices.astype(integer, copy=False), indptr.astype(integer)), shape=shape)


def ends_of(lengths: Sequence[np.ndarray]) -> np.ndarray:  # (n + 1,) int64
    return np.append(0, np.cumsum(np.concatenate([np.empty(0, np.int64), *lengths])))


def seen_by(records: Records, blocks: Blocks) -> Seen:
    """What all charts show."""
    parts = (seen_in(part) for _, part in blocks.of(records, CHARTED))
    return reduce(lambda one, other: one + other, parts)


def matrix_today(records: Records, kinds: Collection[str], blocks: Blocks) -> PatientMatrix:
    """As `build_matrix`. Raises TrainingError when no treatment can be suggested."""
    seen, rows, index = seen_by(records, blocks), Rows(blocks), None
    for _, part in blocks.of(records, CHARTED):
        matrix = build_matrix(part, kinds=kinds, seen=seen)
        rows.append(matrix.rows)
        index = index or matrix.index
    assert index is not None  # noqa: S101  (there is one block at least)
    return PatientMatrix(rows.whole(), index, records.patients["patient_id"].to_numpy(dtype=object))


@dataclass(frozen=True)
class Visited:
    """What the visits of all say of when a list is asked for. moments: by hours into a visit, of each block."""

    stays: Stays
    moments: dict[float, list[int]]


def visited(records: Records, blocks: Blocks) -> Visited:
    stays: list[Stays] = []
    moments: dict[float, list[int]] = {hours: [] for hours in HOURS}
    for _, part in blocks.of(records, TREATMENTS):
        every = visits(part)
        stays.append(stays_of(every))
        for hours in HOURS:
            moments[hours].append(len(moments_in(every, hours)))
    return Visited(reduce(lambda one, other: one + other, stays), moments)


def matrix_of_visits(
    records: Records,
    told: Visited,
    after_hours: float,
    kinds: Collection[str],
    blocks: Blocks,
    min_target_patients: int = MIN_TARGET_PATIENTS,
    seed: int = 0,
) -> tuple[PatientMatrix, Moments]:
    """As `build_matrix` at `moments_of_visits`. Raises TrainingError without any, and where nothing can be
    suggested."""
    ends = np.cumsum([0, *told.moments[after_hours]])
    chosen = drawn(int(ends[-1]), seed=seed)
    seen = seen_by(records, blocks)
    rows, later, began = Rows(blocks), Rows(blocks), Rows(blocks)
    found: list[Moments] = []
    index = None
    mine = (chosen[(chosen >= a) & (chosen < b)] - a for a, b in pairwise(ends))
    for (first, part), here in zip(blocks.of(records, CHARTED), mine, strict=True):
        at = moments_in(visits(part), after_hours).take(here)
        matrix = build_matrix(part, min_target_patients, kinds, at, seen=seen)
        for whole, rest in ((rows, matrix.rows), (later, matrix.later), (began, matrix.began)):
            whole.append(rest)
        found.append(replace(at, patient_ix=at.patient_ix + np.int32(first)))
        index = index or matrix.index
    assert index is not None  # noqa: S101  (there is one block at least)
    moments = Moments(*(np.concatenate([getattr(one, name) for one in found]) for name in Moments.__dataclass_fields__))
    ids = records.patients["patient_id"].array.take(moments.patient_ix).to_numpy(dtype=object)
    return PatientMatrix(rows.whole(), index, ids, later.whole(), began.whole()), moments

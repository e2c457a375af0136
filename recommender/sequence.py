"""A matrix and its moments in, the same with the last visits as further columns out: what each of them brought.

A block a visit, `visit-1` the one that the moment lies in or the last before it, and so on back; each has a column for
every treatment and condition of the matrix, 1 where it began (or was told) in that visit and before the moment. They
stand at the end, so models that read no sequence are given the matrix without them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import sparse

from recommender.matrix import Block, Column, ColumnIndex, PatientMatrix
from recommender.moments import Moments, visits
from recommender.records import Records

LENGTH = 3  # visits
BLOCK = "visit-"
ITEMS = ("treatments", "conditions")


def without_visits(matrix: PatientMatrix) -> PatientMatrix:
    """The matrix as it was before `with_visits`."""
    index = matrix.index
    n = min((block.start for block in index.blocks if block.name.startswith(BLOCK)), default=len(index))
    if n == len(index):
        return matrix
    kept = ColumnIndex(index.columns[:n], tuple(block for block in index.blocks if block.stop <= n), index.targets)
    return replace(matrix, rows=sparse.csr_matrix(matrix.rows[:, :n]), index=kept)


def items_of(index: ColumnIndex) -> np.ndarray:  # (n_items,) int64
    """The columns that a visit can bring, in the order in which each visit's block has them."""
    return np.concatenate([np.arange(len(index))[index.block(name)] for name in ITEMS])


def with_visits(records: Records, at: Moments, matrix: PatientMatrix, length: int = LENGTH) -> PatientMatrix:
    """`matrix`: of `records` at these moments."""
    index = matrix.index
    items = items_of(index)
    every = visits(records)
    rows: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    concepts = zip(records.concepts["kind"], records.concepts["code"], strict=True)
    place_of = {int(column): place for place, column in enumerate(items)}
    item_of = np.array([place_of.get(index.place.get(key, -1), -1) for key in concepts], dtype=np.int64)
    current = _visit_of(every, at.patient_ix, at.known_until - 1)
    for events in (records.treatments, records.conditions):
        patient, start = events["patient_ix"].to_numpy(), events["start"].to_numpy("datetime64[s]").astype(np.int64)
        visit = _visit_of(every, patient, start)
        row, event = at.rows_of(patient)
        item, lag = item_of[events["concept_ix"].to_numpy()[event]], current[row] - visit[event]
        there = (start[event] < at.known_until[row]) & (lag < length) & (item >= 0)
        rows.append(row[there])
        columns.append(lag[there] * len(items) + item[there])
    row, column = np.concatenate(rows), np.concatenate(columns)
    shape = (matrix.n_patients, length * len(items))
    part = sparse.csr_matrix((np.ones(len(row), dtype=np.float32), (row, column)), shape=shape)
    part.sum_duplicates()
    part.data[:] = 1
    whole = sparse.hstack([matrix.rows, part], format="csr", dtype=np.float32)
    whole.sort_indices()
    named, blocks = list(index.columns), list(index.blocks)
    for lag in range(length):
        blocks.append(Block(f"{BLOCK}{lag + 1}", len(named), len(named) + len(items)))
        for ix in items.tolist():
            of = index.columns[ix]
            named.append(Column(f"{BLOCK}{lag + 1}:{of.code}", "visit", of.name, of.group))
    return replace(matrix, rows=sparse.csr_matrix(whole), index=ColumnIndex(tuple(named), tuple(blocks), index.targets))


def _visit_of(every: pd.DataFrame, patient_ix: np.ndarray, when: np.ndarray) -> np.ndarray:
    """Which visit of the patient each moment lies in or follows, (n,) int64 from 0; 0 also before the first."""
    starts = pd.DataFrame({"patient_ix": every["patient_ix"].astype(np.int64), "when": every["start"]})
    starts["number"] = every.groupby("patient_ix").cumcount().to_numpy()
    asked = pd.DataFrame({"patient_ix": patient_ix.astype(np.int64), "when": when, "row": np.arange(len(when))})
    found = pd.merge_asof(asked.sort_values("when"), starts.sort_values("when"), on="when", by="patient_ix")
    return found.sort_values("row")["number"].fillna(0).to_numpy(dtype=np.int64)

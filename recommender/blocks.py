"""`Records` in, the same patients some at a time out: so that a night's memory follows a block, and not the hospital.

Where the tables lie in files that are mapped, only what a block has is brought into memory. A patient's events stay in
the order of the table, so what is made of them one block at a time is what is made of all at once, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from recommender.memory import Growing, Memory
from recommender.records import Records, Table

TABLES: tuple[Table, ...] = get_args(Table)
PATIENTS = 1 << 15  # in a block where there is memory enough: more make nothing faster
LEAST_PATIENTS = 512
EVENT_BYTES, PATIENT_BYTES = 128, 4_096  # that a block takes, of each event and patient: above what was measured
CHUNK = 1 << 22  # events looked at at a time
MOST_RUNS = 256


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Blocks:
    """So many `patients` at a time. `scratch`: a folder for what is made of them, None: in memory. `between`: what is
    done after each block."""

    patients: int = PATIENTS
    scratch: Path | None = None
    between: Callable[[], None] = _nothing

    @classmethod
    def within(cls, memory: Memory, records: Records, scratch: Path | None) -> Blocks:
        """As many as there is memory for."""
        each = patient_bytes(records)
        most = memory.in_work(LEAST_PATIENTS * each, PATIENTS * each) // each
        return cls(min(PATIENTS, max(LEAST_PATIENTS, most)), scratch, memory.keep)

    def growing(self, dtype: type[np.generic]) -> Growing:
        return Growing(dtype, self.scratch)

    def spans(self, n: int) -> Iterator[tuple[int, int]]:
        """The first patient of each block, and the one after its last; one block without anybody where n is 0."""
        for first in range(0, max(n, 1), self.patients):
            yield first, min(n, first + self.patients)
            self.between()

    def of(self, records: Records, tables: Collection[Table] = TABLES) -> Iterator[tuple[int, Records]]:
        """The first patient of each block, and its records: `patient_ix` counts from there; other tables are empty."""
        runs = {name: _runs(getattr(records, name)["patient_ix"].to_numpy()) for name in tables}
        nobody = np.empty(0, dtype=np.int64)
        for first, end in self.spans(records.n_patients):
            parts = {}
            for name in TABLES:
                table = getattr(records, name)
                which = nobody if name not in tables else _events_of(table, runs[name], first, end)
                parts[name] = _taken(table, which, first)
            people = records.patients.iloc[first:end].reset_index(drop=True)
            yield first, Records(patients=people, concepts=records.concepts, log=records.log, **parts)


def patient_bytes(records: Records) -> int:
    """What a patient of a block takes, on average."""
    events = sum(len(getattr(records, name)) for name in TABLES)
    return PATIENT_BYTES + EVENT_BYTES * events // max(records.n_patients, 1)


def _runs(patient_ix: np.ndarray) -> np.ndarray | None:
    """Where the runs of events begin and end in which patients stand in order, (n_runs + 1,); None where there are
    many: a table is made of some files, each of which may be in order."""
    found: list[np.ndarray] = []
    for first in range(0, len(patient_ix) - 1, CHUNK):
        part = patient_ix[first : first + CHUNK + 1]
        found.append(np.flatnonzero(part[1:] < part[:-1]) + first + 1)
        if sum(map(len, found)) > MOST_RUNS:
            return None
    return np.concatenate([[0], *found, [len(patient_ix)]]).astype(np.int64)


def _events_of(table: pd.DataFrame, runs: np.ndarray | None, first: int, end: int) -> np.ndarray:  # (n,) int64
    patient_ix = table["patient_ix"].to_numpy()
    if runs is not None:
        limits = [np.searchsorted(patient_ix[a:b], (first, end)) + a for a, b in pairwise(runs)]
        return np.concatenate([np.arange(a, b) for a, b in limits])
    chunks = range(0, len(patient_ix), CHUNK)
    parts = ((at, patient_ix[at : at + CHUNK]) for at in chunks)
    return np.concatenate([np.flatnonzero((part >= first) & (part < end)) + at for at, part in parts])


def _taken(table: pd.DataFrame, which: np.ndarray, first: int) -> pd.DataFrame:
    columns = {str(name): table[name].array.take(which) for name in table}
    columns["patient_ix"] = columns["patient_ix"] - np.int32(first)
    return pd.DataFrame(columns, copy=False)

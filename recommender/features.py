"""`Records` in, `PatientMatrix` out: one sparse row a patient, in named column blocks, which every model reads.

The weight of a treatment, condition or allergy in a row is a recency-weighted count of its events k, at most 1:

    w = min(1, sum_k max(FLOOR, 2 ** (-days_k / HALF_LIFE_DAYS)))

where days_k is the time from the end of event k (0 while it goes on) to the moment the chart is read (`as_of`). One
course that goes on, or two long past, weigh 1; one long past weighs FLOOR; nothing on record weighs 0. Demographic
columns and the baseline column, the same for everyone, weigh 1. (Counts without a limit and a deeper fading were tried
and were worse: see docs/evaluation.md.)

Race and ethnicity are never columns: they are kept in `Records` only to measure fairness.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from recommender.errors import TrainingError
from recommender.records import Records

HALF_LIFE_DAYS = 3 * 365.25
FLOOR = 0.5
DAYS_PER_YEAR = 365.2425
MIN_TARGET_PATIENTS = 3  # fewer patients than this teach nothing about when to suggest a treatment
AGE_BANDS = (0, 1, 5, 12, 18, 30, 40, 50, 60, 70, 80, 90)  # lower edges, years


@dataclass(frozen=True)
class Column:
    """One column of the matrix, as a reader needs it: external code, kind of thing, display name, class."""

    code: str
    kind: str
    name: str
    group: str


@dataclass(frozen=True)
class Block:
    """Columns [start, stop) of the matrix."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class ColumnIndex:
    """What the columns mean: shared by the matrix, the model, the published version and the explanation.

    `targets` (n_targets,) int32, ascending: the columns that may be suggested; a model's scores are in this order.
    """

    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.columns)

    def block(self, name: str) -> slice:
        for block in self.blocks:
            if block.name == name:
                return slice(block.start, block.stop)
        raise KeyError(name)

    def block_of(self, column_ix: int) -> str:
        return next(b.name for b in self.blocks if b.start <= column_ix < b.stop)

    @property
    def target_of_column(self) -> np.ndarray:  # (n_columns,) int32
        """Position among the targets of each column, -1 where a column is no target."""
        position = np.full(len(self), -1, dtype=np.int32)
        position[self.targets] = np.arange(len(self.targets), dtype=np.int32)
        return position

    def as_dict(self) -> dict[str, Any]:
        return {
            "columns": [[c.code, c.kind, c.name, c.group] for c in self.columns],
            "blocks": [asdict(b) for b in self.blocks],
            "targets": self.targets.tolist(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ColumnIndex:
        return cls(
            columns=tuple(Column(*c) for c in data["columns"]),
            blocks=tuple(Block(**b) for b in data["blocks"]),
            targets=np.array(data["targets"], dtype=np.int32),
        )


@dataclass(frozen=True)
class PatientMatrix:
    """`rows` (n_patients, n_columns) CSR float32 with sorted indices; `patient_ids` (n_patients,) str in row order.

    Weights are exact in float16, so a row can be published in half the space and still be the row that was scored.
    `later` (n_patients, n_targets) CSR float32 of ones with sorted indices: which targets began after the moment at
    which the row was read. None where the row is all that is known, and what it holds is itself what is learned.
    """

    rows: sparse.csr_matrix
    index: ColumnIndex
    patient_ids: np.ndarray
    later: sparse.csr_matrix | None = None

    @property
    def n_patients(self) -> int:
        return self.rows.shape[0]

    @property
    def had(self) -> sparse.csr_matrix:
        """Which targets each patient had by the moment of the row: (n_patients, n_targets) CSR float32 of ones."""
        had = self.rows[:, self.index.targets]
        return sparse.csr_matrix((np.ones_like(had.data), had.indices, had.indptr), shape=had.shape)

    @property
    def outcomes(self) -> sparse.csr_matrix:
        """What a model is to predict: `later`, or where there is none what the patients had; shape as `had`."""
        return self.had if self.later is None else self.later

    @property
    def whole(self) -> sparse.csr_matrix:
        """The rows with what came later put in at full weight: (n_patients, n_columns) CSR float32."""
        if self.later is None:
            return self.rows
        columns = self.index.targets[self.later.indices]
        later = sparse.csr_matrix((self.later.data, columns, self.later.indptr), shape=self.rows.shape)
        return sparse.csr_matrix(self.rows.maximum(later))

    def take(self, patient_ixs: np.ndarray) -> PatientMatrix:
        later = None if self.later is None else self.later[patient_ixs]
        return PatientMatrix(self.rows[patient_ixs], self.index, self.patient_ids[patient_ixs], later)


def build_matrix(records: Records, min_target_patients: int = MIN_TARGET_PATIENTS) -> PatientMatrix:
    """Treatments | conditions | allergies | demographics | baseline, side by side; events after `as_of` are not seen.

    Treatments that fewer than `min_target_patients` patients had stay as input columns but are never suggested.
    Raises TrainingError when no treatment can be suggested.
    """
    as_of = records.patients["as_of"]
    parts: list[sparse.csr_matrix] = []
    columns: list[Column] = []
    blocks: list[Block] = []

    def add(name: str, part: sparse.csr_matrix, described: list[Column]) -> None:
        parts.append(part)
        blocks.append(Block(name, len(columns), len(columns) + len(described)))
        columns.extend(described)

    for name in ("treatments", "conditions", "allergies"):
        add(name, *_event_block(records, getattr(records, name), as_of))
    add("demographics", *_demographics(records.patients))
    everyone = sparse.csr_matrix(np.ones((records.n_patients, 1), dtype=np.float32))
    add("baseline", everyone, [Column("baseline", "baseline", "how common it is overall", "")])

    rows = sparse.hstack(parts, format="csr", dtype=np.float32)
    rows.sort_indices()
    treated = np.bincount(parts[0].indices, minlength=parts[0].shape[1])
    targets = np.flatnonzero(treated >= min_target_patients).astype(np.int32)
    if not len(targets):
        raise TrainingError(
            f"no treatment was given to {min_target_patients} or more of the {records.n_patients:,} patients, "
            "so there is nothing to learn a suggestion from"
        )
    ids = records.patients["patient_id"].to_numpy(dtype=object)
    return PatientMatrix(sparse.csr_matrix(rows), ColumnIndex(tuple(columns), tuple(blocks), targets), ids)


def _event_block(records: Records, events: pd.DataFrame, as_of: pd.Series) -> tuple[sparse.csr_matrix, list[Column]]:
    """Weights (n_patients, n_concepts of this table) by the formula above, and what each column means."""
    patient = events["patient_ix"].to_numpy()
    now = _seconds(as_of)[patient]
    start, stop = _seconds(events["start"]), _seconds(events["stop"])
    running = events["stop"].isna().to_numpy() | (stop > now)
    seen = start <= now
    days = np.where(running, 0, now - stop) / 86_400
    event_weight = np.maximum(FLOOR, np.exp2(-days / HALF_LIFE_DAYS)).astype(np.float32)

    concept = events["concept_ix"].to_numpy()
    present = np.flatnonzero(np.bincount(concept[seen], minlength=len(records.concepts)))
    column_of = np.full(len(records.concepts), -1, dtype=np.int32)
    column_of[present] = np.arange(len(present), dtype=np.int32)
    shape = (records.n_patients, len(present))
    block = sparse.csr_matrix((event_weight[seen], (patient[seen], column_of[concept[seen]])), shape=shape)
    # float16 keeps 11 significant bits: plenty for a weight, and exact to publish
    block.data = np.minimum(block.data, 1).astype(np.float16).astype(np.float32)
    described = records.concepts.iloc[present]
    columns = [
        Column(c.code, c.kind, c.name, c.group)
        for c in described[["code", "kind", "name", "group"]].itertuples(index=False)
    ]
    return block, columns


def _demographics(patients: pd.DataFrame) -> tuple[sparse.csr_matrix, list[Column]]:
    """Sex and age band at `as_of`, one column each; someone whose sex or birth date is unknown has neither."""
    years = ((patients["as_of"] - patients["birth_date"]).dt.total_seconds() / 86_400 / DAYS_PER_YEAR).to_numpy()
    band = np.searchsorted(AGE_BANDS, np.nan_to_num(years, nan=-1.0), side="right") - 1  # -1: unknown
    labels = ["under 1", *(f"{low}-{high - 1}" for low, high in pairwise(AGE_BANDS[1:])), f"{AGE_BANDS[-1]}+"]
    columns = [Column(f"age:{label}", "age", f"age {label}", "") for label in labels]
    columns += [Column("sex:F", "sex", "female", ""), Column("sex:M", "sex", "male", "")]
    sex = patients["sex"].map({"F": len(AGE_BANDS), "M": len(AGE_BANDS) + 1}).fillna(-1).to_numpy(dtype=np.int64)
    patient = np.arange(len(patients))
    row = np.concatenate([patient[band >= 0], patient[sex >= 0]])
    column = np.concatenate([band[band >= 0], sex[sex >= 0]])
    ones = np.ones(len(row), dtype=np.float32)
    return sparse.csr_matrix((ones, (row, column)), shape=(len(patients), len(columns))), columns


def _seconds(times: pd.Series) -> np.ndarray:  # int64 seconds since 1970; missing is the smallest int64
    return times.to_numpy(dtype="datetime64[s]").astype(np.int64)

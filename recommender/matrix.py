"""What every model reads and every reader of a version needs: one sparse row a patient, in named column blocks.

`features.py` builds it of records; nothing here knows where a weight comes from.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from recommender.records import TREATMENT_KINDS

# blocks that tell what stands in the others in another way: which drugs go on, which classes and groups are there
DERIVED = ("running", "recent", "reported", "classes", "running_classes", "condition_groups")


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
        return self.told[column_ix][3]

    @cached_property
    def told(self) -> tuple[tuple[str, str, str, str], ...]:
        """Code, name, kind and block of each column."""
        blocks = (block.name for block in self.blocks for _ in range(block.start, block.stop))
        return tuple((c.code, c.name, c.kind, block) for c, block in zip(self.columns, blocks, strict=True))

    @cached_property
    def target_of_column(self) -> np.ndarray:  # (n_columns,) int32, not to be written to
        """Position among the targets of each column, -1 where a column is no target."""
        position = np.full(len(self), -1, dtype=np.int32)
        position[self.targets] = np.arange(len(self.targets), dtype=np.int32)
        return position

    @property
    def n_plain(self) -> int:
        """How many columns come before those that say the same anew (DERIVED): all of the plain ones."""
        return min([b.start for b in self.blocks if b.name in DERIVED], default=len(self))

    @cached_property
    def place(self) -> dict[tuple[str, str], int]:
        """(kind, code) -> the column."""
        return {(column.kind, column.code): ix for ix, column in enumerate(self.columns)}

    @cached_property
    def rank(self) -> np.ndarray:  # (n_columns,) int64
        """Where each column stands in the order of kind and code."""
        order = sorted(range(len(self)), key=lambda ix: (self.columns[ix].kind, self.columns[ix].code))
        found = np.empty(len(self), dtype=np.int64)
        found[order] = np.arange(len(self))
        return found

    @cached_property
    def kind_of_column(self) -> np.ndarray:  # (n_columns,) int64
        """The place in TREATMENT_KINDS of each column's kind; -1 where it is no treatment."""
        place = {kind: number for number, kind in enumerate(TREATMENT_KINDS)}
        return np.array([place.get(column.kind, -1) for column in self.columns], dtype=np.int64)

    @cached_property
    def kind_of_target(self) -> np.ndarray:  # (n_targets,) int64
        """The place in TREATMENT_KINDS of each target's kind."""
        return self.kind_of_column[self.targets]

    @cached_property
    def target_kinds(self) -> tuple[str, ...]:
        """The kinds of treatment that may be suggested."""
        found = {self.columns[ix].kind for ix in self.targets}
        return tuple(kind for kind in TREATMENT_KINDS if kind in found)

    def targets_of(self, kinds: Collection[str]) -> np.ndarray:  # (n,) int32
        """The targets that are of one of these kinds, ascending."""
        return self.targets[self.is_of(kinds)[self.targets]]

    def is_of(self, kinds: Collection[str]) -> np.ndarray:  # (n_columns,) bool
        """Which columns are of one of these kinds."""
        none = np.zeros(len(self), dtype=bool)
        return np.logical_or.reduce([none, *(self._of_kind[kind] for kind in kinds if kind in self._of_kind)])

    @cached_property
    def _of_kind(self) -> dict[str, np.ndarray]:
        kinds = np.array([column.kind for column in self.columns], dtype=object)
        return {kind: kinds == kind for kind in {column.kind for column in self.columns}}

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
    which the row was read and are not in the row. None where the row is all that is known, and what it holds is itself
    what is learned. `began`: as `later`, with what is in the row and began again.
    """

    rows: sparse.csr_matrix
    index: ColumnIndex
    patient_ids: np.ndarray
    later: sparse.csr_matrix | None = None
    began: sparse.csr_matrix | None = None
    weight: np.ndarray | None = None

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

    @property
    def plain(self) -> PatientMatrix:
        """Without the blocks that say the same anew (DERIVED)."""
        n = self.index.n_plain
        index = ColumnIndex(
            self.index.columns[:n], tuple(b for b in self.index.blocks if b.stop <= n), self.index.targets
        )
        return replace(self, rows=sparse.csr_matrix(self.rows[:, :n]), index=index)

    def take(self, patient_ixs: np.ndarray) -> PatientMatrix:
        parts = (self.later, self.began, self.weight)
        later, began, weight = (part if part is None else part[patient_ixs] for part in parts)
        return PatientMatrix(self.rows[patient_ixs], self.index, self.patient_ids[patient_ixs], later, began, weight)

    def with_targets(self, positions: np.ndarray) -> PatientMatrix:
        """The same, with only these of its targets; positions (n,) ascending."""
        later, began = (part if part is None else part[:, positions] for part in (self.later, self.began))
        index = replace(self.index, targets=self.index.targets[positions])
        return replace(self, index=index, later=later, began=began)

"""The contract of a model: a `PatientMatrix` in, scores and their exact parts out; learned state as named arrays.

State is arrays and a JSON-able description, never a pickle, so that a published model can be read by anyone, checked by
hash, memory-mapped, and cannot run code when it is loaded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Self

import numba
import numpy as np
from scipy import sparse

from recommender.matrix import ColumnIndex, PatientMatrix
from recommender.sequence import without_visits


class Contributions(NamedTuple):
    """What columns of a patient's row add to one score, which their values add up to. columns (k,) int, each once;
    values (k,) float64, none of them 0."""

    columns: np.ndarray
    values: np.ndarray


class Model(ABC):
    """`fit` returns a new fitted model and never changes `self`: the same matrix gives the same bytes every time."""

    name: ClassVar[str]
    reads_derived: ClassVar[bool] = False  # whether it knows what to make of the DERIVED blocks of a matrix
    reads_visits: ClassVar[bool] = False  # whether it reads what each of the last visits brought (sequence.py)
    needs_later: ClassVar[bool] = False  # whether it learns only from what came after a moment

    @staticmethod
    def is_available() -> bool:
        """Whether what fits it is installed."""
        return True

    def reads(self, matrix: PatientMatrix) -> PatientMatrix:
        """What of a matrix this model is to be given, to be fitted on and to score."""
        if self.reads_visits:
            return matrix
        return without_visits(matrix) if self.reads_derived else matrix.plain

    @abstractmethod
    def fit(self, matrix: PatientMatrix) -> Self:
        """A model fitted on `matrix`, with this one's parameters. Raises TrainingError when it cannot be fitted."""

    @abstractmethod
    def score(self, rows: sparse.csr_matrix) -> np.ndarray:
        """(n_rows, n_columns) CSR float32 with sorted indices -> (n_rows, n_targets) float32; NaN: cannot score."""

    def summed(self, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Where scores are a plain product: what the entries of the rows weigh in it (nnz,) float32, and the weights
        (n_columns, n_targets) float32 that they are multiplied with, so that who ranks can do both at once, without a
        matrix for a single row; None for any other model."""
        return None

    @abstractmethod
    def contributions(self, columns: np.ndarray, weights: np.ndarray, target: int) -> Contributions:
        """What each column of one row adds to the score of `target` (a position among the targets).

        columns (k,) int, ascending, and weights (k,) float32 are the row's non-zero entries.
        """

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """The learned arrays, enough to rebuild the model with `from_state`."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """The settings that the model was made with, as JSON-able values."""

    @classmethod
    @abstractmethod
    def from_state(cls, parameters: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Self:
        """The model that `state` and `parameters` came from; scores are the same to the last byte."""


def unlearned() -> np.ndarray:
    """What a learned field holds before `fit` fills it in."""
    return np.empty(0, dtype=np.float32)


class Fields:
    """A dataclass that is its fields: those after `KW_ONLY` are its state, those before its parameters."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def state(self) -> dict[str, np.ndarray]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.kw_only}

    def parameters(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if not f.kw_only}

    @classmethod
    def from_state(cls, parameters: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Self:
        return cls(**parameters, **state)


@dataclass(frozen=True, eq=False)
class FieldModel(Fields, Model):
    """A model that is its fields."""


@dataclass(frozen=True, eq=False)
class AdditiveModel(FieldModel):
    """A score is a plain sum over what is known of the patient: score_j = sum_c w_c weights_cj, w the patient's row.

    weights (n_columns, n_targets) float32: what one unit of each column adds to the score of each target.
    """

    _: KW_ONLY
    weights: np.ndarray = field(default_factory=unlearned)

    def evened(self, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray) -> np.ndarray:  # (nnz,) float32
        """What the entries of rows weigh when they are multiplied with the weights."""
        return data

    def score(self, rows: sparse.csr_matrix) -> np.ndarray:
        scores = np.zeros((rows.shape[0], self.weights.shape[1]), dtype=np.float32)
        data = self.evened(rows.indptr, rows.indices, rows.data)
        add_rows(rows.indptr, rows.indices, data, self.weights, scores)
        return scores

    def summed(self, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        same = type(self).score is AdditiveModel.score  # a subclass that does more than add up is asked for its scores
        return (self.evened(indptr, indices, data), self.weights) if same else None

    def contributions(self, columns: np.ndarray, weights: np.ndarray, target: int) -> Contributions:
        evened = self.evened(np.array([0, len(columns)], dtype=np.int32), columns, weights)
        return as_contributions(columns, evened.astype(np.float64) * self.weights[columns, target])


def as_contributions(columns: np.ndarray, parts: np.ndarray) -> Contributions:
    """columns (k,) and what each adds (k,) float64; a column that adds nothing is left out."""
    there = parts != 0.0
    return Contributions(columns[there], parts[there])


@numba.njit(cache=True, nogil=True)
def add_rows(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, weights: np.ndarray, scores: np.ndarray
) -> None:
    """scores (n_rows, n_targets) += rows @ weights, in the order of each row's entries."""
    for row in range(len(indptr) - 1):
        add_row(indptr[row], indptr[row + 1], indices, data, weights, scores[row])


@numba.njit(cache=True, nogil=True)
def add_row(start: int, end: int, indices: np.ndarray, data: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """out (n_targets,) += the row of entries [start, end) @ weights."""
    # a patient's row is under 1% full: adding the few needed rows of `weights` beats any dense product. Four at a time
    # touch `out` a quarter as often, and are added one after another all the same: the bits are those of one at a time
    a = start
    while a + 4 <= end:
        w0, w1, w2, w3 = data[a], data[a + 1], data[a + 2], data[a + 3]
        r0, r1, r2, r3 = weights[indices[a]], weights[indices[a + 1]], weights[indices[a + 2]], weights[indices[a + 3]]
        for j in range(len(out)):
            out[j] = (((out[j] + w0 * r0[j]) + w1 * r1[j]) + w2 * r2[j]) + w3 * r3[j]
        a += 4
    while a < end:
        weight, line = data[a], weights[indices[a]]
        for j in range(len(out)):
            out[j] += weight * line[j]
        a += 1


def keep_entries(rows: sparse.csr_matrix, kept: np.ndarray) -> sparse.csr_matrix:
    """The rows without the entries that are not `kept` (nnz,) bool; `rows` stay as they are."""
    room = np.count_nonzero(kept) + 1
    indptr, indices, data = np.empty_like(rows.indptr), np.empty(room, rows.indices.dtype), np.empty(room, rows.dtype)
    _keep(rows.indptr, rows.indices, rows.data, kept, indptr, indices, data)
    return sparse.csr_matrix((data[:-1], indices[:-1], indptr), shape=rows.shape)


@numba.njit(cache=True, nogil=True)
def _keep(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    kept: np.ndarray,
    kept_indptr: np.ndarray,
    kept_indices: np.ndarray,
    kept_data: np.ndarray,
) -> None:
    """Every entry is written, and the next one over it if it is not kept: hence room for one more than stay."""
    end = kept_indptr[0] = 0
    for row in range(len(indptr) - 1):
        for a in range(indptr[row], indptr[row + 1]):
            kept_indices[end], kept_data[end] = indices[a], data[a]
            end += kept[a]
        kept_indptr[row + 1] = end


def is_item(index: ColumnIndex, context: bool) -> np.ndarray:  # (n_columns,) bool
    """Treatments and, with `context`, all other columns but the baseline."""
    items = np.full(len(index), context)
    items[index.block("treatments")] = True
    items[index.block("baseline")] = False
    return items


def item_rows(matrix: PatientMatrix, context: bool) -> sparse.csr_matrix:
    """All that is known of the patients in the columns that are items."""
    whole = matrix.whole
    return keep_entries(whole, is_item(matrix.index, context)[whole.indices])


def in_canonical_order(matrix: PatientMatrix) -> PatientMatrix:
    """The same patients, in an order that follows from what is known of each (a hash of it) and from nothing else.

    For models whose random start, ties or sums depend on the order of patients: fitted on this, they do not.
    """
    keys = np.zeros(matrix.n_patients, dtype=np.uint64)
    for part in (matrix.rows, matrix.outcomes):
        _hash_rows(part.indptr, part.indices, part.data.astype(np.float32).view(np.uint32), keys)
    if matrix.weight is not None:
        keys ^= matrix.weight.view(np.uint64)
    return matrix.take(np.argsort(keys, kind="stable"))


@numba.njit(cache=True, nogil=True)
def _hash_rows(indptr: np.ndarray, indices: np.ndarray, bits: np.ndarray, keys: np.ndarray) -> None:
    """FNV-1a of each row's columns and weights, a word at a time, with a shift to carry high bits down."""
    for row in range(len(keys)):
        key = keys[row] ^ np.uint64(0xCBF29CE484222325)
        for a in range(indptr[row], indptr[row + 1]):
            for word in (np.uint64(indices[a]), np.uint64(bits[a])):
                key = (key ^ word) * np.uint64(0x100000001B3)
                key ^= key >> np.uint64(29)
        keys[row] = key

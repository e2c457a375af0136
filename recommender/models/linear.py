"""The linear item model with context: what is known of a patient, weighted and added up, scores each treatment.

With X the patient rows (treatments | conditions | allergies | demographics | baseline) and y_j in {0, 1} whether each
patient had treatment j, it solves for every treatment j

    minimise over b:  ||y_j - X b||^2 + sum_i penalty_i b_i^2      subject to b_j = 0

in closed form: with P = (X'X + diag(penalty))^-1 and c = P X'y_j, b = c - P[:, j] c_j / P_jj, where the second term is
the Lagrange multiplier's. With y_j = x_j + short_j, P X'x_j is e_j - penalty_j P[:, j], so that with a = P X'short_j
this is b = a - P[:, j] (1 + a_j) / P_jj beside the diagonal: no more than P and, where a treatment weighs less than it
can, one product. This is the objective of EASE (H. Steck, "Embarrassingly Shallow Autoencoders for Sparse
Data", WWW 2019) with three changes: only treatments are targets, so conditions and demographics are inputs that need no
prediction of their own; each block of columns has its own penalty; and what is predicted is whether, while the inputs
also tell when. With 0/1 rows and one penalty it is EASE (a test holds it).

A score is a plain sum over what is known of the patient, so its explanation is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numba
import numpy as np
from scipy import linalg, sparse
from threadpoolctl import threadpool_limits

from recommender.errors import TrainingError
from recommender.matrix import ColumnIndex, PatientMatrix
from recommender.models.base import AdditiveModel, keep_entries
from recommender.models.gram import gram_matrix, mirror

# L2 penalty of each block, in units of summed squared weight (about "patients"): see docs/evaluation.md
PENALTIES = {"treatments": 20.0, "conditions": 10.0, "allergies": 20.0, "demographics": 10.0, "baseline": 1.0}


@dataclass(frozen=True, eq=False)
class LinearModel(AdditiveModel):
    """The `weights` b of every target, from the blocks of the matrix that have a penalty. Learns from the whole rows.

    `strength` multiplies all penalties but that of the baseline column.
    """

    name: ClassVar[str] = "linear"
    penalties: Mapping[str, float] = field(default_factory=PENALTIES.copy)
    strength: float = 1.0

    def fit(self, matrix: PatientMatrix) -> Self:
        """Cost: the Gram matrix, then the inverse of n_columns^3 in float64 (2,000 columns: under half a second)."""
        return self.solved(matrix.index, *self.sums(matrix))

    def sums(self, matrix: PatientMatrix) -> tuple[np.ndarray, np.ndarray]:
        """X'X and X'Y, which add up over groups of patients; without weights of rows exactly, in any order: products
        of float16 numbers from 0.5 to 1 are whole multiples of 2^-22, of which float64 holds any sum below 2^53."""
        whole, (_, used) = matrix.whole, self._penalty(matrix.index)
        known = keep_entries(whole, used[whole.indices])
        return gram_matrices(known, matrix.index.target_of_column, len(matrix.index.targets), matrix.weight)

    def _penalty(self, index: ColumnIndex) -> tuple[np.ndarray, np.ndarray]:
        """(n_columns,) float64, and which columns are used, bool."""
        penalty, used = np.ones(len(index)), np.zeros(len(index), dtype=bool)
        for block in [block for block in index.blocks if block.name in self.penalties]:
            strength = 1.0 if block.name == "baseline" else self.strength
            penalty[block.start : block.stop] = strength * self.penalties[block.name]
            used[block.start : block.stop] = True
        return penalty, used

    def solved(self, index: ColumnIndex, gram: np.ndarray, had: np.ndarray) -> Self:
        """The model of what `sums` gives, which is overwritten."""
        targets, position = index.targets, np.arange(len(index.targets))
        penalty, _ = self._penalty(index)
        short = had - gram[:, targets]  # what X'Y has beyond X'X: nothing where every treatment weighs all it can
        gram[np.diag_indices_from(gram)] += penalty
        with threadpool_limits(1, "blas"):  # the same bytes on any number of cores
            inverse = inverted(gram)
            added = inverse @ short if short.any() else short
        own = inverse[:, targets]
        weights = added - own * ((1 + added[targets, position]) / own[targets, position])
        weights[targets, position] = 0.0
        return replace(self, weights=np.ascontiguousarray(weights, dtype=np.float32))


@dataclass(frozen=True, eq=False)
class EaseModel(LinearModel):
    """The same from treatments alone, as EASE is usually used: what conditions and age add shows beside it."""

    name: ClassVar[str] = "ease"
    penalties: Mapping[str, float] = field(default_factory=lambda: {"treatments": 500.0, "baseline": 1.0})


def gram_matrices(
    rows: sparse.csr_matrix, target_of: np.ndarray, n_targets: int, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """X'X (n_columns, n_columns) and X'Y (n_columns, n_targets), float64 in Fortran order; Y is 1 where X is not 0.

    target_of (n_columns,) int32 is each column's position among the targets, or -1. weight (n_rows,): how often each
    row is counted. The cost follows the pairs of entries within each row, not the columns.
    """
    full = np.ones(rows.shape[0]) if weight is None else np.sqrt(weight)  # what a whole entry is in a scaled row
    if weight is not None:
        data = rows.data * np.repeat(full, np.diff(rows.indptr))
        rows = sparse.csr_matrix((data, rows.indices, rows.indptr), shape=rows.shape)
    gram = gram_matrix(rows)
    short = np.zeros((n_targets, rows.shape[1]))
    _add_shortfall(rows.indptr, rows.indices, rows.data, full, target_of, short)
    short += gram[target_of >= 0]
    return gram.T, short.T  # symmetric, so the transpose is itself in Fortran order


def inverted(gram: np.ndarray) -> np.ndarray:
    """The inverse of a symmetric matrix (n, n) float64, which is overwritten where it stands in Fortran order: a third
    of the operations of a general one. Raises TrainingError where there is none."""
    try:
        factor, lower = linalg.cho_factor(gram, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError as error:
        raise TrainingError("the matrix cannot be inverted: every block needs a penalty above 0") from error
    half, _ = linalg.lapack.dpotri(factor, lower=lower, overwrite_c=True)  # above the diagonal
    mirror(half.T, len(half))
    return half


@numba.njit(cache=True, nogil=True)
def _add_shortfall(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    full: np.ndarray,
    target_of: np.ndarray,
    short: np.ndarray,
) -> None:
    """(Y - X)'X of the targets: what X'X lacks of Y'X, which is nothing where a treatment weighs as much as it can."""
    for row in range(len(indptr) - 1):
        for b in range(indptr[row], indptr[row + 1]):
            target, shortfall = target_of[indices[b]], full[row] - np.float64(data[b])
            if target >= 0 and shortfall != 0.0:
                line = short[target]
                for a in range(indptr[row], indptr[row + 1]):
                    line[indices[a]] += shortfall * data[a]

"""The directed linear model: what was known at a moment, weighted and added up, foresees what began afterwards.

With x_u what was known of u (treatments, conditions, what goes on, classes, groups, age, sex ...), brought to one
length, and y_uj whether treatment j began afterwards, it solves for every treatment j, in closed form,

    minimise over b:  sum_u v_u (y_uj - f_u x_u b)^2 + sum_c penalty_c b_c^2
    with  f_u = m / |x_u|,  |x|^2 = sum_c x_c^2 / penalty_c

where m is the mean length, so that a long chart does not shout louder than a short one (the baseline column is left as
it is). Three things make it more than ridge regression, each worth its figure in docs/evaluation.md: a moment after
which k treatments began counts v_u = 1 / sqrt(k), and one without any not at all; a treatment that was already on the
chart could not begin, so it is no zero: y is put at its share among those who could begin it, plus `surplus`; penalties
are strong, and of each kind of column apart.

A score is a plain sum over what is known of the patient, so its explanation is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import ClassVar, Self

import numba
import numpy as np
from scipy import linalg, sparse
from threadpoolctl import threadpool_limits

from recommender.errors import TrainingError
from recommender.matrix import PatientMatrix
from recommender.models.base import (
    AdditiveModel,
    in_canonical_order,
    unlearned,
)
from recommender.models.gram import gram_matrix
from recommender.models.popularity import share_of_patients

# L2 penalty of the columns of each kind, in units of moments after which one treatment began: see docs/evaluation.md
PENALTIES = {
    "drug": 300.0,
    "procedure": 1_200.0,
    "care_plan": 600.0,
    "care_resource": 600.0,
    "condition": 300.0,
    "allergy": 1_200.0,
    "age": 1_200.0,
    "sex": 1_200.0,
    "baseline": 0.5,
    "running": 600.0,
    "recent": 1_200.0,
    "reported": 1_200.0,
    "class": 300.0,
    "running_class": 300.0,
    "condition_group": 600.0,
}
MIN_SEEN = 5  # moments; a column seen at fewer is not learned from


@dataclass(frozen=True, eq=False)
class DirectedModel(AdditiveModel):
    """`strength` multiplies all penalties but that of the baseline column."""

    name: ClassVar[str] = "directed"
    reads_derived: ClassVar[bool] = True
    needs_later: ClassVar[bool] = True
    strength: float = 1.0
    surplus: float = 0.2
    penalties: Mapping[str, float] = field(default_factory=PENALTIES.copy)
    _: KW_ONLY
    length: np.ndarray = field(default_factory=unlearned)  # (n_columns,) float32: what x_c^2 adds to the squared length
    mean_length: np.ndarray = field(default_factory=unlearned)  # (1,) float32

    def fit(self, matrix: PatientMatrix) -> Self:
        """Cost: the Gram matrix, then one n_columns^3 factorisation in float64."""
        if matrix.later is None:
            raise TrainingError("the directed model learns from what began after a moment: the records tell no visits")
        taught = in_canonical_order(matrix.take(np.flatnonzero(np.diff(matrix.outcomes.indptr))))  # for the sums
        if not taught.n_patients:
            raise TrainingError("nothing began after any of the moments, so there is nothing to foresee")
        penalty = self._penalty(matrix)
        used = np.bincount(taught.rows.indices, minlength=len(matrix.index)) >= MIN_SEEN
        length = np.where(used, 1 / penalty, 0).astype(np.float32)
        length[matrix.index.block("baseline")] = 0
        used[matrix.index.block("baseline")] = True
        rows = taught.rows
        lengths = _lengths(rows.indptr, rows.indices, rows.data, length).astype(np.float64)
        mean = np.array([np.average(lengths, weights=taught.weight)], dtype=np.float32)
        fitted = replace(self, length=length, mean_length=mean)
        root = np.diff(taught.outcomes.indptr) ** -0.25  # of v_u
        if taught.weight is not None:
            root *= np.sqrt(taught.weight)
        evened = fitted.evened(rows.indptr, rows.indices, rows.data)
        whole = sparse.csr_matrix((evened, rows.indices, rows.indptr), shape=rows.shape)
        known = sparse.csr_matrix(_times(whole, root)[:, used])
        foreseen = _times(_targets(taught, self.surplus), root)
        gram = gram_matrix(known)
        gram[np.diag_indices_from(gram)] += penalty[used]
        with threadpool_limits(1, "blas"):  # the same bytes on any number of cores
            factor = linalg.cho_factor(gram, overwrite_a=True, check_finite=False)
            solved = linalg.cho_solve(factor, (known.T @ foreseen).toarray(order="F"), overwrite_b=True)
        weights = np.zeros((len(matrix.index), solved.shape[1]), dtype=np.float32)
        weights[used] = solved
        return replace(fitted, weights=weights)

    def _penalty(self, matrix: PatientMatrix) -> np.ndarray:  # (n_columns,) float64
        penalties = {kind: self.strength * penalty for kind, penalty in self.penalties.items()}
        penalties["baseline"] = self.penalties["baseline"]
        return np.array([penalties[column.kind] for column in matrix.index.columns])

    def evened(self, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray) -> np.ndarray:
        """The rows brought to one length; the baseline column and unused ones, which have none, as they are."""
        # a row's length does not depend on the rows beside it: who is scored alone gets the night's scores to the bit
        return _evened(indptr, indices, data, self.length, self.mean_length[0])


def _targets(matrix: PatientMatrix, surplus: float) -> sparse.csr_matrix:
    """y (n_moments, n_targets): 1 where it began; where it was on the chart, its share of those who could begin it."""
    had = matrix.had
    share = share_of_patients(matrix)
    stands = sparse.csr_matrix((share[had.indices] + surplus, had.indices, had.indptr), shape=had.shape)
    return sparse.csr_matrix(matrix.outcomes + stands)


@numba.njit(cache=True, nogil=True)
def _lengths(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, length: np.ndarray
) -> np.ndarray:  # (n_rows,) float32
    """The length of each row; length (n_columns,): what the square of a weight adds to its square."""
    found = np.empty(len(indptr) - 1, dtype=np.float32)
    for row in range(len(found)):
        total = 0.0
        for a in range(indptr[row], indptr[row + 1]):
            total += np.float64(data[a] * data[a] * length[indices[a]])
        found[row] = np.sqrt(total)
    return found


@numba.njit(cache=True, nogil=True)
def _evened(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, length: np.ndarray, mean: float
) -> np.ndarray:  # (nnz,) float32
    lengths, evened = _lengths(indptr, indices, data, length), np.empty(len(data), np.float32)
    for row in range(len(lengths)):
        factor = mean / max(lengths[row], np.float32(1e-6))
        for a in range(indptr[row], indptr[row + 1]):
            evened[a] = data[a] * factor if length[indices[a]] > 0 else data[a]
    return evened


def _times(rows: sparse.csr_matrix, factor: np.ndarray) -> sparse.csr_matrix:
    """Every row by its factor (n_rows,)."""
    data = rows.data * np.repeat(factor, np.diff(rows.indptr))
    return sparse.csr_matrix((data, rows.indices, rows.indptr), shape=rows.shape)

"""Matrix factorisation by `implicit`: patient rows in, a point for each column out, and for each patient from theirs.

Three ways to place the columns; one way to place a patient, exact for ALS and a ridge regression for the others. Every
patient goes through it, trained on or not, so that one alone scores as in a batch. With y_c the point of column c and
c_uc = 1 + alpha w_uc the confidence in an entry of the patient's row (Hu, Koren & Volinsky, ICDM 2008, section 4):

    A_u = Y'Y + sum_c (c_uc - 1) y_c y_c' + ridge I
    x_u = sum_c c_uc A_u^-1 y_c,     score_uj = x_u . y_j + prior share_j

so column c adds c_uc y_j' A_u^-1 y_c to the score (their section 5). With no history x_u is 0 and popularity is left.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Self

import numba
import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from recommender.matrix import ColumnIndex, PatientMatrix
from recommender.models.base import (
    Contributions,
    FieldModel,
    as_contributions,
    in_canonical_order,
    item_rows,
    unlearned,
)
from recommender.models.popularity import share_of_patients


@dataclass(frozen=True, eq=False)
class FactorModel(FieldModel):
    """Points of the columns by `_place`, scores and contributions by the formula above."""

    factors: int = 64
    iterations: int = 15
    alpha: float = 10.0  # confidence that an entry of weight 1 adds to that of an entry that is not there
    ridge: float = 50.0
    context: bool = True  # conditions, allergies and demographics are columns too, or treatments alone
    prior: float = 0.1
    seed: int = 0
    baseline_ix: int = -1  # set by fit
    _: KW_ONLY
    points: np.ndarray = field(default_factory=unlearned)  # (n_columns, k) float32, zeros for a column that nobody had
    targets: np.ndarray = field(default_factory=unlearned)  # (n_targets,) int32
    share: np.ndarray = field(default_factory=unlearned)  # (n_targets,) float32

    def fit(self, matrix: PatientMatrix) -> Self:
        matrix = in_canonical_order(matrix)  # the random start is dealt out in the order of the rows
        rows = item_rows(matrix, self.context)
        with threadpool_limits(1, "blas"):  # implicit brings its own threads, and one keeps every byte the same
            points = self._place(rows) if rows.nnz else np.zeros((rows.shape[1], 1), dtype=np.float32)
        points[np.bincount(rows.indices, minlength=len(points)) == 0] = 0.0  # these never left their random start
        return self.placed(matrix.index, points, share_of_patients(matrix))

    def placed(self, index: ColumnIndex, points: np.ndarray, share: np.ndarray) -> Self:
        """The model of points (n_columns, k) float32 and the `share` (n_targets,) float32 of patients with each."""
        baseline = index.block("baseline").start
        return replace(self, points=points, targets=index.targets, share=share, baseline_ix=baseline)

    @abstractmethod
    def _place(self, rows: sparse.csr_matrix) -> np.ndarray:
        """(n_patients, n_columns) CSR, not empty -> points (n_columns, k) float32."""

    def score(self, rows: sparse.csr_matrix) -> np.ndarray:
        scores = np.tile(np.float32(self.prior) * self.share, (rows.shape[0], 1))
        inputs = (rows.indptr, rows.indices, rows.data, self.points, self._normal)
        _add_scores(*inputs, self.alpha, self._target_points, scores)
        return scores

    def contributions(self, columns: np.ndarray, weights: np.ndarray, target: int) -> Contributions:
        points, extra = self.points[columns].astype(np.float64), self.alpha * weights.astype(np.float64)
        normal = self._normal + (points.T * extra) @ points
        toward = np.linalg.solve(normal, self.points[self.targets[target]].astype(np.float64))
        parts = (1 + extra) * (points @ toward)
        popular = self.prior * float(self.share[target])
        kept = columns != self.baseline_ix  # its point is 0
        return as_contributions(np.append(columns[kept], self.baseline_ix), np.append(parts[kept], popular))

    @cached_property
    def _normal(self) -> np.ndarray:  # Y'Y + ridge I, (k, k) float64
        points = self.points.astype(np.float64)
        with threadpool_limits(1, "blas"):
            return points.T @ points + self.ridge * np.eye(points.shape[1])

    @cached_property
    def _target_points(self) -> np.ndarray:  # (k, n_targets) float32
        return np.ascontiguousarray(self.points[self.targets].T)


@dataclass(frozen=True, eq=False)
class AlsModel(FactorModel):
    """Alternating least squares (Hu, Koren & Volinsky 2008): the fold-in of a patient is its own exact step."""

    name: ClassVar[str] = "als"

    def _place(self, rows: sparse.csr_matrix) -> np.ndarray:
        from implicit.cpu.als import AlternatingLeastSquares  # half a second, only needed to fit

        model = AlternatingLeastSquares(
            factors=self.factors,
            regularization=self.ridge,
            iterations=self.iterations,
            num_threads=1,
            random_state=self.seed,
        )
        # its confidence is the entry itself, so that an entry of 1 would weigh no more than one that is not there
        confidence = sparse.csr_matrix((1 + self.alpha * rows.data, rows.indices, rows.indptr), shape=rows.shape)
        model.fit(confidence, show_progress=False)
        return np.array(model.item_factors)


@dataclass(frozen=True, eq=False)
class BprModel(FactorModel):
    """Bayesian personalised ranking (Rendle et al., UAI 2009): points that order had before not had; 0/1 entries.

    The item's bias is one more dimension of its point. What was not had is drawn by how common it is, so the points say
    little of popularity, and the prior has to: without it the lists are worse than popularity's.
    """

    name: ClassVar[str] = "bpr"
    iterations: int = 20
    alpha: float = 5.0
    ridge: float = 1.0
    prior: float = 2.0
    learning_rate: float = 0.02
    regularization: float = 0.01

    def _place(self, rows: sparse.csr_matrix) -> np.ndarray:
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        model = BayesianPersonalizedRanking(
            factors=self.factors,
            learning_rate=self.learning_rate,
            regularization=self.regularization,
            iterations=self.iterations,
            num_threads=1,
            random_state=self.seed,
        )
        model.fit(rows, show_progress=False)
        return np.array(model.item_factors)


@dataclass(frozen=True, eq=False)
class LogisticMfModel(FactorModel):
    """Logistic matrix factorisation (Johnson, NIPS workshop 2014): points whose product is the log-odds of having.

    The biases of item and patient are two more dimensions of a point. For the prior see BprModel.
    """

    name: ClassVar[str] = "logistic-mf"
    factors: int = 32
    iterations: int = 30
    alpha: float = 5.0
    ridge: float = 10.0
    prior: float = 1.0
    learning_rate: float = 1.0
    regularization: float = 0.6

    def _place(self, rows: sparse.csr_matrix) -> np.ndarray:
        from implicit.cpu.lmf import LogisticMatrixFactorization

        model = LogisticMatrixFactorization(
            factors=self.factors,
            learning_rate=self.learning_rate,
            regularization=self.regularization,
            iterations=self.iterations,
            num_threads=1,
            random_state=self.seed,
        )
        model.fit(rows, show_progress=False)
        return np.array(model.item_factors)


@numba.njit(cache=True, nogil=True)
def _add_scores(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    points: np.ndarray,
    normal: np.ndarray,
    alpha: float,
    target_points: np.ndarray,
    scores: np.ndarray,
) -> None:
    """scores (n_rows, n_targets) += x_u . y_j, x_u by elimination: A is symmetric and positive, so it needs no pivots.

    Written out, for a library's solver on many small systems starts threads and its bytes differ between machines.
    """
    k = len(normal)
    for row in range(len(indptr) - 1):
        if indptr[row] == indptr[row + 1]:
            continue
        a, x = normal.copy(), np.zeros(k)
        for entry in range(indptr[row], indptr[row + 1]):
            point, extra = points[indices[entry]].astype(np.float64), alpha * np.float64(data[entry])
            for i in range(k):
                x[i] += (1.0 + extra) * point[i]
                for j in range(i, k):
                    a[i, j] += extra * point[i] * point[j]
        for i in range(k):  # the upper half alone is kept
            for below in range(i + 1, k):
                ratio = a[i, below] / a[i, i]
                x[below] -= ratio * x[i]
                for j in range(below, k):
                    a[below, j] -= ratio * a[i, j]
        for i in range(k - 1, -1, -1):
            for j in range(i + 1, k):
                x[i] -= a[i, j] * x[j]
            x[i] /= a[i, i]
        out = scores[row]
        for i in range(k):
            weight, line = np.float32(x[i]), target_points[i]
            for j in range(len(out)):
                out[j] += weight * line[j]

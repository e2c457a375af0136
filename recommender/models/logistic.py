"""Logistic regression, one for each treatment, with the patient's history as input: the baseline that papers owe.

score_uj = log-odds = intercept_j + sum_c w_uc b_cj, fitted by maximum likelihood with an L2 penalty on b but not on the
intercept, which the baseline column carries. (Le Cessie & van Houwelingen, Applied Statistics 1992; fitted by
scikit-learn: Pedregosa et al., JMLR 2011.) A score is a plain sum, so its explanation is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from recommender.errors import TrainingError
from recommender.matrix import PatientMatrix
from recommender.models.base import AdditiveModel, in_canonical_order

MIN_SEEN = 5  # examples; a column seen at fewer is not learned from
FEW = 0.5  # added to both sides of the odds of a treatment that all or none have


@dataclass(frozen=True, eq=False)
class LogisticModel(AdditiveModel):
    """Learns from every example: what was already on the chart is one that did not begin. `penalty` is 1 / C."""

    name: ClassVar[str] = "logistic"
    penalty: float = 30.0

    def fit(self, matrix: PatientMatrix) -> Self:
        """Cost: one fit for each target; on 600 targets, 1,800 rows and 2,600 columns about 10 seconds."""
        matrix = in_canonical_order(matrix)  # for the sums
        index, weight = matrix.index, matrix.weight
        used = np.bincount(matrix.rows.indices, minlength=len(index)) >= MIN_SEEN
        used[index.block("baseline")] = False  # the intercept
        rows, column_of = matrix.rows[:, used], np.cumsum(used) - 1
        outcomes, had = (part.toarray(order="F") > 0 for part in (matrix.outcomes, matrix.had))
        weights = np.zeros((len(index), len(index.targets)), dtype=np.float32)
        for position, target in enumerate(index.targets):
            asked = self._asked(had[:, position])
            known = rows
            if matrix.later is None and used[target]:  # a treatment must not foretell itself
                known = rows.copy()
                known.data[known.indices == column_of[target]] = 0
            each = None if weight is None else weight[asked]
            slopes, intercept = self._fitted(known[asked], outcomes[asked, position], each)
            weights[used, position] = slopes
            weights[index.block("baseline"), position] = intercept
        return replace(self, weights=weights)

    def _asked(self, had: np.ndarray) -> np.ndarray:
        """Of which examples (n,) bool one treatment is learned; had (n,) bool: who had it by then."""
        return np.ones(len(had), dtype=bool)

    def _fitted(
        self, rows: sparse.csr_matrix, outcome: np.ndarray, weight: np.ndarray | None
    ) -> tuple[np.ndarray, float]:
        """Slopes (n_columns,) and intercept; outcome (n,) bool, weight (n,)."""
        from sklearn.linear_model import LogisticRegression  # a second, only needed to fit

        if outcome.all() or not outcome.any() or not rows.shape[1]:
            return np.zeros(rows.shape[1]), float(np.log((outcome.sum() + FEW) / ((~outcome).sum() + FEW)))
        with threadpool_limits(1):  # the same bytes on any number of cores
            fitted = LogisticRegression(C=1 / self.penalty, max_iter=1_000).fit(rows, outcome, weight)
        return fitted.coef_[0], float(fitted.intercept_[0])


@dataclass(frozen=True, eq=False)
class CandidatesLogisticModel(LogisticModel):
    """Learns each treatment from those alone who could begin it, from all columns: the strongest honest baseline."""

    name: ClassVar[str] = "logistic-candidates"
    reads_derived: ClassVar[bool] = True
    needs_later: ClassVar[bool] = True
    penalty: float = 100.0

    def fit(self, matrix: PatientMatrix) -> Self:
        if matrix.later is None:
            raise TrainingError("logistic-candidates learns from what began after a moment: the records tell no visits")
        return super().fit(matrix)

    def _asked(self, had: np.ndarray) -> np.ndarray:
        return ~had

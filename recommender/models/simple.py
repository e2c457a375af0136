"""Three baselines, a patient's row in: popularity given the conditions, what was taken often and lately, and last.

Both are sums over the row's columns, so their parts are exact; a patient with no history gets popularity.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from scipy import sparse

from recommender.matrix import PatientMatrix
from recommender.models.base import AdditiveModel, Contributions, add_rows, as_contributions, unlearned
from recommender.models.popularity import share_of_patients

TINY = np.float32(1e-12)  # keeps an empty row's 0 / 0 a 0


@dataclass(frozen=True, eq=False)
class ConditionalModel(AdditiveModel):
    """Popularity among the patients who share a condition, averaged over the patient's conditions, rare ones first:

        share_cj = (n_cj + shrink share_j) / (n_c + shrink)
        score_j = (sum_c w_c idf_c share_cj + prior share_j) / (sum_c w_c idf_c + prior),   idf_c = log(n / n_c)

    n_c patients have condition c, n_cj of them outcome j; share_j is j's share of all patients. A condition that few
    have borrows from them all (Dirichlet smoothing: Zhai & Lafferty, SIGIR 2001), and one that few have says more about
    its patient than one that many have (Sparck Jones, J. Documentation 1972). Without conditions: popularity.
    """

    name: ClassVar[str] = "conditional"
    shrink: float = 100.0  # patients
    prior: float = 0.5  # in units of idf: about the say of a condition that 60% have
    _: KW_ONLY
    # (n_columns, 1) float32: idf_c, and the prior for the baseline column
    mass: np.ndarray = field(default_factory=unlearned)

    def fit(self, matrix: PatientMatrix) -> Self:
        conditions, baseline = matrix.index.block("conditions"), matrix.index.block("baseline").start
        share, outcomes = share_of_patients(matrix), matrix.outcomes
        rows = matrix.rows[:, conditions]
        with_condition = sparse.csr_matrix((np.ones(rows.nnz, np.float32), rows.indices, rows.indptr), shape=rows.shape)
        n_with = np.bincount(rows.indices, minlength=rows.shape[1])[:, None]
        together = (with_condition.T @ outcomes).toarray()  # n_cj
        mass = np.zeros((len(matrix.index), 1), dtype=np.float32)
        mass[conditions] = np.log(matrix.n_patients / np.maximum(n_with, 1))
        mass[baseline] = self.prior
        weights = np.zeros((len(mass), len(share)), dtype=np.float32)
        weights[conditions] = (together + self.shrink * share) / (n_with + self.shrink) * mass[conditions]
        weights[baseline] = self.prior * share
        return replace(self, weights=weights, mass=mass)

    def score(self, rows: sparse.csr_matrix) -> np.ndarray:
        mass = np.zeros((rows.shape[0], 1), dtype=np.float32)
        add_rows(rows.indptr, rows.indices, rows.data, self.mass, mass)
        return super().score(rows) / np.maximum(mass, TINY)

    def contributions(self, columns: np.ndarray, weights: np.ndarray, target: int) -> Contributions:
        mass = max(float(weights.astype(np.float64) @ self.mass[columns, 0]), float(TINY))
        return as_contributions(columns, weights.astype(np.float64) * self.weights[columns, target] / mass)


@dataclass(frozen=True, eq=False)
class RecencyModel(AdditiveModel):
    """What the patient took often and lately: score_j = w_j + prior share_j, w_j the row's own weight of treatment j.

    The weight is a count that fades with time (recommender.features), the popularity share only breaks ties. It is the
    baseline for repeats (personal top frequency: Hu et al., SIGIR 2020); of treatments never taken it knows popularity.
    """

    name: ClassVar[str] = "recency"
    prior: float = 0.01

    def fit(self, matrix: PatientMatrix) -> Self:
        share = share_of_patients(matrix)
        weights = np.zeros((len(matrix.index), len(share)), dtype=np.float32)
        weights[matrix.index.targets, np.arange(len(share))] = 1.0
        weights[matrix.index.block("baseline")] = self.prior * share
        return replace(self, weights=weights)


@dataclass(frozen=True, eq=False)
class RepeatLastModel(AdditiveModel):
    """What began last, once more: score_j = recent_j + earlier w_j + prior share_j.

    recent_j is 1 where drug j was among the last that began, within a day (the matrix's block `recent`, which knows
    drugs alone); w_j is the row's own weight, so that the rest of the chart comes next, then what is common.
    """

    name: ClassVar[str] = "repeat-last"
    reads_derived: ClassVar[bool] = True
    earlier: float = 0.1
    prior: float = 0.01

    def fit(self, matrix: PatientMatrix) -> Self:
        index, share = matrix.index, share_of_patients(matrix)
        position = {f"recent:{index.columns[ix].code}": place for place, ix in enumerate(index.targets)}
        weights = np.zeros((len(index), len(share)), dtype=np.float32)
        for ix, column in enumerate(index.columns):
            if column.kind == "recent" and column.code in position:
                weights[ix, position[column.code]] = 1.0
        weights[index.targets, np.arange(len(share))] = self.earlier
        weights[index.block("baseline")] = self.prior * share
        return replace(self, weights=weights)

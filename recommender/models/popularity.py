"""Popularity: everyone gets the same scores, the share of patients with each outcome. The baseline to beat."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from scipy import sparse

from recommender.matrix import PatientMatrix
from recommender.models.base import Contributions, FieldModel, as_contributions, unlearned

FEW = 5  # added to those who could begin a treatment, so that a share of two of three is not taken at its word


@dataclass(frozen=True, eq=False)
class PopularityModel(FieldModel):
    """Score of a treatment: the share of patients whose outcome it is; carried by the baseline column alone."""

    name: ClassVar[str] = "popularity"
    baseline_ix: int = -1  # set by fit
    _: KW_ONLY
    share: np.ndarray = field(default_factory=unlearned)  # (n_targets,) float32

    def fit(self, matrix: PatientMatrix) -> Self:
        return replace(self, share=share_of_patients(matrix), baseline_ix=matrix.index.block("baseline").start)

    def score(self, rows: sparse.csr_matrix) -> np.ndarray:
        return np.tile(self.share, (rows.shape[0], 1))

    def contributions(self, columns: np.ndarray, weights: np.ndarray, target: int) -> Contributions:
        return as_contributions(np.array([self.baseline_ix]), self.share[[target]].astype(np.float64))


def share_of_patients(matrix: PatientMatrix) -> np.ndarray:  # (n_targets,) float32
    """The share of patients with each outcome: what every model falls back on for a patient of whom nothing is known.

    Of what began after a moment, the share of those who could begin it, for who had it already could not.
    """
    had = counted(matrix.rows, matrix.weight)[matrix.index.targets]
    if matrix.later is None:
        return (had / max(patients(matrix), 1)).astype(np.float32)
    began = counted(matrix.later, matrix.weight)
    return (began / (patients(matrix) - had + FEW)).astype(np.float32)


def counted(part: sparse.csr_matrix, weight: np.ndarray | None) -> np.ndarray:  # (n_columns,) float64
    """How many patients have each column of part (n_patients, n_columns), each counted by its weight."""
    each = None if weight is None else np.repeat(weight, np.diff(part.indptr))
    return np.bincount(part.indices, each, minlength=part.shape[1]).astype(np.float64)


def patients(matrix: PatientMatrix) -> float:
    return matrix.n_patients if matrix.weight is None else float(matrix.weight.sum())

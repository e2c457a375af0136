"""Popularity: everyone gets the same scores, the share of patients with each outcome. The baseline to beat."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from scipy import sparse

from recommender.features import PatientMatrix
from recommender.models.base import Contribution, FieldModel, unlearned


@dataclass(frozen=True, eq=False)
class PopularityModel(FieldModel):
    """Score of a treatment = (patients whose outcome it is) / (all patients); carried by the baseline column alone."""

    name: ClassVar[str] = "popularity"
    baseline_ix: int = -1  # set by fit
    _: KW_ONLY
    share: np.ndarray = field(default_factory=unlearned)  # (n_targets,) float32

    def fit(self, matrix: PatientMatrix) -> Self:
        return replace(self, share=share_of_patients(matrix), baseline_ix=matrix.index.block("baseline").start)

    def score(self, rows: sparse.csr_matrix) -> np.ndarray:
        return np.tile(self.share, (rows.shape[0], 1))

    def contributions(self, columns: np.ndarray, weights: np.ndarray, target: int) -> list[Contribution]:
        return [Contribution(self.baseline_ix, float(self.share[target]))]


def share_of_patients(matrix: PatientMatrix) -> np.ndarray:  # (n_targets,) float32
    """The share of patients with each outcome: what every model falls back on for a patient of whom nothing is known"""
    had = np.bincount(matrix.outcomes.indices, minlength=len(matrix.index.targets))
    return (had / max(matrix.n_patients, 1)).astype(np.float32)

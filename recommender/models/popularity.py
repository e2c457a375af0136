"""Popularity: everyone gets the same scores, the share of patients who had each treatment. The baseline to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from scipy import sparse

from recommender.features import PatientMatrix
from recommender.models.base import Contribution, Model


class PopularityModel(Model):
    """Score of a treatment = (patients who had it) / (all patients); carried by the baseline column alone."""

    name = "popularity"

    def __init__(self, share: np.ndarray | None = None, baseline_ix: int = -1) -> None:
        self._share = np.empty(0, dtype=np.float32) if share is None else share  # (n_targets,) float32
        self._baseline_ix = baseline_ix

    def fit(self, matrix: PatientMatrix) -> Self:
        had = np.bincount(matrix.rows.indices, minlength=len(matrix.index))[matrix.index.targets]
        share = (had / max(matrix.n_patients, 1)).astype(np.float32)
        return type(self)(share, matrix.index.block("baseline").start)

    def score(self, rows: sparse.csr_matrix) -> np.ndarray:
        return np.tile(self._share, (rows.shape[0], 1))

    def contributions(self, columns: np.ndarray, weights: np.ndarray, target: int) -> list[Contribution]:
        return [Contribution(self._baseline_ix, float(self._share[target]))]

    def state(self) -> dict[str, np.ndarray]:
        return {"share": self._share}

    def parameters(self) -> dict[str, Any]:
        return {"baseline_ix": self._baseline_ix}

    @classmethod
    def from_state(cls, parameters: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Self:
        return cls(state["share"], parameters["baseline_ix"])

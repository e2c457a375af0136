"""A model's scores in, probabilities out: by a rising curve, learned elsewhere (recommender.evaluation.calibrate)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np


@dataclass(frozen=True, eq=False)
class Calibration:
    """Straight lines between knots, level beyond the first and the last.

    scores (n_knots,) float64, ascending; probabilities (n_knots,) float64, never falling, from 0 to 1.
    """

    scores: np.ndarray
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        p = self.probabilities
        if not (len(p) == len(self.scores) > 0 and p[0] >= 0 and p[-1] <= 1):
            raise ValueError("a calibration needs as many scores as probabilities, and these from 0 to 1")
        if (np.diff(self.scores) < 0).any() or (np.diff(p) < 0).any():
            raise ValueError("a calibration must rise")

    def probability(self, scores: np.ndarray) -> np.ndarray:
        """Of the same shape, float64; NaN where the score is."""
        return np.asarray(np.interp(scores, self.scores, self.probabilities))

    def as_dict(self) -> dict[str, list[float]]:
        return {"scores": self.scores.tolist(), "probabilities": self.probabilities.tolist()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(np.asarray(data["scores"], np.float64), np.asarray(data["probabilities"], np.float64))

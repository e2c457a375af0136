"""The contract of a model: a `PatientMatrix` in, scores and their exact parts out; learned state as named arrays.

State is arrays and a JSON-able description, never a pickle, so that a published model can be read by anyone, checked by
hash, memory-mapped, and cannot run code when it is loaded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse

from recommender.features import PatientMatrix


@dataclass(frozen=True)
class Contribution:
    """What one column of the patient's row adds to one score; the parts of a score add up to it."""

    column_ix: int
    value: float


class Model(ABC):
    """`fit` returns a new fitted model and never changes `self`: the same matrix gives the same bytes every time."""

    name: ClassVar[str]

    @abstractmethod
    def fit(self, matrix: PatientMatrix) -> Self:
        """A model fitted on `matrix`, with this one's parameters. Raises TrainingError when it cannot be fitted."""

    @abstractmethod
    def score(self, rows: sparse.csr_matrix) -> np.ndarray:
        """(n_rows, n_columns) CSR float32 with sorted indices -> (n_rows, n_targets) float32; NaN: cannot score."""

    @abstractmethod
    def contributions(self, columns: np.ndarray, weights: np.ndarray, target: int) -> list[Contribution]:
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

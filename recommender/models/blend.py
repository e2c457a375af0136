"""A blend of named models, weighed against each other on patients held out of their fit: one model to everyone else.

score = sum_m factor_m score_m, factor_m = votes_m / (rounds sd_m), sd_m the standard deviation of the scores of model m
on the held-out examples. Votes are cast by ensemble selection with replacement (Caruana et al., ICML 2004): in each
round the model that, added to those chosen so far, makes the best lists gets one. The parts of a score are the weighted
parts of its models' scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self
from zlib import crc32

import numpy as np
from scipy import sparse

from recommender.errors import TrainingError
from recommender.matrix import PatientMatrix
from recommender.models.base import Contributions, FieldModel, Model, as_contributions, in_canonical_order, unlearned
from recommender.models.directed import DirectedModel
from recommender.models.linear import LinearModel
from recommender.models.logistic import CandidatesLogisticModel, LogisticModel
from recommender.models.neighbours import ItemBm25Model, ItemCosineModel
from recommender.models.patients import PatientsModel
from recommender.models.simple import ConditionalModel

BLENDED: dict[str, type[Model]] = {
    model.name: model
    for model in (
        DirectedModel,
        LinearModel,
        ConditionalModel,
        ItemCosineModel,
        ItemBm25Model,
        PatientsModel,
        LogisticModel,
        CandidatesLogisticModel,
    )
}
COMPONENTS: dict[str, dict[str, Any]] = {
    "directed": {"strength": 0.7},
    "conditional": {"shrink": 10.0},
    "item-bm25": {},
}
PARTS = 3  # parts of the patients, each held out once
ROUNDS = 20
MOST_HELD_OUT = 2_000  # examples of each part
K = 10


@dataclass(frozen=True, eq=False)
class BlendModel(FieldModel):
    """`components`: name -> parameters, of BLENDED. Their learned arrays stand in `state` under "name/array"."""

    name: ClassVar[str] = "blend"
    reads_derived: ClassVar[bool] = True
    needs_later: ClassVar[bool] = True
    components: Mapping[str, Mapping[str, Any]] = field(default_factory=COMPONENTS.copy)
    n_plain: int = -1  # columns before the derived ones, which not every component reads; set by fit
    _: KW_ONLY
    factors: np.ndarray = field(default_factory=unlearned)  # (n_components,) float32
    learned: Mapping[str, np.ndarray] = field(default_factory=dict)

    def fit(self, matrix: PatientMatrix) -> Self:
        """Cost: PARTS + 1 fits of each component. Raises TrainingError when one of them cannot be fitted."""
        if matrix.later is None:
            raise TrainingError("the blend learns from what began after a moment: the records tell no visits")
        matrix = in_canonical_order(matrix)  # so that the held-out patients do not follow from the export's order
        models = [BLENDED[name](**parameters) for name, parameters in self.components.items()]
        factors = _weighed(models, matrix)
        fitted = [model.fit(model.reads(matrix)) for model in models]
        return replace(
            self,
            components={model.name: model.parameters() for model in fitted},
            n_plain=matrix.index.n_plain,
            factors=factors,
            learned={f"{model.name}/{name}": array for model in fitted for name, array in model.state().items()},
        )

    def state(self) -> dict[str, np.ndarray]:
        return {"factors": self.factors, **self.learned}

    @classmethod
    def from_state(cls, parameters: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Self:
        learned = {name: array for name, array in state.items() if "/" in name}
        return cls(**parameters, factors=state["factors"], learned=learned)

    @cached_property
    def _fitted(self) -> tuple[Model, ...]:
        def arrays(of: str) -> dict[str, np.ndarray]:
            return {name.removeprefix(of): array for name, array in self.learned.items() if name.startswith(of)}

        return tuple(BLENDED[name].from_state(given, arrays(f"{name}/")) for name, given in self.components.items())

    def score(self, rows: sparse.csr_matrix) -> np.ndarray:
        plain = sparse.csr_matrix(rows[:, : self.n_plain])
        parts = [
            factor * model.score(rows if model.reads_derived else plain)
            for factor, model in zip(self.factors, self._fitted, strict=True)
            if factor
        ]
        return np.asarray(np.sum(parts, axis=0))

    def contributions(self, columns: np.ndarray, weights: np.ndarray, target: int) -> Contributions:
        plain, parts = columns < self.n_plain, dict.fromkeys(columns.tolist(), 0.0)
        for factor, model in zip(self.factors.astype(np.float64), self._fitted, strict=True):
            row = (columns, weights) if model.reads_derived else (columns[plain], weights[plain])
            if factor:
                for ix, value in zip(*(part.tolist() for part in model.contributions(*row, target)), strict=True):
                    parts[ix] = parts.get(ix, 0.0) + factor * value
        return as_contributions(np.array(list(parts)), np.array(list(parts.values())))


def _weighed(models: list[Model], matrix: PatientMatrix) -> np.ndarray:  # (n_models,) float32
    """The factor of each model; an equal say where too few patients leave nothing to hold out."""
    part = np.array([crc32(patient_id.encode()) % PARTS for patient_id in matrix.patient_ids])
    asked = np.diff(matrix.outcomes.indptr) > 0
    tested, scores = [], []
    for number in range(PARTS):
        test = np.flatnonzero((part == number) & asked)[:MOST_HELD_OUT]
        if not len(test) or not (asked & (part != number)).any():
            return np.full(len(models), 1 / len(models), dtype=np.float32)
        train = matrix.take(np.flatnonzero(part != number))
        held_out = matrix.take(test)
        tested.append(test)
        scores.append([model.fit(model.reads(train)).score(model.reads(held_out).rows) for model in models])
    judged = matrix.take(np.concatenate(tested))
    had, relevant = judged.had.toarray() > 0, judged.outcomes.toarray() > 0
    stacked = np.stack([np.concatenate(of_model) for of_model in zip(*scores, strict=True)])
    spread = stacked.std(axis=(1, 2), dtype=np.float64)
    spread[spread == 0] = 1.0
    stacked /= spread[:, None, None].astype(np.float32)
    stacked[:, had] = -np.inf
    votes, total = np.zeros(len(models)), np.zeros_like(stacked[0])
    for _ in range(ROUNDS):
        best = int(np.argmax([_ndcg(total + of_model, relevant) for of_model in stacked]))
        votes[best] += 1
        total += stacked[best]
    return (votes / ROUNDS / spread).astype(np.float32)


def _ndcg(scores: np.ndarray, relevant: np.ndarray) -> float:
    """Mean NDCG@K (Jarvelin & Kekalainen 2002) of scores and relevant bool, both (n, n_targets)."""
    k = min(K, scores.shape[1])
    first = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    first = np.take_along_axis(first, np.argsort(-np.take_along_axis(scores, first, axis=1), axis=1), axis=1)
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(relevant.sum(axis=1), k) - 1]
    return float((np.take_along_axis(relevant, first, axis=1) @ discount / ideal).mean())

"""Models and a matrix in, each one's figures on the same hidden treatments out, with paired 95% intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np

from recommender.evaluation.metrics import ndcg, recall
from recommender.evaluation.split import hide_half
from recommender.features import PatientMatrix
from recommender.models.base import Model
from recommender.ranking import top_n

K = 10
RESAMPLES = 2_000


@dataclass(frozen=True)
class Interval:
    """A mean over patients and its 95% bootstrap interval (2.5 and 97.5 percentiles of the resampled means)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Evaluation:
    """Mean figures of each model, and the paired difference in NDCG@K of the first model to each other one."""

    protocol: str
    seed: int
    patients: int
    skipped: int
    ndcg: dict[str, Interval]
    recall: dict[str, Interval]
    gain: dict[str, Interval]
    fit_seconds: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        return {"k": K, **asdict(self)}


def bootstrap(values: np.ndarray, seed: int) -> Interval:
    """values (n_patients,): resample patients with replacement. The same seed and length draw the same patients."""
    rng = np.random.default_rng(seed)
    n = len(values)
    # one resample at a time: memory stays at n, whatever the number of resamples
    means = [values[rng.integers(0, n, n)].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def evaluate(
    models: Sequence[Model], matrix: PatientMatrix, *, seed: int = 0, progress: Callable[[int], None] | None = None
) -> Evaluation:
    """Hide half of the treatments of a quarter of the patients, fit each model on the rest, find them again.

    `progress` is told 1 after each model. Raises TrainingError when nothing can be held out.
    """
    split = hide_half(matrix, seed=seed)
    per_patient: dict[str, np.ndarray] = {}
    recalls: dict[str, Interval] = {}
    seconds: dict[str, float] = {}
    for model in models:
        began = perf_counter()
        fitted = model.fit(split.train)
        seconds[model.name] = perf_counter() - began
        top = top_n(fitted, split.visible, K)
        per_patient[model.name] = ndcg(top, split.hidden, K)
        recalls[model.name] = bootstrap(recall(top, split.hidden, K), seed)
        if progress:
            progress(1)
    first = models[0].name
    return Evaluation(
        protocol="25% of patients held out, half of each one's treatments hidden, all other columns visible",
        seed=seed,
        patients=len(split.visible.patient_ids),
        skipped=split.skipped,
        ndcg={name: bootstrap(values, seed) for name, values in per_patient.items()},
        recall=recalls,
        gain={
            name: bootstrap(per_patient[first] - values, seed) for name, values in per_patient.items() if name != first
        },
        fit_seconds=seconds,
    )

"""A `RiskTable` in, what every risk model foresaw of examples that it was not fitted on out, and which to serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from recommender.evaluation.bootstrap import Interval
from recommender.evaluation.outcomes import MAIN, Foreseen
from recommender.evaluation.split import Fold
from recommender.gate import MIN_CELL
from recommender.risk.models import BoostedRisk, ConstantRisk, LogisticRisk, OneVariableRisk, RiskModel
from recommender.risk.table import Feature, RiskTable

BINS = 10  # of the distribution of a number


def foreseen(
    table: RiskTable,
    models: Sequence[RiskModel],
    folds: Sequence[Fold],
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Foreseen:
    """Fit every model on each fold's training examples and let it say the risk of the tested ones. Every example that
    is tested counts once. `progress` is told 1 after each model."""
    tested = np.concatenate([fold.test for fold in folds])
    fold_of = np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds])
    values, person, said = table.inputs.values, table.person.astype(str), {}
    for model in models:
        fitted = [model.fit(values[fold.train], table.outcome[fold.train], person[fold.train]) for fold in folds]
        parts = [one.probability(values[fold.test]) for one, fold in zip(fitted, folds, strict=True)]
        said[model.name] = np.concatenate(parts)
        if progress:
            progress(1)
    return Foreseen(table.outcome[tested], person[tested], fold_of, seed, said)


def tested(folds: Sequence[Fold]) -> np.ndarray:
    """Positions of the examples in the order of `foreseen`."""
    return np.concatenate([fold.test for fold in folds])


def all_models() -> list[RiskModel]:
    return [LogisticRisk(), BoostedRisk(), OneVariableRisk(), ConstantRisk()]


def chosen(found: Foreseen) -> tuple[type[RiskModel], str]:
    """Logistic regression, which can be read; the challenger only where it is better beyond chance. And why."""
    gain = found.gain(BoostedRisk.name, LogisticRisk.name)
    if gain.low > 0:
        return BoostedRisk, f"gradient boosting is ahead of logistic regression in AUC by {gain}"
    return LogisticRisk, f"gradient boosting is not ahead of logistic regression beyond chance: AUC by {gain}"


def quality_of(found: Foreseen, model: str, table: RiskTable, folds: Sequence[Fold]) -> dict[str, Any]:
    """As the gate compares it: AUC beside that of the one-variable baseline, by group; and all other figures."""
    by_group = found.by_group(table.groups.iloc[tested(folds)].reset_index(drop=True), model)
    told = by_group.dropna(subset="value").drop(columns=["best", "distinguishable"])
    return {
        "metric": "AUC",
        "protocol": f"{table.said}; {len(folds)} folds",
        "patients": len(np.unique(found.person)),
        "examples": len(found.outcome),
        "events": int(found.outcome.sum()),
        **asdict(found.summary(model)[MAIN]),
        "baseline": {"model": OneVariableRisk.name, **asdict(found.summary(OneVariableRisk.name)[MAIN])},
        "groups": plain(told),
        "models": {
            name: {metric: asdict(one) for metric, one in found.summary(name).items()}
            | {"ece": found.error(name), "gain": asdict(found.gain(model, name)) if name != model else None}
            for name in found.probability
        },
        "calibration": plain(found.calibration(model)),
    }


def plain(frame: Any) -> list[dict[str, Any]]:
    """A table as JSON has it: what is missing is null; rows that tell of fewer than MIN_CELL patients are left out."""
    if "patients" in frame:
        frame = frame[frame["patients"] >= MIN_CELL]
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [
        {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()} for row in rows
    ]


def inputs_of(table: RiskTable, edges: Mapping[str, Sequence[float]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """How many patients each input says what of, as the gate compares; and the edges of the bins of numbers: those
    given where they are, so that two versions count alike. Small counts are folded into ""."""
    counts, used = {}, {}
    for feature, values in zip(table.inputs.features, table.inputs.values.T, strict=True):
        known = values[~np.isnan(values)]
        found = {"not known": len(values) - len(known)}
        if feature.kind == "number":
            inner = list(edges.get(feature.name) or np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])))
            used[feature.name] = [float(edge) for edge in inner]
            bins = np.bincount(np.searchsorted(inner, known, side="right"), minlength=len(inner) + 1)
            found |= {f"bin {number}": int(count) for number, count in enumerate(bins)}
        else:
            found |= {"yes": int((known > 0).sum()), "no": int((known == 0).sum())}
        told = {name: count for name, count in found.items() if count >= MIN_CELL}
        others = len(values) - sum(told.values())
        counts[feature.name] = {**told, "": others if others >= MIN_CELL else 0}
    return counts, used


def paired_gain(
    table: RiskTable, folds: Sequence[Fold], found: Foreseen, model: str, other: RiskModel, known: Sequence[Feature]
) -> Interval:
    """By how much `model`, of `found`, beats `other` fitted on the same training examples, from those of the features
    `known` that the table has."""
    names = {feature.name for feature in known}
    places = [place for place, feature in enumerate(table.inputs.features) if feature.name in names]
    features = tuple(table.inputs.features[place] for place in places)
    inputs = replace(table.inputs, features=features, values=table.inputs.values[:, places])
    theirs = foreseen(replace(table, inputs=inputs), [other], folds, seed=found.seed).probability[other.name]
    both = {model: found.probability[model], "served": theirs}
    return replace(found, probability=both).gain(model, "served")

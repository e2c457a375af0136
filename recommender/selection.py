"""A `Trial` in, the best of all models and of their settings out, with the table of all that was tried.

Every model has the same budget: as many configurations (GRIDS), each fitted and judged on the same inner folds of the
training examples. The examples that the winner is afterwards judged by are never looked at here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from recommender.balance import BALANCED
from recommender.errors import InputError
from recommender.evaluation.bootstrap import Interval
from recommender.evaluation.compare import MAIN, evaluate
from recommender.evaluation.split import Fold, folds_of, one_of
from recommender.evaluation.trial import Trial
from recommender.models import MODELS
from recommender.models.base import Model
from recommender.models.directed import DirectedModel
from recommender.models.linear import LinearModel

INNER_FOLDS = 3
MOST_TESTED = 20_000  # examples; more would make the interval narrower than the time is worth
BUDGET = 6  # configurations of a model
DIGITS = 3  # to which figures are told: equal to the last of them is a tie
ENOUGH = 200  # tested examples from which on the directed model is the usual choice
FILE = "selected_model.json"
AUTO = "auto"


def _grid(**values: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """All combinations."""
    return tuple(dict(zip(values, chosen, strict=True)) for chosen in product(*values.values()))


# from simple and cheap to costly: of equals the first is taken
GRIDS: dict[str, tuple[dict[str, Any], ...]] = {
    "popularity": ({},),
    "recency": _grid(prior=(0.001, 0.01, 0.1, 0.3, 1.0, 3.0)),
    "repeat-last": _grid(earlier=(0.0, 0.1, 1.0), prior=(0.01, 0.1)),
    "conditional": _grid(shrink=(1.0, 10.0, 100.0, 300.0, 1_000.0, 3_000.0)),
    "linear": _grid(strength=(1.0, 4.0, 8.0, 16.0, 32.0, 64.0)),
    "ease": _grid(strength=(0.03, 0.1, 0.3, 1.0, 3.0, 8.0)),
    "directed": _grid(strength=(0.4, 0.7, 1.0), surplus=(0.1, 0.2)),
    "item-cosine": _grid(n_neighbors=(20, 100, 1_000), shrink=(1.0, 10.0)),
    "item-tfidf": _grid(n_neighbors=(20, 100, 1_000), shrink=(1.0, 10.0)),
    "item-bm25": _grid(n_neighbors=(20, 100, 1_000), shrink=(1.0, 10.0)),
    "patients": _grid(n_neighbors=(50, 200, 800), prior=(0.1, 1.0)),
    "item-user": _grid(n_neighbors=(50, 100, 200), n_items=(10, 50)),
    "als": _grid(factors=(16, 64), ridge=(10.0, 50.0, 200.0)),
    "bpr": _grid(factors=(16, 64), prior=(2.0, 8.0, 32.0)),
    "logistic-mf": _grid(factors=(8, 32), prior=(1.0, 3.0, 10.0)),
    "logistic": _grid(penalty=(3.0, 10.0, 30.0, 60.0, 100.0, 300.0)),
    "logistic-candidates": _grid(penalty=(3.0, 10.0, 30.0, 60.0, 100.0, 300.0)),
    "blend": ({},),  # it tunes itself, on patients held out of its own fit
}


@dataclass(frozen=True)
class Tried:
    """One configuration; ndcg: its mean over the validation examples, with its interval; seconds to fit, all folds."""

    model: str
    parameters: Mapping[str, Any]
    ndcg: Interval
    seconds: float


@dataclass(frozen=True)
class Selection:
    """`winner` is not fitted; `tried` is in the order of GRIDS. examples, patients: how many validated it."""

    winner: Model
    tried: tuple[Tried, ...]
    examples: int
    patients: int

    @property
    def best(self) -> dict[str, Tried]:
        """The best configuration of each model."""
        found: dict[str, Tried] = {}
        for one in self.tried:
            if one.model not in found or _points(one) > _points(found[one.model]):
                found[one.model] = one
        return found


def tunable(trial: Trial) -> list[str]:
    """The models that can learn from this trial."""
    return [name for name in GRIDS if trial.taught.later is not None or not MODELS[name].needs_later]


def select(
    trial: Trial,
    train: np.ndarray,
    names: Collection[str],
    *,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Selection:
    """Try every configuration of the models `names` on inner folds, by patient, of `train`: positions in the trial.

    `progress` is told 1 after each configuration. Raises TrainingError when nothing can be validated.
    """
    inner = folds_of(trial.person[train], INNER_FOLDS, seed)
    if len(train) > MOST_TESTED:
        inner = one_of(inner, MOST_TESTED, seed)
    folds = [Fold(train[fold.train], train[fold.test]) for fold in inner]
    tried: list[Tried] = []
    for name in (name for name in GRIDS if name in names):
        for parameters in GRIDS[name]:
            evaluation = evaluate([MODELS[name](**parameters)], trial, folds, seed=seed)
            seconds = evaluation.judged[name].fit_seconds
            tried.append(Tried(name, parameters, evaluation.summary(name)[MAIN], round(seconds, 3)))
            if progress:
                progress(1)
    best = max(tried, key=_points)
    winner = MODELS[best.model](**best.parameters)
    return Selection(winner, tuple(tried), len(evaluation.tested), len(np.unique(evaluation.person)))


def _points(tried: Tried) -> float:
    return round(tried.ndcg.value, DIGITS)


@dataclass(frozen=True)
class Choice:
    """The model of a night, not fitted; `balance`: by which groups its examples are weighted; why it was chosen."""

    model: Model
    balance: str
    why: str

    def as_dict(self) -> dict[str, Any]:
        """`model` is told so that two nights can be compared: by equality."""
        model = {"name": self.model.name, "parameters": self.model.parameters(), "balance": self.balance}
        return {"model": model, "why": self.why}


def usual_choice(trial: Trial | None) -> Choice:
    """Where nothing was selected: directed where enough visits are known, else linear."""
    examples = 0 if trial is None or trial.taught.later is None else int((np.diff(trial.relevant.indptr) > 0).sum())
    if examples >= ENOUGH:
        return Choice(
            DirectedModel(), "", f"nothing was selected by `rxrec fit`; {examples:,} visits tell what followed"
        )
    why = (
        f"nothing was selected by `rxrec fit`; {examples:,} visits tell what followed, {ENOUGH} are needed for directed"
    )
    return Choice(LinearModel(), "", why)


def save(file: Path, selection: Selection, balance: str, evidence: Mapping[str, Any]) -> None:
    """Write what was selected and why; figures only, nothing of a patient."""
    data = {
        "model": selection.winner.name,
        "parameters": selection.winner.parameters(),
        "balance": balance,
        **evidence,
        "validation": {
            "folds": INNER_FOLDS,
            "examples": selection.examples,
            "patients": selection.patients,
            "tried": [asdict(one) for one in selection.tried],
        },
    }
    file.write_text(json.dumps(data, indent=2))


def read_choice(file: Path) -> Choice:
    """What `save` wrote. Raises InputError when it cannot be used."""
    try:
        data = json.loads(file.read_text())
        model, balance = MODELS[data["model"]](**data["parameters"]), data["balance"]
        if balance not in ("", *BALANCED):
            raise ValueError(balance)
        return Choice(model, balance, f"selected by `rxrec fit` on {data['created']}")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "names no model of this version: run `rxrec fit` again or remove it", file=file.name
        ) from error

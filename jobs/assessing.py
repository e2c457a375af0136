"""Records in, the model of a night out: what is to be published, how good it is, and how it compares."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recommender.balance import balanced
from recommender.blocks import Blocks
from recommender.errors import TrainingError
from recommender.evaluation.bootstrap import Interval
from recommender.evaluation.calibrate import calibrate
from recommender.evaluation.compare import Evaluation, evaluate
from recommender.evaluation.split import folds_of, one_of
from recommender.evaluation.trial import Trial, make_trial, usual_protocol
from recommender.feedback import OFF, FeedbackUse, learned
from recommender.gate import MIN_CELL, paired_gain, quality_of
from recommender.models import MODELS
from recommender.models.popularity import PopularityModel
from recommender.moments import HORIZON
from recommender.records import Records
from recommender.sealing import Place
from recommender.selection import AUTO, FILE, MOST_TESTED, Choice, read_choice, usual_choice
from recommender.snapshot import Release

ENOUGH_PATIENTS = 100  # tested; a share among fewer says too little to be shown


@dataclass(frozen=True)
class Night:
    """What model is to be published, how good it is, how often what it lists comes true, and by how much it beats the
    served configuration; None where that was not measured."""

    choice: Choice
    quality: dict[str, Any]
    chances: dict[str, Any] | None = None
    gain: Interval | None = None


def assess(
    records: Records,
    kinds: Collection[str],
    name: str,
    workdir: Path,
    served: Release | None,
    use: FeedbackUse,
    progress: Callable[[int], None],
    blocks: Blocks,
) -> Night:
    """Where the quality cannot be measured, it is told in words why."""
    try:
        trial = make_trial(records, usual_protocol(records), kinds, blocks=blocks)
    except TrainingError as error:
        return not_assessed(name, workdir, error)
    return judged(trial, records, name, workdir, served, use, progress)


def not_assessed(name: str, workdir: Path, why: TrainingError) -> Night:
    return Night(_choice(name, workdir, None), {"not_assessed": str(why)})


def judged(
    trial: Trial,
    records: Records,
    name: str,
    workdir: Path,
    served: Release | None,
    use: FeedbackUse,
    progress: Callable[[int], None],
) -> Night:
    """As `assess`, by a trial. Of the records, only the people of the trial are looked at."""
    choice = _choice(name, workdir, trial)
    models = {model.name: model for model in (choice.model, PopularityModel())}
    try:
        folds = one_of(folds_of(trial.person), MOST_TESTED)
        weighted = _weighted(trial, records, choice.balance, use)
        evaluation = evaluate(list(models.values()), weighted, folds, progress=progress)
    except TrainingError as error:
        return Night(choice, {"not_assessed": str(error)})
    quality = quality_of(evaluation, choice.model.name, PopularityModel.name, records)
    chances = _chances(evaluation, choice.model.name)
    if served is None:
        return Night(choice, quality, chances)
    chosen, used = served.manifest.get("chosen", {}).get("model", {}), served.manifest.get("feedback", {})
    if chosen == choice.as_dict()["model"] and used.get("used", OFF) == use.how:
        return Night(choice, quality, chances)
    try:
        as_served = _weighted(trial, records, chosen.get("balance", ""), replace(use, how=used.get("used", OFF)))
        gain = paired_gain(evaluation, choice.model.name, served.model, as_served, folds)
        return Night(choice, quality, chances, gain)
    except TrainingError:  # the served model needs visits, say, and these records tell none: what fell will be told
        return Night(choice, quality, chances)


def _chances(evaluation: Evaluation, model: str) -> dict[str, Any] | None:
    """What an answer needs to say how often such a suggestion came true; only what follows a moment comes true."""
    if evaluation.trial.protocol != "started" or len(np.unique(evaluation.person)) < ENOUGH_PATIENTS:
        return None
    found = calibrate(evaluation, model)
    ece = found.methods.set_index("method").loc[found.method, "ece"]
    told = found.reliability[found.reliability["patients"] >= MIN_CELL]
    return {
        "depth": found.depth,
        "days": HORIZON // 86_400,
        "method": found.method,
        "ece": float(ece),
        "curve": found.calibration.as_dict(),
        "reliability": told[["predicted", "value", "low", "high", "pairs"]].astype(float).to_dict("records"),
    }


def _choice(name: str, workdir: Path, trial: Trial | None) -> Choice:
    if name != AUTO:
        return Choice(MODELS[name](), "", f"--model {name}")
    return read_choice(workdir / FILE) if (workdir / FILE).exists() else usual_choice(trial)


def _weighted(trial: Trial, records: Records, balance: str, use: FeedbackUse) -> Trial:
    """What may be learned from, by the settings; what is judged, what was truly begun, stays as it is."""
    taught = balanced(trial.taught, records, balance, trial.person, trial.when)
    return replace(trial, taught=learned(taught, trial.when, trial.until, use))


def save_night(night: Night, place: Place) -> None:
    model = night.choice.model
    chosen = {"name": model.name, "parameters": model.parameters(), "balance": night.choice.balance}
    told = {"chosen": {**chosen, "why": night.choice.why}, "quality": night.quality, "chances": night.chances}
    told["gain"] = None if night.gain is None else asdict(night.gain)
    place.write("night.json", json.dumps(told).encode())


def load_night(place: Place) -> Night:
    told = json.loads(place.read("night.json"))
    chosen = told["chosen"]
    choice = Choice(MODELS[chosen["name"]](**chosen["parameters"]), chosen["balance"], chosen["why"])
    return Night(choice, told["quality"], told["chances"], told["gain"] and Interval(**told["gain"]))

"""`rxrec fit`: an export in, the model and settings that foresee best out, chosen without a look at test patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import click
import numpy as np

from jobs.console import Console
from jobs.kinds import kinds_option
from jobs.source import Source, source_options
from recommender.balance import BALANCED, balanced
from recommender.evaluation.bootstrap import Interval
from recommender.evaluation.compare import MAIN, K, evaluate
from recommender.evaluation.split import Fold, folds_of, one_of
from recommender.evaluation.trial import Trial, make_trial, usual_protocol
from recommender.gate import quality_of
from recommender.models import SERVABLE
from recommender.models.base import Model
from recommender.models.popularity import PopularityModel
from recommender.records import THERAPIES, Records
from recommender.selection import AUTO, FILE, GRIDS, MOST_TESTED, Selection, save, select, tunable


@click.command()
@source_options
@click.option(
    "--model",
    "name",
    type=click.Choice([AUTO, *SERVABLE]),
    default=AUTO,
    show_default=True,
    help="All, or one to tune.",
)
@click.option(
    "--balance", type=click.Choice(BALANCED), help="Small groups of these count for more (docs/evaluation.md)."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws patients.")
@kinds_option("default: drug, procedure and care_plan")
@click.pass_obj
def fit(console: Console, source: Source, name: str, balance: str | None, seed: int, kinds: tuple[str, ...]) -> None:
    """Choose a model and its settings for `rxrec nightly`.

    Every model gets the same number of configurations, judged on validation patients. The best is then judged once, on
    test patients that no choice has seen, and written to selected_model.json in the working directory.
    """
    records = source.read(console)
    trial = make_trial(records, usual_protocol(records), kinds or THERAPIES, seed=seed)
    weighted = replace(trial, taught=balanced(trial.taught, records, balance or "", trial.person, trial.when))
    folds = one_of(folds_of(trial.person, seed=seed), MOST_TESTED, seed)
    names = tunable(trial) if name == AUTO else [name]
    with console.progress("tune", sum(len(GRIDS[one]) for one in names), "configurations") as progress:
        selection = select(weighted, folds[0].train, names, seed=seed, progress=progress)
    test = _judged(selection.winner, weighted, folds, records, seed)
    evidence = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {
            "source": source.format,
            "as_of": records.as_of.isoformat(),
            "patients": records.n_patients,
            "examples": len(trial),
            "first_moment": str(np.datetime64(int(trial.when.min()), "s")),
            "last_moment": str(np.datetime64(int(trial.when.max()), "s")),
        },
        "test": test,
    }
    if balance:
        evidence["test_without_balance"] = _judged(selection.winner, trial, folds, records, seed)
    console.settings.workdir.mkdir(parents=True, exist_ok=True)
    file = console.settings.workdir / FILE
    save(file, selection, balance or "", evidence)
    summary = {
        "file": str(file),
        "model": selection.winner.name,
        "parameters": selection.winner.parameters(),
        **evidence,
    }
    console.result(summary, _in_words(selection, evidence, str(file)))


def _judged(model: Model, trial: Trial, folds: list[Fold], records: Records, seed: int) -> dict[str, Any]:
    """The test patients' figures, of the whole and of each group, and the paired gain over popularity."""
    models = {one.name: one for one in (model, PopularityModel())}
    evaluation = evaluate(list(models.values()), trial, folds, seed=seed)
    gain = evaluation.gain(model.name, PopularityModel.name)
    return {**quality_of(evaluation, model.name, PopularityModel.name, records), "gain": asdict(gain)}


def _in_words(selection: Selection, evidence: Mapping[str, Any], file: str) -> str:
    best = selection.best
    width = max(map(len, best)) + 2
    lines = [f"best configuration of each model on {selection.patients:,} validation patients, {MAIN.upper()}@{K}:"]
    lines += [
        f"{one.model:<{width}}{one.ndcg!s:<26}{one.seconds:>7.1f} s  "
        + ", ".join(f"{name} {value:g}" for name, value in one.parameters.items())
        for one in sorted(best.values(), key=lambda one: -one.ndcg.value)
    ]
    for label, said in (("test", "test patients"), ("test_without_balance", "the same without --balance")):
        if label in evidence:
            judged = evidence[label]
            lines.append(f"{selection.winner.name} on {judged['patients']:,} {said}: {_interval(judged)}, ")
            lines[-1] += f"popularity {_interval(judged['baseline'])}; paired {_interval(judged['gain'])}"
            gaps = [one for one in judged["groups"] if one["gap"] is not None]
            if gaps:
                one = max(gaps, key=lambda one: one["gap"])
                lines.append(
                    f"  largest gap: {one['attribute']} {one['group']}, {one['gap']:.3f} "
                    f"({one['gap_low']:.3f} to {one['gap_high']:.3f}) behind the best group"
                )
    return "\n".join([*lines, f"written to {file}: `rxrec nightly` will use it"])


def _interval(told: Mapping[str, float]) -> str:
    return str(Interval(told["value"], told["low"], told["high"]))

"""`rxrec evaluate`: an export in, the models' figures on the same held-out examples out, side by side."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click
import numpy as np

from jobs.console import Console
from jobs.evaluation_report import write_report
from jobs.kinds import kinds_option
from jobs.source import Source, source_options
from recommender.evaluation.compare import MAIN, Evaluation, K
from recommender.evaluation.compare import evaluate as run_evaluation
from recommender.evaluation.split import FOLDS, Fold, after, folds_of
from recommender.evaluation.trial import PROTOCOLS, Trial, make_trial, usual_protocol
from recommender.models import MODELS
from recommender.records import THERAPIES
from recommender.safety.screen import Screen
from recommender.sequence import with_visits

SHOWN = (MAIN, "recall", "capped_recall", "pr_auc", "jaccard")


@click.command()
@source_options
@click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    help="What is asked (docs/evaluation.md). [default: started, or hidden-half where no visits are known]",
)
@click.option(
    "--by",
    type=click.Choice(["patient", "hospital", "calendar"]),
    default="patient",
    show_default=True,
    help="Who is learned from and who is judged: other patients, other hospitals, or earlier days.",
)
@click.option("--folds", type=click.IntRange(min=2), default=FOLDS, show_default=True, help="By patient or hospital.")
@click.option("--cutoff", type=click.DateTime(["%Y-%m-%d"]), help="By calendar: the first day that is judged.")
@click.option("--model", "names", multiple=True, type=click.Choice(list(MODELS)), help="One of them. [default: all]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws patients and treatments.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for evaluation.html, evaluation.json and the tables, below the working directory. [default: none]",
)
@kinds_option("default: drug, procedure and care_plan")
@click.pass_obj
def evaluate(
    console: Console,
    source: Source,
    protocol: str | None,
    by: str,
    folds: int,
    cutoff: datetime | None,
    names: tuple[str, ...],
    seed: int,
    report: Path | None,
    kinds: tuple[str, ...],
) -> None:
    """Judge models on what they were not shown.

    Every model is fitted on the same examples and judged by the same others. Intervals are 95%, by bootstrap over
    patients; differences are paired.
    """
    if (by == "calendar") != (cutoff is not None):
        raise click.UsageError("--by calendar and --cutoff go together")
    records = source.read(console)
    trial = make_trial(records, protocol or usual_protocol(records), kinds or THERAPIES, seed=seed)
    asked = [MODELS[name]() for name in names or MODELS if names or MODELS[name].is_available()]
    if any(model.reads_visits for model in asked) and trial.taught.later is not None:
        matrix = with_visits(records, trial.moments, trial.taught)
        trial = replace(trial, taught=matrix, asked=matrix)
    models = [model for model in asked if trial.taught.later is not None or not model.needs_later]
    with console.progress("evaluate", len(models), "models") as progress:
        split = _folds(trial, by, folds, cutoff, seed)
        evaluation = run_evaluation(models, trial, split, seed=seed, progress=progress)
    text = as_table(evaluation)
    if report:
        os.umask(0o077)  # it tells much of a hospital: readable by its owner only
        screen = Screen.load(console.settings.rules, source.vocabulary_folder)
        told = {"source": source.format, "by": by, "cutoff": cutoff and f"{cutoff:%Y-%m-%d}"}
        text += f"\nreport: {write_report(console.settings.workdir / report, evaluation, records, told, screen)}"
    console.result({**evaluation.as_dict(), "by": by}, text)


def _folds(trial: Trial, by: str, folds: int, cutoff: datetime | None, seed: int) -> list[Fold]:
    if cutoff is not None:
        return after(trial.when, trial.until, int(np.datetime64(cutoff, "s").astype(np.int64)))
    return folds_of(trial.person if by == "patient" else trial.site, folds, seed)


def as_table(evaluation: Evaluation) -> str:
    """A few aligned lines for a terminal."""
    names = list(evaluation.judged)
    width = max(map(len, names)) + 2
    lines = [
        evaluation.trial.said,
        f"{len(evaluation.tested):,} lists of {len(np.unique(evaluation.person)):,} patients tested, k = {K}; mean and "
        "95% interval over patients",
        "model".ljust(width) + "".join(metric.ljust(26) for metric in SHOWN) + "fit, s",
    ]
    for name in names:
        summary = evaluation.summary(name)
        cells = "".join(str(summary[metric]).ljust(26) for metric in SHOWN)
        lines.append(name.ljust(width) + cells + f"{evaluation.judged[name].fit_seconds:.2f}")
    lines += [f"{names[0]} - {other}: {evaluation.gain(names[0], other)} in {MAIN}, paired" for other in names[1:]]
    return "\n".join(lines)

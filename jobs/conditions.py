"""`rxrec conditions`: an export in, how well hidden conditions are found again, and a reviewer for the page, out."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import click
import numpy as np

from data.synthetic import is_sample
from jobs.console import Console
from jobs.evaluate import as_table
from jobs.gating import heed
from jobs.source import Source, source_options
from recommender.errors import EngineError, NothingPublished
from recommender.evaluation.compare import Evaluation
from recommender.evaluation.compare import evaluate as run_evaluation
from recommender.evaluation.metrics import best_threshold
from recommender.evaluation.split import folds_of, one_of
from recommender.features import build_matrix
from recommender.gate import compared, inputs_of, quality_of
from recommender.matrix import PatientMatrix
from recommender.models.popularity import PopularityModel
from recommender.models.simple import ConditionalModel
from recommender.pipeline import counts
from recommender.records import Records
from recommender.review.columns import patterns, review_matrix
from recommender.review.reviewer import NAME, ReviewFiles, Served, usual_model
from recommender.review.trial import hidden_conditions
from recommender.safety.charts import read_charts
from recommender.safety.screen import Screen
from recommender.selection import MOST_TESTED


@click.group()
def conditions() -> None:
    """Conditions that a record suggests and its problem list lacks: to review, never a diagnosis."""


@conditions.command()
@source_options
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws patients and conditions.")
@click.pass_obj
def evaluate(console: Console, source: Source, seed: int) -> None:
    """Hide half of each patient's conditions and judge how well they are found again, beside popularity."""
    _, _, evaluation = _judged(console, source, seed)
    console.result(evaluation.as_dict(), as_table(evaluation))


@conditions.command()
@source_options
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws patients and conditions.")
@click.option(
    "--gate",
    type=click.Choice(["on", "warn", "off"]),
    default="on",
    show_default=True,
    help="on: what is worse than the version in service is not served; warn: say so and serve; off: do not compare.",
)
@click.pass_obj
def train(console: Console, source: Source, seed: int, gate: str) -> None:
    """Judge, fit to everybody, compare with the version in service, and serve it.

    The pages show what it suggests only with RXREC_REVIEW_CONDITIONS=yes.
    """
    os.umask(0o077)
    store = ReviewFiles(console.settings.workdir)
    served, why_alone = (None, "--gate off") if gate == "off" else _served(store)
    records, matrix, evaluation = _judged(console, source, seed)
    name = usual_model().name
    told: dict[str, Any] = {
        "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "source": source.format,
        "as_of": records.as_of.isoformat(),
        "synthetic": is_sample(source.path),
        "counts": counts(records),
        "quality": quality_of(evaluation, name, PopularityModel.name, records),
        "inputs": inputs_of(records),
    }
    verdict = compared(told, served, None, why_alone)
    threshold = best_threshold(evaluation.judged[name].scores, evaluation.given)
    manifest = store.save(matrix, threshold, {**told, "gate": verdict.as_dict()})
    version, folder = manifest["version"], store.files.path(NAME, manifest["version"])
    heed(console, verdict, gate, folder)
    store.files.activate(NAME, version)
    summary = {key: value for key, value in manifest.items() if key not in ("columns", "inputs")}
    shown = "shows it" if console.settings.review_conditions else "would show it with RXREC_REVIEW_CONDITIONS=yes"
    console.result(
        {**summary, "folder": str(folder)},
        f"{as_table(evaluation)}\nversion {version} is in service, compared with {verdict.served}; the patient's page "
        f"{shown}",
    )


def _judged(console: Console, source: Source, seed: int) -> tuple[Records, PatientMatrix, Evaluation]:
    screen = Screen.load(console.settings.rules, source.vocabulary_folder)
    records = source.read(console)
    known = patterns({measure.id: measure.codes for measure in screen.rules.measures.values()})
    charts = read_charts(records, screen.observed)
    matrix = review_matrix(build_matrix(records), charts, screen.conditions, known)
    trial = hidden_conditions(matrix, records, screen.conditions, seed)
    folds = folds_of(trial.person, seed=seed)
    if len(np.unique(trial.person)) > MOST_TESTED:
        folds = one_of(folds, MOST_TESTED, seed)
    models = [usual_model(), ConditionalModel(), PopularityModel()]
    with console.progress("evaluate", len(models), "models") as progress:
        return records, matrix, run_evaluation(models, trial, folds, seed=seed, progress=progress)


def _served(store: ReviewFiles) -> tuple[Served | None, str]:
    try:
        return Served.of(store.files), ""
    except NothingPublished:
        return None, "this is the first version"
    except EngineError:  # to refuse would leave what cannot be read in service
        return None, "the version in service cannot be read"

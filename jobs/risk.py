"""`rxrec risk`: a table or an export in, a risk model with its card, or everybody's risk by it, out."""

from __future__ import annotations

import csv
import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np

from data.synthetic import is_sample
from jobs.console import Console
from jobs.gating import heed
from jobs.source import AUTO, Source, source_options
from recommender.access.secret import FILE as SECRET
from recommender.access.secret import SiteSecret
from recommender.errors import EngineError, InputError, NothingPublished
from recommender.evaluation.breakdown import MIN_PATIENTS
from recommender.evaluation.outcomes import MIN_EVENTS, Foreseen
from recommender.evaluation.split import Fold, folds_of, one_of
from recommender.forgotten import Forgotten
from recommender.gate import compared
from recommender.reports.risk_card import in_words, write_risk_card
from recommender.risk import judge
from recommender.risk.csv_table import is_table, learn_csv, read_csv
from recommender.risk.models import LogisticRisk, RiskModel
from recommender.risk.odds import odds_ratios
from recommender.risk.records_table import learn_records, outcome_of, read_records
from recommender.risk.registry import Registry, RiskRelease
from recommender.risk.scores import FILE as SCORES
from recommender.risk.scores import save_scores
from recommender.risk.table import Inputs, Outcome, RiskTable
from recommender.selection import MOST_TESTED

PLAIN = "table"
METRICS = ("auc", "pr_auc", "brier", "accuracy")


@dataclass(frozen=True)
class Asked:
    """The options that say what is learned from."""

    source: Source
    outcome: str
    horizon_days: int | None
    called: str
    id_column: str
    groups: tuple[str, ...]
    without: tuple[str, ...]

    def table(self, console: Console) -> RiskTable:
        """Without the people who were to be forgotten. Raises InputError, TrainingError."""
        if self.source.format == PLAIN:
            called = self.called or self.outcome.replace("_", " ")
            asked = Outcome(called, self.outcome, self.horizon_days)
            path = Path(self.source.path)
            table = learn_csv(path, asked, id_column=self.id_column, groups=self.groups, without=self.without)
            table = table.take(np.flatnonzero(~_forgotten(console).marked().named(table.person)))
        else:
            if self.id_column or self.groups or self.without:
                raise click.UsageError("--id, --group and --without are for a table of one row a person")
            records = self.source.read(console)
            table = learn_records(records, outcome_of(records, self.outcome, self.horizon_days, self.called))
        for note in table.notes:
            console.say(f"  {note}")
        return table.learnable()


def _forgotten(console: Console) -> Forgotten:
    settings = console.settings
    return Forgotten(settings.workdir, settings.workdir / (settings.secret or SECRET))


def _table_or_source(command: Callable[..., Any]) -> Callable[..., Any]:
    """`source_options`, and one CSV or Parquet file as a source of its own."""
    from_source = source_options(command)

    @functools.wraps(from_source)
    def chosen(*, form: str, path: str, **others: Any) -> Any:
        if form != AUTO or not is_table(path):
            return from_source(form=form, path=path, **others)
        for name in ("columns", "vocabulary", "drug_map"):
            others.pop(name)
        return command(source=Source(PLAIN, path, None, "none", "", None), **others)

    return chosen


def _learning(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `Asked`, which the command is given as `asked`."""

    @_table_or_source
    @click.option(
        "--outcome", required=True, help="A column of the table; or a condition's code or a group of conditions."
    )
    @click.option(
        "--horizon-days",
        type=click.IntRange(min=1),
        help="Within how many days it begins. Without it no risk is told for any time.",
    )
    @click.option("--called", default="", help="What the outcome is called. [default: its own name]")
    @click.option("--id", "id_column", default="", help="The column that says whose a row is. [default: patient_id]")
    @click.option("--group", "groups", multiple=True, help="A column to measure fairness by; never an input.")
    @click.option("--without", multiple=True, help="A column that is not used.")
    @click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws patients.")
    @click.pass_obj
    @functools.wraps(command)
    def learned(console: Console, seed: int, **options: Any) -> Any:
        asked = Asked(**{field.name: options.pop(field.name) for field in fields(Asked)})
        return command(console, asked=asked, seed=seed, **options)

    return learned


@click.group()
def risk() -> None:
    """How likely a condition is, or will be: learn it, judge it, tell it.

    From a table such as age,gender,bmi,cholesterol,blood_pressure,diabetes,heart_disease, or from an export.
    """


@risk.command()
@_learning
def evaluate(console: Console, asked: Asked, seed: int) -> None:
    """Judge the risk models on patients that they were not fitted on, beside a constant and the best one variable."""
    table = asked.table(console)
    folds, found = _judged(console, table, seed)
    kind, why = judge.chosen(found)
    quality = judge.quality_of(found, kind.name, table, folds)
    console.result({"outcome": table.asked.as_dict(), "why": why, **quality}, _as_table(table, found, why))


@risk.command()
@_learning
@click.option("--name", default="", help="What the risk is filed as. [default: from the outcome]")
@click.option(
    "--model",
    type=click.Choice([AUTO, "logistic", "boosted"]),
    default=AUTO,
    show_default=True,
    help="auto: logistic regression, unless boosting is better beyond chance.",
)
@click.option(
    "--gate",
    type=click.Choice(["on", "warn", "off"]),
    default="on",
    show_default=True,
    help="on: what is worse than the version in service is not served; warn: say so and serve; off: do not compare.",
)
def train(console: Console, asked: Asked, seed: int, name: str, model: str, gate: str) -> None:
    """Judge, fit to everybody, compare with the version in service, write the card, and serve it."""
    os.umask(0o077)
    registry = Registry(console.settings.workdir)
    name = name or re.sub(r"[^a-z0-9]+", "-", asked.outcome.lower()).strip("-")
    registry.path(name, "v")  # a name that cannot be used is told before the work
    served, why_alone = (None, "--gate off") if gate == "off" else _served(registry, name)
    table = asked.table(console)
    folds, found = _judged(console, table, seed)
    kind, why = judge.chosen(found)
    if model != AUTO:
        kind, why = next(type(one) for one in judge.all_models() if one.name == model), f"--model {model}"
    console.say("fit ...")
    fitted = kind().fit(table.inputs.values, table.outcome, table.person.astype(str))
    told = _told(asked, table, fitted, why, judge.quality_of(found, kind.name, table, folds), served)
    gain = None
    if served is not None and _configuration(served) != (kind.name, fitted.parameters(), _sources(table.inputs)):
        gain = judge.paired_gain(table, folds, found, kind.name, served.model, served.features)
    verdict = compared(told, served, gain, why_alone)
    release = registry.save(name, table.asked, table.inputs.features, fitted, {**told, "gate": verdict.as_dict()})
    folder = registry.path(name, release.version)
    write_risk_card(folder, release)
    heed(console, verdict, gate, folder)
    registry.activate(release)
    summary = {"name": name, "version": release.version, "folder": str(folder), **release.manifest}
    console.result(
        summary,
        f"{_as_table(table, found, why)}\n{in_words(table.asked)}: version {release.version} is in service, compared "
        f"with {verdict.served}\ncard: {folder}/card.html; `rxrec risk score --name {name}` tells everybody's",
    )


@risk.command()
@_table_or_source
@click.option("--name", required=True, help="The risk, as `rxrec risk train` filed it.")
@click.option("--id", "id_column", default="", help="The column that says whose a row is. [default: patient_id]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Also a CSV of patient_id and risk.")
@click.pass_obj
def score(console: Console, source: Source, name: str, id_column: str, out: Path | None) -> None:
    """Tell everybody's risk by the version in service; the patient's page shows it from then on.

    Who has the condition already is told none. Nothing is shown of a person whom the last run did not hold.
    """
    os.umask(0o077)
    settings = console.settings
    registry = Registry(settings.workdir)
    release = registry.current(name)
    of_table = not any(feature.source == "sex:F" for feature in release.features)
    if (source.format == PLAIN) != of_table:
        learned = "a table" if of_table else "an export"
        raise InputError(f"the risk {name!r} was learned from {learned}, and this is none", file=Path(source.path).name)
    if source.format == PLAIN:
        inputs = read_csv(Path(source.path), release.features, id_column=id_column)
        inputs = inputs.take(np.flatnonzero(~_forgotten(console).marked().named(inputs.ids)))
        has, as_of = np.zeros(len(inputs.ids), dtype=bool), f"{datetime.now(UTC):%Y-%m-%d}"
    else:
        records = source.read(console)
        inputs, has = read_records(records, release.features, release.asked)
        as_of = f"{records.as_of:%Y-%m-%d}"
    secret = SiteSecret.load(settings.workdir / (settings.secret or SECRET))
    save_scores(registry.path(name, SCORES), release, inputs, has, as_of, secret)
    probability = release.model.probability(inputs.values)
    if out:
        _write_csv(out, inputs, np.where(has, np.nan, probability))
    mean = float(probability[~has].mean()) if (~has).any() else None
    told = {"name": name, "version": release.version, "told": int((~has).sum()), "have_it": int(has.sum())}
    said = f"{in_words(release.asked)}: {told['told']:,} patients told" + (f", {mean:.1%} on average" if mean else "")
    console.result({**told, "mean": mean}, f"{said}; {told['have_it']:,} have it already")


def _write_csv(file: Path, inputs: Inputs, probability: np.ndarray) -> None:
    try:
        with file.open("w", newline="", encoding="utf-8") as out:
            written = csv.writer(out)
            written.writerow(["patient_id", "risk"])
            for patient_id, one in zip(inputs.ids.tolist(), probability.tolist(), strict=True):
                written.writerow([patient_id, "" if np.isnan(one) else f"{one:.6f}"])
    except OSError as error:
        raise EngineError(f"{file} cannot be written: {error.strerror}") from error


def _served(registry: Registry, name: str) -> tuple[RiskRelease | None, str]:
    try:
        return registry.current(name), ""
    except NothingPublished:
        return None, "this is the first version"
    except EngineError:  # to refuse would leave what cannot be read in service
        return None, "the version in service cannot be read"


def _judged(console: Console, table: RiskTable, seed: int) -> tuple[list[Fold], Foreseen]:
    folds = folds_of(table.person.astype(str), seed=seed)
    if len(table) > MOST_TESTED:
        folds = one_of(folds, MOST_TESTED, seed)
    models = judge.all_models()
    with console.progress("evaluate", len(models), "models") as progress:
        return folds, judge.foreseen(table, models, folds, seed=seed, progress=progress)


def _told(
    asked: Asked, table: RiskTable, fitted: RiskModel, why: str, quality: dict[str, Any], served: RiskRelease | None
) -> dict[str, Any]:
    counts, edges = judge.inputs_of(table, served.manifest.get("edges", {}) if served else {})
    odds = judge.plain(odds_ratios(fitted, table)) if isinstance(fitted, LogisticRisk) else []
    return {
        "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "source": asked.source.format,
        "as_of": "" if table.as_of is None else f"{table.as_of:%Y-%m-%d}",
        "synthetic": is_sample(asked.source.path),
        "said": table.said,
        "why": why,
        "notes": list(table.notes),
        "counts": {"patients": quality["patients"]},
        "fewest": {"patients": MIN_PATIENTS, "events": MIN_EVENTS},
        "quality": quality,
        "odds": odds,
        "inputs": counts,
        "edges": edges,
    }


def _configuration(served: RiskRelease) -> tuple[str, dict[str, Any], list[str]]:
    return served.model.name, served.model.parameters(), [feature.source for feature in served.features]


def _sources(inputs: Inputs) -> list[str]:
    return [feature.source for feature in inputs.features]


def _as_table(table: RiskTable, found: Foreseen, why: str) -> str:
    """A few aligned lines for a terminal."""
    lines = [
        f"{table.said}: {len(found.outcome):,} examples of {len(np.unique(found.person)):,} patients tested, "
        f"{int(found.outcome.sum()):,} with the outcome; {len(table.inputs.features)} inputs",
        "model".ljust(14) + "".join(name.ljust(26) for name in METRICS) + "calibration error",
    ]
    for name in found.probability:
        summary = found.summary(name)
        cells = "".join(str(summary[metric]).ljust(26) for metric in METRICS)
        lines.append(name.ljust(14) + cells + f"{found.error(name):.3f}")
    return "\n".join([*lines, why])

"""An `Evaluation` in, a folder of tables and a page for people out; counts of few patients are left out of both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape

from recommender.evaluation import breakdown
from recommender.evaluation.calibrate import calibrate
from recommender.evaluation.compare import MAIN, Evaluation, K
from recommender.evaluation.safety import TOLD, safety_table
from recommender.records import Records
from recommender.safety.screen import Screen

FEW = 11  # a number of patients below this could point at one
DRAWN = 4  # models in the chart of list lengths; the table has them all
TOPS = (0.04, 0.08, 0.12, 0.2, 0.28, 0.4, 0.6, 0.8, 1.0)  # of an axis: its quarters are whole percents
COUNTS = ["patients", "examples", "pairs", "relevant", "found"]
FIGURES = ["value", "low", "high", "predicted"]


def write_report(
    folder: Path, evaluation: Evaluation, records: Records, told: Mapping[str, Any], screen: Screen
) -> Path:
    """evaluation.json, evaluation.html, a CSV of each table, and figures.parquet with every example's own figures.

    The first model is the one that groups of patients and probabilities are told of. `told`:
    what else is known of this evaluation (source, split), for the JSON and the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(evaluation.judged))
    groups = breakdown.by_group(evaluation, breakdown.groups(evaluation, records), first)
    calibrated = calibrate(evaluation, first)
    tables = {
        "by_length": breakdown.by_length(evaluation),
        "by_rarity": without_few(breakdown.by_rarity(evaluation)),
        "by_repeat": without_few(breakdown.by_repeat(evaluation)) if evaluation.trial.repeats else pd.DataFrame(),
        "by_group": without_few_groups(groups),
        "largest_gaps": breakdown.largest_gaps(groups),
        "reliability": without_few(calibrated.reliability),
        "reliability_by_rarity": without_few(calibrated.by_rarity),
        "calibration_methods": calibrated.methods,
        "safety": safety_without_few(safety_table(evaluation, first, records, screen), len(evaluation.tested)),
    }
    for name, table in tables.items():
        if len(table):
            table.to_csv(folder / f"{name}.csv", index=False)
    per_example(evaluation).to_parquet(folder / "figures.parquet", index=False)
    report = {
        **told,
        **evaluation.as_dict(),
        "first": first,
        "rules": {"version": screen.rules.version, "reviewed": screen.rules.reviewed[1].isoformat()},
        **{name: _rows(table) for name, table in tables.items()},
        "calibration": {
            "method": calibrated.method,
            "depth": calibrated.depth,
            "curve": calibrated.calibration.as_dict(),
        },
    }
    (folder / "evaluation.json").write_text(json.dumps(report, indent=2, allow_nan=False), encoding="utf-8")
    page = folder / "evaluation.html"
    page.write_text(_page(report), encoding="utf-8")
    return page


def per_example(evaluation: Evaluation) -> pd.DataFrame:
    """example, person, model, metric, value: who is a number of this file's own."""
    _, person = np.unique(evaluation.person, return_inverse=True)
    example = pd.DataFrame({"example": np.arange(len(person)), "person": person})
    parts = [
        pd.concat([example, judged.figures], axis=1)
        .melt(["example", "person"], var_name="metric")
        .assign(model=model)[["example", "person", "model", "metric", "value"]]
        for model, judged in evaluation.judged.items()
    ]
    return pd.concat(parts, ignore_index=True)


def without_few(table: pd.DataFrame) -> pd.DataFrame:
    """Without the counts and figures of rows that tell of fewer than FEW patients."""
    found = table.astype({name: "Int64" for name in COUNTS if name in table})
    hidden = [name for name in (*COUNTS, *FIGURES) if name in table]
    found.loc[(table["patients"] < FEW).to_numpy(), hidden] = pd.NA
    return found


def without_few_groups(table: pd.DataFrame) -> pd.DataFrame:
    """`by_group` without the counts of groups of fewer than FEW patients, nor of a further group where theirs would
    follow from the total."""
    hidden = []
    for _, groups in table.groupby(["metric", "attribute"]):
        together = 0
        for row, patients in groups["patients"].sort_values(kind="stable").items():
            if patients < FEW or 0 < together < FEW:
                hidden.append(row)
                together += patients
    found = table.astype({"patients": "Int64", "examples": "Int64"})
    found.loc[hidden, ["patients", "examples"]] = pd.NA
    return found


def safety_without_few(table: pd.DataFrame, lists: int) -> pd.DataFrame:
    """`safety_table` with each interval as three columns, and without rates that tell of 1 to FEW - 1 events."""
    found = table[["length", "list", "drugs"]].copy()
    for name in (*TOLD, *(f"pairs {severity}" for severity in TOLD)):
        events = table[name] * lists / 100
        found[name] = table[name].mask((events > 0) & (events.round() < FEW))
    for name in ("ndcg", "ndcg gain", "recall gain"):
        for part in ("value", "low", "high"):
            told = [getattr(one, part, None) for one in table[name]]
            found[f"{name} {part}".replace(" ", "_")] = told
    return found.rename(columns=lambda name: name.replace(" ", "_"))


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """As JSON has it: what is missing is null."""
    plain = table.astype(object)
    rows = plain.where(plain.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _page(report: dict[str, Any]) -> str:
    templates = Environment(
        loader=PackageLoader("jobs"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
    )
    models = report["models"]
    ranked = sorted(models, key=lambda name: -models[name][MAIN]["value"])
    # the chart: the first, what everyone can be told by, and the best of the others
    chosen = dict.fromkeys([report["first"], *(name for name in ("popularity",) if name in models), *ranked])
    drawn = [name for name in ranked if name in list(chosen)[:DRAWN]]
    return templates.get_template("evaluation.html").render(
        report, main=MAIN, K=K, ranked=ranked, drawn=drawn, tops=TOPS, few=FEW, too_small=breakdown.MIN_PATIENTS
    )

"""A pharmacy or a quality report in, its page, its JSON and its tables out."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

from recommender.reports.pages_html import FORMULARY, SEVERITY, templates
from recommender.reports.pharmacy import Pharmacy
from recommender.reports.plots import Row, bars, grid
from recommender.reports.quality import Quality
from recommender.reports.tables import About, plain_cell

DRAWN = 15  # rules in the plot; the table has more
WORDS = {**SEVERITY, "contraindicated": "✕ contraindicated"}


def write_pharmacy(folder: Path, report: Pharmacy, about: About, n: int) -> None:
    """pharmacy.html, pharmacy.json, and a CSV of each table."""
    plots = {"conditions": _conditions(report), "together": _together(report)}
    page = templates().get_template("pharmacy.html")
    text = page.render(report=report, about=about, n=n, statuses=FORMULARY, words=WORDS, plots=plots)
    _write(folder, "pharmacy", text, report, about)
    for name, lines in (("interactions", report.interactions), ("duplicates", report.duplicates)):
        rows = ((line.rule, line.severity, line.message, line.patients.text, line.patients.percent) for line in lines)
        _csv(folder / f"{name}.csv", ("rule", "severity", "message", "patients", "share"), rows)
    _csv(
        folder / "conditions.csv",
        ("code", "condition", "patients", "drug", "together", "share"),
        (
            (line.code, line.name, line.patients, name, patients, f"{share:.2f}")
            for line in report.conditions
            for name, patients, share in line.treatments
        ),
    )
    _csv(
        folder / "not_on_formulary.csv",
        ("code", "drug", "taken", "suggested", "alternatives"),
        (
            (line.code, line.name, line.taken.text, line.suggested.text, "; ".join(line.alternatives))
            for line in report.not_on
        ),
    )


def write_quality(folder: Path, report: Quality, about: About, since: str) -> None:
    """quality.html, quality.json, and the rules as CSV."""
    shown = [line for line in report.rules if not line.patients.hidden][:DRAWN]
    rows = [Row(line.rule, line.patients.number, line.per_hundred) for line in shown]
    said = f"{len(rows)} rules; the most frequent is {shown[0].rule}, {shown[0].per_hundred}." if shown else ""
    plots = [bars("Patients warned by a rule, per 100", said, rows)] if rows else []
    page = templates().get_template("quality.html")
    _write(
        *(folder, "quality", page.render(report=report, about=about, words=WORDS, plots=plots, since=since)),
        *(report, about),
    )
    _csv(
        folder / "rules.csv",
        ("rule", "severity", "patients", "per_100", "answers", "overridden"),
        (
            (line.rule, line.severity, line.patients.text, line.per_hundred, line.events, line.overridden)
            for line in report.rules
        ),
    )


def _conditions(report: Pharmacy) -> list[Markup]:
    rows = [
        Row(f"{name} · {line.name}", share, f"{100 * share:.0f}%")
        for line in report.conditions
        for name, _, share in line.treatments[:2]
    ]
    if not rows:
        return []
    most = max(rows, key=lambda row: row.value)
    said = f"{len(rows)} pairs of condition and drug; the most frequent is {most.label}, {most.text}."
    return [
        bars("The two most frequent drugs of each condition: share of its patients who had the drug", said, rows, 1.0)
    ]


def _together(report: Pharmacy) -> list[Markup]:
    names, shares = report.together.names, report.together.shares
    pairs = [
        (value, names[row], names[column])
        for row, line in enumerate(shares)
        for column, value in enumerate(line)
        if row != column and value is not None
    ]
    if not pairs:
        return []
    most = max(pairs)
    said = f"{len(names)} drugs. The largest share: of those who had {most[1]}, {100 * most[0]:.0f}% had {most[2]} too."
    title = "Of those who had the drug of the row, how many in 100 also had that of the column"
    return [grid(title, said, names, shares)]


def _write(folder: Path, name: str, page: str, report: Pharmacy | Quality, about: About) -> None:
    (folder / f"{name}.html").write_text(page, encoding="utf-8")
    told = {"about": asdict(about), **asdict(report)}
    (folder / f"{name}.json").write_text(json.dumps(told, indent=2, allow_nan=False), encoding="utf-8")


def _csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            writer.writerow([plain_cell(cell) for cell in row])

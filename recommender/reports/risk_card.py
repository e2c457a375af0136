"""A version of a risk in, its card as a page and as JSON out: what it foresees, from what, how well, for whom."""

from __future__ import annotations

import json
from pathlib import Path

from markupsafe import Markup

from recommender.reports.pages_html import templates
from recommender.reports.plots import Row, Series, intervals, lines
from recommender.risk.registry import RiskRelease
from recommender.risk.table import Outcome


def write_risk_card(folder: Path, release: RiskRelease) -> None:
    """card.html and card.json; figures of 11 patients or more only."""
    told = release.manifest
    page = (
        templates()
        .get_template("risk_card.html")
        .render(release=release, told=told, quality=told["quality"], plots=_plots(release), span=release.asked.span)
    )
    (folder / "card.html").write_text(page, encoding="utf-8")
    (folder / "card.json").write_text(json.dumps(dict(told), indent=2, allow_nan=False), encoding="utf-8")


def in_words(asked: Outcome) -> str:
    """'10-year risk of heart disease' only where there is such a horizon."""
    if not asked.span:
        return f"likelihood of {asked.name}"
    return f"risk of {asked.name} within {asked.span}"


def _plots(release: RiskRelease) -> list[Markup]:
    quality = release.manifest["quality"]
    found = []
    if quality["calibration"]:
        points = tuple((row["predicted"], row["value"]) for row in quality["calibration"])
        said = f"{len(points)} groups of patients of one size, from {100 * points[0][0]:.1f}% foreseen, where "
        said += (
            f"{100 * points[0][1]:.1f}% had it, to {100 * points[-1][0]:.0f}%, where {100 * points[-1][1]:.0f}% had."
        )
        series = [Series(release.model.name, points)]
        found.append(lines("Calibration", said, series, "foreseen", "had it", diagonal=True))
    if quality["groups"]:
        rows = [
            Row(f"{row['attribute']}: {row['group']}", row["value"], f"{row['value']:.3f}", row["low"], row["high"])
            for row in quality["groups"]
        ]
        worst = min(quality["groups"], key=lambda row: row["value"])
        said = f"{len(rows)} groups; the lowest is {worst['attribute']} {worst['group']} with {worst['value']:.3f}."
        found.append(intervals("AUC by group", said, rows, quality["value"], "all patients"))
    return found

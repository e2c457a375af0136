"""A model card in, its page and its JSON out."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup

from recommender.calibration import Calibration
from recommender.reports.card import Card, Figure
from recommender.reports.pages_html import templates
from recommender.reports.plots import Row, Series, intervals, lines, trend


def write_card(folder: Path, card: Card) -> None:
    """card.html and card.json."""
    sections = [(name, list(found)) for name, found in groupby(card.attributes, lambda one: one.asked.section)]
    page = templates().get_template("card.html").render(card=card, sections=sections, plots=plots_of(card))
    (folder / "card.html").write_text(page, encoding="utf-8")
    (folder / "card.json").write_text(json.dumps(as_dict(card), indent=2, allow_nan=False), encoding="utf-8")


def as_dict(card: Card) -> dict[str, Any]:
    """JSON-able, without the manifest, which stands with the version."""
    return {
        "version": card.version,
        "created": card.created,
        "data_as_of": card.data_as_of,
        "synthetic": card.synthetic,
        "model": card.model,
        "attributes": [
            {"number": number, **asdict(one.asked), "state": one.state, "text": one.text}
            | {"figures": [_rounded(figure) for figure in one.figures]}
            for number, one in enumerate(card.attributes, start=1)
        ],
        "groups": {
            group.attribute: {
                name: {"patients": cell.text, "share": cell.percent} for name, cell in group.cells.items()
            }
            for group in card.groups
        },
    }


def _rounded(figure: Figure) -> dict[str, Any]:
    """As the page shows it: a mean to its last digit would tell of how many it is one."""
    return {name: round(told, 3) if isinstance(told, float) else told for name, told in asdict(figure).items()}


def plots_of(card: Card) -> dict[str, list[Markup]]:
    """Plots by the key of the attribute that they stand with."""
    found: dict[str, list[Markup]] = {}
    if chance := _chances(card):
        found.setdefault("validity_same", []).append(chance)
    if card.evaluation:
        found.setdefault("validity_same", []).extend(_of_evaluation(card.evaluation))
    if gaps := _gaps(card):
        found["fairness_same"] = gaps
    return found


def _chances(card: Card) -> Markup | None:
    """The curve by which a score is told as a chance; of a version that measured it."""
    chances = card.manifest.get("chances")
    if not chances:
        return None
    curve = Calibration.from_dict(chances["curve"])
    points = tuple(zip(curve.scores.tolist(), curve.probabilities.tolist(), strict=True))
    said = (
        f"{len(points)} knots; the chance rises from {100 * points[0][1]:.1f}% to {100 * points[-1][1]:.0f}%. "
        f"Expected calibration error {chances['ece']:.4f}."
    )
    title = f"How many of such suggestions began within {chances['days']} days, by score"
    return lines(title, said, [Series("chance", points)], "score", "began")


def _of_evaluation(told: dict[str, Any] | Any) -> list[Markup]:
    """Reliability, recall by length, and by how much the lists beat the most frequent treatments."""
    first, plots = told["first"], []
    shown = [row for row in told["reliability"] if row["value"] is not None]
    if shown:
        points = tuple((row["predicted"], row["value"]) for row in shown)
        said = f"{len(points)} groups of suggestions, from {100 * points[0][0]:.1f}% promised on, where "
        said += (
            f"{100 * points[0][1]:.1f}% came true, to {100 * points[-1][0]:.0f}%, where {100 * points[-1][1]:.0f}% did."
        )
        plots.append(lines("Reliability", said, [Series(first, points)], "promised", "came true", diagonal=True))
    by_model = {
        model: {
            row["k"]: row["value"] for row in told["by_length"] if row["model"] == model and row["metric"] == "recall"
        }
        for model in dict.fromkeys(row["model"] for row in told["by_length"])
    }
    names = [first, *(name for name in ("popularity",) if name in by_model and name != first)]
    series = [Series(name, tuple(sorted(by_model[name].items()))) for name in names]
    ends = ", ".join(f"{one.name} {100 * one.points[0][1]:.0f}% to {100 * one.points[-1][1]:.0f}%" for one in series)
    plots.append(lines("Recall by length of the list", f"{ends}.", series, "length of the list", "recall"))
    if len(names) == 2:
        mine, base = by_model[first], by_model["popularity"]
        lift = tuple((float(k), mine[k] / base[k]) for k in sorted(mine) if base.get(k))
        said = f"From {lift[0][1]:.1f} times at {lift[0][0]:.0f} to {lift[-1][1]:.1f} times at {lift[-1][0]:.0f}, "
        said += f"{trend([value for _, value in lift])}."
        title = "Lift: recall, as a multiple of that of the most frequent treatments"
        plots.append(lines(title, said, [Series("lift", lift)], "length of the list", "times", percent=False))
    return plots


def _gaps(card: Card) -> list[Markup]:
    """Each group's figure with its interval; and the gaps to the best group of each kind."""
    quality = card.manifest.get("quality", {})
    rows = quality.get("groups") or []
    if not rows:
        return []
    figures = [
        Row(f"{row['attribute']}: {row['group']}", row["value"], f"{row['value']:.3f}", row["low"], row["high"])
        for row in rows
    ]
    worst = min(rows, key=lambda row: row["value"])
    said = f"{len(rows)} groups; the lowest is {worst['attribute']} {worst['group']} with {worst['value']:.3f}."
    plots = [intervals(f"{quality['metric']} by group", said, figures, quality["value"], "all patients")]
    gaps = [row for row in rows if row["gap"] is not None]
    if gaps:
        sure = [f"{row['attribute']} {row['group']}" for row in gaps if row["gap_low"] > 0]
        said = f"Beyond chance: {', '.join(sure) or 'none'}."
        behind = [
            Row(f"{row['attribute']}: {row['group']}", row["gap"], f"{row['gap']:.3f}", row["gap_low"], row["gap_high"])
            for row in gaps
        ]
        plots.append(intervals("How far behind the best group of its kind", said, behind, 0.0, "no gap"))
    return plots

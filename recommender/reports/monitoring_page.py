"""A drift report or the history of versions in, its page and JSON out; of drift also a file for Prometheus."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from recommender.reports.drift import Drift
from recommender.reports.history import Night
from recommender.reports.pages_html import templates
from recommender.reports.plots import Row, bars, intervals

MOST_DRAWN = 24  # versions


def write_drift(folder: Path, report: Drift) -> None:
    """drift.html, drift.json, and drift.prom for node_exporter's textfile collector."""
    rows = [Row(one.name, one.index, f"{one.index:.2f}") for one in report.indices]
    highest = max(rows, key=lambda row: row.value)
    said = f"{len(rows)} distributions; the highest index is that of {highest.label}, {highest.text}."
    plots = [bars("Population stability index", said, rows, max(0.25, highest.value))]
    page = templates().get_template("drift.html").render(report=report, plots=plots)
    (folder / "drift.html").write_text(page, encoding="utf-8")
    (folder / "drift.json").write_text(json.dumps(asdict(report), indent=2, allow_nan=False), encoding="utf-8")
    (folder / "drift.prom").write_text(as_prometheus(report), encoding="utf-8")


def as_prometheus(report: Drift) -> str:
    """Gauges in Prometheus's text format; no label is of a patient or of a code."""
    gauges = [
        ("rxrec_drift_index", "Population stability index against the version before.", "index"),
        ("rxrec_drift_limit", "Index from which on a distribution counts as another one.", "limit"),
    ]
    lines = []
    for name, help_text, value in gauges:
        lines += [f"# HELP {name} {help_text}", f"# TYPE {name} gauge"]
        lines += [f'{name}{{distribution="{one.name}"}} {getattr(one, value):.2f}' for one in report.indices]
    name = "rxrec_drift_new_codes"
    lines += [f"# HELP {name} Codes that the version before did not have.", f"# TYPE {name} gauge"]
    lines += [f'{name}{{block="{block}"}} {count}' for block, count in report.new_codes.items()]
    return "\n".join(lines) + "\n"


def write_history(folder: Path, nights: Sequence[Night], unread: Sequence[str]) -> None:
    """history.html and history.json."""
    measured = [night for night in nights[:MOST_DRAWN] if "value" in night.quality]
    plots = []
    if measured:
        rows = [
            Row(night.version, q["value"], f"{q['value']:.3f}", q["low"], q["high"])
            for night in measured
            for q in (night.quality,)
        ]
        metric = measured[0].quality["metric"]
        said = f"{len(rows)} versions, the newest {rows[0].text}, the oldest {rows[-1].text}."
        plots.append(intervals(f"{metric} of each version, the newest first", said, rows))
    page = templates().get_template("history.html").render(nights=nights, unread=unread, plots=plots)
    (folder / "history.html").write_text(page, encoding="utf-8")
    told = {"versions": [asdict(night) for night in nights], "unread": list(unread)}
    (folder / "history.json").write_text(json.dumps(told, indent=2, allow_nan=False), encoding="utf-8")

"""A version, the one before it, a tally and the log of feedback in; what a quality officer answers for out.

Everything is told by the rules at the top of `cells.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recommender.feedback.summary import MIN_PATIENTS
from recommender.reports.cells import Cell, about, feedback_told, in_words, partition, per_hundred
from recommender.reports.tally import Tally
from recommender.safety.kinds import RANK
from recommender.support import in_tens

MOST_RULES = 30
GATE = ("compared_with", "passed", "reasons")  # what it measured holds exact counts of both nights
CHANGES = {  # of the manifest: part, name -> words
    ("counts", "patients"): "patients",
    ("counts", "treatments_events"): "treatment events",
    ("counts", "conditions_events"): "condition events",
    ("counts", "allergies_events"): "allergy events",
    ("counts", "suggestable"): "treatments that can be suggested",
    ("coverage", "listed"): "treatments that stand in a list",
}
COUNTED = ("patients", "treatments_events", "conditions_events", "allergies_events")  # of patients: to the ten


@dataclass(frozen=True)
class Change:
    """A figure of the version and of the one before it, as they are told; `by`: how much more of what is told, "" where
    one of them is not."""

    words: str
    now: str
    before: str
    by: str


@dataclass(frozen=True)
class Burden:
    """Warnings of one severity beside the first n suggestions: patients who see one, and warnings per 100 patients."""

    severity: str
    patients: Cell
    per_hundred: str


@dataclass(frozen=True)
class RuleBurden:
    """Patients on whose list a rule warns, and what clinicians did with such warnings, "" where untold."""

    rule: str
    severity: str
    message: str
    patients: Cell
    per_hundred: str
    events: str
    overridden: str


@dataclass(frozen=True)
class Quality:
    """patients: to the ten. rules: those that warn 11 patients or more. feedback: as `feedback_told` tells it, or
    {"not_read": why}; gate: the verdict of the night of the version, and its reasons."""

    version: str
    before: str
    n: int
    patients: int
    changes: tuple[Change, ...]
    gate: Mapping[str, Any]
    lists: Mapping[str, Cell]
    withheld: Cell
    gaps: Cell
    understood: str
    burden: tuple[Burden, ...]
    rules: tuple[RuleBurden, ...]
    feedback: Mapping[str, Any]


def quality_report(
    version: str,
    manifest: Mapping[str, Any],
    before: tuple[str, Mapping[str, Any]] | None,
    found: Tally,
    feedback: Mapping[str, Any],
) -> Quality:
    """before: name and manifest of the version to compare with."""
    total = found.patients
    lists = partition({"with suggestions": found.with_list, "with none": total - found.with_list}, total)
    return Quality(
        version=version,
        before=before[0] if before else "",
        n=found.n,
        patients=in_tens(total),
        changes=tuple(_changes(manifest, before[1])) if before else (),
        gate={name: told for name, told in manifest.get("gate", {}).items() if name in GATE},
        lists=lists,
        withheld=about(found.with_withheld, total),
        gaps=about(found.with_gaps, total),
        understood=_share(found.drugs_understood, found.drugs_taken, found.with_therapy),
        burden=tuple(
            Burden(name, about(found.alerted.get(name, 0), total), _rate(found, name))
            for name in ("serious", "caution")
        ),
        rules=tuple(_rules(found, feedback)),
        feedback=feedback_told(feedback),
    )


def _changes(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[Change]:
    found = []
    for (part, name), words in CHANGES.items():
        pair = [side.get(part, {}).get(name) for side in (now, then)]
        if None in pair:
            continue
        if name in COUNTED:
            pair = [in_tens(count) for count in pair]
            shown, told = (in_words(pair[0]), in_words(pair[1])), all(pair)
        else:
            shown, told = (f"{pair[0]:,}", f"{pair[1]:,}"), True
        found.append(Change(words, *shown, _difference(*pair) if told else ""))
    mine, theirs = now.get("quality", {}), then.get("quality", {})
    if "value" in mine and "value" in theirs:
        words = f"{mine['metric']} (95% interval)"
        found.append(Change(words, _interval(mine), _interval(theirs), f"{mine['value'] - theirs['value']:+.3f}"))
    return found


def _difference(now: int, before: int) -> str:
    return f"{now - before:+,}" if now != before else "0"


def _rules(found: Tally, feedback: Mapping[str, Any]) -> list[RuleBurden]:
    heard = {row["rule_id"]: row for row in feedback.get("rules", ())}
    lines = []
    for name, count in found.warned.items():
        rule, cell = found.rules[name], about(count, found.patients)
        if cell.hidden:
            continue
        did = heard.get(name, {})
        events, overridden = did.get("events", ""), did.get("overridden", "")
        lines.append(RuleBurden(name, rule.severity, rule.message, cell, per_hundred(cell), events, overridden))
    lines.sort(key=lambda line: (-line.patients.number, -RANK[line.severity], line.rule))
    return lines[:MOST_RULES]


def _rate(found: Tally, severity: str) -> str:
    """Warnings per 100 patients; of fewer than 11 patients with such, nothing."""
    if about(found.alerted.get(severity, 0), found.patients).hidden:
        return "–"
    return f"{100 * in_tens(found.alerts[severity]) / in_tens(found.patients):.1f}"


def _share(part: int, whole: int, patients: int) -> str:
    """Of drugs that are taken, how many in 100 were understood; rounded down, so that 100 means all."""
    if patients < MIN_PATIENTS or not whole:
        return "–"
    return f"{100 * part // whole}%"


def _interval(quality: Mapping[str, Any]) -> str:
    return f"{quality['value']:.3f} ({quality['low']:.3f} to {quality['high']:.3f})"

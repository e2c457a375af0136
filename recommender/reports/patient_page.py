"""A desk and one patient's entry in, what one page of a list says of this patient out, as a frozen value.

The same candidates, order, warnings and reasons as the API answers with (`offered`), shortened to what a page holds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np

from recommender.formulary import Formulary
from recommender.matrix import Column
from recommender.offer import Desk
from recommender.offered import Item, NotChecked, ReasonPart, Warned, WithheldItem, elapsed_days, offered, plain_name
from recommender.records import THERAPIES
from recommender.safety.verdict import plain_unit
from recommender.snapshot import Entry

MOST_REASONS = 3  # told one by one; the others together
ANY = re.compile(r"^Any ")
IN_WORDS = {
    "treatments": "has had {name}",
    "care_resource": "visit: {name}",
    "running": "takes {name} now",
    "recent": "{name}, among the last begun",
    "reported": "{name}, as told by the patient or others",
    "class": "has had a drug of the class {name}",
    "running_class": "takes a drug of the class {name} now",
    "condition_group": "{name} (a group of conditions)",
    "allergies": "allergy: {name}",
}


@dataclass(frozen=True)
class Part:
    """One thing known of the patient and what it adds to the score."""

    text: str
    share: float


@dataclass(frozen=True)
class Suggested:
    """probability: as in the API, None where it was not measured. `reasons`: the largest, and the rest as one; their
    shares add up to `score`. evidence: about how many patients had it ("<11", "1,410"), "" where not counted."""

    rank: int
    code: str
    name: str
    kind: str
    group: str
    score: float
    probability: float | None
    labelled_for: tuple[str, ...] | None
    formulary: str
    checked: bool
    warnings: tuple[Warned, ...]
    not_checked: tuple[NotChecked, ...]
    reasons: tuple[Part, ...]
    evidence: str


@dataclass(frozen=True)
class Held:
    """What would stand on the list but for a contraindication, and the names of what may stand for it."""

    code: str
    name: str
    kind: str
    warnings: tuple[Warned, ...]
    beside: str
    alternatives: tuple[str, ...]


@dataclass(frozen=True)
class Taken:
    """A drug that the patient takes, with what stands against it."""

    name: str
    code: str
    warnings: tuple[Warned, ...]


@dataclass(frozen=True)
class PatientPage:
    """Everything of one page. age: whole years, None where unknown; measured: values that rules look at, in words;
    `not_checked`: what of the chart could not be read; drugs_checked: (understood, all)."""

    patient_id: str
    age: int | None
    sex: str
    conditions: tuple[str, ...]
    allergies: tuple[str, ...]
    therapy: tuple[Taken, ...]
    measured: tuple[str, ...]
    suggestions: tuple[Suggested, ...]
    withheld: tuple[Held, ...]
    not_checked: tuple[NotChecked, ...]
    drugs_checked: tuple[int, int]


def page_of(
    desk: Desk,
    patient_id: str,
    entry: Entry,
    n: int,
    *,
    kinds: Collection[str] = THERAPIES,
    formulary: Formulary | None = None,
    now: datetime | None = None,
) -> PatientPage:
    """The n best of `kinds` for one patient, screened as of `now`."""
    release, chart = desk.release, entry.chart
    elapsed = elapsed_days(release, now)
    found = offered(desk, entry, desk.reading(chart, elapsed=elapsed), n, kinds)
    of_kind: dict[str, list[Column]] = {}
    for ix in entry.row_columns[np.argsort(-entry.row_weights, kind="stable")].tolist():
        column = release.index.columns[ix]
        of_kind.setdefault(column.kind, []).append(column)
    return PatientPage(
        patient_id=patient_id,
        age=None if np.isnan(chart.age) else int(chart.age + elapsed / 365.2425),
        sex={"F": "female", "M": "male"}.get(chart.sex, "sex unknown"),
        conditions=tuple(plain(column) for column in of_kind.get("condition", ())),
        allergies=tuple(plain(column) for column in of_kind.get("allergy", ())),
        therapy=tuple(Taken(plain(one), one.code, one.warnings) for one in found.therapy),
        measured=tuple(_measured(desk, entry, elapsed)),
        suggestions=tuple(_suggested(one, formulary or Formulary()) for one in found.items),
        withheld=tuple(_held(one) for one in found.withheld),
        not_checked=found.not_checked,
        drugs_checked=found.drugs_checked,
    )


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def code(self) -> str: ...


def plain(one: _Named) -> str:
    """The name of a thing without the tag that SNOMED CT puts behind it."""
    return plain_name(one.name) or one.code


def _suggested(one: Item, formulary: Formulary) -> Suggested:
    return Suggested(
        rank=one.rank,
        code=one.code,
        name=plain(one),
        kind=one.kind,
        group=one.group,
        score=one.score,
        probability=one.probability,
        labelled_for=one.labelled_for,
        formulary=formulary.status(one.code, one.kind),
        checked=one.outcome != "not_checked",
        warnings=one.warnings,
        not_checked=one.not_checked,
        reasons=_parts(one.reasons),
        evidence=one.evidence.patients if one.evidence else "",
    )


def _parts(reasons: Sequence[ReasonPart]) -> tuple[Part, ...]:
    told = [Part(_in_words(reason), reason.contribution) for reason in reasons[:MOST_REASONS]]
    if left := reasons[MOST_REASONS:]:
        told.append(Part(f"{len(left)} others", float(sum(reason.contribution for reason in left))))
    return tuple(told)


def _in_words(reason: ReasonPart) -> str:
    name = ANY.sub("", plain(reason)) if reason.kind == "condition_group" else plain(reason)
    return IN_WORDS.get(reason.kind, IN_WORDS.get(reason.block, "{name}")).replace("{name}", name)


def _measured(desk: Desk, entry: Entry, elapsed: int) -> list[str]:
    """The newest value of each measure, with its age; what is worked out of others is told where a rule uses it."""
    known, measures = desk.release.known.concepts, desk.screen.rules.measures
    newest: dict[str, tuple[int, float]] = {}
    of_code = {code: name for name, one in measures.items() for code in one.codes}
    chart = entry.chart
    for ix, days, value in zip(chart.concept.tolist(), chart.days.tolist(), chart.value.tolist(), strict=True):
        name = of_code.get(known[ix].code)
        if name is not None and not np.isnan(value) and (name not in newest or days < newest[name][0]):
            newest[name] = (days, value)
    return [
        f"{measures[name].name} {value:.4g}{plain_unit(measures[name].unit)} ({_days_old(days + elapsed)})"
        for name, (days, value) in sorted(newest.items(), key=lambda item: measures[item[0]].name)
    ]


def _days_old(days: int) -> str:
    return "today" if days == 0 else "1 day old" if days == 1 else f"{days} days old"


def _held(one: WithheldItem) -> Held:
    return Held(
        code=one.code,
        name=plain(one),
        kind=one.kind,
        warnings=one.warnings,
        beside=plain_name(one.beside or ""),
        alternatives=tuple(plain(other) for other in one.alternatives),
    )

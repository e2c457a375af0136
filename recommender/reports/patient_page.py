"""A desk and one patient's entry in, what one page of a list says of this patient out, as a frozen value.

The same candidates, order, warnings and reasons as the API answers with: both ask `Desk.offer` and `explain`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from recommender.explain import Reason, explain
from recommender.features import Column
from recommender.formulary import Formulary
from recommender.offer import Candidate, Desk, Withheld
from recommender.offered import NotChecked, Warned, elapsed_days, gaps_of, likely_of, plain_name, warnings_of
from recommender.records import THERAPIES
from recommender.safety.verdict import Reading, plain_unit
from recommender.snapshot import Entry, Release

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
    reading = desk.reading(chart, elapsed=elapsed)
    offered = desk.offer(entry, reading, n, kinds)
    likely = likely_of(release, entry)
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
        therapy=tuple(Taken(plain(one.drug), one.drug.code, warnings_of(one.alerts)) for one in offered.therapy),
        measured=tuple(_measured(desk, entry, elapsed)),
        suggestions=tuple(
            _suggested(desk, entry, reading, rank, one, likely.get(one.column_ix), formulary or Formulary())
            for rank, one in enumerate(offered.items, start=1)
        ),
        withheld=tuple(_held(release, one) for one in offered.withheld),
        not_checked=gaps_of(offered.gaps),
        drugs_checked=offered.drugs_checked,
    )


def plain(column: Column) -> str:
    """The name of a thing without the tag that SNOMED CT puts behind it."""
    return plain_name(column.name) or column.code


def _suggested(
    desk: Desk,
    entry: Entry,
    reading: Reading,
    rank: int,
    one: Candidate,
    probability: float | None,
    formulary: Formulary,
) -> Suggested:
    column = desk.release.index.columns[one.column_ix]
    support = desk.release.support
    target = int(desk.release.index.target_of_column[one.column_ix])
    return Suggested(
        rank=rank,
        code=column.code,
        name=plain(column),
        kind=column.kind,
        group=column.group,
        score=one.score,
        probability=probability,
        labelled_for=desk.labelled_for(one.column_ix, reading),
        formulary=formulary.status(column.code, column.kind),
        checked=one.verdict.outcome != "not_checked",
        warnings=warnings_of(one.verdict.alerts),
        not_checked=gaps_of(one.verdict.gaps),
        reasons=_parts(explain(desk.release, entry, one.column_ix)),
        evidence="" if support is None else support.had(target).text,
    )


def _parts(reasons: Sequence[Reason]) -> tuple[Part, ...]:
    told = [Part(_in_words(reason), reason.contribution) for reason in reasons[:MOST_REASONS]]
    if left := reasons[MOST_REASONS:]:
        told.append(Part(f"{len(left)} others", float(sum(reason.contribution for reason in left))))
    return tuple(told)


def _in_words(reason: Reason) -> str:
    name = ANY.sub("", plain(reason.column)) if reason.column.kind == "condition_group" else plain(reason.column)
    return IN_WORDS.get(reason.column.kind, IN_WORDS.get(reason.block, "{name}")).replace("{name}", name)


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


def _held(release: Release, one: Withheld) -> Held:
    column = release.index.columns[one.candidate.column_ix]
    return Held(
        code=column.code,
        name=plain(column),
        kind=column.kind,
        warnings=warnings_of(one.candidate.verdict.alerts),
        beside="" if one.beside is None else plain(release.index.columns[one.beside]),
        alternatives=tuple(plain(release.index.columns[other.column_ix]) for other in one.alternatives),
    )

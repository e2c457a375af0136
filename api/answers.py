"""A desk, one patient's entry and n in, the typed answer out: the same value behind the JSON and the page."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from api.words import EN, Words
from recommender import offer
from recommender.errors import StoreCorrupt
from recommender.explain import Reason
from recommender.fallback import PUBLISHED, Basis, Source
from recommender.formulary import Status
from recommender.offer import Candidate, Desk, Withheld, elapsed_days
from recommender.records import THERAPIES
from recommender.safety.verdict import Alert, Gap, Outcome, Reading, Verdict
from recommender.snapshot import Entry, Release

DEFAULT_N = 10
DEFAULT_DEPTH, DEFAULT_PER_KIND = 50, 20  # longest lists where the manifest does not state what was published
FORMAT = "5"  # part of the ETag: raise it when the JSON of an unchanged entry changes
TOLERANCE = 1e-4  # parts and score are float32 sums of the same terms in another order: far below this
COUNTED = ("treatments", "conditions")  # blocks of reasons beside which patients are counted


@dataclass(frozen=True)
class ReasonPart:
    """One thing on the patient's record and what it adds to a score."""

    code: str
    name: str
    kind: str
    block: str
    contribution: float


@dataclass(frozen=True)
class Warned:
    """A safety rule that holds: what it says, what to do, where it comes from, and what of the chart makes it hold.

    severity: "contraindicated" withholds, "serious" and "caution" warn.
    """

    rule: str
    severity: str
    message: str
    management: str
    because: str
    source: str
    reviewed: str


@dataclass(frozen=True)
class NotChecked:
    """What could not be checked, and what would make it checkable. kind: "drug", "kind", "therapy", "allergy",
    "condition", "person" or "lab"."""

    kind: str
    about: str
    mend: str


@dataclass(frozen=True)
class Evidence:
    """About how many patients had the treatment, and how many of them share this patient's strongest counted reason.

    Texts, because small numbers are hidden ("<11") and others rounded to tens.
    """

    patients: str
    sharing: str | None
    shared: str | None


@dataclass(frozen=True)
class Item:
    """One suggestion; the contributions of `reasons`, largest first by size, add up to `score`.

    `formulary`: its status on the site's formulary, "unknown" without one, and of what is no drug.

    `probability`: the share of suggestions with such a score that began within the time that the manifest states;
    null where that was not measured, as it is only for the first of the therapies. `labelled_for`: the conditions on
    the chart that the drug has a label for; null where no labelled use of it is on file. `outcome`: "kept", or
    "not_checked" where nobody knows which drug it is, or it is none. `score_rank`: its rank by score alone, before what
    is withheld was taken out and what carries a warning was moved down.
    """

    rank: int
    code: str
    name: str
    kind: str
    group: str
    formulary: Status
    score: float
    score_rank: int
    probability: float | None
    labelled_for: tuple[str, ...] | None
    outcome: Outcome
    warnings: tuple[Warned, ...]
    not_checked: tuple[NotChecked, ...]
    evidence: Evidence | None
    reasons: tuple[ReasonPart, ...]


@dataclass(frozen=True)
class Alternative:
    """A drug that may stand for a withheld one, and nothing serious stands against it for this patient.

    `same_class`: whether it is of that one's class. `labelled_for`: conditions on the chart that both have a label for.
    """

    code: str
    name: str
    group: str
    formulary: Status
    score: float
    same_class: bool
    labelled_for: tuple[str, ...]
    warnings: tuple[Warned, ...]
    not_checked: tuple[NotChecked, ...]


@dataclass(frozen=True)
class WithheldItem:
    """What would stand on the list but for a contraindication. `beside`: the suggestion that it is contraindicated
    with, where the chart itself speaks not against it."""

    code: str
    name: str
    kind: str
    group: str
    score: float
    score_rank: int
    warnings: tuple[Warned, ...]
    beside: str | None
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True)
class CurrentDrug:
    """A drug that the patient takes, with what stands against it; a pair is told with the first of its two drugs."""

    code: str
    name: str
    warnings: tuple[Warned, ...]


@dataclass(frozen=True)
class Safety:
    """What was checked, by which rules of which days, and how many of the current drugs were understood."""

    checked: bool
    statement: str
    rules: int
    rules_version: str
    rules_reviewed: str
    drugs_understood: int
    drugs_on_chart: int


@dataclass(frozen=True)
class Answer:
    """`kinds`: those that were asked for. `message` says in words why `items` is empty, and is null otherwise.
    `source`: where the suggestions come from (recommender/fallback.py); all are screened alike.

    `not_checked`: what of the chart could not be read by the rules, whatever the drug. `current_therapy`: every drug
    that the patient is known to take, with the warnings that are there already.
    """

    patient_id: str
    kinds: tuple[str, ...]
    source: Source
    version: str
    created: str
    data_as_of: str
    synthetic: bool
    safety: Safety
    not_checked: tuple[NotChecked, ...]
    items: tuple[Item, ...]
    withheld: tuple[WithheldItem, ...]
    current_therapy: tuple[CurrentDrug, ...]
    message: str | None


def longest(release: Release, kinds: Collection[str]) -> int:
    """The longest list of these kinds that this version can answer with, and be sure that nothing better is left out.

    Of all therapies together it holds the `depth` best, of each kind at least the `per_kind` best.
    """
    if set(kinds) == set(THERAPIES):
        return int(release.manifest.get("depth", DEFAULT_DEPTH))
    return int(release.manifest.get("per_kind", DEFAULT_PER_KIND))


def answer(
    desk: Desk,
    entry: Entry,
    patient_id: str,
    n: int,
    kinds: tuple[str, ...] = THERAPIES,
    *,
    now: datetime | None = None,
) -> Answer:
    """The n best suggestions of `kinds`, screened; n is at most `longest(release, kinds)`.

    Raises StoreCorrupt when a score is not the sum of its parts.
    """
    release = desk.release
    reading = desk.reading(entry.chart, elapsed=elapsed_days(release, now))
    return answer_of(desk, entry, reading, patient_id, n, kinds)


def answer_of(
    desk: Desk,
    entry: Entry,
    reading: Reading,
    patient_id: str,
    n: int,
    kinds: tuple[str, ...] = THERAPIES,
    *,
    basis: Basis = PUBLISHED,
    narrowed: Entry | None = None,
) -> Answer:
    """The same, of a chart that has been read. narrowed: the candidates that were asked for, where not all were."""
    release, manifest = desk.release, desk.release.manifest
    offered = desk.offer(entry if narrowed is None else narrowed, reading, n, kinds)
    likely = {} if basis.counted else _likely(release, entry)
    items = tuple(
        _item(desk, entry, reading, rank, one, likely.get(one.column_ix), basis)
        for rank, one in enumerate(offered.items, start=1)
    )
    return Answer(
        patient_id=patient_id,
        kinds=kinds,
        source=basis.source,
        version=release.version,
        created=str(manifest.get("created", "")),
        data_as_of=str(manifest.get("as_of", "")),
        synthetic=manifest.get("synthetic") is True,
        safety=safety(desk, offered.drugs_checked),
        not_checked=_gaps(offered.gaps),
        items=items,
        withheld=tuple(_withheld(desk, one) for one in offered.withheld),
        current_therapy=tuple(_current(one) for one in offered.therapy),
        message=None if items else _why_empty(release, entry, kinds, bool(offered.withheld), narrowed),
    )


def safety(desk: Desk, drugs: tuple[int, int] = (0, 0)) -> Safety:
    """Which rules every list is screened by. `drugs`: understood, and all."""
    rules = desk.screen.rules
    counted = sum(count for family, count in rules.counts.items() if family != "pairs")
    newest = rules.reviewed[1].isoformat()
    statement = Words()("safety.statement", rules=f"{counted:,}", date=newest)
    return Safety(True, statement, counted, rules.version, newest, *drugs)


def etag(desk: Desk, entry: Entry, n: int, kinds: Collection[str] = THERAPIES, *, now: datetime | None = None) -> str:
    """A weak ETag's value: the same for the same version, rules, day, entry, n and kinds, in every process."""
    elapsed = elapsed_days(desk.release, now)
    settings = (desk.screen.rules.version, str(desk.cost), desk.formulary().version, str(desk.formulary_first))
    told = (FORMAT, desk.release.version, *settings, str(elapsed), str(n), *kinds)
    digest = hashlib.sha256("\0".join(told).encode())
    chart = entry.chart
    arrays = (entry.columns, entry.scores, entry.row_columns, entry.row_weights, chart.concept, chart.days, chart.value)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes() + b"\0")
    digest.update(f"{chart.age} {chart.sex}".encode())
    return digest.hexdigest()[:32]


def _likely(release: Release, entry: Entry) -> dict[int, float]:
    """The probability of each of the first therapies, as far down the list as it was measured."""
    if release.chances is None:
        return {}
    therapies = np.isin(entry.columns, release.index.targets_of(THERAPIES)).nonzero()[0][: release.chances_depth]
    found = release.chances.probability(entry.scores[therapies])
    return dict(zip(entry.columns[therapies].tolist(), found.tolist(), strict=True))


def _item(
    desk: Desk, entry: Entry, reading: Reading, rank: int, one: Candidate, probability: float | None, basis: Basis
) -> Item:
    release, column = desk.release, desk.release.index.columns[one.column_ix]
    reasons = basis.reasons(desk, entry, one.column_ix, one.score)
    # an entry read with another model's release would pass every checksum and still explain the wrong drug
    if not abs(math.fsum(r.contribution for r in reasons) - one.score) <= TOLERANCE * max(1.0, abs(one.score)):
        raise StoreCorrupt("a published score is not the sum of its reasons: publish again with `rxrec nightly`")
    return Item(
        rank=rank,
        code=column.code,
        name=column.name,
        kind=column.kind,
        group=column.group,
        formulary=desk.formulary().status(column.code, column.kind),
        score=one.score,
        score_rank=one.place,
        probability=probability,
        labelled_for=desk.labelled_for(one.column_ix, reading),
        outcome=one.verdict.outcome,
        warnings=_warnings(one.verdict.alerts),
        not_checked=_gaps(one.verdict.gaps),
        evidence=_evidence(release, one.column_ix, reasons),
        reasons=tuple(
            ReasonPart(r.column.code, r.column.name, r.column.kind, r.block, r.contribution) for r in reasons
        ),
    )


def _evidence(release: Release, column_ix: int, reasons: Sequence[Reason]) -> Evidence | None:
    if release.support is None:
        return None
    target = int(release.index.target_of_column[column_ix])
    patients = release.support.had(target).text
    strongest = next((r for r in reasons if r.block in COUNTED and r.contribution > 0), None)
    if strongest is None:
        return Evidence(patients, None, None)
    return Evidence(patients, release.support.together(strongest.column_ix, target).text, strongest.column.name)


def _warnings(alerts: Sequence[Alert]) -> tuple[Warned, ...]:
    return tuple(
        Warned(
            rule=alert.rule.id,
            severity=alert.rule.severity,
            message=alert.rule.message,
            management=alert.rule.management,
            because=alert.because,
            source=alert.rule.source,
            reviewed=alert.rule.reviewed.isoformat(),
        )
        for alert in alerts
    )


def _gaps(gaps: Sequence[Gap]) -> tuple[NotChecked, ...]:
    return tuple(NotChecked(gap.kind, gap.about, gap.mend) for gap in gaps)


def _withheld(desk: Desk, one: Withheld) -> WithheldItem:
    release = desk.release
    column = release.index.columns[one.candidate.column_ix]
    beside = None if one.beside is None else release.index.columns[one.beside].name
    return WithheldItem(
        code=column.code,
        name=column.name,
        kind=column.kind,
        group=column.group,
        score=one.candidate.score,
        score_rank=one.candidate.place,
        warnings=_warnings(one.candidate.verdict.alerts),
        beside=beside,
        alternatives=tuple(_alternative(desk, other) for other in one.alternatives),
    )


def _alternative(desk: Desk, one: offer.Alternative) -> Alternative:
    column = desk.release.index.columns[one.column_ix]
    return Alternative(
        code=column.code,
        name=column.name,
        group=column.group,
        formulary=desk.formulary().status(column.code, column.kind),
        score=one.score,
        same_class=bool(one.group),
        labelled_for=one.labelled_for,
        warnings=_warnings(one.verdict.alerts),
        not_checked=_gaps(one.verdict.gaps),
    )


def _current(one: Verdict) -> CurrentDrug:
    return CurrentDrug(one.drug.code, one.drug.name, _warnings(one.alerts))


def _why_empty(release: Release, entry: Entry, kinds: Collection[str], withheld: bool, narrowed: Entry | None) -> str:
    targets = release.index.targets_of(kinds)
    if not len(targets):
        return EN["empty.no_such_kind"]
    if narrowed is not None and not withheld:
        return EN["empty.narrowed"]
    if np.isin(targets, entry.row_columns).all():
        return EN["empty.all_on_record"]
    return EN["empty.withheld"] if withheld else EN["empty.not_scored"]

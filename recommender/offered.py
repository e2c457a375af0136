"""An entry and its reading in, the offer as whoever reads it sees it out: names, reasons, warnings and gaps as values.

The API, the pages, the cards of CDS Hooks and the printed lists all show these; each adds words or a frame of its own.
The values are msgspec structs because hundreds of them are made for each list: an eighth of a frozen dataclass's time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from recommender import offer
from recommender.errors import StoreCorrupt
from recommender.fallback import PUBLISHED, Basis
from recommender.formulary import Formulary, Status
from recommender.given import ByRoute
from recommender.models.base import Contributions
from recommender.offer import Candidate, Desk, Withheld
from recommender.records import THERAPIES
from recommender.safety.charts import OLDEST
from recommender.safety.verdict import Alert, Gap, Outcome, Reading, Verdict
from recommender.snapshot import Entry, Release

TOLERANCE = 1e-4  # parts and score are float32 sums of the same terms in another order, in steps: far below this
COUNTED = ("treatments", "conditions")  # blocks of reasons beside which patients are counted
SECONDS_A_DAY = 86_400
# SNOMED CT closes a name with what sort of thing it is; beside a heading that says so already it is noise
SEMANTIC_TAG = re.compile(
    r" \((disorder|finding|situation|event|procedure|regime/therapy|substance|morphologic abnormality)\)$"
)


class ReasonPart(Struct, frozen=True, gc=False):
    """One thing on the patient's record and what it adds to a score."""

    code: str
    name: str
    kind: str
    block: str
    contribution: float


class Warned(Struct, frozen=True, gc=False):
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


class NotChecked(Struct, frozen=True, gc=False):
    """What could not be checked, and what would make it checkable. kind: "drug", "kind", "therapy", "allergy",
    "condition", "person" or "lab"."""

    kind: str
    about: str
    mend: str


class Evidence(Struct, frozen=True, gc=False):
    """About how many patients had the treatment, and how many of them share this patient's strongest counted reason.

    Texts, because small numbers are hidden ("<11") and others rounded to tens.
    """

    patients: str
    sharing: str | None
    shared: str | None


class Item(Struct, frozen=True):
    """One suggestion; the contributions of `reasons`, largest first by size, add up to `score`.

    `formulary`: its status on the site's formulary, "unknown" without one, and of what is no drug.

    `probability`: the share of suggestions with such a score that began within the time that the manifest states;
    null where that was not measured, as it is only for the first of the therapies. `labelled_for`: the conditions on
    the chart that the drug has a label for; null where no labelled use of it is on file. `outcome`: "kept", or
    "not_checked" where nobody knows which drug it is, or it is none. `score_rank`: its rank by score alone, before what
    is withheld was taken out and what carries a warning was moved down.

    `routes`: by which ways patients here had the drug, the most usual first; empty for what is no drug.
    """

    rank: int
    code: str
    name: str
    kind: str
    group: str
    formulary: Status
    routes: tuple[ByRoute, ...]
    score: float
    score_rank: int
    probability: float | None
    labelled_for: tuple[str, ...] | None
    outcome: Outcome
    warnings: tuple[Warned, ...]
    not_checked: tuple[NotChecked, ...]
    evidence: Evidence | None
    reasons: tuple[ReasonPart, ...]


class Alternative(Struct, frozen=True):
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


class WithheldItem(Struct, frozen=True):
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


class CurrentDrug(Struct, frozen=True):
    """A drug that the patient takes, with what stands against it; a pair is told with the first of its two drugs."""

    code: str
    name: str
    warnings: tuple[Warned, ...]


class Offered(Struct, frozen=True):
    """A whole offer. drugs_checked: (understood, all) of the drugs that the patient takes."""

    items: tuple[Item, ...]
    withheld: tuple[WithheldItem, ...]
    therapy: tuple[CurrentDrug, ...]
    not_checked: tuple[NotChecked, ...]
    drugs_checked: tuple[int, int]


def offered(
    desk: Desk,
    entry: Entry,
    reading: Reading,
    n: int,
    kinds: Collection[str] = THERAPIES,
    *,
    basis: Basis = PUBLISHED,
    narrowed: Entry | None = None,
) -> Offered:
    """The n best of `kinds`, screened. narrowed: the candidates that were asked for, where not all were.

    Raises StoreCorrupt when a score is not the sum of its parts.
    """
    found = desk.offer(entry if narrowed is None else narrowed, reading, n, kinds)
    likely = {} if basis.counted else likely_of(desk.release, entry)
    reasons = basis.reasons(desk.release, entry, found.items)
    labels, formulary = desk.labels(reading), desk.formulary()
    return Offered(
        tuple(
            _item(desk, labels, formulary, rank, one, likely.get(one.column_ix), parts)
            for rank, (one, parts) in enumerate(zip(found.items, reasons, strict=True), start=1)
        ),
        tuple(_withheld(desk, one) for one in found.withheld),
        tuple(_current(one) for one in found.therapy),
        gaps_of(found.gaps),
        found.drugs_checked,
    )


def elapsed_days(release: Release, now: datetime | None = None) -> int:
    """Days since the charts were read, so that a value ages though no new night came. An unknown time is long ago."""
    try:
        created = datetime.fromisoformat(str(release.manifest["created"]))
        passed = ((now or datetime.now(UTC)) - created).total_seconds()
    except (KeyError, TypeError, ValueError):
        return OLDEST
    return min(OLDEST, max(0, int(passed // SECONDS_A_DAY)))


def likely_of(release: Release, entry: Entry) -> dict[int, float]:
    """The probability of each of the first therapies, as far down the list as it was measured."""
    if release.chances is None:
        return {}
    therapies = release.index.is_of(THERAPIES)[entry.columns].nonzero()[0][: release.chances_depth]
    found = release.chances.probability(entry.scores[therapies])
    return dict(zip(entry.columns[therapies].tolist(), found.tolist(), strict=True))


def warnings_of(alerts: Sequence[Alert]) -> tuple[Warned, ...]:
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


def gaps_of(gaps: Sequence[Gap]) -> tuple[NotChecked, ...]:
    return tuple(NotChecked(gap.kind, gap.about, gap.mend) for gap in gaps)


def plain_name(name: str) -> str:
    """The name of a thing without the tag that SNOMED CT puts behind it."""
    return SEMANTIC_TAG.sub("", name)


def _item(
    desk: Desk,
    labels: frozenset[str],
    formulary: Formulary,
    rank: int,
    one: Candidate,
    probability: float | None,
    reasons: Contributions,
) -> Item:
    release, column = desk.release, desk.release.index.columns[one.column_ix]
    told, columns, values = release.index.told, reasons.columns.tolist(), reasons.values.tolist()
    # an entry read with another model's release would pass every checksum and still explain the wrong drug
    if not abs(math.fsum(values) - one.score) <= TOLERANCE * max(1.0, abs(one.score)):
        raise StoreCorrupt("a published score is not the sum of its reasons: publish again with `rxrec nightly`")
    return Item(
        rank=rank,
        code=column.code,
        name=column.name,
        kind=column.kind,
        group=column.group,
        formulary=formulary.status(column.code, column.kind),
        routes=release.routes(column.code) if column.kind == "drug" else (),
        score=one.score,
        score_rank=one.place,
        probability=probability,
        labelled_for=desk.labelled_for(one.column_ix, labels),
        outcome=one.verdict.outcome,
        warnings=warnings_of(one.verdict.alerts),
        not_checked=gaps_of(one.verdict.gaps),
        evidence=_evidence(release, one.column_ix, reasons),
        reasons=tuple(
            [
                ReasonPart(code, name, kind, block, value)
                for (code, name, kind, block), value in zip(map(told.__getitem__, columns), values, strict=True)
            ]
        ),
    )


def _evidence(release: Release, column_ix: int, reasons: Contributions) -> Evidence | None:
    if release.support is None:
        return None
    target = int(release.index.target_of_column[column_ix])
    patients = release.support.had(target).text
    for ix, value in zip(*(part.tolist() for part in reasons), strict=True):
        if value > 0 and release.index.block_of(ix) in COUNTED:
            return Evidence(patients, release.support.together(ix, target).text, release.index.columns[ix].name)
    return Evidence(patients, None, None)


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
        warnings=warnings_of(one.candidate.verdict.alerts),
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
        warnings=warnings_of(one.verdict.alerts),
        not_checked=gaps_of(one.verdict.gaps),
    )


def _current(one: Verdict) -> CurrentDrug:
    return CurrentDrug(one.drug.code, one.drug.name, warnings_of(one.alerts))

"""A desk, one patient's entry and n in, the typed answer out: the same value behind the JSON and the page."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime

import numpy as np
from msgspec import Struct

from api.words import EN, Words
from recommender.fallback import PUBLISHED, Basis, Source
from recommender.offer import Desk
from recommender.offered import CurrentDrug, Item, NotChecked, WithheldItem, elapsed_days, offered
from recommender.records import THERAPIES
from recommender.safety.verdict import Reading
from recommender.snapshot import Entry, Release

DEFAULT_N = 10
DEFAULT_DEPTH, DEFAULT_PER_KIND = 50, 20  # longest lists where the manifest does not state what was published
FORMAT = "7"  # part of the ETag: raise it when the JSON of an unchanged entry changes


class Safety(Struct, frozen=True):
    """What was checked, by which rules of which days, and how many of the current drugs were understood."""

    checked: bool
    statement: str
    rules: int
    rules_version: str
    rules_reviewed: str
    drugs_understood: int
    drugs_on_chart: int


class Answer(Struct, frozen=True):
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
    found = offered(desk, entry, reading, n, kinds, basis=basis, narrowed=narrowed)
    return Answer(
        patient_id=patient_id,
        kinds=kinds,
        source=basis.source,
        version=release.version,
        created=str(manifest.get("created", "")),
        data_as_of=str(manifest.get("as_of", "")),
        synthetic=manifest.get("synthetic") is True,
        safety=safety(desk, found.drugs_checked),
        not_checked=found.not_checked,
        items=found.items,
        withheld=found.withheld,
        current_therapy=found.therapy,
        message=None if found.items else _why_empty(release, entry, kinds, bool(found.withheld), narrowed),
    )


def safety(desk: Desk, drugs: tuple[int, int] = (0, 0)) -> Safety:
    """Which rules every list is screened by. `drugs`: understood, and all."""
    rules = desk.screen.rules
    counted = sum(count for family, count in rules.counts.items() if family != "pairs")
    newest = rules.reviewed[1].isoformat()
    statement = Words()("safety.statement", rules=f"{counted:,}", date=newest)
    return Safety(True, statement, counted, rules.version, newest, *drugs)


def etag(desk: Desk, entry: Entry, patient_id: str, asked: Sequence[str], elapsed: int) -> str:
    """A weak ETag's value, of all that an answer is made from: version, rules, formulary, day, patient, entry, and what
    was asked for. Where it is the same the answer is, in every process."""
    settings = (desk.screen.rules.version, str(desk.cost), desk.formulary().version, str(desk.formulary_first))
    chart = entry.chart
    arrays = (entry.columns, entry.scores, entry.row_columns, entry.row_weights, chart.concept, chart.days, chart.value)
    told = (FORMAT, desk.release.version, *settings, elapsed, patient_id, *asked, chart.age, chart.sex)
    digest = hashlib.sha256(repr((told, [len(array) for array in arrays])).encode(errors="surrogatepass"))
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def _why_empty(release: Release, entry: Entry, kinds: Collection[str], withheld: bool, narrowed: Entry | None) -> str:
    targets = release.index.targets_of(kinds)
    if not len(targets):
        return EN["empty.no_such_kind"]
    if narrowed is not None and not withheld:
        return EN["empty.narrowed"]
    if np.isin(targets, entry.row_columns).all():
        return EN["empty.all_on_record"]
    return EN["empty.withheld"] if withheld else EN["empty.not_scored"]

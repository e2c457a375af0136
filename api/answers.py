"""A release, one patient's entry and n in, the typed answer out: the same value behind the JSON and the page."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from api.words import EN
from recommender.errors import StoreCorrupt
from recommender.explain import explain
from recommender.records import THERAPIES
from recommender.snapshot import Entry, Release

DEFAULT_N = 10
DEFAULT_DEPTH, DEFAULT_PER_KIND = 50, 20  # longest lists where the manifest does not state what was published
FORMAT = "3"  # part of the ETag: raise it when the JSON of an unchanged entry changes
TOLERANCE = 1e-4  # parts and score are float32 sums of the same terms in another order: far below this


@dataclass(frozen=True)
class ReasonPart:
    """One thing on the patient's record and what it adds to a score."""

    code: str
    name: str
    kind: str
    block: str
    contribution: float


@dataclass(frozen=True)
class Item:
    """One suggestion; the contributions of `reasons`, largest first by size, add up to `score`.

    `probability`: the share of suggestions with such a score that began within the time that the manifest states;
    null where that was not measured, as it is only for the first of the therapies.
    """

    rank: int
    code: str
    name: str
    kind: str
    group: str
    score: float
    probability: float | None
    reasons: tuple[ReasonPart, ...]


@dataclass(frozen=True)
class Safety:
    """What was checked: nothing, in this version of the API, whatever a manifest may say."""

    checked: bool
    statement: str


@dataclass(frozen=True)
class Answer:
    """`kinds`: those that were asked for. `message` says in words why `items` is empty, and is null otherwise."""

    patient_id: str
    kinds: tuple[str, ...]
    version: str
    created: str
    data_as_of: str
    synthetic: bool
    safety: Safety
    items: tuple[Item, ...]
    message: str | None


def longest(release: Release, kinds: Collection[str]) -> int:
    """The longest list of these kinds that this version can answer with, and be sure that nothing better is left out.

    Of all therapies together it holds the `depth` best, of each kind at least the `per_kind` best.
    """
    if set(kinds) == set(THERAPIES):
        return int(release.manifest.get("depth", DEFAULT_DEPTH))
    return int(release.manifest.get("per_kind", DEFAULT_PER_KIND))


def answer(release: Release, entry: Entry, patient_id: str, n: int, kinds: tuple[str, ...] = THERAPIES) -> Answer:
    """The n best suggestions of `kinds` with their exact reasons; n is at most `longest(release, kinds)`.

    Raises StoreCorrupt when a score is not the sum of its parts.
    """
    scored = zip(entry.columns.tolist(), entry.scores.tolist(), strict=True)
    asked = [(column_ix, score) for column_ix, score in scored if release.index.columns[column_ix].kind in kinds]
    likely = _likely(release, entry)
    items = tuple(_item(release, entry, rank, *one, likely.get(one[0])) for rank, one in enumerate(asked[:n], start=1))
    manifest = release.manifest
    return Answer(
        patient_id=patient_id,
        kinds=kinds,
        version=release.version,
        created=str(manifest.get("created", "")),
        data_as_of=str(manifest.get("as_of", "")),
        synthetic=manifest.get("synthetic") is True,
        safety=safety(manifest),
        items=items,
        message=None if items else _why_empty(release, entry, kinds),
    )


def safety(manifest: Mapping[str, Any]) -> Safety:
    """Fails closed: without a statement, or with one that claims a check, the answer is still `checked: false`."""
    stated = manifest.get("safety")
    statement = stated.get("statement") if isinstance(stated, Mapping) and stated.get("checked") is False else None
    return Safety(checked=False, statement=str(statement or EN["safety.default"]))


def etag(release: Release, entry: Entry, n: int, kinds: Collection[str] = THERAPIES) -> str:
    """A weak ETag's value: the same for the same version, entry, n and kinds, in every process."""
    digest = hashlib.sha256("\0".join((FORMAT, release.version, str(n), *kinds)).encode())
    for array in (entry.columns, entry.scores, entry.row_columns, entry.row_weights):
        digest.update(np.ascontiguousarray(array).tobytes() + b"\0")
    return digest.hexdigest()[:32]


def _likely(release: Release, entry: Entry) -> dict[int, float]:
    """The probability of each of the first therapies, as far down the list as it was measured."""
    if release.chances is None:
        return {}
    therapies = np.isin(entry.columns, release.index.targets_of(THERAPIES)).nonzero()[0][: release.chances_depth]
    found = release.chances.probability(entry.scores[therapies])
    return dict(zip(entry.columns[therapies].tolist(), found.tolist(), strict=True))


def _item(release: Release, entry: Entry, rank: int, column_ix: int, score: float, probability: float | None) -> Item:
    column = release.index.columns[column_ix]
    reasons = tuple(
        ReasonPart(r.column.code, r.column.name, r.column.kind, r.block, r.contribution)
        for r in explain(release, entry, column_ix)
    )
    # an entry read with another model's release would pass every checksum and still explain the wrong drug
    if not abs(math.fsum(r.contribution for r in reasons) - score) <= TOLERANCE * max(1.0, abs(score)):
        raise StoreCorrupt("a published score is not the sum of its reasons: publish again with `rxrec nightly`")
    return Item(rank, column.code, column.name, column.kind, column.group, score, probability, reasons)


def _why_empty(release: Release, entry: Entry, kinds: Collection[str]) -> str:
    targets = release.index.targets_of(kinds)
    if not len(targets):
        return EN["empty.no_such_kind"]
    if np.isin(targets, entry.row_columns).all():
        return EN["empty.all_on_record"]
    return EN["empty.not_scored"]

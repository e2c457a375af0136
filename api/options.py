"""A request's options in, what of a list is wanted out; and an entry with what is wanted of it in, the answer out.

The same options for a published patient, a chart that is sent and a batch: n, kind, class, exclude and explain.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import parse_qsl

import msgspec
import numpy as np
from flask import request
from msgspec import UNSET, Meta, Struct, UnsetType, field, structs
from werkzeug.datastructures import MultiDict

from api import answers
from api.answers import DEFAULT_N, Answer, answer_of, longest
from api.errors import BadParameter
from api.exchange import exchange
from api.kept import kept
from api.reference import reference
from api.types import WISHES, RouteWish
from recommender.fallback import PUBLISHED, Basis, narrowed
from recommender.offer import Desk
from recommender.offered import WithheldItem
from recommender.records import THERAPIES, TREATMENT_KINDS
from recommender.safety.verdict import Reading
from recommender.snapshot import Entry, Release
from recommender.vocabulary.text import key

MOST_EXCLUDED = 100
LONGEST_CODE = 200
YES = {"true": True, "false": False}
NAMES = ("n", "kind", "class", "route", "exclude", "explain")


class RecommendationQuery(Struct, frozen=True):
    """How long a list, and of what."""

    n: Annotated[int, Meta(ge=1, le=50, description="Longest list wanted; less where less was published")] = DEFAULT_N
    kind: Annotated[str, Meta(description="Kinds, separated by commas; the therapies if left out")] = ""
    class_: (
        Annotated[
            str,
            Meta(min_length=1, max_length=200, description="Of this class or therapeutic group only"),
        ]
        | UnsetType
    ) = field(default=UNSET, name="class")
    route: RouteWish | UnsetType = UNSET
    exclude: Annotated[str, Meta(description="Codes that are not wanted, separated by commas")] = ""
    explain: Annotated[bool, Meta(description="false leaves `reasons` empty")] = True


@dataclass(frozen=True)
class Wanted:
    """What of a list is wanted. group: a class of drugs or a therapeutic group, route: one of WISHES, "" for all;
    exclude: codes."""

    n: int = DEFAULT_N
    kinds: tuple[str, ...] = THERAPIES
    group: str = ""
    route: str = ""
    exclude: tuple[str, ...] = ()
    explain: bool = True

    @property
    def told(self) -> tuple[str, ...]:
        """All of it in words, for an ETag."""
        narrowing = [f"class={key(self.group)}"] if self.group else []
        narrowing += [f"route={self.route}"] if self.route else []
        narrowing += [f"exclude={code}" for code in self.exclude]
        return (f"n={self.n}", *self.kinds, *narrowing, f"explain={self.explain}")


def of_query(release: Release) -> Wanted:
    """The options of the query string, for lists of this release. Raises BadParameter, also for a name that is none of
    them: a misspelt `exclude` that is ignored would give what is not wanted."""
    return _read(exchange().query_string, longest(release, THERAPIES), longest(release, ()))


@lru_cache(maxsize=256)  # nearly every caller asks in the same words, and to read them anew took as long as to sign in
def _read(query: bytes, longest_of_all: int, longest_of_some: int) -> Wanted:
    quoted = "werkzeug.url_quote"  # what is no text stays percent-encoded, as in `request.args`
    told = MultiDict(parse_qsl(query.decode(errors=quoted), keep_blank_values=True, errors=quoted))
    if not told.keys() <= set(NAMES):
        raise BadParameter("query", f"the query may hold {', '.join(NAMES)} only")
    kinds = checked_kinds(told.getlist("kind"))
    group = told.getlist("class")
    if len(group) > 1:
        raise BadParameter("class", "class may be given once")
    return Wanted(
        n=checked_n(told.get("n", str(DEFAULT_N)), longest_of_all if kinds == THERAPIES else longest_of_some),
        kinds=kinds,
        group=_group(group[0]) if group else "",
        route=_route(told.getlist("route")),
        exclude=_codes([code for text in told.getlist("exclude") for code in text.split(",") if code]),
        explain=_yes(told.get("explain", "true")),
    )


def of_members(release: Release, members: Mapping[str, Any]) -> Wanted:
    """The options of a body, types checked; what it leaves out may stand in the query. Raises BadParameter."""
    wanted = of_query(release)
    twice = next((name for name in NAMES if name in members and name in request.args), None)
    if twice:
        raise BadParameter(twice, f"{twice} stands in the query and in the body: give it once")
    kinds = checked_kinds(members["kind"]) if "kind" in members else wanted.kinds
    n = checked_n(str(members.get("n", wanted.n)), longest(release, kinds))
    return Wanted(
        n=n,
        kinds=kinds,
        group=_group(members["class"]) if "class" in members else wanted.group,
        route=members.get("route", wanted.route),
        exclude=_codes(members["exclude"]) if "exclude" in members else wanted.exclude,
        explain=members.get("explain", wanted.explain),
    )


def answered(
    desk: Desk, entry: Entry, reading: Reading, patient_id: str, wanted: Wanted, basis: Basis = PUBLISHED
) -> Answer:
    """The answer of what is wanted. Raises BadParameter for a class that nobody knows."""
    only = None
    if wanted.group or wanted.route or wanted.exclude:
        only = narrowed(desk, entry, basis, _stays(desk, wanted))
    found = answer_of(desk, entry, reading, patient_id, wanted.n, wanted.kinds, basis=basis, narrowed=only)
    if wanted.exclude:
        found = structs.replace(found, withheld=tuple(_without(one, wanted.exclude) for one in found.withheld))
    if wanted.explain:
        return found
    return structs.replace(found, items=tuple(structs.replace(item, reasons=()) for item in found.items))


def etag(desk: Desk, entry: Entry, patient_id: str, wanted: Wanted, elapsed: int) -> str:
    """A weak ETag's value of a published patient's answer. elapsed: days since the charts were read."""
    return answers.etag(desk, entry, patient_id, wanted.told, elapsed)


def body_of(desk: Desk, entry: Entry, patient_id: str, wanted: Wanted, elapsed: int, tag: str) -> bytes:
    """A published patient's answer as JSON. tag: its `etag`; as long as that stays the same it is made once."""

    def make() -> bytes:
        reading = desk.reading(entry.chart, elapsed=elapsed)
        return msgspec.json.encode(answered(desk, entry, reading, patient_id, wanted))

    def holds() -> bool:
        return etag(desk, entry, patient_id, wanted, elapsed) == tag  # the formulary may have changed meanwhile

    return kept().body((desk.release.version, elapsed), tag, make, holds)


def _without(one: WithheldItem, codes: Collection[str]) -> WithheldItem:
    return structs.replace(one, alternatives=tuple(other for other in one.alternatives if other.code not in codes))


def checked_kinds(texts: Sequence[str]) -> tuple[str, ...]:
    """The kinds that are named, one or several (a,b) in each text; the therapies if none is. Raises BadParameter."""
    named = [name for text in texts for name in text.split(",") if name]
    if not set(named) <= set(TREATMENT_KINDS):
        raise BadParameter("kind", f"kind must be one or more of {', '.join(TREATMENT_KINDS)}")
    return tuple(kind for kind in TREATMENT_KINDS if kind in named) or THERAPIES


def checked_n(text: str, longest: int) -> int:
    """A list's length from its text. Raises BadParameter unless it is a whole number from 1 to `longest`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= longest):
        raise BadParameter("n", f"n must be a whole number from 1 to {longest}")
    return int(text)


def _group(text: str) -> str:
    if not key(text) or len(text) > LONGEST_CODE:
        raise BadParameter("class", f"class must be a name of 1 to {LONGEST_CODE} characters")
    return text


def _route(told: Sequence[str]) -> str:
    if told and (len(told) > 1 or told[0] not in WISHES):
        raise BadParameter("route", f"route must be one of {', '.join(WISHES)}")
    return told[0] if told else ""


def _codes(codes: Collection[str]) -> tuple[str, ...]:
    if len(codes) > MOST_EXCLUDED or any(not 1 <= len(code) <= LONGEST_CODE for code in codes):
        most = f"{MOST_EXCLUDED} codes at most, each of 1 to {LONGEST_CODE} characters"
        raise BadParameter("exclude", f"exclude must be {most}, as lists give them")
    return tuple(sorted(set(codes)))


def _yes(text: str) -> bool:
    if text not in YES:
        raise BadParameter("explain", "explain must be true or false")
    return YES[text]


def _stays(desk: Desk, wanted: Wanted) -> np.ndarray:  # (n_columns,) bool
    """Which columns are wanted."""
    index = desk.release.index
    stays = np.ones(len(index), dtype=bool)
    if wanted.group:
        group = key(wanted.group)
        every = reference().catalogue(desk.release).treatments
        mine = [one.column_ix for one in every if group in (key(one.group), key(one.chapter))]
        if not mine:
            raise BadParameter("class", "class names no class of drugs: GET /v1/treatments tells each drug's")
        stays[:] = False
        stays[[ix for ix in mine if ix >= 0]] = True
    if wanted.route:
        drugs = (c.kind == "drug" and desk.release.by_route(c.code, wanted.route) for c in index.columns)
        stays &= np.fromiter(drugs, dtype=bool, count=len(index))
    unwanted = frozenset(wanted.exclude)
    stays &= np.array([column.code not in unwanted for column in index.columns], dtype=bool)
    return stays

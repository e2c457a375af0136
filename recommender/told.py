"""The entries of one person's chart in, `Records` of that person out, in a few milliseconds.

What `loaders.standardised` and `Assembly` do with an export, done with one chart's dozens of entries, for which frames
are slow: the same names, units, checks and order. `tests/recommender/test_told.py` holds it to what those give.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, get_args

import numpy as np
import pandas as pd

from recommender.ingest_log import IngestLog
from recommender.loaders.measurements import converted
from recommender.loaders.naming import named_drug
from recommender.records import SCHEMA, TABLE_OF_KIND, TIME, Records, Table
from recommender.vocabulary import DrugMatch, DrugVocabulary
from recommender.vocabulary.routes import route_bit

PERSON = "person"  # stands for an id that nobody needs
DAY = 86_400
BIRTH_TOLERANCE = 366 * DAY  # some sources know the year of birth only
MISSING = np.iinfo(np.int64).min  # a missing time, in seconds as datetime64 holds it
DATES = ("start", "stop")
Named = tuple[str, str, str, str]
"""Code, name, group, unit."""


@dataclass(frozen=True)
class Told:
    """One entry of a chart in a request. `code`: "rxnorm:6809", "icd10cm:E11.9", "loinc:2160-0", or "" where there is
    only a name. Times are aware; `start` None: since ever; `stop` None: it goes on. value, unit: of an observation.
    route: how a drug is given, in words, where the name does not tell it."""

    kind: str
    code: str
    name: str
    start: datetime | None = None
    stop: datetime | None = None
    value: float | None = None
    unit: str = ""
    route: str = ""


@dataclass(frozen=True)
class _Event:
    """An entry that can be used. row: its place, from 1; times in seconds since 1970."""

    row: int
    kind: str
    described: Named
    start: int
    stop: int
    value: float = math.nan
    local: bool = False
    routes: int = 0


def records_of(
    entries: Sequence[Told],
    as_of: datetime,
    vocabulary: DrugVocabulary,
    *,
    birth_date: datetime | None = None,
    sex: str = "unknown",
) -> Records:
    """The entries as records of one person, read at `as_of`; `Records.log` tells of each entry that cannot be used, by
    its place from 1. What is told to begin later begins at `as_of`: two systems' clocks differ, and an order for
    tomorrow is to be screened today."""
    log = IngestLog()
    moment, born = _seconds(as_of), MISSING if birth_date is None else _seconds(birth_date)
    usable = list(_usable(entries, moment, born, vocabulary, log))
    concepts, place, unit_of = _concepts(usable)
    kept: dict[tuple[Any, ...], _Event] = {}
    for event in _by_kind(usable):
        where = f"chart {event.kind}"
        if event.described[3] != unit_of[event.kind, event.described[0]]:
            log.add(where, "unit", "not the unit that most rows of this code have", [event.row])
            continue
        value = None if math.isnan(event.value) else event.value
        same = (event.kind, event.described[0], event.start, event.stop, value, event.local)
        if same in kept:
            log.add(where, "row", "repeats an earlier row (same patient, code, times and value)", [event.row])
            event = replace(kept[same], routes=kept[same].routes | event.routes)
        kept[same] = event
    of_table: dict[str, list[_Event]] = {table: [] for table in get_args(Table)}
    for event in kept.values():
        of_table[TABLE_OF_KIND[event.kind]].append(event)
    for kind, count in Counter(entry.kind for entry in entries).items():
        log.count_read(f"chart {kind}", count)
        log.count_kept(f"chart {kind}", count - log.rejected(f"chart {kind}"))
    person = {"birth_date": _times([born]), "as_of": _times([moment]), "patient_id": [PERSON], "sex": [sex]}
    person |= {"race": ["unknown"], "ethnicity": ["unknown"], "site": [""]}
    words = {name: pd.Series(column, dtype="str") for name, column in zip(SCHEMA["concepts"], concepts, strict=True)}
    return Records(
        patients=pd.DataFrame({n: person[n] for n in SCHEMA["patients"]}).astype(SCHEMA["patients"]),
        concepts=pd.DataFrame(words),
        log=log,
        **{table: _table(table, events, place) for table, events in of_table.items()},
    )


def _usable(
    entries: Sequence[Told], moment: int, born: int, vocabulary: DrugVocabulary, log: IngestLog
) -> Iterator[_Event]:
    matches: dict[tuple[str, str, str], tuple[DrugMatch, bool]] = {}
    for row, entry in enumerate(entries, start=1):
        where = f"chart {entry.kind}"

        def refused(field: str, reason: str, where: str = where, row: int = row) -> None:
            saved = where == "chart allergy" and field in DATES
            log.add(where, field, reason, [row], "set aside" if saved else "rejected")

        if not entry.code and not entry.name:
            refused("code", "neither a code nor a name")
            continue
        described = (entry.code or f"text:{entry.name.lower()}", entry.name or entry.code, "", "")
        start = moment - DAY if entry.start is None else min(_seconds(entry.start), moment)
        stop = MISSING if entry.stop is None else _seconds(entry.stop)
        event = _Event(row, entry.kind, described, start, stop)
        if entry.kind == "drug":
            asked = (entry.code, entry.name, entry.route)
            if asked not in matches:
                matches[asked] = named_drug(vocabulary, *asked)
            match, local = matches[asked]
            if match.status == "not_therapy":
                refused("name", f"not therapy: {match.method.removeprefix('rule:')}")
                continue
            described = (match.code, match.name, match.drug_class, "")
            event = replace(event, described=described, local=local, routes=route_bit(match.route_class))
        elif entry.kind == "observation":
            value, unit, why = converted(described[0], entry.unit, math.nan if entry.value is None else entry.value)
            if why:
                refused("unit" if "unit" in why else "value", why)
                continue
            event = replace(event, described=(*described[:3], unit), value=value)
        # a wrong date must not hide an allergy: it counts as known since birth, and as still there
        if born != MISSING and start < born - BIRTH_TOLERANCE:
            refused("start", "date is before birth")
            if entry.kind != "allergy":
                continue
            event = replace(event, start=born)
        if event.stop != MISSING and event.stop < event.start:
            refused("stop", "stop is before start")
            if entry.kind != "allergy":
                continue
            event = replace(event, stop=MISSING)
        yield event


def _by_kind(events: Sequence[_Event]) -> Iterator[_Event]:
    """In the order in which kinds are first told of."""
    for kind in dict.fromkeys(event.kind for event in events):
        yield from (event for event in events if event.kind == kind)


def _concepts(
    events: Sequence[_Event],
) -> tuple[list[list[str]], dict[tuple[str, str], int], dict[tuple[str, str], str]]:
    """The columns of the table of distinct (kind, code), in that order, each as most of its events describe it; where
    each stands in it; and its unit."""
    counts = Counter((event.kind, event.described) for event in events)
    found: dict[tuple[str, str], tuple[tuple[Any, ...], Named]] = {}
    for (kind, described), count in counts.items():
        code, name, group, unit = described
        # of two names as frequent, the one that comes later in the alphabet: METFORMIN stands before Metformin
        rank = (-count, [-ord(mark) for mark in name] + [1], group, unit)
        if (kind, code) not in found or rank < found[kind, code][0]:
            found[kind, code] = (rank, described)
    order = sorted(found)
    told = [found[key][1] for key in order]
    columns = [[d[0] for d in told], [kind for kind, _ in order], *([d[n] for d in told] for n in (1, 2, 3))]
    units = {key: described[3] for key, described in zip(order, told, strict=True)}
    return columns, {key: place for place, key in enumerate(order)}, units


def _table(name: str, events: Sequence[_Event], place: dict[tuple[str, str], int]) -> pd.DataFrame:
    n = len(events)
    columns: dict[str, Any] = {
        "patient_ix": np.zeros(n, dtype=np.int32),
        "concept_ix": np.array([place[event.kind, event.described[0]] for event in events], dtype=np.int32),
        "start": _times([event.start for event in events]),
        "stop": _times([event.stop for event in events]),
        "reported": np.zeros(n, dtype=bool),
        "local": np.array([event.local for event in events], dtype=bool),
        "routes": np.array([event.routes for event in events], dtype=np.uint32),
        "value": np.array([event.value for event in events], dtype=np.float64),
    }
    return pd.DataFrame({column: columns[column] for column in SCHEMA[name]})


def _times(seconds: Sequence[int]) -> pd.Series:
    return pd.Series(pd.array(np.array(seconds, dtype=np.int64), dtype=TIME, copy=False), copy=False)


def _seconds(time: datetime) -> int:
    return math.floor(time.astimezone(UTC).timestamp())

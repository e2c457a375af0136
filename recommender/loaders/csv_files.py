"""Plain CSV or Parquet files with the columns documented here in, their people and events out.

- `treatments`: patient_id, code; name, start, stop, group, kind (drug, procedure, care_plan, care_resource; else drug)
- `patients`: patient_id; birth_date, sex, race, ethnicity
- `conditions`, `allergies`: patient_id, code; name, start, stop, group
- `observations`: patient_id, code, value; unit, name, start

Only `treatments` and the columns before the semicolons must be there, so any data of people and items can be used.
Without `patients`, the people are those whom `treatments` names. A row without code is known by its name. Without a
start column, all events of a file share one date: the latest found in any file, and not before 2000-01-01. What has no
stop is still going on, but a procedure and a care resource are over at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pandas as pd

from recommender.errors import InputError
from recommender.ingest_log import IngestLog
from recommender.loaders.columns import per_distinct
from recommender.loaders.people import people, unlisted
from recommender.loaders.tabular import Column, Export, Table, TableSpec, number, text, time
from recommender.records import TREATMENT_KINDS, RawEvents, RawPatients

EVENT: dict[str, Column] = {
    "patient_id": text("patient_id"),
    "code": text("code"),
    "name": text("name", required=False, lines=True),
    "group": text("group", required=False),
    "start": time("start", required=False),
    "stop": time("stop", required=False),
}
# an allergy whose dates cannot be read is still an allergy
UNDATED = {
    "start": time("start", required=False, unreadable="set aside"),
    "stop": time("stop", required=False, unreadable="set aside"),
}
KINDS = frozenset(TREATMENT_KINDS)
PATIENTS = TableSpec(
    "patients",
    {
        "patient_id": text("patient_id"),
        "birth_date": time("birth_date", required=False, unreadable="set aside"),
        "sex": text("sex", required=False),
        "race": text("race", required=False),
        "ethnicity": text("ethnicity", required=False),
    },
    optional=True,
)
ORDERED = {"kind": text("kind", required=False), "route": text("route", required=False)}
TREATMENTS = TableSpec("treatments", {**EVENT, **ORDERED})
CONDITIONS = TableSpec("conditions", EVENT, optional=True)
ALLERGIES = TableSpec("allergies", {**EVENT, **UNDATED}, optional=True)
OBSERVATIONS = TableSpec(
    "observations",
    {**EVENT, "value": number("value", filled=True), "unit": text("unit", required=False)},
    optional=True,
)
OTHERS = CONDITIONS, ALLERGIES, OBSERVATIONS
EARLIEST_SHARED = pd.Timestamp("2000-01-01", tz="UTC")


def load(export: Export) -> tuple[RawPatients, Iterator[RawEvents]]:
    """Read what is there of the five tables."""
    listed = export.read(PATIENTS)
    patients = people(listed, export.log) if listed.found else unlisted(*_named_ids(export), export.log)
    return patients, _events(export, listed)


def _events(export: Export, listed: Table) -> Iterator[RawEvents]:
    log = export.log
    shared = cache(lambda: _shared_date(export, listed))
    for piece in export.pieces(TREATMENTS):
        yield from _by_kind(_dated(piece, shared, log), log)
    for piece in export.pieces(CONDITIONS):
        yield _dated(piece, shared, log).events("condition")
    for piece in export.pieces(ALLERGIES):
        yield _dated(piece, shared, log).events("allergy")
    for piece in export.pieces(OBSERVATIONS):
        dated = _dated(piece, shared, log)
        yield dated.assign(stop=dated.frame["start"]).events("observation")


def _named_ids(export: Export) -> tuple[str, pd.Series]:
    """The file of treatments, and each patient id in it once."""
    ahead, file, ids = export.unlogged(), TREATMENTS.name, pd.Series(dtype="str")
    for piece in ahead.pieces(TREATMENTS):
        more = piece.frame["patient_id"].dropna().drop_duplicates().astype("str")
        file, ids = piece.file, pd.concat([ids, more]).drop_duplicates()
    if ids.empty:
        raise InputError(f"no row of a patient can be used{ahead.log.main_reason}", file=file)
    return file, ids


def _shared_date(export: Export, listed: Table) -> pd.Timestamp:
    """The latest date found anywhere: a look ahead at all tables."""
    pieces = (piece for spec in (TREATMENTS, *OTHERS) for piece in export.unlogged().pieces(spec))
    dates = [listed.frame["birth_date"].max(), *(piece.frame["start"].max() for piece in pieces)]
    return max([EARLIEST_SHARED, *(date for date in dates if pd.notna(date))])


def _dated(table: Table, shared: Callable[[], pd.Timestamp], log: IngestLog) -> Table:
    """Every event of a file without a start column at the one shared date."""
    if "start" in table.found or table.frame.empty:
        return table
    log.add(table.file, "start", "no such column: all events share one date", table.frame["row"], "set aside")
    return table.assign(start=shared().as_unit("s"))


def _by_kind(table: Table, log: IngestLog) -> list[RawEvents]:
    kind = per_distinct(lambda text: (text or "drug").lower().replace(" ", "_"), table.frame["kind"])
    table = table.assign(kind=kind).without(~kind.isin(KINDS), log, "kind", f"not one of {', '.join(TREATMENT_KINDS)}")
    events = [replace(table, frame=part).events(str(kind)) for kind, part in table.frame.groupby("kind", observed=True)]
    return [_at_once(raw) if raw.kind in ("procedure", "care_resource") else raw for raw in events]


def _at_once(raw: RawEvents) -> RawEvents:
    return replace(raw, frame=raw.frame.assign(stop=raw.frame["stop"].fillna(raw.frame["start"])))

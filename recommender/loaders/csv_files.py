"""Plain CSV or Parquet files with the columns documented here in, their people and events out.

- `treatments`: patient_id, code; name, start, stop, group, kind (drug, procedure or care_plan; drug where empty)
- `patients`: patient_id; birth_date, sex, race, ethnicity
- `conditions`, `allergies`: patient_id, code; name, start, stop, group
- `observations`: patient_id, code, value; unit, name, start

Only `treatments` and the columns before the semicolons must be there, so any data of people and items can be used.
Without `patients`, the people are those whom `treatments` names. A row without code is known by its name. Without a
start column, all events of a file share one date: the latest found in any file, and not before 2000-01-01. What has no
stop is still going on, but a procedure is over at once.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

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
TREATMENTS = TableSpec("treatments", {**EVENT, "kind": text("kind", required=False)})
CONDITIONS = TableSpec("conditions", EVENT, optional=True)
ALLERGIES = TableSpec("allergies", {**EVENT, **UNDATED}, optional=True)
OBSERVATIONS = TableSpec(
    "observations",
    {**EVENT, "value": number("value", filled=True), "unit": text("unit", required=False)},
    optional=True,
)
EARLIEST_SHARED = pd.Timestamp("2000-01-01", tz="UTC")


def load(export: Export) -> tuple[RawPatients, list[RawEvents]]:
    """Read what is there of the five tables."""
    log = export.log
    listed, treatments = export.read(PATIENTS), export.read(TREATMENTS)
    conditions, allergies, observations = (export.read(spec) for spec in (CONDITIONS, ALLERGIES, OBSERVATIONS))
    tables = treatments, conditions, allergies, observations
    dates = [listed.frame["birth_date"], *(table.frame["start"] for table in tables)]
    shared = max([EARLIEST_SHARED, *(latest for column in dates if pd.notna(latest := column.max()))])
    treatments, conditions, allergies, observations = (
        _dated(table, shared, log) for table in (treatments, conditions, allergies, observations)
    )
    patients = people(listed, log) if listed.found else unlisted(treatments, log)
    return patients, [
        *_by_kind(treatments, log),
        conditions.events("condition"),
        allergies.events("allergy"),
        observations.assign(stop=observations.frame["start"]).events("observation"),
    ]


def _dated(table: Table, shared: pd.Timestamp, log: IngestLog) -> Table:
    """Every event of a file without a start column at the one shared date."""
    if "start" in table.found or table.frame.empty:
        return table
    log.add(table.file, "start", "no such column: all events share one date", table.frame["row"], "set aside")
    return table.assign(start=shared.as_unit("s"))


def _by_kind(table: Table, log: IngestLog) -> list[RawEvents]:
    kind = per_distinct(lambda text: (text or "drug").lower().replace(" ", "_"), table.frame["kind"])
    table = table.assign(kind=kind).without(~kind.isin(KINDS), log, "kind", f"not one of {', '.join(TREATMENT_KINDS)}")
    events = [replace(table, frame=part).events(str(kind)) for kind, part in table.frame.groupby("kind", observed=True)]
    return [_at_once(raw) if raw.kind == "procedure" else raw for raw in events]


def _at_once(raw: RawEvents) -> RawEvents:
    return replace(raw, frame=raw.frame.assign(stop=raw.frame["stop"].fillna(raw.frame["start"])))

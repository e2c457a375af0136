"""Raw patient and event tables in, `Records` out: the one validated form in which every later step sees a hospital.

All events have one shape, whatever they are (a drug order, a procedure, a diagnosis, an allergy, a lab value): who,
what, from when, until when. People and concepts are dense integers from here on; their external ids stand in
`patients` and `concepts`. Times are UTC-aware at second resolution, which also holds the far-future dates of
de-identified data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from recommender.errors import EngineError, InputError
from recommender.ingest_log import IngestLog

Table = Literal["treatments", "conditions", "allergies", "observations"]
TREATMENT_KINDS = ("drug", "procedure", "care_plan")
KINDS: dict[Table, tuple[str, ...]] = {
    "treatments": TREATMENT_KINDS,
    "conditions": ("condition",),
    "allergies": ("allergy",),
    "observations": ("observation",),
}
TABLE_OF_KIND: dict[str, Table] = {kind: table for table, kinds in KINDS.items() for kind in kinds}
TIME = "datetime64[s, UTC]"
SEXES = ("F", "M", "other", "unknown")

EVENT = {"patient_ix": "int32", "concept_ix": "int32", "start": TIME, "stop": TIME}
SCHEMA: dict[str, dict[str, str]] = {
    # row number = patient_ix; birth_date may be missing; as_of: the moment at which this person's chart is read
    "patients": {
        "patient_id": "str",
        "birth_date": TIME,
        "sex": "str",
        "race": "str",
        "ethnicity": "str",
        "as_of": TIME,
    },
    # row number = concept_ix; (kind, code) is unique; group: therapeutic class or "", unit: UCUM or ""
    "concepts": {"code": "str", "kind": "str", "name": "str", "group": "str", "unit": "str"},
    # start: when it was ordered, became known to the hospital, or was measured; stop missing: still going on
    "treatments": EVENT,
    "conditions": EVENT,
    "allergies": EVENT,
    "observations": {**EVENT, "value": "float64"},
}
BIRTH_TOLERANCE = pd.Timedelta(days=366)  # some sources know the year of birth only


@dataclass(frozen=True)
class RawPatients:
    """People as a loader read them. `frame`: row (int), patient_id, birth_date, sex, race, ethnicity[, as_of]."""

    file: str
    frame: pd.DataFrame


@dataclass(frozen=True)
class RawEvents:
    """Events of one kind as a loader read them, times parsed, codes final (system:code).

    `frame`: row (int), patient_id, code, name, start, stop and, where known, group, unit, value. Strings may be
    categorical.
    """

    file: str
    kind: str
    frame: pd.DataFrame


@dataclass(frozen=True)
class Records:
    """The validated tables of `SCHEMA`, and the account of what became of each row of the export."""

    patients: pd.DataFrame
    concepts: pd.DataFrame
    treatments: pd.DataFrame
    conditions: pd.DataFrame
    allergies: pd.DataFrame
    observations: pd.DataFrame
    log: IngestLog

    def __post_init__(self) -> None:
        for name, columns in SCHEMA.items():
            found = {str(c): str(t) for c, t in getattr(self, name).dtypes.items()}
            if found != columns:
                raise EngineError(f"records table {name} has columns {found}, expected {columns}")
        for name in get_args(Table):
            table = getattr(self, name)
            for column, limit in (("patient_ix", len(self.patients)), ("concept_ix", len(self.concepts))):
                if len(table) and not (table[column].min() >= 0 and table[column].max() < limit):
                    raise EngineError(f"records table {name} points outside its {column} table")

    @property
    def n_patients(self) -> int:
        return len(self.patients)

    @property
    def as_of(self) -> pd.Timestamp:
        """The latest moment at which any chart is read: the age of the data."""
        return self.patients["as_of"].max()


def assemble(people: RawPatients, events: Sequence[RawEvents], log: IngestLog) -> Records:
    """Resolve ids, reject what cannot be used (counted, with its reason), and build `Records`.

    Without an `as_of` column in `people`, every chart is read at the latest start of any usable event. Raises
    InputError when no patient is left.
    """
    patients = _patients(people, log)
    index = pd.Index(patients["patient_id"])
    births = patients["birth_date"]
    usable: list[tuple[RawEvents, pd.DataFrame]] = [(raw, _usable(raw, index, births, log)) for raw in events]
    if "as_of" not in patients:
        latest = max((frame["start"].max() for _, frame in usable if len(frame)), default=None)
        if latest is None:
            raise InputError("no usable event in any file, so there is nothing to learn from", file=people.file)
        patients["as_of"] = pd.Series(latest, index=patients.index, dtype=TIME)
    concepts, concept_ixs = _concepts(usable)
    tables: dict[str, list[pd.DataFrame]] = {table: [] for table in get_args(Table)}
    for (raw, frame), concept_ix in zip(usable, concept_ixs, strict=True):
        name = TABLE_OF_KIND[raw.kind]
        columns = [c for c in SCHEMA[name] if c != "concept_ix"]
        table = frame.reindex(columns=columns).assign(concept_ix=concept_ix).astype(SCHEMA[name])
        keep = ~table.duplicated()
        log.add(raw.file, "row", "an exact duplicate of an earlier row", frame.loc[~keep, "row"])
        log.count_kept(raw.file, int(keep.sum()))
        tables[name].append(table.loc[keep, list(SCHEMA[name])])
    log.check()
    return Records(
        patients=patients[list(SCHEMA["patients"])].astype(SCHEMA["patients"]),
        concepts=concepts,
        log=log,
        **{name: _concat(frames, SCHEMA[name]) for name, frames in tables.items()},
    )


def _patients(people: RawPatients, log: IngestLog) -> pd.DataFrame:
    frame = people.frame
    identified = frame["patient_id"].fillna("").astype(str).str.strip() != ""
    log.add(people.file, "patient_id", "patient id missing", frame.loc[~identified, "row"])
    frame = frame[identified]
    again = frame["patient_id"].duplicated()
    log.add(people.file, "patient_id", "the same patient id as an earlier row", frame.loc[again, "row"])
    frame = frame[~again].reset_index(drop=True)
    if frame.empty:
        raise InputError("no patient in this file can be used", file=people.file)
    log.count_kept(people.file, len(frame))
    unknown = ~frame["sex"].isin(SEXES)
    if unknown.any():
        raise EngineError(f"a loader gave sexes outside {SEXES}")
    return frame.assign(patient_id=frame["patient_id"].astype("str"))


def _usable(raw: RawEvents, index: pd.Index, births: pd.Series, log: IngestLog) -> pd.DataFrame:
    """The rows of `raw` that belong to a known patient at a possible time, with `patient_ix` (int32) added."""
    frame = raw.frame.assign(patient_ix=_positions(raw.frame["patient_id"], index))

    def reject(bad: pd.Series, field: str, reason: str) -> None:
        nonlocal frame
        log.add(raw.file, field, reason, frame.loc[bad, "row"])
        frame = frame[~bad]

    reject(frame["patient_id"].isna() | (frame["patient_id"] == ""), "patient_id", "patient id missing")
    reject(frame["patient_ix"] < 0, "patient_id", "patient id not in the patients file")
    reject(frame["start"].isna(), "start", "date missing")
    reject(frame["stop"] < frame["start"], "stop", "stop is before start")
    born = births.reindex(frame["patient_ix"]).set_axis(frame.index)
    reject(frame["start"] < born - BIRTH_TOLERANCE, "start", "date is before birth")
    return frame


def _positions(ids: pd.Series, index: pd.Index) -> np.ndarray:
    codes, uniques = pd.factorize(ids)
    lookup = np.append(index.get_indexer(pd.Index(uniques)), -1).astype(np.int32)  # code -1 (missing) -> -1
    return lookup[codes]


def _concepts(usable: Sequence[tuple[RawEvents, pd.DataFrame]]) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """The table of distinct (kind, code), in order of kind then code, and each frame's concept_ix (int32)."""
    seen = []
    for raw, frame in usable:
        described = frame.reindex(columns=["code", "name", "group", "unit"])
        first = described[~described["code"].duplicated()].astype("str").fillna("")
        seen.append(first.assign(kind=raw.kind))
    if not seen:
        return pd.DataFrame(columns=list(SCHEMA["concepts"])).astype(SCHEMA["concepts"]), []
    concepts = pd.concat(seen).drop_duplicates(["kind", "code"]).sort_values(["kind", "code"], ignore_index=True)
    positions = {kind: pd.Index(part["code"]) for kind, part in concepts.groupby("kind")}
    offset = {kind: int(part.index[0]) for kind, part in concepts.groupby("kind")}
    concept_ixs = [
        _positions(frame["code"], positions[raw.kind]) + np.int32(offset[raw.kind])
        if len(frame)
        else np.empty(0, dtype=np.int32)
        for raw, frame in usable
    ]
    return concepts[list(SCHEMA["concepts"])].astype(SCHEMA["concepts"]), concept_ixs


def _concat(frames: list[pd.DataFrame], schema: dict[str, str]) -> pd.DataFrame:
    if not frames:
        return pd.DataFrame({column: pd.Series(dtype=dtype) for column, dtype in schema.items()})
    return pd.concat(frames, ignore_index=True)

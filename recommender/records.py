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
from recommender.ingest_log import IngestLog, Outcome

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
    # row number = patient_ix; birth_date may be missing; site: the hospital that last treated this person, "" where the
    # source tells none; as_of: the moment at which this person's chart is read
    "patients": {
        "patient_id": "str",
        "birth_date": TIME,
        "sex": "str",
        "race": "str",
        "ethnicity": "str",
        "site": "str",
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
BIRTH_UNKNOWN = pd.Timestamp("1900-01-01", tz="UTC")  # since when an allergy without a date and a birth date is known


@dataclass(frozen=True)
class RawPatients:
    """People as a loader read them. `frame`: row (int), patient_id, birth_date, sex, race, ethnicity[, site, as_of]."""

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

    Without an `as_of` column in `people`, every chart is read at the latest start of any usable event; so that one slip
    of the pen does not age everybody, a start far in the future is rejected. An allergy is never lost to a wrong date.
    Raises InputError when no patient is left.
    """
    patients = _patients(people, log)
    index = pd.Index(patients["patient_id"])
    latest = None if "as_of" in patients else _latest_believable(events)
    usable = [(raw, _usable(raw, index, patients["birth_date"], latest, log)) for raw in events]
    if latest is not None:
        as_of = max((frame["start"].max() for _, frame in usable if len(frame)), default=None)
        if as_of is None:
            raise InputError(f"no usable event, so there is nothing to learn from{log.main_reason}")
        patients["as_of"] = pd.Series(as_of, index=patients.index, dtype=TIME)
    concepts = _concepts(usable)
    tables: dict[str, list[pd.DataFrame]] = {table: [] for table in get_args(Table)}
    for raw, frame in usable:
        name = TABLE_OF_KIND[raw.kind]
        frame = _in_one_unit(raw, frame.assign(concept_ix=_concept_ix(raw, frame, concepts)), concepts, log)
        table = frame.reindex(columns=list(SCHEMA[name])).astype(SCHEMA[name])
        repeats = _repeats(table)
        log.add(
            raw.file, "row", "repeats an earlier row (same patient, code, times and value)", frame.loc[repeats, "row"]
        )
        log.count_kept(raw.file, int((~repeats).sum()))
        tables[name].append(table[~repeats])
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
        raise InputError(f"no patient in this file can be used{log.main_reason}", file=people.file)
    log.count_kept(people.file, len(frame))
    unknown = ~frame["sex"].isin(SEXES)
    if unknown.any():
        raise EngineError(f"a loader gave sexes outside {SEXES}")
    return frame.assign(patient_id=frame["patient_id"].astype("str"), site=frame.get("site", ""))


def _latest_believable(events: Sequence[RawEvents]) -> pd.Timestamp:
    """Tomorrow, or a year after all but a thousandth of the starts: de-identified data may be set in the future."""
    starts = np.concatenate([np.empty(0, "M8[s]"), *(raw.frame["start"].dropna().to_numpy("M8[s]") for raw in events)])
    limit = pd.Timestamp.now("UTC") + pd.Timedelta(days=1)
    if len(starts) and starts.max() > limit.tz_localize(None).to_datetime64():
        usual = np.partition(starts, place := int(0.999 * (len(starts) - 1)))[place]
        limit = max(limit, pd.Timestamp(usual, tz="UTC") + pd.Timedelta(days=366))
    return limit


def _usable(
    raw: RawEvents, index: pd.Index, births: pd.Series, latest: pd.Timestamp | None, log: IngestLog
) -> pd.DataFrame:
    """The rows of `raw` that belong to a known patient at a possible time, with `patient_ix` (int32) added."""
    frame = raw.frame.assign(patient_ix=_positions(raw.frame["patient_id"], index))

    def settle(bad: pd.Series, field: str, reason: str, instead: pd.Series | None = None) -> None:
        """Reject the bad rows, or put `instead` in their field."""
        nonlocal frame
        if not bad.any():
            return
        outcome: Outcome = "rejected" if instead is None else "set aside"
        log.add(raw.file, field, reason, frame.loc[bad, "row"], outcome)
        frame = frame[~bad] if instead is None else frame.assign(**{field: frame[field].where(~bad, instead)})

    settle(frame["patient_id"].isna() | (frame["patient_id"] == ""), "patient_id", "patient id missing")
    settle(frame["patient_ix"] < 0, "patient_id", "patient id not in the patients file")
    born = pd.Series(births.array[frame["patient_ix"].to_numpy()], index=frame.index)
    # a wrong date must not hide an allergy: it counts as known since birth, and as still there
    always = born.fillna(BIRTH_UNKNOWN) if raw.kind == "allergy" else None
    never = pd.Series(pd.NaT, index=frame.index, dtype=TIME) if raw.kind == "allergy" else None
    settle(frame["start"].isna(), "start", "date missing", always)
    if latest is not None:
        settle(frame["start"] > latest, "start", "date lies in the future", always)
    settle(frame["start"] < born.reindex(frame.index) - BIRTH_TOLERANCE, "start", "date is before birth", always)
    settle(frame["stop"] < frame["start"], "stop", "stop is before start", never)
    return frame


def _positions(ids: pd.Series, index: pd.Index) -> np.ndarray:
    """Where each id (n,) stands in `index`, -1 where it does not."""
    if isinstance(ids.dtype, pd.CategoricalDtype):
        codes, uniques = ids.cat.codes.to_numpy(), ids.cat.categories
    else:
        codes, uniques = pd.factorize(ids)
    lookup = np.append(index.get_indexer(pd.Index(uniques)), -1).astype(np.int32)  # code -1 (missing) -> -1
    return lookup[codes]


def _concepts(usable: Sequence[tuple[RawEvents, pd.DataFrame]]) -> pd.DataFrame:
    """The table of distinct (kind, code), in order of kind then code, each as most of its rows describe it."""
    words = ["code", "name", "group", "unit"]
    seen = [pd.DataFrame(columns=["kind", *words], dtype="str").assign(rows=0)]
    for raw, frame in usable:
        told = [word for word in words if word in frame]
        counts = frame.groupby(told, observed=True, dropna=False, sort=False).size().reset_index(name="rows")
        counts[told] = counts[told].astype("str")
        seen.append(counts.reindex(columns=[*words, "rows"]).assign(kind=raw.kind))
    described = pd.concat(seen).fillna(dict.fromkeys(words, "")).groupby(["kind", *words], as_index=False)["rows"].sum()
    # of two names as frequent, the one that comes later in the alphabet: METFORMIN stands before Metformin
    described = described.sort_values(
        ["kind", "code", "rows", *words[1:]], ascending=[True, True, False, False, True, True]
    )
    concepts = described.drop_duplicates(["kind", "code"], ignore_index=True)
    return concepts[list(SCHEMA["concepts"])].astype(SCHEMA["concepts"])


def _concept_ix(raw: RawEvents, frame: pd.DataFrame, concepts: pd.DataFrame) -> np.ndarray:
    own = concepts.loc[concepts["kind"] == raw.kind, "code"]
    return _positions(frame["code"], pd.Index(own)) + np.int32(own.index[0] if len(own) else 0)


def _in_one_unit(raw: RawEvents, frame: pd.DataFrame, concepts: pd.DataFrame, log: IngestLog) -> pd.DataFrame:
    """Without the rows whose value is in another unit than most of their code's: numbers in two units must not mix."""
    if "unit" not in frame:
        return frame
    units = pd.Index(concepts["unit"].unique())
    usual = units.get_indexer(pd.Index(concepts["unit"]))[frame["concept_ix"]]
    given = np.where(frame["unit"].isna(), units.get_indexer(pd.Index([""])), _positions(frame["unit"], units))
    other = given != usual
    log.add(raw.file, "unit", "not the unit that most rows of this code have", frame.loc[other, "row"])
    return frame[~other]


def _repeats(table: pd.DataFrame) -> np.ndarray:
    """Which rows (n,) bool equal an earlier one. A hash tells the few that might; only those are compared."""
    suspects = pd.util.hash_pandas_object(table, index=False).duplicated(keep=False).to_numpy()
    repeats = suspects.copy()
    repeats[suspects] = table[suspects].duplicated().to_numpy()
    return repeats


def _concat(frames: list[pd.DataFrame], schema: dict[str, str]) -> pd.DataFrame:
    if not frames:
        return pd.DataFrame({column: pd.Series(dtype=dtype) for column, dtype in schema.items()})
    return pd.concat(frames, ignore_index=True)

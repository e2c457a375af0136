"""People, then their events piece by piece in; the validated `Records` out, in memory that no export's size decides.

An event that is taken in is from then on six numbers. With a scratch folder they lie in a file there, mapped into
memory, and so do the finished tables: the system may drop them from memory whenever it needs the room. What is held
whole is people and concepts.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from recommender.combinations import combinations
from recommender.errors import EngineError, InputError
from recommender.event_kernel import BEFORE_BIRTH, MISSING, NO_START, STOPS_EARLY, UNKNOWN_PATIENT, faults, repeats
from recommender.ingest_log import IngestLog, Outcome
from recommender.memory import mapped
from recommender.records import SCHEMA, SEXES, TABLE_OF_KIND, TIME, Clock, RawEvents, RawPatients, Records, Table
from recommender.text_index import TextIndex

BIRTH_TOLERANCE = 366 * 86_400  # seconds: some sources know the year of birth only
BIRTH_UNKNOWN = int(pd.Timestamp("1900-01-01").timestamp())  # since when an undated allergy is known of anybody
PIECE_ROWS = 1 << 20  # events handled at a time unless told otherwise
DAY, YEAR_DAYS = 86_400, 366
SMALLEST_SLAB, LARGEST_SLAB = 1 << 20, 1 << 28  # bytes
WORDS = ("code", "name", "group", "unit")
EVENT_TYPES = {
    "patient_ix": np.int32,
    "start": np.int64,
    "stop": np.int64,
    "value": np.float64,
    "reported": np.bool_,
    "local": np.bool_,
    "routes": np.uint32,
}
OPTIONAL = {"value": np.nan, "reported": False, "local": False, "routes": np.uint32(0)}


def assemble(people: RawPatients, events: Iterable[RawEvents], log: IngestLog) -> Records:
    """All at once what `Assembly` does piece by piece."""
    assembly = Assembly(people, log)
    for raw in events:
        assembly.add(raw)
    return assembly.finish()


def _nothing() -> None:  # with a name, as an assembly of a part is pickled
    pass


@dataclass(frozen=True)
class _Piece:
    """Usable events of one file and kind. `columns`: row, described (-> `_descriptions`), and those of EVENT_TYPES."""

    file: str
    kind: str
    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.columns["row"])

    def keep(self, good: np.ndarray) -> _Piece:
        """The events that are good, in the same place."""
        if good.all():
            return self
        kept = int(good.sum())
        for column in self.columns.values():
            column[:kept] = column[good]
        return replace(self, columns={name: column[:kept] for name, column in self.columns.items()})


Description = tuple[str, ...]  # kind, code, name, group, unit


@dataclass(frozen=True)
class Times:
    """Of some people: on what clock the loader says they are, of how many anything is `known`, of how many of them it
    lies `ahead` of today, the `last` thing known of any (seconds), and how many events start on each day."""

    clock: Clock
    known: int
    ahead: int
    last: int
    days: Counter[int]


@dataclass(frozen=True)
class AgreedClock:
    """Whether each person has an `own` clock; the `last` thing known of anybody; after `limit` nothing is believed."""

    own: bool
    last: int
    limit: int


@dataclass(frozen=True)
class Settled:
    """Of some people: the `latest` start of an event (seconds, MISSING without any); the rows of each description."""

    latest: int
    rows: dict[Description, int]


@dataclass(frozen=True)
class AgreedConcepts:
    """The `latest` start of all, the table of concepts, and of each description its concept and whether its unit is
    the one of most."""

    latest: int
    concepts: pd.DataFrame
    place: Mapping[Description, tuple[int, bool]]

    def of(self, described: Iterable[Description]) -> tuple[np.ndarray, np.ndarray]:
        """The concept (n,) int32 of each description, -1 where no event is left; and whether its unit is usual."""
        found = [self.place.get(one, (-1, False)) for one in described]
        concept, usual = zip(*found, strict=True) if found else ((), ())
        return np.array(concept, dtype=np.int32), np.array(usual, dtype=bool)


class Assembly:
    """Resolves ids, rejects what cannot be used (counted, with its reason), and builds `Records`.

    On one clock, every chart is read at the latest start of any usable event; so that one slip of the pen does not age
    everybody, a start far in the future is rejected. On clocks of their own (`RawPatients.clock`), each person's chart
    is read at the last thing known of that person. An allergy is never lost to a wrong date.
    """

    def __init__(
        self,
        people: RawPatients,
        log: IngestLog,
        scratch: Path | None = None,
        rows: int = PIECE_ROWS,
        *,
        whole: bool = True,
        between: Callable[[], object] = _nothing,
    ) -> None:
        """`rows`: how many events may be worked on at once. `whole`: not the part of an export that others have parts
        of too. `between`: what is done after each piece of work. Raises InputError when a whole export has no usable
        person."""
        self._log, self._rows, self._after = log, rows, between
        self._room = _Room(scratch)
        self._clock = people.clock
        self._patients = _patients(people, log)
        if whole and self._patients.empty:
            raise InputError(f"no patient in this file can be used{log.main_reason}", file=people.file)
        self._index = TextIndex(self._patients["patient_id"])
        self._born = _seconds(self._patients["birth_date"])
        self._last = _seconds(self._patients["as_of"]) if "as_of" in self._patients else self._nothing_known()
        self._pieces: list[_Piece] = []
        self._descriptions: dict[Description, int] = {}  # -> number
        self._agreed = AgreedClock(own=False, last=MISSING, limit=MISSING)

    def _nothing_known(self) -> np.ndarray:
        return np.full(len(self._patients), MISSING)

    def add(self, raw: RawEvents) -> None:
        """Take in the events of known patients at possible times."""
        columns, usable = self._usable(raw)
        number, first = _described(raw.frame, usable)
        words = zip(*([*_words(raw.frame, name, first)] for name in WORDS), strict=True)
        known = [self._descriptions.setdefault((raw.kind, *told), len(self._descriptions)) for told in words]
        columns["described"] = np.array(known, dtype=np.int32)[number]
        np.maximum.at(self._last, columns["patient_ix"], columns["start"])
        kept = {name: self._room.keep(column) for name, column in columns.items()}
        self._pieces.append(_Piece(raw.file, raw.kind, kept))
        self._after()

    def finish(self) -> Records:
        """Raises InputError when nothing usable is left, EngineError when a row is not accounted for.

        What has to be known of all people before anybody's events can be settled is told by each step to the next; so
        an export that lies in parts, each with an assembly of its own, goes the same way (`distributed.reading`).
        """
        settled = self.settle(agreed_clock([self.times()]))
        if settled.latest == MISSING and not self._agreed.own:
            raise InputError(f"no usable event, so there is nothing to learn from{self._log.main_reason}")
        return self.records(agreed_concepts([settled]))

    def times(self) -> Times:
        """What the times of these people's events say of the clock they are on."""
        known = self._last[self._last != MISSING]
        days: Counter[int] = Counter()
        for piece in self._pieces:
            if len(piece):
                day = piece.columns["start"] // DAY
                first = int(day.min())
                counts = np.bincount(day - first)
                there = np.flatnonzero(counts)
                days.update(dict(zip((there + first).tolist(), counts[there].tolist(), strict=True)))
            self._after()
        last = int(known.max(initial=MISSING))
        return Times(self._clock, len(known), int((known > _tomorrow()).sum()), last, days)

    def settle(self, clock: AgreedClock) -> Settled:
        """Reject what lies in the future; what is left, as far as others must know it."""
        self._agreed = clock
        if not clock.own:
            self._drop_future(clock.limit)
        latest = max((int(piece.columns["start"].max()) for piece in self._pieces if len(piece)), default=MISSING)
        counts = np.zeros(len(self._descriptions), dtype=np.int64)
        for piece in self._pieces:
            counts += np.bincount(piece.columns["described"], minlength=len(counts))
            self._after()
        return Settled(latest, dict(zip(self._descriptions, counts.tolist(), strict=True)))

    def records(self, agreed: AgreedConcepts) -> Records:
        """Raises EngineError when a row is not accounted for."""
        if self._agreed.own:
            born = np.where(self._born == MISSING, self._agreed.last, self._born)
            last = np.where(self._last == MISSING, born, self._last)
        else:
            last = np.full(len(self._patients), agreed.latest)
        patients = self._patients.assign(as_of=_times(last))
        concept_of, usual_unit = agreed.of(self._descriptions)
        tables = {table: self._table(table, concept_of, usual_unit) for table in get_args(Table)}
        self._log.check()
        return Records(
            patients=patients[list(SCHEMA["patients"])].astype(SCHEMA["patients"]),
            concepts=agreed.concepts,
            log=self._log,
            **tables,
        )

    def _usable(self, raw: RawEvents) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """The columns of the rows of `raw` that belong to a known patient at a possible time, without what describes
        them; and which rows (n,) bool these are, None for all."""
        frame, repaired = raw.frame, raw.kind == "allergy"
        columns = {
            "row": frame["row"].to_numpy(np.int64),
            "patient_ix": _positions(frame["patient_id"], self._index),
            "start": _seconds(frame["start"]).copy(),
            "stop": _seconds(frame["stop"]).copy(),
        }
        for name in OPTIONAL.keys() & set(frame):
            columns[name] = frame[name].to_numpy(EVENT_TYPES[name])
        patient_ix, start, stop = (columns[name] for name in ("patient_ix", "start", "stop"))
        found = faults(patient_ix, start, stop, self._born, BIRTH_TOLERANCE, BIRTH_UNKNOWN, repaired)
        if not found.any():
            return columns, None
        nobody = frame["patient_id"].isna() | (frame["patient_id"] == "")
        unknown = (found & UNKNOWN_PATIENT) > 0
        # a wrong date must not hide an allergy: it counts as known since birth, and as still there
        dates: Outcome = "set aside" if repaired else "rejected"
        outcomes: list[tuple[np.ndarray, str, str, Outcome]] = [
            (unknown & nobody.to_numpy(), "patient_id", "patient id missing", "rejected"),
            (unknown & ~nobody.to_numpy(), "patient_id", "patient id not in the patients file", "rejected"),
            ((found & NO_START) > 0, "start", "date missing", dates),
            ((found & BEFORE_BIRTH) > 0, "start", "date is before birth", dates),
            ((found & STOPS_EARLY) > 0, "stop", "stop is before start", dates),
        ]
        for bad, field, reason, outcome in outcomes:
            self._log.add(raw.file, field, reason, columns["row"][bad], outcome)
        good = ~unknown if repaired else found == 0
        return {name: column[good] for name, column in columns.items()}, good

    def _drop_future(self, latest: int) -> None:
        born = np.where(self._born == MISSING, BIRTH_UNKNOWN, self._born)
        for place, piece in enumerate(self._pieces):
            self._after()
            late = piece.columns["start"] > latest
            if not late.any():
                continue
            outcome: Outcome = "set aside" if piece.kind == "allergy" else "rejected"
            self._log.add(piece.file, "start", "date lies in the future", piece.columns["row"][late], outcome)
            if outcome == "set aside":
                piece.columns["start"][late] = born[piece.columns["patient_ix"][late]]
            else:
                self._pieces[place] = piece.keep(~late)

    def _table(self, name: Table, concept_of: np.ndarray, in_usual_unit: np.ndarray) -> pd.DataFrame:
        """The events of a table without those in another unit than most of their code's (numbers in two units must not
        mix) and without repeats. Its pieces are given up."""
        pieces = []
        for piece in [piece for piece in self._pieces if TABLE_OF_KIND[piece.kind] == name]:
            usual = in_usual_unit[piece.columns["described"]]
            reason = "not the unit that most rows of this code have"
            self._log.add(piece.file, "unit", reason, piece.columns["row"][~usual])
            kept = piece.keep(usual)
            kept.columns["described"][:] = concept_of[kept.columns["described"]]
            pieces.append(kept)
        self._pieces = [piece for piece in self._pieces if TABLE_OF_KIND[piece.kind] != name]
        return self._joined(name, self._without_repeats(pieces))

    def _without_repeats(self, pieces: Sequence[_Piece]) -> list[_Piece]:
        """Repeats are of one patient, so some of the patients are looked at at a time. An order by two routes is one
        event, which has both."""
        flags = [np.zeros(len(piece), dtype=bool) for piece in pieces]
        parts = -(-sum(map(len, pieces)) // self._rows)
        ends = np.linspace(0, len(self._patients), parts + 1).astype(np.int32)
        of = [piece.columns["patient_ix"] for piece in pieces]
        limits = [(int(ix.min(initial=len(self._patients))), int(ix.max(initial=-1))) for ix in of]
        for first, end in pairwise(ends.tolist()):
            mine = [_between(ix, *limit, first, end) for ix, limit in zip(of, limits, strict=True)]
            compared = {
                name: np.concatenate([_column(p, name)[m] for p, m in zip(pieces, mine, strict=True)])
                for name in ["described", *(n for n in EVENT_TYPES if any(n in piece.columns for piece in pieces))]
            }
            found, at = repeats(compared, first, end), 0
            for piece, flag, where in zip(pieces, flags, mine, strict=True):
                n = len(flag[where])
                flag[where] = found[at : at + n]
                if "routes" in piece.columns:
                    piece.columns["routes"][where] = compared["routes"][at : at + n]
                at += n
            self._after()
        reason = "repeats an earlier row (same patient, code, times and value)"
        for piece, repeat in zip(pieces, flags, strict=True):
            self._log.add(piece.file, "row", reason, piece.columns["row"][repeat])
            self._log.count_kept(piece.file, int((~repeat).sum()))
        return [piece.keep(~repeat) for piece, repeat in zip(pieces, flags, strict=True)]

    def _joined(self, name: Table, pieces: Sequence[_Piece]) -> pd.DataFrame:
        columns: dict[str, Any] = {}
        for column, dtype in SCHEMA[name].items():
            source = "described" if column == "concept_ix" else column
            whole = self._room.empty(sum(map(len, pieces)), EVENT_TYPES.get(source, np.int32))
            at = 0
            for piece in pieces:
                whole[at : at + len(piece)] = _column(piece, source)
                at += len(piece)
            columns[column] = _times(whole) if dtype == TIME else whole
            self._after()
        return pd.DataFrame(columns, copy=False)


def agreed_clock(told: Sequence[Times]) -> AgreedClock:
    """What the assemblies of an export, each with some of its people, have to settle their events by."""
    known, ahead = sum(one.known for one in told), sum(one.ahead for one in told)
    clock = told[0].clock
    days = sum((one.days for one in told), Counter())
    last = max(one.last for one in told)
    own = ahead > known / 2 if clock == "told by the dates" else clock == "own"
    return AgreedClock(own, last, _latest_believable(days))


def agreed_concepts(settled: Sequence[Settled]) -> AgreedConcepts:
    """The table of distinct (kind, code), in order of kind then code, each as most of its events describe it."""
    rows: Counter[Description] = Counter()
    for one in settled:
        rows.update(one.rows)
    described = pd.DataFrame(list(rows), columns=["kind", *WORDS], dtype="str")
    described = described.assign(rows=np.array(list(rows.values()), dtype=np.int64), number=range(len(rows)))
    # of two names as frequent, the one that comes later in the alphabet: METFORMIN stands before Metformin
    described = described.sort_values(
        ["kind", "code", "rows", *WORDS[1:]], ascending=[True, True, False, False, True, True]
    )
    used = described["rows"].groupby([described["kind"], described["code"]], sort=False).transform("sum") > 0
    described = described[used]
    new = ~described.duplicated(["kind", "code"])
    concepts = described[new].reset_index(drop=True)
    concept = new.cumsum().to_numpy() - 1
    usual = described["unit"].to_numpy() == concepts["unit"].to_numpy()[concept]
    keys = list(rows)
    place = {
        keys[number]: (int(ix), bool(in_usual_unit))
        for number, ix, in_usual_unit in zip(described["number"].to_numpy(), concept, usual, strict=True)
    }
    latest = max(one.latest for one in settled)
    return AgreedConcepts(latest, concepts[list(SCHEMA["concepts"])].astype(SCHEMA["concepts"]), place)


class _Room:
    """Where arrays stand: in memory, or in unnamed files of the scratch folder that go when the arrays do."""

    def __init__(self, scratch: Path | None) -> None:
        self._scratch = scratch
        self._slab = np.empty(0, dtype=np.uint8)  # what is left of the last file; many arrays share one
        self._size = SMALLEST_SLAB

    def empty(self, length: int, dtype: Any) -> np.ndarray:
        if self._scratch is None:
            return np.empty(length, dtype=dtype)
        size = length * np.dtype(dtype).itemsize
        taken = -(-size // 8) * 8
        if taken > len(self._slab):
            self._slab = self._new_slab(max(taken, self._size))
            self._size = min(2 * self._size, LARGEST_SLAB)
        array, self._slab = self._slab[:size].view(dtype), self._slab[taken:]
        return array

    def _new_slab(self, size: int) -> np.ndarray:
        try:
            with tempfile.TemporaryFile(dir=self._scratch) as file:
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk is told here, and not by a crash later
                return np.frombuffer(mapped(file), dtype=np.uint8)
        except OSError as error:
            raise EngineError(f"events cannot be kept in {self._scratch}: {error.strerror}") from None

    def keep(self, array: np.ndarray) -> np.ndarray:
        kept = self.empty(len(array), array.dtype)
        kept[:] = array
        return kept


def _patients(people: RawPatients, log: IngestLog) -> pd.DataFrame:
    frame = people.frame
    identified = frame["patient_id"].fillna("").astype(str).str.strip() != ""
    log.add(people.file, "patient_id", "patient id missing", frame.loc[~identified, "row"])
    frame = frame[identified]
    again = frame["patient_id"].duplicated()
    log.add(people.file, "patient_id", "the same patient id as an earlier row", frame.loc[again, "row"])
    frame = frame[~again].reset_index(drop=True)
    log.count_kept(people.file, len(frame))
    unknown = ~frame["sex"].isin(SEXES)
    if unknown.any():
        raise EngineError(f"a loader gave sexes outside {SEXES}")
    return frame.assign(patient_id=frame["patient_id"].astype("str"), site=frame.get("site", ""))


def _latest_believable(days: Mapping[int, int]) -> int:
    """Tomorrow, where all but a thousandth of the starts lie before it: the others are slips, or visits to come. Else
    a year after those: de-identified data may be set in the future."""
    limit = _tomorrow()
    if not days:
        return limit
    day = sorted(days)
    starts = np.array([days[one] for one in day], dtype=np.int64)
    usual = day[int(np.searchsorted(starts.cumsum(), int(0.999 * (starts.sum() - 1)), side="right"))]
    return limit if usual * DAY <= limit else (usual + 1 + YEAR_DAYS) * DAY


def _tomorrow() -> int:
    return int(pd.Timestamp.now("UTC").timestamp()) + DAY


def _codes(values: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """Which of the distinct values each one (n,) is, -1 where it is missing; and these."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.array.codes, values.array.categories
    codes, distinct = pd.factorize(values)
    return codes, pd.Index(distinct)


def _positions(ids: pd.Series, index: TextIndex) -> np.ndarray:  # (n,) int32
    """Where each id (n,) stands in `index`, -1 where it does not."""
    codes, distinct = _codes(ids)
    lookup = np.append(index.places(distinct), np.int32(-1))  # code -1 (missing) -> -1
    return lookup[codes]


def _described(frame: pd.DataFrame, usable: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Of the usable rows: which description each has, and the first row of the frame with each."""
    told = [_codes(frame[name]) for name in WORDS if name in frame]
    which = slice(None) if usable is None else usable
    number, first = combinations([(codes[which], len(distinct)) for codes, distinct in told])
    return number, first if usable is None else np.flatnonzero(usable)[first]


def _words(frame: pd.DataFrame, name: str, rows: np.ndarray) -> Sequence[str]:
    """What stands there in these rows, "" for nothing."""
    if name not in frame:
        return [""] * len(rows)
    return frame[name].take(rows).astype("object").fillna("").tolist()


def _between(ix: np.ndarray, least: int, most: int, first: int, end: int) -> np.ndarray | slice:
    """Where the numbers `ix` (n,), from `least` to `most`, are from `first` on and below `end`."""
    if most < first or least >= end:
        return slice(0)
    return slice(None) if first <= least and most < end else np.flatnonzero((ix >= first) & (ix < end))


def _column(piece: _Piece, name: str) -> np.ndarray:
    """Throughout what stands in OPTIONAL, where a source has no such column."""
    return piece.columns[name] if name in piece.columns else np.full(len(piece), OPTIONAL[name], EVENT_TYPES[name])


def _seconds(times: pd.Series) -> np.ndarray:  # int64 seconds since 1970; missing is MISSING; not to be written to
    return times.to_numpy(dtype="datetime64[s]").view(np.int64)


def _times(seconds: np.ndarray) -> pd.Series:
    """Seconds since 1970 as UTC times, without a copy."""
    return pd.Series(pd.array(seconds, dtype=TIME, copy=False), copy=False)

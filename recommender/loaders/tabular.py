"""The declaration of a source's table and its files in; data frames with row numbers and the account of each row out.

A loader declares which column of the source feeds which of ours (`TableSpec`), reads it with `Export.read`, or piece by
piece with `Export.pieces`, and is left with what is peculiar to its source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from recommender.errors import InputError
from recommender.ingest_log import IngestLog
from recommender.loaders import columns, files
from recommender.loaders.ahead import ahead
from recommender.loaders.parts import Column, Part, TableSpec, packed, read_parts, unpacked
from recommender.loaders.shelf import Shelf
from recommender.records import TIME, RawEvents
from recommender.vocabulary import DrugVocabulary

EVENT_COLUMNS = {"row", "patient_id", "code", "name", "route", "group", "start", "stop", "unit", "value", "reported"}
PIECE_ROWS = 1 << 20  # rows of a table that are worked on at a time
LEAST_AHEAD = 1 << 17  # where fewer may be, memory is short, and none are read ahead
BYTES_IN_WORK = 512  # memory that one of them takes at most, with those that are read ahead meanwhile

Progress = Callable[[int], None]
"""Told the number of rows newly read."""


def rows_in_work(size: int) -> int:
    """How many rows may be worked on at a time in so many bytes, on top of what is held whole."""
    return max(1, size // BYTES_IN_WORK)


def text(*names: str, **options: Any) -> Column:
    return Column(names, "text", **options)


def time(*names: str, **options: Any) -> Column:
    return Column(names, "time", **options)


def number(*names: str, **options: Any) -> Column:
    return Column(names, "number", **options)


@dataclass(frozen=True)
class Table:
    """A table as read, or a piece of it. `frame`: row (int64), then every column of its spec, in its file or not.

    Text is categorical, times are in UTC, numbers float64. `found`: the columns that the file has; of the others,
    everything is missing.
    """

    file: str
    frame: pd.DataFrame
    found: frozenset[str]

    def assign(self, **new: Any) -> Table:
        return replace(self, frame=self.frame.assign(**new))

    def without(self, bad: pd.Series, log: IngestLog, field: str, reason: str) -> Table:
        """The table without the `bad` rows, which are counted as rejected."""
        log.add(self.file, field, reason, self.frame.loc[bad, "row"])
        return replace(self, frame=self.frame[~bad]) if bad.any() else self

    def events(self, kind: str) -> RawEvents:
        return RawEvents(self.file, kind, self.frame[[column for column in self.frame if column in EVENT_COLUMNS]])


Opener = Callable[[TableSpec, files.Malformed], tuple[str, Iterator[files.Batch]] | None]
"""The name of a table's file and its rows; None where an optional table is not there. Raises InputError."""
Source = tuple[str, Callable[[IngestLog], Iterator[Part]]]
"""The name of a file, and its parts, of which the given log has the account when the last one has been taken."""


@dataclass(frozen=True)
class Export:
    """A folder of tables, and where the account of their rows goes.

    `vocabulary`: for sources that must know what a name means to make sense of a code; None leaves codes as they are.
    `opener` finds a table elsewhere than in the files of `folder`, which is then only what error messages call it.
    `specs`: how a site's tables differ from what loaders declare, by the table's name. `shelf`: where what is read is
    kept for the next time. `rows`: of a large table, so many rows are worked on at a time.
    """

    folder: Path
    log: IngestLog
    progress: Progress | None = None
    vocabulary: DrugVocabulary | None = None
    opener: Opener | None = None
    specs: Mapping[str, TableSpec] = field(default_factory=dict)
    shelf: Shelf | None = None
    rows: int = PIECE_ROWS

    @property
    def reads_ahead(self) -> bool:
        """Whether rows are read while the last ones are worked on: not of a database, which is for one thread."""
        return self.opener is None and self.rows >= LEAST_AHEAD

    def read(self, spec: TableSpec) -> Table:
        """The whole table. An optional one that is not there is empty, and noted. Raises InputError.

        Of a table in several files, the rows are counted on from file to file.
        """
        spec = self.specs.get(spec.name, spec)
        sources = self._sources(spec)
        names = [name for name, _ in sources] or [spec.name]
        file = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        parts: list[Part] = []
        before = 0
        for source in sources:
            account = IngestLog()
            for part in self._told(source, account):
                parts.append({**part, "row": part["row"] + before})
            self.log.absorb(account, file, before)
            before += account.read[source[0]]
        return _table(spec, file, parts)

    def lookup(self, spec: TableSpec) -> Table:
        """A table that gives no events itself but is looked up in, so every readable row of it counts as kept."""
        table = self.read(spec)
        self.log.count_kept(table.file, len(table.frame))
        return table

    def unlogged(self) -> Export:
        """The same export for a look ahead, which nobody is told of."""
        return replace(self, log=IngestLog(), progress=None)

    def pieces(self, spec: TableSpec) -> Iterator[Table]:
        """The table in pieces, each of one file; at least one of each file. Raises InputError."""
        spec = self.specs.get(spec.name, spec)
        for source in self._sources(spec):
            account = IngestLog()
            held = self._held(source, account)
            for parts in ahead(held) if self.reads_ahead else held:
                yield _table(spec, source[0], parts)
            self.log.absorb(account)

    def _held(self, source: Source, account: IngestLog) -> Iterator[list[Part]]:
        """The parts of a file, as many as are worked on at a time; at least once."""
        held: list[Part] = []
        first = True
        for part in self._told(source, account):
            held.append(part)
            if sum(len(each["row"]) for each in held) >= self.rows:
                yield held
                held, first = [], False
        if held or first:
            yield held

    def _told(self, source: Source, account: IngestLog) -> Iterator[Part]:
        """The parts of a file, with `progress` told of every row."""
        name, parts = source
        told = 0
        for part in parts(account):
            yield part
            told += len(part["row"])
            if self.progress:
                self.progress(len(part["row"]))
        if self.progress:
            self.progress(account.read[name] - told)

    def _sources(self, spec: TableSpec) -> list[Source]:
        if self.opener:
            malformed = files.Malformed()
            opened = self.opener(spec, malformed)
            sources = [] if opened is None else [_source(spec, *opened, malformed)]
        else:
            sources = [self._file(spec, path) for path in files.find(self.folder, spec.name)]
        if not sources and not spec.optional:
            expected = ", ".join(spec.name + suffix for suffix in files.SUFFIXES)
            raise InputError(f"a table is missing: expected one of {expected}", file=str(self.folder))
        if not sources:
            self.log.absent.append(spec.name)
        return sources

    def _file(self, spec: TableSpec, path: Path) -> Source:
        def parts(account: IngestLog) -> Iterator[Part]:
            malformed = files.Malformed()
            batches = files.batches(path, spec.wanted, spec.required, malformed, spec.tabs, spec.texts)
            read = read_parts(spec, path.name, batches, malformed, account)
            if self.shelf is None:
                yield from read
                return
            entry = self.shelf.entry(path, spec.in_words())
            if entry in self.shelf:
                yield from map(unpacked, self.shelf.batches(entry))
                account.absorb(self.shelf.account(entry))
            else:
                yield from map(unpacked, self.shelf.put(entry, map(packed, read), account))

        return path.name, parts


def _source(spec: TableSpec, file: str, batches: Iterator[files.Batch], malformed: files.Malformed) -> Source:
    return file, lambda account: read_parts(spec, file, batches, malformed, account)


def _table(spec: TableSpec, file: str, parts: Sequence[Part]) -> Table:
    """All parts as one frame with every column of `spec`."""
    row = np.concatenate([np.empty(0, dtype=np.int64), *(part["row"] for part in parts)])
    data: dict[str, Any] = {"row": row}
    for ours, column in spec.columns.items():
        chunks = [part[ours] if ours in part else _nothing(column, len(part["row"])) for part in parts]
        if column.parse == "text":
            data[ours] = columns.categorical(chunks)
        elif column.parse == "time":
            read = np.concatenate([np.empty(0, dtype="M8[s]"), *chunks])
            data[ours] = pd.array(read.view(np.int64), dtype=TIME, copy=False)
        else:
            data[ours] = np.concatenate([np.empty(0), *chunks])
    return Table(
        file, pd.DataFrame(data, copy=False), frozenset(ours for part in parts for ours in part if ours != "row")
    )


def _nothing(column: Column, rows: int) -> Any:
    """What stands in a column that the file does not have."""
    if column.parse == "text":
        return pa.nulls(rows, pa.dictionary(pa.int32(), pa.string()))
    return np.full(rows, np.datetime64("NaT", "s") if column.parse == "time" else np.nan)

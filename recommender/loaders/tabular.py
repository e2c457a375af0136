"""The declaration of a source's table and its file in; a data frame with row numbers and the account of each row out.

A loader declares which column of the source feeds which of ours (`TableSpec`), reads it with `Export.read`, and is left
with what is peculiar to its source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from recommender.errors import InputError
from recommender.ingest_log import IngestLog, Outcome
from recommender.loaders import columns, files
from recommender.records import RawEvents
from recommender.vocabulary import DrugVocabulary

EVENT_COLUMNS = {"row", "patient_id", "code", "name", "route", "group", "start", "stop", "unit", "value"}
PARSERS = {
    "time": (columns.times, "not a date or time such as 2021-03-05 or 2021-03-05T06:07:08Z"),
    "number": (columns.numbers, "not a number"),
}
RUN_AWAY = f"over several lines or longer than {columns.LONGEST_TEXT:,} characters (a quotation mark missing?)"

Progress = Callable[[int], None]
"""Told the number of rows newly read."""


@dataclass(frozen=True)
class Column:
    """One column of a source's table.

    `names`: what files call it, best first. `required`: a file without it is refused. `filled`: a row with nothing in
    it is rejected. `only`: a row with any other value is rejected, and `otherwise` says why. `unreadable`: what becomes
    of a row whose value is no time or no number: it is rejected, or only its value is set aside. `lines`: its text may
    go over several lines.
    """

    names: tuple[str, ...]
    parse: Literal["text", "time", "number"] = "text"
    required: bool = True
    filled: bool = False
    only: frozenset[str] | None = None
    otherwise: str = ""
    unreadable: Outcome = "rejected"
    lines: bool = False


def text(*names: str, **options: Any) -> Column:
    return Column(names, "text", **options)


def time(*names: str, **options: Any) -> Column:
    return Column(names, "time", **options)


def number(*names: str, **options: Any) -> Column:
    return Column(names, "number", **options)


@dataclass(frozen=True)
class TableSpec:
    """A table of a source: the name of its file without suffix, and its columns by our name for them.

    `tabs`: the file may be separated by tabs instead of commas.
    """

    name: str
    columns: Mapping[str, Column]
    optional: bool = False
    tabs: bool = False

    @property
    def wanted(self) -> files.Names:
        return {ours: column.names for ours, column in self.columns.items()}

    @property
    def required(self) -> list[str]:
        return [ours for ours, column in self.columns.items() if column.required]


@dataclass(frozen=True)
class Table:
    """A table as read. `frame`: row (int64), then every column of its spec: text as categorical, times in UTC, float64.

    `found`: the columns that the file has; the others are missing throughout.
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


@dataclass(frozen=True)
class Export:
    """A folder of tables, and where the account of their rows goes.

    `opener` finds a table elsewhere than in the files of `folder`, which is then only what error messages call it.
    `vocabulary`: for sources that must know what a name means to make sense of a code; None leaves codes as they are.
    """

    folder: Path
    log: IngestLog
    progress: Progress | None = None
    vocabulary: DrugVocabulary | None = None
    opener: Opener | None = None

    def read(self, spec: TableSpec) -> Table:
        """The table as a frame. An optional one that is not there is empty, and noted. Raises InputError."""
        malformed = files.Malformed()
        opened = (self.opener or self._open)(spec, malformed)
        if opened is None:
            self.log.absent.append(spec.name)
            return Table(spec.name, _frame(spec, []), frozenset())
        file, batches = opened
        found: frozenset[str] = frozenset()
        parts, rows = [], 0
        for batch in batches:
            found = frozenset(batch.columns)
            rows += len(batch.row)
            parts.append(self._part(spec, file, batch))
            if self.progress:
                self.progress(len(batch.row))
        joined = set(malformed.joined)
        alone = [row for row in malformed.rows if row not in joined]
        self.log.count_read(file, rows + len(malformed.rows))
        self.log.add(file, "row", "not as many fields as the header has", alone)
        self.log.add(file, "row", "lines run together by a stray quotation mark, with a wrong number of fields", joined)
        table = Table(file, _frame(spec, parts), found)
        for ours, column in spec.columns.items():
            if column.filled:
                table = table.without(table.frame[ours].isna(), self.log, column.names[0], "missing")
        return table

    def _open(self, spec: TableSpec, malformed: files.Malformed) -> tuple[str, Iterator[files.Batch]] | None:
        path = files.find(self.folder, spec.name)
        if path is not None:
            return path.name, files.batches(path, spec.wanted, spec.required, malformed, spec.tabs)
        if spec.optional:
            return None
        expected = ", ".join(spec.name + suffix for suffix in files.SUFFIXES)
        raise InputError(f"a table is missing: expected one of {expected}", file=str(self.folder))

    def _part(self, spec: TableSpec, file: str, batch: files.Batch) -> dict[str, Any]:
        """The rows of one batch that can be read, by our column names, as arrays; the others are counted."""
        read: dict[str, Any] = {"row": batch.row}
        keep = np.ones(len(batch.row), dtype=bool)

        def drop(bad: np.ndarray, field: str, reason: str, outcome: Outcome = "rejected") -> None:
            nonlocal keep
            self.log.add(file, field, reason, batch.row[bad & keep], outcome)
            if outcome == "rejected":
                keep = keep & ~bad

        blank = np.all([values.is_null().to_numpy(zero_copy_only=False) for values in batch.columns.values()], axis=0)
        drop(blank, "row", "blank, or with nothing in the columns that are read")
        for ours, values in batch.columns.items():
            column = spec.columns[ours]
            field = batch.names[ours]
            try:
                if column.parse == "text":
                    read[ours] = columns.text(values)
                    drop(columns.run_away(read[ours], column.lines), field, RUN_AWAY)
                    if column.only is not None:
                        drop(~columns.among(read[ours], column.only), field, column.otherwise)
                else:
                    parse, reason = PARSERS[column.parse]
                    read[ours], bad = parse(values)
                    drop(bad, field, reason, column.unreadable)
            except columns.Unreadable as error:
                row = None if error.index is None else int(batch.row[error.index])
                raise InputError(error.why, file=file, row=row, field=field) from None
        if keep.all():
            return read
        kept = np.flatnonzero(keep)
        return {
            ours: values.take(pa.array(kept)) if isinstance(values, pa.Array) else values[kept]
            for ours, values in read.items()
        }


def _frame(spec: TableSpec, parts: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """All batches as one frame with every column of `spec`."""
    row = np.concatenate([np.empty(0, dtype=np.int64), *(part["row"] for part in parts)])
    data: dict[str, Any] = {"row": row}
    for ours, column in spec.columns.items():
        chunks = [part[ours] for part in parts if ours in part]
        if column.parse == "text":
            data[ours] = columns.categorical(chunks) if chunks else columns.constant(None, len(row))
        elif column.parse == "time":
            read = np.concatenate(chunks) if chunks else np.full(len(row), "NaT", dtype="M8[s]")
            data[ours] = pd.Series(read).dt.tz_localize("UTC")
        else:
            data[ours] = np.concatenate(chunks) if chunks else np.full(len(row), np.nan)
    return pd.DataFrame(data)

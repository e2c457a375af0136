"""Batches of a file as it stands in; the rows of them that can be read, as typed arrays, and the account of the others.

Which columns are wanted and what may stand in them is declared by a `TableSpec`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from recommender.errors import InputError
from recommender.ingest_log import IngestLog, Outcome
from recommender.loaders import columns, files

PARSERS = {
    "time": (columns.times, "not a date or time such as 2021-03-05 or 2021-03-05T06:07:08Z"),
    "number": (columns.numbers, "not a number"),
}
RUN_AWAY = f"over several lines or longer than {columns.LONGEST_TEXT:,} characters (a quotation mark missing?)"

TIME = pa.timestamp("s")

Part = dict[str, Any]
"""row (n,) int64, and by our column names: text as DictionaryArray, times as (n,) datetime64[s], numbers as float64."""


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

    @property
    def texts(self) -> list[str]:
        return [ours for ours, column in self.columns.items() if column.parse == "text"]

    def in_words(self) -> str:
        """All that decides what is read, the same in every process."""

        def plain(column: Column) -> list[Any]:
            values = [getattr(column, field.name) for field in fields(column)]
            return [sorted(value) if isinstance(value, frozenset) else value for value in values]

        return json.dumps([self.tabs, {ours: plain(column) for ours, column in self.columns.items()}])


def read_parts(
    spec: TableSpec, file: str, batches: Iterator[files.Batch], malformed: files.Malformed, log: IngestLog
) -> Iterator[Part]:
    """The readable rows of each batch of `file`; at its end, `log` has the account of the others. Raises InputError."""
    rows = 0
    for batch in batches:
        rows += len(batch.row)
        yield _part(spec, file, batch, log)
    joined = set(malformed.joined)
    alone = [row for row in malformed.rows if row not in joined]
    log.count_read(file, rows + len(malformed.rows))
    log.add(file, "row", "not as many fields as the header has", alone)
    log.add(file, "row", "lines run together by a stray quotation mark, with a wrong number of fields", joined)


def _part(spec: TableSpec, file: str, batch: files.Batch, log: IngestLog) -> Part:
    read: Part = {"row": batch.row}
    keep = np.ones(len(batch.row), dtype=bool)

    def drop(bad: np.ndarray, field: str, reason: str, outcome: Outcome = "rejected") -> None:
        nonlocal keep
        if not bad.any():
            return
        log.add(file, field, reason, batch.row[bad & keep], outcome)
        if outcome == "rejected":
            keep = keep & ~bad

    blank = keep.copy()
    for values in batch.columns.values():
        if blank.any():
            blank &= columns.missing(values)
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
    for ours, column in spec.columns.items():
        if column.filled:
            nothing = columns.empty(read[ours]) if ours in read else np.ones(len(keep), dtype=bool)
            drop(nothing, column.names[0], "missing")
    if keep.all():
        return read
    kept = np.flatnonzero(keep)
    return {
        ours: values.take(pa.array(kept)) if isinstance(values, pa.Array) else values[kept]
        for ours, values in read.items()
    }


def packed(part: Part) -> pa.RecordBatch:
    """As it can be kept."""
    return pa.record_batch({name: _arrow(values) for name, values in part.items()})


def unpacked(batch: pa.RecordBatch) -> Part:
    return {name: _array(batch.column(name)) for name in batch.schema.names}


def _arrow(values: Any) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, TIME if values.dtype.kind == "M" else None)


def _array(values: pa.Array) -> Any:
    return values if isinstance(values, pa.DictionaryArray) else values.to_numpy(zero_copy_only=False)

"""A folder and a table's name in, its rows out: Arrow batches of the wanted columns, each row with its number.

`.csv`, `.csv.gz` and `.parquet` are read alike, by what the bytes are (a gzip needs no `.gz`). CSV is RFC 4180 with a
header, commas and UTF-8 (a BOM and CRLF are fine). A row is a record: a quoted line break does not start a new one, so
row numbers are those of a spreadsheet, with the header as row 1. A file is streamed, never held whole. Where a table
may come as OHDSI's Athena exports it, tabs may separate its fields, and a quotation mark is then a plain character.
"""

from __future__ import annotations

import bisect
import codecs
import csv
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from recommender.errors import InputError
from recommender.loaders.columns import SUBSTITUTE

SUFFIXES = (".csv", ".csv.gz", ".parquet")
BLOCK = 8 << 20  # bytes parsed at a time: also the longest row that can be read
LONGEST_HEADER = 1 << 20
PARQUET_ROWS = 1 << 17
PART = r"{name}([.-](part-?)?\d[\dtz_.:-]*?)?(\.csv|\.csv\.gz|\.parquet)|{name}"
END = "end of the file (added by the reader)"  # a last row of our own: an unclosed quotation mark would swallow it
MISSING = ("", "NULL", "null", "\\N")  # as databases write it; R's NA is not among them: it is sodium's code somewhere
LONGEST_CHARACTER = 4  # bytes in UTF-8
UNDECODABLE = "rxrec-substitute"
codecs.register_error(UNDECODABLE, lambda error: (SUBSTITUTE, error.end))  # type: ignore[attr-defined]
DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}

Names = Mapping[str, Sequence[str]]
"""Our name of a column -> the names that a file may give it, best first (letter case does not matter)."""


@dataclass
class Malformed:
    """Row numbers of the records with a wrong number of fields; `joined`: those among them that span several lines."""

    rows: list[int] = field(default_factory=list)
    joined: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Batch:
    """Some rows of a file: `row` (n,) int64, and each wanted column that it has: text from CSV, typed from Parquet.

    `names`: our name of a column -> its name in the file.
    """

    row: np.ndarray
    columns: dict[str, pa.Array]
    names: dict[str, str]


def find(folder: Path, name: str) -> list[Path]:
    """The files of `folder` that hold table `name`, in any letter case, in order: one, its numbered parts, or none.

    Parts are `name.000.csv`, `name-2026-11-22.csv.gz`, `name.part-1.parquet`: a number or a date after the name; or all
    tables of a folder `name` or `name.parquet`, as Spark writes them.
    """
    part = re.compile(PART.format(name=re.escape(name)), re.IGNORECASE)
    try:
        if not folder.is_dir():
            what = "a file, but the folder of the export is needed" if folder.exists() else "no such folder"
            raise InputError(f"this is {what}: name the folder that holds the export", file=str(folder))
        found = sorted(path for path in folder.iterdir() if part.fullmatch(path.name))
        parts = [inner for path in found for inner in (_inside(path) if path.is_dir() else [path])]
    except OSError as error:
        raise InputError(f"the folder cannot be read: {error.strerror}", file=str(folder)) from None
    seen: dict[str, Path] = {}
    for path in parts:
        bare = str(path).lower().removesuffix(".gz").rpartition(".")[0]
        if bare in seen:
            both = f"{seen[bare].name} and {path.name}"
            raise InputError(f"{both} hold the same table: keep the one that is up to date", file=str(folder))
        seen[bare] = path
    return parts


def _inside(folder: Path) -> list[Path]:
    """The tables of a folder, without what its writer keeps beside them (_SUCCESS, .crc)."""
    inside = sorted(path for path in folder.iterdir() if path.name[0] not in "_." and path.name.endswith(SUFFIXES))
    if not inside:
        raise InputError("this is a folder without a table in it, but a file is needed", file=folder.name)
    return inside


def batches(
    path: Path, wanted: Names, required: Sequence[str], malformed: Malformed, tabs: bool = False
) -> Iterator[Batch]:
    """The rows of `path`, in order; records with a wrong number of fields are left out and noted in `malformed`.

    `tabs`: a file separated by tabs is read too, as one without quoting. Raises InputError when the file is damaged, is
    none of the three forms, or lacks a `required` column.
    """
    file = path.name
    try:
        with path.open("rb") as raw:
            magic = raw.read(4)
            raw.seek(0)
            if not magic:
                raise InputError("the file is empty (0 bytes), it lacks even a header: export it again", file=file)
            if magic == b"PAR1":
                rows = _parquet(raw, file, wanted, required)
            elif file.lower().endswith(".parquet"):
                raise InputError("this is no Parquet file, or it is damaged: export it again", file=file)
            elif magic == b"PK\x03\x04":
                raise InputError("this is a zip or Excel file: unpack it, or save the sheet as CSV UTF-8", file=file)
            elif magic[:2] == b"\x1f\x8b":
                rows = _csv(gzip.GzipFile(fileobj=raw), file, wanted, required, malformed, tabs)
            else:
                rows = _csv(raw, file, wanted, required, malformed, tabs)
            yield from _ahead(rows)
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror or 'it is damaged'}", file=file) from None


def _ahead(rows: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, the next one being read (Arrow needs no GIL) while the last one is worked on."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, rows, None)
        while batch := coming.result():
            coming = reader.submit(next, rows, None)
            yield batch


@contextmanager
def _damage_told(file: str, row: Callable[[], int]) -> Iterator[None]:
    """What the libraries raise on damaged bytes, as an InputError after `row()`; their own words may quote the file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile):
        message = "the compressed file is cut off or damaged after this row: copy or export it again"
        raise InputError(message, file=file, row=row()) from None
    except (pa.ArrowException, UnicodeDecodeError) as error:
        if "straddl" in str(error):
            message = f"the row after this one is longer than {BLOCK >> 20} MB: is a quotation mark left open there?"
        else:
            message = "the file is damaged after this row: export it again"
        raise InputError(message, file=file, row=row()) from None


# ---- CSV


def _csv(
    source: io.BufferedIOBase, file: str, wanted: Names, required: Sequence[str], malformed: Malformed, tabs: bool
) -> Iterator[Batch]:
    last = 1  # the number of the last row given out

    def reached() -> int:
        return max([last, *malformed.rows[-1:]])

    def note(record: Any) -> str:
        malformed.rows.append(record.number + 1)
        if "\n" in record.text.strip():
            malformed.joined.append(record.number + 1)
        return "skip"

    with _damage_told(file, reached):
        header, delimiter = _header(source, file, tabs)
        quoted = delimiter == ","
        position = positions(header, file, wanted, required)
        names = {ours: header[i] for ours, i in position.items()}
        columns = [f"c{i}" for i in range(len(header))]
        reader = pa.csv.open_csv(
            pa.PythonFile(_Body(source, delimiter.join([END] * len(header))), mode="r"),
            # one thread: only then are malformed rows numbered, and splitting the text is not what takes the time
            pa.csv.ReadOptions(column_names=columns, use_threads=False, block_size=BLOCK),
            pa.csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
                ignore_empty_lines=False,
                invalid_row_handler=note,
            ),
            pa.csv.ConvertOptions(
                include_columns=[columns[i] for i in sorted(set(position.values()))],
                column_types=dict.fromkeys(columns, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                null_values=list(MISSING),
            ),
        )
        ended = False
        for batch, final in _with_end(reader):
            if final and batch.column(0)[-1].as_py() == END:
                ended, batch = True, batch.slice(0, len(batch) - 1)
            row = _numbers(last, len(batch), malformed.rows)
            last = int(row[-1]) if len(row) else last
            yield Batch(row, {ours: batch.column(f"c{i}") for ours, i in position.items()}, names)
        if not ended:
            message = (
                "a quotation mark is opened at or before this row and never closed, so the rows after it cannot be "
                "told apart: close it (inside a field, a quotation mark is written twice)"
            )
            raise InputError(message, file=file, row=reached())


def _with_end(reader: Iterable[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, bool]]:
    """Each batch that has rows, and whether it is the last one."""
    held = None
    for batch in reader:
        if len(batch):
            if held is not None:
                yield held, False
            held = batch
    if held is not None:
        yield held, True


class _Body:
    """The bytes after the header as valid UTF-8, and at their end one more row: `end`."""

    def __init__(self, source: io.BufferedIOBase, end: str) -> None:
        self.source, self.closed = source, False
        self.decoder = codecs.getincrementaldecoder("utf-8")(UNDECODABLE)
        self.newline = True
        self.tail = end.encode() + b"\n"

    def read(self, size: int) -> bytes:
        """At most `size` bytes: what is not UTF-8 turns into one SUBSTITUTE, which is never longer."""
        while data := self.source.read(max(1, size - LONGEST_CHARACTER)):
            pending = self.decoder.getstate()[0]
            if pending or not data.isascii():
                data = self.decoder.decode(data).encode()
            if data:  # else it was the beginning of a character
                self.newline = data.endswith((b"\n", b"\r"))
                return data
        if rest := self.decoder.decode(b"", final=True).encode():
            self.newline = False
            return rest
        tail = self.tail if self.newline else b"\n" + self.tail
        self.newline, self.tail = True, tail[size:]
        return tail[:size]

    def close(self) -> None:
        self.closed = True


def _header(source: io.BufferedIOBase, file: str, tabs: bool) -> tuple[list[str], str]:
    """The names of the columns, and what separates the fields."""
    text = b""
    while len(text) < LONGEST_HEADER and (line := source.readline(LONGEST_HEADER)):
        text += line
        if text.count(b'"') % 2 == 0:
            break
    text = text.strip(b"\r\n")
    if not text:
        raise InputError("the file starts with no header: its first row must name the columns", file=file, row=1)
    if b"\0" in text:
        raise InputError("NUL bytes: this is not UTF-8 text (UTF-16?): save it as CSV UTF-8", file=file, row=1)
    if len(text) >= LONGEST_HEADER or (b"\r" in text and b'"' not in text):
        raise InputError("this is no CSV header line: lines must end with LF or CRLF", file=file, row=1)
    try:
        delimiter = "\t" if tabs and b"\t" in text and b"," not in text else ","
        header = next(csv.reader([text.decode("utf-8-sig")], delimiter=delimiter), [])
    except UnicodeDecodeError:
        message = "this is not UTF-8: convert the file, for example with iconv -f WINDOWS-1252 -t UTF-8"
        raise InputError(message, file=file, row=1) from None
    except csv.Error:
        raise InputError("this is no CSV header line", file=file, row=1) from None
    return [name.strip() for name in header], delimiter


def positions(header: Sequence[str], file: str, wanted: Names, required: Sequence[str]) -> dict[str, int]:
    """Where each wanted column stands in the header; those that are not there are left out."""
    lower = [name.lower() for name in header]
    position: dict[str, int] = {}
    for ours, theirs in wanted.items():
        name = next((name for name in theirs if name.lower() in lower), None)
        if name is None:
            continue
        if lower.count(name.lower()) > 1:
            raise InputError("two columns have this name: keep one", file=file, row=1, field=name)
        position[ours] = lower.index(name.lower())
    missing = [" or ".join(wanted[ours]) for ours in required if ours not in position]
    if not missing:
        return position
    names = {name.lower() for theirs in wanted.values() for name in theirs}
    for delimiter, word in DELIMITERS.items():
        if len(names & {part.strip('" ') for part in ",".join(lower).split(delimiter)}) > len(position):
            raise InputError(f"the fields are separated by {word}: separate them with commas", file=file, row=1)
    if position:  # else the first row may be no header but a patient's data, which is not for a message
        found = "the columns are " + ", ".join(header[:40])
    else:
        found = f"its first row has none of the expected column names ({', '.join(sorted(names))}): is it a header?"
    raise InputError(f"this column is missing; {found}", file=file, row=1, field=missing[0])


def _numbers(last: int, count: int, malformed: Sequence[int]) -> np.ndarray:
    """The numbers of the next `count` rows after row `last`: the malformed ones are passed over."""
    gaps = np.array(malformed[bisect.bisect_right(malformed, last) :], dtype=np.int64)
    candidates = np.arange(last + 1, last + 1 + count + len(gaps))
    return candidates if not len(gaps) else np.setdiff1d(candidates, gaps, assume_unique=True)[:count]


# ---- Parquet


def _parquet(raw: io.BufferedIOBase, file: str, wanted: Names, required: Sequence[str]) -> Iterator[Batch]:
    last = 1
    with _damage_told(file, lambda: last):
        table = pa.parquet.ParquetFile(raw)
        header = table.schema_arrow.names
        position = positions(header, file, wanted, required)
        names = {ours: header[i] for ours, i in position.items()}
        needed = sorted(set(names.values()))
        empty = table.schema_arrow.empty_table().select(needed).combine_chunks().to_batches()
        for batch in itertools.chain(empty, table.iter_batches(PARQUET_ROWS, columns=needed)):
            row = np.arange(last + 1, last + 1 + len(batch))
            last += len(batch)
            yield Batch(row, {ours: batch.column(name) for ours, name in names.items()}, names)

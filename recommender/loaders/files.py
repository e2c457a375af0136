"""A folder and a table's name in, its rows out: batches of the wanted columns, each row with its number.

`.csv`, `.csv.gz` and `.parquet` are read alike, by what the bytes are (a gzip needs no `.gz`); what a CSV file may look
like says `csv_rows`. Row numbers are those of a spreadsheet, with the header as row 1. A file is streamed, never held
whole.
"""

from __future__ import annotations

import gzip
import io
import itertools
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from recommender.errors import InputError
from recommender.loaders.cells import Cells
from recommender.loaders.csv_rows import Malformed, Reader, header_of

SUFFIXES = (".csv", ".csv.gz", ".parquet")
PARQUET_ROWS = 1 << 17
PART = r"{name}([.-](part-?)?\d[\dtz_.:-]*?)?(\.csv|\.csv\.gz|\.parquet)|{name}"
MISSING = ("", "NULL", "null", "\\N")  # as databases write it; R's NA is not among them: it is sodium's code somewhere
DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}

Names = Mapping[str, Sequence[str]]
"""Our name of a column -> the names that a file may give it, best first (letter case does not matter)."""


@dataclass(frozen=True)
class Batch:
    """Some rows of a file: `row` (n,) int64, and each wanted column that it has: cells of CSV, typed from Parquet.

    `names`: our name of a column -> its name in the file.
    """

    row: np.ndarray
    columns: dict[str, pa.Array | Cells]
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
    path: Path,
    wanted: Names,
    required: Sequence[str],
    malformed: Malformed,
    tabs: bool = False,
    texts: Collection[str] = (),
) -> Iterator[Batch]:
    """The rows of `path`, in order; records with a wrong number of fields are left out and noted in `malformed`.

    `tabs`: a file separated by tabs is read too, as one without quoting. `texts`: columns in which a text may often
    stand: Parquet files have each distinct one once. Raises InputError when the file is damaged, is
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
                rows = _parquet(raw, file, wanted, required, texts)
            elif file.lower().endswith(".parquet"):
                raise InputError("this is no Parquet file, or it is damaged: export it again", file=file)
            elif magic == b"PK\x03\x04":
                raise InputError("this is a zip or Excel file: unpack it, or save the sheet as CSV UTF-8", file=file)
            elif magic[:2] == b"\x1f\x8b":
                rows = _csv(gzip.GzipFile(fileobj=raw), file, wanted, required, malformed, tabs)
            else:
                rows = _csv(raw, file, wanted, required, malformed, tabs)
            yield from rows
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror or 'it is damaged'}", file=file) from None


@contextmanager
def _damage_told(file: str, row: Callable[[], int]) -> Iterator[None]:
    """What the libraries raise on damaged bytes, as an InputError after `row()`; their own words may quote the file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile):
        message = "the compressed file is cut off or damaged after this row: copy or export it again"
        raise InputError(message, file=file, row=row()) from None
    except pa.ArrowException:
        raise InputError("the file is damaged after this row: export it again", file=file, row=row()) from None


def _csv(
    source: io.BufferedIOBase, file: str, wanted: Names, required: Sequence[str], malformed: Malformed, tabs: bool
) -> Iterator[Batch]:
    with _damage_told(file, lambda: 1):
        header, delimiter = header_of(source, file, tabs)
    position = positions(header, file, wanted, required)
    names = {ours: header[i] for ours, i in position.items()}
    needed = sorted(set(position.values()))
    reader = Reader(source, file, delimiter, malformed)
    with _damage_told(file, lambda: reader.last):
        for row, cells in reader.batches(len(header), needed):
            yield Batch(row, {ours: cells[needed.index(i)] for ours, i in position.items()}, names)


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


def _parquet(
    raw: io.BufferedIOBase, file: str, wanted: Names, required: Sequence[str], texts: Collection[str]
) -> Iterator[Batch]:
    last = 1
    with _damage_told(file, lambda: last):
        table = pa.parquet.ParquetFile(raw)
        header = table.schema_arrow.names
        position = positions(header, file, wanted, required)
        names = {ours: header[i] for ours, i in position.items()}
        needed = sorted(set(names.values()))
        encoded = [name for name in {names[ours] for ours in texts if ours in names} if _is_text(table, name)]
        if encoded:
            table = pa.parquet.ParquetFile(raw, read_dictionary=encoded)
        empty = table.schema_arrow.empty_table().select(needed).combine_chunks().to_batches()
        for batch in itertools.chain(empty, table.iter_batches(PARQUET_ROWS, columns=needed)):
            row = np.arange(last + 1, last + 1 + len(batch))
            last += len(batch)
            yield Batch(row, {ours: batch.column(name) for ours, name in names.items()}, names)


def _is_text(table: pa.parquet.ParquetFile, name: str) -> bool:
    return bool(table.schema_arrow.field(name).type == pa.string())

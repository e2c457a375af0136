"""A site's column map in, plain CSV or Parquet files read under the site's own file and column names out.

The map is a CSV file with the columns `table`, `ours` and `theirs`. `table` and `ours` are names that `csv_files`
documents; `theirs` is what the site's file calls the column. Where `ours` is the word `file`, `theirs` is the name of
the table's file. What the map does not name goes by our name.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from recommender.errors import InputError
from recommender.loaders import files
from recommender.loaders.csv_files import ALLERGIES, CONDITIONS, OBSERVATIONS, PATIENTS, TREATMENTS
from recommender.loaders.parts import TableSpec

TABLES = {spec.name: spec for spec in (PATIENTS, TREATMENTS, CONDITIONS, ALLERGIES, OBSERVATIONS)}
HEADER = ["table", "ours", "theirs"]
FILE = "file"


def read_map(path: Path) -> dict[str, TableSpec]:
    """The tables that the map names, with the site's names in them. What the map names must be there.

    Raises InputError for a name that is not ours, a name mapped twice, and a map that cannot be read.
    """
    specs: dict[str, TableSpec] = {}
    seen: set[tuple[str, str]] = set()
    for row, entry in _rows(path):
        table, ours, theirs = (value.strip() for value in entry)

        def refuse(field: str, message: str, row: int = row) -> InputError:
            return InputError(message, file=path.name, row=row, field=field)

        if table not in TABLES:
            raise refuse("table", f"no such table: the tables are {', '.join(TABLES)}")
        spec = specs.get(table, TABLES[table])
        if ours != FILE and ours not in spec.columns:
            raise refuse("ours", f"{table} has no such column: it has {', '.join(spec.columns)}; or the word {FILE}")
        if not theirs:
            raise refuse("theirs", "empty: write what your file calls it, or leave the row out")
        if (table, ours) in seen:
            raise refuse("ours", f"{table}, {ours} is mapped in an earlier row too: keep one of them")
        seen.add((table, ours))
        if ours == FILE:
            specs[table] = replace(spec, name=_bare(theirs), optional=False)
        else:
            column = replace(spec.columns[ours], names=(theirs,), required=True)
            specs[table] = replace(spec, columns={**spec.columns, ours: column})
    return specs


def _bare(file: str) -> str:
    """A file's name as a table's: 'Orders.csv.gz' -> 'orders'."""
    name = file.lower()
    return next((name.removesuffix(suffix) for suffix in files.SUFFIXES[::-1] if name.endswith(suffix)), name)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows after the header that are not blank, with their numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except OSError as error:
        raise InputError(f"the column map cannot be read: {error.strerror}", file=str(path)) from None
    except (UnicodeDecodeError, csv.Error):
        raise InputError("the column map is no CSV file in UTF-8", file=path.name) from None
    if not rows or [name.strip().lower() for name in rows[0]] != HEADER:
        raise InputError(f"the first row of a column map is {','.join(HEADER)}", file=path.name, row=1)
    entries = [(number, row) for number, row in enumerate(rows[1:], start=2) if any(map(str.strip, row))]
    for number, row in entries:
        if len(row) != len(HEADER):
            raise InputError("not three fields", file=path.name, row=number)
    return entries

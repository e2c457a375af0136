"""An export that lies in parts, as a cluster would read it, in this process: what the tests of `distributed` share."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recommender.distributed.parts import LocalParts
from recommender.distributed.reading import PATIENT, PEOPLE, Gathered, Rows, gather, is_of_patients, tables_of
from recommender.loaders import files
from recommender.loaders.tabular import TableSpec
from recommender.vocabulary import DrugVocabulary


def in_parts(folder: Path, source: str, n: int, vocabulary: DrugVocabulary | None) -> LocalParts[Gathered]:
    """The people of an export of CSV files in `n` parts, in their order; events of nobody are dealt out."""
    tables = {spec.name: rows for spec in tables_of(source, {}) if (rows := _rows(folder, spec)) is not None}
    ids = pc.utf8_trim_whitespace(tables[PEOPLE].columns[PATIENT]).drop_null().unique().to_pylist()
    ends = np.linspace(0, len(ids), n + 1).astype(int)
    part_of = {one: part for part, (a, b) in enumerate(pairwise(ends)) for one in ids[a:b]}
    specs = {spec.name: spec for spec in tables_of(source, {})}
    parts = []
    for part in range(n):
        mine = {
            name: _those(rows, part_of, part, n) if is_of_patients(specs[name]) else rows
            for name, rows in tables.items()
        }
        parts.append(gather(part, source, mine, {}, vocabulary))
    return LocalParts(parts)


def lookups(source: str) -> set[str]:
    return {f"{spec.name}.csv" for spec in tables_of(source, {}) if not is_of_patients(spec)}


def _rows(folder: Path, spec: TableSpec) -> Rows | None:
    found = files.find(folder, spec.name)
    if not found:
        return None
    batches = list(files.batches(found[0], spec.wanted, spec.required, files.Malformed(), spec.tabs))
    columns = {
        name: pa.chunked_array([one.columns[name].array() for one in batches]).combine_chunks()
        for name in batches[0].names
    }
    return Rows(f"{spec.name}.csv", columns, batches[0].names)


def _those(rows: Rows, part_of: dict[str, int], part: int, n: int) -> Rows:
    ids = pc.utf8_trim_whitespace(rows.columns[PATIENT]).to_pylist()
    mine = pa.array([part_of.get(one, row % n) == part for row, one in enumerate(ids)])
    return Rows(rows.file, {name: values.filter(mine) for name, values in rows.columns.items()}, rows.names)

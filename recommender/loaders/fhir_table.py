"""Rows of FHIR events one at a time in, one frame with the account of each row out.

A resource is a Python object only while it is read; what stays of it are columns, packed every `PACK` rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from recommender.ingest_log import IngestLog
from recommender.loaders import columns

PACK = 1 << 15
MOST_FILES = 64  # of more files than this, one account is kept for all, and the row of a finding is the file's number
# of each resource: file (index), line or entry, hash of type and id, when it was written, field and reason if rejected
PLACE = {"file": "int", "row": "int", "id": "int", "updated": "time", "field": "text", "reason": "text"}

Part = dict[str, Any]


class Growing:
    """Columns that grow by rows. Each is "text" (repeats itself), "key" (hardly ever), "time", "number" or "int"."""

    def __init__(self, **kinds: str) -> None:
        self.kinds = kinds
        self._rows: list[Sequence[Any]] = []
        self._parts: list[Part] = []

    def add(self, row: Sequence[Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == PACK:
            self._pack()

    def frame(self) -> pd.DataFrame:
        if self._rows or not self._parts:
            self._pack()
        parts, self._parts = self._parts, []
        found = {name: _joined(kind, [part.pop(name) for part in parts]) for name, kind in self.kinds.items()}
        return pd.DataFrame(found)

    def _pack(self) -> None:
        cells = zip(*self._rows, strict=True) if self._rows else [()] * len(self.kinds)
        packed = zip(self.kinds.items(), cells, strict=True)
        self._parts.append({name: _packed(kind, values) for (name, kind), values in packed})
        self._rows = []


def _packed(kind: str, values: Sequence[Any]) -> Any:
    if kind == "text":
        return pa.array(values, pa.string()).dictionary_encode()
    if kind == "key":
        return pa.array(values, pa.string())
    return np.array(values, dtype={"time": "M8[s]", "number": "f8", "int": "i8"}[kind])  # None: NaT, NaN


def _joined(kind: str, chunks: list[Any]) -> Any:
    if kind == "text":
        return columns.categorical(chunks)
    if kind == "key":
        return pd.Series(pa.chunked_array(chunks).to_pandas(), dtype="str")
    values = np.concatenate(chunks)
    return pd.Series(values).dt.tz_localize("UTC") if kind == "time" else values


def current(frame: pd.DataFrame, deleted: set[int]) -> pd.DataFrame:
    """`frame` with a reason for the rows of resources that were `deleted`, or that have a later version in the export.

    The latest version is the one written last; of two at once, the one that is read last.
    """
    suspect = frame["id"].duplicated(keep=False).to_numpy()
    if suspect.any():
        some = frame.loc[suspect, ["id", "updated", "file", "row"]]
        latest = some.sort_values(["updated", "file", "row"], na_position="first").drop_duplicates("id", keep="last")
        there = some[["id"]].merge(latest, on="id", how="left")
        stale = (there["file"].to_numpy() != some["file"]) | (there["row"].to_numpy() != some["row"])
        frame = rejected(frame, some.index[stale], "id", "a later version of the same resource is in the export")
    return rejected(frame, frame.index[frame["id"].isin(deleted)], "id", "deleted since, as the export itself says")


def rejected(frame: pd.DataFrame, which: pd.Index, field: str, reason: str) -> pd.DataFrame:
    if which.empty:
        return frame
    told = {}
    for column, word in (("field", field), ("reason", reason)):
        values = frame[column].cat.add_categories(pd.Index([word]).difference(frame[column].cat.categories))
        values[which] = word
        told[column] = values
    return frame.assign(**told)


def accounts(frame: pd.DataFrame, files: Sequence[str], what: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """`frame` by the name under which its rows are accounted for: the file, or all of many files."""
    if len(files) > MOST_FILES:
        if len(frame):
            yield f"{what} of {len(files):,} files (row: the file)", frame.assign(row=frame["file"] + 1)
        return
    for index, part in frame.groupby("file"):
        yield files[int(index)], part


def usable(frame: pd.DataFrame, file: str, log: IngestLog) -> pd.DataFrame:
    """The rows without a reason against them; the others are counted as rejected."""
    refused = frame[frame["reason"].notna()]
    for (field, reason), part in refused.groupby(["field", "reason"], observed=True):
        log.add(file, str(field), str(reason), part["row"].to_numpy())
    return frame[frame["reason"].isna()]

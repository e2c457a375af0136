"""What FHIR resources say, as rows, in; Arrow tables, and frames of several of them, out, with the account of each row.

A resource is a Python object only while it is read; what stays of it are columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from recommender.ingest_log import IngestLog
from recommender.loaders import columns
from recommender.loaders.fhir_event import KEPT

# of each resource: line or entry, hash of type and id, when it was written, field and reason if rejected
PLACE = {"row": "int", "id": "int", "updated": "time", "field": "text", "reason": "text"}
# table -> column -> "text" (repeats itself), "key" (hardly ever), "time", "number" or "int"
TABLES: dict[str, dict[str, str]] = {
    "patients": {
        **PLACE,
        **{"patient_id": "key", "birth_date": "time", "birth_bad": "int"},
        **{"sex": "text", "race": "text", "ethnicity": "text"},
    },
    "medications": {**PLACE, "key": "key", "code": "text", "name": "text"},
    "events": {"kind": "text", **PLACE, **KEPT, "part": "int"},
    "aliases": {"alias": "int", "key": "key"},  # `mark` of a type and another name of a resource; its id
    "deleted": {"id": "int"},
    "promised": {"type": "text", "count": "int"},  # by the manifest
    "found": {"type": "text", "count": "int"},  # or a problem instead of a type
}
ARROW = {
    "text": pa.dictionary(pa.int32(), pa.string()),
    "key": pa.string(),
    "time": pa.timestamp("s"),
    "number": pa.float64(),
    "int": pa.int64(),
}
NAME = b"table"


def mark(*name: object) -> int:
    """64 bits for a name: the chance that two of 15 million share theirs is 1 in 160,000."""
    text = "\0".join(map(str, name)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


def packed(table: str, rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
    """Rows of one of TABLES as a batch that says which."""
    kinds = TABLES[table]
    arrays = [_packed(kind, cells) for kind, cells in zip(kinds.values(), zip(*rows, strict=True), strict=True)]
    return pa.record_batch(arrays, pa.schema([(n, ARROW[k]) for n, k in kinds.items()], {NAME: table}))


def _packed(kind: str, cells: Sequence[Any]) -> pa.Array:
    if kind == "text":
        return pa.array(cells, pa.string()).dictionary_encode()
    return pa.array(np.array(cells, dtype=np.int64) if kind == "int" else cells, ARROW[kind])  # `int` holds truths, too


def table_of(batch: pa.RecordBatch) -> str:
    return str(batch.schema.metadata[NAME].decode())


def frame(table: str, batches: Sequence[pa.RecordBatch]) -> pd.DataFrame:
    """All batches of one of TABLES as one frame."""
    return pd.DataFrame(
        {name: _joined(kind, [batch.column(name) for batch in batches]) for name, kind in TABLES[table].items()}
    )


def _joined(kind: str, chunks: list[pa.Array]) -> Any:
    if kind == "text":
        return columns.categorical(chunks)
    whole = pa.chunked_array(chunks, ARROW[kind])
    if kind == "key":
        return pd.Series(whole.to_pandas(), dtype="str")
    values = whole.to_numpy()
    return pd.Series(values).dt.tz_localize("UTC") if kind == "time" else values


def texts(table: str) -> list[str]:
    """The categorical columns of one of TABLES."""
    return [name for name, kind in TABLES[table].items() if kind == "text"]


def rejected(frame: pd.DataFrame, which: pd.Series, field: str, reason: str) -> pd.DataFrame:
    """`frame` with a reason against the rows of `which` (n,) bool."""
    if not which.any():
        return frame
    told = {}
    for column, word in (("field", field), ("reason", reason)):
        values = frame[column].cat.add_categories(pd.Index([word]).difference(frame[column].cat.categories))
        values[which] = word
        told[column] = values
    return frame.assign(**told)


def usable(frame: pd.DataFrame, file: str, log: IngestLog) -> pd.DataFrame:
    """The rows without a reason against them; the others are counted as rejected."""
    refused = frame[frame["reason"].notna()]
    for (field, reason), part in refused.groupby(["field", "reason"], observed=True):
        log.add(file, str(field), str(reason), part["row"].to_numpy())
    return frame[frame["reason"].isna()]

"""The values between the stages of a night in, files in a folder out, and the same values from them again.

Tables are Arrow files, arrays NumPy files, everything else JSON: nothing is a pickle. Who keeps the hashes of the files
(`jobs/stages.py`) finds out when one was altered; here they are only written and read. In a sealed place they are
encrypted, and tables are then read into memory instead of being mapped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
from pyarrow import feather
from scipy import sparse

from recommender.ingest_log import IngestLog
from recommender.matrix import ColumnIndex, PatientMatrix
from recommender.packing import Words
from recommender.ranking import TopN
from recommender.records import SCHEMA, Records
from recommender.safety.charts import Charts
from recommender.sealing import Place
from recommender.snapshot import Snapshot, pack_release, unpack_release

FACTS = ("indptr", "concept", "days", "value", "age", "sex")


def save_records(records: Records, place: Place) -> None:
    for name in SCHEMA:
        table = pa.Table.from_pandas(getattr(records, name), preserve_index=False)
        with place.writing(f"{name}.arrow") as file:
            feather.write_feather(table, file, compression="uncompressed")
    account = {field.name: getattr(records.log, field.name) for field in fields(IngestLog) if field.name[0] != "_"}
    findings = [[*key, *value] for key, value in records.log._findings.items()]
    place.write("log.json", orjson.dumps({**account, "findings": findings}))


def load_records(place: Place) -> Records:
    tables = {name: _table(place, f"{name}.arrow", columns) for name, columns in SCHEMA.items()}
    told = orjson.loads(place.read("log.json"))
    found = told.pop("findings")
    log = IngestLog(**told)
    for file, field_name, reason, outcome, count, rows in found:
        log._findings[(file, field_name, reason, outcome)] = (count, tuple(rows))
    return Records(**tables, log=log)


def _table(place: Place, name: str, columns: Mapping[str, str]) -> pd.DataFrame:
    if place.seal is None:
        table = feather.read_table(place.path / name, memory_map=True)
    else:
        table = feather.read_table(pa.BufferReader(place.read(name)))
    frame = {}
    for column, dtype in columns.items():
        whole = table.column(column)
        if dtype in ("str", "bool"):
            frame[column] = whole.to_pandas().astype(dtype)
        else:  # the file's own pages, which the system may drop and read again
            frame[column] = whole.to_pandas(zero_copy_only=False).astype(dtype)
    return pd.DataFrame(frame)


def save_matrix(matrix: PatientMatrix, place: Place) -> None:
    """A matrix that has nothing to foresee (`later`): that of today's charts."""
    _save_csr(place, "rows", matrix.rows)
    _save_ids(place, matrix.patient_ids)
    place.write("columns.json", orjson.dumps(matrix.index.as_dict()))


def load_matrix(place: Place) -> PatientMatrix:
    index = ColumnIndex.from_dict(orjson.loads(place.read("columns.json")))
    return PatientMatrix(_load_csr(place, "rows"), index, _load_ids(place))


def save_snapshot(snapshot: Snapshot, place: Place) -> None:
    release = place.within("release")
    for name, asset in pack_release(snapshot.release).items():
        release.write(name, asset)
    _save_csr(place, "rows", snapshot.rows)
    _save_ids(place, snapshot.patient_ids)
    for name in ("indptr", "columns", "scores"):
        _save(place, f"top-{name}.npy", getattr(snapshot.top, name))
    for name in FACTS:
        _save(place, f"charts-{name}.npy", getattr(snapshot.charts, name))


def load_snapshot(version: str, place: Place) -> Snapshot:
    """Raises StoreCorrupt where the release is not whole."""
    at = place.within("release")
    release = unpack_release(version, {name: at.read(name) for name in at.files()})
    top = TopN(*(_load(place, f"top-{name}.npy") for name in ("indptr", "columns", "scores")))
    charts = Charts(release.known, *(_load(place, f"charts-{name}.npy") for name in FACTS))
    return Snapshot(release, _load_ids(place), top, _load_csr(place, "rows"), charts)


def _save(place: Place, name: str, array: np.ndarray) -> None:
    with place.writing(name) as file:
        np.save(file, array, allow_pickle=False)


def _load(place: Place, name: str) -> np.ndarray:
    with place.reading(name) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _save_csr(place: Place, name: str, rows: sparse.csr_matrix) -> None:
    for part in ("indptr", "indices", "data"):
        _save(place, f"{name}-{part}.npy", getattr(rows, part))
    place.write(f"{name}.json", orjson.dumps(list(rows.shape)))


def _load_csr(place: Place, name: str) -> sparse.csr_matrix:
    data, indices, indptr = (_load(place, f"{name}-{part}.npy") for part in ("data", "indices", "indptr"))
    shape: Any = tuple(orjson.loads(place.read(f"{name}.json")))
    return sparse.csr_matrix((data, indices, indptr), shape=shape)


def _save_ids(place: Place, ids: np.ndarray) -> None:
    words = Words.of([one.encode() for one in ids])
    _save(place, "ids-data.npy", words.data)
    _save(place, "ids-ptr.npy", words.ptr)


def _load_ids(place: Place) -> np.ndarray:
    data, ptr = _load(place, "ids-data.npy").tobytes(), _load(place, "ids-ptr.npy").tolist()
    return np.array([data[a:b].decode() for a, b in pairwise(ptr)], dtype=object)

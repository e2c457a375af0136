"""The values between the stages of a night in, files in a folder out, and the same values from them again.

Tables are Arrow files, arrays NumPy files, everything else JSON: nothing is a pickle. Who keeps the hashes of the files
(`jobs/stages.py`) finds out when one was altered; here they are only written and read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
from pyarrow import feather
from scipy import sparse

from recommender.features import ColumnIndex, PatientMatrix
from recommender.ingest_log import IngestLog
from recommender.packing import Words
from recommender.ranking import TopN
from recommender.records import SCHEMA, Records
from recommender.safety.charts import Charts
from recommender.snapshot import Snapshot, pack_release, unpack_release

FACTS = ("indptr", "concept", "days", "value", "age", "sex")


def save_records(records: Records, folder: Path) -> None:
    for name in SCHEMA:
        table = pa.Table.from_pandas(getattr(records, name), preserve_index=False)
        feather.write_feather(table, folder / f"{name}.arrow", compression="uncompressed")
    account = {field.name: getattr(records.log, field.name) for field in fields(IngestLog) if field.name[0] != "_"}
    findings = [[*key, *value] for key, value in records.log._findings.items()]
    (folder / "log.json").write_bytes(orjson.dumps({**account, "findings": findings}))


def load_records(folder: Path) -> Records:
    tables = {name: _table(folder / f"{name}.arrow", columns) for name, columns in SCHEMA.items()}
    told = orjson.loads((folder / "log.json").read_bytes())
    found = told.pop("findings")
    log = IngestLog(**told)
    for file, field_name, reason, outcome, count, rows in found:
        log._findings[(file, field_name, reason, outcome)] = (count, tuple(rows))
    return Records(**tables, log=log)


def _table(file: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    table = feather.read_table(file, memory_map=True)
    frame = {}
    for name, dtype in columns.items():
        whole = table.column(name)
        if dtype in ("str", "bool"):
            frame[name] = whole.to_pandas().astype(dtype)
        else:  # the file's own pages, which the system may drop and read again
            frame[name] = whole.to_pandas(zero_copy_only=False).astype(dtype)
    return pd.DataFrame(frame)


def save_matrix(matrix: PatientMatrix, folder: Path) -> None:
    """A matrix that has nothing to foresee (`later`): that of today's charts."""
    _save_csr(folder, "rows", matrix.rows)
    _save_ids(folder, matrix.patient_ids)
    (folder / "columns.json").write_bytes(orjson.dumps(matrix.index.as_dict()))


def load_matrix(folder: Path) -> PatientMatrix:
    index = ColumnIndex.from_dict(orjson.loads((folder / "columns.json").read_bytes()))
    return PatientMatrix(_load_csr(folder, "rows"), index, _load_ids(folder))


def save_snapshot(snapshot: Snapshot, folder: Path) -> None:
    for name, asset in pack_release(snapshot.release).items():
        file = folder / "release" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(asset)
    _save_csr(folder, "rows", snapshot.rows)
    _save_ids(folder, snapshot.patient_ids)
    for name in ("indptr", "columns", "scores"):
        np.save(folder / f"top-{name}.npy", getattr(snapshot.top, name))
    for name in FACTS:
        np.save(folder / f"charts-{name}.npy", getattr(snapshot.charts, name))


def load_snapshot(version: str, folder: Path) -> Snapshot:
    """Raises StoreCorrupt where the release is not whole."""
    at = folder / "release"
    assets = {file.relative_to(at).as_posix(): file.read_bytes() for file in at.rglob("*") if file.is_file()}
    release = unpack_release(version, assets)
    top = TopN(*(np.load(folder / f"top-{name}.npy") for name in ("indptr", "columns", "scores")))
    charts = Charts(release.known, *(np.load(folder / f"charts-{name}.npy") for name in FACTS))
    return Snapshot(release, _load_ids(folder), top, _load_csr(folder, "rows"), charts)


def _save_csr(folder: Path, name: str, rows: sparse.csr_matrix) -> None:
    for part in ("indptr", "indices", "data"):
        np.save(folder / f"{name}-{part}.npy", getattr(rows, part))
    (folder / f"{name}.json").write_bytes(orjson.dumps(list(rows.shape)))


def _load_csr(folder: Path, name: str) -> sparse.csr_matrix:
    data, indices, indptr = (np.load(folder / f"{name}-{part}.npy") for part in ("data", "indices", "indptr"))
    shape: Any = tuple(orjson.loads((folder / f"{name}.json").read_bytes()))
    return sparse.csr_matrix((data, indices, indptr), shape=shape)


def _save_ids(folder: Path, ids: np.ndarray) -> None:
    words = Words.of([one.encode() for one in ids])
    np.save(folder / "ids-data.npy", words.data)
    np.save(folder / "ids-ptr.npy", words.ptr)


def _load_ids(folder: Path) -> np.ndarray:
    data, ptr = np.load(folder / "ids-data.npy").tobytes(), np.load(folder / "ids-ptr.npy").tolist()
    return np.array([data[a:b].decode() for a, b in pairwise(ptr)], dtype=object)

"""The values between the stages of a night in, files in a folder out, and the same values from them again.

Events and arrays are NumPy files, tables with words Arrow files, everything else JSON: nothing is a pickle. Who keeps
the hashes of the files (`jobs/stages.py`) finds out when one was altered; here they are only written and read. What is
read is the files themselves, mapped, of which only what is looked at comes into memory; in a sealed place they are
encrypted, and are read whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
from pyarrow import feather
from scipy import sparse

from recommender.blocks import CHUNK
from recommender.examples import as_rows
from recommender.ingest_log import IngestLog
from recommender.matrix import ColumnIndex, PatientMatrix
from recommender.memory import let_go, mapped
from recommender.packing import Words
from recommender.ranking import TopN
from recommender.records import SCHEMA, TIME, Records
from recommender.safety.charts import Charts
from recommender.sealing import Place
from recommender.snapshot import Snapshot, pack_release, unpack_release

WITH_WORDS = ("patients", "concepts")  # tables that are not numbers alone
FACTS = ("indptr", "concept", "days", "value", "age", "sex")


def save_records(records: Records, place: Place) -> None:
    for name, columns in SCHEMA.items():
        table = getattr(records, name)
        if name in WITH_WORDS:
            with place.writing(f"{name}.arrow") as file:
                # in one piece, or each column would be put together from its pieces when it is read
                whole, rows = pa.Table.from_pandas(table, preserve_index=False), max(len(table), 1)
                feather.write_feather(whole, file, "uncompressed", chunksize=rows)
            continue
        for column, dtype in columns.items():
            numbers = table[column].to_numpy("datetime64[s]").view(np.int64) if dtype == TIME else table[column]
            _save(place, f"{name}-{column}.npy", np.asarray(numbers))
    account = {field.name: getattr(records.log, field.name) for field in fields(IngestLog) if field.name[0] != "_"}
    findings = sorted([*key, *value] for key, value in records.log._findings.items())
    place.write("log.json", orjson.dumps({**account, "findings": findings}))


def load_records(place: Place) -> Records:
    tables = {name: _table(place, name, columns) for name, columns in SCHEMA.items()}
    told = orjson.loads(place.read("log.json"))
    found = told.pop("findings")
    log = IngestLog(**told)
    for file, field_name, reason, outcome, count, rows in found:
        log._findings[(file, field_name, reason, outcome)] = (count, tuple(rows))
    return Records(**tables, log=log)


def _table(place: Place, name: str, columns: Mapping[str, str]) -> pd.DataFrame:
    if name in WITH_WORDS:
        if place.seal is None:
            with (place.path / f"{name}.arrow").open("r+b") as file:
                stored = pa.py_buffer(mapped(file))
        else:
            stored = pa.py_buffer(place.read(f"{name}.arrow"))
        return feather.read_table(pa.BufferReader(stored)).to_pandas().astype(columns)
    return pd.DataFrame({column: _column(place, name, column, dtype) for column, dtype in columns.items()}, copy=False)


def _column(place: Place, table: str, name: str, dtype: str) -> pd.Series:
    numbers = _load(place, f"{table}-{name}.npy")
    return pd.Series(pd.array(numbers, dtype=TIME, copy=False) if dtype == TIME else numbers, copy=False)


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
    """As `np.save`, a part at a time: an array that lies in a file does not come into memory whole."""
    array = np.ascontiguousarray(array)
    with place.writing(name) as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        for at in range(0, len(array), CHUNK):
            file.write(array[at : at + CHUNK].data.cast("B"))
            if len(array) > CHUNK:
                let_go()


def _load(place: Place, name: str) -> np.ndarray:
    if place.seal is not None:
        with place.reading(name) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    with (place.path / name).open("r+b") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        at = file.tell()
        return np.ndarray(shape, dtype, buffer=mapped(file), offset=at)


def _save_csr(place: Place, name: str, rows: sparse.csr_matrix) -> None:
    for part in ("indptr", "indices", "data"):
        _save(place, f"{name}-{part}.npy", getattr(rows, part))
    place.write(f"{name}.json", orjson.dumps(list(rows.shape)))


def _load_csr(place: Place, name: str) -> sparse.csr_matrix:
    data, indices, indptr = (_load(place, f"{name}-{part}.npy") for part in ("data", "indices", "indptr"))
    return as_rows(data, indices, indptr, orjson.loads(place.read(f"{name}.json"))[1])


def _save_ids(place: Place, ids: np.ndarray) -> None:
    words = Words.of([one.encode() for one in ids])
    _save(place, "ids-data.npy", words.data)
    _save(place, "ids-ptr.npy", words.ptr)


def _load_ids(place: Place) -> np.ndarray:
    data, ptr = _load(place, "ids-data.npy").tobytes(), _load(place, "ids-ptr.npy").tolist()
    return np.array([data[a:b].decode() for a, b in pairwise(ptr)], dtype=object)

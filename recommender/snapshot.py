"""What a night produces, in the form that readers need: one `Snapshot` to publish, one `Release` and `Entry` to read.

A `Snapshot` is everything of one version: the manifest, what the columns mean, the model's arrays, and an entry for
every patient (the best suggestions and the patient row that they were computed from). `Release` is its shared part as a
reader holds it; `Entry` is one patient's part, packed by the codec below.

Codec of an entry, format 1, little-endian:

    bytes 0-1    magic b"RX"          byte 2   format (1)       byte 3   bytes of an id: 2 or 4
    bytes 4-5    n suggestions (u16)  bytes 6-7   k entries of the row (u16)
    n ids, n float32 scores (best first), k ids (ascending), k float16 weights
    4 bytes      CRC-32 of all the bytes before, begun with the CRC-32 of "version/patient id"

The closing sum is bound to the version and the patient, so bytes of another patient, of another version or of another
program are refused, never read as a wrong drug.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from scipy import sparse

from recommender.errors import EngineError, StoreCorrupt
from recommender.features import ColumnIndex
from recommender.models import MODELS
from recommender.models.base import Model
from recommender.ranking import TopN

FORMAT = 1
_HEADER = struct.Struct("<2sBBHH")
_CRC = struct.Struct("<I")


@dataclass(frozen=True)
class Entry:
    """One patient, as published: suggestions (best first) and the row of the matrix that they were computed from.

    columns (n,) int32 and scores (n,) float32; row_columns (k,) int32 ascending and row_weights (k,) float32.
    """

    columns: np.ndarray
    scores: np.ndarray
    row_columns: np.ndarray
    row_weights: np.ndarray


@dataclass(frozen=True)
class Release:
    """The shared part of one published version: `manifest` is JSON-able and says what it was made from, and when."""

    version: str
    manifest: Mapping[str, Any]
    index: ColumnIndex
    model: Model


@dataclass(frozen=True)
class Snapshot:
    """A whole version, ready to publish. `top` and `rows` (CSR, n_patients x n_columns) are in `patient_ids` order."""

    release: Release
    patient_ids: np.ndarray
    top: TopN
    rows: sparse.csr_matrix

    def __post_init__(self) -> None:
        if not len(self.patient_ids) == self.rows.shape[0] == len(self.top.indptr) - 1:
            raise EngineError("a snapshot needs one list and one row for each patient")

    def entry(self, patient_ix: int) -> Entry:
        columns, scores = self.top.of(patient_ix)
        part = slice(self.rows.indptr[patient_ix], self.rows.indptr[patient_ix + 1])
        return Entry(columns, scores, self.rows.indices[part], self.rows.data[part])

    def packed(self, patient_ixs: np.ndarray) -> Iterator[tuple[str, bytes]]:
        """The ids of these patients, each with its packed entry, in the order given."""
        version, wide = self.release.version, len(self.release.index) > 0xFFFF
        for patient_ix in patient_ixs:
            patient_id = self.patient_ids[patient_ix]
            yield patient_id, pack_entry(self.entry(patient_ix), version, patient_id, wide=wide)


def pack_entry(entry: Entry, version: str, patient_id: str, *, wide: bool) -> bytes:
    """The codec's bytes; `wide` writes ids of 4 bytes instead of 2. Raises EngineError for over 65,535 items."""
    if max(len(entry.columns), len(entry.row_columns)) > 0xFFFF:
        raise EngineError("a patient's row or list has more than 65,535 items, which the published format cannot hold")
    id_type = "<u4" if wide else "<u2"
    body = b"".join(
        (
            _HEADER.pack(b"RX", FORMAT, 4 if wide else 2, len(entry.columns), len(entry.row_columns)),
            entry.columns.astype(id_type).tobytes(),
            entry.scores.astype("<f4").tobytes(),
            entry.row_columns.astype(id_type).tobytes(),
            entry.row_weights.astype("<f2").tobytes(),
        )
    )
    return body + _CRC.pack(zlib.crc32(body, _seed(version, patient_id)))


def unpack_entry(value: bytes, version: str, patient_id: str, n_columns: int) -> Entry:
    """The entry that `pack_entry` packed for this version and patient. Raises StoreCorrupt for any other bytes."""
    if len(value) < _HEADER.size + _CRC.size:
        raise StoreCorrupt("a published entry is too short to be ours: publish again with `rxrec nightly`")
    magic, written, width, n, k = _HEADER.unpack_from(value)
    if magic != b"RX" or written != FORMAT or width not in (2, 4):
        raise StoreCorrupt(f"a published entry is not in format {FORMAT}: publish again with `rxrec nightly`")
    (crc,) = _CRC.unpack_from(value, len(value) - _CRC.size)
    expected = _HEADER.size + n * (width + 4) + k * (width + 2) + _CRC.size
    if len(value) != expected or crc != zlib.crc32(value[: -_CRC.size], _seed(version, patient_id)):
        raise StoreCorrupt("a published entry was altered or belongs elsewhere: publish again with `rxrec nightly`")
    id_type, at = f"<u{width}", _HEADER.size

    def read(dtype: str, count: int) -> np.ndarray:
        nonlocal at
        array = np.frombuffer(value, dtype, count, at)
        at += array.nbytes
        return array

    columns, scores = read(id_type, n).astype(np.int32), read("<f4", n)
    row_columns, row_weights = read(id_type, k).astype(np.int32), read("<f2", k).astype(np.float32)
    if max(columns.max(initial=-1), row_columns.max(initial=-1)) >= n_columns:
        raise StoreCorrupt("a published entry names a column that its version does not have")
    return Entry(columns, scores, row_columns, row_weights)


def _seed(version: str, patient_id: str) -> int:
    return zlib.crc32(f"{version}/{patient_id}".encode())


def pack_release(release: Release) -> dict[str, bytes]:
    """The release as named assets. "manifest" holds the SHA-256 of every other asset and so is their seal."""
    assets = {"columns": orjson.dumps(release.index.as_dict())}
    for name, array in release.model.state().items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        assets[f"model/{name}"] = buffer.getvalue()
    sealed = {
        "manifest": release.manifest,
        "version": release.version,
        "model": {"name": release.model.name, "parameters": release.model.parameters()},
        "sha256": {name: hashlib.sha256(asset).hexdigest() for name, asset in assets.items()},
    }
    return {"manifest": orjson.dumps(sealed), **assets}


def unpack_release(version: str, assets: Mapping[str, bytes]) -> Release:
    """The release that `pack_release` packed. Raises StoreCorrupt when an asset is missing, altered or unknown."""
    try:
        sealed = orjson.loads(assets["manifest"])
        for name, digest in sealed["sha256"].items():
            if hashlib.sha256(assets[name]).hexdigest() != digest:
                raise StoreCorrupt(f"asset {name} of version {version} was altered: publish again with `rxrec nightly`")
        if sealed["version"] != version:
            raise StoreCorrupt(f"the assets of version {version} belong to another version")
        state = {
            name.removeprefix("model/"): np.load(io.BytesIO(assets[name]), allow_pickle=False)
            for name in sealed["sha256"]
            if name.startswith("model/")
        }
        model = MODELS[sealed["model"]["name"]].from_state(sealed["model"]["parameters"], state)
        return Release(version, sealed["manifest"], ColumnIndex.from_dict(orjson.loads(assets["columns"])), model)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(f"version {version} is not whole or not ours: publish again with `rxrec nightly`") from error

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
from scipy import sparse

from recommender.calibration import Calibration
from recommender.errors import EngineError, StoreCorrupt
from recommender.features import ColumnIndex
from recommender.models import MODELS
from recommender.models.base import Model
from recommender.ranking import TopN

FORMAT = 1
PACK_PATIENTS = 4_096  # patients whose bytes are laid out at once
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

    @cached_property
    def chances(self) -> Calibration | None:
        """What share of the `chances_depth` first therapies of a list began, by their score; None where not measured.

        Raises StoreCorrupt when the manifest holds something else.
        """
        stated = self.manifest.get("chances")
        try:
            return None if stated is None else Calibration.from_dict(stated["curve"])
        except (KeyError, TypeError, ValueError):
            raise StoreCorrupt(f"the chances of version {self.version} are not ours: publish again") from None

    @property
    def chances_depth(self) -> int:
        return int(self.manifest["chances"]["depth"]) if self.manifest.get("chances") else 0


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

    def packed(self, patient_ixs: np.ndarray | None = None) -> Iterator[tuple[str, bytes]]:
        """Each patient's id and packed entry: those asked for, in the order given, or all."""
        wanted = np.arange(len(self.patient_ids)) if patient_ixs is None else patient_ixs
        # the lists in the shape of CSR rows, so that scipy gathers both; it keeps the order within a row
        lists = sparse.csr_matrix((self.top.scores, self.top.columns, self.top.indptr), shape=self.rows.shape)
        for start in range(0, len(wanted), PACK_PATIENTS):
            block = wanted[start : start + PACK_PATIENTS]
            ids = self.patient_ids[block].tolist()
            yield from zip(ids, pack_entries(lists[block], self.rows[block], self.release.version, ids), strict=True)


def pack_entries(
    lists: sparse.csr_matrix, rows: sparse.csr_matrix, version: str, patient_ids: Sequence[str]
) -> Iterator[bytes]:
    """The codec's bytes of each patient, from its list and its row. Raises EngineError for over 65,535 items.

    lists and rows: (n_patients, n_columns) CSR; the entries of a row of `lists` stand best first.
    """
    if max(np.diff(lists.indptr).max(initial=0), np.diff(rows.indptr).max(initial=0)) > 0xFFFF:
        raise EngineError("a patient's row or list has more than 65,535 items, which the published format cannot hold")
    width = 4 if rows.shape[1] > 0xFFFF else 2
    columns, scores = lists.indices.astype(f"<u{width}").tobytes(), lists.data.astype("<f4").tobytes()
    row_columns, row_weights = rows.indices.astype(f"<u{width}").tobytes(), rows.data.astype("<f2").tobytes()
    list_parts, row_parts = pairwise(lists.indptr.tolist()), pairwise(rows.indptr.tolist())
    begun = _seed(version, "")
    for patient_id, (a, b), (c, d) in zip(patient_ids, list_parts, row_parts, strict=True):
        body = (
            _HEADER.pack(b"RX", FORMAT, width, b - a, d - c)
            + columns[a * width : b * width]
            + scores[a * 4 : b * 4]
            + row_columns[c * width : d * width]
            + row_weights[c * 2 : d * 2]
        )
        yield body + _CRC.pack(zlib.crc32(body, zlib.crc32(patient_id.encode(), begun)))


def unpack_entry(value: bytes, version: str, patient_id: str, n_columns: int) -> Entry:
    """The entry that `pack_entries` packed for this version and patient. Raises StoreCorrupt for any other bytes."""
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
    if (columns >= n_columns).any() or (row_columns >= n_columns).any():
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
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(f"version {version} is not whole or not ours: publish again with `rxrec nightly`") from error

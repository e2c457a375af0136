"""What a night produces, in the form that readers need: one `Snapshot` to publish, one `Release` and `Entry` to read.

A `Snapshot` is everything of one version: the manifest, what the columns mean, the model's arrays, and an entry for
every patient (the best suggestions, the patient row that they were computed from, and the chart that they are screened
against). `Release` is its shared part as a reader holds it; `Entry` is one patient's part, packed by the codec below.

Codec of an entry, format 2, little-endian:

    bytes 0-1    magic b"RX"          byte 2   format (2)       byte 3   bytes of an id: 2 or 4
    bytes 4-5    n suggestions (u16)  bytes 6-7   k entries of the row (u16)
    bytes 8-9    f facts (u16)        bytes 10-11 v values (u16)
    bytes 12-15  age (float32)        byte 16     sex (0 unknown, 1 F, 2 M)
    n ids, n float32 scores (best first), k ids (ascending), k float16 weights,
    f ids (ascending, in `Known.concepts`), f days (i16), v float32 values: those of the last v facts
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
from typing import Any

import numpy as np
import orjson
from scipy import sparse

from recommender import packing
from recommender.calibration import Calibration
from recommender.errors import EngineError, StoreCorrupt
from recommender.features import ColumnIndex
from recommender.models import MODELS
from recommender.models.base import Model
from recommender.packing import Words
from recommender.ranking import TopN
from recommender.safety.charts import SEXES, Chart, Charts, Known
from recommender.support import Support

FORMAT = 2
PACK_PATIENTS = 4_096  # patients whose bytes are laid out at once
_HEADER = struct.Struct("<2sBBHHHHfB")
_CRC = struct.Struct("<I")


@dataclass(frozen=True)
class Entry:
    """One patient, as published: suggestions (best first), the row of the matrix that they were computed from, and the
    chart that they are screened against.

    columns (n,) int32 and scores (n,) float32; row_columns (k,) int32 ascending and row_weights (k,) float32.
    """

    columns: np.ndarray
    scores: np.ndarray
    row_columns: np.ndarray
    row_weights: np.ndarray
    chart: Chart


@dataclass(frozen=True)
class Release:
    """The shared part of one published version: `manifest` is JSON-able and says what it was made from, and when.

    `known`: what the concepts of the charts are. `support`: how many patients had what; None where not counted.
    """

    version: str
    manifest: Mapping[str, Any]
    index: ColumnIndex
    model: Model
    known: Known
    support: Support | None = None

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
    """A whole version, ready to publish. `top`, `rows` (CSR, n_patients x n_columns) and `charts` are in the order of
    `patient_ids`."""

    release: Release
    patient_ids: np.ndarray
    top: TopN
    rows: sparse.csr_matrix
    charts: Charts

    def __post_init__(self) -> None:
        if not len(self.patient_ids) == self.rows.shape[0] == len(self.top.indptr) - 1 == len(self.charts):
            raise EngineError("a snapshot needs one list, one row and one chart for each patient")

    def entry(self, patient_ix: int) -> Entry:
        columns, scores = self.top.of(patient_ix)
        part = slice(self.rows.indptr[patient_ix], self.rows.indptr[patient_ix + 1])
        return Entry(columns, scores, self.rows.indices[part], self.rows.data[part], self.charts.of(patient_ix))

    @cached_property
    def names(self) -> Words:
        """The patient ids as they stand in the store."""
        return Words.of([patient_id.encode() for patient_id in self.patient_ids])

    def pack(self, patient_ixs: np.ndarray) -> Words:
        """The packed entries of these patients, in the order given. Raises EngineError for over 65,535 items."""
        lists = (self.top.indptr, self.top.columns, self.top.scores)
        rows = (self.rows.indptr, self.rows.indices, self.rows.data)
        width = _width(self.rows.shape[1], self.charts.known)
        return _pack(lists, rows, self.charts, self.release.version, self.names, patient_ixs, width)

    def packed(self, patient_ixs: np.ndarray | None = None) -> Iterator[tuple[str, bytes]]:
        """Each patient's id and packed entry: those asked for, in the order given, or all."""
        wanted = np.arange(len(self.patient_ids)) if patient_ixs is None else patient_ixs
        for start in range(0, len(wanted), PACK_PATIENTS):
            block = wanted[start : start + PACK_PATIENTS]
            packed = self.pack(block)
            for place, patient_id in enumerate(self.patient_ids[block].tolist()):
                yield patient_id, packed[place]


def pack_entries(
    lists: sparse.csr_matrix, rows: sparse.csr_matrix, charts: Charts, version: str, patient_ids: Sequence[str]
) -> Iterator[bytes]:
    """The codec's bytes of each patient, from its list, row and chart. Raises EngineError for over 65,535 items.

    lists and rows: (n_patients, n_columns) CSR; the entries of a row of `lists` stand best first.
    """
    names, who = Words.of([patient_id.encode() for patient_id in patient_ids]), np.arange(len(patient_ids))
    parts = [(part.indptr, part.indices, part.data) for part in (lists, rows)]
    packed = _pack(parts[0], parts[1], charts, version, names, who, _width(rows.shape[1], charts.known))
    return (packed[place] for place in range(len(packed)))


_Csr = tuple[np.ndarray, np.ndarray, np.ndarray]  # indptr, indices, data


def _pack(lists: _Csr, rows: _Csr, charts: Charts, version: str, names: Words, who: np.ndarray, width: int) -> Words:
    ends, measured = packing.entry_ends(who, lists[0], rows[0], charts.indptr, charts.value, width)
    if ends[0] == packing.TOO_MANY:
        raise EngineError("a patient's row, list or chart has more than 65,535 items: too many for the format")
    if ends[0] == packing.UNSORTED:
        raise EngineError("the facts of a chart that have a value must be its last ones")
    out = np.empty(ends[-1], dtype=np.uint8)
    (list_ptr, columns, scores), (row_ptr, row_columns, row_weights) = lists, rows
    packing.write_entries(
        out, who, ends, measured, FORMAT, width, list_ptr, columns, _bits(scores), row_ptr, row_columns,
        _bits(row_weights), charts.indptr, charts.concept, charts.days, _bits(charts.value), _bits(charts.age),
        charts.sex, names.data, names.ptr, _seed(version, ""), packing.CRC_TABLE,
    )  # fmt: skip
    return Words(out, ends)


def _bits(floats: np.ndarray) -> np.ndarray:
    """float32 as the numbers that their bits are; no copy where they are float32 already."""
    return np.ascontiguousarray(floats, dtype=np.float32).view(np.uint32)


def _width(n_columns: int, known: Known) -> int:
    """Bytes of an id."""
    return 4 if max(n_columns, len(known.concepts)) > 0xFFFF else 2


def unpack_entry(value: bytes, version: str, patient_id: str, n_columns: int, n_concepts: int) -> Entry:
    """The entry that `pack_entries` packed for this version and patient. Raises StoreCorrupt for any other bytes."""
    if len(value) < _HEADER.size + _CRC.size:
        raise StoreCorrupt("a published entry is too short to be ours: publish again with `rxrec nightly`")
    magic, written, width, n, k, f, v, age, sex = _HEADER.unpack_from(value)
    if magic != b"RX" or written != FORMAT or width not in (2, 4) or v > f or sex >= len(SEXES):
        raise StoreCorrupt(f"a published entry is not in format {FORMAT}: publish again with `rxrec nightly`")
    (crc,) = _CRC.unpack_from(value, len(value) - _CRC.size)
    expected = _HEADER.size + n * (width + 4) + k * (width + 2) + f * (width + 2) + v * 4 + _CRC.size
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
    concept, days = read(id_type, f).astype(np.int32), read("<i2", f).astype(np.int32)
    measured = np.full(f, np.nan, dtype=np.float32)
    measured[f - v :] = read("<f4", v)
    if (columns >= n_columns).any() or (row_columns >= n_columns).any() or (concept >= n_concepts).any():
        raise StoreCorrupt("a published entry names a column that its version does not have")
    return Entry(columns, scores, row_columns, row_weights, Chart(concept, days, measured, age, SEXES[sex]))


def _seed(version: str, patient_id: str) -> int:
    return zlib.crc32(f"{version}/{patient_id}".encode())


def pack_release(release: Release) -> dict[str, bytes]:
    """The release as named assets. "manifest" holds the SHA-256 of every other asset and so is their seal."""
    assets = {"columns": orjson.dumps(release.index.as_dict()), "chart": orjson.dumps(release.known.as_dict())}
    arrays = {f"model/{name}": array for name, array in release.model.state().items()}
    if release.support is not None:
        arrays |= {f"support/{name}": array for name, array in release.support.to_state().items()}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        assets[name] = buffer.getvalue()
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

        def state(of: str) -> dict[str, np.ndarray]:
            return {
                name.removeprefix(of): np.load(io.BytesIO(assets[name]), allow_pickle=False)
                for name in sealed["sha256"]
                if name.startswith(of)
            }

        model = MODELS[sealed["model"]["name"]].from_state(sealed["model"]["parameters"], state("model/"))
        support = Support.from_state(counted) if (counted := state("support/")) else None
        index, known = orjson.loads(assets["columns"]), orjson.loads(assets["chart"])
        columns = ColumnIndex.from_dict(index)
        return Release(version, sealed["manifest"], columns, model, Known.from_dict(known), support)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(f"version {version} is not whole or not ours: publish again with `rxrec nightly`") from error

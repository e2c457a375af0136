"""What a night produces, in the form that readers need: one `Snapshot` to publish, one `Release` and `Entry` to read.

A `Snapshot` is everything of one version: the manifest, what the columns mean, the model's arrays, and an entry for
every patient (the best suggestions, the patient row that they were computed from, and the chart that they are screened
against). `Release` is its shared part as a reader holds it; `Entry` is one patient's part, packed by the codec below.

Codec of an entry, format 5, little-endian:

    bytes 0-1    magic b"RX"          byte 2   format (5)       byte 3   bytes of an id: 2 or 4
    bytes 4-5    n suggestions (u16)  bytes 6-7   e exact scores (u16)    bytes 8-9   k entries of the row (u16)
    bytes 10-11  f facts (u16)        bytes 12-13 v values (u16)   bytes 14-15 s bytes of the sealed id (u16)
    bytes 16-19  age (float32)        byte 20     sex (0 unknown, 1 F, 2 M)
    n ids, best first; the first e of their scores (float32); where e < n, the last score (float32), and how many steps
                 of 2**-17 above it the other n - e lie (u16), itself too: last + steps * 2**-17, in float32, to the bit
    k ids (ascending), k float16 weights,
    f ids (ascending, in `Known.concepts`), f days (i16), v float32 values: those of the last v facts, NaN for none
    s bytes      the patient's id, sealed (`pseudonyms.py`)
    4 bytes      CRC-32 of all the bytes before, begun with the CRC-32 of "version/" and the patient's name

The closing sum is bound to the version and the patient, so bytes of another patient, of another version or of another
program are refused, never read as a wrong drug.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import orjson
from scipy import sparse

from recommender import packing
from recommender.calibration import Calibration
from recommender.errors import EngineError, StoreCorrupt
from recommender.given import NOT_KNOWN, ByRoute, Given
from recommender.matrix import ColumnIndex
from recommender.models import MODELS
from recommender.models.base import Model
from recommender.packing import Words
from recommender.ranking import TopN
from recommender.safety.charts import SEXES, Chart, Charts, Known
from recommender.support import Support

FORMAT = 5
LOCAL = "local"
GROUPS = (LOCAL, "systemic")  # what acts where it is put (`Known.local`), and every other drug
_HEADER = struct.Struct("<2sBBHHHHHHfB")
_CRC = struct.Struct("<I")
_IDS: dict[int, np.dtype[Any]] = {2: np.dtype("<u2"), 4: np.dtype("<u4")}  # by their width
_U2, _I2, _F2, _F4 = _IDS[2], np.dtype("<i2"), np.dtype("<f2"), np.dtype("<f4")


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

    `known`: what the concepts of the charts are. `support`: how many patients had what; `given`: by which routes; None
    where not counted.
    """

    version: str
    manifest: Mapping[str, Any]
    index: ColumnIndex
    model: Model
    known: Known
    support: Support | None = None
    given: Given | None = None

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

    def routes(self, code: str) -> tuple[ByRoute, ...]:
        """By which routes patients had a drug; () of what nobody had or is no drug, and where that was not counted."""
        return self.given.of(code) if self.given else ()

    def by_route(self, code: str, wish: str) -> bool:
        """Whether a drug is one that is given so here: by one of `given.COUNTED`, or of one of the two GROUPS."""
        if wish in GROUPS:
            return (code in self.known.local) == (wish == LOCAL)
        return self.given.by(code, wish) if self.given else wish == NOT_KNOWN

    @property
    def base(self) -> str:
        """Of an update, the version that it leans on; of any other, itself."""
        return str(self.manifest.get("update", {}).get("base", self.version))

    @property
    def days_since_base(self) -> int:
        """How much later than those of `base` the charts of an update were read."""
        return int(self.manifest.get("update", {}).get("days", 0))


@dataclass(frozen=True)
class Named:
    """What stands for patients in the store: names (n, 16) uint8, and their ids, sealed."""

    names: np.ndarray
    sealed: Words


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


class Packer:
    """The patients of a snapshot under their names, ready to be packed any number at a time, by several threads.

    names (n_patients, 16) uint8.
    """

    def __init__(self, snapshot: Snapshot, named: Named) -> None:
        self.names = named.names
        top, rows, charts = snapshot.top, snapshot.rows, snapshot.charts
        self._width = width = 4 if max(rows.shape[1], len(charts.known.concepts)) > 0xFFFF else 2
        age, sealed = _bytes(charts.age, "<f4"), named.sealed
        scores = np.ascontiguousarray(top.scores, dtype="<f4")
        exact = packing.exact_scores(top.indptr, scores)
        self._lengths = (
            top.indptr, exact, rows.indptr, charts.indptr, charts.value, sealed.ptr, age, named.names, width
        )  # fmt: skip
        with np.errstate(over="ignore"):  # a weight beyond what 2 bytes hold is infinite
            weights = _bytes(rows.data, "<f2")
        self._content = (
            top.indptr, _bytes(top.columns, f"<u{width}"), scores, exact,
            rows.indptr, _bytes(rows.indices, f"<u{width}"), weights,
            charts.indptr, _bytes(charts.concept, f"<u{width}"), _bytes(charts.days, "<i2"),
            _bytes(charts.value, "<f4"), age, charts.sex,
            named.names, sealed.data, sealed.ptr, seed(snapshot.release.version), packing.CRC_TABLE,
        )  # fmt: skip

    def sizes(self, patient_ixs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many bytes each entry has (n,) int64; and what `write` asks for. Raises EngineError for over 65,535
        items."""
        sizes, measured = packing.entry_sizes(patient_ixs, *self._lengths)
        if sizes.min(initial=0) == packing.TOO_MANY:
            raise EngineError("a patient's row, list, chart or id has more than 65,535 items: too many for the format")
        return sizes, measured

    def write(
        self, out: np.ndarray, patient_ixs: np.ndarray, starts: np.ndarray, sizes: np.ndarray, measured: np.ndarray
    ) -> None:
        """The packed entry of each of these patients, from out[starts[k]] on; out uint8."""
        packing.write_entries(out, patient_ixs, starts, sizes, measured, FORMAT, self._width, *self._content)

    def pack(self, patient_ixs: np.ndarray) -> Words:
        """The packed entries of these patients, in the order given."""
        sizes, measured = self.sizes(patient_ixs)
        ptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        out = np.empty(ptr[-1], dtype=np.uint8)
        self.write(out, patient_ixs, ptr[:-1], sizes, measured)
        return Words(out, ptr)


def _bytes(numbers: np.ndarray, written: str) -> np.ndarray:
    """(n_bytes,) uint8: the numbers as an entry has them; no copy where they are of that type already."""
    return np.ascontiguousarray(numbers, dtype=written).view(np.uint8)


def unpack_entry(value: bytes, version: str, name: bytes, n_columns: int, n_concepts: int) -> Entry:
    """The entry that `Packer` packed for this version and patient. Raises StoreCorrupt for any other bytes."""
    if len(value) < _HEADER.size + _CRC.size:
        raise StoreCorrupt("a published entry is too short to be ours: publish again with `rxrec nightly`")
    magic, written, width, n, e, k, f, v, s, age, sex = _HEADER.unpack_from(value)
    if magic != b"RX" or written != FORMAT or width not in (2, 4) or e > n or v > f or sex >= len(SEXES):
        raise StoreCorrupt(f"a published entry is not in format {FORMAT}: publish again with `rxrec nightly`")
    (crc,) = _CRC.unpack_from(value, len(value) - _CRC.size)
    listed = n * width + 4 * e + (4 + 2 * (n - e) if e < n else 0)
    expected = _HEADER.size + listed + k * (width + 2) + f * (width + 2) + v * 4 + s + _CRC.size
    if len(value) != expected or crc != zlib.crc32(value[: -_CRC.size], zlib.crc32(name, seed(version))):
        raise StoreCorrupt("a published entry was altered or belongs elsewhere: publish again with `rxrec nightly`")
    at = _HEADER.size

    def read(dtype: np.dtype[Any], count: int) -> np.ndarray:
        nonlocal at
        array = np.frombuffer(value, dtype, count, at)
        at += array.nbytes
        return array

    def ids(count: int, most: int) -> np.ndarray:
        found = read(_IDS[width], count)
        if count and found.max() >= most:
            raise StoreCorrupt("a published entry names a column that its version does not have")
        return found.astype(np.int32)

    columns, scores = ids(n, n_columns), read(_F4, e)
    if e < n:
        in_steps = read(_F4, 1) + read(_U2, n - e) * packing.STEP
        scores = np.concatenate((scores, in_steps)) if e else in_steps
    row_columns, row_weights = ids(k, n_columns), read(_F2, k).astype(np.float32)
    concept, days = ids(f, n_concepts), read(_I2, f).astype(np.int32)
    measured = np.empty(f, dtype=np.float32)
    measured[: f - v] = np.nan
    measured[f - v :] = read(_F4, v)
    return Entry(columns, scores, row_columns, row_weights, Chart(concept, days, measured, age, SEXES[sex]))


def sealed_id(value: bytes) -> bytes:
    """The patient's id, sealed, of what `unpack_entry` has read."""
    length = int(_HEADER.unpack_from(value)[8])
    return value[len(value) - _CRC.size - length : len(value) - _CRC.size]


def seed(version: str) -> int:
    """What the closing sum of an entry is begun with, before the patient's name."""
    return zlib.crc32(f"{version}/".encode())


def pack_release(release: Release) -> dict[str, bytes]:
    """The release as named assets. "manifest" holds the SHA-256 of every other asset and so is their seal."""
    assets = {"columns": orjson.dumps(release.index.as_dict()), "chart": orjson.dumps(release.known.as_dict())}
    if release.given is not None:
        assets["given"] = orjson.dumps(release.given.as_dict())
    arrays = {f"model/{name}": array for name, array in release.model.state().items()}
    if release.support is not None:
        arrays |= {f"support/{name}": array for name, array in release.support.to_state().items()}
    assets |= {name: _npy(array) for name, array in arrays.items()}
    sealed = {
        "manifest": release.manifest,
        "version": release.version,
        "model": {"name": release.model.name, "parameters": release.model.parameters()},
        "sha256": {name: hashlib.sha256(asset).hexdigest() for name, asset in assets.items()},
    }
    return {"manifest": orjson.dumps(sealed), **assets}


def _npy(array: np.ndarray) -> bytes:
    """As `np.save` writes it, which copies it twice more."""
    array, header = np.asarray(array, order="C"), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    return b"".join((header.getvalue(), array.reshape(-1).view(np.uint8).data))


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
        given = Given.from_dict(orjson.loads(assets["given"])) if "given" in sealed["sha256"] else None
        return Release(version, sealed["manifest"], columns, model, Known.from_dict(known), support, given)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(f"version {version} is not whole or not ours: publish again with `rxrec nightly`") from error

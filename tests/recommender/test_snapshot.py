"""The codec: what was packed comes back to the bit; any other bytes are refused, never read as a wrong drug."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recommender.errors import EngineError, StoreCorrupt
from recommender.snapshot import Entry, Snapshot, pack_entries, pack_release, unpack_entry, unpack_release

NARROW, WIDE = 0xFFFF, 0x10000  # columns: the most that are written as ids of 2 bytes, and one more


def packed(entry: Entry, version: str, patient_id: str, n_columns: int) -> bytes:
    lists = sparse.csr_matrix((entry.scores, entry.columns, [0, len(entry.columns)]), shape=(1, n_columns))
    rows = sparse.csr_matrix((entry.row_weights, entry.row_columns, [0, len(entry.row_columns)]), shape=(1, n_columns))
    (value,) = pack_entries(lists, rows, version, [patient_id])
    return value


@st.composite
def entries(draw: st.DrawFn, n_columns: int) -> Entry:
    ids = st.lists(st.integers(0, n_columns - 1), max_size=8, unique=True)
    columns, row_columns = draw(ids), sorted(draw(ids))
    floats = {width: st.floats(width=width, allow_nan=False) for width in (16, 32)}
    return Entry(
        np.array(columns, dtype=np.int32),
        np.array([draw(floats[32]) for _ in columns], dtype=np.float32),
        np.array(row_columns, dtype=np.int32),
        np.array([draw(floats[16]) for _ in row_columns], dtype=np.float32),
    )


PATIENT_IDS = st.text(st.characters(codec="utf-8"))
# columns 300, 1 with scores 0.5, -2; row columns 1, 2, 7 with weights 1, 0.25, 3: worked out by hand below
EXAMPLE = Entry(
    np.array([300, 1], dtype=np.int32),
    np.array([0.5, -2], dtype=np.float32),
    np.array([1, 2, 7], dtype=np.int32),
    np.array([1, 0.25, 3], dtype=np.float32),
)


def assert_same(entry: Entry, other: Entry) -> None:
    for name in ("columns", "scores", "row_columns", "row_weights"):
        a, b = getattr(entry, name), getattr(other, name)
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


def test_the_documented_layout() -> None:
    body = bytes.fromhex(
        "5258 01 02 0200 0300"  # RX, format 1, ids of 2 bytes, 2 suggestions, 3 entries of the row
        "2c01 0100 0000003f 000000c0"  # 300, 1; 0.5, -2.0
        "0100 0200 0700 003c 0034 0042"  # 1, 2, 7; 1.0, 0.25, 3.0
    )
    crc = zlib.crc32(body, zlib.crc32(b"v1/PAT-1"))
    assert packed(EXAMPLE, "v1", "PAT-1", NARROW) == body + struct.pack("<I", crc)
    assert len(packed(EXAMPLE, "v1", "PAT-1", WIDE)) == len(body) + 4 + 2 * 5


@pytest.mark.parametrize("n_columns", [NARROW, WIDE])
@settings(deadline=None)
@given(data=st.data(), version=st.text("abc", min_size=1), patient_id=PATIENT_IDS)
def test_round_trip(n_columns: int, data: st.DataObject, version: str, patient_id: str) -> None:
    entry = data.draw(entries(n_columns))
    value = packed(entry, version, patient_id, n_columns)
    assert_same(unpack_entry(value, version, patient_id, n_columns), entry)


@pytest.mark.parametrize("n_columns", [NARROW, WIDE])
def test_any_changed_byte_is_refused(n_columns: int) -> None:
    value = packed(EXAMPLE, "v1", "PAT-1", n_columns)
    for at in range(len(value)):
        for byte in set(range(256)) - {value[at]}:
            with pytest.raises(StoreCorrupt):
                unpack_entry(value[:at] + bytes([byte]) + value[at + 1 :], "v1", "PAT-1", n_columns)


def test_any_other_length_is_refused() -> None:
    value = packed(EXAMPLE, "v1", "PAT-1", NARROW)
    for other in (*(value[:length] for length in range(len(value))), value + b"\0", value + value):
        with pytest.raises(StoreCorrupt):
            unpack_entry(other, "v1", "PAT-1", NARROW)


@pytest.mark.parametrize(("version", "patient_id"), [("v2", "PAT-1"), ("v1", "PAT-2"), ("v1/", "PAT-1"), ("v1", "")])
def test_the_entry_of_another_version_or_patient_is_refused(version: str, patient_id: str) -> None:
    with pytest.raises(StoreCorrupt, match="belongs elsewhere"):
        unpack_entry(packed(EXAMPLE, "v1", "PAT-1", NARROW), version, patient_id, NARROW)


def test_a_column_that_the_version_does_not_have_is_refused() -> None:
    value = packed(EXAMPLE, "v1", "PAT-1", NARROW)
    unpack_entry(value, "v1", "PAT-1", 301)
    with pytest.raises(StoreCorrupt, match="column"):
        unpack_entry(value, "v1", "PAT-1", 300)


@settings(deadline=None)
@given(value=st.binary() | st.binary().map(lambda tail: b"RX\x01\x02" + tail), patient_id=PATIENT_IDS)
def test_bytes_that_are_not_ours_are_refused(value: bytes, patient_id: str) -> None:
    with pytest.raises(StoreCorrupt):
        unpack_entry(value, "v1", patient_id, NARROW)


def test_more_than_the_format_holds_is_refused() -> None:
    columns = np.arange(0x10000, dtype=np.int32)
    nothing = np.zeros(0, dtype=np.float32)
    many = Entry(columns, columns.astype(np.float32), columns[:0], nothing)
    with pytest.raises(EngineError, match="65,535"):
        packed(many, "v1", "PAT-1", WIDE)


def test_a_snapshot_packs_each_patient_in_the_order_asked_for(tiny_snapshot: Callable[..., Snapshot]) -> None:
    snapshot = tiny_snapshot("v1")
    pairs = dict(snapshot.packed())
    assert list(pairs) == [f"PAT-{number}" for number in range(1, 7)]
    for patient_ix, (patient_id, value) in enumerate(pairs.items()):
        entry = unpack_entry(value, "v1", patient_id, len(snapshot.release.index))
        assert_same(entry, snapshot.entry(patient_ix))
    wanted = [("PAT-5", pairs["PAT-5"]), ("PAT-2", pairs["PAT-2"])]
    assert list(snapshot.packed(np.array([4, 1]))) == wanted


def test_a_snapshot_needs_a_list_and_a_row_for_each_patient(tiny_snapshot: Callable[..., Snapshot]) -> None:
    whole = tiny_snapshot("v1")
    with pytest.raises(EngineError, match="one list and one row"):
        Snapshot(whole.release, whole.patient_ids[:5], whole.top, whole.rows)


def test_the_assets_of_another_version_are_refused(tiny_snapshot: Callable[..., Snapshot]) -> None:
    assets = pack_release(tiny_snapshot("v1").release)
    assert unpack_release("v1", assets).version == "v1"
    with pytest.raises(StoreCorrupt, match="another version"):
        unpack_release("v2", assets)


@pytest.mark.parametrize(
    "manifest",
    [
        b"{}",
        b"null",
        b'{"sha256": {}, "version": "v1"}',
        b'{"sha256": [], "version": "v1", "model": {"name": "linear"}}',
        b'{"sha256": {}, "version": "v1", "manifest": {}, "model": {"name": "no such model", "parameters": {}}}',
        b'{"sha256": {}, "version": "v1", "manifest": {}, "model": {"name": "linear", "parameters": []}}',
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(manifest: bytes) -> None:
    with pytest.raises(StoreCorrupt):
        unpack_release("v1", {"manifest": manifest})

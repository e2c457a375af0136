"""The codec: what was packed comes back to the bit; any other bytes are refused, never read as a wrong drug."""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recommender import packing
from recommender.errors import EngineError, StoreCorrupt
from recommender.matrix import Column, ColumnIndex
from recommender.models.linear import LinearModel
from recommender.packing import Words
from recommender.ranking import TopN
from recommender.safety.charts import OLDEST, SEXES, Chart, Charts, Known
from recommender.snapshot import (
    Entry,
    Named,
    Packer,
    Release,
    Snapshot,
    _npy,
    pack_release,
    sealed_id,
    unpack_entry,
    unpack_release,
)
from recommender.topn_kernel import STEP

NARROW, WIDE = 0xFFFF, 0x10000  # columns: the most that are written as ids of 2 bytes, and one more
KNOWN = Known(tuple(Column(f"c:{ix}", "drug" if ix < 6 else "observation", "", "") for ix in range(10)))
CONCEPTS = len(KNOWN.concepts)


SEALED = b"\x11\x22\x33"


def packed(entry: Entry, version: str, name: bytes, n_columns: int, sealed: bytes = SEALED) -> bytes:
    rows = sparse.csr_matrix((entry.row_weights, entry.row_columns, [0, len(entry.row_columns)]), shape=(1, n_columns))
    top = TopN(np.array([0, len(entry.columns)]), entry.columns, entry.scores)
    nothing = ColumnIndex((), (), np.empty(0, dtype=np.int32))
    one = Snapshot(
        Release(version, {}, nothing, LinearModel(), KNOWN),
        np.array([""], dtype=object),
        top,
        rows,
        Charts.of_one(KNOWN, entry.chart),
    )
    named = Named(np.frombuffer(name, dtype=np.uint8).reshape(1, -1), Words.of([sealed]))
    return Packer(one, named).pack(np.array([0]))[0]


def read(value: bytes, version: str, name: bytes, n_columns: int) -> Entry:
    return unpack_entry(value, version, name, n_columns, CONCEPTS)


@st.composite
def entries(draw: st.DrawFn, n_columns: int) -> Entry:
    ids = st.lists(st.integers(0, n_columns - 1), max_size=8, unique=True)
    columns, row_columns = draw(ids), sorted(draw(ids))
    floats = {width: st.floats(width=width, allow_nan=False) for width in (16, 32)}
    told = st.integers(-(2**17), 2**17).map(lambda steps: steps * 2.0**-17)
    scores = st.lists(told | floats[32] if draw(st.booleans()) else told, min_size=len(columns), max_size=len(columns))
    concepts = sorted(draw(st.lists(st.integers(0, CONCEPTS - 1), unique=True)))
    value = [draw(floats[32]) if KNOWN.concepts[ix].kind == "observation" else np.nan for ix in concepts]
    days = [draw(st.integers(-1, OLDEST)) for _ in concepts]
    age, sex = draw(st.floats(0, 130, width=32) | st.just(float("nan"))), draw(st.sampled_from(SEXES))
    return Entry(
        np.array(columns, dtype=np.int32),
        np.array(sorted(draw(scores), reverse=draw(st.booleans())), dtype=np.float32),
        np.array(row_columns, dtype=np.int32),
        np.array([draw(floats[16]) for _ in row_columns], dtype=np.float32),
        Chart(np.array(concepts, np.int32), np.array(days, np.int32), np.array(value, np.float32), age, sex),
    )


NAMES = st.binary(min_size=16, max_size=16)
ONE, TWO = b"0123456789abcdef", b"0123456789abcdeF"
# columns 300, 1, 9 with scores 0.5, -1.75, -2; row columns 1, 2, 7 with weights 1, 0.25, 3; a woman of 67.5 who takes
# drug 0, has taken drug 2 until 14 days ago, uses drug 5 on the skin, and whose value 7 was 38.5, 12 days ago: worked
# out below
EXAMPLE = Entry(
    np.array([300, 1, 9], dtype=np.int32),
    np.array([0.5, -1.75, -2], dtype=np.float32),
    np.array([1, 2, 7], dtype=np.int32),
    np.array([1, 0.25, 3], dtype=np.float32),
    Chart(
        np.array([0, 2, 5, 7], dtype=np.int32),
        np.array([0, 14, -1, 12], dtype=np.int32),
        np.array([np.nan, np.nan, np.nan, 38.5], dtype=np.float32),
        67.5,
        "F",
    ),
)


def assert_same(entry: Entry, other: Entry) -> None:
    for name in ("columns", "scores", "row_columns", "row_weights"):
        a, b = getattr(entry, name), getattr(other, name)
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()
    for name in ("concept", "days", "value"):
        a, b = getattr(entry.chart, name), getattr(other.chart, name)
        assert a.dtype == b.dtype
        assert np.array_equal(a, b, equal_nan=name == "value")
    assert np.array_equal(entry.chart.age, other.chart.age, equal_nan=True) and entry.chart.sex == other.chart.sex


def test_the_documented_layout() -> None:
    body = bytes.fromhex(
        "5258 05 02 0300 0100 0300"  # RX, format 5, ids of 2 bytes, 3 suggestions, 1 exact score, 3 entries of the row
        "0400 0100 0300 00008742 01"  # 4 facts, 1 value, a sealed id of 3 bytes, 67.5 years, F
        "2c01 0100 0900 0000003f"  # 300, 1, 9; 0.5 is more than 65,535 steps of 2**-17 above the last score
        "000000c0 0080 0000"  # the last score, -2.0; 32,768 steps above it, and none
        "0100 0200 0700 003c 0034 0042"  # 1, 2, 7; 1.0, 0.25, 3.0
        "0000 0200 0500 0700 0000 0e00 ffff 0c00 00001a42"  # 0, 2, 5, 7; 0, 14, -1, 12; 38.5
        "112233"
    )
    crc = zlib.crc32(body, zlib.crc32(b"v1/0123456789abcdef"))
    assert packed(EXAMPLE, "v1", ONE, NARROW) == body + struct.pack("<I", crc)
    assert len(packed(EXAMPLE, "v1", ONE, WIDE)) == len(body) + 4 + 2 * 10


@pytest.mark.parametrize("n_columns", [NARROW, WIDE])
@settings(deadline=None)
@given(data=st.data(), version=st.text("abc", min_size=1), name=NAMES, sealed=st.binary(max_size=300))
def test_round_trip(n_columns: int, data: st.DataObject, version: str, name: bytes, sealed: bytes) -> None:
    entry = data.draw(entries(n_columns))
    value = packed(entry, version, name, n_columns, sealed)
    assert_same(read(value, version, name, n_columns), entry)
    assert sealed_id(value) == sealed


@pytest.mark.parametrize("n_columns", [NARROW, WIDE])
def test_any_changed_byte_is_refused(n_columns: int) -> None:
    value = packed(EXAMPLE, "v1", ONE, n_columns)
    for at in range(len(value)):
        for byte in set(range(256)) - {value[at]}:
            with pytest.raises(StoreCorrupt):
                read(value[:at] + bytes([byte]) + value[at + 1 :], "v1", ONE, n_columns)


def test_any_other_length_is_refused() -> None:
    value = packed(EXAMPLE, "v1", ONE, NARROW)
    for other in (*(value[:length] for length in range(len(value))), value + b"\0", value + value):
        with pytest.raises(StoreCorrupt):
            read(other, "v1", ONE, NARROW)


@pytest.mark.parametrize(("version", "name"), [("v2", ONE), ("v1", TWO), ("v1/", ONE), ("v1", b"")])
def test_the_entry_of_another_version_or_patient_is_refused(version: str, name: bytes) -> None:
    with pytest.raises(StoreCorrupt, match="belongs elsewhere"):
        read(packed(EXAMPLE, "v1", ONE, NARROW), version, name, NARROW)


def test_a_column_or_concept_that_the_version_does_not_have_is_refused() -> None:
    value = packed(EXAMPLE, "v1", ONE, NARROW)
    unpack_entry(value, "v1", ONE, 301, 8)
    for columns, concepts in ((300, 8), (301, 7)):
        with pytest.raises(StoreCorrupt, match="column"):
            unpack_entry(value, "v1", ONE, columns, concepts)


@settings(deadline=None)
@given(value=st.binary() | st.binary().map(lambda tail: b"RX\x05\x02" + tail), name=NAMES)
def test_bytes_that_are_not_ours_are_refused(value: bytes, name: bytes) -> None:
    with pytest.raises(StoreCorrupt):
        read(value, "v1", name, NARROW)


def test_more_than_the_format_holds_is_refused() -> None:
    columns = np.arange(0x10000, dtype=np.int32)
    nothing = np.zeros(0, dtype=np.float32)
    many = Entry(columns, columns.astype(np.float32), columns[:0], nothing, EXAMPLE.chart)
    with pytest.raises(EngineError, match="65,535"):
        packed(many, "v1", ONE, WIDE)


def test_a_snapshot_packs_each_patient_in_the_order_asked_for(tiny_snapshot: Callable[..., Snapshot]) -> None:
    snapshot = tiny_snapshot("v1")
    ids = [patient_id.encode() for patient_id in snapshot.patient_ids]
    names = np.frombuffer(b"".join(bytes(11) + one for one in ids), dtype=np.uint8).reshape(6, 16)
    named = Named(names, Words.of(ids))
    packer = Packer(snapshot, named)
    values = packer.pack(np.arange(6))
    for patient_ix in range(6):
        release, value = snapshot.release, values[patient_ix]
        name = names[patient_ix].tobytes()
        entry = unpack_entry(value, "v1", name, len(release.index), len(release.known.concepts))
        assert_same(entry, snapshot.entry(patient_ix))
        assert sealed_id(value) == ids[patient_ix]
    some = packer.pack(np.array([4, 1, 2]))
    assert [some[0], some[1], some[2]] == [values[4], values[1], values[2]]


def test_what_is_ranked_takes_two_bytes_a_score(tiny_snapshot: Callable[..., Snapshot]) -> None:
    """The steps of the codec are those in which scores are told."""
    assert packing.STEP == STEP
    top = tiny_snapshot("v1").top
    spread = [np.ptp(top.of(patient_ix)[1]) for patient_ix in range(6)]
    assert 0 < max(spread) < 0.5
    assert packing.exact_scores(top.indptr, top.scores).tolist() == [0] * 6


def test_scores_that_steps_do_not_tell_stay_as_they_are() -> None:
    """0.1 is no whole number of steps; 0.5 is 65,536 of them above 0; -0.0 is not 0.0; nothing is above infinity."""
    lists = [[0.5, 0.25, 0.0], [0.25, 0.1, 0.0], [0.25, -0.0], [0.25, 0.5], [np.inf], []]
    ends = np.cumsum([0, *map(len, lists)])
    scores = np.array([score for one in lists for score in one], dtype=np.float32)
    assert packing.exact_scores(ends, scores).tolist() == [1, 2, 2, 1, 1, 0]


def test_an_array_of_a_release_is_as_numpy_saves_it() -> None:
    for array in (np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 4)), np.array(7), np.array(["ä", "bc"])):
        saved = io.BytesIO()
        np.save(saved, array, allow_pickle=False)
        assert _npy(array) == saved.getvalue()
        turned = np.load(io.BytesIO(_npy(array.T)), allow_pickle=False)
        assert np.array_equal(turned, array.T) and turned.dtype == array.dtype


def test_a_snapshot_needs_a_list_and_a_row_for_each_patient(tiny_snapshot: Callable[..., Snapshot]) -> None:
    whole = tiny_snapshot("v1")
    with pytest.raises(EngineError, match="one list, one row and one chart"):
        Snapshot(whole.release, whole.patient_ids[:5], whole.top, whole.rows, whole.charts)
    with pytest.raises(EngineError, match="one list, one row and one chart"):
        Snapshot(whole.release, whole.patient_ids, whole.top, whole.rows, whole.charts.take(np.arange(5)))


def test_a_fact_without_a_value_may_stand_behind_one_that_has() -> None:
    """A concept that a base does not know comes last, whatever it is."""
    chart = Chart(np.array([3, 7], np.int32), np.zeros(2, np.int32), np.array([1, np.nan], np.float32))
    entry = dataclasses.replace(EXAMPLE, chart=chart)
    assert_same(read(packed(entry, "v1", ONE, NARROW), "v1", ONE, NARROW), entry)


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


def test_a_weight_is_rounded_as_ieee_754_has_it() -> None:
    """Half-way to the even one, beyond the largest to infinity: 1 + 2**-11, 1 + 3 * 2**-11, 65,520, 2**-25."""
    weights = np.array([1.00048828125, 1.00146484375, 65_520, 2.0**-25], dtype=np.float32)
    one = Entry(EXAMPLE.columns, EXAMPLE.scores, np.arange(4, dtype=np.int32), weights, EXAMPLE.chart)
    back = read(packed(one, "v1", ONE, NARROW), "v1", ONE, NARROW)
    assert back.row_weights.tolist() == [1.0, 1.001953125, np.inf, 0.0]


@given(data=st.binary(max_size=70), begun=st.integers(0, 2**32 - 1), start=st.integers(0, 20))
@settings(deadline=None)
def test_the_compiled_crc_is_zlibs(data: bytes, begun: int, start: int) -> None:
    array = np.frombuffer(data, dtype=np.uint8)
    start = min(start, len(data))
    assert packing.crc32(array, start, len(data), begun, packing.CRC_TABLE) == zlib.crc32(data[start:], begun)

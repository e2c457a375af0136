"""In: integers (ids, days, seconds, values); out: Arrow string arrays, made without a Python loop over rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

HEX = np.frombuffer(b"".join(f"{i:02x}".encode() for i in range(256)), dtype=np.uint8).reshape(256, 2)
UUID_SLOTS = np.array([i for i in range(36) if i not in (8, 13, 18, 23)])
FIRST_DAY = int(np.datetime64("1900-01-01").astype(int))
DAYS = np.datetime_as_string(np.arange("1900-01-01", "2040-01-01", dtype="datetime64[D]")).astype("S10")
DAY_BYTES = DAYS.view(np.uint8).reshape(-1, 10)
CLOCK = np.array([f"T{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}Z".encode() for s in range(86400)])
CLOCK_BYTES = CLOCK.view(np.uint8).reshape(-1, 10)


def fixed(cells: np.ndarray, valid: np.ndarray | None = None) -> pa.StringArray:
    """(m, width) uint8 -> m strings of that width, null (an empty cell) where not valid."""
    m, width = cells.shape
    lengths = np.full(m, width, dtype=np.int32) if valid is None else np.where(valid, width, 0).astype(np.int32)
    offsets = np.zeros(m + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    kept = np.ascontiguousarray(cells if valid is None else cells[valid])
    array = pa.StringArray.from_buffers(m, pa.py_buffer(offsets), pa.py_buffer(kept))
    if valid is None or valid.all():
        return array
    mask = pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.StringArray.from_buffers(m, pa.py_buffer(offsets), pa.py_buffer(kept), mask)


def mix(value: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (doi 10.1145/2714064.2660195), a bijection that spreads neighbours. uint64 -> uint64"""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def uuids(key: int, number: np.ndarray) -> pa.StringArray:
    """One version-4 shaped UUID for each (key, number): the same for the same pair. (m,) uint64 -> m strings"""
    with np.errstate(over="ignore"):
        start = mix(np.array([key & (2**64 - 1)], dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1))
        high = mix(number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + start)
        low = mix((high ^ start) + np.uint64(0xD1B54A32D192ED03))
    raw = np.stack([high, low], axis=1).view(np.uint8).copy()  # (m, 16)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    cells = np.full((len(number), 36), ord("-"), dtype=np.uint8)
    cells[:, UUID_SLOTS] = HEX[raw].reshape(len(number), 32)
    return fixed(cells)


def dates(day: np.ndarray, valid: np.ndarray | None = None) -> pa.StringArray:
    """'2026-10-31'. (m,) int day -> m strings"""
    return fixed(DAY_BYTES[np.where(True if valid is None else valid, day - FIRST_DAY, 0)], valid)


def moments(day: np.ndarray, second: np.ndarray, valid: np.ndarray | None = None) -> pa.StringArray:
    """'2026-10-31T09:12:45Z'. (m,) int day and second of the day -> m strings"""
    day = np.where(True if valid is None else valid, day - FIRST_DAY, 0)
    return fixed(np.concatenate([DAY_BYTES[day], CLOCK_BYTES[second]], axis=1), valid)


def labels(values: list[str]) -> pa.StringArray:
    """A column's distinct texts; '' is an empty cell, a comma a space, as in Synthea's export: no quotes needed."""
    return pa.array([value.replace(",", " ").replace('"', "") or None for value in values], pa.string())


def cells(texts: pa.StringArray, which: np.ndarray) -> pa.StringArray:
    """Row i says texts[which[i]]; -1 is an empty cell."""
    return texts.take(pa.array(which, mask=which < 0))


def pick(values: list[str], which: np.ndarray) -> pa.StringArray:
    """Row i says values[which[i]]; -1 is an empty cell."""
    return cells(labels(values), which)


def join(*parts: pa.StringArray | str) -> pa.StringArray:
    return pc.binary_join_element_wise(*parts, "")


def nothing(rows: int) -> pa.StringArray:
    return pa.nulls(rows, pa.string())


def decimals(value: np.ndarray, places: np.ndarray) -> pa.StringArray:
    """Numbers as text with 0, 1 or 2 places. (m,) float64, (m,) int -> m strings"""
    texts = np.empty(len(value), dtype="U12")
    for count in np.unique(places):
        of = places == count
        distinct, where = np.unique(np.round(value[of], count), return_inverse=True)
        texts[of] = np.array([f"{v:.{count}f}" for v in distinct], dtype="U12")[where]
    return pa.array(texts)

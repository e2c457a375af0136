"""Distinct texts in; where each of others stands among them, out: by loops over their bytes, not over Python strings.

Every buffer has PADDING bytes after its end, as eight bytes are looked at at a time.
"""

from __future__ import annotations

import numba
import numpy as np
import pandas as pd
import pyarrow as pa
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

PADDING = 8
MULTIPLIER, MIXER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
HALF = np.uint64(32)


@intrinsic
def _eight(context, data, at):  # type: ignore[no-untyped-def]
    """The eight bytes from data[at] on as one number, wherever it lies."""

    def emit(context, builder, signature, given):  # type: ignore[no-untyped-def]
        first = context.make_array(signature.args[0])(context, builder, given[0]).data
        where = builder.bitcast(builder.gep(first, [given[1]]), ir.IntType(64).as_pointer())
        return builder.load(where, align=1)

    return types.uint64(data, types.int64), emit


@numba.njit(cache=True, nogil=True)
def same(data: np.ndarray, one: int, others: np.ndarray, other: int, length: int) -> bool:
    """Whether so many bytes from data[one] and others[other] on are the same."""
    for at in range(0, length, 8):
        differ = _eight(data, one + at) ^ _eight(others, other + at)  # type: ignore[call-arg,var-annotated]
        if differ and (length - at >= 8 or differ << np.uint64(8 * (8 - (length - at)))):
            return False
    return True


@numba.njit(cache=True, nogil=True)
def hashed(data: np.ndarray, begin: int, length: int) -> np.uint64:
    found = np.uint64(length) * MIXER
    for at in range(0, length, 8):
        word = _eight(data, begin + at)  # type: ignore[call-arg,var-annotated]
        if length - at < 8:
            word <<= np.uint64(8 * (8 - (length - at)))
        found = (found ^ word) * MULTIPLIER
        found ^= found >> HALF
    return found


class TextIndex:
    """Finds texts among some that are distinct, and takes no Python string for it."""

    def __init__(self, texts: pd.Series | pd.Index) -> None:
        self._data, self._ends = _bytes_of(texts)
        self._hashes, self._table = _filled(self._data, self._ends)

    def places(self, texts: pd.Series | pd.Index) -> np.ndarray:
        """Where each (n,) int32 stands, -1 where it does not."""
        data, ends = _bytes_of(texts)
        return _found(data, ends, self._data, self._ends, self._hashes, self._table)


def _bytes_of(texts: pd.Series | pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 with PADDING, and where each text begins, and the last one ends (n + 1,) int64."""
    array = pa.array(texts.astype("str").array, pa.large_string())
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    _, offsets, held = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.zeros(ends[-1] - ends[0] + PADDING, np.uint8)
    if held is not None:
        data[:-PADDING] = np.frombuffer(held, np.uint8)[ends[0] : ends[-1]]
    return data, ends - ends[0]


@numba.njit(cache=True, nogil=True)
def _filled(data: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n, size = len(ends) - 1, 2
    while size < 2 * n:
        size *= 2
    hashes, table = np.empty(n, np.uint64), np.full(size, -1, np.int32)
    for text in range(n):
        hashes[text] = hashed(data, ends[text], ends[text + 1] - ends[text])
        slot = np.int64(hashes[text] & np.uint64(size - 1))
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = text
    return hashes, table


@numba.njit(cache=True, nogil=True)
def _found(
    data: np.ndarray, ends: np.ndarray, among: np.ndarray, among_ends: np.ndarray, hashes: np.ndarray, table: np.ndarray
) -> np.ndarray:
    places, last = np.full(len(ends) - 1, -1, np.int32), np.uint64(len(table) - 1)
    for text in range(len(ends) - 1):
        begin, length = ends[text], ends[text + 1] - ends[text]
        key = hashed(data, begin, length)
        slot = np.int64(key & last)
        while table[slot] >= 0:
            other = table[slot]
            at = among_ends[other]
            if hashes[other] == key and among_ends[other + 1] - at == length and same(data, begin, among, at, length):
                places[text] = other
                break
            slot = (slot + 1) & np.int64(last)
    return places

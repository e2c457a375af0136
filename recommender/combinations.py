"""Columns of small numbers, a text's place among the distinct ones say, in; which combinations there are, out."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

LARGEST_TABLE = 1 << 20  # possible combinations that are looked up and not searched
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def combinations(columns: Sequence[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Which combination each row (n,) int32 has, and the first row (k,) int64 with each, in the order of appearance.

    columns: values (n,) int from -1 (missing) on, and the number that they are all below.
    """
    which, first, known = np.zeros(len(columns[0][0]), np.int32), np.zeros(1, np.int64), 1
    for values, below in columns:
        least = values.astype(np.int32, copy=False)
        if known * (below + 1) <= LARGEST_TABLE:
            which, first = _looked_up(which, least, known, below + 1)
        else:
            which, first = _searched(which, least, below + 1)
        known = len(first)
    return which, first


@numba.njit(cache=True, nogil=True)
def _looked_up(before: np.ndarray, values: np.ndarray, known: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    table, which = np.full(known * size, -1, np.int32), np.empty(len(values), np.int32)
    first, n = np.empty(min(len(values), known * size), np.int64), 0
    for row in range(len(values)):
        key = np.int64(before[row]) * size + values[row] + 1
        code = table[key]
        if code < 0:
            code = n
            table[key] = code
            first[n] = row
            n += 1
        which[row] = code
    return which, first[:n].copy()


@numba.njit(cache=True, nogil=True)
def _searched(before: np.ndarray, values: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    slots = 1 << 10
    table, which = np.full(slots, -1, np.int32), np.empty(len(values), np.int32)
    first, keys, n = np.empty(len(values), np.int64), np.empty(len(values), np.int64), 0
    for row in range(len(values)):
        key = np.int64(before[row]) * size + values[row] + 1
        slot = np.int64((np.uint64(key) * MULTIPLIER) >> np.uint64(32)) & (slots - 1)
        code = table[slot]
        while code >= 0 and keys[code] != key:
            slot = (slot + 1) & (slots - 1)
            code = table[slot]
        if code < 0:
            code = n
            table[slot], first[n], keys[n] = code, row, key
            n += 1
            if 2 * n > slots:
                slots *= 2
                table = np.full(slots, -1, np.int32)
                for one in range(n):
                    slot = np.int64((np.uint64(keys[one]) * MULTIPLIER) >> np.uint64(32)) & (slots - 1)
                    while table[slot] >= 0:
                        slot = (slot + 1) & (slots - 1)
                    table[slot] = one
        which[row] = code
    return which, first[:n].copy()

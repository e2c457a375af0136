"""Packed entries, rows and charts in, which of them still say the same out: compiled, as there is one a patient."""

from __future__ import annotations

import numba
import numpy as np

from recommender.packing import CRC_BYTES, HEADER_BYTES, crc32, scores_size

WEIGHTS = np.arange(0x10000, dtype=np.uint16).view(np.float16).astype(np.float32)  # what the bits of a half stand for


@numba.njit(cache=True, nogil=True)
def _two(data: np.ndarray, at: int) -> int:
    """A number of two bytes."""
    return int(data[at]) | int(data[at + 1]) << 8


@numba.njit(cache=True, nogil=True)
def _four(data: np.ndarray, at: int) -> int:
    return _two(data, at) | _two(data, at + 2) << 16


@numba.njit(cache=True, nogil=True)
def says_the_same(
    data: np.ndarray,
    ptr: np.ndarray,
    names: np.ndarray,
    who: np.ndarray,
    form: int,
    begun: int,
    table: np.ndarray,
    weights: np.ndarray,
    row_ptr: np.ndarray,
    row_columns: np.ndarray,
    row_weights: np.ndarray,
    fact_ptr: np.ndarray,
    concept: np.ndarray,
    days: np.ndarray,
    value: np.ndarray,
    age: np.ndarray,
    sex: np.ndarray,
    drug: np.ndarray,
    later: int,
    washout: int,
    oldest: int,
    weight_off: float,
    day_in_years: float,
) -> np.ndarray:
    """Which entries (n,) bool say of their patient what a row and a chart of `later` days after them say.

    data, ptr: the entries, as `Words`; names (n, 16) uint8; who (n,): the patient whose row and chart are compared, -1
    for none. weights: WEIGHTS. drug (n_concepts,) bool. The chart is aged as `charts.aged` does; ages may be a day
    off, weights by `weight_off`. An entry that is not whole says nothing.
    """
    same = np.zeros(len(who), np.bool_)
    bits = np.zeros(1, np.uint32)
    as_float = bits.view(np.float32)
    for i, u in enumerate(who):
        a, z = ptr[i], ptr[i + 1]
        if u < 0 or z - a < HEADER_BYTES + CRC_BYTES or data[a + 2] != form:
            continue
        width, n, exact, k = data[a + 3], _two(data, a + 4), _two(data, a + 6), _two(data, a + 8)
        f, v, s = _two(data, a + 10), _two(data, a + 12), _two(data, a + 14)
        listed = n * width + scores_size(n, exact)
        size = HEADER_BYTES + listed + k * (width + 2) + f * (width + 2) + v * 4 + s + CRC_BYTES
        if z - a != size or (width != 2 and width != 4) or exact > n or v > f:
            continue
        end = z - CRC_BYTES
        if crc32(data, a, end, crc32(names[i], 0, len(names[i]), begun, table), table) != _four(data, end):
            continue
        bits[0] = _four(data, a + 16)
        years_old = as_float[0]
        if not (
            abs(years_old + day_in_years * later - age[u]) <= day_in_years or (np.isnan(years_old) and np.isnan(age[u]))
        ):
            continue
        if data[a + 20] != sex[u] or k != row_ptr[u + 1] - row_ptr[u]:
            continue
        at, ids, alike = a + HEADER_BYTES + listed, row_ptr[u], True
        for j in range(k):
            column = _two(data, at + 2 * j) if width == 2 else _four(data, at + 4 * j)
            weight = weights[_two(data, at + k * width + 2 * j)]
            alike &= column == row_columns[ids + j] and abs(weight - row_weights[ids + j]) <= weight_off
        at, place = at + k * (width + 2), fact_ptr[u]
        for j in range(f):
            if not alike:
                break
            fact = _two(data, at + 2 * j) if width == 2 else _four(data, at + 4 * j)
            since = _two(data, at + f * width + 2 * j)
            since -= 0x10000 if since >= 0x8000 else 0
            if since > 0 or not drug[fact]:
                since = min(since + later, oldest)
                if drug[fact] and since > washout:
                    continue
            bits[0] = 0x7FC00000  # NaN
            if j >= f - v:
                bits[0] = _four(data, at + f * (width + 2) + 4 * (j - f + v))
            measured = as_float[0]
            alike = place < fact_ptr[u + 1] and fact == concept[place]
            if alike:
                running = drug[fact] and (since <= 0 or days[place] <= 0)
                alike = since == days[place] or (not running and abs(since - days[place]) <= 1)
                alike &= measured == value[place] or (np.isnan(measured) and np.isnan(value[place]))
            place += 1
        same[i] = alike and place == fact_ptr[u + 1]
    return same

"""Lists, rows and charts of some patients in, the bytes of their entries out: the codec of `snapshot.py`, compiled.

Nothing of the format is decided here: `snapshot.py` documents it and reads it, and a test holds these bytes to the
document. The numbers are written byte by byte, so the bytes are the same on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

MOST = 0xFFFF  # items of one kind that an entry can hold
TOO_MANY = -1  # what `entry_ends` finds wrong
HEADER_BYTES, CRC_BYTES = 19, 4


def _crc_table() -> np.ndarray:  # (8, 256) uint32: table k takes a byte that k others follow
    table = np.zeros((8, 256), dtype=np.uint32)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
        table[0, byte] = crc
    for k in range(1, 8):
        table[k] = (table[k - 1] >> np.uint32(8)) ^ table[0, table[k - 1] & np.uint32(0xFF)]
    return table


CRC_TABLE = _crc_table()


@dataclass(frozen=True)
class Words:
    """Byte strings one after another: word i is data[ptr[i]:ptr[i + 1]]; data uint8, ptr (n + 1,) int64."""

    data: np.ndarray
    ptr: np.ndarray

    @classmethod
    def of(cls, words: Sequence[bytes]) -> Words:
        ptr = np.zeros(len(words) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, words), np.int64, len(words)), out=ptr[1:])
        return cls(np.frombuffer(b"".join(words), dtype=np.uint8), ptr)

    def __len__(self) -> int:
        return len(self.ptr) - 1

    def __getitem__(self, place: int) -> bytes:
        return self.data[self.ptr[place] : self.ptr[place + 1]].tobytes()


@numba.njit(cache=True, nogil=True)
def crc32(data: np.ndarray, start: int, end: int, begun: int, table: np.ndarray) -> int:
    """`zlib.crc32(data[start:end], begun)`, eight bytes a step."""
    crc = np.uint32(begun) ^ np.uint32(0xFFFFFFFF)
    at, low8 = start, np.uint32(0xFF)
    while at + 8 <= end:
        crc ^= (
            np.uint32(data[at])
            | np.uint32(data[at + 1]) << np.uint32(8)
            | np.uint32(data[at + 2]) << np.uint32(16)
            | np.uint32(data[at + 3]) << np.uint32(24)
        )
        crc = (
            table[7, crc & low8]
            ^ table[6, (crc >> np.uint32(8)) & low8]
            ^ table[5, (crc >> np.uint32(16)) & low8]
            ^ table[4, crc >> np.uint32(24)]
            ^ table[3, data[at + 4]]
            ^ table[2, data[at + 5]]
            ^ table[1, data[at + 6]]
            ^ table[0, data[at + 7]]
        )
        at += 8
    while at < end:
        crc = (crc >> np.uint32(8)) ^ table[0, (crc ^ np.uint32(data[at])) & low8]
        at += 1
    return int(np.uint32(crc ^ np.uint32(0xFFFFFFFF)))


@numba.njit(cache=True, nogil=True)
def half(bits: int) -> int:
    """The bits of a float32 -> those of the nearest float16, as IEEE 754 rounds: half-way to the even one."""
    sign, exponent, fraction = (bits >> 16) & 0x8000, (bits >> 23) & 0xFF, bits & 0x7FFFFF
    if exponent == 0xFF:
        return sign | 0x7C00 | (0x200 | fraction >> 13 if fraction else 0)
    shift, whole = 13, (max(exponent - 112, 0) << 23) | fraction
    if exponent <= 112:  # below the smallest normal half, fractions are counted in units of 2 ** -24
        shift, whole = 126 - exponent, fraction | 0x800000
        if shift > 24 or exponent == 0:
            return sign
    found, lost, middle = whole >> shift, whole & ((1 << shift) - 1), 1 << (shift - 1)
    if lost > middle or (lost == middle and found & 1):
        found += 1
    return sign | min(found, 0x7C00)


@numba.njit(cache=True, nogil=True)
def entry_ends(
    who: np.ndarray,
    lists: np.ndarray,
    rows: np.ndarray,
    facts: np.ndarray,
    value: np.ndarray,
    sealed: np.ndarray,
    width: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Where the entries of the patients `who` begin and end (n + 1,) int64, and how many facts of each there are from
    the first that has a value.

    lists, rows, facts, sealed: the indptr of each. The first end is TOO_MANY where an entry cannot be written.
    """
    ends, measured = np.zeros(len(who) + 1, np.int64), np.zeros(len(who), np.int64)
    for k, u in enumerate(who):
        n, r, f = lists[u + 1] - lists[u], rows[u + 1] - rows[u], facts[u + 1] - facts[u]
        s = sealed[u + 1] - sealed[u]
        first = facts[u]
        while first < facts[u + 1] and np.isnan(value[first]):
            first += 1
        if n > MOST or r > MOST or f > MOST or s > MOST:
            ends[0] = TOO_MANY
            return ends, measured
        measured[k] = v = facts[u + 1] - first
        size = HEADER_BYTES + n * (width + 4) + r * (width + 2) + f * (width + 2) + v * 4 + s + CRC_BYTES
        ends[k + 1] = ends[k] + size
    return ends, measured


# each width has a function of its own: with the width as an argument the compiler writes one byte at a time
@numba.njit(cache=True, nogil=True)
def _put1(out: np.ndarray, at: int, number: int) -> int:
    """Write a number of one byte; where the next begins."""
    out[at] = number & 0xFF
    return at + 1


@numba.njit(cache=True, nogil=True)
def _put2(out: np.ndarray, at: int, number: int) -> int:
    """Two bytes, little-endian."""
    out[at], out[at + 1] = number & 0xFF, (number >> 8) & 0xFF
    return at + 2


@numba.njit(cache=True, nogil=True)
def _put4(out: np.ndarray, at: int, number: int) -> int:
    """Four bytes, little-endian."""
    out[at], out[at + 1] = number & 0xFF, (number >> 8) & 0xFF
    out[at + 2], out[at + 3] = (number >> 16) & 0xFF, (number >> 24) & 0xFF
    return at + 4


@numba.njit(cache=True, nogil=True)
def _put_ids(out: np.ndarray, at: int, ids: np.ndarray, start: int, end: int, width: int) -> int:
    if width == 2:
        for i in range(start, end):
            at = _put2(out, at, ids[i])
    else:
        for i in range(start, end):
            at = _put4(out, at, ids[i])
    return at


@numba.njit(cache=True, nogil=True)
def write_entries(
    out: np.ndarray,
    who: np.ndarray,
    ends: np.ndarray,
    measured: np.ndarray,
    form: int,
    width: int,
    list_ptr: np.ndarray,
    columns: np.ndarray,
    scores: np.ndarray,
    row_ptr: np.ndarray,
    row_columns: np.ndarray,
    row_weights: np.ndarray,
    fact_ptr: np.ndarray,
    concept: np.ndarray,
    days: np.ndarray,
    value: np.ndarray,
    age: np.ndarray,
    sex: np.ndarray,
    names: np.ndarray,
    sealed: np.ndarray,
    sealed_ptr: np.ndarray,
    begun: int,
    table: np.ndarray,
) -> None:
    """Fill `out` (ends[-1],) uint8. scores, row_weights, value and age are the bits of float32, as uint32; names
    (n_patients, 16) uint8 and the sealed ids (as `Words`) are those of all patients; `begun` is the CRC-32 of what
    stands before a name."""
    for k, u in enumerate(who):
        a, b, c, d, e, f = list_ptr[u], list_ptr[u + 1], row_ptr[u], row_ptr[u + 1], fact_ptr[u], fact_ptr[u + 1]
        at = ends[k]
        at = _put2(out, at, 0x5852)  # "RX"
        at = _put1(out, at, form)
        at = _put1(out, at, width)
        for count in (b - a, d - c, f - e, measured[k], sealed_ptr[u + 1] - sealed_ptr[u]):
            at = _put2(out, at, count)
        at = _put4(out, at, age[u])
        at = _put1(out, at, sex[u])
        at = _put_ids(out, at, columns, a, b, width)
        for i in range(a, b):
            at = _put4(out, at, scores[i])
        at = _put_ids(out, at, row_columns, c, d, width)
        for i in range(c, d):
            at = _put2(out, at, half(row_weights[i]))
        at = _put_ids(out, at, concept, e, f, width)
        for i in range(e, f):
            at = _put2(out, at, days[i])
        for i in range(f - measured[k], f):
            at = _put4(out, at, value[i])
        for i in range(sealed_ptr[u], sealed_ptr[u + 1]):
            at = _put1(out, at, sealed[i])
        _put4(out, at, crc32(out, ends[k], at, crc32(names[u], 0, len(names[u]), begun, table), table))


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
        width, n, k = data[a + 3], _two(data, a + 4), _two(data, a + 6)
        f, v, s = _two(data, a + 8), _two(data, a + 10), _two(data, a + 12)
        size = HEADER_BYTES + n * (width + 4) + k * (width + 2) + f * (width + 2) + v * 4 + s + CRC_BYTES
        if z - a != size or (width != 2 and width != 4) or v > f:
            continue
        end = z - CRC_BYTES
        if crc32(data, a, end, crc32(names[i], 0, len(names[i]), begun, table), table) != _four(data, end):
            continue
        bits[0] = _four(data, a + 14)
        years_old = as_float[0]
        if not (
            abs(years_old + day_in_years * later - age[u]) <= day_in_years or (np.isnan(years_old) and np.isnan(age[u]))
        ):
            continue
        if data[a + 18] != sex[u] or k != row_ptr[u + 1] - row_ptr[u]:
            continue
        at, ids, alike = a + HEADER_BYTES + n * (width + 4), row_ptr[u], True
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

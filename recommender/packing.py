"""Lists, rows and charts of some patients in, the bytes of their entries out: the codec of `snapshot.py`, compiled.

Nothing of the format is decided here: `snapshot.py` documents it and reads it, and a test holds these bytes to the
document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

MOST = 0xFFFF  # items of one kind that an entry can hold
TOO_MANY = -1  # what `entry_sizes` finds wrong
HEADER_BYTES, CRC_BYTES = 21, 4
STEP = np.float32(2.0**-17)  # of scores that are written as steps: the one they are told in by `ranking.py`
STEPS, MOST_STEPS = 1 / STEP, np.float32(0xFFFF)
_NEGATIVE_ZERO = np.int32(-0x80000000)  # its bits
_LINE, _AHEAD, _FAR_AHEAD = 64, 6, 16  # bytes that memory gives at once; entries ahead of the one in writing


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


class Room:
    """Memory to write into again and again: getting it anew takes longer than the writing."""

    def __init__(self) -> None:
        self._kept = np.empty(0, dtype=np.uint8)

    def of(self, size: int) -> np.ndarray:
        """(size,) uint8; what was there before is gone."""
        if len(self._kept) < size:
            self._kept = np.empty(size + size // 4, dtype=np.uint8)
        return self._kept[:size]


@numba.njit(cache=True, nogil=True)
def _eight(crc: np.uint32, data: np.ndarray, at: np.uint64, table: np.ndarray) -> np.uint32:
    """The sum after eight bytes more. Indices are unsigned, here and below: signed ones could be negative, and asking
    takes longer than the sum."""
    low8 = np.uint32(0xFF)
    crc ^= (
        np.uint32(data[at])
        | np.uint32(data[at + np.uint64(1)]) << np.uint32(8)
        | np.uint32(data[at + np.uint64(2)]) << np.uint32(16)
        | np.uint32(data[at + np.uint64(3)]) << np.uint32(24)
    )
    return (
        table[np.uint64(7), np.uint64(crc & low8)]
        ^ table[np.uint64(6), np.uint64((crc >> np.uint32(8)) & low8)]
        ^ table[np.uint64(5), np.uint64((crc >> np.uint32(16)) & low8)]
        ^ table[np.uint64(4), np.uint64(crc >> np.uint32(24))]
        ^ table[np.uint64(3), np.uint64(data[at + np.uint64(4)])]
        ^ table[np.uint64(2), np.uint64(data[at + np.uint64(5)])]
        ^ table[np.uint64(1), np.uint64(data[at + np.uint64(6)])]
        ^ table[np.uint64(0), np.uint64(data[at + np.uint64(7)])]
    )


@numba.njit(cache=True, nogil=True)
def _all(crc: np.uint32, data: np.ndarray, at: np.uint64, end: np.uint64, table: np.ndarray) -> np.uint32:
    """The sum after all bytes to the end."""
    while at + np.uint64(8) <= end:
        crc = _eight(crc, data, at, table)
        at += np.uint64(8)
    while at < end:
        at_byte = np.uint64((crc ^ np.uint32(data[at])) & np.uint32(0xFF))
        crc = (crc >> np.uint32(8)) ^ table[np.uint64(0), at_byte]
        at += np.uint64(1)
    return crc


@numba.njit(cache=True, nogil=True)
def crc32(data: np.ndarray, start: int, end: int, begun: int, table: np.ndarray) -> int:
    """`zlib.crc32(data[start:end], begun)`."""
    crc = np.uint32(begun) ^ np.uint32(0xFFFFFFFF)
    return int(_all(crc, data, np.uint64(start), np.uint64(end), table) ^ np.uint32(0xFFFFFFFF))


@numba.njit(cache=True, nogil=True)
def _put4(out: np.ndarray, at: int, number: int) -> None:
    """Four bytes, little-endian."""
    out[at], out[at + 1] = number & 0xFF, (number >> 8) & 0xFF
    out[at + 2], out[at + 3] = (number >> 16) & 0xFF, (number >> 24) & 0xFF


@numba.njit(cache=True, nogil=True)
def _close(
    out: np.ndarray,
    who: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    names: np.ndarray,
    begun: int,
    table: np.ndarray,
) -> None:
    """Write the closing sums, two entries at a time: each step of a sum waits for the one before, but not for the
    other entry's."""
    flipped = np.uint32(0xFFFFFFFF)
    for k in range(0, len(who), 2):
        two, other = k + 1 < len(who), min(k + 1, len(who) - 1)
        a, a_end = np.uint64(starts[k]), np.uint64(starts[k] + sizes[k] - CRC_BYTES)
        b, b_end = np.uint64(starts[other]), np.uint64(starts[other] + sizes[other] - CRC_BYTES)
        first = np.uint32(crc32(names[who[k]], 0, names.shape[1], begun, table)) ^ flipped
        second = np.uint32(crc32(names[who[other]], 0, names.shape[1], begun, table)) ^ flipped
        while two and a + np.uint64(8) <= a_end and b + np.uint64(8) <= b_end:
            first, second = _eight(first, out, a, table), _eight(second, out, b, table)
            a, b = a + np.uint64(8), b + np.uint64(8)
        _put4(out, int(a_end), int(_all(first, out, a, a_end, table) ^ flipped))
        if two:
            _put4(out, int(b_end), int(_all(second, out, b, b_end, table) ^ flipped))


@intrinsic
def _prefetch(context, data, at):  # type: ignore[no-untyped-def]
    """Ask memory for the bytes around data[at] and go on: LLVM's `llvm.prefetch`, for reading (0), to be kept (3)."""

    def emit(context, builder, signature, given):  # type: ignore[no-untyped-def]
        first = context.make_array(signature.args[0])(context, builder, given[0]).data
        where = builder.bitcast(builder.gep(first, [given[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [where.type, *[ir.IntType(32)] * 3])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(ask, [where, *(ir.Constant(ir.IntType(32), how) for how in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(data, types.int64), emit


@numba.njit(cache=True, nogil=True)
def _ask_for(data: np.ndarray, start: int, end: int) -> None:
    for at in range(start, end + _LINE - 1, _LINE):
        _prefetch(data, at)  # type: ignore[call-arg]


@numba.njit(cache=True, nogil=True)
def _in_steps(scores: np.ndarray, bits: np.ndarray, last: np.float32) -> int:
    """How many of some scores the steps above the last of their list tell to the bit; bits: the same as int32. Nothing
    in the loop branches, so that many are looked at at once."""
    found = np.int32(0)
    for i in range(len(scores)):
        above = (scores[i] - last) * STEPS
        whole = (above >= np.float32(0)) & (above <= MOST_STEPS) & (np.floor(above) == above)
        found += np.int32(whole & (last + above * STEP == scores[i]) & (bits[i] != _NEGATIVE_ZERO))
    return int(found)


@numba.njit(cache=True, nogil=True)
def exact_scores(lists: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How many scores of each list (n,) uint16, from the first, are written as they are: those up to the last one that
    steps do not tell. lists: the indptr; scores (total,) float32."""
    exact, bits = np.zeros(len(lists) - 1, np.uint16), scores.view(np.int32)
    for u in range(len(exact)):
        its, its_bits = scores[lists[u] : lists[u + 1]], bits[lists[u] : lists[u + 1]]
        if not 0 < len(its) <= MOST:
            continue
        n = len(its) - _in_steps(its, its_bits, its[-1])
        if n > 0 and _in_steps(its[n:], its_bits[n:], its[-1]) < len(its) - n:  # they are not the first ones
            n = len(its)
            while n > 0 and _in_steps(its[n - 1 : n], its_bits[n - 1 : n], its[-1]):
                n -= 1
        exact[u] = n
    return exact


@numba.njit(cache=True, nogil=True)
def scores_size(n: int, exact: int) -> int:
    """Bytes of n scores of which so many are exact."""
    return 4 * n if n == exact else 4 * exact + 4 + 2 * (n - exact)


@numba.njit(cache=True, nogil=True)
def entry_sizes(
    who: np.ndarray,
    lists: np.ndarray,
    exact: np.ndarray,
    rows: np.ndarray,
    facts: np.ndarray,
    value: np.ndarray,
    sealed: np.ndarray,
    age: np.ndarray,
    names: np.ndarray,
    width: int,
) -> tuple[np.ndarray, np.ndarray]:
    """How many bytes the entries of the patients `who` have (n,) int64, and how many facts of each there are from the
    first that has a value.

    lists, rows, facts, sealed: the indptr of each; exact: `exact_scores`. A size is TOO_MANY where an entry cannot be
    written.
    """
    sizes, measured = np.zeros(len(who), np.int64), np.zeros(len(who), np.int64)
    for k, u in enumerate(who):
        ahead = who[min(k + _FAR_AHEAD, len(who) - 1)]
        _prefetch(lists, ahead)  # type: ignore[call-arg]
        _prefetch(rows, ahead)
        _prefetch(facts, ahead)
        _prefetch(sealed, ahead)
        _prefetch(age, ahead * 4)
        _prefetch(names, ahead * names.shape[1])
        n, r, f = lists[u + 1] - lists[u], rows[u + 1] - rows[u], facts[u + 1] - facts[u]
        s = sealed[u + 1] - sealed[u]
        first = facts[u]
        while first < facts[u + 1] and np.isnan(value[first]):
            first += 1
        measured[k] = v = facts[u + 1] - first
        listed = n * width + scores_size(n, exact[u])
        sizes[k] = HEADER_BYTES + listed + r * (width + 2) + f * (width + 2) + v * 4 + s + CRC_BYTES
        if n > MOST or r > MOST or f > MOST or s > MOST:
            sizes[k] = TOO_MANY
    return sizes, measured


@intrinsic
def _copy(context, out, at, data, start, size):  # type: ignore[no-untyped-def]
    """The C library's memcpy. With a loop over bytes, as LLVM makes it of so few, entries take a third longer."""

    def emit(context, builder, signature, given):  # type: ignore[no-untyped-def]
        arrays = (context.make_array(signature.args[k])(context, builder, given[k]).data for k in (0, 2))
        to, begins = (builder.gep(first, [place]) for first, place in zip(arrays, (given[1], given[3]), strict=True))
        cgutils.raw_memcpy(builder, to, begins, given[4], 1)
        return context.get_dummy_value()

    return types.void(out, types.int64, data, types.int64, types.int64), emit


@numba.njit(cache=True, nogil=True)
def copied(out: np.ndarray, at: int, data: np.ndarray, start: int, end: int) -> int:
    """Some bytes; where the next goes."""
    _copy(out, at, data, start, end - start)  # type: ignore[call-arg]
    return at + end - start


@numba.njit(cache=True, nogil=True)
def write_entries(
    out: np.ndarray,
    who: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    measured: np.ndarray,
    form: int,
    width: int,
    list_ptr: np.ndarray,
    columns: np.ndarray,
    scores: np.ndarray,
    exact: np.ndarray,
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
    """Write the entry of who[k] from out[starts[k]] on, `out` uint8; sizes and measured are those of `entry_sizes`.

    columns to age hold their numbers as the bytes of the entry, all uint8: ids of `width` bytes each, values and ages
    of 4, weights and days of 2; but for scores, which are float32, and exact, as `exact_scores` finds it. names
    (n_patients, 16) uint8 and the sealed ids (as `Words`) are those of all patients; `begun` is the CRC-32 of what
    stands before a name.
    """
    score_bytes, steps = scores.view(np.uint8), np.empty(MOST, np.uint16)
    step_bytes = steps.view(np.uint8)
    for k in range(len(who)):
        if k + _AHEAD < len(who):  # names are drawn by chance, so a bucket's patients stand all over these arrays
            u = who[k + _AHEAD]
            _ask_for(columns, list_ptr[u] * width, list_ptr[u + 1] * width)
            _ask_for(score_bytes, list_ptr[u] * 4, list_ptr[u + 1] * 4)
            _ask_for(row_columns, row_ptr[u] * width, row_ptr[u + 1] * width)
            _ask_for(row_weights, row_ptr[u] * 2, row_ptr[u + 1] * 2)
            _ask_for(concept, fact_ptr[u] * width, fact_ptr[u + 1] * width)
            _ask_for(days, fact_ptr[u] * 2, fact_ptr[u + 1] * 2)
            _ask_for(value, (fact_ptr[u + 1] - measured[k + _AHEAD]) * 4, fact_ptr[u + 1] * 4)
            _ask_for(age, u * 4, u * 4 + 1)
            _ask_for(names.reshape(-1), u * names.shape[1], u * names.shape[1] + 1)
            _ask_for(sealed, sealed_ptr[u], sealed_ptr[u + 1])
        u = who[k]
        a, b, c, d, e, f = list_ptr[u], list_ptr[u + 1], row_ptr[u], row_ptr[u + 1], fact_ptr[u], fact_ptr[u + 1]
        at = starts[k]
        out[at], out[at + 1], out[at + 2], out[at + 3] = 0x52, 0x58, form, width  # "RX"
        at += 4
        for count in (b - a, np.int64(exact[u]), d - c, f - e, measured[k], sealed_ptr[u + 1] - sealed_ptr[u]):
            out[at], out[at + 1] = count & 0xFF, count >> 8
            at += 2
        at = copied(out, at, age, u * 4, u * 4 + 4)
        out[at] = sex[u]
        at = copied(out, at + 1, columns, a * width, b * width)
        at = copied(out, at, score_bytes, a * 4, (a + exact[u]) * 4)
        told = scores[a + exact[u] : b]
        if len(told):
            at = copied(out, at, score_bytes, (b - 1) * 4, b * 4)
            for i in range(len(told)):
                steps[i] = np.uint16(np.int32((told[i] - told[-1]) * STEPS))
            at = copied(out, at, step_bytes, 0, len(told) * 2)
        at = copied(out, at, row_columns, c * width, d * width)
        at = copied(out, at, row_weights, c * 2, d * 2)
        at = copied(out, at, concept, e * width, f * width)
        at = copied(out, at, days, e * 2, f * 2)
        at = copied(out, at, value, (f - measured[k]) * 4, f * 4)
        copied(out, at, sealed, sealed_ptr[u], sealed_ptr[u + 1])
    _close(out, who, starts, sizes, names, begun, table)

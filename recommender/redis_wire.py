"""Commands in, their bytes in Redis's protocol out: a few at a time, or many thousands of fields compiled."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from recommender.packing import Words

Command = Sequence[str | bytes]
_FRAME = 32  # bytes that the protocol puts around a word at most, and around a command


def wire(command: Command) -> bytes:
    """One command."""
    words = [word if isinstance(word, bytes) else word.encode() for word in command]
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


def hset_wire(keys: Words, ends: np.ndarray, fields: Words, which: np.ndarray, values: Words) -> np.ndarray:
    """One HSET a key: uint8. Key k gets the pairs ends[k] to ends[k + 1]; pair i is fields[which[i]], values[i]."""
    size = len(keys.data) + len(values.data) + _FRAME * (2 * len(keys) + 2 * len(which))
    size += int((fields.ptr[which + 1] - fields.ptr[which]).sum())
    out = np.empty(size, dtype=np.uint8)
    end = _hset_wire(out, keys.data, keys.ptr, ends, fields.data, fields.ptr, which, values.data, values.ptr)
    return out[:end]


@numba.njit(cache=True, nogil=True)
def _number(out: np.ndarray, at: int, mark: int, number: int) -> int:
    """`*12\\r\\n` or `$12\\r\\n`; where the next byte goes."""
    out[at] = mark
    at += 1
    digits, rest = 1, number // 10
    while rest:
        digits, rest = digits + 1, rest // 10
    for k in range(digits - 1, -1, -1):
        out[at + k] = 48 + number % 10
        number //= 10
    at += digits
    out[at], out[at + 1] = 13, 10
    return at + 2


@numba.njit(cache=True, nogil=True)
def _word(out: np.ndarray, at: int, data: np.ndarray, start: int, end: int) -> int:
    at = _number(out, at, 36, end - start)
    out[at : at + end - start] = data[start:end]
    at += end - start
    out[at], out[at + 1] = 13, 10
    return at + 2


@numba.njit(cache=True, nogil=True)
def _hset_wire(
    out: np.ndarray,
    keys: np.ndarray,
    key_ptr: np.ndarray,
    ends: np.ndarray,
    fields: np.ndarray,
    field_ptr: np.ndarray,
    which: np.ndarray,
    values: np.ndarray,
    value_ptr: np.ndarray,
) -> int:
    at, hset = 0, np.array([36, 52, 13, 10, 72, 83, 69, 84, 13, 10], dtype=np.uint8)  # $4 HSET
    for k in range(len(key_ptr) - 1):
        at = _number(out, at, 42, 2 + 2 * (ends[k + 1] - ends[k]))
        out[at : at + len(hset)] = hset
        at = _word(out, at + len(hset), keys, key_ptr[k], key_ptr[k + 1])
        for i in range(ends[k], ends[k + 1]):
            at = _word(out, at, fields, field_ptr[which[i]], field_ptr[which[i] + 1])
            at = _word(out, at, values, value_ptr[i], value_ptr[i + 1])
    return at

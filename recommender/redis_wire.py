"""Commands in, their bytes in Redis's protocol out: a few at a time, or many thousands of fields compiled."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from hiredis import pack_command

from recommender.packing import Room, Words, copied

Command = Sequence[str | bytes]
_FRAME = 32  # bytes that the protocol puts around a word at most, and around a command


def wire(command: Command) -> bytes:
    """One command."""
    packed: bytes = pack_command(tuple(command))  # type: ignore[arg-type]  # its stub allows one word
    return packed


def pieces(command: Command) -> list[bytes]:
    """As `wire`, one after another, so that no large word is copied."""
    words = [word if isinstance(word, bytes) else word.encode() for word in command]
    return [b"*%d\r\n" % len(words), *(piece for word in words for piece in (b"$%d\r\n" % len(word), word, b"\r\n"))]


def hset_wire(
    keys: Words, ends: np.ndarray, fields: np.ndarray, which: np.ndarray, sizes: np.ndarray, room: Room
) -> tuple[np.ndarray, np.ndarray]:
    """One HSET a key, uint8, but for the values, which are to be written into it: where each begins (n,) int64.

    Key k gets the pairs ends[k] to ends[k + 1]; pair i is fields[which[i]] and sizes[i] bytes. fields (n, width) uint8.
    """
    size = len(keys.data) + int(sizes.sum()) + fields.shape[1] * len(which) + _FRAME * (2 * len(keys) + 2 * len(which))
    out, starts = room.of(size), np.empty(len(which), dtype=np.int64)
    end = _hset_wire(out, starts, keys.data, keys.ptr, ends, fields.reshape(-1), fields.shape[1], which, sizes)
    return out[:end], starts


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
    return _end(out, copied(out, _number(out, at, 36, end - start), data, start, end))


@numba.njit(cache=True, nogil=True)
def _end(out: np.ndarray, at: int) -> int:
    """`\\r\\n`"""
    out[at], out[at + 1] = 13, 10
    return at + 2


@numba.njit(cache=True, nogil=True)
def _hset_wire(
    out: np.ndarray,
    starts: np.ndarray,
    keys: np.ndarray,
    key_ptr: np.ndarray,
    ends: np.ndarray,
    fields: np.ndarray,
    width: int,
    which: np.ndarray,
    sizes: np.ndarray,
) -> int:
    at, hset = 0, np.array([36, 52, 13, 10, 72, 83, 69, 84, 13, 10], dtype=np.uint8)  # $4 HSET
    for k in range(len(key_ptr) - 1):
        at = _number(out, at, 42, 2 + 2 * (ends[k + 1] - ends[k]))
        at = copied(out, at, hset, 0, len(hset))
        at = _word(out, at, keys, key_ptr[k], key_ptr[k + 1])
        for i in range(ends[k], ends[k + 1]):
            at = _word(out, at, fields, which[i] * width, which[i] * width + width)
            starts[i] = at = _number(out, at, 36, sizes[i])
            at = _end(out, at + sizes[i])
    return at

"""Cells as they lie in the bytes of a file in; what stands in them, distinct texts, times or numbers, out.

Compiled loops that hold no lock, over bytes and not over Python strings. What a loop cannot tell at once, a time in
another form say, it marks, and `columns` reads it one at a time.
"""

from __future__ import annotations

import numba
import numpy as np

from recommender.text_index import hashed, same

ZERO, NINE, MINUS, POINT, BLANK, TILDE, T, Z = (np.uint8(ord(c)) for c in "09-. ~TZ")
COLON = np.uint8(ord(":"))
FEW_ENTRIES = 1 << 10
MOST_DIGITS = 15  # a whole number of so many is exact in float64, and so is its quotient by a power of ten up to 10^22
POWERS = 10.0 ** np.arange(MOST_DIGITS + 1)
DAYS_BEFORE = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])  # of the year, by month
DAYS_IN = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
TO_1970 = 719_162  # days from 0001-01-01


@numba.njit(cache=True, nogil=True)
def encoded(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the distinct texts each cell (n,) int32 has, -1 where it is missing; the first cell with each (k,)."""
    codes, first = np.empty(len(begin), np.int32), np.empty(len(begin), np.int32)
    size = FEW_ENTRIES
    table, hashes, known = np.full(size, -1, np.int32), np.empty(len(begin), np.uint64), 0
    last = -1  # the cell before: rows of one patient stand together
    for cell in range(len(begin)):
        at, length = begin[cell], end[cell] - begin[cell]
        if length < 0:
            codes[cell] = -1
            continue
        if last >= 0 and end[last] - begin[last] == length and same(data, begin[last], data, at, length):
            codes[cell] = codes[last]
            continue
        last = cell
        key = hashed(data, at, length)
        slot = np.int64(key & np.uint64(size - 1))
        code = table[slot]
        while code >= 0:
            other = first[code]
            if (
                hashes[code] == key
                and end[other] - begin[other] == length
                and same(data, begin[other], data, at, length)
            ):
                break
            slot = (slot + 1) & (size - 1)
            code = table[slot]
        if code < 0:
            code = known
            first[code], hashes[code], table[slot] = cell, key, code
            known += 1
            if 2 * known > size:
                size *= 2
                table = np.full(size, -1, np.int32)
                for one in range(known):
                    slot = np.int64(hashes[one] & np.uint64(size - 1))
                    while table[slot] >= 0:
                        slot = (slot + 1) & (size - 1)
                    table[slot] = one
        codes[cell] = code
    return codes, first[:known].copy()


@numba.njit(cache=True, nogil=True)
def gathered(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The texts of some cells one after another, and where each begins (n + 1,) int32; what is missing is empty."""
    offsets = np.zeros(len(begin) + 1, np.int32)
    for cell in range(len(begin)):
        offsets[cell + 1] = offsets[cell] + max(end[cell] - begin[cell], 0)
    out = np.empty(offsets[-1], np.uint8)
    for cell in range(len(begin)):
        at = offsets[cell]
        for place in range(begin[cell], end[cell]):
            out[at] = data[place]
            at += 1
    return out, offsets


@numba.njit(cache=True, nogil=True)
def plain(texts: np.ndarray, offsets: np.ndarray, longest: int) -> bool:
    """Whether all that stands between the offsets is of printable ASCII, and each text neither too long nor with a
    blank at an end: then it is as it should be."""
    for text in range(len(offsets) - 1):
        begin, end = offsets[text], offsets[text + 1]
        if end - begin > longest or (end > begin and (texts[begin] == BLANK or texts[end - 1] == BLANK)):
            return False
    odd = False
    for c in texts[offsets[0] : offsets[-1]]:
        odd |= c < BLANK or c > TILDE
    return not odd


@numba.njit(cache=True, nogil=True)
def _digits(data: np.ndarray, begin: int, count: int) -> np.int64:
    """A number of so many digits; below zero where there is something else."""
    found = np.int64(0)
    for at in range(begin, begin + count):
        c = data[at]
        if c < ZERO or c > NINE:
            return np.int64(-(1 << 40))
        found = 10 * found + (np.int64(c) - 48)
    return found


@numba.njit(cache=True, nogil=True)
def times(data: np.ndarray, begin: np.ndarray, end: np.ndarray, missing: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds since 1970 (n,) int64, `missing` where there is nothing, and which cells (n,) bool were not understood:
    anything but 2021-03-05, 2021-03-05T06:07:08 (or with a blank) and the same with a Z."""
    seconds, other = np.empty(len(begin), np.int64), np.zeros(len(begin), np.bool_)
    for cell in range(len(begin)):
        at, length = begin[cell], end[cell] - begin[cell]
        seconds[cell] = missing
        if length < 0:
            continue
        other[cell] = True
        if length != 10 and length != 19 and not (length == 20 and data[at + 19] == Z):
            continue
        if data[at + 4] != MINUS or data[at + 7] != MINUS:
            continue
        year, month, day = _digits(data, at, 4), _digits(data, at + 5, 2), _digits(data, at + 8, 2)
        if year < 1 or month < 1 or month > 12 or day < 1:
            continue
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        if day > DAYS_IN[month - 1] + (1 if leap and month == 2 else 0):
            continue
        before = year - 1
        days = 365 * before + before // 4 - before // 100 + before // 400 - TO_1970
        days += DAYS_BEFORE[month - 1] + (1 if leap and month > 2 else 0) + day - 1
        clock = np.int64(0)
        if length > 10:
            c = data[at + 10]
            if (c != T and c != BLANK) or data[at + 13] != COLON or data[at + 16] != COLON:
                continue
            hour, minute, second = _digits(data, at + 11, 2), _digits(data, at + 14, 2), _digits(data, at + 17, 2)
            if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
                continue
            clock = 3600 * hour + 60 * minute + second
        seconds[cell], other[cell] = 86_400 * days + clock, False
    return seconds, other


@numba.njit(cache=True, nogil=True)
def numbers(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (n,) float64, NaN where there is nothing, and which cells (n,) bool were not understood: anything but
    digits, of which there are not many, with a minus before and a point between them. Each is the nearest there is."""
    found, other = np.full(len(begin), np.nan), np.zeros(len(begin), np.bool_)
    for cell in range(len(begin)):
        at, stop = begin[cell], end[cell]
        if stop < at:
            continue
        negative = data[at] == MINUS
        if negative:
            at += 1
        whole, digits, decimals, understood = np.int64(0), 0, -1, True
        for place in range(at, stop):
            c = data[place]
            if c == POINT and decimals < 0 and digits > 0:
                decimals = 0
            elif ZERO <= c <= NINE:
                whole = 10 * whole + (np.int64(c) - 48)
                digits += 1
                if decimals >= 0:
                    decimals += 1
            else:
                understood = False
            if digits > MOST_DIGITS:
                understood = False
            if not understood:
                break
        if not understood or digits == 0 or decimals == 0:
            other[cell] = True
            continue
        value = np.float64(whole) / POWERS[max(decimals, 0)]
        found[cell] = -value if negative else value
    return found, other

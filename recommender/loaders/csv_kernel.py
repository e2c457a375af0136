"""The bytes of some CSV rows in; where each wanted cell lies, and what stands in it (text, time, number), out.

Compiled loops that hold no lock, over bytes and not over Python strings. What a loop cannot tell at once, a time in
another form say, it marks, and `columns` reads it as it reads any other text. Every buffer has PADDING bytes after its
end, as eight bytes are looked at at a time.
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from recommender.text_index import PADDING, hashed, same

NEWLINE, RETURN, QUOTE = np.uint8(10), np.uint8(13), np.uint8(34)
ZERO, NINE, MINUS, POINT, BLANK, TILDE, T, Z = (np.uint8(ord(c)) for c in "09-. ~TZ")
FEW_ENTRIES = 1 << 10
STRETCH = 1 << 12  # bytes that are looked through at a time: they and their marks stay in the nearest cache
MOST_DIGITS = 15  # a whole number of so many is exact in float64, and so is its quotient by a power of ten up to 10^22
POWERS = 10.0 ** np.arange(MOST_DIGITS + 1)
DAYS_BEFORE = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])  # of the year, by month
DAYS_IN = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
TO_1970 = 719_162  # days from 0001-01-01


@intrinsic
def _zeros_below(context, word):  # type: ignore[no-untyped-def]
    """How many bits are zero below the lowest one that is not; of a word that is not zero."""

    def emit(context, builder, signature, given):  # type: ignore[no-untyped-def]
        return builder.cttz(given[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), emit


@numba.njit(cache=True, nogil=True)
def _marks(data: np.ndarray, size: int, delimiter: int, quotes: bool) -> np.ndarray:
    """Where delimiters, line ends and (if they mean something) quotation marks stand (n,) int32."""
    between, quote = np.uint8(delimiter), QUOTE if quotes else np.uint8(delimiter)
    marks, n = np.empty(size + 8, np.int32), 0  # what is not written to of so much takes no memory
    mask = np.zeros(STRETCH, np.uint8)
    words = mask.view(np.uint64)
    for begin in range(0, size, STRETCH):
        stretch = data[begin : min(begin + STRETCH, size)]
        for at in range(len(stretch)):  # compiled to many bytes at a time
            c = stretch[at]
            mask[at] = np.uint8(c == between) | np.uint8(c == NEWLINE) | np.uint8(c == RETURN) | np.uint8(c == quote)
        for at in range(len(stretch), (len(stretch) + 7) // 8 * 8):
            mask[at] = 0
        for place in range((len(stretch) + 7) // 8):
            word = words[place]
            while word:
                marks[n] = begin + 8 * place + np.int64(_zeros_below(word) >> np.uint64(3))  # type: ignore[call-arg]
                n += 1
                word &= word - np.uint64(1)
    return marks[:n]


@numba.njit(cache=True, nogil=True)
def _is_missing(data: np.ndarray, begin: int, end: int) -> bool:
    """Whether one of `files.MISSING` stands there."""
    if end == begin:
        return True
    a, b = data[begin], data[begin + 1]
    if end - begin == 2:
        return a == 92 and b == 78  # \N
    if end - begin != 4:
        return False
    c, d = data[begin + 2], data[begin + 3]
    return (a == 78 and b == 85 and c == 76 and d == 76) or (a == 110 and b == 117 and c == 108 and d == 108)


@numba.njit(cache=True, nogil=True)
def _is_simple(data: np.ndarray, marks: np.ndarray, at: int, n_columns: int, between: np.uint8) -> bool:
    """Whether the next record has a field for each column and not one quotation mark: as nearly all have."""
    if at + n_columns > len(marks) or data[marks[at + n_columns - 1]] != NEWLINE:
        return False
    simple = True
    for mark in marks[at : at + n_columns - 1]:
        simple &= data[mark] == between
    return simple


@numba.njit(cache=True, nogil=True)
def scanned(
    data: np.ndarray, size: int, final: bool, delimiter: int, quotes: bool, slot: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """The whole records in data[:size], which end with a line end where they are the `final` ones.

    slot (n_columns,): the place of each column of the file among the wanted ones, -1 for the others. Returns begin, end
    (n_wanted, n) int32: where each wanted cell stands, end -1 where it is missing; the number (n,) int64 of each of
    these records among all; the numbers of those without as many fields as there are columns (n_bad,), and whether
    each spans several lines; and how many bytes all of them take. What a quoted cell holds, without its quotation
    marks, is written behind the data, for which there is as much room again.
    """
    marks = _marks(data, size, delimiter, quotes)
    n_columns, between = len(slot), np.uint8(delimiter)
    empty = 0
    for at in range(1, len(marks)):
        empty += marks[at] == marks[at - 1] + 1 and data[marks[at]] != between
    most = len(marks) // n_columns + empty + 2
    n_wanted = slot.max() + 1
    begin, end = np.empty((n_wanted, most), np.int32), np.empty((n_wanted, most), np.int32)
    number, bad = np.empty(most, np.int64), np.empty(len(marks) + 1, np.int64)
    lines = np.empty(len(marks) + 1, np.bool_)
    column_of = np.empty(n_wanted, np.int64)
    for column in range(n_columns):
        if slot[column] >= 0:
            column_of[slot[column]] = column
    spill = size + PADDING
    n = n_bad = record = at = used = 0
    while at < len(marks):
        if _is_simple(data, marks, at, n_columns, between):
            for place in range(n_wanted):
                column = column_of[place]
                cell, stop = marks[at + column - 1] + 1 if column else used, marks[at + column]
                missing = _is_missing(data, cell, stop)
                begin[place, n] = 0 if missing else cell
                end[place, n] = -1 if missing else stop
            number[n] = record
            at += n_columns
            n, record, used = n + 1, record + 1, marks[at - 1] + 1
            continue
        column, first, several, whole = 0, used, False, False
        while True:  # the fields of a record
            if quotes and data[first] == QUOTE:
                to, read = spill, first + 1
                at += 1
                open_ = True
                while open_ and at < len(marks):
                    mark = marks[at]
                    at += 1
                    if data[mark] == NEWLINE:
                        several = True
                    elif data[mark] == QUOTE:
                        stop = mark
                        if mark + 1 < size and data[mark + 1] == QUOTE:  # twice: one that belongs to the text
                            stop, at = mark + 1, at + 1
                        else:
                            open_ = False
                        for place in range(read, stop):
                            data[spill] = data[place]
                            spill += 1
                        read = mark + (2 if stop > mark else 1)
                if open_:
                    break
                while at < len(marks) and data[marks[at]] == QUOTE:
                    at += 1
                if at == len(marks):
                    break
                for place in range(read, marks[at]):  # what follows the closing one, as it stands
                    data[spill] = data[place]
                    spill += 1
                cell, stop = to, spill
            else:
                while at < len(marks) and data[marks[at]] == QUOTE and quotes:
                    at += 1
                if at == len(marks):
                    break
                cell, stop = first, marks[at]
            mark = marks[at]
            at += 1
            if column < n_columns and slot[column] >= 0 and n < most:
                missing = _is_missing(data, cell, stop)
                begin[slot[column], n] = 0 if missing else cell
                end[slot[column], n] = -1 if missing else stop
            column += 1
            first = mark + 1
            if data[mark] == between:
                continue
            if data[mark] == RETURN:
                if first == size and not final:
                    break
                if first < size and data[first] == NEWLINE:
                    first, at = first + 1, at + 1
            whole = True
            break
        if not whole:
            break
        if data[used] == NEWLINE or data[used] == RETURN:
            column = n_columns  # a line without anything is a record without anything
            begin[:, n], end[:, n] = 0, -1
        if column == n_columns:
            number[n] = record
            n += 1
        else:
            bad[n_bad], lines[n_bad] = record, several
            n_bad += 1
        record += 1
        used = first
    return begin[:, :n], end[:, :n], number[:n], bad[:n_bad], lines[:n_bad], used


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
def _digits(data: np.ndarray, begin: int, count: int) -> int:
    """A number of so many digits; below zero where there is something else."""
    found = 0
    for at in range(begin, begin + count):
        c = data[at]
        if c < ZERO or c > NINE:
            return -(1 << 40)
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
        clock = 0
        if length > 10:
            c = data[at + 10]
            if (c != T and c != BLANK) or data[at + 13] != 58 or data[at + 16] != 58:  # colons
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
        whole, digits, decimals, plain = 0, 0, -1, True
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
                plain = False
            if digits > MOST_DIGITS:
                plain = False
            if not plain:
                break
        if not plain or digits == 0 or decimals == 0:
            other[cell] = True
            continue
        value = np.float64(whole) / POWERS[max(decimals, 0)]
        found[cell] = -value if negative else value
    return found, other

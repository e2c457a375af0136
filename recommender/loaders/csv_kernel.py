"""The bytes of some CSV rows in; where each wanted cell lies out: by compiled loops that hold no lock.

Every buffer has PADDING bytes after its end, as eight bytes are looked at at a time.
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from recommender.text_index import PADDING

NEWLINE, RETURN, QUOTE = np.uint8(10), np.uint8(13), np.uint8(34)
STRETCH = 1 << 12  # bytes that are looked through at a time: they and their marks stay in the nearest cache


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

"""Arrow arrays, or cells of a CSV file, as a file gave them in; text, UTC times and numbers out, and which cells could
not be read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recommender.combinations import combinations
from recommender.event_kernel import MISSING
from recommender.loaders import cell_kernel
from recommender.loaders.cells import Cells

ZONED, NAIVE = pa.timestamp("s", "UTC"), pa.timestamp("s")
# days 29 to 31 are left to a calendar
PLAIN_TIME = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])([ T]([01]\d|2[0-3]):[0-5]\d:[0-5]\d)?$"
NUMBER = r"^-?\d+(\.\d*)?([eE][+-]?\d+)?$"
FIRST_TIME, LAST_TIME = np.datetime64("0001-01-01", "s"), np.datetime64("9999-12-31T23:59:59", "s")
LONGEST_TEXT = 1000
A_FEW = 64
SUBSTITUTE = "\x1a"  # stands for bytes that were not UTF-8
ABSENT = {"NA", "NaN", "nan", "NaT", "None"}  # neither a date nor a number, but no error either


class Unreadable(Exception):
    """Why a column cannot be read, in words that follow its name; `index`: at which cell, None for all of it."""

    def __init__(self, why: str, index: int | None = None) -> None:
        super().__init__(why)
        self.why, self.index = why, index


def text(values: pa.Array | Cells) -> pa.DictionaryArray:
    """Any column as text without blanks around it, one entry for each distinct value. Raises Unreadable."""
    encoded = values.encoded() if isinstance(values, Cells) else _encoded(values)
    if _is_plain(encoded.dictionary):
        return encoded
    try:
        distinct = _plain(encoded.dictionary, "text")
    except Unreadable:
        raise _undecodable(values) from None
    if pc.any(pc.match_substring_regex(distinct, f"[\0{SUBSTITUTE}]")).as_py():
        raise _undecodable(values)
    again = pc.utf8_trim_whitespace(distinct).dictionary_encode()  # two may have differed in blanks alone
    return pa.DictionaryArray.from_arrays(again.indices.take(encoded.indices), again.dictionary)


def _encoded(values: pa.Array) -> pa.DictionaryArray:
    """As `Cells.encoded`: what is done to text is done to each distinct one once. It may be no UTF-8."""
    if pa.types.is_floating(values.type):  # whole-numbered ids that pandas once held beside a missing one
        whole = values.cast(pa.int64(), safe=False)
        values = whole if pc.all(pc.equal(whole.cast(values.type), values)).as_py() is not False else values
    if pa.types.is_integer(values.type):
        encoded = values.dictionary_encode()
        return pa.DictionaryArray.from_arrays(encoded.indices, encoded.dictionary.cast(pa.string()))
    if (
        pa.types.is_dictionary(values.type)
        and values.type.value_type == pa.string()
        and not values.dictionary.null_count
    ):
        # of a whole file perhaps: those that are there, in the order in which they appear
        used = _codes(values.indices)
        codes, first = combinations([(used, len(values.dictionary))])
        there = used[first] >= 0
        number = np.where(there, np.cumsum(there) - 1, -1).astype(np.int32)[codes]
        indices = pa.array(number, mask=number < 0) if not there.all() else pa.array(number)
        return pa.DictionaryArray.from_arrays(indices, values.dictionary.take(pa.array(used[first][there])))
    return (values if pa.types.is_string(values.type) else _plain(values, "text")).dictionary_encode()


def _codes(indices: pa.Array) -> np.ndarray:  # (n,), -1 for what is missing
    return (pc.fill_null(indices, -1) if indices.null_count else indices).to_numpy(zero_copy_only=False)


def _is_plain(distinct: pa.StringArray) -> bool:
    """Nothing about these texts has to be looked at closely."""
    _, offsets, texts = distinct.buffers()
    if texts is None:
        return True
    where = np.frombuffer(offsets, np.int32)[distinct.offset : distinct.offset + len(distinct) + 1]
    return bool(cell_kernel.plain(np.frombuffer(texts, np.uint8), where, LONGEST_TEXT))


def times(values: pa.Array | Cells) -> tuple[np.ndarray, np.ndarray]:
    """ISO 8601 text, or a typed column -> (seconds (n,) datetime64[s], bad (n,) bool); a time without zone is UTC.

    A missing cell is NaT and not bad. Raises Unreadable for a column that can hold no time.
    """
    cells = _as_cells(values)
    if cells is not None:
        seconds, other = cell_kernel.times(cells.data, cells.begin, cells.end, MISSING)
        return _rest(seconds.view("M8[s]"), cells, other, _other_times)
    return _other_times(values)


def _other_times(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    read, bad = _times(values)
    beyond = (read < FIRST_TIME) | (read > LAST_TIME)
    read[beyond] = np.datetime64("NaT", "s")
    return read, bad | beyond


def _times(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    good = np.zeros(len(values), dtype=bool)
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return _numpy(values.cast(NAIVE, safe=False)).astype("M8[s]"), good
    values = _plain(values, "a date or time")
    for form in (ZONED, NAIVE):  # a whole column in one form, as nearly every export has it
        try:
            values[:A_FEW].cast(form)  # a cast that fails takes 40 times as long as one that does not
            return _numpy(values.cast(form)).astype("M8[s]"), good
        except pa.ArrowInvalid:
            continue
    values = pc.utf8_trim_whitespace(values)
    bare = pc.if_else(pc.ends_with(values, "Z"), pc.utf8_slice_codeunits(values, 0, -1), values)
    plain = pc.fill_null(pc.match_substring_regex(bare, PLAIN_TIME), True)
    read = _numpy(pc.if_else(plain, bare, None).cast(NAIVE)).astype("M8[s]")
    return read, _others(values, plain, read, _one_time)


def numbers(values: pa.Array | Cells) -> tuple[np.ndarray, np.ndarray]:
    """Decimal text, or a typed column -> (numbers (n,) float64, bad (n,) bool). A missing cell is NaN and not bad.

    Infinity and what is too large for a float are bad. Raises Unreadable for a column that can hold no number.
    """
    cells = _as_cells(values)
    if cells is not None:
        found, other = cell_kernel.numbers(cells.data, cells.begin, cells.end)
        return _rest(found, cells, other, _other_numbers)
    return _other_numbers(values)


def _other_numbers(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_decimal(values.type)):
        values = _plain(values, "a number")
    bad = np.zeros(len(values), dtype=bool)
    try:
        read = _numpy(values.cast(pa.float64(), safe=False))
    except pa.ArrowInvalid:
        values = pc.utf8_trim_whitespace(values)
        plain = pc.fill_null(pc.match_substring_regex(values, NUMBER), True)
        read = _numpy(pc.if_else(plain, values, None).cast(pa.float64()))
        bad = _others(values, plain, read, lambda _: None)
    bad |= np.isinf(read)
    return np.where(bad, np.nan, read), bad


def missing(values: pa.Array | Cells) -> np.ndarray:
    """Which cells (n,) bool hold nothing, as they stand in the file."""
    if isinstance(values, Cells):
        return values.missing
    return np.zeros(len(values), dtype=bool) if not values.null_count else _numpy(values.is_null())


def _as_cells(values: pa.Array | Cells) -> Cells | None:
    """Where what is to be read is text."""
    if isinstance(values, Cells):
        return values
    return Cells.of(values) if values.type == pa.string() else None


def _rest(
    read: np.ndarray, cells: Cells, other: np.ndarray, parse: Callable[[pa.Array], tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """What was `read`, with the cells that are in an`other` form parsed; and which of them are bad."""
    if other.any():
        which = np.flatnonzero(other)
        try:
            read[which], other[which] = parse(cells.array(which))
        except Unreadable as error:
            raise Unreadable(error.why, None if error.index is None else int(which[error.index])) from None
    return read, other


def categorical(chunks: Sequence[pa.DictionaryArray]) -> pd.Categorical:
    """The text of all batches as one categorical; what is empty is missing."""
    whole = pa.chunked_array(chunks, type=pa.dictionary(pa.int32(), pa.string())).unify_dictionaries()
    distinct = whole.chunk(0).dictionary if whole.num_chunks else pa.array([], pa.string())
    codes = np.concatenate([np.empty(0, np.int32), *(_codes(chunk.indices) for chunk in whole.chunks)])
    nothing = pc.index(distinct, "").as_py()
    if nothing >= 0:
        lookup = np.arange(-1, len(distinct), dtype=np.int32)  # of code -1 on
        lookup[nothing + 1] = -1
        lookup[nothing + 2 :] -= 1
        codes, distinct = lookup[codes + 1], distinct.filter(pc.not_equal(distinct, ""))
    return _categorical(codes, distinct.to_pandas())


def distinct(*columns: pd.Series) -> tuple[np.ndarray, list[tuple[str | None, ...]]]:
    """Which combination of the (categorical) columns' values each row (n,) has, and all of them (None: missing)."""
    codes = [column.array.codes for column in columns]
    position, first = combinations([(one, len(c.array.categories)) for one, c in zip(codes, columns, strict=True)])
    found = []
    for one, column in zip(codes, columns, strict=True):
        there = one[first] >= 0
        values = np.full(len(first), None, dtype=object)
        values[there] = column.array.categories.take(one[first][there]).to_numpy(object)
        found.append(values)
    return position, list(zip(*found, strict=True))


def per_distinct(change: Callable[..., str | None], *columns: pd.Series) -> pd.Series:
    """`change(value, ...)` in every row, computed once for each combination of the (categorical) columns' values."""
    position, combinations = distinct(*columns)
    return chosen([change(*values) for values in combinations], position, columns[0].index)


def chosen(texts: Sequence[str | None], position: np.ndarray, index: pd.Index) -> pd.Series:
    """`texts[position]` as a categorical column."""
    return pd.Series(_recoded(position, pd.Series(texts, dtype="str")), index=index)


def constant(value: str | None, rows: int) -> pd.Categorical:
    """The same text in every row."""
    return _recoded(np.zeros(rows, np.int32), pd.Series([value], dtype="str"))


def among(values: pa.DictionaryArray, allowed: Collection[str]) -> np.ndarray:
    """Which cells (n,) bool hold one of the allowed texts."""
    return _cells(values, pc.is_in(values.dictionary, pa.array(sorted(allowed), pa.string())))


def empty(values: pa.DictionaryArray | np.ndarray) -> np.ndarray:
    """Which cells (n,) bool hold nothing: no text, no time, no number."""
    if isinstance(values, np.ndarray):
        return np.isnan(values) if values.dtype.kind == "f" else np.isnat(values)
    return _numpy(values.indices.is_null()) | _cells(values, pc.equal(values.dictionary, ""))


def run_away(values: pa.DictionaryArray, lines: bool) -> np.ndarray:
    """Which cells (n,) bool are too long for a code or a name or, unless `lines` are allowed, go over several."""
    if _is_plain(values.dictionary):
        return np.zeros(len(values), dtype=bool)
    too_long = pc.greater(pc.utf8_length(values.dictionary), LONGEST_TEXT)
    return _cells(values, too_long if lines else pc.or_(too_long, pc.match_substring(values.dictionary, "\n")))


def _cells(values: pa.DictionaryArray, hit: pa.Array) -> np.ndarray:
    if not pc.any(hit).as_py():
        return np.zeros(len(values), dtype=bool)
    return np.append(_numpy(hit), False)[_numpy(pc.fill_null(values.indices, -1))].astype(bool)


def _recoded(codes: np.ndarray, distinct: pd.Series) -> pd.Categorical:
    """`distinct[codes]` as a categorical, though `distinct` may repeat itself or hold missing values."""
    position, categories = pd.factorize(distinct.where(distinct != ""))
    lookup = np.append(position, -1).astype(np.int32)  # code -1 -> -1
    return _categorical(lookup[codes], categories)


def _categorical(codes: np.ndarray, categories: Any) -> pd.Categorical:
    dtype = pd.CategoricalDtype(pd.Index(categories, dtype="str"))
    return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)


def _plain(values: pa.Array, needed: str) -> pa.Array:
    try:
        return values.cast(pa.string()).cast(pa.binary()).cast(pa.string())  # the last step checks that it is UTF-8
    except pa.ArrowNotImplementedError:
        raise Unreadable(f"this column holds {values.type}, but {needed} is needed") from None
    except pa.ArrowInvalid:
        raise _undecodable(values) from None


def _undecodable(values: pa.Array | Cells) -> Unreadable:
    """Where the first cell is that is not UTF-8 or has NUL bytes in it."""
    values = values.array() if isinstance(values, Cells) else values
    values = values.dictionary_decode() if isinstance(values, pa.DictionaryArray) else values
    for index, value in enumerate(values.cast(pa.binary()).to_pylist()):
        if value is not None and b"\0" in value:
            return Unreadable("NUL bytes: the file is damaged, or is UTF-16 and must be saved as CSV UTF-8", index)
        try:
            substituted = SUBSTITUTE in (value or b"").decode()
        except UnicodeDecodeError:
            substituted = True
        if substituted:
            break
    return Unreadable("this is not UTF-8: convert the file, for example with iconv -f WINDOWS-1252 -t UTF-8", index)


def _others(values: pa.Array, plain: pa.Array, read: np.ndarray, parse: Callable[[str], Any]) -> np.ndarray:
    """Fill `read` where the text is not `plain`, one cell at a time; which cells (n,) bool are bad, not just absent."""
    bad = np.zeros(len(values), dtype=bool)
    for index in np.flatnonzero(~_numpy(plain)).tolist():
        value = values[index].as_py()
        if value and value not in ABSENT:
            found = parse(value)
            bad[index] = found is None
            if found is not None:
                read[index] = found
    return bad


def _one_time(value: str) -> np.datetime64 | None:
    if value[4:5] != "-" or value[7:8] != "-":  # 2021-W05 is ISO 8601 too, 20210305 could be an id
        return None
    try:
        time = datetime.fromisoformat(value)
        return np.datetime64((time.astimezone(UTC) if time.tzinfo else time).replace(tzinfo=None), "s")
    except (ValueError, OverflowError):
        return None


def _numpy(values: pa.Array) -> np.ndarray:
    """A writable copy, with NaN or NaT for what is missing."""
    return np.array(values.to_numpy(zero_copy_only=False))

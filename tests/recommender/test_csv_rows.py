"""Our loops over the bytes of a CSV file beside what others read in the same bytes."""

import csv
import io
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recommender.errors import InputError
from recommender.loaders import columns, csv_rows
from recommender.loaders.cells import Cells
from recommender.text_index import PADDING, TextIndex

COLUMNS = 3
FIELD = st.text(st.sampled_from('ab",\n\r é\\N0'), max_size=6)
RAW = st.text(st.sampled_from('a",\n\r;é'), max_size=40)


def cells(texts):
    """Texts (None: nothing) as they would lie in a file."""
    each = [(text or "").encode() for text in texts]
    ends = np.cumsum([len(one) for one in each], dtype=np.int32) if each else np.empty(0, np.int32)
    begins = np.append(np.int32(0), ends)[:-1].astype(np.int32)
    missing = np.array([text is None for text in texts], dtype=bool)
    data = np.frombuffer(b"".join(each) + bytes(PADDING), np.uint8).copy()
    return Cells(data, begins, np.where(missing, -1, ends).astype(np.int32))


def ours(body, block, wanted=(0, 2)):
    """Row numbers, the wanted columns and what is malformed; or where the reader says that it cannot go on."""
    malformed, row, found = csv_rows.Malformed(), [], [[] for _ in wanted]
    csv_rows.BLOCK, before = block, csv_rows.BLOCK
    try:
        reader = csv_rows.Reader(io.BytesIO(body), "a.csv", ",", malformed)
        for numbers, batch in reader.batches(COLUMNS, wanted):
            row += numbers.tolist()
            for column, part in zip(found, batch, strict=True):
                column += part.array().to_pylist()
    except InputError as error:
        return "never closed" if "never closed" in str(error) else str(error)
    finally:
        csv_rows.BLOCK = before
    return row, found, malformed.rows, malformed.joined


def arrows(body, wanted=(0, 2)):
    """The same by Arrow's reader. A last row of our own tells whether a quotation mark swallowed it."""
    malformed, joined = [], []

    def note(record):
        malformed.append(record.number + 1)
        if "\n" in record.text.strip():
            joined.append(record.number + 1)
        return "skip"

    end = b"" if not body or body.endswith((b"\n", b"\r")) else b"\n"
    names = ["c0", "c1", "c2"]
    table = pa.csv.read_csv(
        pa.BufferReader(body + end + b"END,END,END\n"),
        pa.csv.ReadOptions(column_names=names, use_threads=False),
        pa.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=note),
        pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=True,
            null_values=["", "NULL", "null", "\\N"],
        ),
    )
    found = [table.column(place).to_pylist() for place in wanted]
    if not found[0] or found[0][-1] != "END":
        return "never closed"
    total = len(found[0]) + len(malformed)
    row = [number for number in range(2, total + 2) if number not in malformed]
    return row[:-1], [column[:-1] for column in found], malformed, joined


@given(RAW, st.sampled_from([1, 3, 7, 1 << 20]))
@example('a,"b\nc",d\n"e""f",g,h', 1)
@example('"a"b,c,d\r\na"b,c,"d', 3)
@example("\n\na,b\r\rc,d,e", 2)
@settings(deadline=None, max_examples=300)
def test_any_bytes_as_arrow_reads_them_wherever_blocks_end(text, block):
    assert ours(text.encode(), block) == arrows(text.encode())


@given(st.lists(st.tuples(FIELD, FIELD, FIELD), max_size=8), st.sampled_from([5, 1 << 20]))
@settings(deadline=None)
def test_what_is_written_is_read_again(rows, block):
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(rows)
    _, found, malformed, _ = ours(out.getvalue().encode(), block, (0, 1, 2))
    told = [[None if text in ("", "\\N") else text for text in column] for column in zip(*rows, strict=True)]
    assert (found if rows else [], malformed) == (told, [])


def test_malformed_rows_are_numbered_and_those_over_several_lines_told_apart():
    body = b'1,2,3\n1,2\n"a\nb",2\n\n1,2,3,4\n4,5,6'
    assert ours(body, 1 << 20) == ([2, 5, 7], [["1", None, "4"], ["3", None, "6"]], [3, 4, 6], [4])


def test_a_row_that_is_too_long_is_refused_at_the_row_before(monkeypatch):
    monkeypatch.setattr(csv_rows, "LONGEST_ROW", 20)
    assert ours(b'1,2,3\n"' + 30 * b"a" + b'",2,3\n', 10).startswith("a.csv, row 2: the row after this one is longer")


@given(st.lists(st.none() | st.text(st.sampled_from("ab é"), max_size=40), max_size=60))
@settings(deadline=None)
def test_distinct_texts_as_arrow_encodes_them(texts):
    mine, theirs = cells(texts).encoded(), pa.array(texts, pa.string()).dictionary_encode()
    assert mine.equals(theirs)


def test_more_distinct_texts_than_the_table_begins_with():
    texts = [f"{number % 5_000}-{'x' * (number % 17)}" for number in range(100_000)]
    assert cells(texts).encoded().equals(pa.array(texts).dictionary_encode())


@given(st.lists(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)), min_size=1, max_size=20))
@example([datetime(2000, 2, 29), datetime(1900, 2, 28), datetime(2024, 12, 31, 23, 59, 59), datetime(1, 1, 1)])
@settings(deadline=None)
def test_times_in_each_form_are_those_of_python(times):
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S"):
        told = [time.strftime(form).rjust(len(time.strftime(form)) + 4 - len(str(time.year)), "0") for time in times]
        told = [text[-len("2021-03-05T06:07:08Z") :] if len(text) > 20 else text for text in told]
        read, bad = columns.times(cells(told))
        assert not bad.any()
        assert read.tolist() == [datetime.strptime(text, form) for text in told]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2021-02-29", None),
        ("1900-02-29", None),
        ("2021-13-01", None),
        ("2021-03-05T24:00:00", None),
        ("2021-03-05T06:07:08+02:00", "2021-03-05T04:07:08"),
        (" 2021-03-05 ", "2021-03-05"),
        ("0000-01-01", None),
        ("20210305", None),
        ("2021-03-0x", None),
    ],
)
def test_what_the_loop_does_not_understand_is_read_as_before(text, seconds):
    read, bad = columns.times(cells(["2021-03-05", text, None]))
    before, bad_before = columns._other_times(pa.array(["2021-03-05", text, None]))
    assert bad.tolist() == bad_before.tolist() == [False, seconds is None, False]
    assert str(read[1]) == str(before[1]) == str(np.datetime64(seconds or "NaT", "s"))


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=4)))
@settings(deadline=None)
def test_numbers_are_the_nearest_there_are(numbers):
    told = [f"{number:f}" for number in numbers]
    read, bad = columns.numbers(cells(told))
    assert (read.tolist(), bad.any()) == ([float(text) for text in told], False)


@pytest.mark.parametrize(
    "texts",
    [["1e3", "7"], [".5"], [".5", "x"], ["nan", "-"], ["inf"], ["1" * 30, "-0.5"], ["1.", "+1"], ["NA", "", " 7"]],
)
def test_numbers_in_other_forms_are_read_as_before(texts):
    (read, bad), (before, bad_before) = columns.numbers(cells(texts)), columns._other_numbers(pa.array(texts))
    assert bad.tolist() == bad_before.tolist()
    assert np.array_equal(read, before, equal_nan=True)


def test_cells_of_an_array_are_those_of_the_array():
    array = pa.array(["a", None, "", "bc", "d"]).slice(1, 3)
    held = Cells.of(array)
    assert (held.array().to_pylist(), held.missing.tolist()) == ([None, "", "bc"], [True, False, False])


def test_a_time_that_is_no_text_is_told_with_its_place():
    texts = pa.array([b"2021-03-05", b"2021-03-06", b"2021-\xff"], pa.binary()).view(pa.string())
    with pytest.raises(columns.Unreadable) as told:
        columns.times(texts)
    assert told.value.index == 2


@pytest.mark.parametrize("text", ["a\0b", "a\x1ab"])
def test_where_bytes_are_no_text_is_told(text):
    with pytest.raises(columns.Unreadable) as told:
        columns.text(cells(["good", None, text]))
    assert told.value.index == 2


def test_a_dictionary_of_a_whole_file_is_cut_to_what_is_there():
    whole = pa.array(["unused", " a", "a", None, "b"]).dictionary_encode()
    read = columns.text(whole.slice(1))
    assert (read.to_pylist(), read.dictionary.to_pylist()) == (["a", "a", None, "b"], ["a", "b"])


@given(st.lists(st.text(st.sampled_from("ab é"), max_size=20), unique=True), st.lists(st.text(st.sampled_from("ab é"))))
@settings(deadline=None)
def test_where_texts_stand_among_others(among, asked):
    places = TextIndex(pd.Series(among, dtype="str")).places(pd.Index([*asked, *among], dtype="str"))
    assert places.tolist() == [among.index(text) if text in among else -1 for text in [*asked, *among]]

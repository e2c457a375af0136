"""Cells to text, times and numbers: what is read, what is bad, and what is merely missing."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.loaders import columns

OTHERS = [["2020-01-01"], ["2020-01-01T00:00:00Z"], ["nonsense"], [None], []]  # the rest of a column must not matter


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2020-02-29", "2020-02-29T00:00:00"),
        ("2020-02-29T23:59:59", "2020-02-29T23:59:59"),
        (" 2020-02-29 ", "2020-02-29T00:00:00"),
        ("2020-02-29T10:00:00Z", "2020-02-29T10:00:00"),
        ("2020-02-29T10:00:00+02:00", "2020-02-29T08:00:00"),
        ("2020-02-29 10:00:00.123", "2020-02-29T10:00:00"),
        ("2020-02-29 10:00", "2020-02-29T10:00:00"),
        ("0101-01-01", "0101-01-01T00:00:00"),
        ("9999-12-31", "9999-12-31T00:00:00"),
    ],
)
@pytest.mark.parametrize("others", OTHERS)
def test_times(written, meant, others):
    for cells in (pa.array([written, *others]), pa.array([written, *others]).cast(pa.binary())):
        read, bad = columns.times(cells)
        assert (str(read[0]), bad[0]) == (meant, False)


@pytest.mark.parametrize(
    "written",
    [
        "2020-02-30",
        "2021-02-29",
        "2020-13-01",
        "2020-00-01",
        "0000-00-00",
        "-2020-01-01",
        "29.02.2020",
        "02/29/2020",
        "20200229",
        "2020-W09-6",
        "today",
        "1577836800",
        "2020-02-29T25:00:00",
        "9999-12-31T23:59:59-23:00",
        "2020-02-2٩",
    ],
)
@pytest.mark.parametrize("others", OTHERS)
def test_what_is_no_time(written, others):
    read, bad = columns.times(pa.array([written, *others]))
    assert bad[0]
    assert np.isnat(read[0])


@pytest.mark.parametrize(
    ("written", "meant"), [("1", 1.0), ("-1.5", -1.5), (" 2 ", 2.0), ("1e3", 1000.0), ("3.", 3.0), ("007", 7.0)]
)
@pytest.mark.parametrize("others", [["1"], ["nonsense"], [None], []])
def test_numbers(written, meant, others):
    read, bad = columns.numbers(pa.array([written, *others]))
    assert (read[0], bad[0]) == (meant, False)


@pytest.mark.parametrize(
    "written", ["1,5", "<5", "1e999", "inf", "-Infinity", "0x10", "1_000", "--1", "1 2", "\u0663", "1d"]
)
@pytest.mark.parametrize("others", [["1"], ["nonsense"], [None], []])
def test_what_is_no_number(written, others):
    read, bad = columns.numbers(pa.array([written, *others]))
    assert bad[0]
    assert np.isnan(read[0])


@pytest.mark.parametrize("word", [None, "NA", "NaN", "nan", " "])
@pytest.mark.parametrize("read", [columns.times, columns.numbers])
def test_missing_is_not_bad(word, read):
    values, bad = read(pa.array([word, "x", None]))
    assert list(bad) == [False, True, False]
    assert pd.isna(values).all()


@given(st.lists(st.none() | st.text(max_size=12)))
@settings(max_examples=80, deadline=None)
def test_text_comes_back_as_it_was_but_for_blanks_around_it(texts):
    texts = [text and text.replace("\0", "").replace("\x1a", "") for text in texts]
    half = len(texts) // 2
    chunks = [columns.text(pa.array(part, pa.string())) for part in (texts[:half], texts[half:])]
    back = columns.categorical(chunks)
    wanted = [None if text is None else text.strip() or None for text in texts]
    assert [None if pd.isna(value) else value for value in back] == wanted
    assert back.categories.is_unique


@given(st.lists(st.none() | st.text("-:TZ.+0123456789", max_size=25)))
@settings(max_examples=100, deadline=None)
def test_no_text_is_too_strange_for_a_time_or_a_number(texts):
    for read in (columns.times, columns.numbers):
        values, bad = read(pa.array(texts, pa.string()))
        assert len(values) == len(bad) == len(texts)
        assert pd.isna(values[bad]).all()


def test_per_distinct_is_asked_once_for_each_combination_in_use():
    asked = []

    def change(one: str | None, two: str | None) -> str | None:
        asked.append((one, two))
        return one and two and one + two

    frame = pd.DataFrame({"one": ["a", "a", None, "b", "c"], "two": ["x", "x", "y", "z", "x"]}).astype("category")
    changed = columns.per_distinct(change, frame["one"][:4], frame["two"][:4])
    assert asked == [("a", "x"), (None, "y"), ("b", "z")]  # c has no row
    assert list(changed.astype(object).where(changed.notna(), None)) == ["ax", "ax", None, "bz"]

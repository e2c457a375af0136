"""Whatever the bytes: an InputError, or records in which every row is accounted for. Never another exception."""

import contextlib
import gzip
import io
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.errors import InputError
from recommender.ingest_log import IngestLog
from recommender.loaders import csv_files, load
from recommender.loaders.tabular import Export

FIXTURES = Path(__file__).parents[1] / "fixtures"
TREATMENTS = (FIXTURES / "csv" / "treatments.csv").read_bytes()
PARQUET = io.BytesIO()
pd.read_csv(io.BytesIO(TREATMENTS), dtype=str).to_parquet(PARQUET)
WHOLE = {
    "treatments.csv": TREATMENTS,
    "treatments.csv.gz": gzip.compress(TREATMENTS),
    "treatments.parquet": PARQUET.getvalue(),
}
CELLS = st.sampled_from(
    ["1", "2", "A", "2020-01-01", "2019-12-31", "", " ", "x", '"', '"a,b"', '"a\nb"', "\xe9", "1e5", "drug"]
)
ROWS = st.lists(st.lists(CELLS, max_size=9).map(",".join), max_size=12).map("\n".join)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """One of the three forms of a real file, cut off and with some bytes changed."""
    name = draw(st.sampled_from(sorted(WHOLE)))
    content = bytearray(WHOLE[name][: draw(st.integers(0, len(WHOLE[name])))])
    for place, byte in draw(st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4)):
        if content:
            content[place % len(content)] = byte
    return name, bytes(content)


def read_alone(name: str, content: bytes) -> None:
    log = IngestLog()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        try:
            table = csv_files.TREATMENTS
            kept = Export(Path(folder), log).read(table)
        except InputError as error:
            assert error.file.endswith(name)
            return
    log.count_kept(kept.file, len(kept.frame))
    log.check()
    assert kept.frame["row"].is_unique
    assert kept.frame["row"].is_monotonic_increasing


@given(damaged())
@settings(max_examples=150, deadline=None)
def test_damaged_files(file):
    read_alone(*file)


@given(st.sampled_from(sorted(WHOLE)), st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_arbitrary_bytes(name, content):
    read_alone(name, content)
    read_alone("treatments.csv", b"patient_id,code,start,name\n" + content)
    read_alone("treatments.csv", gzip.compress(b"patient_id,code,start,name\n" + content))


@given(ROWS)
@settings(max_examples=100, deadline=None)
def test_arbitrary_rows_are_numbered_like_their_records(rows):
    content = ("patient_id,code,start,name\n" + rows).encode()
    read_alone("treatments.csv", content)


@pytest.mark.parametrize("source", ["csv", "mimic", "synthea"])
@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_arbitrary_cells_in_a_whole_export(source, data):
    """A file of the fixture gets some of its cells exchanged for others of the same file."""
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(FIXTURES.joinpath(source).rglob("*.csv"))
        for file in files:
            (Path(folder) / file.name).write_bytes(file.read_bytes())
        rows = pd.read_csv(file := data.draw(st.sampled_from(files)), dtype=str, skip_blank_lines=False)
        row, column = st.integers(0, len(rows) - 1), st.integers(0, rows.shape[1] - 1)
        for one, other in data.draw(st.lists(st.tuples(st.tuples(row, column), st.tuples(row, column)), max_size=8)):
            rows.iloc[one] = rows.iloc[other]
        rows.to_csv(Path(folder) / file.name, index=False)
        with contextlib.suppress(InputError):
            load(source, Path(folder), vocabulary=None).log.check()

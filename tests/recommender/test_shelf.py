"""Reading again what was read before: the same records, and only what changed is read."""

import gzip
import inspect
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.errors import EngineError, InputError
from recommender.loaders import load, parts, shelf
from recommender.loaders.shelf import Shelf
from recommender.records import SCHEMA, Records

PATIENTS = "patient_id,birth_date,sex\n" + "".join(f"P{n},19{n}0-01-01,F\n" for n in range(1, 5))
HEADER = "patient_id,code,name,start,stop,kind\n"
ONE = HEADER + (
    "P1,A,aspirin,2020-01-01,2020-02-01,drug\n"
    "P2,A,Aspirin,2020-01-02,,drug\n"
    "P1,A,aspirin,2020-01-01,2020-02-01,drug\n"  # repeats
    "P9,A,aspirin,2020-01-01,,drug\n"  # nobody
    "P3,B,biopsy,never,,procedure\n"  # no date
    "P3,B,biopsy,2020-03-01,,procedure\n"
)
TWO = HEADER + "P2,A,Aspirin,2020-01-02,,drug\nP4,C,colchicine,2020-05-01,2020-04-01,drug\nP4,A,Aspirin,2020-05-05,,\n"


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "patients.csv").write_text(PATIENTS)
    (folder / "treatments.000.csv").write_text(ONE)
    return folder


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read and not taken from the shelf."""
    read: list[str] = []
    original = Shelf.put

    def put(self, entry, parts, account):
        yield from original(self, entry, parts, account)
        read.extend(account.read)

    monkeypatch.setattr(Shelf, "put", put)
    return read


def same(one: Records, other: Records) -> None:
    for name in SCHEMA:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.log.as_dict() == other.log.as_dict()


def entries(cache: Path) -> list[str]:
    return sorted(path.suffix for path in cache.rglob("*") if path.is_file())


def test_a_second_run_reads_nothing_anew(export, tmp_path, anew):
    plain = load("csv", export, vocabulary=None)
    first = load("csv", export, vocabulary=None, cache=tmp_path / "cache")
    assert sorted(anew) == ["patients.csv", "treatments.000.csv"]
    anew.clear()
    second = load("csv", export, vocabulary=None, cache=tmp_path / "cache")
    assert anew == []
    same(plain, first)
    same(plain, second)
    assert plain.log.rejected("treatments.000.csv") == 3


def test_only_a_new_file_is_read_and_the_result_is_that_of_a_full_run(export, tmp_path, anew):
    load("csv", export, vocabulary=None, cache=tmp_path / "cache")
    anew.clear()
    (export / "treatments.001.csv.gz").write_bytes(gzip.compress(TWO.encode()))
    again = load("csv", export, vocabulary=None, cache=tmp_path / "cache")
    assert anew == ["treatments.001.csv.gz"]
    same(load("csv", export, vocabulary=None), again)
    # P2's aspirin stands in both files: the later one repeats it
    assert [(f.file, f.reason[:7], f.first_rows) for f in again.log.findings if "treatments.001" in f.file] == [
        ("treatments.001.csv.gz", "repeats", (2,)),
        ("treatments.001.csv.gz", "stop is", (3,)),
    ]


def test_a_changed_file_is_read_again_and_what_it_was_is_forgotten(export, tmp_path, anew):
    load("csv", export, vocabulary=None, cache=tmp_path / "cache")
    before, times = entries(tmp_path / "cache"), os.stat(export / "treatments.000.csv")
    anew.clear()
    (export / "treatments.000.csv").write_text(ONE.replace("P2,A", "P4,A"))  # of the same size and, see below, time
    os.utime(export / "treatments.000.csv", ns=(times.st_atime_ns, times.st_mtime_ns))
    again = load("csv", export, vocabulary=None, cache=tmp_path / "cache")
    assert anew == ["treatments.000.csv"]
    same(load("csv", export, vocabulary=None), again)
    assert entries(tmp_path / "cache") == before == [".arrows", ".arrows", ".json", ".json"]


def test_what_is_kept_is_found_again_by_declaration_and_reader_too(export, tmp_path, anew, monkeypatch):
    cache = tmp_path / "cache"
    load("csv", export, vocabulary=None, cache=cache)
    anew.clear()
    columns = tmp_path / "map.csv"
    columns.write_text("table,ours,theirs\ntreatments,group,kind\n")
    load("csv", export, vocabulary=None, columns=columns, cache=cache)
    assert anew == ["treatments.000.csv"]
    anew.clear()
    source = inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda module: source(module) + ("# changed" if module is parts else ""))
    shelf._reader.cache_clear()
    load("csv", export, vocabulary=None, columns=columns, cache=cache)
    assert sorted(anew) == ["patients.csv", "treatments.000.csv"]
    shelf._reader.cache_clear()


@pytest.mark.parametrize("suffix", [".arrows", ".json"])
@pytest.mark.parametrize("damage", [lambda old: old[: len(old) // 2], lambda old: old[:-9] + b"?" + old[-8:]])
def test_what_was_damaged_is_read_anew(export, tmp_path, anew, suffix, damage):
    cache = tmp_path / "cache"
    plain = load("csv", export, vocabulary=None, cache=cache)
    anew.clear()
    for path in cache.rglob(f"*{suffix}"):
        path.write_bytes(damage(path.read_bytes()))
    same(plain, load("csv", export, vocabulary=None, cache=cache))
    assert sorted(anew) == ["patients.csv", "treatments.000.csv"]
    anew.clear()
    same(plain, load("csv", export, vocabulary=None, cache=cache))
    assert anew == []


def test_a_run_that_fails_leaves_nothing_half(export, tmp_path, anew):
    (export / "treatments.001.csv").write_text(TWO + '"')
    with pytest.raises(InputError, match="never closed"):
        load("csv", export, vocabulary=None, cache=tmp_path / "cache")
    assert set(entries(tmp_path / "cache")) == {".arrows", ".json"}  # of the files before the broken one
    (export / "treatments.001.csv").write_text(TWO)
    anew.clear()
    load("csv", export, vocabulary=None, cache=tmp_path / "cache")
    assert "patients.csv" not in anew


def test_what_a_killed_run_left_is_removed_but_not_what_another_writes(export, tmp_path):
    cache = tmp_path / "cache"
    load("csv", export, vocabulary=None, cache=cache)
    (folder,) = cache.iterdir()
    (folder / "old.4711").write_bytes(b"")
    os.utime(folder / "old.4711", (0, 0))
    (folder / "now.4712").write_bytes(b"")
    load("csv", export, vocabulary=None, cache=cache)
    assert not (folder / "old.4711").exists()
    assert (folder / "now.4712").exists()


def test_only_the_owner_may_read_it(export, tmp_path):
    load("csv", export, vocabulary=None, cache=tmp_path / "cache")
    for path in (tmp_path / "cache", *(tmp_path / "cache").rglob("*")):
        assert path.stat().st_mode & 0o077 == 0


def test_two_exports_do_not_throw_out_each_other(export, tmp_path, anew):
    other = tmp_path / "other"
    shutil.copytree(export, other)
    (other / "treatments.000.csv").write_text(TWO)
    for folder in (export, other, export, other):
        load("csv", folder, vocabulary=None, cache=tmp_path / "cache")
    assert len(anew) == 4


def test_a_cache_that_cannot_be_written_to(export, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(EngineError, match="cannot be kept in"):
        load("csv", export, vocabulary=None, cache=tmp_path / "cache")


@given(rows=st.integers(1, 8), order=st.permutations(ONE.splitlines()[1:]), cached=st.booleans())
@settings(deadline=None, max_examples=40)
def test_how_many_rows_are_in_work_changes_nothing(rows, order, cached, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    (folder / "patients.csv").write_text(PATIENTS)
    (folder / "treatments-1.csv").write_text("\n".join([HEADER.strip(), *order]) + "\n")
    (folder / "treatments-2.csv").write_text(TWO)
    cache = tmp_path_factory.mktemp("cache") if cached else None
    same(load("csv", folder, vocabulary=None), load("csv", folder, vocabulary=None, rows=rows, cache=cache))

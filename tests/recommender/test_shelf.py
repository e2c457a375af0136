"""Reading again what was read before: the same records, and only what changed is read."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.errors import EngineError, InputError
from recommender.loaders import fhir_kept, load, shelf
from recommender.loaders.shelf import Shelf
from recommender.records import SCHEMA, Records
from recommender.sealing import Seal

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
        read.extend(account.read)  # the name of the file

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
    monkeypatch.setattr(shelf, "_reader", lambda: "of another version")
    load("csv", export, vocabulary=None, columns=columns, cache=cache)
    assert sorted(anew) == ["patients.csv", "treatments.000.csv"]


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


def test_a_file_that_cannot_be_read(export, tmp_path, monkeypatch):
    def digest(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shelf, "_digest", digest)
    with pytest.raises(InputError, match=r"patients\.csv: the file cannot be read: Permission denied"):
        load("csv", export, vocabulary=None, cache=tmp_path / "cache")


def test_a_cache_that_cannot_be_written_to(export, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(EngineError, match="cannot be kept in"):
        load("csv", export, vocabulary=None, cache=tmp_path / "cache")


@given(rows=st.integers(1, 8), order=st.permutations(ONE.splitlines()[1:]), cached=st.booleans())
@settings(deadline=None, max_examples=20)
def test_how_many_rows_are_in_work_changes_nothing(rows, order, cached, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    (folder / "patients.csv").write_text(PATIENTS)
    (folder / "treatments-1.csv").write_text("\n".join([HEADER.strip(), *order]) + "\n")
    (folder / "treatments-2.csv").write_text(TWO)
    cache = tmp_path_factory.mktemp("cache") if cached else None
    same(load("csv", folder, vocabulary=None), load("csv", folder, vocabulary=None, rows=rows, cache=cache))


# --- FHIR -------------------------------------------------------------------------------------------------------------


def ndjson(path: Path, *resources: dict | str) -> None:
    lines = (each if isinstance(each, str) else json.dumps(each) for each in resources)
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def order(number: int, patient: str = "p1", drug: str = "aspirin", written: str = "2020-01-01T00:00:00Z") -> dict:
    return {
        "resourceType": "MedicationRequest",
        "id": f"r{number}",
        "meta": {"lastUpdated": written},
        "status": "completed",
        "medicationReference": {"reference": f"Medication/{drug}"},
        "encounter": {"reference": "Encounter/e1"},
        "subject": {"reference": f"Patient/{patient}"},
    }


def medication(drug: str) -> dict:
    return {"resourceType": "Medication", "id": drug, "code": {"text": drug}}


@pytest.fixture
def bulk(tmp_path: Path) -> Path:
    """A first night: three orders whose Medication and date stand in other files; one of them is not JSON's."""
    folder = tmp_path / "bulk"
    folder.mkdir()
    ndjson(folder / "Patient.000.ndjson", *({"resourceType": "Patient", "id": f"p{n}"} for n in (1, 2)))
    period = {"start": "2020-05-01", "end": "2020-05-03"}
    ndjson(folder / "Encounter.000.ndjson", {"resourceType": "Encounter", "id": "e1", "period": period})
    ndjson(folder / "Medication.000.ndjson", medication("aspirin"), {"resourceType": "Claim"})
    ndjson(folder / "MedicationRequest.000.ndjson", order(1), order(2, "p2"), "{", order(3, "p2", drug="heparin"))
    return folder


def drugs(records: Records) -> list[tuple[str, str]]:
    people = records.patients["patient_id"].iloc[records.treatments["patient_ix"]]
    codes = records.concepts["code"].iloc[records.treatments["concept_ix"]]
    return sorted(zip(people, codes, strict=True))


def load_twice(folder: Path, cache: Path) -> Records:
    """With the shelf and without: the same."""
    records = load("fhir", folder, vocabulary=None, cache=cache)
    same(load("fhir", folder, vocabulary=None), records)
    return records


def test_fhir_is_not_parsed_again(bulk, tmp_path, anew):
    first = load_twice(bulk, tmp_path / "cache")
    assert sorted(anew) == [f"{n}.000.ndjson" for n in ("Encounter", "Medication", "MedicationRequest", "Patient")]
    assert drugs(first) == [("p1", "text:aspirin"), ("p2", "text:aspirin")]
    assert {(f.file, f.reason[:11], f.first_rows) for f in first.log.findings} == {
        ("Encounter.000.ndjson", "neither a c", (1,)),
        ("Medication.000.ndjson", "a type of r", (2,)),
        ("MedicationRequest.000.ndjson", "not a line ", (3,)),
        ("MedicationRequest.000.ndjson", "its Medicat", (4,)),
    }
    anew.clear()
    told: list[int] = []
    same(first, load("fhir", bulk, vocabulary=None, cache=tmp_path / "cache", progress=told.append))
    assert anew == []
    assert sum(told) == 9


def test_a_new_file_may_change_what_old_ones_mean(bulk, tmp_path, anew):
    """It has the Medication that was missing, a newer version of an order, and says what was deleted."""
    load("fhir", bulk, vocabulary=None, cache=tmp_path / "cache")
    anew.clear()
    ndjson(bulk / "Medication.001.ndjson.gz", medication("heparin"))
    newer = order(1, "p2", drug="heparin", written="2020-02-01T00:00:00Z")
    ndjson(bulk / "MedicationRequest.001.ndjson", newer, order(9, written="2019-01-01T00:00:00Z"))
    records = load_twice(bulk, tmp_path / "cache")
    assert sorted(anew) == ["Medication.001.ndjson.gz", "MedicationRequest.001.ndjson"]
    assert drugs(records) == [
        ("p1", "text:aspirin"),
        ("p2", "text:aspirin"),
        ("p2", "text:heparin"),
    ]  # r9, r2, r3 or r1
    anew.clear()
    gone = [{"request": {"method": "DELETE", "url": f"MedicationRequest/{number}"}} for number in ("r2", "r9")]
    ndjson(bulk / "deleted.ndjson", {"resourceType": "Bundle", "type": "transaction", "entry": gone})
    (bulk / "manifest.json").write_text(json.dumps({"output": [{"type": "MedicationRequest", "count": 5}]}))
    records = load_twice(bulk, tmp_path / "cache")
    assert anew[0] == "deleted.ndjson"
    assert drugs(records) == [("p2", "text:heparin")]


def test_a_changed_file_of_resources_is_parsed_again(bulk, tmp_path, anew):
    load("fhir", bulk, vocabulary=None, cache=tmp_path / "cache")
    anew.clear()
    ndjson(bulk / "MedicationRequest.000.ndjson", order(1, "p2"))
    assert drugs(load_twice(bulk, tmp_path / "cache")) == [("p2", "text:aspirin")]
    assert anew == ["MedicationRequest.000.ndjson"]
    ndjson(bulk / "Empty.ndjson")
    assert drugs(load_twice(bulk, tmp_path / "cache")) == [("p2", "text:aspirin")]


def test_bundles_and_many_files(tmp_path, anew, monkeypatch):
    monkeypatch.setattr(fhir_kept, "MOST_FILES", 3)
    folder = tmp_path / "bundles"
    folder.mkdir()

    def write(number: int) -> None:
        entries = [{"resourceType": "Patient", "id": f"p{number}"}, order(number, f"p{number}"), {"resourceType": "No"}]
        bundle = {"resourceType": "Bundle", "entry": [{"resource": each} for each in entries]}
        (folder / f"{number}.json").write_text(json.dumps(bundle))

    period = {"start": "2020-05-01", "end": "2020-05-03"}
    encounter = {"resourceType": "Encounter", "id": "e1", "period": period}
    ndjson(folder / "all.ndjson", medication("aspirin"), encounter)
    for number in range(1, 5):
        write(number)
    load_twice(folder, tmp_path / "cache")
    anew.clear()
    write(5)
    records = load_twice(folder, tmp_path / "cache")
    assert len(anew) == 1
    assert len(records.treatments) == 5
    others = [f for f in records.log.findings if f.file == "other entries of 6 files (row: the file)"]
    assert [f.first_rows for f in others] == [(1, 2, 3, 4, 5)]


def test_a_run_that_was_killed_is_taken_up_where_it_was(bulk, tmp_path, anew):
    run = (
        "import os, sys; from pathlib import Path; from recommender.loaders import load\n"
        "told = lambda rows, files=[]: files.append(rows) or len(files) == 3 and os.kill(os.getpid(), 9)\n"
        "load('fhir', sys.argv[1], vocabulary=None, cache=Path(sys.argv[2]), progress=told)"
    )
    killed = subprocess.run([sys.executable, "-c", run, str(bulk), str(tmp_path / "cache")], check=False)
    assert killed.returncode == -9
    load_twice(bulk, tmp_path / "cache")
    files = {path.name for path in bulk.glob("*.ndjson")}
    assert set(anew) < files  # what was read before the end is not read again, in no fixed order


def test_what_is_kept_can_be_encrypted(export, tmp_path, anew):
    """A second run reads nothing anew, nobody reads a name in it, and with another secret the files are read anew."""
    cache, seal = tmp_path / "cache", Seal(tmp_path, 1, lambda _: b"k" * 32)
    load("csv", export, vocabulary=None, cache=cache)  # what lay there in clear goes
    first = load("csv", export, vocabulary=None, cache=cache, seal=seal)
    held = b"".join(path.read_bytes() for path in cache.rglob("*") if path.is_file())
    assert entries(cache) == [".arrows", ".arrows", ".json", ".json"]
    assert held.count(b"RXSEAL01") == 4 and b"aspirin" not in held and b"treatments" not in held
    anew.clear()
    second = load("csv", export, vocabulary=None, cache=cache, seal=seal)
    assert anew == []
    same(first, second)
    same(load("csv", export, vocabulary=None), second)
    (entry,) = list(cache.rglob("*.arrows"))[:1]
    entry.write_bytes(entry.read_bytes()[:-1])
    load("csv", export, vocabulary=None, cache=cache, seal=seal)
    assert len(anew) == 1
    anew.clear()
    same(first, load("csv", export, vocabulary=None, cache=cache, seal=Seal(tmp_path, 1, lambda _: b"z" * 32)))
    assert len(anew) == 2

"""Zips of an export: what is read of an honest one, and what a hostile or damaged one comes to."""

import io
import stat
import struct
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.errors import InputError
from recommender.loaders import archive, load
from recommender.loaders.archive import unpacked

TREATMENTS = b"patient_id,code\n1,a\n"


def zipped(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as out:
        for name, content in entries.items():
            out.writestr(name, content)
    return path


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path, monkeypatch):
    """Whatever happens in a test, the private folder is gone at its end."""
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    yield
    assert list(private.iterdir()) == []


def refused(path: Path) -> str:
    with pytest.raises(InputError) as told, unpacked(path):
        pytest.fail("it was unpacked")
    assert told.value.file == path.name
    return str(told.value)


def test_tables_lie_flat_and_the_rest_is_left(tmp_path):
    entries = {
        "export/deep/treatments.csv": TREATMENTS,
        "__MACOSX/export/deep/._treatments.csv": b"\0\5\26\7",
        "export/.DS_Store": b"",
        "export/read me.txt": b"hello",
        "export/": b"",
        "PATIENTS.CSV.GZ": b"x",
        "bulk/Patient.000.ndjson": b"{}",
    }
    with unpacked(zipped(tmp_path / "export.zip", entries)) as folder:
        assert folder.name == "export.zip"
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            "treatments.csv": TREATMENTS,
            "PATIENTS.CSV.GZ": b"x",
            "Patient.000.ndjson": b"{}",
        }


def test_any_source_reads_a_zip(tmp_path):
    path = zipped(tmp_path / "export.zip", {"a/treatments.csv": TREATMENTS})
    assert len(load("csv", path, vocabulary=None).treatments) == 1


def test_a_table_that_is_missing_is_told_with_the_name_of_the_zip(tmp_path):
    with pytest.raises(InputError, match=r"export\.zip: a table is missing"):
        load("csv", zipped(tmp_path / "export.zip", {"a.csv": TREATMENTS}), vocabulary=None)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../treatments.csv", "leads out of its folder"),
        ("a/../../treatments.csv", "leads out of its folder"),
        ("/etc/treatments.csv", "absolute path"),
        ("C:/treatments.csv", "absolute path"),
        ("..\\treatments.csv", "absolute path"),
        ("a\\treatments.csv", "absolute path"),
    ],
)
def test_paths_that_lead_elsewhere(tmp_path, name, says):
    path = zipped(tmp_path / "export.zip", {"treatments.csv": TREATMENTS, name: b"x"})
    assert says in refused(path)
    assert not (tmp_path / "treatments.csv").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices(tmp_path, kind):
    entry = zipfile.ZipInfo("treatments.csv")
    entry.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as out:
        out.writestr(entry, "/etc/passwd")
    assert "a link or a device" in refused(tmp_path / "export.zip")


def test_a_bomb_is_known_by_its_ratio(tmp_path):
    path = zipped(tmp_path / "bomb.zip", {"treatments.csv": bytes(archive.SMALL + 1)})  # 65 MB in 65 kB
    assert "unpacks to over 200 times its size" in refused(path)


def test_a_bomb_is_known_by_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: SimpleNamespace(free=archive.RESERVE + 99))
    path = zipped(tmp_path / "big.zip", {"a.csv": b"x" * 50, "b.csv": b"x" * 50})
    assert "more than the disk has room for" in refused(path)
    with unpacked(zipped(tmp_path / "small.zip", {"a.csv": b"x" * 99})):
        pass


def test_a_bomb_that_lies_about_its_size(tmp_path):
    """The directory says 10 bytes where 1 MB is packed: no more than 10 are written, and the zip is refused."""
    path = zipped(tmp_path / "liar.zip", {"treatments.csv": bytes(1 << 20)})
    packed = path.read_bytes()
    path.write_bytes(packed.replace(struct.pack("<L", 1 << 20), struct.pack("<L", 10)))
    assert "damaged" in refused(path)


def test_too_many_entries(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_ENTRIES", 2)
    assert "more than 2 entries" in refused(zipped(tmp_path / "many.zip", {f"{i}.csv": b"" for i in range(3)}))


def test_two_tables_of_one_name(tmp_path):
    path = zipped(tmp_path / "twice.zip", {"a/treatments.csv": TREATMENTS, "b/Treatments.csv": TREATMENTS})
    assert "treatments.csv is in the zip twice" in refused(path)


def test_encrypted(tmp_path):
    path = zipped(tmp_path / "secret.zip", {"treatments.csv": TREATMENTS}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[6] |= 1  # of the entry
    content[content.index(b"PK\1\2") + 8] |= 1  # of the directory
    path.write_bytes(content)
    assert "encrypted" in refused(path)


def test_cut_off(tmp_path):
    path = zipped(tmp_path / "short.zip", {"treatments.csv": TREATMENTS * 100})
    path.write_bytes(path.read_bytes()[:-30])
    assert "cut off or damaged" in refused(path)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_any_bytes(data):
    """A damaged zip is unpacked or refused; nothing else comes of it, and nothing is written outside."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a/treatments.csv", TREATMENTS * 5)
        out.writestr("patients.csv", b"patient_id\n1\n")
    content = bytearray(whole.getvalue())
    for place, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=5)
    ):
        content[place] = byte
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.zip"
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
        try:
            with unpacked(path) as tables:
                assert all(table.is_file() for table in tables.iterdir())
        except InputError as error:
            assert error.file == "export.zip"
        assert [p.name for p in Path(folder).iterdir()] == ["export.zip"]

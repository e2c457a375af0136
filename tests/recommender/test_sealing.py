"""Encrypted files against someone with an editor: the bytes come back, or an error that names the file does."""

import io
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender import sealing
from recommender.access import SiteSecret, seal_of
from recommender.errors import EngineError
from recommender.sealing import CHUNK, HEADER, TAG, Place, Seal, clear_size
from recommender.settings import Settings

KEYS = {1: b"a" * 32, 2: b"b" * 32}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "runs" / "one", Seal(tmp_path, 1, KEYS.__getitem__))


@pytest.fixture
def small(monkeypatch) -> int:
    """Chunks of 16 bytes, so that files of a few bytes have several."""
    monkeypatch.setattr(sealing, "CHUNK", 16)
    return 16


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5])
def test_the_bytes_come_back_and_are_nowhere_on_disk(place, size):
    content = np.random.default_rng(1).bytes(size)
    place.write("a", content)
    assert place.read("a") == content
    stored = (place.path / "a").read_bytes()
    # a header, and for each chunk, of which an empty file has one too, a tag
    assert len(stored) == HEADER + size + TAG * max(1, -(-size // CHUNK)) and clear_size(len(stored)) == size
    assert size < 9 or content[:8] not in stored
    assert (place.path / "a").stat().st_mode & 0o777 == 0o600


@given(pieces=st.lists(st.binary(max_size=50), max_size=8), reads=st.lists(st.integers(1, 40), min_size=1))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_however_it_is_written_and_read(place, small, pieces, reads):
    with place.writing("a") as out:
        for piece in pieces:
            assert out.write(piece) == len(piece)
    whole = b"".join(pieces)
    with place.reading("a") as file:
        found = b"".join(file.read(size) for size in reads)
        assert found + file.read() == whole
    assert place.read("a") == whole


def test_the_format_is_what_the_documentation_says(place):
    """Opened here by hand: whoever has the secret can do so without this program."""
    import hashlib
    import hmac

    place.write("x/b", b"chart")
    stored = (place.path / "x" / "b").read_bytes()
    assert stored[:8] == b"RXSEAL01" and struct.unpack(">I", stored[8:12]) == (1,)
    random = stored[12:44]
    assert stored[44:60] == hmac.new(KEYS[1], b"check" + random, hashlib.sha256).digest()[:16]
    key = hmac.new(KEYS[1], b"file" + random, hashlib.sha256).digest()
    bound = stored[:60] + b"runs/one/x/b"
    assert AESGCM(key).decrypt(b"\0" * 11 + b"\1", stored[60:], bound) == b"chart"


def altered(stored: bytes, how: str) -> bytes:
    head, body = stored[:HEADER], stored[HEADER:]
    chunks = [body[at : at + 32] for at in range(0, len(body), 32)]  # 16 bytes and a tag each
    if how == "a bit":
        return head + body[:40] + bytes([body[40] ^ 1]) + body[41:]
    if how == "the last bit":
        return stored[:-1] + bytes([stored[-1] ^ 1])
    if how == "reordered":
        return head + b"".join([chunks[1], chunks[0], *chunks[2:]])
    if how == "a chunk gone":
        return head + b"".join([chunks[0], *chunks[2:]])
    if how == "a chunk twice":
        return head + b"".join([chunks[0], chunks[0], *chunks[1:]])
    if how == "the last chunk gone":
        return head + b"".join(chunks[:-1])
    if how == "cut in a chunk":
        return stored[:-7]
    if how == "only a header":
        return head
    if how == "half a header":
        return head[:20]
    if how == "nothing":
        return b""
    if how == "in clear":
        return b"PAT-1,metformin"
    if how == "more behind it":
        return stored + b"x"
    raise AssertionError(how)


@pytest.mark.parametrize(
    "how",
    ["a bit", "the last bit", "reordered", "a chunk gone", "a chunk twice", "the last chunk gone", "cut in a chunk",
     "only a header", "half a header", "nothing", "in clear", "more behind it"],
)  # fmt: skip
def test_whatever_is_done_to_a_file_is_told_with_its_name(place, small, how):
    place.write("a", b"0123456789abcdef" * 3 + b"rest")
    file = place.path / "a"
    file.write_bytes(altered(file.read_bytes(), how))
    with pytest.raises(EngineError, match="runs/one/a ") as told:
        place.read("a")
    assert "0123" not in str(told.value) and "PAT-1" not in str(told.value)


def test_a_file_put_in_anothers_place_is_refused(place):
    place.write("a", b"chart of one")
    (place.path / "b").write_bytes((place.path / "a").read_bytes())
    with pytest.raises(EngineError, match="runs/one/b "):
        place.read("b")
    other = Place(place.path.parent / "two", place.seal)
    other.path.mkdir()
    (other.path / "a").write_bytes((place.path / "a").read_bytes())
    with pytest.raises(EngineError, match="runs/two/a "):
        other.read("a")


def test_a_file_that_was_being_written_when_all_ended_is_refused(place):
    with pytest.raises(RuntimeError), place.writing("a") as out:
        out.write(b"x" * 3 * CHUNK)
        raise RuntimeError
    with pytest.raises(EngineError, match="runs/one/a "):
        place.read("a")


def test_another_secret_is_told_from_an_altered_file(place, tmp_path):
    place.write("a", b"chart")
    with pytest.raises(EngineError, match="runs/one/a is encrypted under another secret"):
        Place(place.path, Seal(tmp_path, 1, lambda _: b"z" * 32)).read("a")


def test_with_the_sites_secret_after_rotation_and_without_it(tmp_path):
    site = Settings(workdir=tmp_path, encrypt_files=True)
    assert seal_of(Settings(workdir=tmp_path)) is None
    Place(tmp_path, seal_of(site)).write("a", b"chart")
    SiteSecret.rotate(tmp_path / "site.key")
    rotated = Place(tmp_path, seal_of(site))
    rotated.write("b", b"chart")
    assert rotated.read("a") == rotated.read("b") == b"chart"
    numbers = [struct.unpack(">I", (tmp_path / name).read_bytes()[8:12])[0] for name in "ab"]
    assert numbers == [1, 2]
    newest = (tmp_path / "site.key").read_text().splitlines()[0]
    (tmp_path / "site.key").write_text(newest + "\n")  # the old secret is thrown away
    with pytest.raises(EngineError, match="a cannot be read: the site's secret number 1 is not in its file"):
        Place(tmp_path, seal_of(site)).read("a")
    (tmp_path / "site.key").unlink()
    SiteSecret.load(tmp_path / "site.key"), SiteSecret.rotate(tmp_path / "site.key")
    with pytest.raises(EngineError, match="b is encrypted under another secret"):
        Place(tmp_path, seal_of(site)).read("b")


def test_the_same_twice_gives_nothing_in_common(place):
    place.write("a", b"chart" * 100)
    first = (place.path / "a").read_bytes()
    place.write("a", b"chart" * 100)
    second = (place.path / "a").read_bytes()
    assert first[HEADER : HEADER + 64] != second[HEADER : HEADER + 64]


def test_it_is_streamed(place, monkeypatch):
    """However large a file is, two chunks of it are in memory."""
    sizes = []
    original = sealing._Chunks.open
    monkeypatch.setattr(sealing._Chunks, "open", lambda *a, **k: sizes.append(len(a[1])) or original(*a, **k))
    with place.writing("a") as out:
        for _ in range(40):
            out.write(b"x" * (CHUNK // 4))
            assert len(out._held) <= CHUNK
    with place.reading("a") as file:
        assert file.read(10) == b"x" * 10
        assert len(sizes) <= 2 and max(sizes) == CHUNK + TAG


def test_arrow_and_numpy_write_and_read_through_it(place):
    table = pa.table({"a": np.arange(1000), "b": ["x"] * 1000})
    with place.writing("s") as out:
        for _ in range(2):
            with pa.ipc.new_stream(out, table.schema) as writer:
                writer.write_table(table)
    with place.reading("s") as file:
        for _ in range(2):
            assert pa.ipc.open_stream(file).read_all().equals(table)
        assert file.read() == b""
    array = np.arange(300_000.0).reshape(3, -1)
    with place.writing("n") as out:
        np.save(out, array)
    with place.reading("n") as file:
        assert np.array_equal(np.lib.format.read_array(file), array)
    assert np.array_equal(np.load(io.BytesIO(place.read("n"))), array)

"""A patient's bytes in, a file that nobody reads without the site's secret out, and the same bytes from it again.

    RXSEAL01 | number of the site's secret (4 bytes) | random (32) | check (16) | chunk | chunk | ... | last chunk

Chunks are AES-256-GCM of 1 MiB each, under a key of that file alone: HMAC-SHA-256 of its random bytes under the site's
secret. A chunk's nonce is its number and whether it is the last (STREAM: Hoang, Reyhanitabar, Rogaway & Vizar, CRYPTO
2015), and the header and the file's name in the working directory are authenticated with each. So a file that was
altered, cut off, put together anew, or put in another file's place, another run's too, is refused. `check` tells a
wrong secret from an altered file. A file is written and read chunk by chunk, never held whole here.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recommender.errors import EngineError

MAGIC = b"RXSEAL01"
RANDOM, CHECK, TAG = 32, 16, 16  # bytes
HEADER = len(MAGIC) + 4 + RANDOM + CHECK
CHUNK = 1 << 20  # bytes of the file in clear


@dataclass(frozen=True)
class Seal:
    """The sealing of one installation. `root`: its working directory, from which files have their names; `number`: of
    the secret that seals, and `key_of` a number gives its key; raises EngineError for one that is not there."""

    root: Path
    number: int
    key_of: Callable[[int], bytes]

    def name_of(self, file: Path) -> str:
        return file.resolve().relative_to(self.root.resolve()).as_posix()

    @contextlib.contextmanager
    def writing(self, out: IO[bytes], name: str) -> Iterator[IO[bytes]]:
        """To write the file `name` through, in clear. It is whole only where nothing was raised meanwhile."""
        random = os.urandom(RANDOM)
        site = self.key_of(self.number)
        header = MAGIC + struct.pack(">I", self.number) + random + _check(site, random)
        out.write(header)
        chunks = _Chunks(site, header, name)
        writer = _Writer(out, chunks)
        yield cast(IO[bytes], writer)
        writer.finish()

    def reading(self, sealed: IO[bytes], name: str) -> IO[bytes]:
        """The file `name` in clear. Raises EngineError, here or while it is read, for one that is not whole."""
        size = os.fstat(sealed.fileno()).st_size
        header = sealed.read(HEADER)
        if not header.startswith(MAGIC):
            raise EngineError(f"{name} is not encrypted, or is no file of ours: remove it, it is made anew")
        if len(header) < HEADER or size < HEADER + TAG:
            raise _cut_off(name)
        number = struct.unpack_from(">I", header, len(MAGIC))[0]
        try:
            site = self.key_of(number)
        except EngineError as error:
            raise EngineError(f"{name} cannot be read: {error}") from error
        random = header[-RANDOM - CHECK : -CHECK]
        if not hmac.compare_digest(header[-CHECK:], _check(site, random)):
            raise EngineError(f"{name} is encrypted under another secret than the site's: put that one back")
        return io.BufferedReader(_Reader(sealed, size - HEADER, _Chunks(site, header, name)), CHUNK)


def clear_size(size: int) -> int:
    """Bytes in clear of a sealed file of `size` bytes that is whole."""
    body = size - HEADER
    return body - TAG * -(-body // (CHUNK + TAG))


@dataclass(frozen=True)
class Place:
    """A folder whose files are sealed; or plain ones, where there is no seal. Files are their owner's alone."""

    path: Path
    seal: Seal | None = None

    def within(self, name: str) -> Place:
        return Place(self.path / name, self.seal)

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(file, "wb", opener=private) as out, self.through(out, name) as writer:
            yield writer

    def through(self, out: IO[bytes], name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """To write the file `name` with, which lies elsewhere until it is whole."""
        if self.seal is None:
            return contextlib.nullcontext(out)
        return self.seal.writing(out, self.seal.name_of(self.path / name))

    def write(self, name: str, content: bytes) -> None:
        with self.writing(name) as out:
            out.write(content)

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[IO[bytes]]:
        """Raises EngineError, here or while it is read, for a sealed file that is not whole."""
        file = self.path / name
        with file.open("rb") as stored:
            yield stored if self.seal is None else self.seal.reading(stored, self.seal.name_of(file))

    def read(self, name: str) -> bytes:
        with self.reading(name) as file:
            return file.read()

    def files(self) -> list[str]:
        return sorted(file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file())


def private(path: str, flags: int) -> int:
    """An opener for files that only their owner may read."""
    return os.open(path, flags, 0o600)


class _Chunks:
    """The chunks of one file, one way or the other."""

    def __init__(self, site: bytes, header: bytes, name: str) -> None:
        self.name = name
        self._aes = AESGCM(hmac.digest(site, b"file" + header[-RANDOM - CHECK : -CHECK], hashlib.sha256))
        self._bound = header + name.encode(errors="surrogateescape")
        self._number = 0

    def seal(self, clear: Any, last: bool) -> bytes:
        return self._aes.encrypt(self._nonce(last), clear, self._bound)

    def open(self, sealed: bytes, last: bool) -> bytes:
        try:
            return self._aes.decrypt(self._nonce(last), sealed, self._bound)
        except InvalidTag:
            raise EngineError(
                f"{self.name} is not what was written (altered, cut off, or of another place): remove it, then do this "
                "again"
            ) from None

    def _nonce(self, last: bool) -> bytes:
        nonce = self._number.to_bytes(11, "big") + bytes([last])
        self._number += 1
        return nonce


class _Writer(io.RawIOBase):
    def __init__(self, out: IO[bytes], chunks: _Chunks) -> None:
        self._out, self._chunks = out, chunks
        self._held = bytearray()  # at most a chunk: the last one must be known as such

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        clear = memoryview(content).cast("B")
        size = len(clear)
        while len(self._held) + len(clear) > CHUNK:
            room = CHUNK - len(self._held)
            if self._held:
                self._held += clear[:room]
                self._out.write(self._chunks.seal(self._held, last=False))
                self._held.clear()
            else:
                self._out.write(self._chunks.seal(clear[:room], last=False))
            clear = clear[room:]
        self._held += clear
        return size

    def finish(self) -> None:
        self._out.write(self._chunks.seal(self._held, last=True))
        self._held.clear()


class _Reader(io.RawIOBase):
    def __init__(self, sealed: IO[bytes], left: int, chunks: _Chunks) -> None:
        self._sealed, self._left, self._chunks = sealed, left, chunks
        self._clear = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self._clear and self._left:
            size = min(self._left, CHUNK + TAG)
            sealed = self._sealed.read(size)
            if len(sealed) < size:
                raise _cut_off(self._chunks.name)
            self._left -= size
            self._clear = memoryview(self._chunks.open(sealed, last=not self._left))
        count = min(len(into), len(self._clear))
        into[:count], self._clear = self._clear[:count], self._clear[count:]
        return count


def _check(site: bytes, random: bytes) -> bytes:
    return hmac.digest(site, b"check" + random, hashlib.sha256)[:CHECK]


def _cut_off(name: str) -> EngineError:
    return EngineError(f"{name} was cut off: remove it, then do this again")

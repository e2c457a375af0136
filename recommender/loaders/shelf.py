"""What was read of a file before in, the same tables and the same account again out, without reading the file anew.

A folder for one export. For each file and way of reading it, it holds what was read (Arrow batches, which are mapped
and not loaded) and the account of it. It is found again by the file's name, its bytes (SHA-256), what was asked for and
the source code that reads, so a change of any of them reads the file anew. Entries come into being whole, and what a
run did not use is removed at its end. It holds what the export holds, so only its owner may read it, and with a seal
nobody who has not the site's secret: then it is read batch by batch.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from recommender.errors import EngineError, InputError
from recommender.ingest_log import IngestLog
from recommender.memory import mapped
from recommender.sealing import Place, Seal, private

BATCHES, ACCOUNT = ".arrows", ".json"
LEFT_SECONDS = 86_400


class Shelf:
    """A folder of what was read before. Raises EngineError when it cannot be written to."""

    def __init__(self, folder: Path, seal: Seal | None = None) -> None:
        self._folder, self._place = folder, Place(folder, seal)
        self._used: set[str] = set()
        try:
            for owned in (folder.parent, folder):
                owned.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _refused(folder, error) from None

    def entry(self, path: Path, declared: str) -> Path:
        """Where what is read of a file stands, or will stand. `declared`: what is asked of it. Raises InputError."""
        try:
            content = _digest(path)
        except OSError as error:
            raise InputError(f"the file cannot be read: {error.strerror}", file=path.name) from None
        how = "\nsealed" if self._place.seal else ""
        name = hashlib.sha256(f"{path.name}\n{content}\n{declared}\n{_reader()}{how}".encode()).hexdigest()
        self._used.add(name)
        return self._folder / (name + BATCHES)

    def __contains__(self, entry: Path) -> bool:
        """Whether it is there, whole, as it was written, and to be read with the site's secret."""
        try:
            return bool(self._told(entry)["sha256"] == _digest(entry))
        except (OSError, ValueError, KeyError, TypeError, EngineError):
            return False

    def account(self, entry: Path) -> IngestLog:
        return IngestLog.from_dict(self._told(entry))

    def _told(self, entry: Path) -> dict[str, Any]:
        told = json.loads(self._place.read(entry.with_suffix(ACCOUNT).name))
        return dict(told)

    def batches(self, entry: Path) -> Iterator[pa.RecordBatch]:
        """The batches as they were put here."""
        if not entry.stat().st_size:  # nothing cannot be mapped
            return
        if self._place.seal is not None:
            with self._place.reading(entry.name) as clear:
                while clear.peek(1):  # type: ignore[attr-defined]
                    yield from pa.ipc.open_stream(clear)
            return
        with entry.open("r+b") as file:  # as a mapping that can be let go needs it
            whole = pa.BufferReader(pa.py_buffer(mapped(file)))
        while whole.tell() < whole.size():
            yield from pa.ipc.open_stream(whole)

    def put(self, entry: Path, read: Iterator[pa.RecordBatch], account: IngestLog) -> Iterator[pa.RecordBatch]:
        """The same batches, written down on the way. An entry is whole once its account, written last, is there."""
        unfinished = entry.with_suffix(f".{os.getpid()}")
        try:
            with open(unfinished, "xb", opener=private) as out, self._place.through(out, entry.name) as file:
                for batch in read:
                    with pa.ipc.new_stream(file, batch.schema) as writer:  # each has a schema of its own
                        writer.write_batch(batch)
                    yield batch
            unfinished.replace(entry)
            told = entry.with_suffix(ACCOUNT)
            with open(unfinished, "xb", opener=private) as out, self._place.through(out, told.name) as file:
                file.write(json.dumps({**account.as_dict(), "sha256": _digest(entry)}).encode())
            unfinished.replace(told)
        except OSError as error:
            raise _refused(self._folder, error) from None
        finally:
            unfinished.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what this run did not use, and what killed runs left; not what another run is just writing."""
        for path in self._folder.iterdir():
            finished = path.suffix in (BATCHES, ACCOUNT)
            if path.stem not in self._used if finished else path.stat().st_mtime < time.time() - LEFT_SECONDS:
                path.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refused(folder: Path, error: OSError) -> EngineError:
    return EngineError(f"what is read cannot be kept in {folder}: {error.strerror}")


@cache
def _reader() -> str:
    """A hash of the source code that decides what is read: all of this package, to be on the safe side."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()

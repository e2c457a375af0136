"""What was read of a file before in, the same parts and the same account again out, without reading the file anew.

A folder for one export. For each file and table declaration it holds the readable rows (an Arrow stream, which is
mapped and not loaded) and the account of the others. It is found again by the file's name, its bytes (SHA-256), the
declaration and the source code that reads, so a change of any of them reads the file anew. Entries come into being
whole, and what a run did not use is removed at its end. It holds what the export holds, so only its owner may read it.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import time
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from recommender.errors import EngineError
from recommender.ingest_log import IngestLog
from recommender.loaders import columns, files, parts
from recommender.loaders.parts import Column, Part, TableSpec

TIME = pa.timestamp("s")
ROWS, ACCOUNT = ".arrows", ".json"
LEFT_SECONDS = 86_400


class Shelf:
    """A folder of what was read before. Raises EngineError when it cannot be written to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used: set[str] = set()
        self.read_anew = 0
        try:
            for private in (folder.parent, folder):
                private.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _refused(folder, error) from None

    def entry(self, path: Path, spec: TableSpec) -> Path:
        """Where the rows of a file under this declaration stand, or will stand."""
        name = hashlib.sha256(f"{path.name}\n{_digest(path)}\n{_declared(spec)}\n{_reader()}".encode()).hexdigest()
        self._used.add(name)
        return self._folder / (name + ROWS)

    def __contains__(self, entry: Path) -> bool:
        """Whether it is there, whole, and as it was written."""
        try:
            return bool(json.loads(entry.with_suffix(ACCOUNT).read_bytes())["sha256"] == _digest(entry))
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def parts(self, entry: Path, log: IngestLog) -> Iterator[Part]:
        """The parts as they were put here; at their end, `log` has their account."""
        with pa.memory_map(str(entry)) as mapped:
            for batch in pa.ipc.open_stream(mapped):
                yield {name: _array(batch.column(name)) for name in batch.schema.names}
        log.absorb(IngestLog.from_dict(json.loads(entry.with_suffix(ACCOUNT).read_bytes())))

    def put(self, entry: Path, read: Iterator[Part], account: IngestLog) -> Iterator[Part]:
        """The same parts, written down on the way. An entry is whole once its account, written last, is there."""
        self.read_anew += 1
        unfinished = entry.with_suffix(f".{os.getpid()}")
        try:
            with open(unfinished, "xb", opener=_private) as file:
                writer = None
                for part in read:
                    batch = pa.record_batch({name: _arrow(values) for name, values in part.items()})
                    writer = writer or pa.ipc.new_stream(file, batch.schema)
                    writer.write_batch(batch)
                    yield part
                if writer is None:
                    return
                writer.close()
            unfinished.replace(entry)
            with open(unfinished, "x", opener=_private) as file:
                json.dump({**account.as_dict(), "sha256": _digest(entry)}, file)
            unfinished.replace(entry.with_suffix(ACCOUNT))
        except OSError as error:
            raise _refused(self._folder, error) from None
        finally:
            unfinished.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what this run did not use, and what killed runs left; not what another run is just writing."""
        for path in self._folder.iterdir():
            finished = path.suffix in (ROWS, ACCOUNT)
            if path.stem not in self._used if finished else path.stat().st_mtime < time.time() - LEFT_SECONDS:
                path.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _refused(folder: Path, error: OSError) -> EngineError:
    return EngineError(f"what is read cannot be kept in {folder}: {error.strerror}")


def _arrow(values: Any) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, TIME if values.dtype.kind == "M" else None)


def _array(values: pa.Array) -> Any:
    return values if isinstance(values, pa.DictionaryArray) else values.to_numpy(zero_copy_only=False)


def _declared(spec: TableSpec) -> str:
    """The declaration as text, the same in every process."""

    def plain(column: Column) -> list[Any]:
        values = [getattr(column, field.name) for field in fields(column)]
        return [sorted(value) if isinstance(value, frozenset) else value for value in values]

    return json.dumps([spec.tabs, {ours: plain(column) for ours, column in spec.columns.items()}])


@cache
def _reader() -> str:
    """A hash of the source code that decides what is read."""
    digest = hashlib.sha256()
    for module in (columns, files, parts):
        digest.update(inspect.getsource(module).encode())
    return digest.hexdigest()

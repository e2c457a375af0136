"""The files of a FHIR export in; what each of them says, read now or before, and the names of their accounts, out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from recommender.ingest_log import IngestLog
from recommender.loaders.fhir_files import blocks
from recommender.loaders.fhir_read import Read, read_all
from recommender.loaders.tabular import Export

MOST_FILES = 64  # of more files than this, one account is kept for all, and the row of a finding is the file's number
DECLARED = "fhir"  # what is read of a file: always the same


class Files:
    """`names`: of the files, in order. `many`: too many for each to have an account of its own."""

    def __init__(self, export: Export, paths: Sequence[Path]) -> None:
        """What was read before is taken from the shelf, the others are read. Raises InputError."""
        self.names, self.many = [path.name for path in paths], len(paths) > MOST_FILES
        self._log, self._progress, self._shelf = export.log, export.progress, export.shelf
        self._entries = [self._shelf.entry(path, DECLARED) for path in paths] if self._shelf else []
        self._held: list[list[pa.RecordBatch]] = [[] for _ in paths]  # what no shelf keeps
        new: dict[int, Path] = {}
        for place, path in enumerate(paths):
            if self._shelf and self._entries[place] in self._shelf:
                account = self._shelf.account(self._entries[place])
                self._told(account.read[path.name])
                self._account(place, account)
            else:
                new[place] = path
        self._read(new)

    def _read(self, paths: dict[int, Path]) -> None:
        size = sum(path.stat().st_size for path in paths.values())
        found = read_all(itertools.chain.from_iterable(map(blocks, paths.values())), size)
        for place, (_, parts) in zip(paths, itertools.groupby(found, key=lambda read: read.file), strict=True):
            account = IngestLog()
            batches = self._tables(parts, account)
            if self._shelf:
                for _ in self._shelf.put(self._entries[place], batches, account):
                    pass
            else:
                self._held[place] += batches
            self._account(place, account)

    def _tables(self, parts: Iterable[Read], account: IngestLog) -> Iterator[pa.RecordBatch]:
        """`account` has all entries of the file as read, and those that are no resource of ours as rejected."""
        for part in parts:
            account.count_read(part.file, part.entries)
            for problem, rows in part.problems.items():
                account.add(part.file, "resource", problem, rows)
            self._told(part.entries)
            yield from part.tables

    def _told(self, entries: int) -> None:
        if self._progress:
            self._progress(entries)

    def _account(self, place: int, account: IngestLog) -> None:
        """What is a resource of ours is accounted for under its kind."""
        rejected = account.rejected(self.names[place])
        if not rejected:
            return
        if not self.many:
            self._log.count_read(self.names[place], rejected)
            self._log.absorb(replace(account, read={}))
            return
        file = f"other entries of {len(self.names):,} files (row: the file)"
        self._log.count_read(file, rejected)
        for found in account.findings:
            self._log.add(file, found.field, found.reason, np.full(found.count, place + 1))

    def batches(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Every table of every file, with the index of the file."""
        for place, held in enumerate(self._held):
            for batch in self._shelf.batches(self._entries[place]) if self._shelf else held:
                yield place, batch

    def accounts(self, frame: pd.DataFrame, what: str) -> Iterator[tuple[str, pd.DataFrame]]:
        """`frame` (file, row) by the name under which its rows are accounted for: the file, or all of many files."""
        if self.many:
            if len(frame):
                yield f"{what} of {len(self.names):,} files (row: the file)", frame.assign(row=frame["file"] + 1)
            return
        for place, part in frame.groupby("file"):
            yield self.names[place], part

"""The tables of all files in; which version of a resource counts out, where the export holds several or deletes it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import numpy as np
import pandas as pd
import pyarrow as pa

from recommender.loaders.fhir_table import rejected

Batches = Callable[[], Iterable[tuple[int, pa.RecordBatch]]]
"""The index of a file and a batch of it: all of the export, as often as it is asked for."""


class Versions:
    """The latest version of each resource: the one written last; of two at once, the one that is read last.

    To find it out takes 16 bytes for each resource; what is held then is only of those that stand there repeatedly.
    """

    def __init__(self, batches: Batches, deleted: Collection[int]) -> None:
        self._deleted = np.array(sorted(deleted), dtype=np.int64)
        ids = np.concatenate([np.empty(0, dtype=np.int64), *(_firsts(batch) for _, batch in _identified(batches))])
        ids.sort()
        repeated = pd.Index(np.unique(ids[1:][ids[1:] == ids[:-1]]))
        some = [np.empty((0, 4), dtype=np.int64)]
        for file, batch in _identified(batches) if len(repeated) else ():
            own, row, updated = (batch[name].to_numpy(zero_copy_only=False) for name in ("id", "row", "updated"))
            # a missing time is the smallest number
            versions = np.column_stack([own, updated.astype(np.int64), np.full(len(own), file), row])
            some.append(versions[repeated.get_indexer(own) >= 0])
        found = pd.DataFrame(np.concatenate(some), columns=["id", "updated", "file", "row"])
        latest = found.sort_values(list(found)).drop_duplicates("id", keep="last")
        self._known = pd.Index(latest["id"])
        self._file, self._row = (np.append(latest[name].to_numpy(), -1) for name in ("file", "row"))

    def counts(self, ids: np.ndarray, file: np.ndarray | int, row: np.ndarray) -> np.ndarray:
        """Which rows (n,) bool are of a version that counts."""
        return ~self._stale(ids, file, row) & ~np.isin(ids, self._deleted)

    def checked(self, frame: pd.DataFrame) -> pd.DataFrame:
        """`frame` (id, file, row, field, reason) with a reason for the rows that do not count."""
        ids, file, row = (frame[name].to_numpy() for name in ("id", "file", "row"))
        stale = self._stale(ids, file, row)
        frame = rejected(frame, stale, "id", "a later version of the same resource is in the export")
        return rejected(frame, np.isin(ids, self._deleted), "id", "deleted since, as the export itself says")

    def _stale(self, ids: np.ndarray, file: np.ndarray | int, row: np.ndarray) -> np.ndarray:
        place = self._known.get_indexer(pd.Index(ids))  # -1, the last one, where there is but one version
        return (place >= 0) & ((self._file[place] != file) | (self._row[place] != row))


def _identified(batches: Batches) -> Iterable[tuple[int, pa.RecordBatch]]:
    return ((file, batch) for file, batch in batches() if "updated" in batch.schema.names)


def _firsts(batch: pa.RecordBatch) -> np.ndarray:
    """The id of each resource, once: what it tells beyond its first value has it, too."""
    ids = batch["id"].to_numpy()
    return ids[batch["part"].to_numpy() == 0] if "part" in batch.schema.names else ids.copy()  # of mapped memory

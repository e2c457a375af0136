"""A `Snapshot` in, written into the store under its version and read back; nothing of it is served here.

It is sent under the publisher's token: one transaction with a look at it for some thousand patients at a time, so that
a run that was paused for too long and overtaken can write nothing more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import redis

from recommender.errors import EngineError, StoreCorrupt, StoreUnavailable
from recommender.packing import Words
from recommender.pseudonyms import NAME_BYTES, Pseudonyms
from recommender.redis_wire import hset_wire
from recommender.snapshot import Named, Snapshot, pack_release, unpack_entry, unpack_release
from recommender.store_index import Index, Listed, chunks

T = TypeVar("T")
BUCKET_PATIENTS = 32
CHUNK_PATIENTS = 2_048  # one transaction: the server pauses for about 2 ms
SAMPLE_PATIENTS = 64


@dataclass(frozen=True)
class Onto:
    """What an update leans on: a version, the names of its patients who are no more, and how many patients are new."""

    base: str
    gone: tuple[bytes, ...]
    new: int


class Publication:
    """One version on its way into the store, held by `token`."""

    def __init__(self, index: Index, pseudonyms: Pseudonyms, token: bytes) -> None:
        self._index, self._pseudonyms, self._token = index, pseudonyms, token

    def write(self, snapshot: Snapshot, onto: Onto | None, progress: Callable[[int], None] | None) -> None:
        """Write it, verify it, and list it as whole. When that fails, what was written is removed, and so is what a
        killed run left behind. Raises EngineError for a version that is there already, or has nothing to lean on."""
        version, listed = snapshot.release.version, self._index.listed()
        for name, other in listed.items():
            if not other.whole:
                self._index.remove(name, other)
        if version in listed and listed[version].whole:
            raise EngineError(f"version {version} is published already, and a version never changes: name a new one")
        of = self._planned(snapshot, onto, listed)
        try:
            self._index.list(self._token, version, of)
            self._send_release(snapshot)
            named = self._named(snapshot)
            self._send_entries(snapshot, of, named, progress)
            gone = onto.gone if onto else ()
            for names in chunks(gone):
                self._index.fenced(
                    self._token, *(("HSET", self._index.keys.bucket(version, of, name), name, b"") for name in names)
                )
            self._verify(snapshot, of, named, len(gone))
            self._index.list(self._token, version, dataclasses.replace(of, whole=True))
        except BaseException:
            with contextlib.suppress(redis.RedisError, StoreUnavailable):
                self._index.hold(self._token)  # after being overtaken, the name may be another run's
                self._index.remove(version, of)
            raise

    def _planned(self, snapshot: Snapshot, onto: Onto | None, listed: dict[str, Listed]) -> Listed:
        of = Listed(
            number=max((other.number for other in listed.values()), default=0) + 1,
            created=time.time(),
            patients=len(snapshot.patient_ids),
            buckets=max(1, -(-len(snapshot.patient_ids) // BUCKET_PATIENTS)),
            secret=self._pseudonyms.number,
            mark=self._pseudonyms.mark,
        )
        if onto is None:
            return of
        base = listed.get(onto.base)
        if base is None or not base.whole or base.base or base.mark != of.mark:
            raise EngineError(f"version {onto.base} is not one to be updated any more: publish all patients")
        patients = base.patients + onto.new - len(onto.gone)
        return dataclasses.replace(of, base=onto.base, buckets=base.buckets, patients=patients)

    def _named(self, snapshot: Snapshot) -> Named:
        ids = [patient_id.encode(errors="surrogatepass") for patient_id in snapshot.patient_ids]
        names = self._pseudonyms.names(ids)
        return Named(names, self._pseudonyms.seal(names, Words.of(ids)))

    def _send_release(self, snapshot: Snapshot) -> None:
        for asset in pack_release(snapshot.release).items():
            self._index.fenced(self._token, ("HSET", self._index.keys.assets(snapshot.release.version), *asset))

    def _send_entries(
        self, snapshot: Snapshot, of: Listed, named: Named, progress: Callable[[int], None] | None
    ) -> None:
        version, patients = snapshot.release.version, len(snapshot.patient_ids)
        buckets = named.names.view("<u4")[:, 0] % np.uint32(of.buckets)
        order = np.argsort(buckets, kind="stable")
        fields = Words(named.names.reshape(-1), np.arange(patients + 1) * NAME_BYTES)

        def chunk(start: int) -> tuple[memoryview, int, int]:
            who = order[start : start + CHUNK_PATIENTS]
            in_bucket, firsts = np.unique(buckets[who], return_index=True)
            keys = Words.of([self._index.keys.numbered(version, bucket).encode() for bucket in in_bucket.tolist()])
            sent = hset_wire(keys, np.append(firsts, len(who)), fields, who, snapshot.pack(who, named))
            return sent.data, len(in_bucket), len(who)

        for sent, commands, done in _one_ahead(chunk, range(0, patients, CHUNK_PATIENTS)):
            self._index.send(self._token, sent, commands)
            if progress:
                progress(done)

    def _verify(self, snapshot: Snapshot, of: Listed, named: Named, gone: int) -> None:
        """Read back what was sent: the assets, the number of patients, and patients spread over the whole."""
        version, patients, found = snapshot.release.version, len(snapshot.patient_ids), 0
        for keys in chunks(self._index.keys.buckets(version, of)):
            with self._index.client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hlen(key)
                found += sum(pipe.execute())
            self._index.hold(self._token)
        if found != patients + gone:
            raise StoreCorrupt(
                f"{patients + gone:,} patients were sent to the store and {found:,} are there: publish again"
            )
        unpack_release(version, self._index.assets(version))
        sizes = len(snapshot.release.index), len(snapshot.release.known.concepts)
        sample = np.unique(np.linspace(0, patients - 1, min(SAMPLE_PATIENTS, patients)).astype(np.int64))
        sent = snapshot.pack(sample, named)
        for place, patient_ix in enumerate(sample.tolist()):
            name = named.names[patient_ix].tobytes()
            value = self._index.client.hget(self._index.keys.bucket(version, of, name), name)
            unpack_entry(value or b"", version, name, *sizes)
            if value != sent[place]:
                raise StoreCorrupt(f"patient number {patient_ix:,} differs from what was sent: publish again")


def _one_ahead(make: Callable[[int], T], starts: Iterable[int]) -> Iterator[T]:
    """What `make` makes of each; the next one is in the making while one is used."""
    with ThreadPoolExecutor(1) as maker:
        ready = None
        for start in starts:
            following = maker.submit(make, start)
            if ready:
                yield ready.result()
            ready = following
        if ready:
            yield ready.result()

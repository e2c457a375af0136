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
from recommender.snapshot import Named, Release, Snapshot, pack_release, unpack_entry, unpack_release
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


@dataclass(frozen=True)
class Begun:
    """A version that any number of processes write: what each needs beside its patients. It holds keys of the site's
    secret."""

    version: str
    token: bytes
    of: Listed
    pseudonyms: Pseudonyms


class Publication:
    """One version on its way into the store, held by `token`."""

    def __init__(self, index: Index, pseudonyms: Pseudonyms, token: bytes) -> None:
        self._index, self._pseudonyms, self._token = index, pseudonyms, token

    def write(self, snapshot: Snapshot, onto: Onto | None, progress: Callable[[int], None] | None) -> None:
        """Write it, verify it, and list it as whole. When that fails, what was written is removed, and so is what a
        killed run left behind. Raises EngineError for a version that is there already, or has nothing to lean on."""
        version, patients = snapshot.release.version, len(snapshot.patient_ids)
        of = self._begin(snapshot.release, patients, onto)
        try:
            named = self._named(snapshot)
            self._send_entries(snapshot, of, named, progress)
            gone = onto.gone if onto else ()
            for names in chunks(gone):
                self._index.fenced(
                    self._token, *(("HSET", self._index.keys.bucket(version, of, name), name, b"") for name in names)
                )
            self._verify(version, of, patients + len(gone))
            self._verify_some(snapshot, of, named)
            self._index.list(self._token, version, dataclasses.replace(of, whole=True))
        except BaseException:
            self._remove(version, of)
            raise

    def begin(self, release: Release, n_patients: int) -> Begun:
        """A version of so many patients, for any number of processes to write. Raises EngineError as `write`."""
        of = self._begin(release, n_patients, None)
        return Begun(release.version, self._token, of, self._pseudonyms)

    def send(self, part: Snapshot, of: Listed) -> None:
        """Write some of the patients of a version that was begun, and read a few of them back. Once more writes the
        same again; once the version is finished, abandoned or overtaken nothing is written."""
        named = self._named(part)
        self._send_entries(part, of, named, None, alone=False)
        self._verify_some(part, of, named)

    def finish(self, version: str, of: Listed) -> None:
        """Mark a version whole that was begun, if every patient is there. Raises StoreCorrupt."""
        self._verify(version, of, of.patients)
        self._index.list(self._token, version, dataclasses.replace(of, whole=True))

    def abandon(self, version: str, of: Listed) -> None:
        """Remove a version that was begun. Processes that are still at it can write nothing more from now on."""
        with contextlib.suppress(redis.RedisError, StoreUnavailable):
            self._token = self._index.renewed(self._token)
            self._remove(version, of)
            self._index.leave(self._token)

    def _remove(self, version: str, of: Listed) -> None:
        with contextlib.suppress(redis.RedisError, StoreUnavailable):
            self._index.hold(self._token)  # after being overtaken, the name may be another run's
            self._index.remove(version, of)

    def _begin(self, release: Release, n_patients: int, onto: Onto | None) -> Listed:
        version, listed = release.version, self._index.listed()
        for name, other in listed.items():
            if not other.whole:
                self._index.remove(name, other)
        if version in listed and listed[version].whole:
            raise EngineError(f"version {version} is published already, and a version never changes: name a new one")
        of = self._planned(n_patients, onto, listed)
        try:
            self._index.list(self._token, version, of)
            for asset in pack_release(release).items():
                self._index.fenced(self._token, ("HSET", self._index.keys.assets(version), *asset))
        except BaseException:
            self._remove(version, of)
            raise
        return of

    def _planned(self, n_patients: int, onto: Onto | None, listed: dict[str, Listed]) -> Listed:
        of = Listed(
            number=max((other.number for other in listed.values()), default=0) + 1,
            created=time.time(),
            patients=n_patients,
            buckets=max(1, -(-n_patients // BUCKET_PATIENTS)),
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

    def _send_entries(
        self, snapshot: Snapshot, of: Listed, named: Named, progress: Callable[[int], None] | None, alone: bool = True
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
            self._index.send(self._token, sent, commands, alone)
            if progress:
                progress(done)

    def _verify(self, version: str, of: Listed, sent: int) -> None:
        """Read back what was sent: the assets, and the number of entries."""
        found = 0
        for keys in chunks(self._index.keys.buckets(version, of)):
            with self._index.client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hlen(key)
                found += sum(pipe.execute())
            self._index.hold(self._token)
        if found != sent:
            raise StoreCorrupt(f"{sent:,} patients were sent to the store and {found:,} are there: publish again")
        unpack_release(version, self._index.assets(version))

    def _verify_some(self, snapshot: Snapshot, of: Listed, named: Named) -> None:
        """Read back patients spread over the whole."""
        version, patients = snapshot.release.version, len(snapshot.patient_ids)
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

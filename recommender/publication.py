"""A `Snapshot` in, written into the store under its version and read back; nothing of it is served here.

It is sent under the publisher's token by some writers at once: one transaction with a look at the token for a thousand
patients at a time, so that a run that was paused for too long and overtaken can write nothing more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
import redis

from recommender.errors import EngineError, StoreCorrupt, StoreUnavailable
from recommender.pace import Pace
from recommender.packing import Room, Words
from recommender.pseudonyms import Pseudonyms, encoded
from recommender.redis_wire import hset_wire
from recommender.snapshot import FORMAT, Named, Packer, Release, Snapshot, pack_release, unpack_entry, unpack_release
from recommender.store_connection import Fence
from recommender.store_index import LOCK_SECONDS, Index, Listed, chunks

Submit = Callable[..., Future[Any]]
BUCKET_PATIENTS = 32
CHUNK_PATIENTS = 1_024  # one transaction: the server pauses for about 1 ms
WRITERS = 2  # and a transaction more under way
PROLONG_SECONDS = LOCK_SECONDS / 3  # longer than a transaction takes, which is done again when the token was prolonged
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


@dataclass(frozen=True)
class Lane:
    """One transaction at a time under way, and the memory that it stands in until it is answered."""

    fence: Fence
    room: Room


class Publication:
    """One version on its way into the store, held by `token`, `rate` patients a second (`Pace`)."""

    def __init__(self, index: Index, pseudonyms: Pseudonyms, token: bytes, rate: int = 0) -> None:
        self._index, self._pseudonyms, self._token, self._pace = index, pseudonyms, token, Pace(rate)
        self._due = 0.0  # when the token is to be prolonged

    def write(self, snapshot: Snapshot, onto: Onto | None, progress: Callable[[int], None] | None) -> None:
        """Write it, verify it, and list it as whole. When that fails, what was written is removed, and so is what a
        killed run left behind. Raises EngineError for a version that is there already, or has nothing to lean on."""
        version, patients = snapshot.release.version, len(snapshot.patient_ids)
        of = self._begin(snapshot.release, patients, onto)
        try:
            with self._writers() as submit:
                assets = submit(self._send_assets, snapshot.release)
                packer = self._packer(snapshot)
                self._send_entries(submit, version, of, packer, progress)
                n_assets = assets.result()
            gone = onto.gone if onto else ()
            for names in chunks(gone):
                self._index.fenced(
                    self._token, *(("HSET", self._index.keys.bucket(version, of, name), name, b"") for name in names)
                )
            self._verify(version, of, patients + len(gone))
            if self._index.entries([self._index.keys.assets(version)]) != n_assets:
                raise StoreCorrupt(f"assets of version {version} were sent to the store and are gone: publish again")
            self._verify_some(snapshot, of, packer)
            self._index.list(self._token, version, dataclasses.replace(of, whole=True))
        except BaseException:
            self._remove(version, of)
            raise

    def begin(self, release: Release, n_patients: int) -> Begun:
        """A version of so many patients, for any number of processes to write. Raises EngineError as `write`."""
        of = self._begin(release, n_patients, None)
        try:
            with self._writers() as submit:
                submit(self._send_assets, release).result()
        except BaseException:
            self._remove(release.version, of)
            raise
        return Begun(release.version, self._token, of, self._pseudonyms)

    def send(self, part: Snapshot, of: Listed) -> None:
        """Write some of the patients of a version that was begun, and read a few of them back. Once more writes the
        same again; once the version is finished, abandoned or overtaken nothing is written."""
        packer = self._packer(part)
        with self._writers() as submit:
            self._send_entries(submit, part.release.version, of, packer, None, prolong=False)
        self._verify_some(part, of, packer)

    def finish(self, version: str, of: Listed) -> None:
        """Mark a version whole that was begun, if every patient is there. Raises StoreCorrupt."""
        self._verify(version, of, of.patients)
        unpack_release(version, self._index.assets(version))
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
            format=FORMAT,
        )
        if onto is None:
            return of
        base = listed.get(onto.base)
        if base is None or not base.whole or base.base or base.mark != of.mark:
            raise EngineError(f"version {onto.base} is not one to be updated any more: publish all patients")
        patients = base.patients + onto.new - len(onto.gone)
        return dataclasses.replace(of, base=onto.base, buckets=base.buckets, patients=patients)

    def _send_assets(self, lane: Lane, release: Release) -> int:
        """And read them back; how many there are. Raises StoreCorrupt where they differ."""
        assets = pack_release(release)
        for name, asset in assets.items():
            self._index.send_asset(lane.fence, release.version, name, asset)
        self._index.settle(lane.fence)
        if self._index.assets(release.version) != assets:
            raise StoreCorrupt(f"the assets of version {release.version} differ from what was sent: publish again")
        return len(assets)

    def _packer(self, snapshot: Snapshot) -> Packer:
        ids = encoded(snapshot.patient_ids)
        names = self._pseudonyms.names(ids)
        return Packer(snapshot, Named(names, self._pseudonyms.seal(names, ids)))

    def _send_entries(
        self,
        submit: Submit,
        version: str,
        of: Listed,
        packer: Packer,
        progress: Callable[[int], None] | None,
        prolong: bool = True,
    ) -> None:
        """While one writer waits for the server, another packs: both sides are always at work."""
        names, patients = packer.names, len(packer.names)
        buckets = of.buckets_of(names)
        order = np.argsort(buckets, kind="stable")

        def send(lane: Lane, start: int) -> int:
            self._index.settle(lane.fence)  # what stands in its room is being sent until then
            who = order[start : start + CHUNK_PATIENTS]
            self._pace.wait(len(who))
            theirs = buckets[who]
            ends = np.concatenate([[0], np.flatnonzero(theirs[1:] != theirs[:-1]) + 1, [len(who)]])
            keys = [self._index.keys.numbered(version, bucket).encode() for bucket in theirs[ends[:-1]].tolist()]
            sizes, measured = packer.sizes(who)
            sent, starts = hset_wire(Words.of(keys), ends, names, who, sizes, lane.room)
            packer.write(sent, who, starts, sizes, measured)
            self._index.send(lane.fence, sent.data, len(keys))
            return len(who)

        for done in [submit(send, start) for start in range(0, patients, CHUNK_PATIENTS)]:
            sent = done.result()
            if prolong:
                self._prolong()
            if progress:
                progress(sent)

    def _prolong(self) -> None:
        """The token, where that is due."""
        if time.monotonic() > self._due:
            self._index.hold(self._token)
            self._due = time.monotonic() + PROLONG_SECONDS

    @contextlib.contextmanager
    def _writers(self) -> Iterator[Submit]:
        """What has several threads at work, each time with a lane of its own. In the end all that they sent is there;
        after the first failure nothing new is begun. However this ends, nobody is writing any more."""
        failed: list[BaseException] = []
        lanes: SimpleQueue[Lane] = SimpleQueue()  # so that the next one is that which waited longest for its answers

        def begin(work: Callable[..., Any], *of: object) -> Any:
            if failed:
                raise failed[0]
            lane = lanes.get()
            try:
                return work(lane, *of)
            except BaseException as error:
                failed.append(error)
                raise
            finally:
                lanes.put(lane)

        with contextlib.ExitStack() as fences:
            for _ in range(WRITERS + 1):
                lanes.put(Lane(fences.enter_context(self._index.fencing(self._token)), Room()))
            with ThreadPoolExecutor(WRITERS) as pool:
                try:
                    yield lambda work, *of: pool.submit(begin, work, *of)
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
            while not lanes.empty():
                self._index.settle(lanes.get().fence)

    def _verify(self, version: str, of: Listed, sent: int) -> None:
        """Whether so many entries are there."""
        found = 0
        for keys in chunks(self._index.keys.buckets(version, of)):
            found += self._index.entries(keys)
            self._prolong()
        if found != sent:
            raise StoreCorrupt(f"{sent:,} patients were sent to the store and {found:,} are there: publish again")

    def _verify_some(self, snapshot: Snapshot, of: Listed, packer: Packer) -> None:
        """Read back patients spread over the whole."""
        version, patients = snapshot.release.version, len(snapshot.patient_ids)
        sizes = len(snapshot.release.index), len(snapshot.release.known.concepts)
        sample = np.unique(np.linspace(0, patients - 1, min(SAMPLE_PATIENTS, patients)).astype(np.int64))
        names = [name.tobytes() for name in packer.names[sample]]
        with self._index.client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hget(self._index.keys.bucket(version, of, name), name)
            values = pipe.execute()
        sent = packer.pack(sample)
        for place, (patient_ix, name, value) in enumerate(zip(sample.tolist(), names, values, strict=True)):
            unpack_entry(value or b"", version, name, *sizes)
            if value != sent[place]:
                raise StoreCorrupt(f"patient number {patient_ix:,} differs from what was sent: publish again")

"""A `Snapshot` in, published to Redis under its version; the version being served and one patient's `Entry` out.

The only module that knows what stands in Redis, and under which keys (`_Keys`):

    {prefix}:current            the version being served: the one pointer that readers follow
    {prefix}:before             list of the versions served before it, latest first: what `rollback` goes back to
    {prefix}:versions           hash of version -> JSON: its number, creation time, patients, buckets, `whole`, `served`
    {prefix}:publishing         the token of the run that publishes now; gone soon after that run has died
    {prefix}:{version}:assets   hash of asset name -> bytes (`snapshot.pack_release`)
    {prefix}:{version}:p:{b}    hash of patient id -> packed entry, for the patients with crc32(id) % buckets == b

A version is written, read back, and only then marked whole; only a whole version can be served; what is served never
changes. Every write of a publication is one transaction with a look at the token, so a run that was paused for too long
and overtaken can write nothing more. About 32 patients a bucket keep Redis's compact form, where it is allowed (on a
server of your own set `hash-max-listpack-value 16384`; without it everything works and takes more memory).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import secrets
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
import orjson
import redis

from recommender.embedded_redis import EmbeddedRedis
from recommender.errors import (
    EngineError,
    NothingPublished,
    StoreCorrupt,
    StoreUnavailable,
    UnknownPatient,
    UnknownVersion,
)
from recommender.packing import CRC_TABLE, Words, crc32_of_each
from recommender.redis_wire import Command, hset_wire
from recommender.settings import Settings
from recommender.snapshot import Entry, Release, Snapshot, pack_release, unpack_entry, unpack_release
from recommender.store_connection import Client, Connection

T = TypeVar("T")
BUCKET_PATIENTS = 32
CHUNK_PATIENTS = 2_048  # one transaction: the server pauses for about 2 ms
CHUNK_KEYS = 256
SAMPLE_PATIENTS = 64
LOCK_SECONDS = 30  # a publisher that has not prolonged its token for so long is dead
PATIENCE_SECONDS = LOCK_SECONDS + 2.0  # so that a night can follow one that was killed
_OVERTAKEN = "this run stood still for too long and another may be publishing: nothing of it is served; try again"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class PublishedVersion:
    """One whole version in the store. `created` is UTC, by the clock of the machine that published it."""

    version: str
    created: datetime
    patients: int
    served: bool


class _Keys:
    """Every key that this engine uses."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.current = f"{prefix}:current"
        self.before = f"{prefix}:before"
        self.versions = f"{prefix}:versions"
        self.publishing = f"{prefix}:publishing"

    def assets(self, version: str) -> str:
        return f"{self.prefix}:{version}:assets"

    def buckets(self, version: str, of: _Listed) -> list[str]:
        return [self.numbered(version, bucket) for bucket in range(of.buckets)]

    def bucket(self, version: str, n_buckets: int, field: bytes) -> str:
        return self.numbered(version, zlib.crc32(field) % n_buckets)

    def numbered(self, version: str, bucket: int) -> str:
        return f"{self.prefix}:{version}:p:{bucket}"


@dataclass(frozen=True)
class _Listed:
    """What the index says of a version. `number` grows with every publication, so order needs no clock."""

    number: int
    created: float  # seconds since 1970
    patients: int
    buckets: int
    whole: bool = False
    served: bool = False


def open_store(settings: Settings) -> Store:
    """The server of `settings.redis_url`, or the embedded one of `settings.workdir`. Raises StoreUnavailable."""
    if not _NAME.fullmatch(settings.key_prefix.strip("{}")):
        raise EngineError("RXREC_KEY_PREFIX may hold letters, digits and ._+- only, with or without {} around it")
    embedded = None if settings.redis_url else EmbeddedRedis(settings.workdir)
    try:
        store = Store(embedded.url if embedded else settings.redis_url, settings, embedded)
        store.ping()
    except BaseException:
        if embedded:
            embedded.close()
        raise
    return store


class Store:
    """Safe to share between threads. Every method raises StoreUnavailable when the server cannot be used.

    `url` is the server's, for processes that this one starts; it may hold a password.
    """

    def __init__(self, url: str, settings: Settings, embedded: EmbeddedRedis | None = None) -> None:
        self.url = url
        self._connection = Connection(url, settings.key_prefix)
        self._client = self._connection.client
        self._embedded = embedded
        self._keep = max(2, settings.keep_versions)  # a request that began before the switch still reads the last one
        self._keys = _Keys(self._connection.prefix)
        self._buckets: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()
        if self._embedded:
            self._embedded.close()

    def ping(self) -> None:
        with self._connection.explained():
            self._client.ping()

    # --- reading -----------------------------------------------------------------------------------------------------

    def current(self) -> str:
        """The version being served. Raises NothingPublished."""
        with self._connection.explained():
            version = self._client.get(self._keys.current)
        if version is None:
            raise NothingPublished("nothing is published yet: run `rxrec nightly` first")
        return version.decode()

    def versions(self) -> list[PublishedVersion]:
        """The whole versions, newest first."""
        with self._connection.explained():
            listed, current = self._index(self._client), self._client.get(self._keys.current)
        return [
            PublishedVersion(name, datetime.fromtimestamp(of.created, UTC), of.patients, name.encode() == current)
            for name, of in listed.items()
            if of.whole
        ]

    def release(self, version: str) -> Release:
        """The shared part of a whole version; some megabytes, to be read once. Raises UnknownVersion, StoreCorrupt."""
        with self._connection.explained():
            self._buckets[version] = self._whole(self._client, version).buckets
            assets = self._assets(version)
        return unpack_release(version, assets)

    def entry(self, release: Release, patient_id: str) -> Entry:
        """One patient of a release. Raises UnknownPatient; UnknownVersion once it is retired; StoreCorrupt."""
        version, field = release.version, patient_id.encode(errors="surrogatepass")
        with self._connection.explained():
            if version not in self._buckets:
                self._buckets[version] = self._whole(self._client, version).buckets
            value = self._value(version, field)
            if value is None:
                self._whole(self._client, version)
                raise UnknownPatient(f"no patient of that id in version {version}")
        return unpack_entry(value, version, patient_id, len(release.index), len(release.known.concepts))

    def current_entry(self, release: Release, patient_id: str) -> Entry | None:
        """One patient of a release that is still the one being served, both asked in one journey; None where it is not,
        or has no such patient: `current` and `entry` tell which. Raises StoreCorrupt."""
        version, field = release.version, patient_id.encode(errors="surrogatepass")
        if version not in self._buckets:
            return None
        with self._connection.explained(), self._client.pipeline(transaction=False) as pipe:
            pipe.get(self._keys.current)
            pipe.hget(self._keys.bucket(version, self._buckets[version], field), field)
            current, value = pipe.execute()
        if current is None or current.decode() != version or value is None:
            return None
        return unpack_entry(value, version, patient_id, len(release.index), len(release.known.concepts))

    def entries(self, release: Release) -> Iterator[tuple[str, Entry]]:
        """Every patient of a release, CHUNK_KEYS buckets (some thousand patients) in memory at a time, in an order that
        is the same each time. Raises UnknownVersion where it is retired meanwhile; StoreCorrupt."""
        version, found = release.version, 0
        with self._connection.explained():
            of = self._whole(self._client, version)
        for keys in _chunks(self._keys.buckets(version, of)):
            with self._connection.explained(), self._client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hgetall(key)
                buckets = pipe.execute()
            for bucket in buckets:
                for field, value in sorted(bucket.items()):
                    patient_id = field.decode(errors="surrogatepass")
                    found += 1
                    yield (
                        patient_id,
                        unpack_entry(value, version, patient_id, len(release.index), len(release.known.concepts)),
                    )
        with self._connection.explained():
            self._whole(self._client, version)
        if found != of.patients:
            raise StoreCorrupt(f"version {version} has {of.patients:,} patients and {found:,} were found: publish anew")

    def _assets(self, version: str) -> dict[str, bytes]:
        return {name.decode(): asset for name, asset in self._client.hgetall(self._keys.assets(version)).items()}

    def _value(self, version: str, field: bytes) -> bytes | None:
        return self._client.hget(self._keys.bucket(version, self._buckets[version], field), field)

    # --- writing -----------------------------------------------------------------------------------------------------

    def publish(self, snapshot: Snapshot, progress: Callable[[int], None] | None = None) -> None:
        """Write and verify a new version, which is not served before `activate`. `progress`: patients newly written.

        When it fails, what it wrote is removed and the served version is as before; what a killed run left behind is
        removed by the next one.
        """
        version = snapshot.release.version
        if not _NAME.fullmatch(version):
            raise EngineError("a version's name may hold letters, digits and ._+- only, 100 at most")
        with self._connection.explained(), self._sole_publisher() as token:
            memory = self._client.info("memory")
            if memory["maxmemory"] and memory["maxmemory_policy"].startswith("allkeys"):
                raise StoreUnavailable(
                    f"the Redis server {self._connection.address} may throw away published patients when it runs out "
                    "of memory: set its maxmemory-policy to noeviction"
                )
            listed = self._index(self._client)
            for name, of in listed.items():
                if not of.whole:
                    self._remove(name, of)
            if version in listed and listed[version].whole:
                raise EngineError(
                    f"version {version} is published already, and a version never changes: name a new one"
                )
            of = _Listed(
                number=max((other.number for other in listed.values()), default=0) + 1,
                created=time.time(),
                patients=len(snapshot.patient_ids),
                buckets=max(1, -(-len(snapshot.patient_ids) // BUCKET_PATIENTS)),
            )
            try:
                self._list(token, version, of)
                self._write(token, snapshot, of, progress)
                self._verify(token, snapshot, of)
                self._list(token, version, dataclasses.replace(of, whole=True))
            except BaseException:
                with contextlib.suppress(redis.RedisError, StoreUnavailable):
                    self._hold(token)  # after being overtaken, the name may be another run's
                    self._remove(version, of)
                raise

    def activate(self, version: str) -> None:
        """Serve a whole version from now on, and retire those beyond `keep_versions`. Raises UnknownVersion.

        A version that another run overtook (published and served a later one) is refused: it would turn back the time.
        """

        def move(pipe: Client) -> None:
            of, served = self._whole(pipe, version), pipe.get(self._keys.current)
            if served is not None and not of.served and self._whole(pipe, served.decode()).number > of.number:
                raise EngineError(
                    f"version {version} was overtaken by {served.decode()}, published later: publish anew"
                )
            pipe.multi()
            if served != version.encode():
                pipe.set(self._keys.current, version)
                pipe.lrem(self._keys.before, 0, version)
                if served is not None:
                    pipe.lpush(self._keys.before, served)
                pipe.hset(self._keys.versions, version, orjson.dumps(dataclasses.replace(of, served=True)))

        with self._connection.explained():
            self._client.transaction(move, self._keys.versions, self._keys.current, self._keys.before)
            self._retire()
            self._save()

    def rollback(self) -> str:
        """Serve the version that was served before this one, and name it. Raises UnknownVersion when there is none."""

        def move(pipe: Client) -> str:
            earlier = pipe.lindex(self._keys.before, 0)
            if earlier is None:
                raise UnknownVersion("no version was served before this one: there is nothing to go back to")
            self._whole(pipe, earlier.decode())
            pipe.multi()
            pipe.set(self._keys.current, earlier)
            pipe.lpop(self._keys.before)
            return earlier.decode()

        with self._connection.explained():
            version = self._client.transaction(
                move, self._keys.versions, self._keys.current, self._keys.before, value_from_callable=True
            )
            self._save()
        return version

    def forget(self, patient_id: str) -> int:
        """Remove a patient's entry from every version; from how many. Raises StoreUnavailable while a run publishes."""
        field = patient_id.encode(errors="surrogatepass")

        def take(pipe: Client) -> int:
            listed = self._index(pipe)
            keys = {name: self._keys.bucket(name, of.buckets, field) for name, of in listed.items()}
            there = [name for name, key in keys.items() if pipe.hexists(key, field)]
            pipe.multi()
            for name in there:
                of = listed[name]
                pipe.hdel(keys[name], field)
                pipe.hset(self._keys.versions, name, orjson.dumps(dataclasses.replace(of, patients=of.patients - 1)))
            return len(there)

        with self._connection.explained(), self._sole_publisher():
            gone: int = self._client.transaction(take, self._keys.versions, value_from_callable=True)
            self._save()
        return gone

    def _write(self, token: bytes, snapshot: Snapshot, of: _Listed, progress: Callable[[int], None] | None) -> None:
        version = snapshot.release.version
        for asset in pack_release(snapshot.release).items():
            self._fenced(token, ("HSET", self._keys.assets(version), *asset))
        names = snapshot.names
        buckets = crc32_of_each(names.data, names.ptr, 0, CRC_TABLE) % of.buckets
        order = np.argsort(buckets, kind="stable")

        def chunk(start: int) -> tuple[memoryview, int, int]:
            who = order[start : start + CHUNK_PATIENTS]
            in_bucket, firsts = np.unique(buckets[who], return_index=True)
            keys = Words.of([self._keys.numbered(version, bucket).encode() for bucket in in_bucket.tolist()])
            sent = hset_wire(keys, np.append(firsts, len(who)), names, who, snapshot.pack(who))
            return sent.data, len(in_bucket), len(who)

        for sent, commands, patients in _one_ahead(chunk, range(0, of.patients, CHUNK_PATIENTS)):
            self._send(token, sent, commands)
            if progress:
                progress(patients)

    def _verify(self, token: bytes, snapshot: Snapshot, of: _Listed) -> None:
        """Read back what was sent: the assets, the number of patients, and patients spread over the whole."""
        version = snapshot.release.version
        found = 0
        for keys in _chunks(self._keys.buckets(version, of)):
            with self._client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hlen(key)
                found += sum(pipe.execute())
            self._hold(token)
        if found != of.patients:
            raise StoreCorrupt(
                f"{of.patients:,} patients were sent to the store and {found:,} are there: publish again"
            )
        self._buckets[version] = of.buckets
        unpack_release(version, self._assets(version))
        n_concepts = len(snapshot.release.known.concepts)
        sample = np.unique(np.linspace(0, of.patients - 1, min(SAMPLE_PATIENTS, of.patients)).astype(np.int64))
        for patient_ix, (patient_id, sent) in zip(sample, snapshot.packed(sample), strict=True):
            value = self._value(version, patient_id.encode())
            unpack_entry(value or b"", version, patient_id, len(snapshot.release.index), n_concepts)
            if value != sent:
                raise StoreCorrupt(f"patient number {patient_ix:,} differs from what was sent: publish again")

    def _retire(self) -> None:
        """Remove what is beyond `keep_versions`, but not what was published since: it may be about to be served."""

        def unlist(pipe: Client) -> dict[str, _Listed]:
            current = pipe.get(self._keys.current).decode()
            earlier = [name.decode() for name in pipe.lrange(self._keys.before, 0, -1)]
            whole = {name: of for name, of in self._index(pipe).items() if of.whole}
            ranked = dict.fromkeys([current, *earlier, *whole])
            kept = {*list(ranked)[: self._keep], *itertools.takewhile(lambda name: name != current, whole)}
            gone = {name: of for name, of in whole.items() if name not in kept}
            pipe.multi()
            for name, of in gone.items():
                pipe.hset(self._keys.versions, name, orjson.dumps(dataclasses.replace(of, whole=False)))
                pipe.lrem(self._keys.before, 0, name)
            return gone

        watched = (self._keys.versions, self._keys.current, self._keys.before)
        for name, of in self._client.transaction(unlist, *watched, value_from_callable=True).items():
            self._remove(name, of)

    def _remove(self, version: str, of: _Listed) -> None:
        """UNLINK a few keys at a time: requests are answered in between."""
        self._client.unlink(self._keys.assets(version))
        for keys in _chunks(self._keys.buckets(version, of)):
            self._client.unlink(*keys)
        self._client.hdel(self._keys.versions, version)

    def _save(self) -> None:
        """Put what the embedded server holds on disk, while it goes on answering."""
        if not self._embedded:
            return
        self._until_saved()
        with contextlib.suppress(redis.ResponseError):  # another process has just begun one, which includes our change
            self._client.bgsave()
        if self._until_saved() != "ok":
            raise StoreUnavailable("the change is served, but could not be written to disk: free disk space or memory")

    def _until_saved(self) -> str:
        while (state := self._client.info("persistence"))["rdb_bgsave_in_progress"]:
            time.sleep(0.01)
        return str(state["rdb_last_bgsave_status"])

    # --- the index and the publisher's token -------------------------------------------------------------------------

    def _index(self, client: Client) -> dict[str, _Listed]:  # newest first
        listed = {name.decode(): _listed(of) for name, of in client.hgetall(self._keys.versions).items()}
        return dict(sorted(listed.items(), key=lambda item: -item[1].number))

    def _whole(self, client: Client, version: str) -> _Listed:
        of = client.hget(self._keys.versions, version)
        if of is None or not _listed(of).whole:
            raise UnknownVersion(f"the store holds no whole version {version!r}: see `rxrec versions`")
        return _listed(of)

    def _list(self, token: bytes, version: str, of: _Listed) -> None:
        self._fenced(token, ("HSET", self._keys.versions, version, orjson.dumps(of)))

    @contextlib.contextmanager
    def _sole_publisher(self) -> Iterator[bytes]:
        token = secrets.token_hex(16).encode()
        patience = time.monotonic() + PATIENCE_SECONDS
        while not self._client.set(self._keys.publishing, token, nx=True, ex=LOCK_SECONDS):
            if time.monotonic() > patience:
                raise StoreUnavailable("another run is publishing at this moment: let it finish and try again")
            time.sleep(0.2)
        try:
            yield token
        finally:
            with contextlib.suppress(redis.RedisError, StoreUnavailable):
                self._hold(token)
                self._client.delete(self._keys.publishing)

    def _hold(self, token: bytes) -> None:
        """Prolong the token. Raises StoreUnavailable when it is not ours any more."""
        # no transaction, and nothing that needs memory: this is also done when the server is full
        self._client.expire(self._keys.publishing, LOCK_SECONDS)
        if self._client.get(self._keys.publishing) != token:
            raise StoreUnavailable(_OVERTAKEN)

    def _fenced(self, token: bytes, *commands: Command) -> None:
        """The commands in one transaction, done only if the token is still ours, which it also prolongs."""
        if not self._connection.fenced(self._keys.publishing, token, LOCK_SECONDS, commands):
            raise StoreUnavailable(_OVERTAKEN)

    def _send(self, token: bytes, sent: memoryview, commands: int) -> None:
        """As `_fenced`: a chunk of patients, as the bytes of so many commands."""
        if not self._connection.fenced_bytes(self._keys.publishing, token, LOCK_SECONDS, sent, commands):
            raise StoreUnavailable(_OVERTAKEN)


def _listed(value: bytes) -> _Listed:
    try:
        return _Listed(**orjson.loads(value))
    except (TypeError, ValueError) as error:
        raise StoreCorrupt("the store's index of versions is not ours: choose another RXREC_KEY_PREFIX") from error


def _chunks(keys: list[str]) -> Iterator[list[str]]:
    return (keys[start : start + CHUNK_KEYS] for start in range(0, len(keys), CHUNK_KEYS))


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

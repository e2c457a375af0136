"""A `Snapshot` in, published to Redis under its version; the version being served and one patient's `Entry` out.

What stands in Redis is told in `store_index.py`, how a version is written in `publication.py`. A version is written,
read back, and only then marked whole; only a whole version can be served; what is served never changes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import orjson
import redis

from recommender.access.secret import SiteSecret
from recommender.embedded_redis import EmbeddedRedis
from recommender.errors import (
    EngineError,
    NothingPublished,
    StoreCorrupt,
    StoreUnavailable,
    UnknownPatient,
    UnknownVersion,
)
from recommender.pseudonyms import Pseudonyms
from recommender.publication import Begun, Onto, Publication
from recommender.safety.charts import aged
from recommender.settings import Settings
from recommender.snapshot import FORMAT, Entry, Release, Snapshot, sealed_id, unpack_entry, unpack_release
from recommender.store_connection import Client, Connection
from recommender.store_index import Index, Listed, chunks

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
Named = tuple[bytes, bytes, str]  # a patient's name, its entry, and the version that this was written for


@dataclass(frozen=True)
class PublishedVersion:
    """One whole version in the store. `created` is UTC, by the clock of the machine that published it. base: of an
    update, the version that it leans on."""

    version: str
    created: datetime
    patients: int
    served: bool
    base: str = ""


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
        self._index = Index(self._connection)
        self._keys = self._index.keys
        self._embedded = embedded
        self._keep = max(2, settings.keep_versions)  # a request that began before the switch still reads the last one
        self._secret_file, self._rate = settings.secret_file, settings.publish_rate
        self._read: dict[str, tuple[Listed, Pseudonyms]] = {}

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
            listed, current = self._index.listed(), self._client.get(self._keys.current)
        return [
            PublishedVersion(
                name, datetime.fromtimestamp(of.created, UTC), of.patients, name.encode() == current, of.base
            )
            for name, of in listed.items()
            if of.whole
        ]

    def release(self, version: str) -> Release:
        """The shared part of a whole version; some megabytes, to be read once. Raises UnknownVersion, StoreCorrupt."""
        with self._connection.explained():
            self._named(version)
            assets = self._index.assets(version)
        return unpack_release(version, assets)

    def entry(self, release: Release, patient_id: str) -> Entry:
        """One patient of a release. Raises UnknownPatient; UnknownVersion once it is retired; StoreCorrupt."""
        version = release.version
        with self._connection.explained():
            of, pseudonyms = self._read.get(version) or self._named(version)
            name = pseudonyms.name(patient_id)
            found, written = self._client.hget(self._keys.bucket(version, of, name), name), version
            if found is None and of.base:
                found, written = self._client.hget(self._keys.bucket(of.base, of, name), name), of.base
            if not found:
                self._index.whole(version)
                if found is None or of.base:  # an empty entry of an update: who is no more
                    raise UnknownPatient(f"no patient of that id in version {version}")
        return _entry(release, name, found, written)

    def current_entry(
        self, release: Release, patient_id: str, beside: Sequence[str] = ()
    ) -> tuple[Entry, list[list[bytes]]] | None:
        """One patient of a release that is still the one being served, and the hashes under the keys `beside`, each as
        names and values in turn: all in one journey. None where the release is not served any more, or has no such
        patient: `current` and `entry` tell which. Raises StoreCorrupt."""
        version = release.version
        if version not in self._read:
            return None
        of, pseudonyms = self._read[version]
        name = pseudonyms.name(patient_id)
        sources = [version, of.base] if of.base else [version]
        with self._connection.explained():
            current, *found = self._connection.asked(
                ("GET", self._keys.current),
                *(("HGET", self._keys.bucket(source, of, name), name) for source in sources),
                *(("HGETALL", key) for key in beside),
            )
        there = ((value, at) for value, at in zip(found, sources, strict=False) if value is not None)
        value, written = next(there, (b"", ""))
        if current is None or current.decode() != version or not value:
            return None
        return _entry(release, name, value, written), found[len(sources) :]

    def entries(self, release: Release) -> Iterator[tuple[str, Entry]]:
        """Every patient of a release, CHUNK_KEYS buckets (some thousand patients) in memory at a time, in an order that
        is the same each time. Raises UnknownVersion where it is retired meanwhile; StoreCorrupt."""
        version = release.version
        with self._connection.explained():
            of, pseudonyms = self._named(version)
        found = 0
        for named in self._chunks(version, of):
            ids = pseudonyms.open([name for name, _, _ in named], [sealed_id(value) for _, value, _ in named])
            found += len(named)
            yield from zip(ids, (_entry(release, *one) for one in named), strict=True)
        with self._connection.explained():
            self._index.whole(version)
        if found != of.patients:
            raise StoreCorrupt(f"version {version} has {of.patients:,} patients and {found:,} were found: publish anew")

    def _named(self, version: str) -> tuple[Listed, Pseudonyms]:
        """What is listed of a whole version, and what its patients are named by. Raises UnknownVersion;
        StoreCorrupt for one of another program, StoreUnavailable where that is not of this site's secret: nobody would
        be found."""
        of = self._index.whole(version)
        _read_by_us(version, of)
        secret = SiteSecret.load(self._secret_file)
        pseudonyms = Pseudonyms(secret, of.secret if of.secret in secret.numbers else None)
        if pseudonyms.mark != of.mark:
            raise StoreUnavailable(
                f"the patients of version {version} are not named by this site's secret: give this process the file "
                "that the night had (RXREC_SECRET), or publish again"
            )
        self._read[version] = (of, pseudonyms)
        return of, pseudonyms

    def packed(self, version: str) -> Iterator[list[Named]]:
        """Every patient of a version as published, some thousand at a time."""
        with self._connection.explained():
            of, _ = self._named(version)
        yield from self._chunks(version, of)

    def pseudonyms(self, version: str) -> Pseudonyms:
        """What the patients of a version are named by. Raises as `_named`."""
        with self._connection.explained():
            return self._named(version)[1]

    def _chunks(self, version: str, of: Listed) -> Iterator[list[Named]]:
        """All patients of a version, by name."""
        for numbers in chunks(range(of.buckets)):
            with self._connection.explained(), self._client.pipeline(transaction=False) as pipe:
                for source in [of.base, version] if of.base else [version]:
                    for number in numbers:
                        pipe.hgetall(self._keys.numbered(source, number))
                buckets = pipe.execute()
            held: dict[bytes, tuple[bytes, str]] = {}
            for place, bucket in enumerate(buckets):
                written = of.base if of.base and place < len(numbers) else version
                held.update({name: (value, written) for name, value in bucket.items()})
            yield [(name, *of_it) for name, of_it in sorted(held.items()) if of_it[0] or not of.base]

    def why_not_onto(self, base: str) -> str:
        """Why nothing can lean on a version; "" where an update can."""
        with self._connection.explained():
            of = self._index.listed().get(base)
        if of is None or not of.whole or of.base:
            return f"version {base} is not in the store any more"
        newest = SiteSecret.load(self._secret_file)
        return "" if Pseudonyms(newest).mark == of.mark else "the site's secret was rotated"

    # --- writing -----------------------------------------------------------------------------------------------------

    def publish(
        self, snapshot: Snapshot, progress: Callable[[int], None] | None = None, onto: Onto | None = None
    ) -> None:
        """Write and verify a new version, which is not served before `activate`. `progress`: patients newly written.
        `onto`: the snapshot is an update and holds only patients who differ from that version's.

        When it fails, what it wrote is removed and the served version is as before; what a killed run left behind is
        removed by the next one.
        """
        with self._connection.explained(), self._index.sole_publisher() as token:
            self._publication(snapshot.release, token).write(snapshot, onto, progress)

    def _publication(self, release: Release, token: bytes) -> Publication:
        if not _NAME.fullmatch(release.version):
            raise EngineError("a version's name may hold letters, digits and ._+- only, 100 at most")
        memory = self._client.info("memory")
        if memory["maxmemory"] and memory["maxmemory_policy"].startswith("allkeys"):
            raise StoreUnavailable(
                f"the Redis server {self._connection.address} may throw away published patients when it runs out "
                "of memory: set its maxmemory-policy to noeviction"
            )
        return Publication(self._index, Pseudonyms(SiteSecret.load(self._secret_file)), token, self._rate)

    def begin(self, release: Release, n_patients: int) -> Begun:
        """A new version of so many patients, to be written in parts (`write_part`) by any number of processes. Nobody
        else publishes before `finish` or `abandon`, or until it was not prolonged for LOCK_SECONDS."""
        with self._connection.explained():
            token = self._index.take()
            try:
                return self._publication(release, token).begin(release, n_patients)
            except BaseException:
                self._index.leave(token)
                raise

    def write_part(self, begun: Begun, part: Snapshot) -> None:
        """Raises StoreUnavailable once the version is finished, abandoned or overtaken: then nothing is written."""
        with self._connection.explained():
            Publication(self._index, begun.pseudonyms, begun.token).send(part, begun.of)

    def prolong(self, begun: Begun) -> None:
        with self._connection.explained():
            self._index.hold(begun.token)

    def finish(self, begun: Begun) -> None:
        """The version is whole. Raises StoreCorrupt where a patient is missing."""
        with self._connection.explained():
            Publication(self._index, begun.pseudonyms, begun.token).finish(begun.version, begun.of)
            self._index.leave(begun.token)

    def abandon(self, begun: Begun) -> None:
        """Remove what was written of it; who is still writing can write nothing more."""
        with self._connection.explained():
            Publication(self._index, begun.pseudonyms, begun.token).abandon(begun.version, begun.of)

    def activate(self, version: str) -> None:
        """Serve a whole version from now on, and retire those beyond `keep_versions`. Raises UnknownVersion.

        A version that another run overtook (published and served a later one) is refused: it would turn back the time.
        """

        def move(pipe: Client) -> None:
            of, served = self._index.whole(version, pipe), pipe.get(self._keys.current)
            if served is not None and not of.served and self._index.whole(served.decode(), pipe).number > of.number:
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
            self._index.whole(earlier.decode(), pipe)
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
        """Remove a patient's entry from every version; from how many. Raises StoreUnavailable while a run publishes,
        StoreCorrupt while there is a version of an earlier program, in which nobody is found."""
        secret = SiteSecret.load(self._secret_file)
        names = {number: Pseudonyms(secret, number).name(patient_id) for number in secret.numbers}

        def take(pipe: Client) -> int:
            listed = self._index.listed(pipe)
            for name, of in listed.items():
                _read_by_us(name, of)
            listed = {name: of for name, of in listed.items() if of.secret in names}
            keys = {name: self._keys.bucket(name, of, names[of.secret]) for name, of in listed.items()}
            held = {name: pipe.hget(key, names[listed[name].secret]) for name, key in keys.items()}
            there = {
                name for name, of in listed.items() if held[name] or (held[name] is None and of.base and held[of.base])
            }
            pipe.multi()
            for name, of in listed.items():
                if held[name] is not None:
                    pipe.hdel(keys[name], names[of.secret])
                if name in there:
                    fewer = dataclasses.replace(of, patients=of.patients - 1)
                    pipe.hset(self._keys.versions, name, orjson.dumps(fewer))
            return len(there)

        with self._connection.explained(), self._index.sole_publisher():
            gone: int = self._client.transaction(take, self._keys.versions, value_from_callable=True)
            self._save()
        return gone

    def _retire(self) -> None:
        """Remove what is beyond `keep_versions`, but not what was published since: it may be about to be served."""

        def unlist(pipe: Client) -> dict[str, Listed]:
            current = pipe.get(self._keys.current).decode()
            earlier = [name.decode() for name in pipe.lrange(self._keys.before, 0, -1)]
            whole = {name: of for name, of in self._index.listed(pipe).items() if of.whole}
            ranked = dict.fromkeys([current, *earlier, *whole])
            kept = {*list(ranked)[: self._keep], *itertools.takewhile(lambda name: name != current, whole)}
            kept |= {whole[name].base for name in kept & whole.keys()}  # what an update leans on
            ours = {name for name, of in whole.items() if of.format == FORMAT}  # nobody reads the others any more
            gone = {name: of for name, of in whole.items() if name not in kept & ours | {current}}
            pipe.multi()
            for name, of in gone.items():
                pipe.hset(self._keys.versions, name, orjson.dumps(dataclasses.replace(of, whole=False)))
                pipe.lrem(self._keys.before, 0, name)
            return gone

        watched = (self._keys.versions, self._keys.current, self._keys.before)
        for name, of in self._client.transaction(unlist, *watched, value_from_callable=True).items():
            self._index.remove(name, of)

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


def _read_by_us(version: str, of: Listed) -> None:
    """Raises StoreCorrupt for a version that was written by another program."""
    if of.format != FORMAT:
        raise StoreCorrupt(f"version {version} is not in format {FORMAT}: publish again with `rxrec nightly`")


def _entry(release: Release, name: bytes, value: bytes, written: str) -> Entry:
    """The patient's entry, written for this version or for the one that it leans on; then aged by the time between."""
    entry = unpack_entry(value, written, name, len(release.index), len(release.known.concepts))
    if written == release.version:
        return entry
    return dataclasses.replace(entry, chart=aged(entry.chart, release.known, release.days_since_base))

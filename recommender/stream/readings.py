"""Observations in, each once; out to a group of consumers, and back as the newest of each patient and code.

Taking in is one step of Redis for each observation: it is known by its id and waits in the stream, or neither. What is
kept of a patient is, of each code, the observation with the greatest `order`: so neither the order of arrival nor a
repeat changes what is kept. What was told of a patient is written together with its events, and only if no observation
changed meanwhile (`settle`): so what is done twice tells nothing twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson

from recommender.errors import EngineError, StoreCorrupt
from recommender.observations import KEPT_DAYS, Event, Observation
from recommender.stream.place import Place
from recommender.stream.scripts import ADD, APPLY, DROP, SETTLE

GROUP = "watch"
SEEN_SECONDS = 86_400
GONE_SECONDS = 3_600
KEPT_SECONDS = (KEPT_DAYS + 1) * 86_400
BEAT_SECONDS = 60
MOST_WAITING = 1_000_000
MOST_DEAD = 10_000
MOST_EVENTS = 10_000
IDLE_MS = 10_000  # what a consumer has not dealt with for so long, another one takes
CHUNK = 250  # observations of one script: the server pauses for about 2 ms
Taken = Literal["new", "already", "conflict"]
_TAKEN: dict[int, Taken] = {1: "new", 0: "already", -1: "conflict"}


class Backlog(EngineError):
    """More observations wait than may: is `rxrec watch` running?"""


@dataclass(frozen=True)
class Waiting:
    """An observation in the stream, by whose id it is known there."""

    id: bytes
    who: str
    observation: Observation


@dataclass(frozen=True)
class Person:
    """What is kept of a patient. newest: code -> observation. told: what `settle` wrote last."""

    who: str
    patient_id: str
    revision: bytes
    newest: Mapping[str, Observation]
    told: bytes


@dataclass(frozen=True)
class Settlement:
    """What is now told of a person (`told`), with which events, and when to look again (None: not by itself), in
    milliseconds since 1970."""

    person: Person
    told: bytes
    events: tuple[Event, ...] = ()
    again: int | None = None


class Readings:
    """Every method raises StoreUnavailable when the server cannot be used."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._add, self._apply = place.script(ADD), place.script(APPLY)
        self._settle, self._drop = place.script(SETTLE), place.script(DROP)

    # --- taking in ---------------------------------------------------------------------------------------------------

    def add(self, observations: Sequence[Observation], most: int = MOST_WAITING) -> list[Taken]:
        """Of each, whether it is new, was taken in before, or has the id of another. Raises Backlog."""
        place, found = self.place, list[Taken]()
        for start in range(0, len(observations), CHUNK):
            keys, arguments = [place.waiting], list[Any]((most, SEEN_SECONDS))
            for one in observations[start : start + CHUNK]:
                keys.append(place.seen(one.id))
                arguments += [one.digest, *place.sealed(one.patient_id), _content(one)]
            with place.explained():
                answer = self._add(keys=keys, args=arguments)
            if answer == 0:
                raise Backlog(f"{most:,} observations wait to be looked at: is `rxrec watch` running?")
            found += [_TAKEN[one] for one in answer]
        return found

    def beat(self) -> None:
        """A consumer is at work."""
        with self.place.explained():
            self.place.client.set(self.place.watching, b"1", ex=BEAT_SECONDS)

    def is_watched(self) -> bool:
        """Whether a consumer was at work a moment ago: else there will be no event."""
        with self.place.explained():
            return bool(self.place.client.exists(self.place.watching))

    # --- the consumer ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """The group of consumers, from the first observation that waits; also when Redis was emptied meanwhile."""
        with self.place.explained():
            groups = self.place.client.exists(self.place.waiting) and self.place.client.xinfo_groups(self.place.waiting)
            if not any(one["name"] == GROUP.encode() for one in groups or ()):
                lua = "return redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')"
                self.place.client.eval(lua, 1, self.place.waiting, GROUP)  # two that begin at once: one of them is told

    def take(self, consumer: str, most: int, block_ms: int | None) -> list[Waiting]:
        """Observations that no consumer has had. block_ms: how long to wait for one; None: not at all."""
        with self.place.explained():
            found = self.place.client.xreadgroup(
                GROUP, consumer, {self.place.waiting: ">"}, count=most, block=block_ms or None
            )
        return [] if not found else self._waiting(found[0][1])

    def reclaim(self, consumer: str, most: int, idle_ms: int = IDLE_MS) -> list[Waiting]:
        """Observations that a consumer took and has not dealt with for long: it was killed, or failed."""
        with self.place.explained():
            found = self.place.client.xautoclaim(self.place.waiting, GROUP, consumer, idle_ms, "0-0", count=most)
        return self._waiting([(id_, fields) for id_, fields in found[1] if fields])

    def tries(self, taken: Sequence[Waiting]) -> dict[bytes, int]:
        """How often each was handed out."""
        if not taken:
            return {}
        with self.place.explained():
            pending = self.place.client.xpending_range(
                self.place.waiting, GROUP, min=taken[0].id, max=taken[-1].id, count=10 * len(taken)
            )
        return {one["message_id"]: one["times_delivered"] for one in pending}

    def done(self, taken: Sequence[Waiting]) -> None:
        """They are dealt with and wait no more."""
        if taken:
            ids = [one.id for one in taken]
            with self.place.explained(), self.place.client.pipeline() as pipe:
                pipe.xack(self.place.waiting, GROUP, *ids)
                pipe.xdel(self.place.waiting, *ids)
                pipe.execute()

    def bury(self, taken: Sequence[Waiting]) -> None:
        """They cannot be dealt with: kept apart, so that somebody can look."""
        with self.place.explained(), self.place.client.pipeline() as pipe:
            for one in taken:
                who, sealed = self.place.sealed(one.observation.patient_id)
                fields = {"w": who, "s": sealed, "o": _content(one.observation)}
                pipe.xadd(self.place.dead, fields, maxlen=MOST_DEAD, approximate=True)
                pipe.xack(self.place.waiting, GROUP, one.id)
                pipe.xdel(self.place.waiting, one.id)
            pipe.execute()

    def unbury(self) -> int:
        """Put those back that could not be dealt with; how many."""
        count = 0
        with self.place.explained():
            for id_, fields in self.place.client.xrange(self.place.dead):
                with self.place.client.pipeline() as pipe:
                    pipe.xadd(self.place.waiting, fields)
                    pipe.xdel(self.place.dead, id_)
                    pipe.execute()
                count += 1
        return count

    def counts(self) -> dict[str, int]:
        """How many wait, could not be dealt with, and of how many patients something is kept."""
        with self.place.explained(), self.place.client.pipeline(transaction=False) as pipe:
            pipe.xlen(self.place.waiting)
            pipe.xlen(self.place.dead)
            pipe.zcard(self.place.people)
            waiting, dead, people = pipe.execute()
        return {"waiting": waiting, "dead": dead, "patients": people}

    # --- what is kept of patients ------------------------------------------------------------------------------------

    def apply(self, observations: Sequence[Observation]) -> dict[str, Person]:
        """Keep what is newer than what is kept; patient id -> what is kept now. Nothing of who was just forgotten."""
        by: dict[str, list[Observation]] = {}
        for one in observations:
            by.setdefault(one.patient_id, []).append(one)
        place = self.place
        with place.explained(), place.client.pipeline(transaction=False) as pipe:
            for patient_id, theirs in by.items():
                who, sealed = place.sealed(patient_id)
                arguments: list[Any] = [who, sealed, KEPT_SECONDS]
                for one in theirs:
                    arguments += [one.code, _content(one)]
                self._apply(keys=[place.of(who), place.gone(who), place.people], args=arguments, client=pipe)
            answers = pipe.execute()
        found = {}
        for patient_id, answer in zip(by, answers, strict=True):
            fields = dict(zip(answer[::2], answer[1::2], strict=True))
            if fields:
                found[patient_id] = _person(place.who(patient_id), patient_id, fields)
        return found

    def newest(self, patient_ids: Sequence[str]) -> list[Mapping[str, Observation]]:
        """Of each patient, code -> observation. Also what was kept before the site's secret was changed."""
        keys = [self.kept_under(patient_id) for patient_id in patient_ids]
        with self.place.explained():
            answers = iter(self.place.connection.asked(*(("HGETALL", key) for theirs in keys for key in theirs)))
        return [
            self.newest_of(patient_id, [next(answers) for _ in theirs])
            for patient_id, theirs in zip(patient_ids, keys, strict=True)
        ]

    def kept_under(self, patient_id: str) -> list[str]:
        """The keys of the hashes that may hold something of a patient, for who reads them beside other things."""
        return [self.place.of(who) for who in self.place.whos(patient_id)]

    def newest_of(self, patient_id: str, hashes: Sequence[Sequence[bytes]]) -> Mapping[str, Observation]:
        """Code -> observation. hashes: what is under those keys, names and values in turn."""
        newest: dict[str, Observation] = {}
        for told in hashes:
            for code, one in _newest(zip(told[::2], told[1::2], strict=True), patient_id).items():
                if code not in newest or one.order > newest[code].order:
                    newest[code] = one
        return newest

    def person(self, patient_id: str) -> Person:
        who = self.place.who(patient_id)
        with self.place.explained():
            return _person(who, patient_id, self.place.client.hgetall(self.place.of(who)))

    def settle(self, settlements: Sequence[Settlement], deliver: bool) -> list[bool]:
        """Write what was told, and the events; of each False, and nothing of it, where the person has changed since it
        was read. deliver: by webhook too."""
        if not settlements:
            return []
        place = self.place
        with place.explained(), place.client.pipeline(transaction=False) as pipe:
            for one in settlements:
                person, due = one.person, one.events[0].at if deliver and one.events else ""
                again = "" if one.again is None else one.again
                who, sealed = place.sealed(person.patient_id)
                # where the secret was changed since it was read, the person is read anew, under the new name
                revision = person.revision if who == person.who else b""
                arguments = [who, revision, one.told, again, MOST_EVENTS, due, sealed]
                arguments += [orjson.dumps(_bare(event)) for event in one.events]
                keys = [place.of(person.who), place.later, place.events, place.due, place.deliveries]
                self._settle(keys=keys, args=arguments, client=pipe)
            return [bool(done) for done in pipe.execute()]

    def drop(self, person: Person, codes: Sequence[str]) -> bool:
        """Keep these no longer; False where the person has changed since it was read."""
        keys = [self.place.of(person.who), self.place.people, self.place.later]
        with self.place.explained():
            return bool(self._drop(keys=keys, args=[person.who, person.revision, *codes]))

    def due(self, now: int, most: int = 1_000) -> list[str]:
        """Patients who are to be looked at again by now."""
        with self.place.explained():
            found = self.place.client.zrange(self.place.later, 0, now, byscore=True, offset=0, num=most)
        return list(self._named(found))

    def not_later(self, patient_id: str) -> None:
        with self.place.explained():
            self.place.client.zrem(self.place.later, self.place.who(patient_id))

    def everyone(self) -> Iterator[str]:
        """Patients of whom something is kept."""
        with self.place.explained():
            found = self.place.client.zrange(self.place.people, 0, -1)
        for start in range(0, len(found), CHUNK):
            yield from self._named(found[start : start + CHUNK])

    def forget(self, patient_id: str) -> int:
        """Remove all that is kept or waits of a person, and every event; how many entries."""
        place, client, count = self.place, self.place.client, 0
        whos = place.whos(patient_id)
        with place.explained():
            for who in whos:
                client.set(place.gone(who), b"1", ex=GONE_SECONDS)
                count += client.delete(place.of(who))
                client.zrem(place.people, who)
                client.zrem(place.later, who)
            theirs = {who.encode() for who in whos}
            for stream in (place.waiting, place.dead, place.events):
                gone = [id_ for id_, fields in client.xrange(stream) if fields.get(b"w") in theirs]
                count += len(gone)
                for start in range(0, len(gone), CHUNK):
                    client.xdel(stream, *gone[start : start + CHUNK])
            for name in (place.deliveries, place.undelivered):
                for id_, kept in list(client.hscan_iter(name)):
                    if kept.split(b" ", 2)[1] in theirs:
                        client.hdel(name, id_)
                        client.zrem(place.due, id_)
                        count += 1
        return count

    def _named(self, whos: Sequence[bytes]) -> Iterator[str]:
        """Patient ids; one whose hash has ended, or that another secret sealed, is left out of the sets as well."""
        place, found = self.place, list[str]()
        with place.explained(), place.client.pipeline(transaction=False) as pipe:
            for who in whos:
                pipe.hget(place.of(who.decode()), "who")
            sealed = pipe.execute()
        for who, one in zip(whos, sealed, strict=True):
            with contextlib.suppress(StoreCorrupt):
                if one is not None:
                    found.append(place.unseal(one, who.decode()))
                    continue
            with place.explained():
                place.client.zrem(place.people, who)
                place.client.zrem(place.later, who)
        yield from found

    def _waiting(self, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[Waiting]:
        """Those that can be read; what cannot (another site's secret) is put apart as it is."""
        found = []
        for id_, fields in entries:
            try:
                who = fields[b"w"].decode()
                patient_id = self.place.unseal(fields[b"s"], who)
                found.append(Waiting(id_, who, _observation(fields[b"o"], patient_id)))
            except (KeyError, StoreCorrupt):
                with self.place.explained(), self.place.client.pipeline() as pipe:
                    pipe.xadd(self.place.dead, fields, maxlen=MOST_DEAD, approximate=True)
                    pipe.xack(self.place.waiting, GROUP, id_)
                    pipe.xdel(self.place.waiting, id_)
                    pipe.execute()
        return found


def _content(one: Observation) -> bytes:
    return one.order.encode() + orjson.dumps([one.id, one.code, one.name, one.value, one.unit, one.taken, one.arrived])


def _observation(content: bytes, patient_id: str) -> Observation:
    try:
        id_, code, name, value, unit, taken, arrived = orjson.loads(content[31:])
    except ValueError:
        raise StoreCorrupt("a reading in the stream is not ours: choose another RXREC_KEY_PREFIX") from None
    return Observation(id_, patient_id, code, name, float(value), unit, taken, arrived)


def _person(who: str, patient_id: str, fields: Mapping[bytes, bytes]) -> Person:
    newest = _newest(fields.items(), patient_id)
    return Person(who, patient_id, fields.get(b"rev", b""), newest, fields.get(b"told", b""))


def _newest(fields: Iterable[tuple[bytes, bytes]], patient_id: str) -> dict[str, Observation]:
    return {name[2:].decode(): _observation(value, patient_id) for name, value in fields if name[:2] == b"v:"}


def _bare(event: Event) -> dict[str, Any]:
    """An event without the patient, who is sealed beside it."""
    told = asdict(event)
    del told["patient_id"], told["id"], told["observation"]["patient_id"]
    return told

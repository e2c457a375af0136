"""Events out, in the order in which they were told: to who reads along, and to a webhook until it has taken them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from recommender.errors import StoreCorrupt
from recommender.observations import Alarm, Event, Observation
from recommender.stream.place import Place

LEASE_MS = 60_000  # what is being delivered is nobody else's for so long

# KEYS: due, deliveries. ARGV: now, until when it is ours, how many
_CLAIM = """
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])) do
  local kept = redis.call('HGET', KEYS[2], id)
  if kept then
    redis.call('ZADD', KEYS[1], ARGV[2], id)
    found[#found + 1] = id
    found[#found + 1] = kept
  else redis.call('ZREM', KEYS[1], id) end
end
return found
"""


@dataclass(frozen=True)
class Stored:
    """An event as it is kept. who: the patient's pseudonym."""

    who: str
    event: Event


@dataclass(frozen=True)
class Delivery:
    """An event to deliver. tries: how often it was tried before."""

    who: str
    tries: int
    event: Event


class Events:
    """Every method raises StoreUnavailable when the server cannot be used."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._claim = place.script(_CLAIM)

    def after(self, id_: str, most: int, block_ms: int | None = None) -> list[Stored]:
        """Those after the event of this id ("0": all that are kept), the oldest first. block_ms: how long to wait for
        one; None: not at all."""
        with self.place.explained():
            found = self.place.client.xread({self.place.events: id_}, count=most, block=block_ms)
        return [one for entry in found[0][1] if (one := self._stored(*entry))] if found else []

    def last(self) -> str:
        """The id of the newest; "0" where there is none."""
        with self.place.explained():
            found = self.place.client.xrevrange(self.place.events, count=1)
        return found[0][0].decode() if found else "0"

    def _stored(self, id_: bytes, fields: dict[bytes, bytes]) -> Stored | None:
        """None for one that was sealed with a secret that this site has no more: it must not hide the others."""
        who = fields[b"w"].decode()
        try:
            return Stored(who, _event(id_.decode(), self.place.unseal(fields[b"s"], who), fields[b"e"]))
        except StoreCorrupt:
            return None

    # --- by webhook --------------------------------------------------------------------------------------------------

    def claim(self, now: int, most: int) -> list[Delivery]:
        """What is due, for us alone until the lease ends: what a sender that was killed had is due again then."""
        with self.place.explained():
            found = self._claim(keys=[self.place.due, self.place.deliveries], args=[now, now + LEASE_MS, most])
        return self._deliveries(zip(found[::2], found[1::2], strict=True))

    def delivered(self, delivery: Delivery) -> None:
        with self.place.explained(), self.place.client.pipeline() as pipe:
            pipe.zrem(self.place.due, delivery.event.id)
            pipe.hdel(self.place.deliveries, delivery.event.id)
            pipe.execute()

    def failed(self, delivery: Delivery, again: int | None) -> None:
        """Try again at that time (milliseconds since 1970), or give it up (None): it is kept to be replayed."""
        id_ = delivery.event.id
        with self.place.explained():
            kept = self.place.client.hget(self.place.deliveries, id_)
            if kept is None:
                return  # forgotten meanwhile
            counted = b"%d %s" % (delivery.tries + 1, kept.partition(b" ")[2])
            with self.place.client.pipeline() as pipe:
                if again is None:
                    pipe.hset(self.place.undelivered, id_, counted)
                    pipe.zrem(self.place.due, id_)
                    pipe.hdel(self.place.deliveries, id_)
                else:
                    pipe.hset(self.place.deliveries, id_, counted)
                    pipe.zadd(self.place.due, {id_: again})
                pipe.execute()

    def undelivered(self) -> list[Delivery]:
        """What was given up, the oldest first."""
        with self.place.explained():
            found = self.place.client.hgetall(self.place.undelivered)
        return sorted(self._deliveries(found.items()), key=lambda one: _number(one.event.id))

    def replay(self, ids: Sequence[str] = ()) -> int:
        """Deliver again what was given up: these, or all; how many."""
        wanted = list(ids) or [one.event.id for one in self.undelivered()]
        count, now = 0, int(time.time() * 1000)
        with self.place.explained():
            for id_ in wanted:
                kept = self.place.client.hget(self.place.undelivered, id_)
                if kept is not None:
                    with self.place.client.pipeline() as pipe:
                        pipe.hset(self.place.deliveries, id_, b"0 " + kept.partition(b" ")[2])
                        pipe.zadd(self.place.due, {id_: now})
                        pipe.hdel(self.place.undelivered, id_)
                        pipe.execute()
                    count += 1
        return count

    def counts(self) -> dict[str, int]:
        with self.place.explained(), self.place.client.pipeline(transaction=False) as pipe:
            pipe.xlen(self.place.events)
            pipe.zcard(self.place.due)
            pipe.hlen(self.place.undelivered)
            events, due, dead = pipe.execute()
        return {"events": events, "due": due, "undelivered": dead}

    def _deliveries(self, kept: Iterable[tuple[bytes, bytes]]) -> list[Delivery]:
        found = []
        for id_, one in kept:
            tries, who, length, rest = one.split(b" ", 3)
            fields = {b"w": who, b"s": rest[: int(length)], b"e": rest[int(length) :]}
            if stored := self._stored(id_, fields):
                found.append(Delivery(stored.who, int(tries), stored.event))
        return found


def _event(id_: str, patient_id: str, content: bytes) -> Event:
    try:
        told: dict[str, Any] = orjson.loads(content)
        alarm, observation = Alarm(**told.pop("alarm")), Observation(patient_id=patient_id, **told.pop("observation"))
        return Event(id=id_, patient_id=patient_id, alarm=alarm, observation=observation, **told)
    except (TypeError, ValueError, KeyError):
        raise StoreCorrupt("an event in the stream is not ours: choose another RXREC_KEY_PREFIX") from None


def _number(id_: str) -> tuple[int, ...]:
    return tuple(map(int, id_.split("-")))

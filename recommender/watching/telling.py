"""What was told of a patient and what holds now in, what is news out: each change once, and no more than one can read.

What changes to and fro is told once and then no more for `quiet`; then what it is by then is told, if that is not what
was told last. Of one patient no more than `MOST_AN_HOUR` are told in an hour, the most severe first, the others later.
So nothing that lasts is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace

import orjson

from recommender.errors import StoreCorrupt
from recommender.observations import Alarm, Change, Event, Observation

MINUTE = 60_000  # milliseconds
HOUR = 60 * MINUTE
MOST_AN_HOUR = 12
SEVERITIES = ("contraindicated", "serious", "caution")


@dataclass(frozen=True)
class Told:
    """What was told of a patient. version: of the data that it was told of. alarms: key -> what was told to hold.
    last: key -> when something was told of it. sent: when events of this hour were. seen: what rules could see of the
    newest observations then, "" where they must be looked at in any case. Times in milliseconds since 1970."""

    version: str
    alarms: Mapping[str, Alarm] = field(default_factory=dict)
    last: Mapping[str, int] = field(default_factory=dict)
    sent: tuple[int, ...] = ()
    seen: str = ""

    def dumps(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def loads(cls, content: bytes) -> Told:
        try:
            told = orjson.loads(content)
            alarms = {key: Alarm(**alarm) for key, alarm in told["alarms"].items()}
            return cls(told["version"], alarms, told["last"], tuple(told["sent"]), told["seen"])
        except (TypeError, ValueError, KeyError):
            raise StoreCorrupt("what was told of a patient is not ours: choose another RXREC_KEY_PREFIX") from None


def begun(version: str, published: Iterable[Alarm], before: Told | None = None) -> Told:
    """What counts as told when a version is new: all that its own charts say, and what was told before it."""
    alarms = {one.key: one for one in published}
    if before is None:
        return Told(version, alarms)
    return replace(before, version=version, alarms={**alarms, **before.alarms}, seen="")


def news(
    told: Told, holding: Iterable[Alarm], patient_id: str, because_of: Observation, now: int, quiet: int
) -> tuple[Told, tuple[Event, ...], int | None]:
    """What was told then, the events, and when to look again for what had to wait (None: nothing had to).

    because_of: the newest observation that was looked at. quiet: milliseconds.
    """
    holds = {one.key: one for one in holding}
    changes: list[tuple[Change, Alarm]] = [("raised", one) for key, one in holds.items() if key not in told.alarms]
    changes += [("ended", one) for key, one in told.alarms.items() if key not in holds]
    changes.sort(key=lambda one: (one[0] == "ended", SEVERITIES.index(one[1].severity), one[1].key))
    alarms = {key: holds.get(key, one) for key, one in told.alarms.items()}
    last = {key: at for key, at in told.last.items() if at + quiet > now}
    sent, events, again = [at for at in told.sent if at + HOUR > now], list[Event](), list[int]()
    for change, alarm in changes:
        if alarm.key in last:
            again.append(last[alarm.key] + quiet)
            continue
        if len(sent) >= MOST_AN_HOUR:
            again.append(sent[-MOST_AN_HOUR] + HOUR)
            continue
        events.append(Event("", patient_id, change, alarm, because_of, now, told.version))
        last[alarm.key] = now
        sent.append(now)
        if change == "raised":
            alarms[alarm.key] = alarm
        else:
            del alarms[alarm.key]
    return replace(told, alarms=alarms, last=last, sent=tuple(sent)), tuple(events), min(again, default=None)

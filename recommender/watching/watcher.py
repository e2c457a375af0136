"""Observations from the stream in; charts brought up to date, and events of what has changed for a patient, out.

At least once: an observation leaves the stream when all is done, so one whose consumer is killed comes again. What is
done twice changes nothing: what is kept is the newest whatever the order, and what was told is written together with
its events, only where nobody else has changed the patient meanwhile. Several consumers may work beside each other.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from recommender.errors import NothingPublished, StoreUnavailable, UnknownPatient, UnknownVersion
from recommender.observations import Alarm, Observation
from recommender.offer import Desk
from recommender.offered import elapsed_days
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen
from recommender.snapshot import Entry
from recommender.store import Store
from recommender.stream import Person, Readings, Settlement, Waiting
from recommender.watching.alarms import against_drugs, crossed
from recommender.watching.bands import bands
from recommender.watching.charts import current, observing, with_observations
from recommender.watching.telling import MINUTE, Told, begun, news

MOST_AT_ONCE = 500
BLOCK_MS = 1_000
MOST_TRIES = 5
MOST_HELD = 20_000  # entries of patients: those who are monitored come again and again
ATTEMPTS = 20  # to write while others change the same patient
RECLAIM_SECONDS, LATER_SECONDS, BEAT_EVERY_SECONDS = 2.0, 1.0, 15.0


@dataclass
class Counts:
    """What a consumer has done."""

    observations: int = 0
    unknown: int = 0
    buried: int = 0
    events: int = 0
    dropped: int = 0


class Watcher:
    """One consumer. `troubled`: told of an error of one patient, without values. `clock`: seconds since 1970."""

    def __init__(
        self,
        store: Store,
        readings: Readings,
        screen: Screen,
        indications: Indications,
        name: str,
        *,
        quiet_minutes: int = 60,
        deliver: bool = False,
        troubled: Callable[[BaseException], None] = lambda error: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.readings, self.counts = readings, Counts()
        self._store, self._screen, self._indications, self._name = store, screen, indications, name
        self._quiet, self._deliver, self._troubled, self._clock = quiet_minutes * MINUTE, deliver, troubled, clock
        self._desk: Desk | None = None
        self._to_sweep = True
        self._held: dict[str, Entry | None] = {}
        self._reclaimed = self._looked = self._beaten = float("-inf")

    def turn(self, block_ms: int | None = BLOCK_MS) -> int:
        """Deal with what waits, or wait for it a while; how many observations there were. Raises StoreUnavailable,
        NothingPublished, and what reading the release raises."""
        self._renew()
        if self._to_sweep:
            self.sweep()
        moment = time.monotonic()
        if moment - self._beaten > BEAT_EVERY_SECONDS:
            self._beaten = moment
            self.readings.beat()
        taken: list[Waiting] = []
        if moment - self._reclaimed > RECLAIM_SECONDS:
            self._reclaimed = moment
            taken = self._to_try_again()
        taken = taken or self.readings.take(self._name, MOST_AT_ONCE, block_ms)
        self._deal(taken)
        if moment - self._looked > LATER_SECONDS:
            self._looked = moment
            self._look_again()
        return len(taken)

    def begin(self) -> None:
        """The group of consumers; the first turn also drops what a version that came while nobody watched covers."""
        self.readings.begin()
        self._renew()
        self._to_sweep = True

    def sweep(self) -> None:
        """Keep no longer what the version being served covers, nor what is too old."""
        for patient_id in self.readings.everyone():
            for _ in range(ATTEMPTS):
                person = self.readings.person(patient_id)
                entry, kept = self._entry(patient_id), set[str]()
                if entry is not None:
                    desk = self._current()
                    found = current(person.newest, desk.release, self._screen, entry, self._now())
                    kept = {one.code for one in found}
                gone = [code for code in person.newest if code not in kept]
                if not gone or self.readings.drop(person, gone):
                    self.counts.dropped += len(gone)
                    break
        self._to_sweep = False

    # --- one batch ---------------------------------------------------------------------------------------------------

    def _deal(self, taken: Sequence[Waiting]) -> None:
        known, failed, found = list[Observation](), set[str](), list[Settlement]()
        for one in taken:
            patient_id = one.observation.patient_id
            with self._apart(patient_id, failed):
                if self._entry(patient_id) is not None:
                    known.append(one.observation)
        people = self.readings.apply(known)
        for patient_id, person in people.items():
            with self._apart(patient_id, failed):
                found += [one for one in [self._judged(person)] if one is not None]
        for judged, settled in zip(found, self.readings.settle(found, self._deliver), strict=True):
            if settled:
                self.counts.events += len(judged.events)
                continue
            with self._apart(judged.person.patient_id, failed):
                self._examine(self.readings.person(judged.person.patient_id))
        done = [one for one in taken if one.observation.patient_id not in failed]
        self.readings.done(done)
        self.counts.observations += len(done)
        self.counts.unknown += sum(one.observation.patient_id not in people for one in done)

    def _to_try_again(self) -> list[Waiting]:
        """What another consumer, or we, had and did not deal with; but not for ever."""
        taken = self.readings.reclaim(self._name, MOST_AT_ONCE)
        tries = self.readings.tries(taken)
        hopeless = [one for one in taken if tries.get(one.id, 0) > MOST_TRIES]
        self.readings.bury(hopeless)
        self.counts.buried += len(hopeless)
        return [one for one in taken if tries.get(one.id, 0) <= MOST_TRIES]

    def _look_again(self) -> None:
        """At patients of whom something had to wait."""
        for patient_id in self.readings.due(self._now()):
            failed, person = set[str](), self.readings.person(patient_id)
            with self._apart(patient_id, failed):
                if person.newest and self._entry(patient_id) is not None:
                    self._examine(person)
                    continue
            self.readings.not_later(patient_id)  # the next reading has the patient looked at in any case

    @contextlib.contextmanager
    def _apart(self, patient_id: str, failed: set[str]) -> Iterator[None]:
        """An error of one patient must not stop all others: it is told, and the patient is tried again."""
        try:
            yield
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001
            self._troubled(error)
            failed.add(patient_id)

    def _examine(self, person: Person) -> None:
        """Tell what is news of one person, whoever else changes it meanwhile."""
        for _ in range(ATTEMPTS):
            settlement = self._judged(person) if person.newest else None
            if settlement is None:
                return
            if self.readings.settle([settlement], self._deliver)[0]:
                self.counts.events += len(settlement.events)
                return
            person = self.readings.person(person.patient_id)
        raise StoreUnavailable("a patient was changed by others at every attempt: it is tried again")

    def _judged(self, person: Person) -> Settlement | None:
        """What is now told; None where no rule can see a difference to the last time."""
        entry, desk, now = self._entry(person.patient_id), self._current(), self._now()
        if entry is None:
            return None
        version, before = desk.release.version, Told.loads(person.told) if person.told else None
        seen = f"{self._screen.rules.version} {bands(person.newest, self._screen)}"
        if before is not None and before.version == version and before.seen == seen:
            return None
        elapsed = elapsed_days(desk.release)
        found = current(person.newest, desk.release, self._screen, entry, now)
        chart = with_observations(entry, found, desk.release, self._screen, elapsed, now)
        reading = desk.reading(chart.chart, elapsed=elapsed)
        told = before
        if told is None or told.version != version:
            published = desk.reading(entry.chart, elapsed=elapsed)
            told = begun(version, against_drugs(desk, entry, published), before)
        beyond = crossed({one.code: one for one in found})
        holding: list[Alarm] = [*beyond, *against_drugs(desk, entry, reading)]
        newest = max(person.newest.values(), key=lambda one: (one.arrived, one.order))
        after, events, again = news(told, holding, person.patient_id, newest, now, self._quiet)
        return Settlement(person, replace(after, seen="" if again else seen).dumps(), events, again)

    # --- what is read once -------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Read the version that is served now, where it is another one."""
        version = self._store.current()
        if self._desk is None or self._desk.release.version != version:
            release = observing(self._store.release(version), self._screen)
            self._desk, self._held, self._to_sweep = Desk(release, self._screen, self._indications), {}, True

    def _current(self) -> Desk:
        if self._desk is None:
            raise NothingPublished("nothing is published yet: run `rxrec nightly` first")
        return self._desk

    def _entry(self, patient_id: str) -> Entry | None:
        """None for who is not (any more) a patient of the version."""
        if patient_id in self._held:
            return self._held[patient_id]
        desk = self._current()
        try:
            entry = self._store.entry(desk.release, patient_id)
        except UnknownPatient:
            entry = None
        except UnknownVersion:  # it was retired: what is under way comes again, and finds the next one
            raise StoreUnavailable("a new version is being served: what is under way is done with it") from None
        if len(self._held) >= MOST_HELD:
            self._held.pop(next(iter(self._held)))
        self._held[patient_id] = entry
        return entry

    def _now(self) -> int:
        return int(self._clock() * 1000)

"""A store and safety rules in, the desk and a patient's entry of one version out: what every route reads through."""

from __future__ import annotations

import atexit
import gc
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, partial

from flask import current_app

from api import audit
from api.formulary_file import FormularyFile
from recommender.errors import (
    EngineError,
    InputError,
    NothingPublished,
    RulesMissing,
    StoreCorrupt,
    StoreUnavailable,
    UnknownPatient,
    UnknownVersion,
)
from recommender.observations import Observation, milliseconds
from recommender.offer import Desk
from recommender.offered import elapsed_days
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen
from recommender.settings import Settings
from recommender.snapshot import Entry, Release
from recommender.store import PublishedVersion, Store, open_store
from recommender.stream import Events, Place, Readings
from recommender.watching.charts import current, observing, with_observations

KNOWN_SECONDS, MOST_KNOWN = 60.0, 200_000
WARM_AGAIN_SECONDS, MENDED_SECONDS = 1.0, 30.0
# looked for in place of a patient who is not the caller's: neither the answer nor its time tells the two apart
NOBODY = "\0nobody"
RELEASES_HELD = 2  # the one being served, and the one before it for requests that have begun with it


@cache
def safety_of(rules: str, vocabulary: str) -> tuple[Screen, Indications]:
    """The safety rules and labelled uses, read once a process. Raises RulesMissing, also for broken ones: then no list
    is served."""
    try:
        screen = Screen.load(rules, vocabulary)
        return screen, Indications.load(vocabulary=screen.vocabulary, conditions=screen.conditions)
    except InputError as error:
        raise RulesMissing(str(error)) from error


def spare_the_collector() -> None:
    """What was loaded to stay (vocabularies, rules, a release: millions of objects) is looked through no more for what
    may be thrown away: one request in some hundred waited a quarter of a second for that. Of the first release, what
    refers to itself stays when another is served; later ones are collected as ever."""
    gc.collect()
    gc.freeze()


class DeskCache:
    """Each process's copy of the releases being served: loaded when the pointer names a new one, never in between."""

    def __init__(self, store: Store, settings: Settings, formulary: FormularyFile) -> None:
        self._store, self._settings, self._formulary = store, settings, formulary
        self._lock = threading.Lock()
        self._held: tuple[Desk, ...] = ()  # newest first; replaced whole, so that it can be read without the lock

    def current(self) -> Desk:
        """The release that the pointer names now. One read of the pointer; raises what the store raises."""
        try:
            return self._named(self._store.current())
        except UnknownVersion:  # replaced and retired since the pointer was read: only then look again
            return self._named(self._store.current())

    def held(self) -> Desk | None:
        """The release that was served last, as far as this process knows."""
        return next(iter(self._held), None)

    def _named(self, version: str) -> Desk:
        found = self._find(version)
        if found:
            if found is not self._held[0]:  # gone back to: from now on it is the one that requests begin with
                self._held = (found, *(desk for desk in self._held if desk is not found))
            return found
        with self._lock:  # one thread loads; the others wait for it rather than load the same megabytes
            found = self._find(version)
            if not found:
                found = self._desk(self._store.release(version))
                self._held = (found, *self._held)[:RELEASES_HELD]
        return found

    def _desk(self, release: Release) -> Desk:
        screen, indications = safety_of(self._settings.rules, self._settings.vocabulary)
        return Desk(
            observing(release, screen),
            screen,
            indications,
            self._settings.interaction_cost,
            partial(self._formulary.now, screen.vocabulary),
            self._settings.formulary_first,
        )

    def _find(self, version: str) -> Desk | None:
        return next((desk for desk in self._held if desk.release.version == version), None)


class Serving:
    """The store and its cached release, opened at the first use and shared by the threads of a process."""

    def __init__(self, settings: Settings, store: Store | None, formulary: FormularyFile) -> None:
        self._settings, self._formulary = settings, formulary
        self._handed_in = store is not None
        self._open = (store, DeskCache(store, settings, formulary)) if store is not None else None
        self._known: tuple[str, float, set[str]] = ("", 0.0, set())
        self._stream: tuple[Readings, Events] | None = None
        self._lock = threading.Lock()
        self._warming = threading.Event()

    def warm(self, more: Callable[[], object] = lambda: None) -> None:
        """Open the store, read the release and compile what screens and explains, in a thread of its own, so that no
        clinician waits for it: half a minute on a fresh install. Tried until there is a release; what stands against
        it is told to each request. more: what else to do once."""
        self._warming.set()

        def read() -> None:
            try:
                more()
                while True:
                    try:
                        self.desk().warm()
                        return spare_the_collector()
                    except (NothingPublished, StoreUnavailable):
                        time.sleep(WARM_AGAIN_SECONDS)
                    except EngineError:  # reading broken rules again and again would keep a processor busy
                        time.sleep(MENDED_SECONDS)
            finally:  # whatever went wrong, requests tell it better than a process that is never ready
                self._warming.clear()

        threading.Thread(target=read, name="warm", daemon=True).start()

    @property
    def warming(self) -> bool:
        """Whether requests would still wait for what `warm` does."""
        return self._warming.is_set()

    def desk(self) -> Desk:
        """The release being served and the rules. Raises NothingPublished, StoreUnavailable, StoreCorrupt or
        RulesMissing."""
        return self._opened()[1].current()

    def release(self) -> Release:
        """The release being served. Raises what `desk` raises."""
        return self.desk().release

    def patient(self, patient_id: str) -> tuple[Desk, Entry]:
        """The desk and this patient's entry of its version. Raises UnknownPatient and what `desk` raises."""
        audit.asked(patient_id)
        looked_for = patient_id if audit.is_theirs(patient_id) else NOBODY
        store, cache = self._opened()
        held, readings = cache.held(), self.readings()
        found = store.current_entry(held.release, looked_for, readings.kept_under(looked_for)) if held else None
        if held and found:
            entry, hashes = found
            return held, _as_it_is_now(held, [entry], [readings.newest_of(patient_id, hashes)])[0]
        desk = cache.current()
        try:
            entry = store.entry(desk.release, looked_for)
        except UnknownVersion:  # retired since the pointer was read: only then look again
            desk = cache.current()
            entry = store.entry(desk.release, looked_for)
        return desk, _as_it_is_now(desk, [entry], readings.newest([patient_id]))[0]

    def patients(self, patient_ids: Sequence[str]) -> tuple[Desk, list[Entry | UnknownPatient | StoreCorrupt]]:
        """The desk and the entry of each patient, all of one version; in place of an entry what is wrong with that one
        alone. Raises what `desk` raises."""
        desk, entries = self.published(patient_ids)
        there = [(place, one) for place, one in enumerate(entries) if isinstance(one, Entry)]
        newest = self.readings().newest([patient_ids[place] for place, _ in there])
        now = _as_it_is_now(desk, [one for _, one in there], newest)
        for (place, _), entry in zip(there, now, strict=True):
            entries[place] = entry
        return desk, entries

    def published(self, patient_ids: Sequence[str]) -> tuple[Desk, list[Entry | UnknownPatient | StoreCorrupt]]:
        """The same as the night left it, without what was measured since."""
        audit.asked(*patient_ids)
        store, cache = self._opened()

        def entry(desk: Desk, patient_id: str) -> Entry | UnknownPatient | StoreCorrupt:
            try:
                return store.entry(desk.release, patient_id if audit.is_theirs(patient_id) else NOBODY)
            except (UnknownPatient, StoreCorrupt) as error:
                audit.refused(patient_id)
                return error

        desk = cache.current()
        try:
            return desk, [entry(desk, patient_id) for patient_id in patient_ids]
        except UnknownVersion:  # retired since the pointer was read: all of the new one
            desk = cache.current()
            return desk, [entry(desk, patient_id) for patient_id in patient_ids]

    def known(self, patient_ids: Sequence[str]) -> list[bool]:
        """Whether each is a patient of the version being served, and the caller's to see. Who was one a moment ago need
        not be looked up again."""
        version, moment = self.release().version, time.monotonic()
        held_of, until, held = self._known
        if held_of != version or until < moment or len(held) > MOST_KNOWN:
            held = set()
            self._known = (version, moment + KNOWN_SECONDS, held)
        asked = [one for one in patient_ids if one not in held]
        held.update(one for one, entry in zip(asked, self.published(asked)[1], strict=True) if isinstance(entry, Entry))
        audit.asked(*patient_ids)
        return [one in held and audit.is_theirs(one) for one in patient_ids]

    def readings(self) -> Readings:
        """What was measured since the night. Raises StoreUnavailable."""
        return self._streams()[0]

    def events(self) -> Events:
        """What changed because of it. Raises StoreUnavailable."""
        return self._streams()[1]

    def _streams(self) -> tuple[Readings, Events]:
        url = self.store().url
        with self._lock:
            if self._stream is None:
                secret = self._settings.secret_file
                place = Place(url, self._settings.key_prefix, secret)
                self._stream = (Readings(place), Events(place))
            return self._stream

    def store(self) -> Store:
        """The store, for what all server processes share. Raises StoreUnavailable."""
        return self._opened()[0]

    def versions(self) -> list[PublishedVersion]:
        """The whole versions of the store, the newest first. Raises StoreUnavailable."""
        return self._opened()[0].versions()

    def close(self) -> None:
        """Close the store if it was opened here; the next request would open it anew."""
        with self._lock:
            if self._open and not self._handed_in:
                self._open[0].close()
                self._open = None

    def _opened(self) -> tuple[Store, DeskCache]:
        with self._lock:
            if self._open is None:
                store = open_store(self._settings)
                self._open = (store, DeskCache(store, self._settings, self._formulary))
                atexit.register(self.close)
            return self._open


def _as_it_is_now(desk: Desk, entries: Sequence[Entry], measured: Sequence[Mapping[str, Observation]]) -> list[Entry]:
    """The entries with what was measured since the night, where that is newer."""
    moment = datetime.now(UTC)
    now, elapsed = milliseconds(moment), elapsed_days(desk.release, moment)
    found = []
    for newest, entry in zip(measured, entries, strict=True):
        newer = current(newest, desk.release, desk.screen, entry, now)
        found.append(with_observations(entry, newer, desk.release, desk.screen, elapsed, now) if newer else entry)
    return found


def serving() -> Serving:
    """The current application's `Serving`."""
    found = current_app.extensions["rxrec"]
    assert isinstance(found, Serving)  # noqa: S101  (for the type checker: create_app put it there)
    return found

"""A store in, (release, entry) of one version out: what every route reads a patient through."""

from __future__ import annotations

import atexit
import threading

from flask import current_app

from recommender.errors import UnknownVersion
from recommender.settings import Settings
from recommender.snapshot import Entry, Release
from recommender.store import Store, open_store

RELEASES_HELD = 2  # the one being served, and the one before it for requests that have begun with it


class ReleaseCache:
    """Each process's copy of the releases being served: loaded when the pointer names a new one, never in between."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._held: tuple[Release, ...] = ()  # newest first; replaced whole, so that it can be read without the lock

    def current(self) -> Release:
        """The release that the pointer names now. One read of the pointer; raises what the store raises."""
        try:
            return self._named(self._store.current())
        except UnknownVersion:  # replaced and retired since the pointer was read: only then look again
            return self._named(self._store.current())

    def _named(self, version: str) -> Release:
        found = self._find(version)
        if found:
            return found
        with self._lock:  # one thread loads; the others wait for it rather than load the same megabytes
            found = self._find(version)
            if not found:
                found = self._store.release(version)
                self._held = (found, *self._held)[:RELEASES_HELD]
        return found

    def _find(self, version: str) -> Release | None:
        return next((release for release in self._held if release.version == version), None)


class Serving:
    """The store and its cached release, opened at the first use and shared by the threads of a process."""

    def __init__(self, settings: Settings, store: Store | None) -> None:
        self._settings = settings
        self._handed_in = store is not None
        self._open = (store, ReleaseCache(store)) if store is not None else None
        self._lock = threading.Lock()

    def release(self) -> Release:
        """The release being served. Raises NothingPublished, StoreUnavailable or StoreCorrupt."""
        return self._opened()[1].current()

    def patient(self, patient_id: str) -> tuple[Release, Entry]:
        """One version's release and this patient's entry in it. Raises UnknownPatient and what `release` raises."""
        store, cache = self._opened()
        release = cache.current()
        try:
            return release, store.entry(release, patient_id)
        except UnknownVersion:  # retired since the pointer was read: only then look again
            release = cache.current()
            return release, store.entry(release, patient_id)

    def close(self) -> None:
        """Close the store if it was opened here; the next request would open it anew."""
        with self._lock:
            if self._open and not self._handed_in:
                self._open[0].close()
                self._open = None

    def _opened(self) -> tuple[Store, ReleaseCache]:
        with self._lock:
            if self._open is None:
                store = open_store(self._settings)
                self._open = (store, ReleaseCache(store))
                atexit.register(self.close)
            return self._open


def serving() -> Serving:
    """The current application's `Serving`."""
    found = current_app.extensions["rxrec"]
    assert isinstance(found, Serving)  # noqa: S101  (for the type checker: create_app put it there)
    return found

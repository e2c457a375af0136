"""A Redis URL and the site's secret in; the connection, the keys and the seal of what streams in out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recommender.access import SiteSecret
from recommender.errors import StoreCorrupt
from recommender.pseudonyms import Pseudonyms
from recommender.store_connection import Client, Connection

MOST_HELD = 100_000  # patients whose name and seal are not made anew each time


class _Names:
    """The pseudonyms of all of the site's secrets, the newest first; `stamp`: of the file when they were read."""

    def __init__(self, stamp: tuple[int, int], secret: SiteSecret) -> None:
        self.stamp = stamp
        self.of = {number: Pseudonyms(secret, number) for number in secret.numbers}
        self.newest = self.of[secret.number]
        self.sealed: dict[str, tuple[str, bytes]] = {}
        self.opened: dict[tuple[str, bytes], str] = {}


class Place:
    """Where it all stands. Safe to share between threads. `secret_file`: of the site's secret.

    Pseudonyms and seals are made with the newest of the site's secrets; those of the ones before are still known, and
    a secret that is new counts from the next call on.
    """

    def __init__(self, url: str, prefix: str, secret_file: Path) -> None:
        self.connection = Connection(url, prefix)
        self.client: Client = self.connection.client
        self.prefix = self.connection.prefix
        self._secret_file, self._lock = secret_file, threading.Lock()
        self._held: _Names | None = None
        self.waiting, self.dead = self.key("readings:waiting"), self.key("readings:dead")
        self.watching = self.key("readings:watching")
        self.people, self.later = self.key("readings:people"), self.key("readings:later")
        self.events, self.due = self.key("events"), self.key("hooks:due")
        self.deliveries, self.undelivered = self.key("hooks:events"), self.key("hooks:dead")

    def close(self) -> None:
        self.client.close()

    @contextmanager
    def explained(self) -> Iterator[None]:
        with self.connection.explained():
            yield

    def is_kept(self) -> bool:
        """Whether the server writes each change to disk as it happens."""
        with self.explained():
            return bool(self.client.info("persistence").get("aof_enabled"))

    def key(self, name: str) -> str:
        return f"{self.prefix}:{name}"

    def of(self, who: str) -> str:
        return self.key(f"readings:of:{who}")

    def gone(self, who: str) -> str:
        return self.key(f"readings:gone:{who}")

    def seen(self, id_: str) -> str:
        """Ids are the sender's, and may name a patient too."""
        return self.key(f"readings:seen:{self._names().newest.name(id_).hex()}")

    def who(self, patient_id: str) -> str:
        """The patient's name in keys."""
        return self.sealed(patient_id)[0]

    def whos(self, patient_id: str) -> list[str]:
        """That, and those from before the secret was changed, newest first."""
        return [one.name(patient_id).hex() for one in self._names().of.values()]

    def sealed(self, patient_id: str) -> tuple[str, bytes]:
        """The patient's name in keys, and the patient's id as it stands beside it."""
        names = self._names()
        held = names.sealed.get(patient_id)
        if held is None:
            name, content = names.newest.sealed(patient_id)
            held = (name.hex(), b"%d:" % names.newest.number + content)
            if len(names.sealed) >= MOST_HELD:
                names.sealed.clear()
            names.sealed[patient_id] = held
        return held

    def unseal(self, sealed: bytes, who: str) -> str:
        """The patient id. Raises StoreCorrupt where it is not of this site, or of another patient."""
        names = self._names()
        held = names.opened.get((who, sealed))
        if held is None:
            number, _, content = sealed.partition(b":")
            try:
                (held,) = names.of[int(number)].open([bytes.fromhex(who)], [content])
            except (KeyError, ValueError, StoreCorrupt):
                raise StoreCorrupt(
                    "a reading in the stream was not sealed with a secret of this site: put the file of secrets back"
                ) from None
            if len(names.opened) >= MOST_HELD:
                names.opened.clear()
            names.opened[who, sealed] = held
        return held

    def _names(self) -> _Names:
        held = self._held
        if held is None or held.stamp != self._stamp():
            with self._lock:
                secret = SiteSecret.load(self._secret_file)
                held = self._held = _Names(self._stamp(), secret)
        return held

    def _stamp(self) -> tuple[int, int]:
        try:
            about = self._secret_file.stat()
        except OSError:
            return (0, 0)  # not made yet, or told of where it is read
        return about.st_mtime_ns, about.st_ino

    def script(self, lua: str) -> Any:
        return self.client.register_script(lua)

"""A Redis URL and the site's secret in; the connection, the keys and the seal of what streams in out."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recommender.access import SiteSecret
from recommender.errors import StoreCorrupt
from recommender.store_connection import Client, Connection

NONCE = 12


def pseudonym(key: bytes, patient_id: str) -> bytes:
    """16 bytes that stand for a patient where the key is not known: HMAC-SHA-256, cut."""
    return hmac.digest(key, patient_id.encode(errors="surrogatepass"), hashlib.sha256)[:16]


@dataclass(frozen=True)
class _Secrets:
    """Keys by number, the newest first, and the file's stamp when they were read."""

    stamp: tuple[int, int]
    names: dict[int, bytes]
    seals: dict[int, AESGCM]

    @property
    def newest(self) -> int:
        return next(iter(self.names))


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
        self._held: _Secrets | None = None
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
        secrets = self._secrets()
        return self.key(f"readings:seen:{pseudonym(secrets.names[secrets.newest], id_).hex()}")

    def who(self, patient_id: str) -> str:
        """The patient's name in keys."""
        secrets = self._secrets()
        return pseudonym(secrets.names[secrets.newest], patient_id).hex()

    def whos(self, patient_id: str) -> list[str]:
        """That, and those from before the secret was changed, newest first."""
        return [pseudonym(key, patient_id).hex() for key in self._secrets().names.values()]

    def seal(self, patient_id: str, who: str) -> bytes:
        secrets, nonce = self._secrets(), os.urandom(NONCE)
        sealed = secrets.seals[secrets.newest].encrypt(nonce, patient_id.encode(errors="surrogatepass"), who.encode())
        return b"%d:" % secrets.newest + nonce + sealed

    def unseal(self, sealed: bytes, who: str) -> str:
        """The patient id. Raises StoreCorrupt where it is not of this site, or of another patient."""
        number, _, rest = sealed.partition(b":")
        try:
            seal = self._secrets().seals[int(number)]
            return seal.decrypt(rest[:NONCE], rest[NONCE:], who.encode()).decode(errors="surrogatepass")
        except (InvalidTag, KeyError, ValueError):
            raise StoreCorrupt(
                "a reading in the stream was not sealed with a secret of this site: put the file of secrets back"
            ) from None

    def _secrets(self) -> _Secrets:
        try:
            about = self._secret_file.stat()
            stamp = (about.st_mtime_ns, about.st_ino)
        except OSError:
            stamp = (0, 0)  # not made yet, or told of below
        held = self._held
        if held is None or held.stamp != stamp:
            with self._lock:
                secret = SiteSecret.load(self._secret_file)
                about = self._secret_file.stat()
                held = self._held = _Secrets(
                    (about.st_mtime_ns, about.st_ino),
                    {number: secret.derive("readings", number) for number in secret.numbers},
                    {number: AESGCM(secret.derive("readings seal", number)) for number in secret.numbers},
                )
        return held

    def script(self, lua: str) -> Any:
        return self.client.register_script(lua)

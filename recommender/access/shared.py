"""A Redis server in; tokens seen before, sessions and counts of requests out, shared by all server processes.

Under `{prefix}:access:`, all with an end: `seen:{hash}`, `session:{hash}`, `token:{hash}`, `rate:{who}:{window}`. What
a caller presents is never a key: its SHA-256 is, so that who reads Redis can sign in as nobody.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

import orjson

from recommender.store_connection import Connection


class Shared:
    """Safe to share between threads. Every method raises StoreUnavailable when the server cannot be used."""

    def __init__(self, url: str, prefix: str) -> None:
        self._connection = Connection(url, prefix)
        self._client = self._connection.client
        self._prefix = f"{prefix}:access"

    def close(self) -> None:
        self._client.close()

    def first_time(self, what: str, seconds: int) -> bool:
        """Whether `what` was not seen within its own `seconds`; from now on it was."""
        with self._connection.explained():
            return bool(self._client.set(self._key("seen", what), b"1", nx=True, ex=max(1, seconds)))

    def keep(self, kind: str, secret: str, value: dict[str, Any], seconds: int) -> None:
        """`value` under a secret that its holder presents again."""
        with self._connection.explained():
            self._client.set(self._key(kind, secret), orjson.dumps(value), ex=seconds)

    def kept(self, kind: str, secret: str, prolong: int = 0) -> dict[str, Any] | None:
        """What `keep` kept, with `prolong` seconds more from now on; None when it has ended."""
        key = self._key(kind, secret)
        with self._connection.explained():
            value = self._client.getex(key, ex=prolong) if prolong else self._client.get(key)
        return None if value is None else dict(orjson.loads(value))

    def drop(self, kind: str, secret: str) -> None:
        with self._connection.explained():
            self._client.delete(self._key(kind, secret))

    def count(self, who: str, seconds: int, more: int = 1) -> tuple[int, int]:
        """How many of `who` there were in this window of `seconds`, with so many more, and in how many it ends."""
        now = time.time()
        window = int(now // seconds)
        key = self._key(f"rate:{window}", who)
        with self._connection.explained():
            count, _ = self._connection.asked(("INCRBY", key, str(more)), ("EXPIRE", key, str(2 * seconds)))
        return int(count), max(1, int((window + 1) * seconds - now) + 1)

    def _key(self, kind: str, secret: str) -> str:
        return f"{self._prefix}:{kind}:{hashlib.sha256(secret.encode(errors='surrogatepass')).hexdigest()}"

"""A URL of Redis Sentinel or Redis Cluster in, a client out that finds the server to talk to anew whenever it connects.

    redis+sentinel://user:password@host:26379,host:26379/service/0      the primary of a service
    redis+cluster://user:password@host:7000,host:7001                   the node of a cluster that holds our keys

`rediss+...` the same over TLS; `?sentinel_username=...&sentinel_password=...` where the sentinels ask for their own.

On a cluster all keys of an installation lie in one hash slot, by the tag in their prefix ({rxrec}:current), and so on
one node: a publication is one transaction after another with a look at its token, which Redis does within a slot only,
and a million patients take about a gigabyte a version. Two installations (two prefixes) lie in two slots. When the slot
is moved, or a replica takes over, the next connection goes where it is now.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import redis
from redis.crc import key_slot
from redis.sentinel import Sentinel

SCHEMES = ("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
PORTS = {"sentinel": 26379, "cluster": 6379}


def is_place(url: str) -> bool:
    """Whether it is a URL of this module."""
    return urlsplit(url).scheme in SCHEMES


def tagged(url: str, prefix: str) -> str:
    """The prefix of all keys: on a cluster with braces around it, so that all are in one slot."""
    on_cluster = urlsplit(url).scheme.endswith("+cluster")
    return f"{{{prefix}}}" if on_cluster and not prefix.startswith("{") else prefix


def client_of(url: str, prefix: str, **options: Any) -> Any:
    """`options`: of each connection, as redis.Redis takes them. Raises ValueError for a URL that is none."""
    parts = urlsplit(url)
    kind = parts.scheme.partition("+")[2]
    hosts = _hosts(parts, PORTS[kind])
    login = {
        name: unquote(value) for name in ("username", "password") if (value := getattr(parts, name) or "")
    }  # "" is what `redis://:password@...` has for a user
    secure = {"ssl": True} if parts.scheme.startswith("rediss") else {}
    if kind == "sentinel":
        service, _, database = parts.path.strip("/").partition("/")
        if not service or not (database or "0").isdigit():
            raise ValueError(url)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        theirs = {name: asked[f"sentinel_{name}"] for name in ("username", "password") if f"sentinel_{name}" in asked}
        limits = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout") if name in options}
        sentinels = Sentinel(hosts, sentinel_kwargs={**limits, **secure, **theirs})
        return sentinels.master_for(service, db=int(database or 0), **login, **secure, **options)
    if parts.path.strip("/"):
        raise ValueError(url)  # a cluster has one database
    base: Any = redis.SSLConnection if secure else redis.Connection
    connection = type("NodeConnection", (_Finding, base), {})
    slot = key_slot(tagged(url, prefix).encode())
    where: dict[str, Any] = {"host": hosts[0][0], "port": hosts[0][1], "seeds": hosts, "slot": slot}
    pool = redis.ConnectionPool(connection_class=connection, **{**where, **login, **options})
    return redis.Redis(connection_pool=pool)


def _hosts(parts: SplitResult, port: int) -> list[tuple[str, int]]:
    found = []
    for place in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{place}")  # knows [::1]:7000
        if not one.hostname:
            raise ValueError(place)
        found.append((one.hostname, one.port or port))
    return found


class _Finding:
    """A connection to the primary of one slot, found by asking the nodes that the URL names and the last one used."""

    def __init__(self, *, seeds: list[tuple[str, int]], slot: int, **options: Any) -> None:
        self._seeds, self._slot, self._options = seeds, slot, options
        super().__init__(**options)

    def _connect(self) -> Any:
        """A new socket; redis-py asks for one here each time, whatever it connects for."""
        self.host, self.port = self._owner()
        return super()._connect()  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except (redis.exceptions.MovedError, redis.ReadOnlyError):
            self.disconnect()  # type: ignore[attr-defined]
            raise redis.ConnectionError("our slot is on another node now") from None

    def _owner(self) -> tuple[str, int]:
        told: redis.RedisError = redis.ConnectionError("no node knows the slot")
        kept = ("username", "password", "socket_timeout", "socket_connect_timeout")
        options = {name: self._options[name] for name in kept if name in self._options}
        options["ssl"] = isinstance(self, redis.SSLConnection)
        for host, port in dict.fromkeys([*self._seeds, (self.host, self.port)]):
            try:
                with redis.Redis(host=host, port=port, protocol=2, **options) as node:
                    ranges = node.execute_command("CLUSTER SLOTS")
            except redis.RedisError as error:
                told = error
                continue
            owner = _owner_of(ranges, self._slot)
            if owner:
                return owner[0] or host, owner[1]  # a node that does not know its own name says ""
        raise told


def _owner_of(ranges: Any, slot: int) -> tuple[str, int] | None:
    """From what CLUSTER SLOTS tells: first slot, last slot, primary, replicas of each range."""
    for first, last, (host, port, *_), *_ in ranges:
        if first <= slot <= last:
            return (host or b"").decode(), int(port)
    return None

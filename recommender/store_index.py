"""What stands in Redis, and under which keys; the list of versions, and the token of who publishes.

    {prefix}:current            the version being served: the one pointer that readers follow
    {prefix}:before             list of the versions served before it, latest first: what `rollback` goes back to
    {prefix}:versions           hash of version -> JSON: `Listed`
    {prefix}:publishing         the token of the run that publishes now; gone soon after that run has died
    {prefix}:{version}:assets   hash of asset name -> bytes (`snapshot.pack_release`)
    {prefix}:{version}:p:{b}    hash of name -> packed entry, for the patients whose bucket is b

A patient's name is a pseudonym under the site's secret (`pseudonyms.py`), and its first four bytes, as a number modulo
the number of buckets, are its bucket. About 32 patients a bucket keep Redis's compact form, where it is allowed (on a
server of your own set `hash-max-listpack-value 16384`; without it everything works and takes more memory).

An update (`Listed.base`) holds the entries that differ from those of a whole earlier version, and an empty one for who
is no more; all others are read from that version, in which a patient has the same bucket.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import orjson
import redis

from recommender.errors import StoreCorrupt, StoreUnavailable, UnknownVersion
from recommender.redis_wire import Command, pieces
from recommender.store_connection import Client, Connection, Fence, Piece

T = TypeVar("T")
CHUNK_KEYS = 256
LOCK_SECONDS = 30  # a publisher that has not prolonged its token for so long is dead
PATIENCE_SECONDS = LOCK_SECONDS + 2.0  # so that a night can follow one that was killed
_COUNT = "local n = 0 for _, key in ipairs(KEYS) do n = n + redis.call('HLEN', key) end return n"
_OVERTAKEN = "this run stood still for too long and another may be publishing: nothing of it is served; try again"


@dataclass(frozen=True)
class Listed:
    """What the index says of a version. `number` grows with every publication, so order needs no clock.

    secret, mark: which of the site's secrets names its patients, and what tells that secret from another site's; an
    earlier program named none. base: of an update, the version that holds what it does not. format: of its entries and
    names; an earlier program told none.
    """

    number: int
    created: float  # seconds since 1970
    patients: int
    buckets: int
    secret: int = 0
    mark: str = ""
    base: str = ""
    format: int = 0
    whole: bool = False
    served: bool = False

    def buckets_of(self, names: np.ndarray) -> np.ndarray:
        """(n,) of names (n, 16) uint8."""
        numbers = names.view("<u4")[:, 0] % np.uint32(self.buckets)
        return numbers.astype(np.min_scalar_type(self.buckets))  # numbers of two bytes are sorted in no time


class Keys:
    """Every key that this engine uses."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.current = f"{prefix}:current"
        self.before = f"{prefix}:before"
        self.versions = f"{prefix}:versions"
        self.publishing = f"{prefix}:publishing"

    def assets(self, version: str) -> str:
        return f"{self.prefix}:{version}:assets"

    def buckets(self, version: str, of: Listed) -> list[str]:
        return [self.numbered(version, bucket) for bucket in range(of.buckets)]

    def numbered(self, version: str, bucket: int) -> str:
        return f"{self.prefix}:{version}:p:{bucket}"

    def bucket(self, version: str, of: Listed, name: bytes) -> str:
        return self.numbered(version, int.from_bytes(name[:4], "little") % of.buckets)


class Index:
    """The versions that a server holds, and the right to publish one."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.client = connection.client
        self.keys = Keys(connection.prefix)

    def listed(self, client: Client | None = None) -> dict[str, Listed]:
        """Every version, the newest first."""
        found = (client or self.client).hgetall(self.keys.versions)
        listed = {name.decode(): _listed(of) for name, of in found.items()}
        return dict(sorted(listed.items(), key=lambda item: -item[1].number))

    def whole(self, version: str, client: Client | None = None) -> Listed:
        """Raises UnknownVersion."""
        of = (client or self.client).hget(self.keys.versions, version)
        if of is None or not _listed(of).whole:
            raise UnknownVersion(f"the store holds no whole version {version!r}: see `rxrec versions`")
        return _listed(of)

    def list(self, token: bytes, version: str, of: Listed) -> None:
        self.fenced(token, ("HSET", self.keys.versions, version, orjson.dumps(of)))

    def assets(self, version: str) -> dict[str, bytes]:
        return {name.decode(): asset for name, asset in self.client.hgetall(self.keys.assets(version)).items()}

    def entries(self, buckets: Sequence[str]) -> int:
        """How many entries these buckets have together."""
        return int(self.client.eval(_COUNT, len(buckets), *buckets))

    def remove(self, version: str, of: Listed) -> None:
        """UNLINK a few keys at a time: requests are answered in between."""
        self.client.unlink(self.keys.assets(version))
        for keys in chunks(self.keys.buckets(version, of)):
            self.client.unlink(*keys)
        self.client.hdel(self.keys.versions, version)

    # --- the publisher's token ---------------------------------------------------------------------------------------

    def take(self) -> bytes:
        """The token. Raises StoreUnavailable while another publishes."""
        token = secrets.token_hex(16).encode()
        patience = time.monotonic() + PATIENCE_SECONDS
        while not self.client.set(self.keys.publishing, token, nx=True, ex=LOCK_SECONDS):
            if time.monotonic() > patience:
                raise StoreUnavailable("another run is publishing at this moment: let it finish and try again")
            time.sleep(0.2)
        return token

    def leave(self, token: bytes) -> None:
        with contextlib.suppress(redis.RedisError, StoreUnavailable):
            self.hold(token)
            self.client.delete(self.keys.publishing)

    @contextlib.contextmanager
    def sole_publisher(self) -> Iterator[bytes]:
        """The token, for as long as this lasts. Raises StoreUnavailable while another publishes."""
        token = self.take()
        try:
            yield token
        finally:
            self.leave(token)

    def renewed(self, token: bytes) -> bytes:
        """A new token instead of ours, which others know, so that they can write nothing more."""
        new = secrets.token_hex(16).encode()
        try:
            self.fenced(token, ("SET", self.keys.publishing, new, "EX", str(LOCK_SECONDS)))
        except redis.RedisError:  # a full server takes no token, and no patient from anybody either
            self.hold(token)
            return token
        return new

    def hold(self, token: bytes) -> None:
        """Prolong the token. Raises StoreUnavailable when it is not ours any more."""
        # no transaction, and nothing that needs memory: this is also done when the server is full
        self.client.expire(self.keys.publishing, LOCK_SECONDS)
        if self.client.get(self.keys.publishing) != token:
            raise StoreUnavailable(_OVERTAKEN)

    def fenced(self, token: bytes, *commands: Command) -> None:
        """The commands in one transaction, done only if the token is still ours, which it also prolongs."""
        if not self.connection.fenced(self.keys.publishing, token, LOCK_SECONDS, commands):
            raise StoreUnavailable(_OVERTAKEN)

    def fencing(self, token: bytes) -> contextlib.AbstractContextManager[Fence]:
        """For one thread at a time, to `send` transactions with. None of them prolongs the token, which would undo all
        others; what became of the last one is told by `settle`."""
        return self.connection.fencing(self.keys.publishing, token)

    def send(self, fence: Fence, sent: memoryview, commands: int) -> None:
        """A chunk of patients, as the bytes of so many commands: they stay as they are until the next call."""
        self._send(fence, [sent], commands)

    def send_asset(self, fence: Fence, version: str, name: str, asset: bytes) -> None:
        """As `send`."""
        self._send(fence, pieces(("HSET", self.keys.assets(version), name, asset)), 1)

    def _send(self, fence: Fence, sent: Sequence[Piece], commands: int) -> None:
        if not fence.send(sent, commands):
            raise StoreUnavailable(_OVERTAKEN)

    def settle(self, fence: Fence) -> None:
        """Whatever was sent is there."""
        if not fence.settle():
            raise StoreUnavailable(_OVERTAKEN)


def _listed(value: bytes) -> Listed:
    try:
        return Listed(**orjson.loads(value))
    except (TypeError, ValueError) as error:
        raise StoreCorrupt("the store's index of versions is not ours: choose another RXREC_KEY_PREFIX") from error


def chunks(keys: Sequence[T]) -> Iterator[Sequence[T]]:
    return (keys[start : start + CHUNK_KEYS] for start in range(0, len(keys), CHUNK_KEYS))

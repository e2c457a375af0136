"""The URL of a Redis server in; a client of it out, whose errors say in words what to do, and raw fenced transactions.

Beneath `store.py`, which alone uses it: here is what Redis's protocol and redis-py's exceptions look like, and nothing
of what is kept under which key.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recommender.errors import EngineError, StoreCorrupt, StoreUnavailable
from recommender.redis_places import client_of, is_place, tagged
from recommender.redis_wire import Command, wire

TIMEOUT_SECONDS = 10.0
TRIES = 20  # of a transaction that was undone because the token was prolonged meanwhile
Piece = bytes | memoryview
Client = Any  # a redis client or pipeline: redis-py types each answer as bytes or str, at once or awaited


class Connection:
    """`client` may be shared between threads. `address` is the server's URL without its password, fit for an error.

    Raises StoreUnavailable for a URL that is none; the server is first asked by the first command.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._idle: deque[Any] = deque()  # connections of `asked`, which it keeps
        self.url = url
        self.prefix = tagged(url, prefix)
        parts = urlsplit(url)
        self.address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        try:
            options = {
                "decode_responses": False,
                "protocol": 2,
                "socket_timeout": TIMEOUT_SECONDS,
                "socket_connect_timeout": TIMEOUT_SECONDS,
                # once: the server may have hung up on an idle connection; a slow one is not asked twice
                "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            }
            self.client: Client = (
                client_of(url, prefix, **options) if is_place(url) else redis.Redis.from_url(url, **options)
            )
        except ValueError:
            raise StoreUnavailable(
                "REDIS_URL is not one: write redis://host:6379/0, rediss://..., unix:///path, "
                "redis+sentinel://host:26379,host:26379/service/0 or redis+cluster://host:7000,host:7001"
            ) from None

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Whatever Redis says goes wrong inside becomes a StoreUnavailable or StoreCorrupt that says what to do."""
        try:
            yield
        except redis.RedisError as error:
            # from None: the messages of redis-py repeat the command, patient ids included
            raise self._meaning(error) from None

    def _meaning(self, error: redis.RedisError) -> EngineError:
        code = str(error).rpartition("caused error: ")[2].partition(" ")[0]
        if code == "WRONGTYPE":
            return StoreCorrupt(
                f"keys {self.prefix}:* of the Redis server {self.address} are another program's: "
                "choose another RXREC_KEY_PREFIX"
            )
        for kind, meaning in _MEANINGS.items():
            if isinstance(error, kind):
                return StoreUnavailable(f"the Redis server {self.address} {meaning}")
        code = code if code.isascii() and code.isupper() else type(error).__name__
        return StoreUnavailable(f"the Redis server {self.address} refused a command ({code}): look into its log")

    def asked(self, *commands: Command) -> list[Any]:
        """The answers to commands that may be done twice, sent together; as RESP2 has them, a hash as a list. Raises
        what redis-py raises. A server that hung up on the idle connection is asked once more, as by the client."""
        # beside the one journey, redis-py's own pipeline spends several times as long on what none of this needs
        if not commands:
            return []
        sent = b"".join(map(wire, commands))
        connection = self._taken()
        try:
            answers = self._answers(connection, sent, len(commands))
        except redis.ConnectionError:
            answers = self._answers(connection, sent, len(commands))  # which connects anew
        finally:
            self._idle.append(connection)
        for answer in answers:
            if isinstance(answer, redis.RedisError):
                raise answer
        return answers

    @staticmethod
    def _answers(connection: Any, sent: bytes, count: int) -> list[Any]:
        """Of so many commands; a refusal too, so that those behind it are read."""
        try:
            connection.send_packed_command([sent])
            return [_answer(connection) for _ in range(count)]
        except BaseException:
            connection.disconnect()  # answers may be on their way: nobody else must read them
            raise

    def _taken(self) -> Any:
        """A connection that nobody else uses. The pool's own way to lend one and take it back costs as much as the
        journey; each of ours stays lent, until it leads elsewhere (a fork, another primary)."""
        pool = self.client.connection_pool
        try:
            while True:
                connection = self._idle.pop()
                if connection.pid == os.getpid() and pool.owns_connection(connection):
                    return connection
                connection.disconnect()
                pool.release(connection)
        except IndexError:
            return pool.get_connection()

    def fenced(self, key: str, token: bytes, seconds: int, commands: Sequence[Command]) -> bool:
        """The commands in one transaction, done only while `key` holds `token`, which is prolonged; whether they were.

        Raises the error of the first command that the server refused.
        """
        sent = b"".join(map(wire, (("EXPIRE", key, str(seconds)), *commands)))
        with self.fencing(key, token) as fence:
            return fence.send([sent], 1 + len(commands)) and fence.settle()

    @contextlib.contextmanager
    def fencing(self, key: str, token: bytes) -> Iterator[Fence]:
        """For one thread: a connection of its own, on which nothing is under way any more in the end."""
        pool = self.client.connection_pool
        connection = pool.get_connection()
        fence = Fence(connection, key, token)
        try:
            yield fence
        finally:
            fence.close()
            pool.release(connection)


class Fence:
    """Transactions one after another over one connection, each done only while `key` holds `token`. To do one twice is
    to be as good as once: where the server hangs up, nobody knows whether it was done, and it is sent again.

    A transaction is sent, and its answers are read before the next one is: they come all at once, and whoever sends has
    something else to do meanwhile. With it goes the look at the token (WATCH, then GET) that the next one needs.
    """

    # redis-py's own pipeline spends more time on putting commands into bytes than all the rest of a publication

    def __init__(self, connection: Any, key: str, token: bytes) -> None:
        self._connection, self._token = connection, token
        self._look = wire(("WATCH", key)) + wire(("GET", key))
        self._ours: bool | None = None  # whether the token was, when it was last looked at; None: look anew
        self._sent: Sequence[Piece] = ()
        self._commands = 0  # that are under way

    def send(self, sent: Sequence[Piece], commands: int) -> bool:
        """So many commands, as bytes in pieces, which must stay as they are until `settle` or the next call. False, and
        nothing is sent, where the token is not ours any more.

        Raises, here or in `settle`, the error of the first command under way that the server refused.
        """
        if not self.settle() or not self._still_ours():
            return False
        self._sent, self._commands = sent, commands
        with contextlib.suppress(redis.ConnectionError):  # `settle` finds the connection gone
            self._send()
        return True

    def settle(self) -> bool:
        """Whether what is under way was done; True where nothing is. Where the token was prolonged meanwhile, which
        undoes a transaction, it is sent again; and once where the server hung up."""
        tries, hung_up = 0, False
        while self._commands:
            try:
                *answers, done, watching, found = self._answers(self._commands + 4)
            except redis.ConnectionError:
                if hung_up:
                    raise
                hung_up = True
            else:
                tries += 1
                self._ours = found == self._token
                for answer in (*answers, done, *(done if isinstance(done, list) else ()), watching, found):
                    if isinstance(answer, redis.RedisError):
                        self._commands = 0
                        raise answer
                if done is not None or tries == TRIES:
                    self._commands = 0
                    return done is not None
            if not self._still_ours():
                self._commands = 0
                return False
            self._send()
        return True

    def close(self) -> None:
        """Wait for what is under way, whatever becomes of it, and leave a connection that watches nothing."""
        with contextlib.suppress(redis.RedisError):
            if self._commands:
                self._answers(self._commands + 4)
            if self._ours is not None:
                self._connection.send_packed_command([wire(("UNWATCH",))], check_health=False)
                self._answers(1)

    def _still_ours(self) -> bool:
        """A server that hung up on the idle connection is asked once more, as by the client."""
        for again in (True, False):
            if self._ours is not None:
                break
            try:
                with self._lost_by_error():
                    self._connection.send_packed_command([self._look])
                    answers = [_answer(self._connection) for _ in range(2)]
            except redis.ConnectionError:
                if again:
                    continue
                raise
            for answer in answers:
                if isinstance(answer, redis.RedisError):
                    raise answer
            self._ours = answers[1] == self._token
        return bool(self._ours)

    def _send(self) -> None:
        first, last = wire(("MULTI",)), wire(("EXEC",)) + self._look
        with self._lost_by_error():
            # a look at its health might connect anew, and what is sent then would be watched by nobody
            self._connection.send_packed_command([first, *self._sent, last], check_health=False)

    def _answers(self, number: int) -> list[Any]:
        if self._ours is None:
            raise redis.ConnectionError("the server hung up")
        with self._lost_by_error():
            return [_answer(self._connection) for _ in range(number)]

    @contextlib.contextmanager
    def _lost_by_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._connection.disconnect()  # answers may be on their way: nobody else must read them
            self._ours = None
            raise


def _answer(connection: Any) -> Any:
    """The next one, or its refusal."""
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


# first match counts: the later ones are bases of the earlier ones
_MEANINGS: dict[type[redis.RedisError], str] = {
    redis.AuthenticationError: "does not accept the user name and password: correct them in REDIS_URL",
    redis.exceptions.AuthorizationError: "does not accept the user name and password: correct them in REDIS_URL",
    redis.exceptions.NoPermissionError: "does not let this user do it: allow it all commands on RXREC_KEY_PREFIX:*",
    redis.BusyLoadingError: "is still loading its data: try again in a moment",
    redis.OutOfMemoryError: "is out of memory: raise its maxmemory, or keep fewer versions (RXREC_KEEP_VERSIONS)",
    redis.ReadOnlyError: "is a read-only replica: let REDIS_URL name the primary",
    redis.exceptions.AskError: "is moving our keys to another node of its cluster: try again in a moment",
    redis.exceptions.ClusterDownError: "belongs to a cluster that is down: look at its nodes, then try again",
    redis.TimeoutError: f"did not answer within {TIMEOUT_SECONDS:.0f} seconds: look at its load, then try again",
    redis.ConnectionError: "cannot be reached: start it, or correct REDIS_URL",
}

"""gunicorn's threaded worker, but that no thread ever waits for a client: `rxrec serve` starts it.

In gunicorn's own, a thread reads a request as slowly as the client sends it, and writes its answer as slowly as the
client takes it, without an end: a handful of slow connections keep everybody else out (slowloris). Here the worker's
loop, which waits for all connections at once, takes in requests and sends out what is left of answers. A thread gets
whole requests alone. Who has not sent one, or not taken its answer, after RXREC_CLIENT_SECONDS is closed; and where
all places are taken, who has waited longest makes room. Neither log nor error page repeats a word of a request.

TLS and HTTP/2 are the proxy's in front. This rests on gunicorn's inner workings (27.0): `make lock` pins it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import sys
import time
import zlib
from concurrent.futures import Future
from functools import partial
from typing import Any

from gunicorn import http
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from api.client import Connection
from api.observe import told_without_values
from recommender.settings import Settings

PLACES = 400  # connections of one worker: `rxrec serve` says so to gunicorn
MOST_RECEIVED = 64 * 1024 * 1024  # bytes of requests that are not whole, of all connections of a worker
LINGER_SECONDS = 2.0  # for a client to take the last of an answer before its connection is gone
RECEIVE = 256 * 1024
SWEEP_SECONDS = 0.25
REQUEST, ANSWER, END = "request", "answer", "end"  # what a connection waits for
TOO_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
# gunicorn's kinds of refusal that have a status of their own; all others are 400
STATUS = {
    http.errors.LimitRequestLine: (414, "URI Too Long"),
    http.errors.LimitRequestHeaders: (431, "Request Header Fields Too Large"),
    http.errors.ExpectationFailed: (417, "Expectation Failed"),
    http.errors.UnsupportedTransferCoding: (501, "Not Implemented"),
}


class Log(Logger):
    """gunicorn's log without the words of exceptions, which may be a patient's."""

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        self.error("the server failed: %s", told_without_values(sys.exception()))


def keep_to_one_core(number: int) -> None:
    """Python runs one thread of a process at a time. Where these take turns on several cores, what they all work on
    moves from one core's cache to the other's: a list took 1.9 times the processor time. Which core: each worker of a
    server its own, and servers that share a machine, which cannot ask each other, one by chance."""
    if hasattr(os, "sched_setaffinity"):  # Linux
        cores = sorted(os.sched_getaffinity(0))
        first = zlib.crc32(f"{socket.gethostname()} {os.getppid()}".encode())
        os.sched_setaffinity(0, {cores[(first + number) % len(cores)]})


class Worker(ThreadWorker):
    def init_process(self) -> None:
        self.cfg.set("sendfile", False)
        self._seconds = Settings.from_environment().client_seconds
        self._waiting: dict[Connection, None] = {}  # the longest first
        self._received = 0  # bytes of those
        self._next_sweep = 0.0
        keep_to_one_core(self.age)
        super().init_process()

    # --- the loop ----------------------------------------------------------------------------------------------------

    def accept(self, listener: socket.socket) -> None:
        try:
            raw, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._make_room()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        connection = Connection(self.cfg, raw, address, listener.getsockname())
        self._wait(connection, REQUEST, self._seconds)
        if self.nr_conns >= self.worker_connections:
            self._make_room()

    def _wait(self, connection: Connection, wants: str, seconds: float) -> None:
        connection.wants, connection.deadline = wants, time.monotonic() + seconds
        self._waiting[connection] = None
        self._received += len(connection.sock.received)
        events = selectors.EVENT_WRITE if wants == ANSWER else selectors.EVENT_READ
        self.poller.register(connection.sock.raw, events, partial(self._ready, connection))

    def _stop_waiting(self, connection: Connection) -> None:
        del self._waiting[connection]
        self._received -= len(connection.sock.received)
        self.poller.unregister(connection.sock.raw)

    def _ready(self, connection: Connection, _: Any) -> None:
        """The client has sent something, or takes more."""
        if connection not in self._waiting:  # closed for another's sake in this round
            return
        try:
            if connection.wants == REQUEST:
                self._take_in(connection)
            elif connection.wants == ANSWER:
                if connection.sock.flush():
                    self._stop_waiting(connection)
                    self._answered(connection)
            elif not connection.sock.raw.recv(RECEIVE):  # nobody looks at what comes behind the last request
                self._close(connection)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._close(connection)

    def _take_in(self, connection: Connection) -> None:
        if not connection.sock.received:
            connection.deadline = time.monotonic() + self._seconds
        came = connection.sock.receive(RECEIVE)
        self._received += came
        if not came:
            self._close(connection)
        elif connection.sock.is_whole():
            self._stop_waiting(connection)
            self.enqueue_req(connection)
        elif self._received > MOST_RECEIVED:
            self._make_room()

    def finish_request(self, connection: Connection, done: Future[Any]) -> None:
        """A thread is done with a request; what the client has not taken of the answer is left to the loop."""
        try:
            good = not done.cancelled() and done.exception() is None and bool(done.result())
            connection.keep = good and not connection.sock.ran_dry
            if connection.sock.flush():
                self._answered(connection)
            else:
                self._wait(connection, ANSWER, self._seconds)
        except OSError:
            self._close(connection)

    def _answered(self, connection: Connection) -> None:
        if not connection.keep:
            connection.sock.raw.shutdown(socket.SHUT_WR)
            self._wait(connection, END, LINGER_SECONDS)
            return
        connection.next_request()
        self._wait(connection, REQUEST, self.cfg.keepalive if self.alive else STOP_KEEPALIVE_LINGER)
        if connection.sock.received:  # the next request came with the last one
            connection.deadline = time.monotonic() + self._seconds
            if connection.sock.is_whole():
                self._stop_waiting(connection)
                self.enqueue_req(connection)

    def _close(self, connection: Connection) -> None:
        if connection in self._waiting:
            self._stop_waiting(connection)
        self.nr_conns -= 1
        connection.sock.raw.close()

    def _make_room(self) -> None:
        longest = next(iter(self._waiting), None)
        if longest is not None:
            self._close(longest)

    # --- as gunicorn's loop calls them -------------------------------------------------------------------------------

    def murder_pending(self) -> None:
        """Close whose time is over."""
        now = time.monotonic()
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_SECONDS
        for connection in [one for one in self._waiting if one.deadline <= now]:
            if connection.wants == REQUEST and connection.sock.received:
                with contextlib.suppress(OSError):
                    connection.sock.raw.send(TOO_LATE)
            self._close(connection)

    def murder_keepalived(self, force: bool = False) -> None:
        for connection in list(self._waiting) if force else []:
            self._close(connection)

    def _cap_keepalive(self, deadline: float) -> None:
        for connection in self._waiting:
            if connection.wants == REQUEST and not connection.sock.received:
                connection.deadline = min(connection.deadline, deadline)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """An answer for what is no request, or for a fault of ours; neither it nor the log repeats what was sent."""
        ours = isinstance(exc, http.errors.InvalidResponseHeader | http.errors.InvalidResponseHeaderName)
        if isinstance(exc, http.errors.ParseException) and not ours:
            status, reason = STATUS.get(type(exc), (400, "Bad Request"))
            self.log.info("no request: %s", type(exc).__name__)
        else:
            status, reason = 500, "Internal Server Error"
            self.log.error("the server failed: %s", told_without_values(exc))
        if client.answered:  # in the middle of an answer nothing can be said any more
            return
        with contextlib.suppress(OSError):
            client.sendall(f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())

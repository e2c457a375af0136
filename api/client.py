"""One client's connection in; a request once all of it is here, and its answer as fast as the client takes it, out.

To gunicorn's parser and response it is the socket: what they read has been received before, and what they write waits
in memory where the client does not take it. So no thread ever waits for a client.
"""

from __future__ import annotations

import contextlib
import re
import socket
from typing import Any

from gunicorn.workers.gthread import TConn

from api.bodies import MOST_BYTES

MOST_HEAD = 64 * 1024  # bytes of the request line and headers: gunicorn's own limits are below it
MOST_BODY = MOST_BYTES + 64 * 1024  # no route takes a larger one, so of such a request the head alone is waited for
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*\bchunked\b", re.IGNORECASE)
_EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[^\r\n]*\r\n")


class Client:
    """What gunicorn takes for a socket. `received`: of requests, not read yet; `unsent`: of answers, not taken yet."""

    def __init__(self, raw: socket.socket) -> None:
        raw.setblocking(False)
        self.raw = raw
        self.received = bytearray()
        self.unsent = bytearray()
        self._begin()

    def _begin(self) -> None:
        self.answered = False  # whether anything of an answer was written
        self.ran_dry = False  # whether more was read than had come: where the next request begins is then unknown
        self._body = -1  # where the body begins; -1: the head is not whole
        self._end = -1  # where the request ends; -1: not known yet
        self._chunk = 0  # where the next chunk's size stands
        self._continue = False  # whether the client waits to be told to go on
        self._told = False  # that it may

    def next_request(self, left: bytes) -> None:
        """Begin anew; `left`: what was read behind the last request."""
        self.received[:0] = left
        self._begin()

    # --- what came ---------------------------------------------------------------------------------------------------

    def receive(self, size: int) -> int:
        """Take in at most so many bytes; 0: the client has closed. Raises OSError, BlockingIOError where none came."""
        data = self.raw.recv(size)
        self.received += data
        return len(data)

    def is_whole(self) -> bool:
        """Whether the request can be answered without waiting for more of it: it is here, or none that is answered.
        Raises OSError where the client waits to be told to go on, and is gone."""
        if self._body < 0 and not self._find_head():
            return len(self.received) > MOST_HEAD
        if self._end < 0:
            self._walk_chunks()
        if 0 <= self._end <= len(self.received) or len(self.received) - self._body > MOST_BODY:
            return True
        if self._continue and not self._told:
            self._told = True
            self._put(CONTINUE)
        return False

    def _find_head(self) -> bool:
        at = self.received.find(HEAD_END)
        if at < 0:
            return False
        self._body = self._chunk = at + len(HEAD_END)
        head = bytes(self.received[: at + 2])
        length = _LENGTH.search(head)
        self._continue = _EXPECTS.search(head) is not None
        if not _CHUNKED.search(head):
            size = int(length[1]) if length else 0
            self._end = self._body + (size if size <= MOST_BODY else 0)
        return True

    def _walk_chunks(self) -> None:
        """Step over the chunks that are here. What is no chunk ends the request: the parser will say so."""
        while (line_end := self.received.find(b"\r\n", self._chunk, self._chunk + 8192)) >= 0:
            size = _SIZE.match(self.received, self._chunk)
            if size is None:
                self._end = len(self.received)
                return
            if int(size[1], 16) == 0:  # trailers, and an empty line
                if self.received[line_end + 2 : line_end + 4] == b"\r\n":
                    self._end = line_end + 4
                elif (end := self.received.find(HEAD_END, line_end)) >= 0:
                    self._end = end + 4
                return
            self._chunk = size.end() + int(size[1], 16) + 2
        if len(self.received) - self._chunk > 8192:
            self._end = len(self.received)

    # --- as gunicorn uses it, in a thread ----------------------------------------------------------------------------

    def recv(self, size: int, _flags: int = 0) -> bytes:
        """Of what was received; b"" behind it, as if the client had ended there."""
        taken = bytes(self.received[:size])
        del self.received[:size]
        self.ran_dry |= not taken
        return taken

    def sendall(self, data: Any) -> None:
        """What the client takes at once goes out; the rest waits. Raises OSError where the client is gone."""
        self.answered = True
        self._put(data)

    def send(self, data: Any) -> int:
        """Gunicorn's own CONTINUE, which goes out once."""
        if not self._told:
            self._told = True
            self._put(data)
        return len(data)

    def _put(self, data: Any) -> None:
        if not self.unsent:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                data = memoryview(data)[self.raw.send(data) :]
        self.unsent += data

    def flush(self) -> bool:
        """Whether all is sent now. Raises OSError."""
        while self.unsent:
            try:
                del self.unsent[: self.raw.send(memoryview(self.unsent)[: 256 * 1024])]
            except (BlockingIOError, InterruptedError):
                return False
        return True

    def fileno(self) -> int:
        return self.raw.fileno()

    def getsockname(self) -> Any:
        return self.raw.getsockname()

    def setblocking(self, _: bool) -> None:
        """It never blocks."""

    def settimeout(self, _: float | None) -> None:
        """It never blocks."""

    def shutdown(self, _: int) -> None:
        """Once its answer is sent."""

    def close(self) -> None:
        """Once its answer is sent."""


class Connection(TConn):
    """What the worker hands from its loop to a thread and back."""

    def __init__(self, cfg: Any, raw: socket.socket, address: Any, server: Any) -> None:
        super().__init__(cfg, Client(raw), address, server)
        self.parser: Any = None
        self.data_ready = True
        self.deadline = 0.0
        self.wants = ""  # what it waits for: see Worker
        self.keep = False  # whether another request may follow

    def next_request(self) -> None:
        left = self.parser.unreader.take_buffered() if self.parser is not None else b""
        self.parser, self.initialized = None, False
        self.sock.next_request(left)

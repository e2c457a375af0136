"""Feedback events in, the same events out after any crash: a SQLite file that several processes may write at once.

Each write is one transaction, on disk (WAL, synchronous=FULL) before the call returns. A connection lives for one call:
so there is nothing to share between threads or to carry over a fork, and a process that is killed leaves nothing open.
Every row carries the SHA-256 of its content, so that an altered row is refused and not taken for what was said.

The file must lie on a disk of this machine: SQLite's WAL does not work over a network file system.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from recommender.errors import EngineError, FeedbackUnavailable
from recommender.feedback.events import BadFeedback, FeedbackEvent
from recommender.feedback.summary import Summary, summarise

FILE = "feedback.sqlite3"
SCHEMA_VERSION = 1
APPLICATION = 0x52784662  # "RxFb", in the file's header: tells our file from anyone else's
BUSY_SECONDS = 5.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SCHEMA = f"""
PRAGMA journal_mode = WAL;
BEGIN;
CREATE TABLE events (
    number INTEGER PRIMARY KEY,  -- in order of arrival
    event_id TEXT NOT NULL UNIQUE,
    patient_id TEXT NOT NULL,
    occurred INTEGER NOT NULL,   -- microseconds since 1970, UTC
    content TEXT NOT NULL,       -- the event as JSON
    digest BLOB NOT NULL         -- SHA-256 of content
);
CREATE INDEX events_of_patient ON events (patient_id);
CREATE INDEX events_in_time ON events (occurred);
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""
# of an event: as `_row` gives it
INSERT = "INSERT INTO events (event_id, patient_id, occurred, content, digest) VALUES (?, ?, ?, ?, ?)"
OF_ID = "SELECT event_id, patient_id, occurred, content, digest FROM events WHERE event_id = ?"
OF_PATIENT = "SELECT event_id, patient_id, occurred, content, digest FROM events WHERE patient_id = ? ORDER BY number"
SINCE = "SELECT event_id, patient_id, occurred, content, digest FROM events WHERE occurred >= ? ORDER BY number"
# by SQLite's primary result code
_MEANINGS = {
    sqlite3.SQLITE_FULL: "cannot be written, its disk is full: free some room",
    sqlite3.SQLITE_IOERR: "cannot be read or written (disk full, a limit on file size, or a failing disk): look there",
    sqlite3.SQLITE_BUSY: f"was held by another process for {BUSY_SECONDS:.0f} seconds: try again",
    sqlite3.SQLITE_LOCKED: f"was held by another process for {BUSY_SECONDS:.0f} seconds: try again",
    sqlite3.SQLITE_READONLY: "may not be written by this user: correct its owner and permissions",
    sqlite3.SQLITE_PERM: "may not be used by this user: correct its owner and permissions",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: correct the owner and permissions of the file and its folder",
    sqlite3.SQLITE_CORRUPT: "is damaged and was left as it is: put a backup in its place",
    sqlite3.SQLITE_NOTADB: "is damaged or is no feedback log, and was left as it is: put a backup in its place",
}


class FeedbackConflict(EngineError):
    """An event of that id is stored with other content. `position`: the place among several."""

    def __init__(self, position: int = 0) -> None:
        super().__init__("an event of that event_id is stored with other content: give a new event a new id")
        self.position = position


class FeedbackLog:
    """The feedback of one installation, in `FILE` of its working directory. Every method raises FeedbackUnavailable."""

    def __init__(self, workdir: Path) -> None:
        self.file = workdir / FILE

    def append(self, event: FeedbackEvent) -> bool:
        """As `append_many`, of one event."""
        return self.append_many([event])[0]

    def append_many(self, events: Iterable[FeedbackEvent]) -> list[bool]:
        """Store all the events or none; of each, whether it is new (False: stored before, with the same content).

        Raises FeedbackConflict when an id is stored with other content, and BadFeedback when an event undoes one that
        is not stored, is of another patient or treatment, or takes something back itself.
        """
        with self._transaction() as connection:
            return [_append(connection, event, position) for position, event in enumerate(events)]

    def find(self, event_id: str) -> FeedbackEvent | None:
        with self._reading() as connection:
            return None if connection is None else _find(connection, event_id)

    def events(self, since: datetime | None = None) -> list[FeedbackEvent]:
        """Those that occurred at `since` (UTC) or later, or all, in order of arrival."""
        with self._reading() as connection:
            if connection is None:
                return []
            (sound,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if sound != "ok":
                raise self._unavailable(_MEANINGS[sqlite3.SQLITE_CORRUPT])
            from_ = _microseconds(since) if since is not None else -(2**63)
            return [_event(*row) for row in connection.execute(SINCE, (from_,))]

    def of_patient(self, patient_id: str) -> list[FeedbackEvent]:
        """In order of arrival."""
        with self._reading() as connection:
            return [] if connection is None else [_event(*row) for row in connection.execute(OF_PATIENT, (patient_id,))]

    def forget(self, patient_id: str) -> int:
        """Remove all that is stored of a patient, so that no byte of it stays in our files; how many events that were.

        The bytes are overwritten in the file. What the disk or a backup keeps of earlier bytes is beyond our reach.
        """
        if not self.file.exists():
            return 0
        with self._connected() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            with _immediate(connection):
                gone = connection.execute("DELETE FROM events WHERE patient_id = ?", (patient_id,)).rowcount
            # the journal still holds the pages as they were before
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                raise self._unavailable("is being read: the events are removed, but do this again to clear the journal")
        return gone

    def summary(self, since: datetime | None = None) -> Summary:
        """What the events since then add up to, with their true numbers: see `publishable` before showing any."""
        return summarise(self.events(since))

    # --- the file ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._make()
        with self._connected() as connection, _immediate(connection):
            yield connection

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection for one consistent look; None where nobody has said anything yet."""
        if not self.file.exists():
            yield None
            return
        with self._connected() as connection:
            connection.execute("BEGIN")
            yield connection
            connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._explained():
            if self.file.stat().st_mode & 0o077:
                with contextlib.suppress(PermissionError):  # another's file: whether it may be used is told below
                    self.file.chmod(0o600)
            # mode=rw: a file that is gone is an error, never an empty log in its place
            address = f"file:{quote(str(self.file))}?mode=rw"
            connection = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
            with contextlib.closing(connection):
                self._check(connection)
                connection.execute("PRAGMA synchronous = FULL")
                yield connection

    def _check(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION:
            raise self._unavailable(_MEANINGS[sqlite3.SQLITE_NOTADB])
        if version != SCHEMA_VERSION:
            raise self._unavailable(
                f"has schema {version}, this program knows {SCHEMA_VERSION}: use the version of rxrec that wrote it"
            )

    def _make(self) -> None:
        """The file with its schema, whole from the first moment on: made beside its place, then put there."""
        if self.file.exists():
            return
        with self._explained():
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = os.open(self.file.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)  # one process makes it; the others then find it
                if not self.file.exists():
                    self._make_alone()
                    os.fsync(folder)
            finally:
                os.close(folder)

    def _make_alone(self) -> None:
        new = self.file.with_name(f".{FILE}.{secrets.token_hex(4)}")
        try:
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
                connection.executescript(SCHEMA)
            new.replace(self.file)
        finally:
            for leftover in (new, *(new.with_name(new.name + tail) for tail in ("-wal", "-shm", "-journal"))):
                leftover.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's and the system's errors in words of ours, which hold nothing of an event."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", -1) & 0xFF
            raise self._unavailable(_MEANINGS.get(code, f"cannot be used (SQLite error {code})")) from error
        except _Altered as error:
            raise self._unavailable(_MEANINGS[sqlite3.SQLITE_CORRUPT]) from error
        except OSError as error:
            raise self._unavailable(f"cannot be used: {os.strerror(error.errno or 0)}") from error

    def _unavailable(self, what: str) -> FeedbackUnavailable:
        return FeedbackUnavailable(f"the feedback log {self.file} {what}")


class _Altered(Exception):
    """A row is not what was stored."""


@contextlib.contextmanager
def _immediate(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction that may write from its beginning on: one that begins by reading could not wait for its turn."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _append(connection: sqlite3.Connection, event: FeedbackEvent, position: int) -> bool:
    stored = _find(connection, event.event_id)
    if stored is not None:
        if stored != event:
            raise FeedbackConflict(position)
        return False
    if event.outcome == "undone":
        first = _find(connection, event.undoes)
        if first is None:
            raise BadFeedback("undoes", "names no stored event: send that one first", position)
        of = ("patient_id", "kind", "code")
        if first.outcome == "undone" or any(getattr(first, name) != getattr(event, name) for name in of):
            raise BadFeedback("undoes", "must name an outcome for the same patient and treatment", position)
    connection.execute(INSERT, _row(event))
    return True


def _find(connection: sqlite3.Connection, event_id: str) -> FeedbackEvent | None:
    found = connection.execute(OF_ID, (event_id,)).fetchone()
    return None if found is None else _event(*found)


def _row(event: FeedbackEvent) -> tuple[object, ...]:
    """The columns of an event."""
    content = orjson.dumps(event.as_dict(), option=orjson.OPT_SORT_KEYS).decode()
    digest = hashlib.sha256(content.encode()).digest()
    return event.event_id, event.patient_id, _microseconds(event.occurred), content, digest


def _event(*row: Any) -> FeedbackEvent:
    try:
        event = FeedbackEvent.from_dict(orjson.loads(row[3]))
    except (ValueError, BadFeedback) as error:
        raise _Altered from error
    if _row(event) != row:
        raise _Altered
    return event


def _microseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)

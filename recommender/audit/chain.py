"""AuditEvents in, lines on disk that nobody can remove, alter or reorder unnoticed out; `verify` says where one did.

    {"n":7,"k":1,"prev":"<mac of line 6>","event":{...},"mac":"<HMAC-SHA-256 of all that stands before>"}

`k` names the site's secret that the HMAC is made with, so whoever has the files but not the secret cannot make a chain
of their own. Several processes append at once: under a lock each writes its lines behind the last, and syncs them to
disk before it returns; threads of one process that wait for the disk are written together, with one sync. What was cut
off when a process was killed stays where it is, and the next line accounts for it (`torn`: its length and SHA-256); a
broken line for which none does is one that was altered. `head` holds the number and mac of the last synced line, so
that lines missing at the end are found too. Someone who has the secret and the files can still put an old pair back:
note `rxrec audit head` elsewhere, every night, and `verify --head` holds the log to it.

Files are `audit-{n of the first line}.jsonl`; a new one begins when one is large, and the chain goes on through it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from recommender.access.secret import SiteSecret
from recommender.audit.events import patient_of
from recommender.audit.held import HeldFile, appended
from recommender.errors import AuditBroken, AuditUnavailable, EngineError

FOLDER, LOCK, HEAD = "audit", "lock", "head"
START = "0" * 64  # what the first line follows
LARGEST = 256 * 1024 * 1024
LONGEST_LINE = 64 * 1024
TAIL = len(b',"mac":""}') + 64
TAIL_BYTES = 16 * 1024  # of the end of a file, which holds several lines
LONGEST_NOTE = 1024
Head = tuple[int, str]  # number and mac of a line; (0, START) before the first


@dataclass(frozen=True)
class Verified:
    """What was found to be whole: lines, of which `torn` follow one that a killed process left; the last line."""

    lines: int
    torn: int
    files: int
    head: str


@dataclass
class _Waiting:
    """Events of one `append`. left: nobody has tried to write them yet; said: why they could not be."""

    events: Sequence[orjson.Fragment]
    left: bool = True
    said: str = ""


class AuditLog:
    """The log of one installation, in `FOLDER` of its working directory. Safe to share between threads."""

    def __init__(self, workdir: Path, secret_file: Path) -> None:
        self.folder = workdir / FOLDER
        self._secret_file = secret_file
        self._secret: SiteSecret | None = None
        self._keys: dict[int, bytes] = {}
        self._thread = threading.Lock()
        self._queue: list[_Waiting] = []
        self._queued = threading.Lock()  # for the queue alone: held for a moment
        self._writing = threading.Lock()  # by the one thread that writes for all in the queue
        self._known: tuple[HeldFile, int, Head] | None = None  # file, its size, its last line: as we left it
        self._lock = HeldFile(self.folder / LOCK, os.O_RDWR)
        self._head = HeldFile(self.folder / HEAD, os.O_RDWR)
        self._noted: tuple[bytes, Head] | None = None  # what stands in the note of the last line, as we left it

    # --- writing -----------------------------------------------------------------------------------------------------

    def append(self, events: Sequence[dict[str, Any]]) -> None:
        """All the events, on disk when this returns. Raises AuditUnavailable; then none of them counts as written.

        Threads that append while another waits for the disk are written by the next of them, all with one sync.
        """
        # what cannot be JSON fails here, alone
        mine = _Waiting([orjson.Fragment(orjson.dumps(event)) for event in events])
        with self._queued:
            self._queue.append(mine)
        with self._writing:
            if mine.left:
                with self._queued:
                    together, self._queue = self._queue, []
                said = "it was not written: the server's log says why"
                try:
                    said = self._commit([event for one in together for event in one.events])
                finally:  # whatever happened, nobody may take theirs for written
                    for one in together:
                        one.left, one.said = False, said
        if mine.said:
            raise AuditUnavailable(mine.said)

    def _commit(self, events: Sequence[orjson.Fragment]) -> str:
        """Write and sync; why that could not be done, "" where it was."""
        try:
            with self._alone():
                file, head = self._write(events)
            # outside the lock: the syncs of several processes then share one journey to the disk
            os.fdatasync(file.handle)
            with self._alone():
                self._put_head(head)
        except OSError as error:
            return f"the audit log {self.folder} cannot be written: {os.strerror(error.errno or 0)}"
        except AuditBroken as error:
            return f"nothing is written behind a broken line: {error}"
        except EngineError as error:
            return str(error)
        return ""

    def _write(self, events: Sequence[orjson.Fragment]) -> tuple[HeldFile, Head]:
        """The lines behind the last one: their file, not synced yet, and its last line."""
        known, self._known = self._known, None
        file, size, head, rest = self._end(known)
        k = self._secrets().number
        lines: list[bytes] = []
        bodies: list[dict[str, Any]] = [{"event": event} for event in events]
        if rest:  # what was cut off becomes lines of its own, which the next one accounts for
            lines.append(b"" if rest.endswith(b"\n") else b"\n")
            bodies.insert(0, {"torn": _mark(rest)})
        for body in bodies:
            line, mac = _line({"n": head[0] + 1, "k": k, "prev": head[1], **body}, self._key(k))
            lines.append(line)
            head = (head[0] + 1, mac)
        content = b"".join(lines)
        try:
            written = 0
            while written < len(content):
                written += os.write(file.handle, content[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(file.handle, size)  # still under the lock: these bytes were nobody's yet
            raise
        self._known = (file, size + len(content), head)
        return file, head

    def _end(self, known: tuple[HeldFile, int, Head] | None) -> tuple[HeldFile, int, Head, bytes]:
        """The file to append to and its size; the last whole line of the log, and what a killed process left behind
        it. One that is as we left it, and not full, is still the last: nobody has begun another behind it."""
        if known and known[1] < LARGEST and known[0].size() == known[1]:
            return *known, b""
        files = self.files()
        file = appended(files[-1] if files else self.folder / _name(1))
        size = file.size() or 0
        head, rest = self._last(files)
        noted = self.head()
        if noted is not None and (noted[0] > head[0] or (noted[0] == head[0] and noted[1] != head[1])):
            raise AuditBroken(f"the end of {file.path.name} was removed or altered")
        if size < LARGEST or rest:
            return file, size, head, rest
        file = appended(self.folder / _name(head[0] + 1))
        return file, file.size() or 0, head, b""

    def _last(self, files: list[Path]) -> tuple[Head, bytes]:
        """The last whole line of the last file that has one, and the bytes behind it in the last file."""
        for file in reversed(files):
            size = file.stat().st_size
            for length in (TAIL_BYTES, 4 * LONGEST_LINE):
                tail = _tail(file, size, length)
                end = len(tail)
                while (end := tail.rfind(b"\n", 0, end)) >= 0:
                    start = tail.rfind(b"\n", 0, end) + 1
                    body = self._checked(tail[start : end + 1])
                    if body is not None:
                        return (body["n"], body["_mac"]), tail[end + 1 :] if file == files[-1] else b""
                if length >= size:
                    break
            if size:
                if file != files[0] or size > LONGEST_LINE:
                    raise AuditBroken(f"{file.name} holds no whole line at its end")
                return (0, START), _tail(file, size, size)
        return (0, START), b""

    def _put_head(self, head: Head) -> None:
        found = self._note()
        if found is not None and self._noted_in(found)[0] >= head[0]:
            return
        k = self._secrets().number
        mac = hmac.digest(self._key(k), f"head {head[0]}:{head[1]}".encode(), hashlib.sha256).hex()
        text = f"{head[0]}:{head[1]}:{k}:{mac}\n".encode()
        if found is None:
            self._head.make()
        os.pwrite(self._head.handle, text, 0)
        if found is not None and len(found) > len(text):
            os.ftruncate(self._head.handle, len(text))
        self._noted = (text, head)

    # --- reading -----------------------------------------------------------------------------------------------------

    def head(self) -> Head | None:
        """The last synced line that is noted; None before the first. Raises AuditBroken where the note was altered."""
        note = self._note()
        return None if note is None else self._noted_in(note)

    def _note(self) -> bytes | None:
        """What stands in the note of the last line."""
        size = self._head.size()
        return None if size is None else os.pread(self._head.handle, min(size, LONGEST_NOTE), 0)

    def _noted_in(self, note: bytes) -> Head:
        if self._noted and note == self._noted[0]:
            return self._noted[1]
        try:
            number, mac, k, said = note.decode("ascii", "replace").strip().split(":")
            right = hmac.digest(self._key(int(k)), f"head {number}:{mac}".encode(), hashlib.sha256).hex()
            if hmac.compare_digest(right, said):
                return int(number), mac
        except (ValueError, EngineError):
            pass
        raise AuditBroken(f"{self.folder / HEAD} was altered: it is not the note that was left of the last line")

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("audit-*.jsonl"))

    def lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(place, line) of every line, each held against the one before it. Raises AuditBroken at the first that is
        not what was written; what a killed process left is passed over where the next line accounts for it."""
        with self._alone():  # as the log stands at one moment: others go on writing
            noted, files = self.head(), [(file, file.stat().st_size) for file in self.files()]
        last: Head = (0, START)
        for file, size in files:
            rest = b""
            for count, raw in enumerate(_raw(file, size), 1):
                place = f"{file.name} line {count:,}"
                body = self._checked(raw)
                if body is None:
                    rest += raw
                    if len(rest) > 16 * LONGEST_LINE:
                        raise AuditBroken(f"{place} was altered, or is not ours")
                    continue
                if (body["n"], body["prev"]) != (last[0] + 1, last[1]):
                    after = f"line number {body['n']:,} does not follow {last[0]:,}"
                    raise AuditBroken(f"{place}: {after}: lines before it were removed, altered, reordered or put in")
                if body.get("torn") not in _marks(rest):
                    raise AuditBroken(f"the line before {place} was altered, or is not ours")
                rest, last = b"", (body["n"], body["_mac"])
                if noted is not None and noted[0] == last[0] and noted[1] != last[1]:
                    raise AuditBroken(f"{place} is not the line that was noted when it was written")
                yield place, body
            if rest and file != files[-1][0]:
                raise AuditBroken(f"the last line of {file.name} was altered, or is not ours")
        if noted is not None and noted[0] > last[0]:
            raise AuditBroken(f"{noted[0] - last[0]:,} lines are missing at the end: {noted[0]:,} were written")

    def verify(self, head: str = "") -> Verified:
        """Every line of every file; `head`: one that `rxrec audit head` told earlier. Raises AuditBroken."""
        lines = torn = 0
        last, found = f"0:{START}", not head
        for _, body in self.lines():
            lines += 1
            torn += "torn" in body
            last = f"{body['n']}:{body['_mac']}"
            found |= last == head
        if not found:
            raise AuditBroken("the log does not hold the line that was noted elsewhere: it was replaced or cut")
        return Verified(lines, torn, len(self.files()), last)

    def of_patient(self, patient_id: str) -> Iterator[dict[str, Any]]:
        """The AuditEvents about a patient, oldest first; every line is verified on the way. Raises AuditBroken."""
        for _, body in self.lines():
            if "event" in body and patient_of(body["event"]) == patient_id:
                yield body["event"]

    def _checked(self, raw: bytes) -> dict[str, Any] | None:
        """The line's content with its mac as `_mac`; None where it is not what was written."""
        line = raw.rstrip(b"\n")
        if not raw.endswith(b"\n") or len(line) <= TAIL or line[-TAIL : -TAIL + 8] != b',"mac":"':
            return None
        content = line[:-TAIL] + b"}"
        try:
            body = orjson.loads(content)
            right = hmac.digest(self._key(int(body["k"])), content, hashlib.sha256).hex()
            said = line[-66:-2].decode("ascii", "replace")
            return {**body, "_mac": right} if hmac.compare_digest(right.encode(), said.encode()) else None
        except (ValueError, KeyError, TypeError, EngineError):
            return None

    # --- alone -------------------------------------------------------------------------------------------------------

    def _secrets(self) -> SiteSecret:
        if self._secret is None:
            self._secret = SiteSecret.load(self._secret_file)
        return self._secret

    def _key(self, k: int) -> bytes:
        if k not in self._keys:
            if k not in self._secrets().numbers:
                self._secret = None  # rotated meanwhile
            self._keys[k] = self._secrets().derive("audit", k)
        return self._keys[k]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Among the threads of this process and all processes of the installation."""
        with self._thread:
            self._lock.make()
            handle = self._lock.handle
            fcntl.flock(handle, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)


# --- lines -----------------------------------------------------------------------------------------------------------


def _name(number: int) -> str:
    return f"audit-{number:015d}.jsonl"


def _line(body: dict[str, Any], key: bytes) -> tuple[bytes, str]:
    content = orjson.dumps(body)
    mac = hmac.digest(key, content, hashlib.sha256).hex()
    return content[:-1] + b',"mac":"' + mac.encode() + b'"}\n', mac


def _raw(file: Path, size: int) -> Iterator[bytes]:
    """The lines of a file up to `size`, in pieces of a bounded length: what is no line must not fill the memory."""
    with file.open("rb") as opened:
        while size > 0 and (line := opened.readline(min(size, LONGEST_LINE))):
            size -= len(line)
            yield line


def _mark(rest: bytes) -> dict[str, Any]:
    return {"bytes": len(rest), "sha256": hashlib.sha256(rest).hexdigest()}


def _marks(rest: bytes) -> tuple[dict[str, Any] | None, ...]:
    """How the next line may account for what was cut off: with the end of line that was put behind it, or without."""
    return (_mark(rest), _mark(rest.removesuffix(b"\n"))) if rest else (None,)


def _tail(file: Path, size: int, length: int) -> bytes:
    with file.open("rb") as opened:
        opened.seek(max(0, size - length))
        return opened.read(length)

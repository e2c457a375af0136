"""An answer's ETag in, its bytes out where this process has made the same answer before; kept in a bounded space.

An ETag names all that an answer is made from (`answers.etag`: version, rules, formulary, day, the patient and every
byte of the entry, what was asked for), so what is found under it is what would be made anew. A request reads the entry
before it asks here: an entry that is gone (forgotten, retired) leaves nothing to ask with. What is kept is of one
version and day, and of one list of people who were forgotten: the first request of another throws all of it away.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from flask import current_app

MIB = 1024 * 1024
Of = tuple[str, int]  # version, days since its charts were read


class Kept:
    """Safe to share between threads. most: bytes of answers, those asked for longest ago leave first; 0 keeps none.
    forgotten: the file of those who were forgotten, of whom nothing may stay in memory either."""

    def __init__(self, most: int, forgotten: Path) -> None:
        self._most, self._forgotten = most, forgotten
        self._lock = threading.Lock()
        self._of: tuple[Of, int] | None = None
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self.size = 0

    def body(self, of: Of, name: str, make: Callable[[], bytes], holds: Callable[[], bool] = lambda: True) -> bytes:
        """What is kept under the name, else what `make` makes. name: the ETag, with all else that the bytes depend on.

        holds: whether the name is still right once they are made; if not, or where `make` raises, nothing is kept.
        """
        now = of, _changed(self._forgotten)
        found = self._find(now, name)
        if found is None:
            found = make()  # outside the lock: two that ask for the same at once both make it, and nobody else waits
            if holds():
                self._keep(now, name, found)
        return found

    def _find(self, of: tuple[Of, int], name: str) -> bytes | None:
        with self._lock:
            if of != self._of:
                self._of, self.size = of, 0
                self._bodies.clear()
            found = self._bodies.get(name)
            if found is not None:
                self._bodies.move_to_end(name)
            return found

    def _keep(self, of: tuple[Of, int], name: str, body: bytes) -> None:
        with self._lock:
            if of != self._of or name in self._bodies or len(body) > self._most:
                return
            self._bodies[name] = body
            self.size += len(body)
            while self.size > self._most:
                self.size -= len(self._bodies.popitem(last=False)[1])


def _changed(file: Path) -> int:
    """When a file was last changed, in nanoseconds; 0 where there is none."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def kept() -> Kept:
    """The current application's `Kept`."""
    found = current_app.extensions["rxrec_kept"]
    assert isinstance(found, Kept)  # noqa: S101  (for the type checker: create_app put it there)
    return found

"""A path in, its file kept open between uses out."""

from __future__ import annotations

import os
from pathlib import Path


class HeldFile:
    """A file that stays open, as long as its path leads to it and the process is the same: one that was forked shares
    its parent's locks. To open the log's files anew for each line took longer than to write it."""

    def __init__(self, path: Path, flags: int = os.O_RDWR) -> None:
        self.path, self.handle = path, -1
        self._named = os.fspath(path)
        self._flags = flags | os.O_CLOEXEC
        self._of = (0, 0)  # process, inode

    def __del__(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)

    def size(self) -> int | None:
        """Bytes of it now; None where there is none."""
        try:
            about = os.stat(self._named)  # noqa: PTH116  (a third of the time of Path.stat)
            if (os.getpid(), about.st_ino) != self._of:
                self._open(self._flags)
        except FileNotFoundError:
            return None
        return about.st_size

    def make(self) -> bool:
        """Make it where it is not there; whether it was not."""
        if self.size() is not None:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._open(self._flags | os.O_CREAT)
        return True

    def _open(self, flags: int) -> None:
        opened = os.open(self.path, flags, 0o600)
        if self.handle >= 0:
            os.close(self.handle)
        self.handle, self._of = opened, (os.getpid(), os.fstat(opened).st_ino)


def appended(path: Path) -> HeldFile:
    """The file, to append to; made where it is not there, and then in its folder for good."""
    file = HeldFile(path, os.O_RDWR | os.O_APPEND)
    if file.make():
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return file

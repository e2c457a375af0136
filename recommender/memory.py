"""How much memory a night may take in; what of it is left, and a refusal before work that would not fit, out.

Resident memory is meant: what the process holds and what lies in memory of the files that it has mapped. Of those it
lets go between two blocks of patients, so they take no more than a block has touched. The numbers are Linux's
(/proc/self); where there are none, a limit bounds the blocks and is not watched.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import re
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from recommender.errors import EngineError, NotEnoughMemory

MIB = 1 << 20
UNITS = {"B": 1, "KIB": 1 << 10, "MIB": MIB, "GIB": 1 << 30, "TIB": 1 << 40, "KB": 10**3, "MB": 10**6, "GB": 10**9}
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
READING = 512 * MIB  # that rows in work take where there is enough
LEAST_READING = 32 * MIB
_mapped: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()  # every file of ours that this process has mapped


def in_bytes(told: str) -> int:
    """ "3GiB", "800 MB" or a number of bytes. Raises EngineError for anything else."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]*)", told.strip(), re.IGNORECASE | re.ASCII)
    unit = UNITS.get((found[2] or "B").upper()) if found else None
    if found is None or unit is None or float(found[1]) * unit < 1:
        raise EngineError(f"memory is a number with a unit, such as 3GiB or 800MiB, not {told!r}")
    return int(float(found[1]) * unit)


def in_words(size: float) -> str:
    """Rounded up, so that what is told is enough."""
    mebibytes = -(-int(size) // MIB)
    return f"{mebibytes}MiB" if mebibytes < 4096 else f"{-(-10 * mebibytes // 1024) / 10:g}GiB"


@dataclass(frozen=True)
class Memory:
    """`limit`: bytes that the process may have resident. `asked`: it was set, so what cannot keep to it is refused;
    else it is what the machine has, and what may not fit there is only warned of."""

    limit: int
    asked: bool = True

    @classmethod
    def of(cls, asked: int = 0) -> Memory:
        """`asked`: bytes; 0: what this machine, or the container, has."""
        return cls(asked, True) if asked else cls(_there_is(), False)

    def room(self) -> int:
        """What is left of it once the mapped files are let go."""
        let_go()
        return max(0, self.limit - resident())

    def in_work(self, least: int, most: int, beside: int = 0, share: int = 3) -> int:
        """Bytes that what is worked on at a time may take: a share (one in so many) of the room, as work makes copies
        and the allocators give back late. beside: what is taken however little is worked on."""
        return most if not self.asked else min(most, max(least, (self.room() - beside) // share))

    def needs(self, what: str, more: int) -> str:
        """A word of warning, "" where there is no need for one. more: bytes that come on top of what is resident now.

        Raises NotEnoughMemory where the limit was asked for and is too low.
        """
        left = self.room()
        if more <= left:
            return ""
        needed = self.limit - left + more
        said = f"{what} needs about {in_words(needed)} of memory, and"
        if self.asked:
            raise NotEnoughMemory(
                f"{said} RXREC_MEMORY (or --memory) allows {in_words(self.limit)}: set it to {in_words(needed)} or more"
            )
        return f"{said} this machine has {in_words(self.limit)}: it may be ended by the system"

    def keep(self) -> None:
        """Between two blocks of work: let go what need not be resident, once half of the limit is taken."""
        if self.asked and resident() > self.limit // 2:
            let_go()


def resident() -> int:
    """Bytes; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    return 0


def mapped(file: IO[bytes]) -> mmap.mmap:
    """A file in place of memory, as long as the value is held; not of an empty one.

    It can be written to, and the file then changes: compiled loops know no other arrays. Nobody does, and the hash of
    a stage's file would tell.
    """
    whole = mmap.mmap(file.fileno(), 0)
    _mapped.add(whole)
    return whole


def let_go() -> None:
    """Pages of mapped files, which stay in the system's cache as long as that has room, and what was freed already."""
    for whole in list(_mapped):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed meanwhile; no Linux
            whole.madvise(mmap.MADV_DONTNEED)
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _there_is() -> int:
    """Bytes of this machine, or of its container."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in CGROUPS:
        with contextlib.suppress(OSError, ValueError):
            there = min(there, int(Path(file).read_text()))
    return there


class Growing:
    """An array of one dimension that is made piece by piece: in an unnamed file of the folder `scratch`, which goes
    when the array does; in memory where there is none."""

    def __init__(self, dtype: type[np.generic], scratch: Path | None) -> None:
        self._dtype = np.dtype(dtype)
        self._pieces: list[np.ndarray] = []
        self._scratch, self._file = scratch, None if scratch is None else _unnamed(scratch)

    def __del__(self) -> None:  # of a night that failed
        file: IO[bytes] | None = getattr(self, "_file", None)
        if file is not None:
            file.close()

    def append(self, piece: np.ndarray) -> None:
        piece = np.ascontiguousarray(piece, dtype=self._dtype)
        if self._file is None:
            self._pieces.append(piece)
        elif len(piece):
            try:
                self._file.write(piece.data.cast("B"))
            except OSError as error:
                raise EngineError(f"{self._scratch} has no room for a night: {error.strerror}") from None

    def whole(self) -> np.ndarray:
        """All of it; nothing can be appended any more."""
        if self._file is None:
            pieces, self._pieces = self._pieces, []
            return np.concatenate([np.empty(0, self._dtype), *pieces])
        with self._file as file:
            file.flush()
            return np.frombuffer(mapped(file), self._dtype) if file.tell() else np.empty(0, self._dtype)


def _unnamed(folder: Path) -> IO[bytes]:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise EngineError(f"{folder} cannot be written: {error.strerror}") from None

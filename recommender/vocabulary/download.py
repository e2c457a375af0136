"""A site's download (a folder, a zip or a file of it) and a file's name in, that file's bytes as a stream out.

A zip is read where it is, never unpacked: RxNorm's is some gigabytes, and what is written nowhere can lead out of no
folder. Every reader of these streams holds a bounded part of them.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from recommender.errors import InputError

MOST_RATIO = 200  # text of tables shrinks to a fifth or a thirtieth; a bomb to a thousandth
SMALL = 64 << 20  # bytes; what unpacks to less may have any ratio
INNER = "rrf"  # RxNorm's folder of tables, in the zip and where it is unpacked
OTHER_EDITION = "prescribe"  # the full release also holds a subset of itself there, under the same file names


@contextmanager
def opened(path: Path, pattern: str) -> Iterator[tuple[IO[bytes], str]]:
    """The one file of the download whose name matches `pattern` (in any letter case), and its name for messages.

    Raises InputError when there is none or several, or when it cannot be read, also while it is being read.
    """
    found = _matching(path, pattern)
    if not found:
        wanted = pattern.replace("\\", "")
        raise InputError(f"there is no file {wanted} here: name the folder or zip of the download", file=str(path))
    if len(found) > 1:
        raise InputError(f"{' and '.join(sorted(found))}: name the folder that holds the one to read", file=str(path))
    ((name, open_it),) = found.items()
    try:
        with open_it() as stream:
            yield stream, PurePosixPath(name).name
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError("the zip is cut off or damaged: download it again", file=path.name) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=PurePosixPath(name).name) from error


def has(path: Path, pattern: str) -> bool:
    """Whether the download holds such a file."""
    return bool(_matching(path, pattern))


def _matching(path: Path, pattern: str) -> dict[str, Callable[[], AbstractContextManager[IO[bytes]]]]:
    """Name within the download -> how to open it."""
    wanted = re.compile(pattern, re.IGNORECASE)
    try:
        if path.is_dir():
            files = [file for file in (*path.iterdir(), *path.glob(f"{INNER}/*")) if file.is_file()]
            return {
                str(file.relative_to(path)): partial(_of_file, file) for file in files if wanted.fullmatch(file.name)
            }
        if not path.exists():
            raise InputError("no such file or folder", file=str(path))
        if not zipfile.is_zipfile(path) and path.suffix.lower() != ".zip":
            return {path.name: partial(_of_file, path)} if wanted.fullmatch(path.name) else {}
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except zipfile.BadZipFile as error:
        raise InputError("the zip is cut off or damaged: download it again", file=path.name) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=str(path)) from error
    found: dict[str, Callable[[], AbstractContextManager[IO[bytes]]]] = {}
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        if parts and wanted.fullmatch(parts[-1]) and OTHER_EDITION not in parts and "__MACOSX" not in parts:
            _refuse_strange(entry, path.name)
            found[entry.filename] = partial(_of_zip, path, entry)
    return found


def _refuse_strange(entry: zipfile.ZipInfo, file: str) -> None:
    if entry.flag_bits & 1:
        raise InputError("the zip is encrypted: unpack it first", file=file)
    if entry.file_size > SMALL and entry.file_size > MOST_RATIO * max(entry.compress_size, 1):
        raise InputError(f"an entry of the zip unpacks to over {MOST_RATIO} times its size: refused", file=file)


def _of_file(path: Path) -> IO[bytes]:
    return path.open("rb")


@contextmanager
def _of_zip(path: Path, entry: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive, archive.open(entry) as stream:  # gives no more bytes than the entry declares
        yield stream

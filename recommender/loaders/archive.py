"""A zip of an export in, a private folder with its tables out, which is gone when they have been read.

Tables lie flat in that folder, whatever folder of the zip they were in. What could harm the machine is refused before
or while it is unpacked: a path out of the folder, a link, a size or ratio that only a bomb has.
"""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from recommender.errors import InputError
from recommender.loaders.files import SUFFIXES

READABLE = (*SUFFIXES, ".json", ".json.gz", ".ndjson", ".ndjson.gz")
MOST_ENTRIES = 10_000
MOST_RATIO = 200  # text of tables shrinks to a fifth or a thirtieth; a bomb to a thousandth
SMALL = 64 << 20  # bytes; what unpacks to less may have any ratio
RESERVE = 1 << 30  # bytes of the disk that stay free
CHUNK = 1 << 20


def is_zip(path: Path) -> bool:
    """By its name, so that a damaged one is told as such, or by what it is."""
    return path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path))


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A folder, for the owner's eyes only, with the tables of the zip `path`. Raises InputError."""
    with tempfile.TemporaryDirectory(prefix="rxrec-") as private:
        folder = Path(private) / path.name  # so that a message about the folder says which zip it was
        folder.mkdir()
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in _tables(archive, path.name, shutil.disk_usage(private).free - RESERVE):
                    _unpack(archive, entry, folder, path.name)
        except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, ValueError):
            raise InputError("the zip is cut off or damaged: copy or export it again", file=path.name) from None
        except (NotImplementedError, RuntimeError):
            raise InputError(
                "the zip is encrypted, or packed in a way that is not known here", file=path.name
            ) from None
        except OSError as error:
            raise InputError(
                f"the zip cannot be unpacked: {error.strerror or 'it is damaged'}", file=path.name
            ) from None
        yield folder


def _tables(archive: zipfile.ZipFile, file: str, room: int) -> list[zipfile.ZipInfo]:
    """The entries that hold tables. Raises InputError for a zip with an entry that no honest export has."""
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise InputError(f"the zip has more than {MOST_ENTRIES:,} entries, so it is no export", file=file)
    for entry in entries:
        _refuse_strange(entry, file)
    tables = [entry for entry in entries if _holds_table(entry)]
    if sum(entry.file_size for entry in tables) > room:
        raise InputError("the zip unpacks to more than the disk has room for: unpack it elsewhere", file=file)
    names = [_base(entry).lower() for entry in tables]
    if len(set(names)) < len(names):
        twice = min(name for name in names if names.count(name) > 1)
        raise InputError(f"{twice} is in the zip twice: keep the one that is up to date", file=file)
    return tables


def _refuse_strange(entry: zipfile.ZipInfo, file: str) -> None:
    # zipfile has already cut the name at a NUL and turned the machine's own separators; a zip's are strokes
    name = entry.orig_filename
    if "\\" in name or "\0" in name or name.startswith("/") or PureWindowsPath(name).drive:
        raise InputError("an entry of the zip has an absolute path or one of another system: refused", file=file)
    if ".." in PurePosixPath(name).parts:
        raise InputError("an entry of the zip leads out of its folder: refused", file=file)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError("an entry of the zip is a link or a device: refused", file=file)
    if entry.file_size > SMALL and entry.file_size > MOST_RATIO * max(entry.compress_size, 1):
        raise InputError(f"an entry of the zip unpacks to over {MOST_RATIO} times its size: refused", file=file)


def _holds_table(entry: zipfile.ZipInfo) -> bool:
    name = _base(entry)
    hidden = name.startswith(".") or "__MACOSX" in PurePosixPath(entry.filename).parts
    return not entry.is_dir() and not hidden and name.lower().endswith(READABLE)


def _base(entry: zipfile.ZipInfo) -> str:
    return PurePosixPath(entry.filename).name


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, file: str) -> None:
    """Never more bytes than were declared: a size that lies is found out while unpacking."""
    written = 0
    with archive.open(entry) as packed, (folder / _base(entry)).open("xb") as table:
        while data := packed.read(CHUNK):
            written += len(data)
            if written > entry.file_size:
                raise InputError("an entry of the zip is longer than it says: refused", file=file)
            table.write(data)
    if written != entry.file_size:
        raise InputError("an entry of the zip is shorter than it says: copy or export it again", file=file)

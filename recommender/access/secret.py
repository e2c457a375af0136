"""A file of random bytes in, keys for one purpose each out: for pseudonyms, the audit chain and encrypted files.

The file has a line a secret, `number:hex`, the newest first. The newest makes; all of them check, so that after
`rotate` what was made before still holds. Whoever has the file can make what we make: keep it from backups of the data.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from recommender.errors import EngineError
from recommender.sealing import Seal
from recommender.settings import Settings

BYTES = 32
FILE = "site.key"
_LINE = re.compile(r"(\d{1,6}):([0-9a-f]{64})")


class SiteSecret:
    """The secrets of one installation, newest first. Made at the first use where there is no file."""

    def __init__(self, secrets_: dict[int, bytes]) -> None:
        self._secrets = secrets_

    @property
    def number(self) -> int:
        """Of the newest."""
        return next(iter(self._secrets))

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(self._secrets)

    def derive(self, purpose: str, number: int | None = None) -> bytes:
        """A key (32 bytes) for `purpose` alone (HMAC-SHA-256 as in HKDF-Expand). Raises EngineError for a number that
        the file does not hold."""
        number = self.number if number is None else number
        if number not in self._secrets:
            raise EngineError(f"the site's secret number {number} is not in its file: put it back from your backup")
        return hmac.digest(self._secrets[number], b"rxrec " + purpose.encode() + b"\x01", hashlib.sha256)

    @classmethod
    def load(cls, file: Path) -> SiteSecret:
        """Raises EngineError where the file is not ours alone, or cannot be read."""
        with _explained(file):
            if not file.exists():
                _change(file, lambda found: found or {1: secrets.token_bytes(BYTES)})
            if file.stat().st_mode & 0o077:
                raise EngineError(f"{file} may be read by others than its owner: `chmod 600` it and rotate it")
            return cls(_read(file))

    @classmethod
    def rotate(cls, file: Path) -> SiteSecret:
        """A new one in front; what was made with those before still checks."""
        with _explained(file):
            return cls(_change(file, lambda found: {max(found, default=0) + 1: secrets.token_bytes(BYTES), **found}))


def seal_of(settings: Settings) -> Seal | None:
    """What files with patients' data are encrypted with; None where the settings do not ask for it. Raises
    EngineError where the secret cannot be used."""
    if not settings.encrypt_files:
        return None
    secret = SiteSecret.load(settings.secret_file)
    return Seal(settings.workdir, secret.number, lambda number: secret.derive("files", number))


def _read(file: Path) -> dict[int, bytes]:
    found = [_LINE.fullmatch(line) for line in file.read_text().split()]
    if not found or not all(found):
        raise EngineError(f"{file} is no file of secrets of ours: put a backup in its place")
    return {int(one[1]): bytes.fromhex(one[2]) for one in found if one}


def _change(file: Path, change: object) -> dict[int, bytes]:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(file.parent):
        found = change(_read(file) if file.exists() else {})  # type: ignore[operator]
        replace_private(file, "".join(f"{number}:{one.hex()}\n" for number, one in found.items()).encode())
    return dict(found)


@contextlib.contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        said = os.strerror(error.errno or 0) if isinstance(error, OSError) else "it is no text"
        raise EngineError(f"the site's secret {file} cannot be used: {said}") from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone among the processes that change files of this folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def replace_private(file: Path, content: bytes) -> None:
    """The whole file or the one before, after any crash; readable by its owner only."""
    new = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)

"""A file of API keys in, the key that a caller presented out; and the changes that `rxrec keys` makes to the file.

A key is `rxk_{id}_{secret}`: the id finds it in the file and may be seen, the secret is 256 random bits and is shown
once. The file keeps SHA-256 of the secret. A slow hash (scrypt, argon2) protects what people choose, because it can be
guessed; 2^256 cannot, and a slow hash at every request would let anyone keep the server busy with wrong keys.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from recommender.access.secret import locked, replace_private
from recommender.errors import EngineError

FILE = "keys.json"
FORMAT = 1
PREFIX = "rxk"
_KEY = re.compile(r"rxk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NOBODY = hashlib.sha256(b"nobody").hexdigest()
LONGEST_NAME = 100


@dataclass(frozen=True)
class Key:
    """One key as the file keeps it. Times are ISO 8601 in UTC; an empty `expires` or `revoked` means never.

    `panel`: SHA-256 of salt and patient id of each patient that a clinician may see, None: all.
    """

    id: str
    name: str
    role: str
    hash: str
    created: str
    expires: str
    revoked: str = ""
    salt: str = ""
    panel: tuple[str, ...] | None = None

    def lives(self, now: datetime) -> bool:
        stamp = now.astimezone(UTC).isoformat(timespec="seconds")
        return not (self.revoked and self.revoked <= stamp) and not (self.expires and self.expires <= stamp)

    @property
    def state(self) -> str:
        now = datetime.now(UTC)
        return "live" if self.lives(now) else "revoked" if self.revoked else "expired"


class KeyFile:
    """The keys of one installation. Read again whenever the file changed, so that a revoked key stops at once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._stamp: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}

    def all(self) -> tuple[Key, ...]:
        """Raises EngineError where the file cannot be read: then nobody is let in."""
        return tuple(self._current().values())

    def find(self, presented: str, now: datetime | None = None) -> Key | None:
        """The live key that was presented. Takes as long for an unknown id as for a wrong secret."""
        parsed = parse_key(presented)
        id_, secret = parsed or ("", "")
        found = self._current().get(id_)
        right = hmac.compare_digest(_hash(secret), found.hash if found else _NOBODY)
        return found if found and right and found.lives(now or datetime.now(UTC)) else None

    def by_id(self, id_: str, now: datetime | None = None) -> Key | None:
        """A live key by its id: what a session that was opened with it asks at each request."""
        found = self._current().get(id_)
        return found if found and found.lives(now or datetime.now(UTC)) else None

    def make(self, name: str, role: str, days: int, panel: Iterable[str] | None = None) -> tuple[Key, str]:
        """A new key and its text, which is not kept. Raises EngineError for a name that cannot be shown in one line."""
        if not name.isprintable() or not 1 <= len(name.strip()) <= LONGEST_NAME:
            raise EngineError(f"a key's name must be 1 to {LONGEST_NAME} printable characters")
        now, secret, salt = datetime.now(UTC), secrets.token_urlsafe(32), secrets.token_hex(8)
        hashed = None if panel is None else tuple(sorted({panel_hash(salt, one) for one in panel}))
        id_ = secrets.token_hex(6)
        key = Key(
            id_, name.strip(), role, _hash(secret), _text(now), _text(now + timedelta(days=days)), "", salt, hashed
        )
        self._change(lambda keys: {**keys, id_: key})
        return key, f"{PREFIX}_{id_}_{secret}"

    def rotate(self, id_: str, days: int, overlap_hours: int) -> tuple[Key, str]:
        """A new key of the same name, role and panel; the old one works for `overlap_hours` more."""
        now, secret, new = datetime.now(UTC), secrets.token_urlsafe(32), secrets.token_hex(6)
        until = _text(now + timedelta(hours=overlap_hours))

        def change(keys: dict[str, Key]) -> dict[str, Key]:
            old = _found(keys, id_)
            if not old.lives(now):
                raise EngineError(f"key {id_} is {old.state}: make a new one with `rxrec keys add`")
            fresh = replace(
                old, id=new, hash=_hash(secret), created=_text(now), expires=_text(now + timedelta(days=days))
            )
            return {**keys, id_: replace(old, expires=min(until, old.expires or until)), new: fresh}

        return self._change(change)[new], f"{PREFIX}_{new}_{secret}"

    def revoke(self, id_: str) -> Key:
        """It lets nobody in from now on, nor the sessions that it opened; it stays in the list. Raises EngineError."""

        def change(keys: dict[str, Key]) -> dict[str, Key]:
            old = _found(keys, id_)
            return {**keys, id_: replace(old, revoked=old.revoked or _text(datetime.now(UTC)))}

        return self._change(change)[id_]

    def _current(self) -> dict[str, Key]:
        try:
            about = self.file.stat()
            stamp = (about.st_mtime_ns, about.st_size, about.st_ino)
            if stamp != self._stamp:
                if about.st_mode & 0o007:
                    raise EngineError(f"the keys {self.file} may be read by everyone: `chmod o= {self.file}`")
                self._keys, self._stamp = _parsed(self.file.read_bytes(), self.file), stamp
        except FileNotFoundError:
            self._keys, self._stamp = {}, None
        except OSError as error:
            raise EngineError(f"the keys {self.file} cannot be read: {os.strerror(error.errno or 0)}") from error
        return self._keys

    def _change(self, change: Any) -> dict[str, Key]:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(self.file.parent):
                self._stamp = None
                keys: dict[str, Key] = change(self._current())
                told = {"format": FORMAT, "keys": [asdict(key) for key in keys.values()]}
                replace_private(self.file, orjson.dumps(told, option=orjson.OPT_INDENT_2))
        except OSError as error:
            raise EngineError(f"the keys {self.file} cannot be written: {os.strerror(error.errno or 0)}") from error
        self._stamp = None
        return keys


def parse_key(text: str) -> tuple[str, str] | None:
    """(id, secret) of a text that has the form of a key."""
    found = _KEY.fullmatch(text)
    return (found[1], found[2]) if found else None


def panel_hash(salt: str, patient_id: str) -> str:
    return hashlib.sha256(f"{salt}\0{patient_id}".encode(errors="surrogatepass")).hexdigest()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def _found(keys: dict[str, Key], id_: str) -> Key:
    if id_ not in keys:
        raise EngineError("no key of that id: see `rxrec keys list`")
    return keys[id_]


def _parsed(content: bytes, file: Path) -> dict[str, Key]:
    try:
        told = orjson.loads(content)
        if told["format"] != FORMAT:
            raise ValueError
        keys = [Key(**{**one, "panel": None if one["panel"] is None else tuple(one["panel"])}) for one in told["keys"]]
    except (ValueError, TypeError, KeyError) as error:
        raise EngineError(f"the keys {file} are no file of ours: put a backup in its place") from error
    return {key.id: key for key in keys}

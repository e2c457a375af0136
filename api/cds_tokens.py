"""What a card is about in, its `uuid` out; and a `uuid` that a client reports back in, what the card was about out.

A client's feedback names a card by its uuid alone: neither patient nor drug. So that nothing about patients need be
kept until it comes, the uuid carries both, sealed: nobody without this installation's key can read it or make one, and
it may stand in a client's log. It is a text of letters, digits, `-` and `_`, as long as what it holds; CDS Hooks asks
for a string that is unique, and each card's holds the call that it answered (`hookInstance`).

The seal is the one of RFC 5297 (SIV) with HMAC-SHA-256 for both of its parts: the tag is the HMAC of the content, the
content is masked with a stream that HMAC makes of the tag. The same content gives the same text in every process, so a
card needs no random number and two workers agree. The key is drawn once, in a file of the working directory; who loses
it loses the feedback on cards that were shown before, and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import orjson

FILE = "cds-hooks.key"
KEY_BYTES, TAG_BYTES = 32, 16
FORMAT = 1
MOST_RULES = 8  # so that a uuid stays short; the strictest come first


@dataclass(frozen=True)
class About:
    """What a card or a suggestion is about. `call`: the hookInstance that it answered; rank: its place in a list."""

    service: str
    call: str
    patient_id: str
    code: str
    kind: str
    version: str
    rules: tuple[str, ...] = ()
    rank: int | None = None


@dataclass(frozen=True)
class Sealer:
    """Seals with one installation's key."""

    key: bytes

    @classmethod
    def of(cls, folder: Path) -> Sealer | None:
        """With the key of this folder, which is drawn if there is none; None where it cannot be: then cards have no
        uuid, and nothing can be reported of them."""
        try:
            return cls(_key(folder / FILE))
        except OSError:
            return None

    def seal(self, about: About) -> str:
        told = (FORMAT, about.service, about.call.lower(), about.patient_id, about.code, about.kind, about.version)
        content = orjson.dumps((*told, about.rules[:MOST_RULES], about.rank))
        tag = self._mac(b"tag", content)[:TAG_BYTES]
        return base64.urlsafe_b64encode(tag + self._masked(tag, content)).rstrip(b"=").decode()

    def open(self, sealed: str) -> About | None:
        """None for any other text."""
        try:
            raw = base64.b64decode(sealed.encode() + b"=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        tag, content = raw[:TAG_BYTES], self._masked(raw[:TAG_BYTES], raw[TAG_BYTES:])
        if len(tag) < TAG_BYTES or not hmac.compare_digest(tag, self._mac(b"tag", content)[:TAG_BYTES]):
            return None
        version, service, call, patient_id, code, kind, release, rules, rank = orjson.loads(content)
        about = About(service, call, patient_id, code, kind, release, tuple(rules), rank)
        # the last mark has bits to spare: a card must not have two names
        return about if version == FORMAT and self.seal(about) == sealed else None

    def _mac(self, purpose: bytes, content: bytes) -> bytes:
        return hmac.digest(hmac.digest(self.key, purpose, hashlib.sha256), content, hashlib.sha256)

    def _masked(self, tag: bytes, content: bytes) -> bytes:
        blocks = range(-(-len(content) // 32))
        mask = b"".join(self._mac(b"mask", tag + number.to_bytes(4, "big")) for number in blocks)
        return bytes(a ^ b for a, b in zip(content, mask, strict=False))


@lru_cache(maxsize=16)
def _key(file: Path) -> bytes:
    """The key in a file, drawn by the first who asks: whole from its first moment on, for its owner's eyes only."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{FILE}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as written:
                written.write(secrets.token_bytes(KEY_BYTES))
                written.flush()
                os.fsync(written.fileno())
            with contextlib.suppress(FileExistsError):  # another process was first: its key is everyone's
                os.link(new, file)
        finally:
            new.unlink(missing_ok=True)
    key = file.read_bytes()
    if len(key) != KEY_BYTES:
        raise OSError(f"{FILE} is damaged: remove it, and a new one is drawn")
    return key

"""A patient's id in, the name that stands for it in Redis out; and the id again, for who holds the site's secret.

    name    V, the synthetic initial value of the id: 16 bytes
    sealed  C, the id encrypted, as long as it was

Both are what AES-SIV (RFC 5297, with AES-256 and no associated data) makes of the id as UTF-8: equal ids look equal and
nothing else is told but the length, and who opens one makes the name anew from what was found, so that an altered one
is refused. The keys are derived from the site's secret; a published version says from which by number, so that versions
of before a rotation can still be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from recommender.access.secret import SiteSecret
from recommender.errors import StoreCorrupt
from recommender.packing import Words
from recommender.siv import BLOCK as NAME_BYTES
from recommender.siv import Siv

_MARK = b"\x00which key"  # no patient's id begins so


def encoded(patient_ids: Sequence[str] | np.ndarray) -> Words:
    """Ids as UTF-8; of any text, a lone surrogate included."""
    ids = list(patient_ids)
    together = "".join(ids)
    if not together.isascii():
        return Words.of([one.encode(errors="surrogatepass") for one in ids])
    ptr = np.zeros(len(ids) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, ids), np.int64, len(ids)), out=ptr[1:])
    return Words(np.frombuffer(together.encode(), dtype=np.uint8), ptr)


class Pseudonyms:
    """By the secret `number` of a site, the newest where none is said. Raises EngineError for a number it lacks."""

    def __init__(self, secret: SiteSecret, number: int | None = None) -> None:
        self.number = secret.number if number is None else number
        keys = [secret.derive(f"patients in the store, AES-SIV K{k}", self.number) for k in (1, 2)]
        self._many = Siv(b"".join(keys))

    def __getstate__(self) -> dict[str, object]:
        """The keys, for a process of ours elsewhere."""
        return {"number": self.number, "_many": self._many}

    @cached_property
    def _one(self) -> AESSIV:
        return AESSIV(self._many.key)

    @property
    def mark(self) -> str:
        """Tells this key from any other, and nothing about it."""
        return self._one.encrypt(_MARK, None)[:NAME_BYTES].hex()

    def name(self, patient_id: str) -> bytes:
        """(NAME_BYTES,) of any text, a lone surrogate included."""
        return self.sealed(patient_id)[0]

    def sealed(self, patient_id: str) -> tuple[bytes, bytes]:
        """The name of one patient, and the id as it is sealed."""
        both = self._one.encrypt(patient_id.encode(errors="surrogatepass"), None)
        return both[:NAME_BYTES], both[NAME_BYTES:]

    def names(self, ids: Words) -> np.ndarray:
        """(n, NAME_BYTES) uint8, of `encoded` ids."""
        return self._many.values(ids)

    def seal(self, names: np.ndarray, ids: Words) -> Words:
        """The ids (n) that belong to `names` (n, NAME_BYTES), each as long as it was."""
        return self._many.masked(names, ids)

    def open(self, names: Sequence[bytes], sealed: Sequence[bytes]) -> list[str]:
        """The ids. Raises StoreCorrupt where a name is not that of what was sealed."""
        by = np.frombuffer(b"".join(names), dtype=np.uint8).reshape(len(names), NAME_BYTES)
        ids = self._many.masked(by, Words.of(sealed))
        if self.names(ids).tobytes() != by.tobytes():
            raise StoreCorrupt("a published patient's name was altered: publish again with `rxrec nightly`")
        data = ids.data.tobytes()
        return [data[start:end].decode(errors="surrogatepass") for start, end in pairwise(ids.ptr.tolist())]

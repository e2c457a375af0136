"""A patient's id in, the name that stands for it in Redis out; and the id again, for who holds the site's secret.

    name    the first 16 bytes of HMAC-SHA-256(key, id)
    sealed  the id in AES-256, counter mode, its counter beginning at the name

A counter that begins at a keyed hash of the message is the synthetic initial value of Rogaway & Shrimpton,
"Deterministic Authenticated-Encryption" (EUROCRYPT 2006): equal ids look equal and nothing else is told, and who opens
one makes the name anew from what was found, so that an altered one is refused. Both keys are derived from the site's
secret; a published version says from which by number, so that versions of before a rotation can still be read.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from recommender.access.secret import SiteSecret
from recommender.errors import StoreCorrupt
from recommender.packing import Words

NAME_BYTES = 16
_BLOCK = 16  # bytes of AES
_MARK = b"\x00which key"  # no patient's id begins so


class Pseudonyms:
    """By the secret `number` of a site, the newest where none is said. Raises EngineError for a number it lacks."""

    def __init__(self, secret: SiteSecret, number: int | None = None) -> None:
        self.number = secret.number if number is None else number
        self._key = secret.derive("names in the store", self.number)
        self._ids = secret.derive("ids in the store", self.number)

    @cached_property
    def _cipher(self) -> Cipher[modes.ECB]:
        # one call for all counters of many ids; the chaining of a mode would need a call for each
        return Cipher(algorithms.AES(self._ids), modes.ECB())  # noqa: S305

    def __getstate__(self) -> dict[str, object]:
        """Both keys, for a process of ours elsewhere."""
        return {name: value for name, value in vars(self).items() if name != "_cipher"}

    @property
    def mark(self) -> str:
        """Tells this key from any other, and nothing about it."""
        return self._name(_MARK).hex()

    def name(self, patient_id: str) -> bytes:
        """(NAME_BYTES,) of any text, a lone surrogate included."""
        return self._name(patient_id.encode(errors="surrogatepass"))

    def _name(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, "sha256")[:NAME_BYTES]

    def names(self, ids: Sequence[bytes]) -> np.ndarray:
        """(n, NAME_BYTES) uint8, of the ids as UTF-8."""
        made = b"".join([hmac.digest(self._key, one, "sha256")[:NAME_BYTES] for one in ids])
        return np.frombuffer(made, dtype=np.uint8).reshape(len(ids), NAME_BYTES)

    def seal(self, names: np.ndarray, ids: Words) -> Words:
        """The ids (n) that belong to `names` (n, NAME_BYTES), each as long as it was."""
        lengths = np.diff(ids.ptr)
        return Words(ids.data ^ self._stream(names, lengths), ids.ptr)

    def open(self, names: Sequence[bytes], sealed: Sequence[bytes]) -> list[str]:
        """The ids. Raises StoreCorrupt where a name is not that of what was sealed."""
        words = Words.of(sealed)
        by = np.frombuffer(b"".join(names), dtype=np.uint8).reshape(len(names), NAME_BYTES)
        data = self.seal(by, words).data.tobytes()
        found = [data[start:end] for start, end in pairwise(words.ptr.tolist())]
        if self.names(found).tobytes() != by.tobytes():
            raise StoreCorrupt("a published patient's name was altered: publish again with `rxrec nightly`")
        return [one.decode(errors="surrogatepass") for one in found]

    def _stream(self, names: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """(lengths.sum(),) uint8: of each name as many bytes as its length."""
        blocks = -(-lengths // _BLOCK)
        ends = np.cumsum(blocks)
        first = ends - blocks
        counters = np.repeat(names, blocks, axis=0)
        number = (np.arange(ends[-1] if len(ends) else 0) - np.repeat(first, blocks)).astype(np.uint32)
        counters.view("<u4")[:, 3] += number
        stream = np.frombuffer(self._cipher.encryptor().update(counters.tobytes()), dtype=np.uint8)
        if (lengths == lengths[:1]).all() and len(lengths):  # as ids mostly are: no need to say which byte goes where
            return stream.reshape(len(lengths), -1)[:, : lengths[0]].ravel()
        started = np.cumsum(lengths) - lengths
        place = np.arange(lengths.sum()) + np.repeat(first * _BLOCK - started, lengths)
        return stream[place]

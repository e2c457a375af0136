"""Many short messages in, each sealed by AES-SIV out: RFC 5297, with no associated data, for all of them at once.

What `cryptography`'s AESSIV makes of one message at a time, and a test holds these bytes to it: S2V over AES-CMAC
(RFC 4493) is the synthetic initial value V (16 bytes), counter mode from V is the ciphertext, as long as the message.
Each block of the chain is one call of AES over all messages that have such a block, so a message of one block costs
tens of nanoseconds instead of a microsecond.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from recommender.packing import Words

BLOCK = 16  # bytes of AES, and of V


@dataclass(frozen=True)
class Siv:
    """`key`: K1, for V, and K2, for the ciphertext, of equal length, one after another: 32, 48 or 64 bytes."""

    key: bytes

    def __getstate__(self) -> dict[str, object]:
        return {"key": self.key}  # the ciphers cannot be sent anywhere

    @cached_property
    def _mac(self) -> Cipher[modes.ECB]:
        return _cipher(self.key[: len(self.key) // 2])

    @cached_property
    def _mask(self) -> Cipher[modes.ECB]:
        return _cipher(self.key[len(self.key) // 2 :])

    @cached_property
    def _sub_keys(self) -> tuple[np.ndarray, np.ndarray]:
        """K1 and K2 of RFC 4493, section 2.3."""
        of_whole = _doubled(_encrypted(self._mac, np.zeros(BLOCK, np.uint8)))
        return of_whole, _doubled(of_whole)

    @cached_property
    def begun(self) -> np.ndarray:
        """(16,) uint8: D of RFC 5297, section 2.4, before the message; of no associated data, CMAC(<zero>)."""
        return _encrypted(self._mac, self._sub_keys[0])

    def values(self, messages: Words) -> np.ndarray:
        """V of each message: (n, 16) uint8."""
        of_whole, of_part = self._sub_keys
        blocks = np.maximum(-(-np.diff(messages.ptr) // BLOCK), 1)
        first = np.cumsum(blocks) - blocks
        last = (self.begun, _doubled(self.begun), of_whole, of_part)
        chain = _chain(messages.data, messages.ptr, first, int(blocks.sum()), *last).reshape(-1, BLOCK)
        if len(chain) == len(first):  # none is longer than a block
            return _encrypted(self._mac, chain)
        values = _encrypted(self._mac, chain[first])
        longest_first = np.argsort(-blocks, kind="stable")
        # who has a second block, a third...: they stand at the front of `longest_first`
        for level in range(1, int(blocks.max(initial=1))):
            who = longest_first[: np.searchsorted(-blocks[longest_first], -level)]
            values[who] = _encrypted(self._mac, values[who] ^ chain[first[who] + level])
        return values

    def masked(self, values: np.ndarray, messages: Words) -> Words:
        """The ciphertexts of the messages whose V is `values` (n, 16); the messages again, of ciphertexts."""
        blocks = -(-np.diff(messages.ptr) // BLOCK)
        first = np.cumsum(blocks) - blocks
        stream = _encrypted(self._mask, _counters(values, blocks, int(blocks.sum())))
        return Words(_xor(messages.data, messages.ptr, first * BLOCK, stream.reshape(-1)), messages.ptr)


def _cipher(key: bytes) -> Cipher[modes.ECB]:
    # one call for the blocks of many messages; the chaining of a mode would need a call for each
    return Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305


def _encrypted(cipher: Cipher[modes.ECB], blocks: np.ndarray) -> np.ndarray:
    """Whole blocks, each for itself; in the shape given."""
    out = np.empty(blocks.size + BLOCK - 1, dtype=np.uint8)  # the library asks for room for one block more
    cipher.encryptor().update_into(np.ascontiguousarray(blocks).reshape(-1).data, out.data)
    return out[: blocks.size].reshape(blocks.shape)


def _doubled(block: np.ndarray) -> np.ndarray:
    """Times x in the field of RFC 5297, section 2.3."""
    number = int.from_bytes(block.tobytes()) << 1
    number = (number ^ 0x87) & ((1 << 128) - 1) if number >> 128 else number
    return np.frombuffer(number.to_bytes(BLOCK), dtype=np.uint8)


@numba.njit(cache=True, nogil=True)
def _chain(
    data: np.ndarray,
    ptr: np.ndarray,
    first: np.ndarray,
    n_blocks: int,
    begun: np.ndarray,
    doubled: np.ndarray,
    of_whole: np.ndarray,
    of_part: np.ndarray,
) -> np.ndarray:
    """The last string of S2V of each message, padded to whole blocks from block first[i] on, with the sub-key of CMAC
    in its last block: what is still to be chained. uint8."""
    out = np.zeros(n_blocks * BLOCK, dtype=np.uint8)
    for i in range(len(ptr) - 1):
        at, size = first[i] * BLOCK, ptr[i + 1] - ptr[i]
        for k in range(size):
            out[at + k] = data[ptr[i] + k]
        if size >= BLOCK:  # xorend
            for k in range(BLOCK):
                out[at + size - BLOCK + k] ^= begun[k]
            last = at + (size - 1) // BLOCK * BLOCK
        else:
            out[at + size] = 0x80
            for k in range(BLOCK):
                out[at + k] ^= doubled[k]
            last = at
        if size < BLOCK or size % BLOCK == 0:
            for k in range(BLOCK):
                out[last + k] ^= of_whole[k]
        else:
            out[at + size] = 0x80
            for k in range(BLOCK):
                out[last + k] ^= of_part[k]
    return out


@numba.njit(cache=True, nogil=True)
def _counters(values: np.ndarray, blocks: np.ndarray, n_blocks: int) -> np.ndarray:
    """(n_blocks, 16) uint8: from each value as many as its `blocks`. Two bits are cleared, as RFC 5297 has it, so that
    counting never reaches beyond the last four bytes."""
    out, row = np.empty((n_blocks, BLOCK), dtype=np.uint8), 0
    for i in range(len(values)):
        low = np.int64(values[i, 12] & 0x7F) << 24
        low |= np.int64(values[i, 13]) << 16 | np.int64(values[i, 14]) << 8 | np.int64(values[i, 15])
        for number in range(low, low + blocks[i]):
            for k in range(12):
                out[row, k] = values[i, k]
            out[row, 8] &= 0x7F
            for k in range(4):
                out[row, 15 - k] = (number >> (8 * k)) & 0xFF
            row += 1
    return out


@numba.njit(cache=True, nogil=True)
def _xor(data: np.ndarray, ptr: np.ndarray, begins: np.ndarray, stream: np.ndarray) -> np.ndarray:
    """The data of each message with its own part of the stream, which begins at begins[i]."""
    out = np.empty(len(data), dtype=np.uint8)
    for i in range(len(ptr) - 1):
        for k in range(ptr[i + 1] - ptr[i]):
            out[ptr[i] + k] = data[ptr[i] + k] ^ stream[begins[i] + k]
    return out

"""What stands for a patient in Redis: the standard constructions, no id in clear, and nothing of an altered one."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.access.secret import SiteSecret
from recommender.errors import EngineError, StoreCorrupt
from recommender.packing import Words
from recommender.pseudonyms import Pseudonyms

SECRET = SiteSecret({2: bytes(range(32)), 1: bytes(32)})
OURS = Pseudonyms(SECRET)


def sealed(of: Pseudonyms, ids: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    names = of.names(ids)
    words = of.seal(names, Words.of(ids))
    return [name.tobytes() for name in names], [words[ix] for ix in range(len(ids))]


def test_a_name_is_an_hmac_and_an_id_is_sealed_in_counter_mode() -> None:
    key = hmac.digest(bytes(range(32)), b"rxrec names in the store\x01", hashlib.sha256)
    name = hmac.digest(key, b"PAT-1", hashlib.sha256)[:16]
    assert OURS.name("PAT-1") == name
    long = b"a patient's id of more than one block of sixteen bytes"
    (of_long,), (sealed_long,) = sealed(OURS, [long])
    assert not of_long.endswith(b"\xff\xff\xff\xff")  # else the library, which carries, would count on otherwise
    by = hmac.digest(bytes(range(32)), b"rxrec ids in the store\x01", hashlib.sha256)
    # the library counts from the last byte, we in the last four from the first: the first block is the same
    theirs = Cipher(algorithms.AES(by), modes.CTR(of_long)).encryptor().update(long)
    assert sealed_long[:16] == theirs[:16] and sealed_long[16:] != theirs[16:]
    assert OURS.open([of_long], [sealed_long]) == [long.decode()]


@settings(deadline=None)
@given(st.lists(st.text(max_size=70), max_size=8))
def test_who_has_the_secret_reads_the_ids_and_nobody_else_does(ids: list[str]) -> None:
    encoded = [one.encode(errors="surrogatepass") for one in ids]
    names, closed = sealed(OURS, encoded)
    assert names == [OURS.name(one) for one in ids]
    assert OURS.open(names, closed) == ids
    assert [len(one) for one in closed] == [len(one) for one in encoded]
    earlier = Pseudonyms(SECRET, 1)
    for name, one in zip(names, closed, strict=True):
        assert earlier.name(ids[names.index(name)]) != name
        with pytest.raises(StoreCorrupt):
            earlier.open([name], [one])


def test_an_altered_name_or_id_is_refused_without_telling_it() -> None:
    (name,), (closed,) = sealed(OURS, [b"PAT-1"])
    for wrong in ((bytes(16), closed), (name, closed[:-1]), (name, closed + b"x"), (name, b"\0" + closed[1:])):
        with pytest.raises(StoreCorrupt) as caught:
            OURS.open([wrong[0]], [wrong[1]])
        assert "PAT" not in str(caught.value)


def test_equal_beginnings_look_nothing_alike() -> None:
    names, closed = sealed(OURS, [b"0001-aaaa", b"0001-aaab"])
    assert sum(a == b for a, b in zip(*names, strict=True)) <= 2
    assert sum(a == b for a, b in zip(*closed, strict=True)) <= 2


def test_a_secret_that_is_gone_is_said_by_number() -> None:
    with pytest.raises(EngineError, match="number 3"):
        Pseudonyms(SECRET, 3)


def test_marks_tell_secrets_apart() -> None:
    assert OURS.mark == Pseudonyms(SECRET).mark != Pseudonyms(SECRET, 1).mark
    assert len(bytes.fromhex(OURS.mark)) == 16
    assert np.array_equal(OURS.names([]), np.empty((0, 16)))

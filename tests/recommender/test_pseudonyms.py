"""What stands for a patient in Redis: the standard construction, no id in clear, and nothing of an altered one."""

from __future__ import annotations

import hashlib
import hmac
import pickle

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.access.secret import SiteSecret
from recommender.errors import EngineError, StoreCorrupt
from recommender.pseudonyms import Pseudonyms, encoded

SECRET = SiteSecret({2: bytes(range(32)), 1: bytes(32)})
OURS = Pseudonyms(SECRET)


def sealed(of: Pseudonyms, ids: list[str]) -> tuple[list[bytes], list[bytes]]:
    words = encoded(ids)
    names = of.names(words)
    closed = of.seal(names, words)
    return [name.tobytes() for name in names], [closed[ix] for ix in range(len(ids))]


def test_a_name_and_a_sealed_id_are_aes_siv_under_keys_for_that_alone() -> None:
    keys = [
        hmac.digest(bytes(range(32)), b"rxrec patients in the store, AES-SIV K%d\x01" % k, hashlib.sha256)
        for k in (1, 2)
    ]
    for patient_id in ("PAT-1", "a patient's id of more than one block of sixteen bytes", "", "Zoë", "\ud800"):
        both = AESSIV(keys[0] + keys[1]).encrypt(patient_id.encode(errors="surrogatepass"), None)
        assert OURS.name(patient_id) == both[:16]
        assert OURS.sealed(patient_id) == (both[:16], both[16:])
        assert sealed(OURS, [patient_id]) == ([both[:16]], [both[16:]])


@given(st.lists(st.text(st.characters(codec=None), max_size=20), max_size=5))
def test_ids_are_encoded_whatever_they_hold(ids: list[str]) -> None:
    words = encoded(np.array(ids, dtype=object))
    assert [words[ix] for ix in range(len(words))] == [one.encode(errors="surrogatepass") for one in ids]


def test_a_process_elsewhere_makes_the_same_names() -> None:
    theirs = pickle.loads(pickle.dumps(OURS))
    assert (theirs.name("PAT-1"), theirs.mark, theirs.number) == (OURS.name("PAT-1"), OURS.mark, 2)
    assert np.array_equal(theirs.names(encoded(["PAT-1"])), OURS.names(encoded(["PAT-1"])))


@settings(deadline=None)
@given(st.lists(st.text(max_size=70), max_size=8))
def test_who_has_the_secret_reads_the_ids_and_nobody_else_does(ids: list[str]) -> None:
    names, closed = sealed(OURS, ids)
    assert names == [OURS.name(one) for one in ids]
    assert OURS.open(names, closed) == ids
    assert [len(one) for one in closed] == [len(one.encode()) for one in ids]
    earlier = Pseudonyms(SECRET, 1)
    for name, one in zip(names, closed, strict=True):
        assert earlier.name(ids[names.index(name)]) != name
        with pytest.raises(StoreCorrupt):
            earlier.open([name], [one])


def test_an_altered_name_or_id_is_refused_without_telling_it() -> None:
    (name,), (closed,) = sealed(OURS, ["PAT-1"])
    for wrong in ((bytes(16), closed), (name, closed[:-1]), (name, closed + b"x"), (name, b"\0" + closed[1:])):
        with pytest.raises(StoreCorrupt) as caught:
            OURS.open([wrong[0]], [wrong[1]])
        assert "PAT" not in str(caught.value)


def test_equal_beginnings_look_nothing_alike() -> None:
    names, closed = sealed(OURS, ["0001-aaaa", "0001-aaab"])
    assert sum(a == b for a, b in zip(*names, strict=True)) <= 2
    assert sum(a == b for a, b in zip(*closed, strict=True)) <= 2


def test_a_secret_that_is_gone_is_said_by_number() -> None:
    with pytest.raises(EngineError, match="number 3"):
        Pseudonyms(SECRET, 3)


def test_marks_tell_secrets_apart() -> None:
    assert OURS.mark == Pseudonyms(SECRET).mark != Pseudonyms(SECRET, 1).mark
    assert len(bytes.fromhex(OURS.mark)) == 16
    assert np.array_equal(OURS.names(encoded([])), np.empty((0, 16)))

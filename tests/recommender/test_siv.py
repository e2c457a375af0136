"""AES-SIV of many messages at once: RFC 5297's own examples, and to the byte what the library makes of each alone."""

from __future__ import annotations

import pickle

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.packing import Words
from recommender.siv import Siv

# around every number of whole blocks, and anything else
LENGTHS = st.sampled_from([0, 1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 96]) | st.integers(0, 100)
MESSAGES = st.lists(LENGTHS.flatmap(lambda size: st.binary(min_size=size, max_size=size)), max_size=12)


def both(siv: Siv, messages: list[bytes]) -> list[bytes]:
    """V and C of each."""
    words = Words.of(messages)
    values = siv.values(words)
    sealed = siv.masked(values, words)
    assert siv.masked(values, sealed).data.tobytes() == b"".join(messages)
    return [value.tobytes() + sealed[place] for place, value in enumerate(values)]


@settings(deadline=None)
@given(
    messages=MESSAGES, key=st.sampled_from([32, 48, 64]).flatmap(lambda size: st.binary(min_size=size, max_size=size))
)
def test_many_at_once_are_what_the_library_makes_of_each(messages: list[bytes], key: bytes) -> None:
    assert both(Siv(key), messages) == [AESSIV(key).encrypt(message, None) for message in messages]


def test_every_length_to_a_hundred_and_one_long_message() -> None:
    messages = [bytes(range(size)) for size in range(101)] + [b"x" * 70_000]
    key = bytes(range(64))
    assert both(Siv(key), messages) == [AESSIV(key).encrypt(message, None) for message in messages]


def beginning_at(siv: Siv, begun: str) -> Siv:
    """S2V from what RFC 5297 gives for D when all but the message has been taken in."""
    vars(siv)["begun"] = np.frombuffer(bytes.fromhex(begun), dtype=np.uint8)
    return siv


def test_the_deterministic_example_of_rfc_5297() -> None:
    """Appendix A.1, whose associated data is taken in already; and its CMAC(<zero>), with which we begin."""
    siv = Siv(bytes.fromhex("fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"))
    assert siv.begun.tobytes().hex() == "0e04dfafc1efbf040140582859bf073a"
    (made,) = both(
        beginning_at(siv, "edf09de876c642ee4d78bce4ceedfc4f"), [bytes.fromhex("112233445566778899aabbccddee")]
    )
    assert made.hex() == "85632d07c6e8f37f950acd320a2ecc93" + "40c02b9690c4dc04daef7f6afe5c"


def test_the_example_of_rfc_5297_of_more_than_a_block() -> None:
    """Appendix A.2, the two associated data and the nonce taken in already."""
    siv = Siv(bytes.fromhex("7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f"))
    assert siv.begun.tobytes().hex() == "c8b43b5974960e7ce6a5dd85231e591a"
    message = b"this is some plaintext to encrypt using SIV-AES"
    (made,) = both(beginning_at(siv, "16592c17729a5a725567636168b48376"), [message])
    assert made.hex() == (
        "7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c"
        "485b62a3fd5c0d"
    )


def test_it_goes_elsewhere_with_its_key() -> None:
    siv = Siv(bytes(range(32)))
    assert both(pickle.loads(pickle.dumps(siv)), [b"a", b""]) == both(siv, [b"a", b""])
    assert set(vars(pickle.loads(pickle.dumps(siv)))) == {"key"}

"""Redis's protocol: the compiled bytes are those of the plain ones, whatever the words hold."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.packing import Room, Words
from recommender.redis_wire import hset_wire, wire


def test_by_hand():
    assert wire(("SET", "ä", b"\r\n")) == b"*3\r\n$3\r\nSET\r\n$2\r\n\xc3\xa4\r\n$2\r\n\r\n\r\n"


@settings(deadline=None)
@given(st.data())
def test_many_fields_at_once_are_the_same_as_one_command_a_key(data):
    words = st.lists(st.binary(min_size=16, max_size=16), max_size=5)
    buckets = data.draw(st.lists(st.tuples(st.binary(max_size=12), words.filter(bool)), max_size=4))
    fields = [field for _, members in buckets for field in members]
    values = [data.draw(st.binary(max_size=12_000 if place == 0 else 120)) for place in range(len(fields))]
    which = data.draw(st.permutations(range(len(fields))))  # where each field stands among all ids
    ids = b"".join(fields[which.index(place)] for place in range(len(fields)))
    ends = np.cumsum([0, *(len(members) for _, members in buckets)])
    keys, order = Words.of([key for key, _ in buckets]), np.array(which, dtype=np.int64)
    sizes = np.array([len(value) for value in values], dtype=np.int64)
    sent, starts = hset_wire(keys, ends, np.frombuffer(ids, dtype=np.uint8).reshape(-1, 16), order, sizes, Room())
    for start, value in zip(starts.tolist(), values, strict=True):
        sent[start : start + len(value)] = np.frombuffer(value, dtype=np.uint8)
    plain, at = b"", 0
    for key, members in buckets:
        pairs = [word for pair in zip(members, values[at : at + len(members)], strict=True) for word in pair]
        plain += wire(("HSET", key, *pairs))
        at += len(members)
    assert sent.tobytes() == plain

"""One version written by many: a part that comes twice, half, late or never. What a cluster's retries may do."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from recommender import publication
from recommender.errors import StoreCorrupt, StoreUnavailable, UnknownPatient
from recommender.ranking import TopN
from recommender.settings import Settings
from recommender.snapshot import Snapshot
from recommender.store import Store, open_store
from recommender.store_index import Index
from tests.recommender.test_store import assert_whole, keys, serve

Make = Callable[..., Snapshot]


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings) as store:
        yield store


def part(whole: Snapshot, first: int, last: int) -> Snapshot:
    """Patients first to last (exclusive) of six."""
    lists = slice(whole.top.indptr[first], whole.top.indptr[last])
    indptr = whole.top.indptr[first : last + 1] - whole.top.indptr[first]
    top = TopN(indptr, whole.top.columns[lists], whole.top.scores[lists])
    who = np.arange(first, last)
    return Snapshot(whole.release, whole.patient_ids[who], top, whole.rows[who], whole.charts.take(who))


def test_parts_of_many_writers_make_a_whole_version(store, settings, tiny_snapshot):
    """Each with a store of its own, as on machines of their own, and the token prolonged all the time."""
    whole = tiny_snapshot("v1")
    begun = pickle.dumps(store.begin(whole.release, 6))

    def write(first: int) -> None:
        with Store(settings.redis_url, Settings(redis_url=settings.redis_url, workdir=Path("/nowhere"))) as own:
            for _ in range(5):  # as if each had been done again and again
                own.write_part(pickle.loads(begun), part(whole, first, first + 2))
                own.prolong(pickle.loads(begun))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, [0, 2, 4, 4, 2, 0]))
    assert store.versions() == []  # nothing is to be seen of it before it is whole
    store.finish(pickle.loads(begun))
    store.activate("v1")
    assert_whole(store, whole)


def test_they_are_the_bytes_of_one_writer(store, tiny_snapshot):
    whole = tiny_snapshot("v1")
    store.publish(whole)
    at_once = {key: store._client.hgetall(key) for key in keys(store, "*:v1:*")}
    store._client.flushdb()
    begun = store.begin(whole.release, 6)
    for first in (4, 0, 2):
        store.write_part(begun, part(whole, first, first + 2))
    store.finish(begun)
    assert {key: store._client.hgetall(key) for key in keys(store, "*:v1:*")} == at_once


def test_a_part_that_died_half_written_is_written_again(store, tiny_snapshot, monkeypatch):
    whole = tiny_snapshot("v1")
    monkeypatch.setattr(publication, "CHUNK_PATIENTS", 2)
    monkeypatch.setattr(publication, "WRITERS", 1)
    send, sent = Index.send, []

    def send_once(index: Index, *chunk: object) -> None:
        sent.append(chunk)
        if len(sent) == 2:
            raise OSError("the machine is gone")
        send(index, *chunk)

    begun = store.begin(whole.release, 6)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="gone"):
        patch.setattr(Index, "send", send_once)
        store.write_part(begun, whole)
    assert sum(store._client.hlen(key) for key in keys(store, "*:v1:p:*")) == 2
    store.write_part(begun, whole)
    store.finish(begun)
    store.activate("v1")
    assert_whole(store, whole)


def test_a_missing_part_leaves_what_was_served(store, tiny_snapshot):
    serve(store, tiny_snapshot("v1"))
    before, whole = keys(store), tiny_snapshot("v2", n=3)
    begun = store.begin(whole.release, 6)
    store.write_part(begun, part(whole, 0, 4))
    with pytest.raises(StoreCorrupt, match="6 patients were sent to the store and 4 are there"):
        store.finish(begun)
    store.abandon(begun)
    assert keys(store) == before
    assert_whole(store, tiny_snapshot("v1"))


def test_who_is_late_writes_nothing_into_what_was_abandoned(store, tiny_snapshot):
    before, whole = keys(store), tiny_snapshot("v1")
    begun = store.begin(whole.release, 6)
    store.abandon(begun)
    with pytest.raises(StoreUnavailable, match="stood still for too long"):
        store.write_part(begun, whole)
    assert keys(store) == before
    store.publish(whole)  # and nobody is kept waiting


def test_abandoning_takes_the_token_from_the_others_first(store, tiny_snapshot, monkeypatch):
    """Whoever still writes while the version is being removed is refused, so nothing of it can come back."""
    whole, refused, remove = tiny_snapshot("v1"), [], Index.remove
    begun = store.begin(whole.release, 6)
    store.write_part(begun, part(whole, 0, 2))

    def write_and_remove(index: Index, *version: object) -> None:
        with pytest.raises(StoreUnavailable):
            store.write_part(begun, part(whole, 2, 4))
        refused.append(True)
        remove(index, *version)

    monkeypatch.setattr(Index, "remove", write_and_remove)
    store.abandon(begun)
    assert refused
    assert keys(store) == set()


def test_who_is_late_does_not_bring_back_a_forgotten_patient(store, tiny_snapshot):
    whole = tiny_snapshot("v1")
    begun = store.begin(whole.release, 6)
    store.write_part(begun, whole)
    store.finish(begun)
    store.activate("v1")
    store.forget("PAT-1")
    with pytest.raises(StoreUnavailable):  # the same part once more, of a task that was thought to be dead
        store.write_part(begun, part(whole, 0, 2))
    with pytest.raises(UnknownPatient):
        store.entry(store.release("v1"), "PAT-1")


def test_when_one_writer_fails_the_other_is_waited_for_before_all_is_removed(store, tiny_snapshot, monkeypatch):
    serve(store, tiny_snapshot("v1"))
    before, order = keys(store), []
    monkeypatch.setattr(publication, "CHUNK_PATIENTS", 2)
    send, failed = Index.send, threading.Event()

    def send_late_or_fail(index: Index, *chunk: object) -> None:
        order.append(chunk)
        if order[0] is chunk:
            failed.wait(10)
            time.sleep(0.1)  # time to remove everything, if nobody waited
            send(index, *chunk)
            order.append("sent")
        else:
            failed.set()
            raise OSError("the machine is gone")

    monkeypatch.setattr(Index, "send", send_late_or_fail)
    with pytest.raises(OSError, match="gone"):
        store.publish(tiny_snapshot("v2"))
    assert order[2:] == ["sent"]  # and the third chunk was not begun
    assert keys(store) == before
    assert_whole(store, tiny_snapshot("v1"))

"""The store's contract: one suite, run against a redis-server of one's own and against the embedded one."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import orjson
import pytest

from recommender import store_index
from recommender.access.secret import SiteSecret
from recommender.errors import (
    EngineError,
    NothingPublished,
    StoreCorrupt,
    StoreUnavailable,
    UnknownPatient,
    UnknownVersion,
)
from recommender.settings import Settings
from recommender.snapshot import FORMAT, Entry, Snapshot
from recommender.store import Store, open_store

Make = Callable[..., Snapshot]
Interrupt = Callable[[Snapshot, Callable[[], object]], Snapshot]


def serve(store: Store, snapshot: Snapshot) -> None:
    store.publish(snapshot)
    store.activate(snapshot.release.version)


def same(entry: Entry, other: Entry) -> bool:
    (*arrays, chart), (*others, other_chart) = dataclasses.astuple(entry), dataclasses.astuple(other)
    pairs = zip((*arrays, *chart[:3]), (*others, *other_chart[:3]), strict=True)
    person, other_person = (np.float32(chart[3]), chart[4]), (np.float32(other_chart[3]), other_chart[4])
    return person == other_person and all(
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs
    )


def assert_whole(store: Store, snapshot: Snapshot) -> None:
    """`snapshot` is what is served, to the last patient."""
    assert store.current() == snapshot.release.version
    release = store.release(store.current())
    for patient_ix, patient_id in enumerate(snapshot.patient_ids):
        assert same(store.entry(release, patient_id), snapshot.entry(patient_ix))


def keys(store: Store, pattern: str = "*") -> set[str]:
    return {key.decode() for key in store._client.keys(pattern)}


class StoreContract:
    @pytest.fixture
    def store(self, settings: Settings) -> Iterator[Store]:
        with open_store(settings) as store:
            yield store

    def test_what_is_published_is_read_back(self, store: Store, tiny_snapshot: Make) -> None:
        snapshot, told = tiny_snapshot("v1"), []
        store.publish(snapshot, told.append)
        store.activate("v1")
        assert sum(told) == 6
        assert_whole(store, snapshot)
        release = store.release("v1")
        assert release.version == "v1"
        assert release.manifest == snapshot.release.manifest
        assert release.index.as_dict() == snapshot.release.index.as_dict()
        assert np.array_equal(release.model.score(snapshot.rows), snapshot.release.model.score(snapshot.rows))

    def test_a_version_is_not_served_before_it_is_activated(self, store: Store, tiny_snapshot: Make) -> None:
        with pytest.raises(NothingPublished):
            store.current()
        store.publish(tiny_snapshot("v1"))
        with pytest.raises(NothingPublished):
            store.current()
        store.activate("v1")
        store.publish(tiny_snapshot("v2"))
        assert_whole(store, tiny_snapshot("v1"))
        assert [(v.version, v.patients, v.served) for v in store.versions()] == [("v2", 6, False), ("v1", 6, True)]
        store.activate("v2")
        store.activate("v2")  # again changes nothing
        assert_whole(store, tiny_snapshot("v2"))
        assert store.rollback() == "v1"

    def test_a_second_process_sees_what_the_first_serves(
        self, store: Store, settings: Settings, tiny_snapshot: Make
    ) -> None:
        serve(store, tiny_snapshot("v1"))
        with open_store(settings) as other:
            other.ping()
            release = other.release("v1")
        with open_store(settings) as third:  # which has never read the release itself
            assert same(third.entry(release, "PAT-5"), tiny_snapshot("v1").entry(4))

    def test_each_thing_that_is_not_there_has_its_own_error(self, store: Store, tiny_snapshot: Make) -> None:
        serve(store, tiny_snapshot("v1"))
        release = store.release("v1")
        for stranger in ("PAT-7", "", "pat-1", "PAT-1 ", "\ud800", "*"):
            with pytest.raises(UnknownPatient) as caught:
                store.entry(release, stranger)
            assert stranger == "" or repr(stranger)[1:-1] not in str(caught.value)
        for attempt in (store.release, store.activate):
            with pytest.raises(UnknownVersion, match="v9"):
                attempt("v9")

    @pytest.mark.parametrize("name", ["", "a:b", "../up", "two words", "-", "ä", "v\n", "x" * 101])
    def test_a_version_needs_a_plain_name(self, store: Store, tiny_snapshot: Make, name: str) -> None:
        with pytest.raises(EngineError, match="name may hold"):
            store.publish(tiny_snapshot(name))
        assert keys(store) == set()

    def test_a_version_never_changes(self, store: Store, tiny_snapshot: Make) -> None:
        serve(store, tiny_snapshot("v1", n=5))
        with pytest.raises(EngineError, match="published already"):
            store.publish(tiny_snapshot("v1", n=1))
        assert_whole(store, tiny_snapshot("v1", n=5))

    def test_a_hospital_without_patients(self, store: Store, tiny_snapshot: Make) -> None:
        one = tiny_snapshot("v1", n=0)
        top, nobody_at_all = dataclasses.replace(one.top, indptr=one.top.indptr[:1]), np.empty(0, dtype=np.int64)
        nobody = Snapshot(one.release, one.patient_ids[:0], top, one.rows[:0], one.charts.take(nobody_at_all))
        serve(store, nobody)
        assert store.versions()[0].patients == 0
        with pytest.raises(UnknownPatient):
            store.entry(store.release("v1"), "PAT-1")

    # --- failures on the way ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
    def test_a_failure_midway_leaves_nothing_behind(
        self, store: Store, tiny_snapshot: Make, interrupted: Interrupt, kind: type[BaseException]
    ) -> None:
        serve(store, tiny_snapshot("v1"))
        before, during = keys(store), set()

        def fail() -> None:
            during.update(keys(store, "*v2*"))
            raise kind

        with pytest.raises(kind):
            store.publish(interrupted(tiny_snapshot("v2"), fail))
        assert during == {"rxrec:v2:assets", "rxrec:v2:p:0"}
        assert keys(store) == before
        assert_whole(store, tiny_snapshot("v1"))
        serve(store, tiny_snapshot("v2"))
        assert_whole(store, tiny_snapshot("v2"))

    def test_a_half_written_version_cannot_be_used(
        self, store: Store, tiny_snapshot: Make, interrupted: Interrupt
    ) -> None:
        def try_it() -> None:
            for attempt in (store.activate, store.release):
                with pytest.raises(UnknownVersion):
                    attempt("v1")
            assert store.versions() == []

        store.publish(interrupted(tiny_snapshot("v1"), try_it))
        assert [v.version for v in store.versions()] == ["v1"]

    def test_lost_patients_are_noticed(self, store: Store, tiny_snapshot: Make, interrupted: Interrupt) -> None:
        with pytest.raises(StoreCorrupt, match="6 patients were sent to the store and 4 are there"):
            store.publish(interrupted(tiny_snapshot("v1"), lambda: store._client.delete("rxrec:v1:p:0")))
        assert keys(store) == set()

    def test_a_killed_publisher_makes_way(
        self, store: Store, settings: Settings, tiny_snapshot: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        serve(store, tiny_snapshot("v1"))
        job = tmp_path / "job.pickle"
        job.write_bytes(pickle.dumps((settings, tiny_snapshot("v2"))))
        with subprocess.Popen([sys.executable, "-c", PUBLISHER, str(job)], stdout=subprocess.PIPE) as publisher:
            assert publisher.stdout.readline() == b"halfway\n"
            assert "rxrec:v2:p:0" in keys(store)
            with monkeypatch.context() as patch, pytest.raises(StoreUnavailable, match="another run is publishing"):
                patch.setattr(store_index, "PATIENCE_SECONDS", 0)
                store.publish(tiny_snapshot("v3"))
            publisher.kill()
        assert_whole(store, tiny_snapshot("v1"))
        with pytest.raises(UnknownVersion):
            store.activate("v2")
        store.publish(tiny_snapshot("v3"))  # waits for the dead one's token, which lives for a second here
        assert keys(store, "rxrec:v2:*") == set()
        store.publish(tiny_snapshot("v2"))
        store.activate("v2")
        assert_whole(store, tiny_snapshot("v2"))

    def test_two_publishers_at_once(
        self,
        store: Store,
        settings: Settings,
        tiny_snapshot: Make,
        interrupted: Interrupt,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(store_index, "PATIENCE_SECONDS", 0)

        def intrude() -> None:
            with open_store(settings) as other, pytest.raises(StoreUnavailable, match="another run is publishing"):
                other.publish(tiny_snapshot("v2"))

        store.publish(interrupted(tiny_snapshot("v1"), intrude))
        store.activate("v1")
        assert_whole(store, tiny_snapshot("v1"))

    @pytest.mark.parametrize("name", ["v1", "v2"])
    def test_a_run_that_was_overtaken_writes_nothing_more(
        self, store: Store, settings: Settings, tiny_snapshot: Make, interrupted: Interrupt, name: str
    ) -> None:
        def overtake() -> None:
            store._client.delete("rxrec:publishing")  # as if it had run out
            with open_store(settings) as other:
                serve(other, tiny_snapshot(name))

        with pytest.raises(StoreUnavailable, match="stood still"):
            store.publish(interrupted(tiny_snapshot("v1"), overtake))
        assert_whole(store, tiny_snapshot(name))
        assert keys(store) == {"rxrec:current", "rxrec:versions", f"rxrec:{name}:assets", f"rxrec:{name}:p:0"}

    # --- switching ---------------------------------------------------------------------------------------------------

    def test_rollback_goes_back_step_by_step(self, settings: Settings, tiny_snapshot: Make) -> None:
        with open_store(dataclasses.replace(settings, keep_versions=3)) as store:
            for version in ("v1", "v2", "v3"):
                serve(store, tiny_snapshot(version))
            assert store.rollback() == "v2"
            assert store.rollback() == "v1"
            assert_whole(store, tiny_snapshot("v1"))
            with pytest.raises(UnknownVersion, match="nothing to go back to"):
                store.rollback()
            store.activate("v3")  # the way forward again
            assert_whole(store, tiny_snapshot("v3"))
            assert store.rollback() == "v1"

    @pytest.mark.parametrize(("keep", "left"), [(1, ["v4", "v3"]), (2, ["v4", "v3"]), (3, ["v4", "v3", "v2"])])
    def test_old_versions_are_retired(
        self, settings: Settings, tiny_snapshot: Make, keep: int, left: list[str]
    ) -> None:
        with open_store(dataclasses.replace(settings, keep_versions=keep)) as store:
            for version in ("v1", "v2", "v3", "v4"):
                serve(store, tiny_snapshot(version))
            assert [v.version for v in store.versions()] == left
            held = {f"rxrec:{version}:{part}" for version in left for part in ("assets", "p:0")}
            assert keys(store) == held | {"rxrec:current", "rxrec:before", "rxrec:versions"}

    def test_what_was_served_last_is_kept_for_rollback(self, store: Store, tiny_snapshot: Make) -> None:
        for version in ("v1", "v2"):
            serve(store, tiny_snapshot(version))
        assert store.rollback() == "v1"  # v2 was bad
        serve(store, tiny_snapshot("v3"))
        assert [v.version for v in store.versions()] == ["v3", "v1"]
        assert store.rollback() == "v1"

    def test_a_version_that_waits_to_be_served_is_not_retired(self, store: Store, tiny_snapshot: Make) -> None:
        for version in ("v1", "v2"):
            serve(store, tiny_snapshot(version))
        for version in ("v3", "v4"):
            store.publish(tiny_snapshot(version))
        store.activate("v3")
        assert [v.version for v in store.versions()] == ["v4", "v3", "v2"]
        store.activate("v4")
        assert [v.version for v in store.versions()] == ["v4", "v3"]

    def test_a_late_run_cannot_turn_back_the_time(self, store: Store, tiny_snapshot: Make) -> None:
        store.publish(tiny_snapshot("slow"))
        serve(store, tiny_snapshot("fast"))
        with pytest.raises(EngineError, match="overtaken by fast"):
            store.activate("slow")
        assert_whole(store, tiny_snapshot("fast"))

    def test_a_reader_of_a_retired_version_is_told(self, store: Store, tiny_snapshot: Make) -> None:
        serve(store, tiny_snapshot("v1"))
        release = store.release("v1")
        serve(store, tiny_snapshot("v2"))
        assert same(store.entry(release, "PAT-1"), tiny_snapshot("v1").entry(0))
        serve(store, tiny_snapshot("v3"))
        with pytest.raises(UnknownVersion):
            store.entry(release, "PAT-1")

    # --- bytes that are not ours -------------------------------------------------------------------------------------

    @pytest.mark.parametrize("damage", [b"", b"RX", b"{}", b"\x00" * 40])
    def test_damaged_patients_are_refused(self, store: Store, tiny_snapshot: Make, damage: bytes) -> None:
        serve(store, tiny_snapshot("v1"))
        release = store.release("v1")
        one, two, three = (store.pseudonyms("v1").name(f"PAT-{number}") for number in (1, 2, 3))
        store._client.hset("rxrec:v1:p:0", one, damage)
        store._client.hset("rxrec:v1:p:0", two, store._client.hget("rxrec:v1:p:0", three))
        for patient_id in ("PAT-1", "PAT-2"):
            with pytest.raises(StoreCorrupt) as caught:
                store.entry(release, patient_id)
            assert "PAT-" not in str(caught.value)
        assert same(store.entry(release, "PAT-3"), tiny_snapshot("v1").entry(2))

    @pytest.mark.parametrize("name", ["manifest", "columns", "model/weights"])
    @pytest.mark.parametrize("damage", [None, b"", b"[]", b"\x93NUMPY\x01\x00"])
    def test_damaged_assets_are_refused(
        self, store: Store, tiny_snapshot: Make, name: str, damage: bytes | None
    ) -> None:
        serve(store, tiny_snapshot("v1"))
        if damage is None:
            store._client.hdel("rxrec:v1:assets", name)
        else:
            store._client.hset("rxrec:v1:assets", name, damage)
        with pytest.raises(StoreCorrupt):
            store.release("v1")

    def test_no_id_stands_in_the_store(self, store: Store, tiny_snapshot: Make) -> None:
        serve(store, tiny_snapshot("v1"))
        for key in keys(store, "*:p:*"):
            for field, value in store._client.hgetall(key).items():
                assert len(field) == 16 and b"PAT-" not in field + value
        assert sorted(patient_id for patient_id, _ in store.entries(store.release("v1"))) == [
            f"PAT-{number}" for number in range(1, 7)
        ]

    def test_what_another_secret_named_is_not_said_to_be_unknown(
        self, store: Store, settings: Settings, tiny_snapshot: Make, tmp_path: Path
    ) -> None:
        serve(store, tiny_snapshot("v1"))
        other = dataclasses.replace(settings, secret=str(tmp_path / "of-another-site.key"))
        with open_store(other) as theirs, pytest.raises(StoreUnavailable, match="RXREC_SECRET"):
            theirs.release("v1")
        with open_store(settings) as ours:
            assert_whole(ours, tiny_snapshot("v1"))

    def test_the_secret_can_be_rotated_between_two_nights(
        self, store: Store, settings: Settings, tiny_snapshot: Make
    ) -> None:
        serve(store, tiny_snapshot("v1"))
        before = store.pseudonyms("v1").name("PAT-1")
        SiteSecret.rotate(settings.secret_file)
        assert_whole(store, tiny_snapshot("v1"))
        serve(store, tiny_snapshot("v2"))
        assert_whole(store, tiny_snapshot("v2"))
        assert store.pseudonyms("v2").name("PAT-1") != before == store.pseudonyms("v1").name("PAT-1")
        assert store.forget("PAT-1") == 2
        assert store.rollback() == "v1"
        with pytest.raises(UnknownPatient):
            store.entry(store.release("v1"), "PAT-1")

    def test_a_version_of_an_earlier_program_is_refused_until_the_next_is_served(
        self, store: Store, tiny_snapshot: Make
    ) -> None:
        serve(store, tiny_snapshot("v1"))
        of = orjson.loads(store._client.hget("rxrec:versions", "v1"))
        assert of.pop("format") == FORMAT
        store._client.hset("rxrec:versions", "v1", orjson.dumps(of))
        for attempt in (lambda: store.release("v1"), lambda: store.forget("PAT-1")):
            with pytest.raises(StoreCorrupt, match=f"version v1 is not in format {FORMAT}: publish again"):
                attempt()
        serve(store, tiny_snapshot("v2"))
        assert [version.version for version in store.versions()] == ["v2"]
        assert not keys(store, "*:v1:*")
        assert store.forget("PAT-1") == 1

    def test_keys_of_another_program_are_refused(self, store: Store, tiny_snapshot: Make) -> None:
        serve(store, tiny_snapshot("v1"))
        store._client.hset("rxrec:versions", "v1", "theirs")
        for attempt in (store.versions, lambda: store.release("v1"), lambda: store.publish(tiny_snapshot("v2"))):
            with pytest.raises(StoreCorrupt, match="RXREC_KEY_PREFIX"):
                attempt()
        store._client.set("rxrec:versions", "theirs")
        with pytest.raises(StoreCorrupt, match="another program's"):
            store.versions()

    def test_installations_share_a_server_by_prefix(
        self, store: Store, settings: Settings, tiny_snapshot: Make
    ) -> None:
        serve(store, tiny_snapshot("v1", n=1))
        with open_store(dataclasses.replace(settings, key_prefix="{other}")) as other:
            with pytest.raises(NothingPublished):
                other.current()
            serve(other, tiny_snapshot("v1", n=5))
            assert_whole(other, tiny_snapshot("v1", n=5))
        assert_whole(store, tiny_snapshot("v1", n=1))
        with pytest.raises(EngineError, match="RXREC_KEY_PREFIX"):
            open_store(dataclasses.replace(settings, key_prefix="a:b"))


class TestServerOfOnesOwn(StoreContract):
    pass


class TestEmbeddedServer(StoreContract):
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return Settings(workdir=tmp_path)


PUBLISHER = """
import pickle, sys, time
from pathlib import Path
from recommender import publication, store
from recommender.store_index import Index

send, sent = Index.send, []

def halting(*chunk):
    sent.append(chunk)
    if len(sent) == 2:
        print("halfway", flush=True)
        while True:  # alive: it keeps its token
            publisher._client.expire("rxrec:publishing", 1)
            time.sleep(0.05)
    send(*chunk)

settings, whole = pickle.loads(Path(sys.argv[1]).read_bytes())
publication.CHUNK_PATIENTS, publication.WRITERS, Index.send = 2, 1, halting
with store.open_store(settings) as publisher:
    publisher.publish(whole)
"""

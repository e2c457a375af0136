"""A server that is down, full, read-only, slow or talking nonsense: one clear error, and nothing served is lost."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recommender import publication, store_connection, store_index
from recommender.errors import StoreUnavailable
from recommender.settings import Settings
from recommender.snapshot import Snapshot
from recommender.store import Store, open_store

Make = Callable[[str], Snapshot]
Interrupt = Callable[[Snapshot, Callable[[], object]], Snapshot]


@pytest.fixture
def served(settings: Settings, tiny_snapshot: Make) -> Iterator[Store]:
    """A store that serves v1."""
    with open_store(settings) as store:
        store.publish(tiny_snapshot("v1"))
        store.activate("v1")
        yield store


def assert_serves(store: Store, version: str) -> None:
    release = store.release(store.current())
    assert release.version == version
    for number in range(1, 7):
        store.entry(release, f"PAT-{number}")


def test_a_server_that_is_full(served: Store, tiny_snapshot: Make, interrupted: Interrupt) -> None:
    before = served._client.keys()
    with pytest.raises(StoreUnavailable, match=r"out of memory.*maxmemory"):
        try:
            served.publish(interrupted(tiny_snapshot("v2"), lambda: served._client.config_set("maxmemory", 1)))
        finally:
            assert sorted(served._client.keys()) == sorted(before)
            assert_serves(served, "v1")
            served._client.config_set("maxmemory", 0)
    served.publish(tiny_snapshot("v2"))
    served.activate("v2")
    assert_serves(served, "v2")


def test_a_server_that_may_throw_patients_away(served: Store, tiny_snapshot: Make) -> None:
    served._client.config_set("maxmemory", 10**9)
    served._client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreUnavailable, match="noeviction"):
        served.publish(tiny_snapshot("v2"))
    served._client.config_set("maxmemory-policy", "noeviction")
    served.publish(tiny_snapshot("v2"))
    served._client.config_set("maxmemory", 0)


def test_a_server_that_turned_into_a_replica(
    served: Store, tiny_snapshot: Make, interrupted: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_index, "LOCK_SECONDS", 1)
    with pytest.raises(StoreUnavailable, match="read-only replica"):
        served.publish(interrupted(tiny_snapshot("v2"), lambda: served._client.replicaof("127.0.0.1", "1")))
    assert_serves(served, "v1")
    served._client.replicaof("NO", "ONE")
    while served._client.exists("rxrec:publishing"):
        time.sleep(0.05)
    served.publish(tiny_snapshot("v3"))
    assert not served._client.keys("rxrec:v2:*")


def test_a_server_that_dies(
    start_redis: Callable[..., object], settings: Settings, tiny_snapshot: Make, interrupted: Interrupt
) -> None:
    server = start_redis()
    with open_store(dataclasses.replace(settings, redis_url=server.url)) as store:
        with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1:\d+/0 cannot be reached: start it"):
            store.publish(interrupted(tiny_snapshot("v1"), server.process.kill))
        server.process.wait()
        for attempt in (store.ping, store.current, store.versions, store.rollback, lambda: store.activate("v1")):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                attempt()


def test_a_connection_that_was_cut_is_made_again(served: Store) -> None:
    served.ping()
    served._client.client_kill_filter(_type="normal", skipme=False)
    assert served.current() == "v1"


def test_a_server_with_a_password(start_redis: Callable[..., object], settings: Settings) -> None:
    address = start_redis("--requirepass", "s3cret").url.removeprefix("redis://")
    for login in ("", ":wr0ng@", "user:wr0ng@"):
        with pytest.raises(StoreUnavailable, match="user name and password") as caught:
            open_store(dataclasses.replace(settings, redis_url=f"redis://{login}{address}"))
        assert "wr0ng" not in str(caught.value)
    open_store(dataclasses.replace(settings, redis_url=f"redis://:s3cret@{address}")).close()


def test_a_slow_server(served: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_connection, "TIMEOUT_SECONDS", 0.1)
    with open_store(settings) as impatient:
        served._client.client_pause(500)
        with pytest.raises(StoreUnavailable, match="did not answer"):
            impatient.ping()
    served.ping()


@pytest.mark.parametrize("url", ["localhost:6379", "http://127.0.0.1:1/s3cret", "redis://u:s3cret@127.0.0.1:port/0"])
def test_a_url_that_is_none(settings: Settings, url: str) -> None:
    with pytest.raises(StoreUnavailable, match="REDIS_URL") as caught:
        open_store(dataclasses.replace(settings, redis_url=url))
    assert "s3cret" not in str(caught.value)


@contextlib.contextmanager
def server_that_says(reply: bytes) -> Iterator[str]:
    """URL of a server that answers everything with `reply` and then, unless it is a whole line, hangs up."""

    def talk() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    while connection.recv(65_536) and (connection.sendall(reply) or reply.endswith(b"\r\n")):
                        pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=talk)
        thread.start()
        yield f"redis://:s3cret@127.0.0.1:{listener.getsockname()[1]}/0"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "still loading"),
        (b"-NOPERM this user has no permissions to run 'ping' on PAT-1\r\n", "let this user"),
        (b"-MISCONF Redis is configured to save RDB snapshots, PAT-1\r\n", r"refused a command \(MISCONF\)"),
        (b"-ERR unknown command 'PING', with args beginning with: 'PAT-1'\r\n", "refused a command"),
        (b"HTTP/1.1 400 Bad Request PAT-1\r\n", "refused a command"),
        (b"$100\r\ncut off", "cannot be reached"),
        (b"", "cannot be reached"),
    ],
)
def test_a_server_that_refuses_or_talks_nonsense(settings: Settings, reply: bytes, meaning: str) -> None:
    with server_that_says(reply) as url, pytest.raises(StoreUnavailable, match=meaning) as caught:
        open_store(dataclasses.replace(settings, redis_url=url))
    assert "PAT-1" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_the_servers_log_names_no_patient(
    start_redis: Callable[..., object], settings: Settings, tiny_snapshot: Make
) -> None:
    server = start_redis("--loglevel", "debug")
    with open_store(dataclasses.replace(settings, redis_url=server.url)) as store:
        store.publish(tiny_snapshot("v1"))
        store.activate("v1")
        assert_serves(store, "v1")
    server.process.terminate()
    server.process.wait()
    assert "PAT-" not in (Path(server.folder) / "redis.log").read_text()


def test_a_connection_cut_between_two_chunks_is_made_again(
    served: Store, tiny_snapshot: Make, interrupted: Interrupt
) -> None:
    served.publish(interrupted(tiny_snapshot("v2"), lambda: served._client.client_kill_filter(_type="normal")))
    served.activate("v2")
    assert_serves(served, "v2")


def test_a_server_that_stands_still_while_a_chunk_is_sent(
    served: Store, settings: Settings, tiny_snapshot: Make, interrupted: Interrupt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_index, "LOCK_SECONDS", 1)
    monkeypatch.setattr(store_connection, "TIMEOUT_SECONDS", 0.2)
    with open_store(settings) as impatient, pytest.raises(StoreUnavailable, match="did not answer"):
        impatient.publish(interrupted(tiny_snapshot("v2"), lambda: served._client.client_pause(1_000)))
    assert_serves(served, "v1")
    served.publish(tiny_snapshot("v3"))  # waits until the token of the failed one has run out, and clears up after it
    served.activate("v3")
    assert_serves(served, "v3")
    assert not served._client.keys("rxrec:v2:*")


def test_a_server_that_is_killed_and_started_again(
    start_redis: Callable[..., object],
    settings: Settings,
    tiny_snapshot: Make,
    interrupted: Interrupt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_index, "LOCK_SECONDS", 1)
    server = start_redis("--appendonly", "yes", "--appendfsync", "always")

    def kill() -> None:
        server.process.kill()
        server.process.wait()

    with open_store(dataclasses.replace(settings, redis_url=server.url)) as store:
        store.publish(tiny_snapshot("v1"))
        store.activate("v1")
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            store.publish(interrupted(tiny_snapshot("v2"), kill))
        again = subprocess.Popen(server.process.args)
        try:
            for _ in range(500):
                with contextlib.suppress(StoreUnavailable):
                    store.ping()
                    break
                time.sleep(0.02)
            assert_serves(store, "v1")
            assert [one.version for one in store.versions()] == ["v1"]
            store.publish(tiny_snapshot("v2"))
            store.activate("v2")
            assert_serves(store, "v2")
        finally:
            again.kill()
            again.wait()


def test_a_clock_that_jumps_changes_no_order(
    served: Store, tiny_snapshot: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    for version, moved in (("v2", -400 * 86_400), ("v3", 30 * 86_400), ("v4", -86_400)):
        monkeypatch.setattr(publication.time, "time", lambda moved=moved: now + moved)
        served.publish(tiny_snapshot(version))
        served.activate(version)
        assert_serves(served, version)
    assert [one.version for one in served.versions()] == ["v4", "v3"]
    assert served.rollback() == "v3"

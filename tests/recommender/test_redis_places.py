"""A real cluster of three nodes and a real Sentinel, on loopback: found, followed when they move, told when down."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from recommender.errors import StoreUnavailable
from recommender.redis_places import client_of, tagged
from recommender.settings import Settings
from recommender.snapshot import Snapshot
from recommender.store import Store, open_store
from tests.recommender.redis_nodes import SLOTS, cluster, port_of, state_of, three_nodes, until

Make = Callable[..., Snapshot]


def serve(store: Store, snapshot: Snapshot) -> None:
    store.publish(snapshot)
    store.activate(snapshot.release.version)


def assert_serves(store: Store, version: str) -> None:
    release = store.release(store.current())
    assert release.version == version
    assert [store.entry(release, f"PAT-{number}").columns.dtype for number in range(1, 7)]


@pytest.fixture
def nodes(start_redis: Callable[..., Any]) -> Iterator[list[Any]]:
    with three_nodes(start_redis) as servers:
        yield servers


def test_an_installation_lies_on_one_node_of_a_cluster(
    settings: Settings, nodes: list[Any], tiny_snapshot: Make
) -> None:
    with open_store(cluster(settings, nodes)) as store:
        for version in ("v1", "v2", "v3"):
            serve(store, tiny_snapshot(version))
            assert_serves(store, version)
        assert [one.version for one in store.versions()] == ["v3", "v2"]
        assert store.rollback() == "v2"
        assert_serves(store, "v2")
        assert all(key.startswith(b"{rxrec}:") for key in store._client.scan_iter())
    # whichever node the URL names; another installation has a slot, and may have a node, of its own
    for node in nodes:
        with open_store(cluster(settings, [node])) as store:
            assert_serves(store, "v2")
    with open_store(cluster(settings, nodes, key_prefix="other")) as store:
        assert store.versions() == []


def test_keys_that_move_to_another_node_are_followed(settings: Settings, nodes: list[Any], tiny_snapshot: Make) -> None:
    slot = key_slot(b"{rxrec}")
    owner = next(place for place in range(3) if slot < SLOTS * (place + 1) // 3)
    other = (owner + 1) % 3
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(open_store(cluster(settings, nodes)))
        clients = [stack.enter_context(redis.Redis(port=port_of(node))) for node in nodes]
        serve(store, tiny_snapshot("v1"))
        ids = [client.execute_command("CLUSTER MYID").decode() for client in clients]
        clients[other].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[owner])
        clients[owner].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[other])
        keys = clients[owner].execute_command("CLUSTER GETKEYSINSLOT", slot, 1_000)
        clients[owner].execute_command("MIGRATE", "127.0.0.1", port_of(nodes[other]), "", 0, 5_000, "KEYS", *keys)
        with pytest.raises(StoreUnavailable, match="is moving our keys to another node"):
            store.current()
        for client in (clients[other], clients[owner], clients[(owner + 2) % 3]):
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[other])
        assert_serves(store, "v1")
        serve(store, tiny_snapshot("v2"))
        assert_serves(store, "v2")
        assert clients[owner].execute_command("CLUSTER COUNTKEYSINSLOT", slot) == 0


@pytest.mark.slow
def test_a_cluster_that_is_down_is_told(settings: Settings, nodes: list[Any], tiny_snapshot: Make) -> None:
    slot = key_slot(b"{rxrec}")
    owner = next(place for place in range(3) if slot < SLOTS * (place + 1) // 3)
    with open_store(cluster(settings, nodes)) as store:
        serve(store, tiny_snapshot("v1"))
        nodes[(owner + 1) % 3].process.kill()
        with redis.Redis(port=port_of(nodes[owner])) as client:
            until(lambda: state_of(client) == "fail")
        with pytest.raises(StoreUnavailable, match="a cluster that is down"):
            store.current()
        nodes[owner].process.kill()
        with pytest.raises(StoreUnavailable, match=r"redis\+cluster://127.0.0.1:\d+,.* cannot be reached"):
            store.current()


def test_a_primary_that_dies_is_followed_to_its_replica(
    settings: Settings, start_redis: Callable[..., Any], tiny_snapshot: Make
) -> None:
    primary = start_redis()
    replica = start_redis("--replicaof", "127.0.0.1", str(port_of(primary)), "--repl-diskless-sync-delay", "0")
    watch = ["--sentinel", "monitor", "ours", "127.0.0.1", str(port_of(primary)), "1"]
    patience = ["--sentinel", "down-after-milliseconds", "ours", "300"]
    sentinel = start_redis("--protected-mode", "no", sentinel=[*watch, *patience])
    url = f"redis+sentinel://127.0.0.1:{port_of(sentinel)}/ours/0"
    with open_store(dataclasses.replace(settings, redis_url=url)) as store:
        serve(store, tiny_snapshot("v1"))
        with redis.Redis(port=port_of(replica)) as client, redis.Redis(port=port_of(sentinel)) as watcher:
            until(lambda: client.get("rxrec:current") == b"v1")
            until(lambda: watcher.sentinel_slaves("ours"))
            primary.process.kill()
            until(lambda: client.info("replication")["role"] == "master")
        until_it_serves(store)
        assert_serves(store, "v1")
        serve(store, tiny_snapshot("v2"))
        assert_serves(store, "v2")
    sentinel.process.kill()
    sentinel.process.wait()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        open_store(dataclasses.replace(settings, redis_url=url))


def until_it_serves(store: Store) -> None:
    def current() -> object:
        with contextlib.suppress(StoreUnavailable):
            return store.current()
        return None

    until(current)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://127.0.0.1:1",
        "redis+sentinel://127.0.0.1:1/ours/x",
        "redis+sentinel:///ours",
        "redis+cluster://127.0.0.1:1,:2",
        "redis+cluster://u:s3cret@127.0.0.1:port",
        "redis+cluster://127.0.0.1:1/3",
    ],
)
def test_a_url_that_is_none(settings: Settings, url: str) -> None:
    with pytest.raises(StoreUnavailable, match="REDIS_URL is not one") as caught:
        open_store(dataclasses.replace(settings, redis_url=url))
    assert "s3cret" not in str(caught.value)


def test_logins_go_to_whom_they_are_for() -> None:
    url = "redis+sentinel://u:p%40ss@a:1,[::1]:2,c/ours/3?sentinel_username=su&sentinel_password=sp"
    client = client_of(url, "rxrec")
    options = client.connection_pool.connection_kwargs
    assert (options["username"], options["password"], options["db"]) == ("u", "p@ss", 3)
    asked = [one.connection_pool.connection_kwargs for one in client.connection_pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"]) for one in asked] == [("a", 1), ("::1", 2), ("c", 26379)]
    assert {(one["username"], one["password"]) for one in asked} == {("su", "sp")}
    client = client_of("rediss+cluster://:secret@a:1", "rxrec")
    assert client.connection_pool.connection_kwargs["password"] == "secret"
    assert issubclass(client.connection_pool.connection_class, redis.SSLConnection)
    assert tagged("redis+cluster://a", "rxrec") == tagged("redis+cluster://a", "{rxrec}") == "{rxrec}"
    assert tagged("redis://a", "rxrec") == "rxrec"

"""A Redis Cluster of three nodes on loopback: what tests of the store, and of a night that publishes into it, share."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from recommender.settings import Settings

SLOTS = 16_384


@contextlib.contextmanager
def three_nodes(start_redis: Callable[..., Any]) -> Iterator[list[Any]]:
    """Three primaries that share the slots."""
    servers = [start_redis("--cluster-enabled", "yes", "--cluster-node-timeout", "1000") for _ in range(3)]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(redis.Redis(port=port_of(server))) for server in servers]
        for place, client in enumerate(clients):
            first, end = SLOTS * place // 3, SLOTS * (place + 1) // 3
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
            client.execute_command("CLUSTER MEET", "127.0.0.1", port_of(servers[0]))
        until(lambda: all(state_of(client) == "ok" for client in clients))
    yield servers


def cluster(settings: Settings, nodes: list[Any], **changes: Any) -> Settings:
    hosts = ",".join(f"127.0.0.1:{port_of(node)}" for node in nodes)
    return dataclasses.replace(settings, redis_url=f"redis+cluster://{hosts}", **changes)


def state_of(client: redis.Redis) -> str:
    return client.execute_command("CLUSTER INFO")["cluster_state"]


def port_of(server: Any) -> int:
    return urlsplit(server.url).port or 0


def until(what: Callable[[], object]) -> None:
    for _ in range(1_500):
        with contextlib.suppress(redis.RedisError):
            if what():
                return
        time.sleep(0.02)
    pytest.fail("it did not come to that within half a minute")

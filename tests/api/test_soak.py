"""Requests while versions and updates are published and swapped: each sees one whole version, and none fails."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from flask.testing import FlaskClient
from scipy import sparse

from api import create_app
from recommender.publication import Onto
from recommender.ranking import TopN
from recommender.settings import Settings
from recommender.snapshot import Snapshot
from recommender.store import Store

SOAK_SECONDS = float(os.environ.get("RXREC_SOAK_SECONDS", "600"))
COPIES, READERS, LENGTHS = 1_000, 3, (1, 2, 3, 4)
EVERY, EVEN = range(COPIES), range(0, COPIES, 2)
Answer = tuple[int, list[tuple[str, float]]]


def many(snapshot: Snapshot, version: str, copies: range) -> Snapshot:
    """The six patients once for each copy, as a version of its own."""
    top, n = snapshot.top, len(copies)
    ends = np.concatenate([[0], np.cumsum(np.tile(np.diff(top.indptr), n))])
    return Snapshot(
        dataclasses.replace(snapshot.release, version=version),
        np.array([f"{name}.{copy}" for copy in copies for name in snapshot.patient_ids], dtype=object),
        TopN(ends, np.tile(top.columns, n), np.tile(top.scores, n)),
        sparse.csr_matrix(sparse.vstack([snapshot.rows] * n, format="csr")),
        snapshot.charts.take(np.tile(np.arange(6), n)),
    )


def ask(client: FlaskClient, patient_id: str) -> tuple[str, Answer]:
    """The version that answered, and its answer."""
    response = client.get(f"/v1/patients/{patient_id}/recommendations")
    told = response.get_json()
    items = [(item["code"], item["score"]) for item in told.get("items", [])]
    return str(told.get("version") or told.get("run_id") or told), (response.status_code, items)


def soak(
    settings: Settings, store: Store, made: Callable[..., Snapshot], seconds: float
) -> tuple[np.ndarray, int, list[object]]:
    """Milliseconds of each request, how many versions were swapped, and every answer that was not as it must be.

    Every other publication is an update of the one before: it rewrites the even copies. A name tells what it must hold:
    `night7.3` lists of length 3, `night8.2.3` lists of length 2 for even copies and of 3 for odd ones.
    """
    app = create_app(settings, store)
    expected: dict[int, dict[int, Answer]] = {}
    for length in LENGTHS:
        name = f"first.{length}"
        store.publish(made(length, name))
        store.activate(name)
        expected[length] = {who: ask(app.test_client(), f"PAT-{who}.0")[1] for who in range(1, 7)}
    assert len({str(answers) for answers in expected.values()}) == len(LENGTHS)  # a mixture would be seen
    over, wrong = threading.Event(), []
    taken: list[list[float]] = [[] for _ in range(READERS)]

    def read(reader: int) -> None:
        client, rng = app.test_client(), np.random.default_rng(reader)
        while not over.is_set():
            who, copy = int(rng.integers(1, 7)), int(rng.integers(COPIES))
            began = time.perf_counter()
            version, answer = ask(client, f"PAT-{who}.{copy}")
            taken[reader].append(1e3 * (time.perf_counter() - began))
            lengths = version.split(".")[1:]
            length = lengths[copy % 2] if len(lengths) == 2 else "".join(lengths)
            if not length.isdigit() or answer != expected[int(length)][who]:
                wrong.append((version, answer))

    readers = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    for reader in readers:
        reader.start()
    swapped, end = 0, time.monotonic() + seconds
    try:
        while time.monotonic() < end or swapped < 3:
            length = LENGTHS[swapped % len(LENGTHS)]
            name, copies, onto = f"night{swapped}.{length}", EVERY, None
            if swapped % 2:
                onto, copies = Onto(store.current(), (), 0), EVEN
                name += "." + onto.base.partition(".")[2]
            store.publish(made(length, name, copies), onto=onto)
            store.activate(name)
            swapped += 1
    finally:
        over.set()
        for reader in readers:
            reader.join()
    return np.concatenate(taken), swapped, wrong


@pytest.fixture
def made(tiny_snapshot: Callable[..., Snapshot], with_manifest: Callable[..., Snapshot]) -> Callable[..., Snapshot]:
    def make(length: int, version: str, copies: range = EVERY) -> Snapshot:
        return many(with_manifest(tiny_snapshot("v", n=length)), version, copies)

    return make


def test_three_publications_under_requests(settings: Settings, store: Store, made: Callable[..., Snapshot]) -> None:
    taken, swapped, wrong = soak(settings, store, made, 0)
    assert not wrong[:3]
    assert swapped == 3
    assert len(taken) > 0


@pytest.mark.slow
def test_ten_minutes_of_publications_under_requests(
    settings: Settings, store: Store, made: Callable[..., Snapshot], capsys: pytest.CaptureFixture[str]
) -> None:
    taken, swapped, wrong = soak(settings, store, made, SOAK_SECONDS)
    assert not wrong[:3]
    assert swapped > 3
    assert len(taken) > swapped
    p50, p99 = np.percentile(taken, [50, 99])
    with capsys.disabled():
        print(f"\n{len(taken):,} requests, {swapped} versions swapped: p50 {p50:.1f} ms, p99 {p99:.1f} ms")  # noqa: T201

"""Requests while versions are published and swapped: each sees one whole version, and none fails."""

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
from recommender.ranking import TopN
from recommender.settings import Settings
from recommender.snapshot import Snapshot
from recommender.store import Store

SOAK_SECONDS = float(os.environ.get("RXREC_SOAK_SECONDS", "600"))
COPIES, READERS, LENGTHS = 1_000, 3, (1, 2, 3, 4)
Answer = tuple[int, list[tuple[str, float]]]


def many(snapshot: Snapshot, version: str) -> Snapshot:
    """The six patients COPIES times over, as a version of its own."""
    top, six = snapshot.top, np.arange(6)
    ends = np.concatenate([[0], np.cumsum(np.tile(np.diff(top.indptr), COPIES))])
    return Snapshot(
        dataclasses.replace(snapshot.release, version=version),
        np.array([f"{name}.{copy}" for copy in range(COPIES) for name in snapshot.patient_ids], dtype=object),
        TopN(ends, np.tile(top.columns, COPIES), np.tile(top.scores, COPIES)),
        sparse.csr_matrix(sparse.vstack([snapshot.rows] * COPIES, format="csr")),
        snapshot.charts.take(np.tile(six, COPIES)),
    )


def ask(client: FlaskClient, patient_id: str) -> tuple[str, Answer]:
    """The version that answered, and its answer."""
    response = client.get(f"/v1/patients/{patient_id}/recommendations")
    told = response.get_json()
    items = [(item["code"], item["score"]) for item in told.get("items", [])]
    return str(told.get("version") or told.get("run_id") or told), (response.status_code, items)


def soak(
    settings: Settings, store: Store, made: Callable[[int, str], Snapshot], seconds: float
) -> tuple[int, int, list[object]]:
    """How many requests were answered, how many versions were swapped, and every answer that was not as it must be."""
    app = create_app(settings, store)
    expected: dict[int, dict[int, Answer]] = {}
    for length in LENGTHS:
        name = f"first.{length}"
        store.publish(made(length, name))
        store.activate(name)
        expected[length] = {who: ask(app.test_client(), f"PAT-{who}.0")[1] for who in range(1, 7)}
    assert len({str(answers) for answers in expected.values()}) == len(LENGTHS)  # a mixture would be seen
    over, wrong, answered = threading.Event(), [], [0] * READERS

    def read(reader: int) -> None:
        client, rng = app.test_client(), np.random.default_rng(reader)
        while not over.is_set():
            who, copy = int(rng.integers(1, 7)), int(rng.integers(COPIES))
            version, answer = ask(client, f"PAT-{who}.{copy}")
            _, _, length = version.partition(".")
            if not length.isdigit() or answer != expected[int(length)][who]:
                wrong.append((version, answer))
            answered[reader] += 1

    readers = [threading.Thread(target=read, args=(number,)) for number in range(READERS)]
    for reader in readers:
        reader.start()
    swapped, end = 0, time.monotonic() + seconds
    try:
        while time.monotonic() < end or swapped < 3:
            length = LENGTHS[swapped % len(LENGTHS)]
            store.publish(made(length, f"night{swapped}.{length}"))
            store.activate(f"night{swapped}.{length}")
            swapped += 1
    finally:
        over.set()
        for reader in readers:
            reader.join()
    return sum(answered), swapped, wrong


@pytest.fixture
def made(
    tiny_snapshot: Callable[..., Snapshot], with_manifest: Callable[..., Snapshot]
) -> Callable[[int, str], Snapshot]:
    return lambda length, version: many(with_manifest(tiny_snapshot("v", n=length)), version)


def test_three_publications_under_requests(
    settings: Settings, store: Store, made: Callable[[int, str], Snapshot]
) -> None:
    answered, swapped, wrong = soak(settings, store, made, 0)
    assert not wrong[:3]
    assert swapped == 3
    assert answered > 0


@pytest.mark.slow
def test_ten_minutes_of_publications_under_requests(
    settings: Settings, store: Store, made: Callable[[int, str], Snapshot]
) -> None:
    answered, swapped, wrong = soak(settings, store, made, SOAK_SECONDS)
    assert not wrong[:3]
    assert swapped > 3
    assert answered > swapped

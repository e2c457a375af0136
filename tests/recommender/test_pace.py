"""How fast a night publishes is a setting: what writers wait for one another, and that they do."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from recommender import pace, publication
from recommender.errors import EngineError
from recommender.pace import Pace
from recommender.settings import Settings
from recommender.store import open_store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still; `slept`: for how long it was waited."""
    clock = SimpleNamespace(now=100.0, slept=[])
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=clock.slept.append))
    return clock


def test_who_sends_waits_for_what_was_sent_before(clock):
    writers = Pace(1_000)
    for patients in (500, 500, 250):
        writers.wait(patients)
    assert clock.slept == [0, 0.5, 1.0]
    clock.now += 10  # the next one comes late: nothing is made up for
    writers.wait(500)
    writers.wait(500)
    assert clock.slept[3:] == [0, 0.5]


def test_without_a_pace_nobody_waits(clock):
    Pace(0).wait(10**9)
    assert clock.slept == []


def test_a_night_publishes_at_its_pace(clock, settings, tiny_snapshot, monkeypatch):
    monkeypatch.setattr(publication, "CHUNK_PATIENTS", 2)  # of six
    with open_store(dataclasses.replace(settings, publish_rate=100)) as store:
        store.publish(tiny_snapshot())
        store.activate("v1")
        assert dict(store.entries(store.release("v1"))).keys() == {f"PAT-{number}" for number in range(1, 7)}
    assert clock.slept == pytest.approx([0, 0.02, 0.04])


def test_the_setting_is_read_and_a_slip_is_told():
    assert Settings.from_environment({}).publish_rate == 0
    assert Settings.from_environment({"RXREC_PUBLISH_RATE": "20000"}).publish_rate == 20_000
    for told in ("99", "fast", "-1"):
        with pytest.raises(EngineError, match="RXREC_PUBLISH_RATE must be"):
            Settings.from_environment({"RXREC_PUBLISH_RATE": told})

"""What becomes of readings: the chart as it is now, what is news of it and what is not, and each told once."""

import dataclasses
import itertools
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tried
from hypothesis import strategies as st

from recommender.observations import Alarm
from recommender.offer import Desk
from recommender.safety.renal import ckd_epi_2021
from recommender.store import open_store
from recommender.stream import Events, Readings
from recommender.watching.alarms import against_drugs, crossed, thresholds
from recommender.watching.charts import current, observing, with_observations
from recommender.watching.telling import HOUR, MOST_AN_HOUR, Told, begun, news
from tests.recommender.watching import (
    CREATININE,
    EGFR,
    MINUTE,
    NIGHT,
    NOON,
    POTASSIUM,
    SPO2,
    of_this_night,
    place,
    reading,
    safety,
    served,
    watcher,
)


@pytest.fixture(scope="module")
def screen():
    return safety()[0]


@pytest.fixture
def store(settings):
    with open_store(settings) as opened:
        yield opened


@pytest.fixture
def readings(settings):
    return Readings(place(settings))


@pytest.fixture
def desk(tiny_snapshot, screen):
    return Desk(observing(of_this_night(tiny_snapshot()).release, screen), *safety())


def values(desk, entry):
    """code -> (days, value) of the chart's measurements."""
    concepts, chart = desk.release.known.concepts, entry.chart
    return {
        concepts[ix].code: (days, pytest.approx(value, rel=1e-6))
        for ix, days, value in zip(chart.concept.tolist(), chart.days.tolist(), chart.value.tolist(), strict=True)
        if concepts[ix].kind == "observation"
    }


# --- the chart as it is now ------------------------------------------------------------------------------------------


def test_a_newer_reading_stands_in_place_of_the_older_value(desk, tiny_snapshot):
    entry = tiny_snapshot().entry(0)  # PAT-1, with an eGFR of 55
    screen, release = desk.screen, desk.release
    now = with_observations(entry, [reading("a", "PAT-1", EGFR, 40)], release, screen, 0, NOON)
    assert values(desk, now) == {EGFR: (0, 40)}
    assert np.all(np.diff(now.chart.concept) > 0)
    potassium = with_observations(entry, [reading("a", "PAT-1", POTASSIUM, 6)], release, screen, 0, NOON)
    assert values(desk, potassium)[POTASSIUM] == (0, 6) and len(values(desk, potassium)) == 2
    old = reading("a", "PAT-1", POTASSIUM, 6, minutes=-3 * 24 * 60)
    # three days old today; the charts were read two days ago, and all of a chart is aged by those two
    assert values(desk, with_observations(entry, [old], release, screen, 2, NOON))[POTASSIUM] == (1, 6)


def test_a_new_creatinine_goes_before_an_egfr_that_was_reported_earlier(desk, tiny_snapshot):
    """Else a kidney that failed this morning would be judged by last month's eGFR."""
    entry, screen, release = tiny_snapshot().entry(0), desk.screen, desk.release
    creatinine = reading("a", "PAT-1", CREATININE, 4.0)
    found = with_observations(entry, [creatinine], release, screen, 0, NOON)
    assert values(desk, found) == {CREATININE: (0, 4.0)}
    expected = float(ckd_epi_2021(np.float32(4.0), np.float32(74.5), True))
    (alarm,) = [one for one in against_drugs(desk, found, desk.reading(found.chart)) if one.rule == "egfr-metformin-30"]
    assert 10 < expected < 13 and f"{expected:.2g}" in alarm.because  # 142 (4/0.7)^-1.2 0.9938^74.5 1.012
    both = with_observations(entry, [creatinine, reading("b", "PAT-1", EGFR, 50, 1)], release, screen, 0, NOON)
    assert EGFR in values(desk, both)  # reported since
    unknown = dataclasses.replace(entry, chart=dataclasses.replace(entry.chart, sex="unknown"))
    kept = with_observations(unknown, [creatinine], release, screen, 0, NOON)
    assert EGFR in values(desk, kept)  # nothing can be worked out: what was reported is all there is


def test_readings_count_until_the_nightly_data_cover_them(desk, tiny_snapshot, screen):
    entry, release = tiny_snapshot().entry(0), desk.release  # its eGFR is from 2020: its age stands in the chart
    after, before = reading("a", "PAT-1", EGFR, 40), reading("b", "PAT-1", EGFR, 41, minutes=-120)
    (age,) = [days for code, (days, _) in values(desk, entry).items() if code == EGFR]
    assert age > 1000
    for one in (after, before):  # the export of the night does not hold it: a value of 2020 does not cover it
        assert current({EGFR: one}, release, screen, entry, NOON) == [one]
    held = dataclasses.replace(entry, chart=dataclasses.replace(entry.chart, days=np.zeros_like(entry.chart.days)))
    assert current({EGFR: after}, release, screen, held, NOON) == [after]
    assert current({EGFR: before}, release, screen, held, NOON) == []  # the chart has one of that very day
    assert current({EGFR: after}, release, screen, held, NOON + 31 * 24 * HOUR) == []  # too old to count at all


def test_thresholds_hold_on_the_right_side():
    for one in thresholds():
        below, above = one.holds(one.value - 0.01), one.holds(one.value + 0.01)
        assert (below, above) == (one.comparison.startswith("<"), one.comparison.startswith(">"))
        assert one.holds(one.value) == one.comparison.endswith("=")
    (alarm,) = crossed({SPO2: reading("a", "p", SPO2, 91)})
    assert alarm.rule == "oxygen-91" and alarm.because == "Oxygen saturation 91 %"
    assert crossed({SPO2: reading("a", "p", SPO2, 92)}) == []


# --- what is news ----------------------------------------------------------------------------------------------------


def alarm(number, severity="serious"):
    return Alarm(
        "therapy", f"rule-{number}", severity, "rxnorm:1", "a drug", "Message.", "Manage.", "because", "source"
    )


def test_what_the_night_says_already_is_no_news():
    told = begun("v1", [alarm(1)])
    after, events, again = news(told, [alarm(1), alarm(2)], "p", reading("a", "p", SPO2, 90), 0, HOUR)
    assert [(one.change, one.alarm.rule) for one in events] == [("raised", "rule-2")] and again is None
    # a new night: what it says, and what was told before, is told; what it ended is news again
    later = begun("v2", [alarm(3)], after)
    assert set(later.alarms) == {one.key for one in (alarm(1), alarm(2), alarm(3))}
    assert Told.loads(later.dumps()) == later


def test_to_and_fro_is_told_once_and_then_what_it_came_to():
    because, told, changes = reading("a", "p", SPO2, 90), begun("v1", []), []
    for minute, holds in enumerate([True, False, True, False]):  # each minute another
        told, events, again = news(told, [alarm(1)] if holds else [], "p", because, minute * MINUTE, HOUR)
        changes += [one.change for one in events]
    assert changes == ["raised"] and again == HOUR  # it ended after all, and this must be told then
    told, events, again = news(told, [], "p", because, HOUR, HOUR)
    assert [one.change for one in events] == ["ended"] and again is None and told.alarms == {}


def test_of_one_patient_no_more_than_one_can_read_the_most_severe_first():
    holding = [alarm(n, "caution") for n in range(20)] + [alarm(99, "contraindicated")]
    told, events, again = news(begun("v1", []), holding, "p", reading("a", "p", SPO2, 90), 0, MINUTE)
    assert len(events) == MOST_AN_HOUR and events[0].alarm.rule == "rule-99" and again == HOUR
    told, rest, again = news(told, holding, "p", reading("a", "p", SPO2, 90), HOUR, MINUTE)
    assert len(rest) == 21 - MOST_AN_HOUR and again is None
    assert {one.alarm.rule for one in (*events, *rest)} == {one.rule for one in holding}


# --- the consumer ----------------------------------------------------------------------------------------------------


def told_of(readings):
    found = Events(readings.place).after("0", 1_000)
    return [(one.event.patient_id, one.event.change, one.event.alarm.kind, one.event.alarm.rule) for one in found]


def run(one):
    while one.turn(block_ms=None):
        pass


def test_a_creatinine_makes_metformin_contraindicated_and_a_better_one_ends_it(store, readings, tiny_snapshot):
    served(store, tiny_snapshot)
    one = watcher(store, readings, quiet_minutes=0)
    readings.add([reading("a", "PAT-1", CREATININE, 4.0), reading("x", "NOBODY", CREATININE, 4.0)])
    run(one)
    assert ("PAT-1", "raised", "therapy", "egfr-metformin-30") in told_of(readings)
    assert (one.counts.observations, one.counts.unknown, readings.counts()["waiting"]) == (2, 1, 0)
    before = told_of(readings)
    readings.add([reading("b", "PAT-1", CREATININE, 4.1, minutes=1)])
    run(one)
    assert told_of(readings) == before  # as bad as it was
    readings.add([reading("c", "PAT-1", CREATININE, 0.8, minutes=2)])
    run(one)
    assert ("PAT-1", "ended", "therapy", "egfr-metformin-30") in told_of(readings)


def test_a_suggestion_is_newly_withheld_and_possible_again(store, readings, tiny_snapshot):
    served(store, tiny_snapshot)
    one = watcher(store, readings, quiet_minutes=0)
    readings.add([reading("a", "PAT-4", CREATININE, 6.0)])  # takes no metformin, and is suggested it
    run(one)
    readings.add([reading("b", "PAT-4", CREATININE, 0.9, minutes=1)])
    run(one)
    withheld = [(change, kind) for _, change, kind, rule in told_of(readings) if rule == "egfr-metformin-30"]
    assert withheld == [("raised", "withheld"), ("ended", "withheld")]


def test_what_is_done_twice_is_told_once(store, readings, tiny_snapshot, monkeypatch):
    """A consumer that is killed after all is told and before it says so."""
    served(store, tiny_snapshot)
    readings.add([reading("a", "PAT-1", CREATININE, 4.0), reading("b", "PAT-1", POTASSIUM, 7.0)])
    killed = watcher(store, readings, "killed")
    with monkeypatch.context() as patched:
        patched.setattr(Readings, "done", lambda self, taken: None)
        killed.turn(block_ms=None)
    told = told_of(readings)
    assert len(told) == len(set(told)) >= 2 and readings.counts()["waiting"] == 2
    monkeypatch.setattr("recommender.stream.readings.IDLE_MS", 0)
    other = watcher(store, readings, "other")
    other._deal(readings.reclaim("other", 10, idle_ms=0))
    assert told_of(readings) == told and readings.counts()["waiting"] == 0


def test_a_reading_that_always_fails_is_put_apart_and_stops_no_other(store, readings, tiny_snapshot, monkeypatch):
    served(store, tiny_snapshot)
    troubles = []
    one = watcher(store, readings, troubled=troubles.append)
    judged = one._judged

    def fails(person):
        return judged(person) if person.patient_id != "PAT-2" else 1 / 0

    monkeypatch.setattr(one, "_judged", fails)
    readings.add([reading("a", "PAT-2", CREATININE, 4.0), reading("b", "PAT-1", CREATININE, 4.0)])
    one.turn(block_ms=None)
    assert ("PAT-1", "raised", "therapy", "egfr-metformin-30") in told_of(readings)
    reclaim = readings.reclaim
    monkeypatch.setattr(readings, "reclaim", lambda name, most: reclaim(name, most, idle_ms=0))
    for _ in range(8):
        one._deal(one._to_try_again())
    assert [type(error) for error in troubles] == [ZeroDivisionError] * 5
    assert readings.counts() == {"waiting": 0, "dead": 1, "patients": 2}


def test_what_had_to_wait_is_told_when_its_time_comes_though_nothing_arrives(store, readings, tiny_snapshot):
    served(store, tiny_snapshot)
    clock = iter(itertools.count(NOON / 1000 + 600, 0.001))
    ahead = [0.0]
    one = watcher(store, readings, clock=lambda: next(clock) + ahead[0])
    for minute, value in enumerate([7.0, 4.0]):  # crossed, and back within the hour
        readings.add([reading(f"r{minute}", "PAT-2", POTASSIUM, value, minute)])
        run(one)
    crossing = ("PAT-2", "raised", "threshold", "potassium-6.5")
    assert [each for each in told_of(readings) if each[2] == "threshold"] == [crossing]
    ahead[0] = 3_601.0
    one._look_again()
    assert ("PAT-2", "ended", "threshold", "potassium-6.5") in told_of(readings)
    assert readings.due(10**15) == []


def test_a_new_night_that_covers_a_reading_ends_it(store, readings, tiny_snapshot):
    served(store, tiny_snapshot, night=NIGHT - timedelta(days=1))
    one = watcher(store, readings)
    readings.add([reading("a", "PAT-1", EGFR, 20), reading("b", "PAT-1", POTASSIUM, 7.0)])
    run(one)
    told = told_of(readings)
    assert len(readings.newest(["PAT-1"])[0]) == 2
    covering = of_this_night(tiny_snapshot("v2"), NIGHT + timedelta(hours=5))
    charts = dataclasses.replace(covering.charts, days=np.zeros_like(covering.charts.days))  # read that very day
    store.publish(dataclasses.replace(covering, charts=charts))
    store.activate("v2")
    one.turn(block_ms=None)
    assert set(readings.newest(["PAT-1"])[0]) == {POTASSIUM}  # no export holds a potassium of this patient
    readings.add([reading("c", "PAT-1", POTASSIUM, 7.1, 1)])
    run(one)
    assert [each for each in told_of(readings)[len(told) :] if each[1] == "raised"] == []  # nothing is told again


CROSSING = st.lists(
    st.tuples(
        st.sampled_from(["PAT-1", "PAT-4"]),
        st.sampled_from([(CREATININE, 0.8), (CREATININE, 4.0), (POTASSIUM, 4.0), (POTASSIUM, 7.0)]),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=6,
    unique=True,
)


@given(sent=CROSSING, data=st.data())
@tried(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_order_repeats_and_consumers_the_same_holds_in_the_end(
    settings, store, tiny_snapshot, redis_url, sent, data
):
    made = [reading(f"{n}", who, code, value, minutes) for n, (who, (code, value), minutes) in enumerate(sent)]
    shuffled = data.draw(st.permutations(made + data.draw(st.lists(st.sampled_from(made), max_size=4))))
    held = []
    for prefix, arrived in (("straight", made), ("shuffled", shuffled)):
        of = Readings(place(dataclasses.replace(settings, key_prefix=prefix)))
        of.place.client.delete(*(of.place.client.keys(f"{prefix}:readings*") or [b"none"]), of.place.events)
        if not store.versions():
            served(store, tiny_snapshot)
        consumers = [watcher(store, of, name, quiet_minutes=0) for name in ("one", "two")]
        for number, each in enumerate(arrived):
            of.add([each])
            run(consumers[number % 2 if prefix == "shuffled" else 0])
        people = [of.person(name) for name in ("PAT-1", "PAT-4")]
        held.append([(p.newest, set(Told.loads(p.told).alarms) if p.told else None) for p in people])
        raised = {}
        for who, change, kind, rule in told_of(of):  # what was told adds up to what holds: raised, ended, raised ...
            assert raised.get((who, kind, rule), "ended") != change
            raised[who, kind, rule] = change
    assert held[0] == held[1]

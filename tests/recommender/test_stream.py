"""Readings in Redis: each once, the newest kept whatever the order, nothing lost, no patient named, forgotten whole."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as tried
from hypothesis import strategies as st

from recommender.access import SiteSecret
from recommender.errors import StoreCorrupt
from recommender.observations import TO_COME, TOO_OLD, Alarm, Event, Observation, understood
from recommender.stream import Events, Readings, Settlement
from recommender.stream.readings import Backlog
from tests.recommender.watching import CREATININE, EGFR, POTASSIUM, place, reading

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)


@pytest.fixture
def readings(settings):
    made = Readings(place(settings))
    made.begin()
    return made


def keys_and_values(settings):
    with contextlib.closing(redis.Redis.from_url(settings.redis_url)) as client:
        return b" ".join(
            key + b" " + (client.dump(key) or b"") for key in client.scan_iter() if not key.endswith(b":assets")
        )


# --- what is taken in ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "unit", "value", "expected"),
    [
        ("loinc:2160-0", "umol/L", 354.0, 354.0 * 0.011312),
        ("loinc:2345-7", "mmol/L", 3.0, 3.0 * 18.016),
        ("loinc:8310-5", "[degF]", 104.0, 104 * 0.5555556 - 17.7777778),
        ("loinc:29463-7", "lb", 150.0, 150 * 0.45359237),
        ("loinc:59408-5", "", 91.0, 91.0),
    ],
)
def test_units_are_converted(code, unit, value, expected):
    found = understood("a", "p", code, value, unit, NOW, NOW)
    assert isinstance(found, Observation) and found.value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"value": 4000.0}, "not a possible value"),
        ({"unit": "furlong"}, "not a unit"),
        ({"value": float("nan")}, "not a number"),
        ({"code": "loinc:1-1"}, "not a measurement"),
        ({"id_": ""}, "id"),
        ({"id_": "a\nb"}, "id"),
        ({"taken": NOW + timedelta(minutes=6)}, TO_COME),
        ({"taken": NOW - timedelta(days=30, seconds=1)}, TOO_OLD),
    ],
)
def test_what_cannot_be_is_set_aside_and_named(changes, why):
    given_ = {"id_": "a", "patient_id": "p", "code": CREATININE, "value": 1.0, "unit": "mg/dL", "taken": NOW}
    found = understood(**{**given_, **changes}, now=NOW)
    assert isinstance(found, str) and why in found


def test_each_id_counts_once_and_another_content_is_no_repeat(readings):
    one = reading("a", "PAT-1", CREATININE, 1.0)
    assert readings.add([one, one, reading("b", "PAT-1", CREATININE, 1.1)]) == ["new", "already", "new"]
    assert readings.add([one, reading("a", "PAT-1", CREATININE, 2.0)]) == ["already", "conflict"]
    assert [w.observation for w in readings.take("c", 10, None)] == [one, reading("b", "PAT-1", CREATININE, 1.1)]
    assert readings.counts()["waiting"] == 2  # until they are dealt with


def test_when_too_many_wait_no_more_are_taken_in(readings):
    readings.add([reading("a", "PAT-1", CREATININE, 1.0)])
    with pytest.raises(Backlog, match="rxrec watch"):
        readings.add([reading("b", "PAT-1", CREATININE, 1.0)], most=1)


# --- what is kept ----------------------------------------------------------------------------------------------------

SENT = st.lists(
    st.tuples(
        st.sampled_from(["PAT-1", "PAT-2"]),
        st.sampled_from([CREATININE, EGFR, POTASSIUM]),
        st.integers(0, 5),  # minutes: several at the same time
        st.integers(1, 9),
    ),
    min_size=1,
    max_size=12,
)


@given(sent=SENT, data=st.data())
@tried(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_neither_order_nor_repeats_change_what_is_kept(settings, sent, data):
    made = [
        reading(f"{who}{code}{minutes}{value}", who, code, value, minutes) for who, code, minutes, value in set(sent)
    ]
    arrived = data.draw(st.permutations(made + data.draw(st.lists(st.sampled_from(made), max_size=6))))
    cuts = data.draw(st.integers(1, len(arrived)))
    with contextlib.closing(redis.Redis.from_url(settings.redis_url)) as client:
        client.flushdb()
    kept = Readings(place(settings))
    for start in range(0, len(arrived), cuts):
        kept.apply(arrived[start : start + cuts])
    for patient_id in ("PAT-1", "PAT-2"):
        by_code = {}
        for one in made:  # by hand: of each code the latest; of several at once always the same
            if one.patient_id == patient_id:
                by_code.setdefault(one.code, []).append(one)
        newest = {code: max(every, key=lambda each: each.order) for code, every in by_code.items()}
        assert kept.newest([patient_id]) == [newest]
        assert all(one.taken == max(each.taken for each in by_code[code]) for code, one in newest.items())


def test_a_late_reading_does_not_replace_a_newer_one(readings):
    readings.apply([reading("b", "PAT-1", CREATININE, 4.0, minutes=10)])
    readings.apply([reading("a", "PAT-1", CREATININE, 1.0, minutes=0)])
    assert readings.newest(["PAT-1"])[0][CREATININE].value == 4.0


# --- what a consumer that was killed had -----------------------------------------------------------------------------


def test_what_a_consumer_had_and_did_not_finish_comes_again_and_not_for_ever(readings):
    readings.add([reading("a", "PAT-1", CREATININE, 1.0), reading("b", "PAT-1", CREATININE, 1.1)])
    taken = readings.take("killed", 10, None)
    assert readings.take("other", 10, None) == []
    assert readings.reclaim("other", 10) == []  # not yet: it may be at work
    again = readings.reclaim("other", 10, idle_ms=0)
    assert again == taken and set(readings.tries(again).values()) == {2}
    readings.done(again[:1])
    readings.bury(again[1:])
    assert readings.counts() == {"waiting": 0, "dead": 1, "patients": 0}
    assert readings.unbury() == 1 and readings.take("other", 10, None)[0].observation == taken[1].observation


# --- events ----------------------------------------------------------------------------------------------------------

ALARM = Alarm("threshold", "potassium-6.5", "serious", "", "", "High.", "Act.", "Potassium 7", "a source")


def event(at=1, who="PAT-1"):
    return Event("", who, "raised", ALARM, reading("a", who, POTASSIUM, 7.0), at, "v1")


def test_what_was_told_is_written_with_its_events_or_not_at_all(readings):
    events = Events(readings.place)
    before = readings.apply([reading("a", "PAT-1", POTASSIUM, 7.0)])["PAT-1"]
    readings.apply([reading("b", "PAT-1", POTASSIUM, 5.0, minutes=1)])
    assert readings.settle([Settlement(before, b"told", (event(),))], True) == [False]
    assert events.after("0", 10) == [] and readings.person("PAT-1").told == b""
    now = readings.person("PAT-1")
    settlement = Settlement(now, b"told", (event(),), 77)
    assert readings.settle([settlement, settlement], True) == [True, False]  # done twice: told once
    (stored,) = events.after("0", 10)
    assert stored.event == event().__class__(stored.event.id, *list(vars(event()).values())[1:])
    assert events.last() == stored.event.id and events.after(stored.event.id, 10) == []
    assert readings.due(76) == [] and readings.due(77) == ["PAT-1"]
    (claimed,) = events.claim(10**15, 10)
    assert claimed.event == stored.event and events.claim(10**15, 10) == []  # another sender's for a while


def test_no_patient_is_named_in_redis(settings, readings):
    readings.add([reading("a", "PAT-1", POTASSIUM, 7.0)])
    person = readings.apply([reading("a", "PAT-1", POTASSIUM, 7.0)])["PAT-1"]
    readings.settle([Settlement(person, b"{}", (event(),), 5)], True)
    readings.bury(readings.take("one", 10, None))
    assert b"PAT-1" not in keys_and_values(settings)
    assert [one.event.patient_id for one in Events(readings.place).after("0", 10)] == ["PAT-1"]
    assert list(readings.everyone()) == ["PAT-1"]


def test_forgotten_whole_also_what_is_under_way(settings, readings):
    for who in ("PAT-1", "PAT-2"):
        readings.add([reading(f"a{who}", who, POTASSIUM, 7.0), reading(f"b{who}", who, CREATININE, 1.0)])
        person = readings.apply([reading("a", who, POTASSIUM, 7.0)])[who]
        readings.settle([Settlement(person, b"{}", (event(who=who),), 5)], True)
    under_way = reading("c", "PAT-1", CREATININE, 2.0)
    assert readings.forget("PAT-1") == 1 + 2 + 1 + 1  # what is kept, two that wait, an event, a delivery
    assert readings.apply([under_way]) == {} and readings.newest(["PAT-1"]) == [{}]
    who = readings.place.who("PAT-1").encode()
    left = keys_and_values(settings).replace(b"readings:gone:" + who, b"")
    assert who not in left and readings.place.who("PAT-2").encode() in left
    assert readings.forget("PAT-1") == 0


def test_after_the_secret_is_changed_what_was_kept_is_still_seen_and_forgotten(settings, readings):
    readings.apply([reading("a", "PAT-1", POTASSIUM, 7.0)])
    SiteSecret.rotate(settings.workdir / "site.key")
    readings.apply([reading("b", "PAT-1", CREATININE, 2.0)])
    assert set(readings.newest(["PAT-1"])[0]) == {POTASSIUM, CREATININE}
    assert readings.forget("PAT-1") == 2 and readings.newest(["PAT-1"]) == [{}]


def test_what_another_site_sealed_is_put_apart(settings, readings):
    readings.add([reading("a", "PAT-1", POTASSIUM, 7.0)])
    (settings.workdir / "site.key").unlink()
    assert readings.take("one", 10, None) == []
    assert readings.counts()["dead"] == 1
    with pytest.raises(StoreCorrupt, match="secret"):
        readings.place.unseal(b"9:xxx", "who")

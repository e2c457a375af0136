"""Feedback events, their sum and what may be told of it, and what they teach: worked out by hand."""

import contextlib
import dataclasses
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.features import build_matrix
from recommender.feedback import (
    FEW,
    HIDDEN,
    REASONS,
    BadFeedback,
    FeedbackEvent,
    FeedbackUse,
    learned,
    publishable,
    standing,
    summarise,
)
from recommender.moments import moments_of_visits, now

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)


def event(number=1, outcome="accepted", reason="", patient="PAT-1", **changes):
    usual = {
        "event_id": f"e{number}",
        "patient_id": patient,
        "code": "rxnorm:36567",
        "kind": "drug",
        "outcome": outcome,
        "version": "v1",
        "occurred": NOON,
        "channel": "page",
        "reason": reason,
    }
    return FeedbackEvent(**usual | changes)


class TestEvents:
    def test_json_there_and_back(self):
        one = event(
            reason="other", outcome="rejected", comment="a\nb", rule_ids=("r2", "r1"), rank=3, patient="PAT/é 1"
        )
        assert FeedbackEvent.from_dict(json.loads(json.dumps(one.as_dict()))) == one

    def test_a_time_of_another_zone_is_brought_to_utc(self):
        data = event().as_dict() | {"occurred": "2025-01-01T13:00:00+01:00"}
        assert FeedbackEvent.from_dict(data) == event()

    @pytest.mark.parametrize(
        ("field", "changes"),
        [
            ("event_id", {"event_id": "no spaces"}),
            ("event_id", {"event_id": "e" * 101}),
            ("patient_id", {"patient_id": ""}),
            ("patient_id", {"patient_id": "PAT\x00"}),
            ("patient_id", {"patient_id": "\ud800"}),
            ("patient_id", {"patient_id": 7}),
            ("code", {"code": "c" * 501}),
            ("kind", {"kind": "condition"}),
            ("kind", {"kind": ["drug"]}),
            ("outcome", {"outcome": "ignored"}),
            ("version", {"version": ""}),
            ("channel", {"channel": "fax"}),
            ("occurred", {"occurred": datetime(2025, 1, 1)}),
            ("occurred", {"occurred": "2025-01-01T12:00:00Z"}),
            ("reason", {"outcome": "rejected"}),
            ("reason", {"outcome": "overridden"}),
            ("reason", {"outcome": "rejected", "reason": "bored"}),
            ("reason", {"reason": "will-monitor"}),
            ("comment", {"outcome": "rejected", "reason": "other"}),
            ("comment", {"outcome": "rejected", "reason": "other", "comment": " \n"}),
            ("comment", {"comment": "x" * 1_001}),
            ("comment", {"comment": "\x07"}),
            ("rule_ids", {"rule_ids": ["r1"]}),
            ("rule_ids", {"rule_ids": ("r1", "r1")}),
            ("rule_ids", {"rule_ids": ("",)}),
            ("rule_ids", {"rule_ids": tuple(map(str, range(51)))}),
            ("rank", {"rank": 0}),
            ("rank", {"rank": True}),
            ("rank", {"rank": 1.0}),
            ("undoes", {"undoes": "e0"}),
            ("undoes", {"outcome": "undone"}),
        ],
    )
    def test_what_is_wrong_is_named_and_not_repeated(self, field, changes):
        with pytest.raises(BadFeedback) as caught:
            event(**changes)
        assert caught.value.field == field
        assert str(caught.value).startswith(f"field {field}: ")
        for value in changes.values():
            if isinstance(value, str) and value.strip() and value not in (*REASONS, "rejected", "overridden", "undone"):
                assert value not in str(caught.value)

    def test_every_reason_is_taken(self):
        for reason in REASONS:
            assert event(outcome="overridden", reason=reason, comment="x" * 1_000).reason == reason

    @pytest.mark.parametrize("missing", ["event_id", "patient_id", "code", "kind", "outcome", "version", "occurred"])
    def test_a_missing_member_is_named(self, missing):
        data = event().as_dict()
        del data[missing]
        with pytest.raises(BadFeedback) as caught:
            FeedbackEvent.from_dict(data)
        assert caught.value.field == missing

    @pytest.mark.parametrize(
        "time",
        [
            *(
                "",
                "2025-01-01",
                "2025-01-01T12:00:00",
                "noon",
                "0001-01-01T00:00:00+10:00",
                "9999-12-31T23:59:59-10:00",
            ),
            *(7, None, ["2025-01-01T12:00:00Z"], "2" * 41),
        ],
    )
    def test_a_time_that_is_none(self, time):
        with pytest.raises(BadFeedback, match="occurred"):
            FeedbackEvent.from_dict(event().as_dict() | {"occurred": time})

    def test_a_member_that_is_not_ours(self):
        with pytest.raises(BadFeedback) as caught:
            FeedbackEvent.from_dict(event().as_dict() | {"Ann Smith": 1})
        assert "Ann" not in str(caught.value)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*event().as_dict(), "x"]), inner),
        ),
        st.dictionaries(st.sampled_from(list(event().as_dict())), st.text() | st.integers() | st.lists(st.text())),
    )
    def test_whatever_comes_is_an_event_or_bad_feedback(self, anything, changes):
        for data in (anything, event().as_dict() | changes):
            with contextlib.suppress(BadFeedback):
                assert isinstance(FeedbackEvent.from_dict(data), FeedbackEvent)


def test_what_was_taken_back_stands_no_more():
    first, second = event(1), event(2, "rejected", "not-indicated")
    undone = event(3, "undone", undoes="e1")
    assert standing([first, second, undone]) == [second]
    assert standing([undone, first]) == []


def many(start, count, outcome, reason="", **changes):
    return [event(start + n, outcome, reason, patient=f"P{start + n}", **changes) for n in range(count)]


class TestSummary:
    def test_worked_out_by_hand(self):
        events = [
            *many(0, 12, "accepted"),
            # rule a: 20 events, 18 overridden (90%); rule b: 12 of 12; rule c: 17 of 19; rule d: 10 of 10 are too few
            *many(100, 18, "overridden", "will-monitor", rule_ids=("a",)),
            *many(200, 2, "rejected", "not-indicated", rule_ids=("a",)),
            *many(300, 12, "overridden", "tolerated-before", rule_ids=("b", "c")),
            *many(400, 5, "overridden", "tolerated-before", rule_ids=("c",), code="rxnorm:1"),
            *many(500, 2, "rejected", "patient-declines", rule_ids=("c",)),
            *many(600, 10, "overridden", "will-monitor", rule_ids=("d",)),
            *many(700, 1, "overridden", "will-monitor", rule_ids=("d",)),
            event(800, "undone", patient="P700", undoes="e700"),
        ]
        found = summarise(events)
        assert (found.total.events, found.undone.events, found.with_reason.events) == (61, 1, 49)
        assert {name: one.events for name, one in found.outcomes.items()} == {
            "accepted": 12,
            "rejected": 4,
            "overridden": 45,
        }
        assert {name: one.events for name, one in found.reasons.items() if one.events} == {
            "will-monitor": 28,
            "tolerated-before": 17,
            "not-indicated": 2,
            "patient-declines": 2,
        }
        assert {code: one.count.events for (_, code), one in found.treatments.items()} == {
            "rxnorm:36567": 56,
            "rxnorm:1": 5,
        }
        assert {rule: (one.count.events, one.of_these) for rule, one in found.rules.items()} == {
            "a": (20, 18),
            "b": (12, 12),
            "c": (19, 17),
            "d": (10, 10),
        }
        assert found.always_overridden == ("a", "b")
        told = publishable(found)
        assert told["events"] == 61
        assert told["undone"] == FEW
        assert told["with_reason"] == 49
        # rejected is of 4: overridden is hidden with it, and 49 >= 11 + 1 + 9 leaves it the whole room from 1 to 10
        assert told["outcomes"] == {"accepted": 12, "rejected": FEW, "overridden": HIDDEN}
        # not-indicated and patient-declines are of 2 each: the first larger part in order is hidden with them
        assert {name: count for name, count in told["reasons"].items() if count} == {
            "will-monitor": HIDDEN,
            "tolerated-before": 17,
            "not-indicated": FEW,
            "patient-declines": FEW,
        }
        assert told["rules"] == [
            {"rule_id": "a", "events": "20 or more", "overridden": "90% or more"},
            {"rule_id": "b", "events": "11 or more", "overridden": "90% or more"},
            {"rule_id": "c", "events": "11 or more", "overridden": "75% to 90%"},
        ]
        assert told["treatments"] == [
            {"code": "rxnorm:36567", "kind": "drug", "events": "50 or more", "accepted": "under 25%"}
        ]
        assert told["always_overridden"] == ["a", "b"]

    def test_many_events_of_few_patients_are_few(self):
        events = [event(n, "overridden", "will-monitor", patient=f"P{n % 10}", rule_ids=("a",)) for n in range(200)]
        told = publishable(summarise(events))
        assert (told["events"], told["with_reason"]) == (FEW, FEW)
        assert set(told["outcomes"].values()) == {HIDDEN, 0}
        assert set(told["reasons"].values()) == {HIDDEN}
        assert (told["rules"], told["treatments"], told["always_overridden"]) == ([], [], [])

    def test_nothing_said(self):
        told = publishable(summarise([]))
        assert (told["events"], told["undone"], told["with_reason"]) == (0, 0, 0)
        assert set(told["outcomes"].values()) | set(told["reasons"].values()) == {0}

    def test_a_sum_is_not_told_beside_its_larger_part(self):
        told = publishable(summarise([*many(0, 3, "accepted"), *many(100, 40, "rejected", "not-indicated")]))
        assert told["events"] == HIDDEN
        assert told["outcomes"] == {"accepted": FEW, "rejected": 40, "overridden": 0}
        assert told["reasons"]["not-indicated"] == 40


PARTS = ("will-monitor", "tolerated-before", "not-indicated")
OPEN = ("events", "undone", "with_reason", "outcomes", "reasons")


def hospital_of(accepted, rejected, overridden):
    """One event a patient; rejected and overridden: how many with each of PARTS."""
    events = many(0, accepted, "accepted")
    for at, (outcome, counts) in enumerate((("rejected", rejected), ("overridden", overridden)), start=1):
        for nth, (reason, count) in enumerate(zip(PARTS, counts, strict=True)):
            events += many(10_000 * at + 1_000 * nth, count, outcome, reason)
    return summarise(events)


def told_of(*counts):
    told = publishable(hospital_of(*counts))
    return {name: told[name] for name in OPEN}


SIZES = st.integers(0, 14) | st.integers(0, 40)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.tuples(SIZES, SIZES, SIZES), st.tuples(SIZES, SIZES, SIZES))
def test_no_small_number_can_be_worked_out(accepted, rejected, overridden):
    """For each number read as "<11" and each of 1 to 10, there is a hospital of which the same would be told."""
    told = told_of(accepted, rejected, overridden)
    if told["outcomes"]["accepted"] == FEW:
        for other in range(1, 11):
            if (told["events"] == FEW) == (other + sum(rejected) + sum(overridden) < 11):
                assert told_of(other, rejected, overridden) == told
    if FEW in (told["outcomes"]["rejected"], told["outcomes"]["overridden"]):
        reasons = [r + o for r, o in zip(rejected, overridden, strict=True)]
        for other in range(1, 11):
            small = dealt(reasons, other)
            large = [all_ - part for all_, part in zip(reasons, small, strict=True)]
            pair = (small, large) if told["outcomes"]["rejected"] == FEW else (large, small)
            assert told_of(accepted, *pair) == told
    few = [place for place, reason in enumerate(PARTS) if told["reasons"][reason] == FEW]
    if few:
        sums = [r + o for r, o in zip(rejected, overridden, strict=True)]
        shut = next(place for place, reason in enumerate(PARTS) if told["reasons"][reason] == HIDDEN)
        for place in few:
            for other in range(1, 11):
                new = list(sums)
                for each in few:
                    new[each] = other if each == place else 1
                new[shut] = sum(sums) - sum(count for at, count in enumerate(new) if at != shut)
                small = dealt(new, sum(rejected))
                large = [all_ - part for all_, part in zip(new, small, strict=True)]
                assert told_of(accepted, small, large) == told


def dealt(counts, total):
    """`total` of these, from the first on."""
    dealt_ = []
    for count in counts:
        dealt_.append(min(count, total - sum(dealt_)))
    return dealt_


def test_parts_that_leave_no_room_are_all_hidden():
    # 11 and 9: were they told as "hidden" and "<11", 20 would leave 9 and less
    told = told_of(0, (9, 0, 0), (11, 0, 0))
    assert told["outcomes"] == {"accepted": 0, "rejected": HIDDEN, "overridden": HIDDEN}
    assert told_of(0, (9, 0, 0), (12, 0, 0))["outcomes"] == {"accepted": 0, "rejected": FEW, "overridden": HIDDEN}
    assert told_of(0, (12, 0, 0), (8, 0, 0)) == told  # and which of them is small is not told


class TestLearned:
    """Ann's visits at hours 0 and 100, Bob's at 50; aspirin began at Ann's first, so it stands on her second chart."""

    @pytest.fixture
    def taught(self, hospital):
        visits = [("care_resource", who, "icu", at, at + 1) for who, at in (("ann", 0), ("ann", 100), ("bob", 50))]
        drugs = [("drug", "ann", "aspirin", 2, None), ("drug", "bob", "statin", 51, None)]
        records = hospital([*visits, *drugs])
        moments = moments_of_visits(records)
        return build_matrix(records, min_target_patients=1, kinds=("drug",), moments=moments), moments

    def labels(self, taught, *events, how="labels"):
        matrix, moments = taught
        return learned(matrix, moments.known_until, moments.followed_until, FeedbackUse(how, events))

    def after(self, hours, code, outcome="accepted", reason="", who="ann", **changes):
        occurred = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=hours)
        number = changes.pop("number", f"{who}{hours}{code}")
        return event(number, outcome, reason, patient=who, code=code, occurred=occurred, **changes)

    def test_as_they_were_told(self, taught):
        matrix, _ = taught
        assert [matrix.index.columns[ix].code for ix in matrix.index.targets] == ["aspirin", "statin"]
        assert matrix.later.toarray().tolist() == [[1, 0], [0, 0], [0, 1]]  # ann 0, ann 100, bob 50

    def test_accepted_counts_as_begun_at_the_moment_whose_follow_up_holds_it(self, taught):
        assert self.labels(taught, self.after(5, "statin")).later.toarray().tolist() == [[1, 1], [0, 0], [0, 1]]
        assert self.labels(taught, self.after(100, "statin")).later.toarray().tolist() == [[1, 0], [0, 1], [0, 1]]
        both = self.labels(taught, self.after(99.9, "statin"), self.after(60, "aspirin", who="bob"))
        assert both.later.toarray().tolist() == [[1, 1], [0, 0], [1, 1]]
        assert both.later.has_sorted_indices and both.later.dtype == np.float32

    def test_what_is_on_the_chart_began_again_and_is_not_new(self, taught):
        found = self.labels(taught, self.after(101, "aspirin"))
        assert found.later.toarray().tolist() == [[1, 0], [0, 0], [0, 1]]
        assert found.began.toarray().tolist() == [[1, 0], [1, 0], [0, 1]]

    @pytest.mark.parametrize(
        "events",
        [
            [(5, "aspirin")],  # ordered as well: nothing to add
            [(-1, "statin")],  # before any visit
            [(100 + 30 * 24, "statin")],  # when what followed is looked at no longer
            [(5, "unheard-of")],
            [(5, "statin", "rejected", "not-indicated")],
            [(5, "aspirin", "rejected", "not-indicated")],  # ordered all the same
            [(5, "aspirin"), (6, "aspirin", "overridden", "contraindicated-elsewhere")],
            [(5, "statin"), (6, "statin", "rejected", "patient-declines")],
            [(6, "statin", "overridden", "not-indicated"), (5, "statin")],  # whatever their order of arrival
        ],
    )
    def test_what_changes_nothing(self, taught, events):
        found = self.labels(taught, *(self.after(*one, number=f"n{n}") for n, one in enumerate(events)))
        assert found.later.toarray().tolist() == taught[0].later.toarray().tolist()

    def test_another_reason_does_not_take_it_away_and_a_new_acceptance_brings_it_back(self, taught):
        monitored = [self.after(5, "statin"), self.after(6, "statin", "overridden", "will-monitor", number="x")]
        again = [self.after(5, "statin", "rejected", "not-indicated"), self.after(6, "statin", number="x")]
        for events in (monitored, again):
            assert self.labels(taught, *events).later.toarray()[0].tolist() == [1, 1]

    def test_undone_does_not_count(self, taught):
        accepted = self.after(5, "statin", number=1)
        undone = self.after(6, "statin", "undone", number=2, undoes="e1")
        for how in ("labels", "weights"):
            assert self.labels(taught, accepted, undone, how=how) is taught[0]

    def test_off_and_nobody_of_ours_is_the_very_same_matrix(self, taught):
        assert self.labels(taught, self.after(5, "statin"), how="off") is taught[0]
        stranger = self.after(5, "statin", who="cho")
        assert self.labels(taught, stranger) is taught[0]
        assert self.labels(taught, stranger, how="weights") is taught[0]

    def test_the_matrix_that_is_given_stays_as_it_is(self, taught):
        before = taught[0].later.toarray().copy()
        self.labels(taught, self.after(5, "statin"))
        assert np.array_equal(taught[0].later.toarray(), before)

    def test_weights_by_hand(self, taught):
        # ann has 3 events: 1 + log2(4) = 3 for each of her two moments; bob none: 1; the mean of 3, 3, 1 is 7/3
        events = [self.after(h, "statin", number=h) for h in (1, 2, 900)]
        found = self.labels(taught, *events, how="weights")
        assert found.weight == pytest.approx([9 / 7, 9 / 7, 3 / 7])
        assert found.weight.dtype == np.float64
        assert found.later is taught[0].later
        # on top of the weights of balance, 1, 1, 2: 3, 3, 2 of a mean of 8/3
        matrix = dataclasses.replace(taught[0], weight=np.array([1.0, 1.0, 2.0]))
        assert self.labels((matrix, taught[1]), *events, how="weights").weight == pytest.approx([9 / 8, 9 / 8, 6 / 8])

    def test_the_tiny_hospital_tells_no_visits_so_there_are_weights_alone(self, tiny_records):
        matrix, at = build_matrix(tiny_records, min_target_patients=1), now(tiny_records)
        accepted = event(1, patient="PAT-2")  # simvastatin: 1 + log2(2) = 2 of a mean of 7/6
        assert learned(matrix, at.known_until, at.followed_until, FeedbackUse("labels", (accepted,))) is matrix
        found = learned(matrix, at.known_until, at.followed_until, FeedbackUse("weights", (accepted,)))
        assert found.weight == pytest.approx([6 / 7, 12 / 7, 6 / 7, 6 / 7, 6 / 7, 6 / 7])

"""Visits, the moments in them, and how far what followed is looked at: by the hour."""

import numpy as np
import pytest

from recommender.errors import TrainingError
from recommender.moments import HORIZON, moments_of_visits, now, usual_hours, visits

HOUR = 3600


def stay(patient, start, stop, ward="icu"):
    return ("care_resource", patient, ward, start, stop)


def by_hour(records, table):
    opened = np.datetime64("2025-01-01", "s").astype(np.int64)
    return [(p, (a - opened) / HOUR, (b - opened) / HOUR) for p, a, b in table.itertuples(index=False)]


def hours_of(moments):
    opened = np.datetime64("2025-01-01", "s").astype(np.int64)
    return [((moments.known_until - opened) / HOUR).tolist(), ((moments.followed_until - opened) / HOUR).tolist()]


class TestVisits:
    def test_encounters_within_six_hours_are_one_visit(self, hospital):
        records = hospital([stay("ann", 0, 10), stay("ann", 16, 20), stay("ann", 26.001, 30), stay("bob", 31, 32)])
        assert by_hour(records, visits(records)) == [(0, 0, 20), (0, pytest.approx(26.001, abs=1e-3), 30), (1, 31, 32)]

    def test_a_long_encounter_holds_the_short_ones_within_it(self, hospital):
        records = hospital([stay("ann", 0, 100), stay("ann", 5, 6, "x-ray"), stay("ann", 104, 110)])
        assert by_hour(records, visits(records)) == [(0, 0, 110)]

    def test_the_order_of_the_rows_does_not_matter(self, hospital):
        rows = [stay("bob", 0, 1), stay("ann", 50, 60), stay("ann", 0, 10), stay("ann", 12, 20)]
        records = hospital(rows)
        assert by_hour(records, visits(records)) == [(0, 0, 20), (0, 50, 60), (1, 0, 1)]

    def test_without_an_end_it_is_a_moment(self, hospital):
        records = hospital([stay("ann", 3, None), stay("ann", 10, 11)])
        assert by_hour(records, visits(records)) == [(0, 3, 3), (0, 10, 11)]

    def test_only_encounters_make_visits(self, hospital):
        assert visits(hospital([("drug", "ann", "aspirin", 0, 1)])).empty


class TestUsualHours:
    def test_a_day_into_long_stays(self, hospital):
        records = hospital([stay("ann", 0, 30), stay("bob", 0, 25), stay("cho", 0, 2)])
        assert usual_hours(records) == 24.0

    def test_at_once_where_visits_are_short(self, hospital):
        assert usual_hours(hospital([stay("ann", 0, 30), stay("bob", 0, 24), stay("cho", 0, 2)])) == 0.0

    def test_without_visits(self, hospital):
        assert usual_hours(hospital([("drug", "ann", "aspirin", 0, 1)])) == 0.0


class TestMomentsOfVisits:
    def test_what_followed_ends_with_the_next_visit_or_the_horizon(self, hospital):
        month = HORIZON / HOUR
        moments = moments_of_visits(hospital([stay("ann", 0, 40), stay("ann", 100, 140), stay("bob", 7, 50)]), 24)
        assert moments.patient_ix.tolist() == [0, 0, 1]
        assert hours_of(moments) == [[24, 124, 31], [100, 124 + month, 31 + month]]
        assert moments.earlier.tolist() == [0, 1, 0]

    def test_a_visit_that_is_over_by_then_has_none_and_still_counts_as_earlier(self, hospital):
        moments = moments_of_visits(hospital([stay("ann", 0, 2), stay("ann", 24, 60)]), 24)
        assert hours_of(moments)[0] == [48]
        assert moments.earlier.tolist() == [1]
        assert len(moments_of_visits(hospital([stay("ann", 0, 24), stay("ann", 40, 70)]), 24)) == 1
        assert len(moments_of_visits(hospital([stay("ann", 0, 24.001), stay("ann", 40, 70)]), 24)) == 2
        assert len(moments_of_visits(hospital([stay("ann", 0, 0), stay("ann", 40, 70)]))) == 2  # at its beginning

    def test_no_visit_is_an_error_in_words(self, hospital):
        with pytest.raises(TrainingError, match="no visit"):
            moments_of_visits(hospital([("drug", "ann", "aspirin", 0, 1)]))


def test_now_is_one_moment_a_patient_and_knows_the_last_second(hospital):
    records = hospital([stay("ann", 0, 2), stay("bob", 0, 2)])
    moments = now(records)
    as_of = records.patients["as_of"].to_numpy("datetime64[s]").astype(np.int64)
    assert np.array_equal(moments.known_until, as_of + 1)
    assert np.array_equal(moments.followed_until, moments.known_until)


def test_every_event_stands_beside_every_moment_of_its_patient(hospital):
    moments = moments_of_visits(
        hospital([stay("ann", 0, 1), stay("ann", 100, 101), stay("cho", 0, 1), stay("bob", 3, 4)])
    )
    assert moments.patient_ix.tolist() == [0, 0, 1, 2]
    moment, event = moments.rows_of(np.array([2, 0, 0, 7]))
    assert list(zip(moment.tolist(), event.tolist(), strict=True)) == [(3, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    assert moments.take(np.array([1, 3])).patient_ix.tolist() == [0, 2]

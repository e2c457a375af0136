"""What passes of a caller's requests: asked of Redis one by one or some at a time, by several processes, or alone."""

import pytest

from api.auth import limits as module
from api.auth.limits import Limits
from api.errors import TooMany
from recommender.errors import StoreUnavailable


class Counted:
    """A `Shared` that counts in memory; `asked`: by how many each time."""

    def __init__(self):
        self.count_of, self.asked = 0, []

    def count(self, who, seconds, more=1):
        self.asked.append(more)
        self.count_of += more
        return self.count_of, 7


@pytest.fixture
def clock(monkeypatch):
    now = [6_000.0]
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    return now


def passed(limits, tries, most):
    count = 0
    for _ in range(tries):
        try:
            limits.count("somebody", most)
            count += 1
        except TooMany:
            pass
    return count


def test_a_low_limit_asks_for_each_request(clock):
    shared = Counted()
    assert passed(Limits(lambda: shared), 8, 5) == 5 and shared.asked == [1] * 8


def test_a_high_limit_is_taken_in_steps_and_kept_to_the_request(clock):
    """A fiftieth of 110 is 2: 55 questions for 110 requests; of 805 it is 16, and 50 whole steps with 5 of the 51st."""
    shared = Counted()
    assert passed(Limits(lambda: shared), 110, 110) == 110 and shared.asked == [2] * 55
    shared = Counted()
    assert passed(Limits(lambda: shared), 900, 805) == 805 and shared.asked[:51] == [16] * 51


def test_processes_together_never_pass_more_and_lose_at_most_what_they_hold(clock):
    shared = Counted()
    three = [Limits(lambda: shared) for _ in range(3)]
    count = 0
    for turn in range(2_400):
        count += passed(three[turn % 3], 1, 600)
    assert count == 600
    shared = Counted()
    two = [Limits(lambda: shared) for _ in range(2)]
    assert passed(two[0], 1, 600) == 1  # and never comes again: 11 of its 12 are lost to the other
    assert passed(two[1], 700, 600) == 588


def test_a_new_minute_begins_anew(clock):
    shared = Counted()
    limits = Limits(lambda: shared)
    assert passed(limits, 30, 600) == 30 and shared.asked == [12] * 3
    clock[0] += 60
    shared.count_of = 0
    assert passed(limits, 1, 600) == 1 and shared.asked == [12] * 4  # what was left of the last minute is gone


def test_without_redis_each_process_counts_alone(clock):
    def gone():
        raise StoreUnavailable("gone")

    limits = Limits(gone)
    assert passed(limits, 700, 600) == 600
    clock[0] += 60
    assert passed(limits, 5, 3) == 3

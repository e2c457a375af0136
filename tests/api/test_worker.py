"""A worker keeps to one core, each of a server to its own."""

import os

import pytest

from api.worker import keep_to_one_core


@pytest.fixture
def cores():
    before = os.sched_getaffinity(0)
    yield before
    os.sched_setaffinity(0, before)


def test_each_worker_of_a_server_has_a_core_of_its_own(cores):
    taken = []
    for number in range(len(cores) + 1):
        os.sched_setaffinity(0, cores)
        keep_to_one_core(number)
        (one,) = os.sched_getaffinity(0)
        taken.append(one)
    assert set(taken) == cores and taken[0] == taken[-1]  # the next one shares the first one's


def test_only_cores_that_the_server_may_use(cores):
    os.sched_setaffinity(0, {max(cores)})
    keep_to_one_core(0)
    assert os.sched_getaffinity(0) == {max(cores)}

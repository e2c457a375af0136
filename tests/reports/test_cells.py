"""What is told of counts: attacked by going through every table of true numbers that could stand behind it."""

from __future__ import annotations

import itertools
from collections import defaultdict

import pytest

from recommender.reports.cells import REST, about, partition, per_hundred

SMALL = range(1, 11)


def tables(total: int, n_parts: int):
    """Every way in which `total` patients can be of `n_parts` parts."""
    for cut in itertools.combinations(range(total + n_parts - 1), n_parts - 1):
        ends = (-1, *cut, total + n_parts - 1)
        yield tuple(b - a - 1 for a, b in itertools.pairwise(ends))


@pytest.mark.parametrize(("total", "n_parts"), [(25, 2), (40, 2), (30, 3), (45, 3), (60, 3), (36, 4), (48, 4)])
def test_no_small_part_follows_from_the_others_their_shares_and_the_total(total, n_parts):
    """The attacker knows the total, every cell that is told, every share, and the rule itself."""
    behind: dict[tuple, list[tuple[int, ...]]] = defaultdict(list)
    names = [f"part {number}" for number in range(n_parts)]
    for truth in tables(total, n_parts):
        told = partition(dict(zip(names, truth, strict=True)), total)
        shown = tuple((cell.text, cell.number, cell.percent) for cell in told.values())
        behind[shown].append(truth)
    attacked = 0
    for shown, truths in behind.items():
        for place, (text, number, percent) in enumerate(shown):
            possible = {truth[place] for truth in truths}
            if text == "<11":
                attacked += 1
                assert possible == set(SMALL), (shown, possible)
            elif text == "hidden":
                # where all are hidden nothing is told; where one large part is, it may be any of ten numbers
                assert len(possible) >= 10, (shown, possible)
            elif text == "0":
                assert possible == {0}
            else:
                # to the ten; the sum that an attacker knows leaves fewer numbers than a step only at its edges
                assert text == f"about {number}"
                assert all(11 <= count <= 24 if number == 20 else abs(count - number) <= 5 for count in possible)
            if text in ("<11", "hidden"):
                assert (number, percent) == (0, "–")
    assert attacked


def test_what_is_not_listed_is_a_part_too():
    """Of 100 patients 95 are listed: without more, the rest of 5 would follow by subtraction."""
    told = partition({"a": 60, "b": 35}, 100)
    assert {name: cell.text for name, cell in told.items()} == {"a": "hidden", "b": "about 40", REST: "<11"}
    assert told["b"].percent == "40%"
    exact = partition({"a": 60, "b": 40}, 100)
    assert {name: cell.text for name, cell in exact.items()} == {"a": "about 60", "b": "about 40"}
    assert partition({"a": 60, "b": 0}, 60)["b"].text == "0"


def test_parts_that_are_more_than_the_whole_are_refused():
    with pytest.raises(ValueError, match="no parts of the whole"):
        partition({"a": 60, "b": 41}, 100)


def test_which_part_is_hidden_does_not_tell_of_sizes():
    """The first large one in the order that is given, whatever their sizes."""
    assert partition({"a": 500, "b": 30, "c": 5}, 535)["a"].text == "hidden"
    assert partition({"a": 30, "b": 500, "c": 5}, 535)["a"].text == "hidden"


@pytest.mark.parametrize("total", [30, 100, 1_000])
def test_overlapping_counts_are_steps_and_their_rates_follow_from_the_steps(total):
    behind: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for count in range(total + 1):
        cell = about(count, total)
        behind[cell.text, cell.percent, per_hundred(cell)].append(count)
    assert all(len(counts) >= 10 for counts in behind.values())
    assert behind["<11", "–", "–"] == list(range(11))

"""Events as numbers in; which of them cannot be as they are, and which repeat an earlier one, out."""

from __future__ import annotations

from collections.abc import Mapping

import numba
import numpy as np

UNKNOWN_PATIENT, NO_START, BEFORE_BIRTH, STOPS_EARLY = 1, 2, 4, 8
MISSING = np.iinfo(np.int64).min  # a missing time, in seconds as datetime64 holds it
MULTIPLIER, MIXER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
HALF = np.uint64(32)


@numba.njit(cache=True, nogil=True)
def faults(
    patient_ix: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    born: np.ndarray,
    tolerance: int,
    born_unknown: int,
    repaired: bool,
) -> np.ndarray:
    """What is wrong with each event (n,) uint8: the first thing, or all that was `repaired`: then what has no possible
    start starts at birth (`born_unknown` where that is missing), and what stops before it starts does not stop.

    patient_ix (n,) int32, -1 for nobody; start, stop (n,) and born (n_patients,) seconds, MISSING where not known;
    tolerance: seconds before birth that are believed all the same.
    """
    found = np.zeros(len(start), np.uint8)
    for event in range(len(start)):
        if patient_ix[event] < 0:
            found[event] = UNKNOWN_PATIENT
            continue
        birth = born[patient_ix[event]]
        fault = 0
        if start[event] == MISSING:
            fault = NO_START
        elif birth != MISSING and start[event] < birth - tolerance:
            fault = BEFORE_BIRTH
        if repaired and fault:
            start[event] = born_unknown if birth == MISSING else birth
        if (repaired or not fault) and stop[event] != MISSING and stop[event] < start[event]:
            fault |= STOPS_EARLY
            if repaired:
                stop[event] = MISSING
        found[event] = fault
    return found


@numba.njit(cache=True, nogil=True)
def measured(
    which: np.ndarray, value: np.ndarray, factor: np.ndarray, offset: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values (n,) float64 in another unit, and which of them (n,) bool do not lie from low to high.

    which (n,): the rule (n_rules,) that each goes by; one whose factor is NaN says nothing of a value.
    """
    found, beyond = np.empty(len(value)), np.zeros(len(value), np.bool_)
    for event in range(len(value)):
        rule = which[event]
        found[event] = value[event] * factor[rule] + offset[rule]
        beyond[event] = not (np.isnan(factor[rule]) or low[rule] <= found[event] <= high[rule])
    return found, beyond


def repeats(events: Mapping[str, np.ndarray], first: int, end: int) -> np.ndarray:
    """Which events (n,) bool equal an earlier one in everything but their `routes` (n,) uint32, the bits of which the
    earlier one gets, too. patient_ix: from `first`, and before `end`."""
    others = np.zeros(len(events["start"]), np.uint8)
    for bit, name in ((1, "reported"), (2, "local")):
        if name in events:
            others |= events[name] * np.uint8(bit)
    routes = events.get("routes", np.empty(0, np.uint32))
    value = events.get("value")
    # of floats the bits are compared: of zero, as of what is missing, there must be only one
    numbers = np.zeros(len(others)) if value is None else np.where(np.isnan(value), np.nan, value + 0.0)
    patient_ix, described, start, stop = (events[name] for name in ("patient_ix", "described", "start", "stop"))
    bits = numbers.view(np.int64)
    return _repeats(patient_ix, described, start, stop, bits, others, routes, first, end)


@numba.njit(cache=True, nogil=True)
def _repeats(
    patient_ix: np.ndarray,
    described: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    bits: np.ndarray,
    others: np.ndarray,
    routes: np.ndarray,
    first: int,
    end: int,
) -> np.ndarray:
    """Patient by patient, whose events are few enough to stay in a cache, through a table of those seen."""
    n = len(patient_ix)
    ends, order = np.zeros(end - first + 1, np.int64), np.empty(n, np.int64)
    for event in range(n):
        ends[patient_ix[event] - first + 1] += 1
    most = ends.max()
    for place in range(end - first):
        ends[place + 1] += ends[place]
    begins = ends[:-1].copy()
    for event in range(n):
        place = patient_ix[event] - first
        order[begins[place]] = event
        begins[place] += 1
    size = 2
    while size < 2 * most:
        size *= 2
    table, found = np.empty(size, np.int64), np.zeros(n, np.bool_)
    for place in range(end - first):
        mine = order[ends[place] : ends[place + 1]]
        slots = 2
        while slots < 2 * len(mine):
            slots *= 2
        table[:slots] = -1
        for event in mine:
            key = (np.uint64(start[event]) ^ np.uint64(described[event]) * MIXER) * MULTIPLIER
            key = (key ^ (key >> HALF) ^ np.uint64(stop[event])) * MIXER
            key = (key ^ (key >> HALF) ^ np.uint64(bits[event])) * MULTIPLIER
            slot = np.int64((key >> HALF) & np.uint64(slots - 1))
            while table[slot] >= 0:
                other = table[slot]
                if (
                    start[other] == start[event]
                    and described[other] == described[event]
                    and stop[other] == stop[event]
                    and bits[other] == bits[event]
                    and others[other] == others[event]
                ):
                    found[event] = True
                    if len(routes):
                        routes[other] |= routes[event]
                    break
                slot = (slot + 1) & (slots - 1)
            if not found[event]:
                table[slot] = event
    return found

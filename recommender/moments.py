"""`Records` in, the moments at which a list could have been asked for out: what was known then, what followed.

A visit is an unbroken chain of a person's encounters (treatments of kind care_resource): what begins before the last
one has ended, or within GAP of it, belongs to it. A patient matrix read at moments of the past has beside each row
what began afterwards, which is what a model must learn to foresee and what a list is judged by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import pandas as pd

from recommender.errors import TrainingError
from recommender.records import Records

RESOURCE = "care_resource"
GAP = 6 * 3600  # seconds; from one ward to the next
STAY_HOURS = 24.0
MISSING = np.iinfo(np.int64).min  # a missing time as datetime64 holds it
MOST = 200_000  # moments: more teach a model of a few thousand columns next to nothing
HORIZON = 30 * 86_400  # seconds; how long what follows is looked at, unless a new visit begins earlier


@dataclass(frozen=True)
class Moments:
    """One list each: all arrays (n_moments,), in order of patient and time; times in seconds since 1970.

    patient_ix int32; known_until int64: what began earlier is known; followed_until int64: what began from known_until
    on and before this is what followed; earlier int32: the number of the patient's earlier visits.
    """

    patient_ix: np.ndarray
    known_until: np.ndarray
    followed_until: np.ndarray
    earlier: np.ndarray

    def __len__(self) -> int:
        return len(self.patient_ix)

    def rows_of(self, patient_ix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each event beside each moment of its patient: (moment, event), both (n_pairs,) int64 positions."""
        n_patients = 1 + max(self.patient_ix.max(initial=-1), patient_ix.max(initial=-1))
        return _pairs(_ends(self.patient_ix, n_patients), patient_ix)

    def take(self, which: np.ndarray) -> Moments:
        return Moments(self.patient_ix[which], self.known_until[which], self.followed_until[which], self.earlier[which])


def now(records: Records) -> Moments:
    """One moment for each patient: `as_of`, when nothing has followed yet."""
    known = records.patients["as_of"].to_numpy("datetime64[s]").astype(np.int64) + 1
    return Moments(np.arange(len(known), dtype=np.int32), known, known, np.zeros(len(known), dtype=np.int32))


def visits(records: Records) -> pd.DataFrame:
    """patient_ix, start, stop (int64 seconds) of each visit, in order of patient and start."""
    encounters = records.treatments[records.concepts["kind"].to_numpy()[records.treatments["concept_ix"]] == RESOURCE]
    start, stop = (encounters[name].to_numpy("datetime64[s]").astype(np.int64) for name in ("start", "stop"))
    stop = np.where(stop == MISSING, start, stop)
    patient = encounters["patient_ix"].to_numpy()
    chains = _chains(_ends(patient, records.n_patients), patient, start, stop, GAP)
    return pd.DataFrame(dict(zip(("patient_ix", "start", "stop"), chains, strict=True)))


def _ends(patient_ix: np.ndarray, n_patients: int) -> np.ndarray:
    """Where each patient's items begin and end in order of patient, (n_patients + 1,) int64."""
    ends = np.zeros(n_patients + 1, dtype=np.int64)
    np.cumsum(np.bincount(patient_ix, minlength=n_patients), out=ends[1:])
    return ends


@numba.njit(cache=True, nogil=True)
def _pairs(ends: np.ndarray, patient_ix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    total = 0
    for patient in patient_ix:
        total += ends[patient + 1] - ends[patient]
    moment, event, k = np.empty(total, np.int64), np.empty(total, np.int64), 0
    for e, patient in enumerate(patient_ix):
        for m in range(ends[patient], ends[patient + 1]):
            moment[k], event[k] = m, e
            k += 1
    return moment, event


@numba.njit(cache=True, nogil=True)
def _chains(
    ends: np.ndarray, patient_ix: np.ndarray, start: np.ndarray, stop: np.ndarray, gap: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The encounters (n,) merged to visits: patient_ix, start, stop, in order of patient and start."""
    n, place = len(start), ends[:-1].copy()
    order = np.empty(n, np.int64)
    for k in range(n):
        order[place[patient_ix[k]]] = k
        place[patient_ix[k]] += 1
    patients, starts, stops, found = np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, np.int64), 0
    for patient in range(len(ends) - 1):
        mine = order[ends[patient] : ends[patient + 1]]
        if len(mine) > 1:
            mine = mine[np.argsort(start[mine], kind="mergesort")]
        for k, encounter in enumerate(mine):
            if k and start[encounter] <= stops[found - 1] + gap:
                stops[found - 1] = max(stops[found - 1], stop[encounter])
            else:
                patients[found], starts[found], stops[found] = patient, start[encounter], stop[encounter]
                found += 1
    return patients[:found].copy(), starts[:found].copy(), stops[:found].copy()


@dataclass(frozen=True)
class Stays:
    """How long visits last, in numbers that add up: how many there are, how many last longer than STAY_HOURS, the
    longest (seconds) of those that do not, and the shortest of those that do."""

    visits: int
    longer: int
    longest: float
    shortest: float

    def __add__(self, other: Stays) -> Stays:
        longest, shortest = max(self.longest, other.longest), min(self.shortest, other.shortest)
        return Stays(self.visits + other.visits, self.longer + other.longer, longest, shortest)

    @property
    def usual_hours(self) -> float:
        """How far into a visit a list is asked for: a day where most visits (their median) are stays that last longer,
        else at once."""
        if 2 * self.longer == self.visits:  # the median lies between the two in the middle
            longer = self.longest + self.shortest > 2 * STAY_HOURS * 3600
        else:
            longer = 2 * self.longer > self.visits
        return STAY_HOURS if self.visits and longer else 0.0


def stays_in(records: Records) -> Stays:
    return stays_of(visits(records))


def stays_of(every: pd.DataFrame) -> Stays:
    """`every`: what `visits` gives."""
    lasted = (every["stop"] - every["start"]).to_numpy().astype(np.float64)
    long = lasted > STAY_HOURS * 3600
    longest, shortest = lasted[~long].max(initial=-np.inf), lasted[long].min(initial=np.inf)
    return Stays(len(lasted), int(long.sum()), float(longest), float(shortest))


def usual_hours(records: Records) -> float:
    return stays_in(records).usual_hours


def moments_of_visits(
    records: Records, after_hours: float = 0.0, horizon: int = HORIZON, most: int = MOST, seed: int = 0
) -> Moments:
    """The moments of `every_moment`; of more than `most`, so many are drawn by the seed. Raises TrainingError without
    any."""
    moments = every_moment(records, after_hours, horizon)
    return moments.take(drawn(len(moments), most, seed))


def drawn(moments: int, most: int = MOST, seed: int = 0) -> np.ndarray:
    """Which (n,) int64 of so many moments are learned from, ascending. Raises TrainingError without any."""
    if not moments:
        raise TrainingError("the records tell no visit (encounter with a department or specialty) that lasts so long")
    if moments <= most:
        return np.arange(moments)
    return np.sort(np.random.default_rng(seed).choice(moments, most, replace=False))


def every_moment(records: Records, after_hours: float = 0.0, horizon: int = HORIZON) -> Moments:
    """The moment `after_hours` into each visit that lasts so long; what followed goes to the next visit's beginning or,
    if that is earlier, to `horizon` seconds later."""
    return moments_in(visits(records), after_hours, horizon)


def moments_in(every: pd.DataFrame, after_hours: float = 0.0, horizon: int = HORIZON) -> Moments:
    """The same; `every`: what `visits` gives."""
    known = every["start"].to_numpy() + round(after_hours * 3600)
    patient = every["patient_ix"].to_numpy()
    same = np.append(patient[1:] == patient[:-1], False)
    next_start = np.where(same, np.append(every["start"].to_numpy()[1:], 0), np.iinfo(np.int64).max)
    earlier = every.groupby("patient_ix").cumcount().to_numpy()
    there = np.flatnonzero((every["stop"].to_numpy() > known) | (after_hours == 0))
    moments = Moments(
        patient.astype(np.int32), known, np.minimum(next_start, known + horizon), earlier.astype(np.int32)
    )
    return moments.take(there)

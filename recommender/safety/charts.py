"""`Records` read at a moment in, what safety rules look at out: each patient's drugs, conditions, allergies and labs.

A fact is a concept and how old it is. Nothing of the rules is in it: what a condition or an allergy record means is
worked out when it is screened, so that new rules hold for charts that are published already.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numba
import numpy as np
import pandas as pd

from recommender.blocks import CHUNK
from recommender.matrix import Column
from recommender.moments import MISSING, Moments, now
from recommender.records import Records

WASHOUT_DAYS = 14  # a drug that ended earlier is no part of a chart; labels of MAO inhibitors ask for so long
RUNS, RUNS_LOCALLY = 0, -1  # the `days` of a drug that goes on
OLDEST = 32_000  # days; what is older is as old as this
LOCAL_SHARE = 0.95
KINDS = ("drug", "condition", "allergy", "observation")
SEXES = ("unknown", "F", "M")
DAY, DAYS_PER_YEAR = 86_400, 365.2425


@dataclass(frozen=True)
class Known:
    """What the concepts of charts are, and which kinds the export tells at all.

    Where it tells no allergy of anybody, a chart without one says nothing; such a kind is in `untold`. `local`: codes
    of drugs that are given next to always on the skin, in the eye or in the ear here, so that this is what a suggestion
    of one means.
    """

    concepts: tuple[Column, ...]
    untold: frozenset[str] = frozenset()
    local: frozenset[str] = frozenset()

    def as_dict(self) -> dict[str, Any]:
        concepts = [[c.code, c.kind, c.name, c.group] for c in self.concepts]
        return {"concepts": concepts, "untold": sorted(self.untold), "local": sorted(self.local)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Known:
        return cls(tuple(Column(*c) for c in data["concepts"]), frozenset(data["untold"]), frozenset(data["local"]))

    @cached_property
    def place(self) -> dict[tuple[str, str], int]:
        """(kind, code) -> position among the concepts."""
        return {(c.kind, c.code): ix for ix, c in enumerate(self.concepts)}

    @cached_property
    def drug(self) -> np.ndarray:
        """Which concepts are drugs (n_concepts,) bool."""
        return np.array([concept.kind == "drug" for concept in self.concepts], dtype=bool)


@dataclass(frozen=True)
class Chart:
    """One patient's facts, in order of concept: concept (k,) int32, a position in `Known.concepts`; days (k,) int32;
    value (k,) float32, NaN but for observations.

    days: of a drug RUNS, RUNS_LOCALLY (on the skin, in the eye), or how long ago it ended, 1 to WASHOUT_DAYS; of a
    condition, since it was last recorded; of an observation, how old it is. age in years, NaN when unknown.
    """

    concept: np.ndarray
    days: np.ndarray
    value: np.ndarray
    age: float = float("nan")
    sex: str = "unknown"


@dataclass(frozen=True)
class Charts:
    """The charts of all patients, one after another: patient u's facts are [indptr[u], indptr[u + 1]).

    indptr (n + 1,) int64; concept, days (total,) int32; value (total,) float32; age (n,) float32; sex (n,) uint8, a
    position in SEXES.
    """

    known: Known
    indptr: np.ndarray
    concept: np.ndarray
    days: np.ndarray
    value: np.ndarray
    age: np.ndarray
    sex: np.ndarray

    @classmethod
    def of_one(cls, known: Known, chart: Chart) -> Charts:
        return cls(
            known,
            np.array([0, len(chart.concept)], dtype=np.int64),
            chart.concept,
            chart.days,
            chart.value,
            np.array([chart.age], dtype=np.float32),
            np.array([SEXES.index(chart.sex)], dtype=np.uint8),
        )

    @classmethod
    def without_facts(cls, n_patients: int, known: Known | None = None) -> Charts:
        """Charts that say nothing, not even how old anybody is."""
        nothing = np.empty(0, dtype=np.int32)
        age, sex = np.full(n_patients, np.nan, dtype=np.float32), np.zeros(n_patients, dtype=np.uint8)
        indptr = np.zeros(n_patients + 1, dtype=np.int64)
        return cls(known or Known(()), indptr, nothing, nothing, np.empty(0, dtype=np.float32), age, sex)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def take(self, patient_ixs: np.ndarray) -> Charts:
        counts = np.diff(self.indptr)[patient_ixs]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        fact = np.arange(indptr[-1]) + np.repeat(self.indptr[patient_ixs] - indptr[:-1], counts)
        parts = (self.concept[fact], self.days[fact], self.value[fact])
        return Charts(self.known, indptr, *parts, self.age[patient_ixs], self.sex[patient_ixs])

    def of(self, patient_ix: int) -> Chart:
        part = slice(self.indptr[patient_ix], self.indptr[patient_ix + 1])
        sex = SEXES[self.sex[patient_ix]]
        return Chart(self.concept[part], self.days[part], self.value[part], float(self.age[patient_ix]), sex)


def aged(chart: Chart, known: Known, days: int) -> Chart:
    """The chart so many days later, where nothing was recorded meanwhile: what has ended too long ago is off it."""
    drug = known.drug[chart.concept]
    later = np.where(drug & (chart.days <= RUNS), chart.days, np.minimum(chart.days + days, OLDEST)).astype(np.int32)
    on = ~drug | (later <= WASHOUT_DAYS)
    age = chart.age + days / DAYS_PER_YEAR
    return replace(chart, concept=chart.concept[on], days=later[on], value=chart.value[on], age=age)


@dataclass(frozen=True)
class Told:
    """What charts tell of each concept, from which `Known` follows, in counts that add up over groups of patients.

    used (n_concepts,) bool: some chart has it; events, locally (n_concepts,) int64: of each treatment, and those of
    them that were local; untold: kinds of which there is no event.
    """

    used: np.ndarray
    events: np.ndarray
    locally: np.ndarray
    untold: frozenset[str]

    def __add__(self, other: Told) -> Told:
        events, locally = self.events + other.events, self.locally + other.locally
        return Told(self.used | other.used, events, locally, self.untold & other.untold)

    def known(self, concepts: pd.DataFrame) -> Known:
        names = concepts.iloc[np.flatnonzero(self.used)][["code", "kind", "name", "group"]]
        described = tuple(Column(*c) for c in names.itertuples(index=False, name=None))
        local = (self.events > 0) & (self.locally >= LOCAL_SHARE * self.events)
        return Known(described, self.untold, frozenset(concepts["code"].to_numpy()[local].tolist()))


def told_in(records: Records, observed: Collection[str], moments: Moments | None = None) -> Told:
    return _told(records, _all_facts(records, observed, now(records) if moments is None else moments)[1])


def read_charts(
    records: Records, observed: Collection[str], moments: Moments | None = None, told: Told | None = None
) -> Charts:
    """The charts at `as_of`, or at each of the moments. `observed`: codes of the observations that are wanted.
    `told`: of all patients, where `records` hold some of them."""
    at = now(records) if moments is None else moments
    row, concept, days, value = _all_facts(records, observed, at)
    told = told or _told(records, concept)
    known, place = told.known(records.concepts), np.cumsum(told.used) - 1
    order = np.argsort(row * np.int64(len(records.concepts)) + concept, kind="stable")
    indptr = np.zeros(len(at) + 1, dtype=np.int64)
    np.cumsum(np.bincount(row, minlength=len(at)), out=indptr[1:])
    people = records.patients.iloc[at.patient_ix]
    born = people["birth_date"].to_numpy("datetime64[s]").astype(np.int64)
    age = np.where(born == MISSING, np.nan, (at.known_until - born) / (DAY * DAYS_PER_YEAR))
    return Charts(
        known=known,
        indptr=indptr,
        concept=place[concept[order]].astype(np.int32),
        days=days[order].astype(np.int32),
        value=value[order],
        age=np.maximum(age, 0).astype(np.float32),
        sex=people["sex"].map({"F": 1, "M": 2}).fillna(0).to_numpy(np.uint8),
    )


def everything(records: Records) -> Told:
    """As if every concept that charts can tell stood in some, so that charts can be screened before all are read."""
    n, treatments = len(records.concepts), records.treatments
    events, locally = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    for at in range(0, len(treatments), CHUNK):
        concept, local = (treatments[name].to_numpy()[at : at + CHUNK] for name in ("concept_ix", "local"))
        events += np.bincount(concept, minlength=n)
        locally += np.bincount(concept[local], minlength=n)
    untold = frozenset(kind for kind in KINDS if not len(getattr(records, _TABLES[kind])))
    return Told(records.concepts["kind"].isin(KINDS).to_numpy(), events, locally, untold)


def _told(records: Records, concept: np.ndarray) -> Told:
    """`concept` (n,): of every fact of the charts."""
    used = np.zeros(len(records.concepts), dtype=bool)
    used[concept] = True
    return replace(everything(records), used=used)


def _all_facts(records: Records, observed: Collection[str], at: Moments) -> Facts:
    parts = list(_facts(records, frozenset(observed), at))
    row, concept, days, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return row, concept, days, value


_TABLES = {"drug": "treatments", "condition": "conditions", "allergy": "allergies", "observation": "observations"}
Facts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # row int64, concept int32, days int32, value float32


def _facts(records: Records, observed: frozenset[str], at: Moments) -> Iterator[Facts]:
    """Of each kind in turn, one fact for a patient and concept."""
    kind, code = records.concepts["kind"].to_numpy(), records.concepts["code"].to_numpy()
    for name in KINDS:
        wanted = kind == name
        if name == "observation":
            wanted &= np.isin(code, list(observed))
        yield _newest(name, getattr(records, _TABLES[name]), wanted, at)


def _newest(kind: str, events: pd.DataFrame, wanted: np.ndarray, at: Moments) -> Facts:
    """The last event of each patient and concept: how long ago, and its value."""
    mine = np.flatnonzero(wanted[events["concept_ix"].to_numpy()])
    patient, concept_of = (events[name].to_numpy()[mine] for name in ("patient_ix", "concept_ix"))
    row, event = at.rows_of(patient)
    known_until, concept = at.known_until[row], concept_of[event]
    start = events["start"].to_numpy("datetime64[s]").astype(np.int64)[mine][event]
    seen = start < known_until
    if kind == "drug":
        stop = events["stop"].to_numpy("datetime64[s]").astype(np.int64)[mine][event]
        goes_on = (stop == MISSING) | (stop >= known_until)
        last = np.where(goes_on, known_until, stop)
        seen &= last > known_until - WASHOUT_DAYS * DAY
        local = events["local"].to_numpy()[mine][event]
        seen &= goes_on | ~local  # nothing is left of what was on the skin
        # what goes on in the body goes before what goes on at the skin, and that before what has ended
        last = 2 * last + np.where(local, 0, 1)
    else:
        last = start
    row, concept, last, known_until, event = (part[seen] for part in (row, concept, last, known_until, event))
    place = _last_of_each(row * np.int64(len(wanted)) + concept, last)
    row, concept, last, known_until, event = (part[place] for part in (row, concept, last, known_until, event))
    if kind == "drug":
        since = known_until - last // 2
        days = np.where(since <= 0, np.where(last % 2, RUNS, RUNS_LOCALLY), np.maximum(1, -(-since // DAY)))
    else:
        days = np.minimum((known_until - last) // DAY, OLDEST)
    value = np.full(len(row), np.nan, dtype=np.float32)
    if kind == "observation":
        value = events["value"].to_numpy()[mine][event].astype(np.float32)
    return row, concept.astype(np.int32), days.astype(np.int32), value


def _last_of_each(key: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Positions (n_keys,) of the largest `last` of every key, the later one of two that are as large."""
    order = np.argsort(key, kind="stable")
    return _last_in_runs(key, last, order)


@numba.njit(cache=True)
def _last_in_runs(key: np.ndarray, last: np.ndarray, order: np.ndarray) -> np.ndarray:
    found, n = np.empty(len(order), np.int64), 0
    for place in order:
        if n and key[found[n - 1]] == key[place]:
            if last[place] >= last[found[n - 1]]:
                found[n - 1] = place
        else:
            found[n] = place
            n += 1
    return found[:n]

"""Parts of `Records` in, a fitted model and what its columns mean out (for the lists of everybody see `lists.py`).

What is worked out of a part: its share of every count from which columns, targets, charts and support follow (`Gist`,
`Counts`), the examples of its people that were drawn, and the Gram sums of its rows. What is worked out here: the sum
of these, and the solution.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pandas as pd
from scipy import sparse

from recommender import given
from recommender.distributed.parts import Parts, Shared, summed
from recommender.distributed.reading import Part
from recommender.errors import EngineError
from recommender.evaluation.trial import Trial, visits_trial
from recommender.features import Seen, build_matrix, seen_in
from recommender.feedback import FeedbackUse
from recommender.gate import inputs_in
from recommender.given import Given
from recommender.ingest_log import IngestLog
from recommender.matrix import ColumnIndex, PatientMatrix
from recommender.models.base import Model
from recommender.models.factors import FactorModel
from recommender.models.linear import LinearModel
from recommender.moments import STAY_HOURS, Moments, Stays, drawn, every_moment, stays_in
from recommender.pipeline import counts, fitted_on
from recommender.records import SCHEMA, Records, Table
from recommender.safety.charts import Known, Told, told_in
from recommender.support import Support, counts_in, stepped

Place = Callable[["FactorModel", "Today", ColumnIndex], np.ndarray]
"""Points (n_columns, k) float32 of a factor model, found where the parts are."""


# --- what all records say together -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gist:
    """Of some people, in numbers that add up: see `Seen`, `Told`, `Stays`. counted: patients and events by name;
    moments: at which lists could have been asked for, by hours into a visit; inputs: counts for the gate; by_route: see
    `given.counts_in`."""

    as_of: pd.Timestamp
    counted: Mapping[str, int]
    seen: Seen
    told: Told
    stays: Stays
    moments: Mapping[float, int]
    inputs: Mapping[str, pd.Series]
    by_route: sparse.csr_matrix  # one of each part is held

    def __add__(self, other: Gist) -> Gist:
        return Gist(
            max(self.as_of, other.as_of),
            added(self.counted, other.counted),
            self.seen + other.seen,
            self.told + other.told,
            self.stays + other.stays,
            added(self.moments, other.moments),
            {name: one.add(other.inputs[name], fill_value=0).astype(np.int64) for name, one in self.inputs.items()},
            self.by_route + other.by_route,
        )


def added(one: Mapping[Any, int], other: Mapping[Any, int]) -> dict[Any, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def gist_in(records: Records, observed: Collection[str]) -> Gist:
    return Gist(
        records.as_of,
        {name: n for name, n in counts(records).items() if not name.startswith("distinct")},
        seen_in(records),
        told_in(records, observed),
        stays_in(records),
        {hours: len(every_moment(records, hours)) for hours in (0.0, STAY_HOURS)},
        inputs_in(records),
        sparse.csr_matrix(given.counts_in(records)),
    )


def _gist(observed: Collection[str], part: Part) -> Gist | None:
    return gist_in(part.records, observed) if part.records.n_patients else None


@dataclass(frozen=True)
class Today:
    """What is known of everybody: the parts, what they say together, and the columns that follow from it."""

    parts: Parts[Part]
    concepts: pd.DataFrame
    gist: Gist
    gists: Sequence[Gist | None]  # of each part
    index: ColumnIndex
    kinds: tuple[str, ...]

    @property
    def n_patients(self) -> int:
        return self.gist.seen.n_patients

    @property
    def counted(self) -> dict[str, int]:
        """As `pipeline.counts`."""
        distinct = {name: n for name, n in counts(_nobody(self.concepts)).items() if name.startswith("distinct")}
        return {**self.gist.counted, **distinct}

    @property
    def given(self) -> Given:
        return given.told_of(self.gist.by_route.toarray(), self.concepts, self.n_patients)

    def shared(self, model: Model) -> Shared[Reading]:
        known = self.gist.told.known(self.concepts)
        return self.parts.share(Reading(self.gist.seen, self.gist.told, known, self.kinds, model))


@dataclass(frozen=True)
class Reading:
    """What a part needs to give the rows of its people under the columns of all, as a model reads them."""

    seen: Seen
    told: Told
    known: Known
    kinds: tuple[str, ...]
    model: Model

    def matrix(self, records: Records) -> PatientMatrix:
        return self.model.reads(build_matrix(records, kinds=self.kinds, seen=self.seen))


def today_of(parts: Parts[Part], concepts: pd.DataFrame, kinds: Collection[str], observed: Collection[str]) -> Today:
    """Raises TrainingError when no treatment can be suggested."""
    gists = parts.ask(partial(_gist, frozenset(observed)))
    gist: Gist = summed(gists)
    index = build_matrix(_nobody(concepts), kinds=kinds, seen=gist.seen).index
    return Today(parts, concepts, gist, gists, index, tuple(kinds))


def _nobody(concepts: pd.DataFrame, people: pd.DataFrame | None = None) -> Records:
    """Records without an event, of these people or of none."""
    nothing = {
        name: pd.DataFrame({column: pd.Series(dtype=dtype) for column, dtype in columns.items()})
        for name, columns in SCHEMA.items()
    }
    tables = {name: nothing[name] for name in get_args(Table)}
    return Records(
        patients=nothing["patients"] if people is None else people, concepts=concepts, log=IngestLog(), **tables
    )


# --- the examples ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Examples:
    """What was known and what followed at the moments that were drawn: no more than `moments.MOST`, however many
    people there are, so they fit on one machine. asked: with all targets, to be judged by; taught: with those that are
    common enough; records: of the people whose moments they are, without events; site: of each moment."""

    hours: float
    asked: PatientMatrix
    taught: PatientMatrix
    moments: Moments
    records: Records
    site: np.ndarray

    def trial(self, kinds: Collection[str]) -> Trial:
        return visits_trial("started", kinds, self.hours, self.asked, self.moments, self.site)


@dataclass(frozen=True)
class _SomeExamples:
    asked: PatientMatrix
    taught: PatientMatrix
    moments: Moments
    people: pd.DataFrame


def examples_of(today: Today, judged_kinds: Collection[str]) -> Examples:
    """judged_kinds: of the treatments that a list is judged by. Raises TrainingError where no visit is known."""
    hours = today.gist.stays.usual_hours
    in_parts = [0 if gist is None else gist.moments[hours] for gist in today.gists]
    chosen = drawn(sum(in_parts))
    ends = np.cumsum([0, *in_parts])
    mine = [chosen[(chosen >= a) & (chosen < b)] - a for a, b in pairwise(ends)]
    shared = today.parts.share((mine, hours, today.gist.seen, tuple(judged_kinds), today.index.target_kinds))
    found = [one for one in today.parts.ask(partial(_examples, shared)) if one is not None]
    before = np.cumsum([0, *(len(one.people) for one in found)])
    moments = [
        replace(one.moments, patient_ix=one.moments.patient_ix + n) for one, n in zip(found, before, strict=False)
    ]
    joined = Moments(
        *(np.concatenate([getattr(one, name) for one in moments]) for name in Moments.__dataclass_fields__)
    )
    people = pd.concat([one.people for one in found], ignore_index=True)
    return Examples(
        hours,
        _stacked([one.asked for one in found]),
        _stacked([one.taught for one in found]),
        replace(joined, patient_ix=joined.patient_ix.astype(np.int32)),
        _nobody(today.concepts, people),
        people["site"].to_numpy(dtype=object)[joined.patient_ix],
    )


def _examples(shared: Shared[Any], part: Part) -> _SomeExamples | None:
    mine, hours, seen, judged, taught = shared.value
    if not len(mine[part.number]):
        return None
    records = part.records
    moments = every_moment(records, hours).take(mine[part.number])
    people, place = np.unique(moments.patient_ix, return_inverse=True)
    return _SomeExamples(
        build_matrix(records, min_target_patients=1, kinds=judged, moments=moments, seen=seen),
        build_matrix(records, kinds=taught, moments=moments, seen=seen),
        replace(moments, patient_ix=place.astype(np.int32)),
        records.patients.iloc[people].reset_index(drop=True),
    )


def _stacked(parts: Sequence[PatientMatrix]) -> PatientMatrix:
    def stack(name: str) -> sparse.csr_matrix:
        return sparse.csr_matrix(sparse.vstack([getattr(part, name) for part in parts], format="csr"))

    ids = np.concatenate([part.patient_ids for part in parts])
    return PatientMatrix(stack("rows"), parts[0].index, ids, stack("later"), stack("began"))


# --- fitting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counts:
    """Of some people's rows: support (`counts_in`), how many had each target, and the sums of a linear model."""

    n_patients: int
    totals: np.ndarray
    together: np.ndarray
    had: np.ndarray
    sums: tuple[np.ndarray, np.ndarray] | None

    def __add__(self, other: Counts) -> Counts:
        sums = self.sums
        if sums is not None and other.sums is not None:
            sums = (sums[0] + other.sums[0], sums[1] + other.sums[1])
        totals, together = self.totals + other.totals, self.together + other.together
        return Counts(self.n_patients + other.n_patients, totals, together, self.had + other.had, sums)


def _counts(reading: Shared[Reading], part: Part) -> Counts | None:
    if not part.records.n_patients:
        return None
    model, matrix = reading.value.model, reading.value.matrix(part.records)
    had = np.bincount(matrix.had.indices, minlength=len(matrix.index.targets))
    sums = model.sums(matrix) if isinstance(model, LinearModel) else None
    return Counts(matrix.n_patients, *counts_in(matrix), had, sums)


def fit(
    today: Today,
    model: Model,
    balance: str,
    feedback: FeedbackUse,
    examples: Examples | None,
    place: Place | None = None,
) -> tuple[Model, ColumnIndex, Support]:
    """The fitted model, the columns that it reads, and the support of its suggestions. Raises EngineError for a model
    that cannot be fitted in parts, and TrainingError."""
    if not model.needs_later and (balance or feedback.how != "off"):
        raise EngineError(f"the model {model.name} can be neither balanced nor learn from feedback in parts")
    counted = today.parts.total(partial(_counts, today.shared(model)))
    index = model.reads(build_matrix(_nobody(today.concepts), kinds=today.kinds, seen=today.gist.seen)).index
    support = stepped(index, counted.n_patients, counted.totals, counted.together)
    if model.needs_later:
        if examples is None:
            raise EngineError(f"the model {model.name} learns from visits, and the records tell none")
        fitted = fitted_on(examples.taught, examples.moments, examples.records, index, model, balance, feedback)
    elif isinstance(model, LinearModel) and counted.sums is not None:
        gram, had = (np.asfortranarray(part) for part in counted.sums)
        fitted = model.solved(index, gram, had)
    elif isinstance(model, FactorModel) and place is not None:
        share = (counted.had / max(counted.n_patients, 1)).astype(np.float32)
        fitted = model.placed(index, place(model, today, index), share)
    else:
        raise EngineError(
            f"the model {model.name} cannot be fitted in parts: linear, ease, als and those that learn from visits can"
        )
    return fitted, index, support

"""`Records` in, a `RiskTable` of one row a patient out: age, sex, the newest values measured, what is on the chart.

With a horizon the row is the chart as it stood `horizon_days` before it is read (`as_of`), of those who were known by
then and did not have the condition; the outcome is whether it began since. So everybody was followed for the whole
horizon, and nothing of what followed is in the row. (Who left or died unseen counts as not having got it: the records
do not tell.) Without a horizon the row is today's chart without the condition and every group that it belongs to, and
the outcome is whether the patient has it: a likelihood to have it, told by what is there beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from recommender.errors import InputError, TrainingError
from recommender.evaluation.breakdown import SEX, age_words
from recommender.features import DAYS_PER_YEAR, MIN_TARGET_PATIENTS, chart_rows
from recommender.matrix import Column
from recommender.moments import MISSING, Moments, now
from recommender.records import Records
from recommender.risk.table import Feature, Inputs, Outcome, RiskTable
from recommender.vocabulary import ConditionVocabulary

MEASURED = 0.2  # of the examples; a measurement of fewer is not an input
SHARED = 0.02  # of the examples; a group or class that fewer have is not an input
MOST_YES = 60  # groups and classes, the most common ones: odds ratios are to be read by people
OLDEST_DAYS = 5 * 365  # a value measured longer ago does not tell of today
YES_KINDS = ("condition_group", "class")
AGE, FEMALE = Feature("age", "age", "number", unit="years"), Feature("female", "sex:F", "yes")

_vocabulary = cache(ConditionVocabulary.load)


def outcome_of(records: Records, code: str, horizon_days: int | None = None, name: str = "") -> Outcome:
    """`code`: a condition of the records, or a group of conditions ('coronary-artery-disease'). Raises InputError."""
    vocabulary = _vocabulary()
    try:
        found = vocabulary.name(code)
    except KeyError:
        concepts = records.concepts
        named = concepts.loc[(concepts["kind"] == "condition") & (concepts["code"] == code), "name"]
        if named.empty:
            raise InputError(
                f"{code!r} is neither a condition of these records nor a group of conditions "
                "(data/vocabulary/condition_groups.csv)"
            ) from None
        found = str(named.iloc[0])
    return Outcome(name or found, code, horizon_days)


def learn_records(records: Records, outcome: Outcome) -> RiskTable:
    """Raises TrainingError where nobody was known a horizon ago."""
    of_outcome, related = _concepts(records, outcome.code)
    read = now(records)
    moments, began = read, _first(records, of_outcome)
    if outcome.horizon_days is not None:
        known = read.known_until - outcome.horizon_days * 86_400
        there = (_earliest(records) < known) & (began >= known)
        if not there.any():
            raise TrainingError(f"nobody was known {outcome.span} before the charts are read, without the condition")
        who = np.flatnonzero(there)
        moments = Moments(read.patient_ix[who], known[who], read.known_until[who], read.earlier[who])
        related = np.empty(0, dtype=np.int64)  # of these, what they had before is an honest input
    people = moments.patient_ix
    happened = began[people] < moments.followed_until
    charts = _Charts(records, moments, related)
    inputs = charts.inputs(charts.features())
    said = (
        f"{outcome.name}, by the chart of {outcome.span} ago, in those who did not have it"
        if outcome.span
        else f"{outcome.name}, by what else is on today's chart"
    )
    return RiskTable(outcome, inputs, happened, _groups(records, charts), said, as_of=records.as_of)


def read_records(records: Records, features: Sequence[Feature], outcome: Outcome) -> tuple[Inputs, np.ndarray]:
    """Today's charts in the columns that a model knows, and who has the outcome already (n_patients,) bool."""
    moments = now(records)
    has = _first(records, _concepts(records, outcome.code)[0]) < moments.known_until
    return inputs_at(records, features, outcome, moments), has


def inputs_at(records: Records, features: Sequence[Feature], outcome: Outcome, moments: Moments) -> Inputs:
    """The charts as they stood at moments of the past, in the columns that a model knows."""
    hidden = _concepts(records, outcome.code)[1] if outcome.horizon_days is None else np.empty(0, dtype=np.int64)
    return _Charts(records, moments, hidden).inputs(features)


def _concepts(records: Records, code: str) -> tuple[np.ndarray, np.ndarray]:
    """The concepts of the outcome (n,), and those that share a group with them: other words for the same."""
    vocabulary, concepts = _vocabulary(), records.concepts
    conditions = np.flatnonzero(concepts["kind"].to_numpy() == "condition")
    codes = concepts["code"].to_numpy(dtype=object)
    groups = {ix: set(vocabulary.groups(codes[ix])) for ix in conditions.tolist()}
    mine = [ix for ix, of in groups.items() if code in of or codes[ix] == code]
    shared = {group for ix in mine for group in groups[ix]}
    related = [ix for ix, of in groups.items() if of & shared or ix in set(mine)]
    return np.array(mine, dtype=np.int64), np.array(related, dtype=np.int64)


def _seconds(times: pd.Series) -> np.ndarray:
    return times.to_numpy("datetime64[s]").astype(np.int64)


def _first(records: Records, concepts: np.ndarray) -> np.ndarray:
    """When each patient first had one of these conditions (n_patients,) int64; the largest int64: never."""
    events = records.conditions
    mine = np.isin(events["concept_ix"].to_numpy(), concepts)
    first = np.full(records.n_patients, np.iinfo(np.int64).max)
    np.minimum.at(first, events["patient_ix"].to_numpy()[mine], _seconds(events["start"])[mine])
    return first


def _earliest(records: Records) -> np.ndarray:
    """When each patient was first known of (n_patients,) int64."""
    first = np.full(records.n_patients, np.iinfo(np.int64).max)
    for events in (records.treatments, records.conditions, records.observations):
        np.minimum.at(first, events["patient_ix"].to_numpy(), _seconds(events["start"]))
    return first


@dataclass(frozen=True)
class _Charts:
    """The charts of the moments as features are read from them, without conditions of the concepts `hidden`."""

    records: Records
    moments: Moments
    hidden: np.ndarray

    @cached_property
    def rows(self) -> tuple[sparse.csc_matrix, list[Column]]:
        """(n_moments, n_columns), and what the columns mean."""
        events = self.records.conditions
        shown = events[~np.isin(events["concept_ix"].to_numpy(), self.hidden)].reset_index(drop=True)
        rows, columns, _ = chart_rows(replace(self.records, conditions=shown), self.moments, MIN_TARGET_PATIENTS)
        return rows.tocsc(), columns

    @cached_property
    def ids(self) -> np.ndarray:
        return self.records.patients["patient_id"].to_numpy(dtype=object)[self.moments.patient_ix]

    @cached_property
    def years(self) -> np.ndarray:
        born = _seconds(self.records.patients["birth_date"])[self.moments.patient_ix]
        age = (self.moments.known_until - born) / (86_400 * DAYS_PER_YEAR)
        return np.where(born == MISSING, np.nan, age)

    def newest(self, concepts: Sequence[int]) -> np.ndarray:
        """The newest value of each observation before each moment, none older than OLDEST_DAYS: (n_moments,
        n_concepts) float64, NaN where there is none."""
        events, found = self.records.observations, np.full((len(self.moments), len(concepts)), np.nan)
        place = np.full(len(self.records.concepts), -1, dtype=np.int64)
        place[list(concepts)] = np.arange(len(concepts))
        events = events[place[events["concept_ix"].to_numpy()] >= 0]
        row, event = self.moments.rows_of(events["patient_ix"].to_numpy())
        start, known = _seconds(events["start"])[event], self.moments.known_until[row]
        seen = (start < known) & (start >= known - OLDEST_DAYS * 86_400)
        row, event, start = row[seen], event[seen], start[seen]
        order = np.lexsort((event, start))  # the last one written wins
        concept, value = (events[name].to_numpy()[event[order]] for name in ("concept_ix", "value"))
        found[row[order], place[concept]] = value
        return found

    def features(self) -> list[Feature]:
        """Every feature that enough of the charts have."""
        n, concepts, observed = len(self.moments), self.records.concepts, self.records.observations
        pairs = observed[["patient_ix", "concept_ix"]].drop_duplicates()
        count = np.bincount(pairs["concept_ix"], minlength=len(concepts))
        often = np.flatnonzero((count > 0) & (count >= MEASURED * n))
        shares = np.isfinite(self.newest(often.tolist())).mean(axis=0)
        told = concepts.iloc[often[shares >= MEASURED]]
        found = [AGE, FEMALE]
        for code, name, unit in zip(told["code"], told["name"], told["unit"], strict=True):
            found.append(Feature(name or code, code, "number", unit=unit))
        rows, columns = self.rows
        count = np.diff(rows.indptr)
        kinds = np.array([column.kind in YES_KINDS for column in columns])
        common = np.flatnonzero(kinds & (count >= max(SHARED * n, 1)) & (count < n))
        for ix in sorted(common[np.argsort(-count[common], kind="stable")][:MOST_YES].tolist()):
            found.append(Feature(columns[ix].name, columns[ix].code, "yes"))
        return found

    def inputs(self, features: Sequence[Feature]) -> Inputs:
        """A group or class that the records do not know is one that nobody has; a measurement, one not made."""
        sex = self.records.patients["sex"].to_numpy(dtype=object)[self.moments.patient_ix]
        concept_of = {code: ix for ix, code in enumerate(self.records.concepts["code"])}
        measured = {f.source: concept_of[f.source] for f in features if f.source in concept_of and f.kind == "number"}
        newest = dict(zip(measured, self.newest(list(measured.values())).T, strict=True))
        rows, columns = self.rows
        place = {column.code: ix for ix, column in enumerate(columns) if column.kind in YES_KINDS}
        values = np.zeros((len(self.moments), len(features)))
        for at, feature in enumerate(features):
            if feature.source == AGE.source:
                values[:, at] = self.years
            elif feature.source == FEMALE.source:
                values[:, at] = np.where(np.isin(sex, list(SEX)), sex == "F", np.nan)
            elif feature.kind == "number":
                values[:, at] = newest.get(feature.source, np.nan)
            elif feature.source in place:
                ix = place[feature.source]
                values[rows.indices[rows.indptr[ix] : rows.indptr[ix + 1]], at] = 1
        return Inputs(tuple(features), self.ids, values)


def _groups(records: Records, charts: _Charts) -> pd.DataFrame:
    people = records.patients.iloc[charts.moments.patient_ix]
    found = pd.DataFrame(
        {
            "sex": people["sex"].replace(SEX).to_numpy(),
            "age": age_words(charts.years),
            "race": people["race"].to_numpy(),
            "ethnicity": people["ethnicity"].to_numpy(),
            "hospital": people["site"].to_numpy(),
        }
    ).replace("", "unknown")
    return found.loc[:, found.nunique() > 1]

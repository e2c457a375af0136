"""`Records` in, `PatientMatrix` out: one sparse row a patient, in named column blocks, which every model reads.

The weight of a treatment, condition or allergy in a row is a recency-weighted count of its events k, at most 1:

    w = min(1, sum_k max(FLOOR, 2 ** (-days_k / HALF_LIFE_DAYS)))

where days_k is the time from the end of event k (0 while it goes on) to the moment the chart is read (`as_of`). One
course that goes on, or two long past, weigh 1; one long past weighs FLOOR; nothing on record weighs 0. Demographic
columns and the baseline column, the same for everyone, weigh 1. (Counts without a limit and a deeper fading were tried
and were worse: see docs/evaluation.md.)

The DERIVED blocks at the end say the same in ways that some models can use: which drugs go on, which were the last to
begin, which were only reported, which classes of drugs and groups of conditions are there. They weigh 1.

Race and ethnicity are never columns: they are kept in `Records` only to measure fairness.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import sparse

from recommender.errors import TrainingError
from recommender.matrix import Block, Column, ColumnIndex, PatientMatrix
from recommender.moments import MISSING, Moments, now
from recommender.records import TREATMENT_KINDS, Records
from recommender.row_sums import row_sums
from recommender.vocabulary.conditions import ConditionVocabulary

HALF_LIFE_DAYS = 3 * 365.25
FLOOR = 0.5
RECENT_SECONDS = 86_400
DAYS_PER_YEAR = 365.2425
MIN_TARGET_PATIENTS = 3  # fewer patients than this teach nothing about when to suggest a treatment
AGE_BANDS = (0, 1, 5, 12, 18, 30, 40, 50, 60, 70, 80, 90)  # lower edges, years


@dataclass(frozen=True)
class Seen:
    """What charts show today, from which columns and targets follow, in counts that add up over groups of patients.

    treated (n_concepts,) int64: how many patients have each treatment; shown (n_concepts,) bool: which conditions and
    allergies any chart shows.
    """

    n_patients: int
    treated: np.ndarray
    shown: np.ndarray

    def __add__(self, other: Seen) -> Seen:
        return Seen(self.n_patients + other.n_patients, self.treated + other.treated, self.shown | other.shown)


def seen_in(records: Records) -> Seen:
    shown = np.zeros(len(records.concepts), dtype=bool)
    shown[_ever(records, records.conditions)] = True
    shown[_ever(records, records.allergies)] = True
    return Seen(records.n_patients, _treated(records), shown)


def build_matrix(
    records: Records,
    min_target_patients: int = MIN_TARGET_PATIENTS,
    kinds: Collection[str] = TREATMENT_KINDS,
    moments: Moments | None = None,
    hidden: np.ndarray | None = None,
    seen: Seen | None = None,
) -> PatientMatrix:
    """A row for each patient, of what is known at `as_of`; or one for each moment, of what was known then.

    The columns are the same at any moments, so a model learned from moments of the past scores the rows of today.
    At `moments`, `later` holds what began between `known_until` and `followed_until` and was not on the chart by then;
    what is only reported (see `Records`) did not begin when it was told. `hidden` (n_treatments,) bool: events that no
    row shows. Treatments that fewer than `min_target_patients` patients had, or that are of no kind in `kinds`, stay as
    input columns but are never suggested. `seen`: what all patients' charts show, where `records` hold some of them.
    Raises TrainingError when no treatment can be suggested.
    """
    at = now(records) if moments is None else moments
    seen = seen or seen_in(records)
    named = np.flatnonzero(seen.treated)
    suggestable = np.isin(records.concepts["kind"].to_numpy()[named], list(kinds))
    targets = np.flatnonzero((seen.treated[named] >= min_target_patients) & suggestable)
    if not len(targets):
        raise TrainingError(
            f"no treatment ({', '.join(kinds)}) was given to {min_target_patients} or more of the "
            f"{seen.n_patients:,} patients, so there is nothing to learn a suggestion from"
        )
    rows, columns, blocks = chart_rows(records, at, min_target_patients, hidden, seen)
    index = ColumnIndex(tuple(columns), tuple(blocks), targets.astype(np.int32))
    ids = records.patients["patient_id"].to_numpy(dtype=object)[at.patient_ix]
    began = None if moments is None else _began(records, at, named[targets])
    later = began if began is None else _new(began, sparse.csr_matrix(rows[:, targets]))
    return PatientMatrix(rows, index, ids, later, began)


def chart_rows(
    records: Records,
    at: Moments,
    min_patients: int,
    hidden: np.ndarray | None = None,
    seen: Seen | None = None,
) -> tuple[sparse.csr_matrix, list[Column], list[Block]]:
    """The rows of a matrix (n_moments, n_columns), what its columns mean, and its blocks, treatments first.

    min_patients: a drug that fewer had has no column among the derived ones. `seen`: as in `build_matrix`.
    """
    seen = seen or seen_in(records)
    kind = records.concepts["kind"].to_numpy()
    named = np.flatnonzero(seen.treated)
    common = named[(seen.treated[named] >= min_patients) & (kind[named] == "drug")]
    ever = {name: np.flatnonzero(seen.shown & (kind == name)) for name in ("condition", "allergy")}
    parts: list[sparse.csr_matrix] = []
    columns: list[Column] = []
    blocks: list[Block] = []

    def add(name: str, part: sparse.csr_matrix, described: list[Column]) -> None:
        parts.append(part)
        blocks.append(Block(name, len(columns), len(columns) + len(described)))
        columns.extend(described)

    shown = _charted(records, records.treatments, at, hidden)
    add("treatments", *_by_concept(records, shown, named))
    drugs = shown.where(kind[shown.concept_ix] == "drug")
    conditions = _charted(records, records.conditions, at)
    add("conditions", *_by_concept(records, conditions, ever["condition"]))
    allergies = _charted(records, records.allergies, at)
    add("allergies", *_by_concept(records, allergies, ever["allergy"]))
    add("demographics", *_demographics(records.patients, at))
    everyone = sparse.csr_matrix(np.ones((len(at), 1), dtype=np.float32))
    add("baseline", everyone, [Column("baseline", "baseline", "how common it is overall", "")])
    for name, which in (("running", drugs.running), ("recent", drugs.recent), ("reported", drugs.reported)):
        add(name, *_by_concept(records, drugs.where(which), common, name))
    classes = _drug_classes(records)
    add("classes", *_by_group(drugs, classes, "class"))
    add("running_classes", *_by_group(drugs.where(drugs.running), classes, "running_class"))
    add("condition_groups", *_by_group(conditions, _condition_groups(records), "condition_group"))

    rows = sparse.hstack(parts, format="csr", dtype=np.float32)
    rows.sort_indices()
    return sparse.csr_matrix(rows), columns, blocks


def rows_over(
    index: ColumnIndex, records: Records, seen: Seen | None = None
) -> tuple[PatientMatrix, set[tuple[str, str]]]:
    """What is known of each patient at `as_of`, over columns that were made of other records; and kind and code of the
    treatments, conditions and allergies that these records tell and that have no column there. `seen`: as in
    `build_matrix`."""
    rows, columns, blocks = chart_rows(records, now(records), min_patients=1, seen=seen)
    place = np.array([index.place.get((column.kind, column.code), -1) for column in columns], dtype=np.int32)
    told = np.zeros(len(columns) + 1, dtype=bool)
    told[rows.indices] = True
    plain = next(block.start for block in blocks if block.name == "demographics")
    at = place[rows.indices]
    entries = np.append(0, np.cumsum(at >= 0))  # up to each
    shape = (rows.shape[0], len(index))
    brought = sparse.csr_matrix((rows.data[at >= 0], at[at >= 0], entries[rows.indptr]), shape=shape, dtype=np.float32)
    brought.sort_indices()
    ids = records.patients["patient_id"].to_numpy(dtype=object)
    lacking = {(columns[ix].kind, columns[ix].code) for ix in np.flatnonzero(told[:plain] & (place[:plain] < 0))}
    return PatientMatrix(brought, index, ids), lacking


@dataclass(frozen=True)
class _Charted:
    """Events that a chart shows at its moment. All (n,): row int64 (the moment), concept_ix int32, weight float32, and
    whether it goes on, is among the last that began (within RECENT_SECONDS), and was only reported, bool."""

    n_rows: int
    row: np.ndarray
    concept_ix: np.ndarray
    weight: np.ndarray
    running: np.ndarray
    recent: np.ndarray
    reported: np.ndarray

    def where(self, which: np.ndarray) -> _Charted:
        arrays = (self.row, self.concept_ix, self.weight, self.running, self.recent, self.reported)
        return _Charted(self.n_rows, *(array[which] for array in arrays))


def _charted(records: Records, events: pd.DataFrame, at: Moments, hidden: np.ndarray | None = None) -> _Charted:
    row, event = at.rows_of(events["patient_ix"].to_numpy())
    start, stop = _seconds(events["start"])[event], _seconds(events["stop"])[event]
    known_until = at.known_until[row]
    seen = start < known_until
    if hidden is not None:
        seen &= ~hidden[event]
    row, event, start, stop, known_until = (array[seen] for array in (row, event, start, stop, known_until))
    running = (stop == MISSING) | (stop >= known_until)
    days = np.where(running, 0, known_until - stop) / 86_400
    return _Charted(
        n_rows=len(at),
        row=row,
        concept_ix=events["concept_ix"].to_numpy()[event],
        weight=np.maximum(FLOOR, np.exp2(-days / HALF_LIFE_DAYS)).astype(np.float32),
        running=running,
        recent=start >= _latest(row, start, len(at))[row] - RECENT_SECONDS,
        reported=events["reported"].to_numpy()[event] if "reported" in events else np.zeros(len(event), dtype=bool),
    )


def _latest(row: np.ndarray, start: np.ndarray, n_rows: int) -> np.ndarray:  # (n_rows,) int64
    latest = np.full(n_rows, MISSING)
    np.maximum.at(latest, row, start)
    return latest


def _by_concept(
    records: Records, events: _Charted, concepts: np.ndarray, state: str = ""
) -> tuple[sparse.csr_matrix, list[Column]]:
    """Weights by the formula above, (n_rows, len(concepts)), of events of `concepts`; and what each column means.

    `state`: what the block says of its concepts; then the weight is 1.
    """
    column_of = np.full(len(records.concepts), -1, dtype=np.int64)
    column_of[concepts] = np.arange(len(concepts))
    known = events.where(column_of[events.concept_ix] >= 0)
    weight = np.ones_like(known.weight) if state else known.weight
    part = row_sums(known.row, column_of[known.concept_ix], weight, (events.n_rows, len(concepts)))
    words = (words[concepts] for words in _words(records, "code", "kind", "name", "group"))
    columns = [
        Column(f"{state}:{code}" if state else code, state or kind, name, group)
        for code, kind, name, group in zip(*words, strict=True)
    ]
    return _at_most_one(part), columns


def _words(records: Records, *names: str) -> list[np.ndarray]:
    """Columns of the table of concepts, each (n_concepts,) of str; frames would take most of a small chart's time."""
    return [records.concepts[name].to_numpy(dtype=object) for name in names]


def _by_group(events: _Charted, groups: _Groups, kind: str) -> tuple[sparse.csr_matrix, list[Column]]:
    """1 (n_rows, n_groups) where an event's concept is in the group."""
    ones = np.ones(len(events.row), dtype=np.float32)
    shape = (events.n_rows, groups.members.shape[0])
    part = sparse.csr_matrix(row_sums(events.row, events.concept_ix, ones, shape) @ groups.members)
    part.sum_duplicates()
    return _at_most_one(part), [Column(f"{kind}:{code}", kind, name, "") for code, name in groups.names]


@dataclass(frozen=True)
class _Groups:
    """names: (code, name) of each group; members (n_concepts, n_groups) CSR float32 of ones."""

    names: list[tuple[str, str]]
    members: sparse.csr_matrix


def _groups(of: Sequence[Sequence[str]], name: Callable[[str], str]) -> _Groups:
    """`of`: the groups of each concept."""
    codes = sorted({group for groups in of for group in groups})
    place = {code: ix for ix, code in enumerate(codes)}
    pairs = [(concept, place[group]) for concept, groups in enumerate(of) for group in groups]
    concept, group = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    members = sparse.csr_matrix((np.ones(len(pairs), np.float32), (concept, group)), shape=(len(of), len(codes)))
    return _Groups([(code, name(code)) for code in codes], members)


def _drug_classes(records: Records) -> _Groups:
    concepts = zip(*_words(records, "kind", "group"), strict=True)
    return _groups([(group,) if kind == "drug" and group else () for kind, group in concepts], str)


_shipped_conditions = cache(ConditionVocabulary.load)


def _condition_groups(records: Records) -> _Groups:
    vocabulary = _shipped_conditions()
    concepts = zip(*_words(records, "kind", "code"), strict=True)
    return _groups([vocabulary.groups(code) if kind == "condition" else () for kind, code in concepts], vocabulary.name)


def _ever(records: Records, events: pd.DataFrame) -> np.ndarray:
    """The concepts (n,) of a table that any chart shows today."""
    seen = _seconds(events["start"]) < now(records).known_until[events["patient_ix"]]
    return np.flatnonzero(np.bincount(events["concept_ix"].to_numpy()[seen], minlength=len(records.concepts)))


def _treated(records: Records) -> np.ndarray:
    """How many patients (n_concepts,) have each treatment on their chart today."""
    events = records.treatments
    seen = _seconds(events["start"]) < now(records).known_until[events["patient_ix"]]
    patient, concept = (events[name].to_numpy()[seen] for name in ("patient_ix", "concept_ix"))
    shape = (records.n_patients, len(records.concepts))
    had = sparse.csr_matrix((np.ones(len(patient), dtype=bool), (patient, concept)), shape=shape)
    return np.bincount(had.indices, minlength=shape[1])


def _began(records: Records, at: Moments, targets: np.ndarray) -> sparse.csr_matrix:
    """Which target concepts (n_moments, n_targets) began in the time that followed, again or for the first time."""
    events = records.treatments
    row, event = at.rows_of(events["patient_ix"].to_numpy())
    start = _seconds(events["start"])[event]
    target_of = np.full(len(records.concepts), -1, dtype=np.int64)
    target_of[targets] = np.arange(len(targets))
    target = target_of[events["concept_ix"].to_numpy()[event]]
    began = (start >= at.known_until[row]) & (start < at.followed_until[row]) & (target >= 0)
    began &= ~events["reported"].to_numpy()[event]
    shape = (len(at), len(targets))
    later = row_sums(row[began], target[began], np.ones(began.sum(), dtype=np.float32), shape)
    later.data[:] = 1
    return later


def _new(began: sparse.csr_matrix, had: sparse.csr_matrix) -> sparse.csr_matrix:
    """What of it was not `had`; both (n_moments, n_targets)."""
    new = sparse.csr_matrix(began - began.multiply(had != 0))
    new.eliminate_zeros()
    new.sort_indices()
    return new


def _at_most_one(part: sparse.csr_matrix) -> sparse.csr_matrix:
    """float16 keeps 11 significant bits: plenty for a weight, and exact to publish."""
    part.data = np.minimum(part.data, 1).astype(np.float16).astype(np.float32)
    return part


def _demographics(patients: pd.DataFrame, at: Moments) -> tuple[sparse.csr_matrix, list[Column]]:
    """Sex and age band at the moment, one column each; someone whose sex or birth date is unknown has neither."""
    patients = patients.iloc[at.patient_ix]
    born = _seconds(patients["birth_date"])
    years = np.where(born == MISSING, np.nan, (at.known_until - born) / (86_400 * DAYS_PER_YEAR))
    band = np.searchsorted(AGE_BANDS, np.nan_to_num(years, nan=-1.0), side="right") - 1  # -1: unknown
    labels = ["under 1", *(f"{low}-{high - 1}" for low, high in pairwise(AGE_BANDS[1:])), f"{AGE_BANDS[-1]}+"]
    columns = [Column(f"age:{label}", "age", f"age {label}", "") for label in labels]
    columns += [Column("sex:F", "sex", "female", ""), Column("sex:M", "sex", "male", "")]
    sex = patients["sex"].map({"F": len(AGE_BANDS), "M": len(AGE_BANDS) + 1}).fillna(-1).to_numpy(dtype=np.int64)
    patient = np.arange(len(patients))
    row = np.concatenate([patient[band >= 0], patient[sex >= 0]])
    column = np.concatenate([band[band >= 0], sex[sex >= 0]])
    ones = np.ones(len(row), dtype=np.float32)
    return sparse.csr_matrix((ones, (row, column)), shape=(len(patients), len(columns))), columns


def _seconds(times: pd.Series) -> np.ndarray:  # int64 seconds since 1970; missing is the smallest int64
    return times.to_numpy(dtype="datetime64[s]").astype(np.int64)

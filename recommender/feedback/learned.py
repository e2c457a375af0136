"""Examples to learn from and feedback events in, the examples with what the events teach out: by a setting, off unless
asked for.

- labels: an accepted suggestion counts as begun, at the patient's moment whose follow-up holds the event. Of several
  events on one treatment in one follow-up the last counts; rejected or overridden takes the label away again where the
  reason speaks against the treatment itself (AGAINST). What the records say was begun stays: an order is stronger than
  a click. As no label means "not begun" already, a rejection alone teaches nothing.
- weights: the examples of a patient with k events that stand count 1 + log2(1 + k) times as much, scaled to a mean
  of 1.

What each risks stands in docs/data-engineers.md: what is suggested is accepted more often, and would be suggested more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse

from recommender.feedback.events import NEEDS_REASON, FeedbackEvent, standing
from recommender.matrix import PatientMatrix

OFF = "off"
HOW = (OFF, "labels", "weights")
AGAINST = ("not-indicated", "contraindicated-elsewhere", "patient-declines")


@dataclass(frozen=True)
class FeedbackUse:
    """How events join the next fit (one of HOW), and which."""

    how: str = OFF
    events: tuple[FeedbackEvent, ...] = ()


def learned(matrix: PatientMatrix, when: np.ndarray, until: np.ndarray, use: FeedbackUse) -> PatientMatrix:
    """`matrix` with what `use` adds; the same value where that is nothing.

    when and until (n_rows,) int64, seconds since 1970: each row's moment, and the end of what is known to follow it.
    Without a follow-up (until = when, or no `later`) there are no labels to add.
    """
    given = standing(use.events)
    if use.how == "weights":
        return _weighted(matrix, given)
    if use.how == "labels" and matrix.later is not None:
        return _labelled(matrix, when, until, given)
    return matrix


def _weighted(matrix: PatientMatrix, given: Iterable[FeedbackEvent]) -> PatientMatrix:
    count = pd.Series(Counter(event.patient_id for event in given), dtype=np.float64)
    events = count.reindex(matrix.patient_ids).fillna(0).to_numpy()
    if not events.any():
        return matrix
    weight = (1 + np.log2(1 + events)) * (1.0 if matrix.weight is None else matrix.weight)
    return replace(matrix, weight=weight / weight.mean())


def _labelled(
    matrix: PatientMatrix, when: np.ndarray, until: np.ndarray, given: Iterable[FeedbackEvent]
) -> PatientMatrix:
    assert matrix.later is not None and matrix.began is not None  # noqa: S101  (for the type checker)
    columns = (matrix.index.columns[ix] for ix in matrix.index.targets)
    target_of = {(column.kind, column.code): target for target, column in enumerate(columns)}
    rows_of = _rows_of(matrix, {event.patient_id for event in given})
    accepted: dict[tuple[int, int], bool] = {}
    for event in sorted(given, key=lambda event: (event.occurred, event.event_id)):
        target, at = target_of.get((event.kind, event.code)), int(event.occurred.timestamp() // 1)
        held = [row for row in rows_of.get(event.patient_id, ()) if when[row] <= at < until[row]]
        if target is None or not held:
            continue
        place = (max(held, key=lambda row: when[row]), target)
        if event.outcome == "accepted":
            accepted[place] = True
        elif event.outcome in NEEDS_REASON and event.reason in AGAINST:
            accepted[place] = False
    pairs = [place for place, counts in accepted.items() if counts]
    if not pairs:
        return matrix
    row, target = np.array(pairs).T
    new = np.asarray(matrix.rows[row, matrix.index.targets[target]]).ravel() == 0  # not on the chart by then
    later = _with(matrix.later, row[new], target[new])
    return replace(matrix, later=later, began=_with(matrix.began, row, target))


def _rows_of(matrix: PatientMatrix, patients: set[str]) -> dict[str, list[int]]:
    rows = np.flatnonzero(pd.Index(matrix.patient_ids).isin(list(patients)))
    found: dict[str, list[int]] = {}
    for row in rows.tolist():
        found.setdefault(matrix.patient_ids[row], []).append(row)
    return found


def _with(part: sparse.csr_matrix, row: np.ndarray, target: np.ndarray) -> sparse.csr_matrix:
    """`part` (n_rows, n_targets), CSR of ones, with ones at these places too."""
    ones = sparse.csr_matrix((np.ones(len(row), dtype=np.float32), (row, target)), shape=part.shape)
    whole = sparse.csr_matrix(part.maximum(ones), dtype=np.float32)
    whole.sort_indices()
    return whole

"""A fitted model and patient rows in, each patient's exact best treatments out: the only place that ranks.

Scores that are not finite are dropped, treatments already in the row are dropped, ties go to the lower column, and a
list is shorter than n rather than padded. Patients are scored in blocks, and by models that are plain sums one at a
time and on all cores, so no patients x treatments matrix is ever whole.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
from scipy import sparse

from recommender.errors import EngineError
from recommender.features import ColumnIndex, PatientMatrix
from recommender.models.base import Model
from recommender.records import THERAPIES, TREATMENT_KINDS
from recommender.topn_kernel import best_of_block, best_of_sums, places

__all__ = ["DEPTH", "PER_KIND", "SPARE", "TopN", "places", "top_n", "within_depth"]

DEPTH = 50  # therapies published for each patient that nothing forbids
PER_KIND = 20  # suggestions published of each kind at least, so that one kind can be asked for
SPARE = 30  # ranked beyond DEPTH, to fill the places of what the safety screen withholds
BLOCK_ROWS = 512  # 512 patients x 500 targets of float32 fill 1 MB: the block stays in a core's cache
_Lists = tuple[np.ndarray, np.ndarray, np.ndarray]  # of a block: the lists' lengths, targets and scores


@dataclass(frozen=True)
class TopN:
    """Ragged lists: patient u's are entries [indptr[u], indptr[u + 1]), best first.

    indptr (n_patients + 1,) int64; columns (total,) int32 column_ix; scores (total,) float32.
    """

    indptr: np.ndarray
    columns: np.ndarray
    scores: np.ndarray

    def of(self, patient_ix: int) -> tuple[np.ndarray, np.ndarray]:
        part = slice(self.indptr[patient_ix], self.indptr[patient_ix + 1])
        return self.columns[part], self.scores[part]

    def where(self, stays: np.ndarray) -> TopN:
        """The lists without the entries that do not stay; stays (total,) bool."""
        return TopN(_ends_of(self.indptr, stays), self.columns[stays], self.scores[stays])


@numba.njit(cache=True, nogil=True)
def _ends_of(indptr: np.ndarray, stays: np.ndarray) -> np.ndarray:
    """The indptr of what stays; a running count of every entry would take more memory than the lists."""
    ends = np.zeros(len(indptr), np.int64)
    for u in range(len(indptr) - 1):
        ends[u + 1] = ends[u] + stays[indptr[u] : indptr[u + 1]].sum()
    return ends


def within_depth(top: TopN, index: ColumnIndex, free: np.ndarray, depth: int, per_kind: int) -> np.ndarray:
    """Which entries (total,) bool come before their list holds `depth` therapies, or `per_kind` of their kind, that
    are free; free (total,) bool: nothing forbids it."""
    kind, therapy = index.kind_of_column, _of_kinds(THERAPIES)
    return _within(top.indptr, top.columns, free, kind, therapy, depth, per_kind)


@numba.njit(cache=True, nogil=True)
def _within(
    indptr: np.ndarray,
    columns: np.ndarray,
    free: np.ndarray,
    kind: np.ndarray,
    therapy: np.ndarray,
    depth: int,
    per_kind: int,
) -> np.ndarray:
    """kind (n_columns,): the kind of each; therapy (n_kinds,) bool: which kinds are therapies."""
    wanted = np.zeros(len(columns), np.bool_)
    for u in range(len(indptr) - 1):
        therapies, of_kind = 0, np.zeros(len(therapy), np.int64)
        for k in range(indptr[u], indptr[u + 1]):
            its = kind[columns[k]]
            wanted[k] = (therapy[its] and therapies < depth) or of_kind[its] < per_kind
            if free[k]:
                therapies += therapy[its]
                of_kind[its] += 1
    return wanted


def top_n(
    model: Model,
    matrix: PatientMatrix,
    n: int,
    *,
    of: Collection[str] = TREATMENT_KINDS,
    per_kind: int = 0,
    progress: Callable[[int], None] | None = None,
) -> TopN:
    """Every patient's n best new treatments of the kinds `of`, together with the `per_kind` best of each kind.

    So what a list holds of one kind is the beginning of that kind's own ranking. `progress` is told the number of
    patients newly done.
    """
    index = matrix.index
    kinds = index.kind_of_target
    asked = index.target_of_column, kinds, _of_kinds(of)[kinds], n, per_kind

    def lists_of(rows: sparse.csr_matrix) -> _Lists:
        if summed := model.summed(rows):
            scored, weights = summed
            _check_width(weights, index)
            return best_of_sums(scored.indptr, scored.indices, scored.data, weights, rows.indptr, rows.indices, *asked)
        scores = model.score(rows)
        _check_width(scores, index)
        return best_of_block(scores, rows.indptr, rows.indices, *asked)

    if matrix.n_patients <= BLOCK_ROWS:  # of one, whom a request asks for, cutting the rows takes longer than the list
        lengths, picked, scores = lists_of(matrix.rows)
        if progress:
            progress(matrix.n_patients)
        return TopN(_ends(lengths), index.targets[picked], scores)

    def block(start: int) -> _Lists:
        return lists_of(matrix.rows[start : start + BLOCK_ROWS])

    starts = range(0, matrix.n_patients, BLOCK_ROWS)
    # a model that is not a plain sum may use BLAS, whose threads must not stand inside others
    alone = model.summed(matrix.rows[:0]) is None
    found: list[_Lists] = []
    with contextlib.nullcontext() if alone else ThreadPoolExecutor(os.cpu_count()) as pool:
        for lists in pool.map(block, starts) if pool else map(block, starts):
            found.append(lists)
            if progress:
                progress(len(lists[0]))
    return _joined(found, index.targets)


def _of_kinds(kinds: Collection[str]) -> np.ndarray:  # (len(TREATMENT_KINDS),) bool
    return np.array([kind in kinds for kind in TREATMENT_KINDS])


def _check_width(scored: np.ndarray, index: ColumnIndex) -> None:
    if scored.shape[1] != len(index.targets):  # compiled loops would read beyond the end
        raise EngineError(
            f"the model scores {scored.shape[1]} treatments, and the matrix has {len(index.targets)}: fit it anew"
        )


def _ends(lengths: np.ndarray) -> np.ndarray:  # (n_lists + 1,) int64
    ends = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=ends[1:])
    return ends


def _joined(found: list[_Lists], targets: np.ndarray) -> TopN:
    """The lists of all blocks, which are given up on the way: together they are as large as what they are joined to."""
    lengths = np.concatenate([lists[0] for lists in found])
    indptr = _ends(lengths)
    columns, scores = np.empty(indptr[-1], dtype=np.int32), np.empty(indptr[-1], dtype=np.float32)
    end = 0
    for place in range(len(found)):
        _, picked, best = found[place]
        found[place] = (lengths[:0], picked[:0].copy(), best[:0].copy())
        columns[end : end + len(picked)], scores[end : end + len(picked)] = targets[picked], best
        end += len(picked)
    return TopN(indptr, columns, scores)

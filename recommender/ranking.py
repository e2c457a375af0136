"""A fitted model and patient rows in, each patient's exact best treatments out: the only place that ranks.

Scores that are not finite are dropped, treatments already in the row are dropped, ties go to the lower column, and a
list is shorter than n rather than padded. Once ranked, scores are told in steps of STEP, which an entry holds in half
the bytes; the parts of a score add up to it to 1e-5 all the same. Patients are scored in blocks, and by models that are
plain sums one at a time and on all cores, so no patients x treatments matrix is ever whole.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
from scipy import sparse

from recommender.errors import EngineError
from recommender.matrix import ColumnIndex, PatientMatrix
from recommender.models.base import Model
from recommender.records import THERAPIES, TREATMENT_KINDS
from recommender.topn_kernel import best_of_block, best_of_one, best_of_sums, places, pools

__all__ = ["DEPTH", "PER_KIND", "SPARE", "Ranker", "TopN", "places", "top_n", "within_depth"]

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


@dataclass(frozen=True, eq=False)
class Ranker:
    """What every list is made of: the n best new treatments of the kinds `of`, together with the `per_kind` best of
    each kind. So what a list holds of one kind is the beginning of that kind's own ranking. What is the same for all
    patients is worked out once."""

    model: Model
    index: ColumnIndex
    n: int
    of: Collection[str] = TREATMENT_KINDS
    per_kind: int = 0

    @cached_property
    def _asked(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        kinds = self.index.kind_of_target
        return self.index.target_of_column, kinds, *pools(kinds, _of_kinds(self.of)[kinds], self.per_kind)

    @cached_property
    def _threshold(self) -> np.ndarray:  # (n_pools,) int64
        """Where the search for the best of one patient begins: at the last one's. It changes how long it takes."""
        return np.zeros(len(self._asked[2]) - 1, dtype=np.int64)

    def one(self, columns: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The columns and scores, best first, of a patient whose row is columns (k,) int32, ascending, and weights (k,)
        float32: for a request, where making a matrix of one row would take longer than the list."""
        ends = np.zeros(2, dtype=np.int32)
        ends[1] = len(columns)
        if summed := self.model.summed(ends, columns, weights):
            weighed, learned = summed
            _check_width(learned, self.index)
            asked = (self.index.targets, *self._asked, self._threshold, self.n, self.per_kind)
            return best_of_one(columns, weighed, learned, *asked)
        _, picked, scores = self._best(ends, columns, weights, self._threshold)
        return self.index.targets[picked], scores

    def all(self, matrix: PatientMatrix, progress: Callable[[int], None] | None = None) -> TopN:
        """Everybody's list. `progress` is told the number of patients newly done."""
        rows, starts = matrix.rows, range(0, max(matrix.n_patients, 1), BLOCK_ROWS)

        def block(start: int) -> _Lists:
            indptr = rows.indptr[start : start + BLOCK_ROWS + 1]
            entries = slice(indptr[0], indptr[-1])
            return self._best(indptr - indptr[0], rows.indices[entries], rows.data[entries], self._threshold.copy())

        # a model that is not a plain sum may use BLAS, whose threads must not stand inside others
        alone = len(starts) == 1 or self.model.summed(rows.indptr[:1], rows.indices[:0], rows.data[:0]) is None
        found: list[_Lists] = []
        with contextlib.nullcontext() if alone else ThreadPoolExecutor(os.cpu_count()) as pool:
            for lists in pool.map(block, starts) if pool else map(block, starts):
                found.append(lists)
                if progress:
                    progress(len(lists[0]))
        return _joined(found, self.index.targets)

    def _best(self, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, threshold: np.ndarray) -> _Lists:
        asked = (*self._asked, threshold, self.n, self.per_kind)
        if summed := self.model.summed(indptr, indices, data):
            weighed, weights = summed
            _check_width(weights, self.index)
            return best_of_sums(indptr, indices, weighed, weights, *asked)
        shape = (len(indptr) - 1, len(self.index))
        scores = self.model.score(sparse.csr_matrix((data, indices, indptr), shape=shape))
        _check_width(scores, self.index)
        return best_of_block(scores, indptr, indices, *asked)


def top_n(
    model: Model,
    matrix: PatientMatrix,
    n: int,
    *,
    of: Collection[str] = TREATMENT_KINDS,
    per_kind: int = 0,
    progress: Callable[[int], None] | None = None,
) -> TopN:
    """Every patient's list, as `Ranker` makes it."""
    return Ranker(model, matrix.index, n, of, per_kind).all(matrix, progress)


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

"""A fitted model and patient rows in, each patient's exact best treatments out: the only place that ranks.

Scores that are not finite are dropped, treatments already in the row are dropped, ties go to the lower column, and a
list is shorter than n rather than padded. Patients are scored in blocks, so no patients x treatments matrix is ever
whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numba
import numpy as np

from recommender.features import ColumnIndex, PatientMatrix
from recommender.models.base import Model
from recommender.records import THERAPIES, TREATMENT_KINDS

DEPTH = 50  # therapies published for each patient that nothing forbids
PER_KIND = 20  # suggestions published of each kind at least, so that one kind can be asked for
SPARE = 30  # ranked beyond DEPTH, to fill the places of what the safety screen withholds
BLOCK_ROWS = 512  # 512 patients x 500 targets of float32 fill 1 MB: the block stays in a core's cache


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
        return TopN(np.concatenate([[0], np.cumsum(stays)])[self.indptr], self.columns[stays], self.scores[stays])


def within_depth(top: TopN, index: ColumnIndex, free: np.ndarray, depth: int, per_kind: int) -> np.ndarray:
    """Which entries (total,) bool come before their list holds `depth` therapies, or `per_kind` of their kind, that
    are free; free (total,) bool: nothing forbids it."""
    kind = np.array([TREATMENT_KINDS.index(c.kind) if c.kind in TREATMENT_KINDS else -1 for c in index.columns])
    therapy = np.isin(kind, [TREATMENT_KINDS.index(name) for name in THERAPIES])
    return _within(top.indptr, top.columns, free, kind, therapy, depth, per_kind, len(TREATMENT_KINDS))


@numba.njit(cache=True, nogil=True)
def _within(
    indptr: np.ndarray,
    columns: np.ndarray,
    free: np.ndarray,
    kind: np.ndarray,
    therapy: np.ndarray,
    depth: int,
    per_kind: int,
    n_kinds: int,
) -> np.ndarray:
    wanted = np.zeros(len(columns), np.bool_)
    for u in range(len(indptr) - 1):
        therapies, of_kind = 0, np.zeros(n_kinds, np.int64)
        for k in range(indptr[u], indptr[u + 1]):
            column = columns[k]
            wanted[k] = (therapy[column] and therapies < depth) or of_kind[kind[column]] < per_kind
            if free[k]:
                therapies += therapy[column]
                of_kind[kind[column]] += 1
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
    index, target_of = matrix.index, matrix.index.target_of_column
    kinds = np.array([TREATMENT_KINDS.index(index.columns[ix].kind) for ix in index.targets])
    wanted = np.isin(kinds, [TREATMENT_KINDS.index(kind) for kind in of])
    found = []
    for start in range(0, matrix.n_patients, BLOCK_ROWS):
        rows = matrix.rows[start : start + BLOCK_ROWS]
        scores = model.score(rows)
        found.append(best_of_block(scores, rows.indptr, rows.indices, target_of, kinds, wanted, n, per_kind))
        if progress:
            progress(rows.shape[0])
    lengths, picked, best = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return TopN(np.concatenate([[0], np.cumsum(lengths)]), index.targets[picked], best)


@numba.njit(cache=True, nogil=True)
def places(scores: np.ndarray, n: int) -> np.ndarray:
    """The n best targets of each row (n_rows, n) int64, best first and -1 beyond what is finite."""
    found = np.full((scores.shape[0], n), -1)
    pool, best, best_scores = np.arange(scores.shape[1]), np.empty(n, np.int64), np.empty(n, scores.dtype)
    for row in range(len(scores)):
        length = _best(scores[row], pool, n, best, best_scores)
        found[row, :length] = best[:length]
    return found


@numba.njit(cache=True, nogil=True)
def best_of_block(
    block: np.ndarray,
    indptr: np.ndarray,
    indices: np.ndarray,
    target_of: np.ndarray,
    kind_of: np.ndarray,
    wanted: np.ndarray,
    n: int,
    per_kind: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The length of each row's list (n_rows,), and the lists one after another: targets, scores.

    block (n_rows, n_targets) float32 is overwritten where a row has or gets the treatment. kind_of (n_targets,) int:
    the kind of each target; wanted (n_targets,) bool: those of which the n best are taken.
    """
    n_rows, n_kinds = block.shape[0], kind_of.max() + 1
    # the best of the first pool are taken, then of each kind's pool as many more as it takes to have per_kind of it
    pools = [np.flatnonzero(wanted)]
    if per_kind:
        pools += [np.flatnonzero(kind_of == kind) for kind in range(n_kinds)]
    n_pools, deepest = len(pools), max(n, per_kind)
    best, score_of = np.empty((n_pools, deepest), np.int64), np.empty((n_pools, deepest), np.float32)
    missing, length, head = np.empty(n_pools, np.int64), np.empty(n_pools, np.int64), np.empty(n_pools, np.int64)
    lengths, end = np.empty(n_rows, np.int64), 0
    widest = n + n_kinds * per_kind
    picked, scores = np.empty(n_rows * widest, np.int32), np.empty(n_rows * widest, np.float32)
    for row in range(n_rows):
        line = block[row]
        for a in range(indptr[row], indptr[row + 1]):
            taken = target_of[indices[a]]
            if taken >= 0:
                line[taken] = np.nan
        missing[0], missing[1:] = n, per_kind
        for p in range(n_pools):
            length[p] = _best(line, pools[p], max(missing[p], 0), best[p], score_of[p])
            if p == 0 and per_kind:
                for target in best[0, : length[0]]:
                    missing[1 + kind_of[target]] -= 1
                    line[target] = np.nan
        lengths[row] = length.sum()
        head[:] = 0
        for place in range(end, end + lengths[row]):  # merge what are sorted lists without a common target
            first = -1
            for p in range(n_pools):
                if head[p] == length[p]:
                    continue
                if first >= 0:
                    lead = score_of[p, head[p]] - score_of[first, head[first]]
                    if lead < 0 or (lead == 0 and best[p, head[p]] > best[first, head[first]]):
                        continue
                first = p
            picked[place], scores[place] = best[first, head[first]], score_of[first, head[first]]
            head[first] += 1
        end += lengths[row]
    return lengths, picked[:end], scores[:end]


@numba.njit(cache=True, nogil=True)
def _best(line: np.ndarray, pool: np.ndarray, n: int, best: np.ndarray, scores: np.ndarray) -> int:
    """Fill the n best targets of the pool into `best` and `scores`, in order; how many there are.

    A sorted list of the n best so far is kept by insertion: after the first few dozen targets almost every score fails
    one comparison and costs nothing more.
    """
    if n == 0:
        return 0
    length, last = 0, np.float32(-np.inf)
    for target in pool:
        score = line[target]
        if not np.isfinite(score) or (length == n and score <= last):
            continue
        place = length if length < n else n - 1
        while place > 0 and scores[place - 1] < score:
            scores[place] = scores[place - 1]
            best[place] = best[place - 1]
            place -= 1
        scores[place] = score
        best[place] = target
        length = min(length + 1, n)
        if length == n:
            last = scores[n - 1]
    return length

"""Scores of a block of patients, or the rows and weights that they are sums of, in; each patient's exact list out.

A list is the n best of some kinds together with the best of each kind (`topn_search.py` finds them). Once ranked,
scores are told in steps of STEP, which an entry holds in half the bytes.
"""

from __future__ import annotations

import numba
import numpy as np

from recommender.models.base import add_row
from recommender.topn_search import LEAST, key_of, order_of, scratch, sort, take, target_of_key

STEP = np.float32(2.0**-17)  # so that what is told is at most 4e-6 from the score
WHOLE = np.float32(64)  # from here on a float32 has no smaller steps itself


@numba.njit(cache=True, nogil=True)
def places(scores: np.ndarray, n: int) -> np.ndarray:
    """The n best targets of each row (n_rows, n) int64, best first and -1 beyond what is finite."""
    found = np.full((scores.shape[0], n), -1)
    best, best_scores = np.empty(n, np.int64), np.empty(n, scores.dtype)
    for row in range(len(scores)):
        length = _inserted(scores[row], n, best, best_scores)
        found[row, :length] = best[:length]
    return found


@numba.njit(cache=True, nogil=True)
def _inserted(line: np.ndarray, n: int, best: np.ndarray, scores: np.ndarray) -> int:
    """Fill the n best targets into `best` and `scores`, in order, by insertion; how many there are."""
    if n == 0:
        return 0
    length, last = 0, -np.inf
    for target in range(len(line)):
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


@numba.njit(cache=True, nogil=True)
def best_of_block(
    block: np.ndarray,
    indptr: np.ndarray,
    indices: np.ndarray,
    target_of: np.ndarray,
    kind_of: np.ndarray,
    ptr: np.ndarray,
    runs: np.ndarray,
    threshold: np.ndarray,
    n: int,
    per_kind: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The length of each row's list (n_rows,), and the lists one after another: targets, scores.

    block (n_rows, n_targets) float32. kind_of (n_targets,) int: the kind of each target; ptr, runs: what `pools` makes
    of it; threshold (n_pools,) int64: where the search of each pool begins, and after it where the next one should.
    """
    work = (ptr, runs, threshold, *scratch(len(kind_of)))
    lengths, picked, scores = _room(len(block), len(kind_of), n + (len(threshold) - 1) * per_kind)
    end = 0
    for row in range(len(block)):
        taken = indices[indptr[row] : indptr[row + 1]]
        lengths[row] = _list_of(block[row], taken, target_of, kind_of, n, per_kind, work, picked[end:], scores[end:])
        end += lengths[row]
    return lengths, picked[:end].copy(), scores[:end].copy()


@numba.njit(cache=True, nogil=True)
def best_of_sums(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    weights: np.ndarray,
    target_of: np.ndarray,
    kind_of: np.ndarray,
    ptr: np.ndarray,
    runs: np.ndarray,
    threshold: np.ndarray,
    n: int,
    per_kind: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `best_of_block` of the product of the rows with weights (n_columns, n_targets): the scores of one patient at a
    time, which stay in the nearest cache."""
    work = (ptr, runs, threshold, *scratch(len(kind_of)))
    lengths, picked, scores = _room(len(indptr) - 1, len(kind_of), n + (len(threshold) - 1) * per_kind)
    line, end = np.empty(weights.shape[1], np.float32), 0
    for row in range(len(indptr) - 1):
        line[:] = 0
        add_row(indptr[row], indptr[row + 1], indices, data, weights, line)
        taken = indices[indptr[row] : indptr[row + 1]]
        lengths[row] = _list_of(line, taken, target_of, kind_of, n, per_kind, work, picked[end:], scores[end:])
        end += lengths[row]
    return lengths, picked[:end].copy(), scores[:end].copy()


@numba.njit(cache=True, nogil=True)
def best_of_one(
    indices: np.ndarray,
    data: np.ndarray,
    weights: np.ndarray,
    targets: np.ndarray,
    target_of: np.ndarray,
    kind_of: np.ndarray,
    ptr: np.ndarray,
    runs: np.ndarray,
    threshold: np.ndarray,
    n: int,
    per_kind: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The columns and scores of one row's list, as `best_of_sums` makes it: for a single row, what is handed in and out
    takes as long as the loops. targets (n_targets,): the column of each."""
    work = (ptr, runs, threshold, *scratch(len(kind_of)))
    _, picked, scores = _room(1, len(kind_of), n + (len(threshold) - 1) * per_kind)
    line = np.zeros(weights.shape[1], np.float32)
    add_row(0, len(indices), indices, data, weights, line)
    length = _list_of(line, indices, target_of, kind_of, n, per_kind, work, picked, scores)
    for place in range(length):
        picked[place] = targets[picked[place]]
    return picked[:length], scores[:length]


@numba.njit(cache=True, nogil=True)
def pools(kind_of: np.ndarray, wanted: np.ndarray, per_kind: int) -> tuple[np.ndarray, np.ndarray]:
    """What lists are taken from, the same for all patients: the n best of the first pool, what is `wanted` (n_targets,)
    bool, then of each kind's pool as many more as it takes to have per_kind of it.

    Pool p is the stretches [start, stop) of targets runs[ptr[p]:ptr[p + 1]]; concepts stand by kind, so a kind is one
    or few.
    """
    n_targets, n_pools = len(kind_of), 2 + kind_of.max() if per_kind else 1
    ptr, runs = np.zeros(n_pools + 1, np.int64), np.empty((2 * n_targets, 2), np.int64)
    found = 0
    for pool in range(n_pools):
        inside = False
        for target in range(n_targets):
            member = kind_of[target] == pool - 1 if pool else wanted[target]
            if member and not inside:
                runs[found, 0] = target
                found += 1
            if member:
                runs[found - 1, 1] = target + 1
            inside = member
        ptr[pool + 1] = found
    return ptr, runs[:found].copy()


@numba.njit(cache=True, nogil=True)
def _room(n_rows: int, n_targets: int, longest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    widest = min(longest, n_targets)
    return np.empty(n_rows, np.int64), np.empty(n_rows * widest, np.int32), np.empty(n_rows * widest, np.float32)


@numba.njit(cache=True, nogil=True)
def _list_of(
    line: np.ndarray,
    taken: np.ndarray,
    target_of: np.ndarray,
    kind_of: np.ndarray,
    n: int,
    per_kind: int,
    work: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    picked: np.ndarray,
    scores: np.ndarray,
) -> int:
    """Write one patient's list to the beginning of `picked` and `scores`; its length. line (n_targets,) float32;
    taken (k,): columns of what the patient has."""
    ptr, runs, threshold, keys, tops, candidates = work
    order_of(line, keys)
    for column in taken:
        if target_of[column] >= 0:
            keys[target_of[column]] = LEAST
    length = first = int(np.int64(0))  # as a plain 0, what takes it is compiled once more
    for pool in range(len(threshold)):
        missing = n
        if pool:
            missing = per_kind
            for place in range(first):
                missing -= kind_of[picked[place]] == pool - 1
        length = take(keys, runs[ptr[pool] : ptr[pool + 1]], missing, threshold, pool, tops, candidates, picked, length)
        if pool == 0:
            first = length
    if length > first:  # sorted parts without a common target: put in one order
        order_of(line, keys)
        for place in range(length):
            candidates[place] = key_of(keys[picked[place]], picked[place])
        sort(candidates, length)
        for place in range(length):
            picked[place] = target_of_key(candidates[place])
    for place in range(length):
        score = line[picked[place]]
        if abs(score) < WHOLE:
            score = np.rint(score * (1 / STEP)) * STEP + np.float32(0)  # adding 0 makes -0.0 what it equals
        scores[place] = score
    return length

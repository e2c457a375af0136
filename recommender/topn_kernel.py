"""Scores of a block of patients, or the rows and weights that they are sums of, in; each patient's exact list out.

A list is the n best of some kinds together with the best of each kind. To find the n best, a threshold is searched that
a few more than n scores reach: counting goes many scores at a time, while a sorted list kept by insertion moves half of
itself for every score that enters. The threshold only limits what is sorted, so the result is exact whatever it is; the
search begins at the last patient's.
"""

from __future__ import annotations

import numba
import numpy as np

from recommender.models.base import add_row

LEAST = -(2**31)  # stands for a score that is not finite, and for what the patient has
FIRST_STEP = 1 << 21  # of the search: a quarter of a power of two
SLACK = 16  # candidates beyond n (and beyond a quarter more) that are not worth another count


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
    work = (ptr, runs, threshold, np.empty(len(kind_of), np.int32), np.empty(len(kind_of) + 1, np.int64))
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
    work = (ptr, runs, threshold, np.empty(len(kind_of), np.int32), np.empty(len(kind_of) + 1, np.int64))
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
    work: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    picked: np.ndarray,
    scores: np.ndarray,
) -> int:
    """Write one patient's list to the beginning of `picked` and `scores`; its length. line (n_targets,) float32;
    taken (k,): columns of what the patient has."""
    ptr, runs, threshold, keys, candidates = work
    _order(line, keys)
    for column in taken:
        if target_of[column] >= 0:
            keys[target_of[column]] = LEAST
    length = first = 0
    for pool in range(len(threshold)):
        missing = n
        if pool:
            missing = per_kind
            for place in range(first):
                missing -= kind_of[picked[place]] == pool - 1
        length = _take(keys, runs[ptr[pool] : ptr[pool + 1]], missing, threshold, pool, candidates, picked, length)
        if pool == 0:
            first = length
    if length > first:  # sorted parts without a common target: put in one order
        _order(line, keys)
        for place in range(length):
            candidates[place] = _key(keys[picked[place]], picked[place])
        _sort(candidates, length)
        for place in range(length):
            picked[place] = _target(candidates[place])
    for place in range(length):
        scores[place] = line[picked[place]]
    return length


@numba.njit(cache=True, nogil=True)
def _order(line: np.ndarray, keys: np.ndarray) -> None:
    """Scores float32 -> int32 in the same order; LEAST where not finite. Adding 0 makes -0.0 what it equals, 0.0."""
    bits = (line + np.float32(0)).view(np.int32)
    for j in range(len(line)):
        key = bits[j] if bits[j] >= 0 else np.int32(bits[j] ^ np.int32(0x7FFFFFFF))
        keys[j] = key if bits[j] & 0x7F800000 != 0x7F800000 else LEAST


@numba.njit(cache=True, nogil=True)
def _key(order: int, target: int) -> int:
    """One number for a score and its target: larger is better, and of equals the lower target."""
    return (int(order) << 32) | (0xFFFFFFFF - int(target))


@numba.njit(cache=True, nogil=True)
def _target(key: int) -> int:
    return 0xFFFFFFFF - (key & 0xFFFFFFFF)


@numba.njit(cache=True, nogil=True)
def _take(
    keys: np.ndarray,
    pool: np.ndarray,
    n: int,
    threshold: np.ndarray,
    place: int,
    candidates: np.ndarray,
    picked: np.ndarray,
    end: int,
) -> int:
    """Write the n best of a pool into `picked` from `end` on, best first, and strike their keys; the new end."""
    if n <= 0:
        return end
    at = _threshold(keys, pool, n, threshold[place])
    threshold[place] = at  # for the next list: who else writes there meanwhile changes what it begins at, and no more
    lowest, found = np.int32(at), 0
    for run in range(len(pool)):
        start, part = pool[run, 0], keys[pool[run, 0] : pool[run, 1]]
        for k in range(len(part)):
            candidates[found] = start + k
            found += part[k] >= lowest
    for k in range(found):
        candidates[k] = _key(keys[candidates[k]], candidates[k])
    _sort(candidates, found)
    for k in range(min(n, found)):
        target = _target(candidates[k])
        picked[end] = target
        keys[target] = LEAST
        end += 1
    return end


@numba.njit(cache=True, nogil=True)
def _threshold(keys: np.ndarray, pool: np.ndarray, n: int, guess: int) -> int:
    """A number that n keys or more reach, and not many more; or the lowest that stands for a score."""
    low, high, step = LEAST + 1, 2**31, FIRST_STEP
    enough = n + n // 4 + SLACK
    at = min(max(guess, low + 1), high - 1)
    while high - low > 1:
        reached = _count(keys, pool, at)
        if n <= reached <= enough:
            return at
        if reached < n:  # too high
            high = at
            at = max(at - step, low)
            if at == low and _count(keys, pool, low) <= enough:
                return low
        else:
            low = at
            at += step
        step *= 2
        if not low < at < high:
            at, step = low + (high - low) // 2, 0
    return low


@numba.njit(cache=True, nogil=True)
def _count(keys: np.ndarray, pool: np.ndarray, least: int) -> int:
    """How many keys of the pool are `least` or more."""
    least32, total = np.int32(least), 0  # in the keys' own type, or the compiler does not count many at a time
    for run in range(len(pool)):
        found, part = (
            0,
            keys[pool[run, 0] : pool[run, 1]],
        )  # an index from 0 can be no negative one, so nothing is checked
        for k in range(len(part)):
            found += part[k] >= least32
        total += found
    return total


@numba.njit(cache=True, nogil=True)
def _sort(keys: np.ndarray, n: int) -> None:
    """Put the first n in descending order: few are, and numba takes a second to compile the general sort."""
    for gap in (701, 301, 132, 57, 23, 10, 4, 1):  # Shell's sort with Ciura's gaps
        for k in range(gap, n):
            key, place = keys[k], k
            while place >= gap and keys[place - gap] < key:
                keys[place] = keys[place - gap]
                place -= gap
            keys[place] = key

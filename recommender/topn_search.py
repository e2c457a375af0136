"""Scores of one patient as keys in the same order, and pools of treatments, in; the n best of each pool out.

To find them, keys are put in groups, several times as many as n, and a threshold is searched that a few more than n
groups reach by their best: then n keys reach it, and groups that do not are not looked into. Both go many keys at a
time, while a sorted list kept by insertion moves half of itself for every score that enters. The threshold only limits
what is sorted, so the result is exact whatever it is; the search begins at the last patient's.
"""

from __future__ import annotations

import numba
import numpy as np

LEAST = -(2**31)  # stands for a score that is not finite, and for what the patient has
FIRST_STEP = 1 << 21  # of the search: a quarter of a power of two
SLACK = 8  # groups beyond n (and beyond a quarter more) that are not worth another count
FEW = 256  # candidates, which are put in order otherwise than many are
GROUPS = 8  # for each of the n: more are more to count, fewer are more to look into


@numba.njit(cache=True, nogil=True)
def scratch(n_targets: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For keys, the best of each group, and candidates, of which one more is written than counts; behind them room to
    sort."""
    return np.empty(n_targets, np.int32), np.empty(n_targets, np.int32), np.empty(n_targets + 1 + FEW, np.int64)


@numba.njit(cache=True, nogil=True)
def order_of(line: np.ndarray, keys: np.ndarray) -> None:
    """Scores float32 -> int32 in the same order; LEAST where not finite. Adding 0 makes -0.0 what it equals, 0.0."""
    bits = (line + np.float32(0)).view(np.int32)
    for j in range(len(line)):
        key = bits[j] if bits[j] >= 0 else np.int32(bits[j] ^ np.int32(0x7FFFFFFF))
        keys[j] = key if bits[j] & 0x7F800000 != 0x7F800000 else LEAST


@numba.njit(cache=True, nogil=True)
def key_of(order: int, target: int) -> int:
    """One number for a score and its target: larger is better, and of equals the lower target."""
    return (int(order) << 32) | (0xFFFFFFFF - int(target))


@numba.njit(cache=True, nogil=True)
def target_of_key(key: int) -> int:
    return 0xFFFFFFFF - (key & 0xFFFFFFFF)


@numba.njit(cache=True, nogil=True)
def take(
    keys: np.ndarray,
    pool: np.ndarray,
    n: int,
    threshold: np.ndarray,
    place: int,
    tops: np.ndarray,
    candidates: np.ndarray,
    picked: np.ndarray,
    end: int,
) -> int:
    """Write the n best of a pool into `picked` from `end` on, best first, and strike their keys; the new end."""
    if n <= 0:
        return end
    size = 0
    for run in range(len(pool)):
        size += pool[run, 1] - pool[run, 0]
    depth = max(1, size // (GROUPS * n))
    at = _threshold(tops[: _best_of_groups(keys, pool, depth, tops)], n, threshold[place])
    threshold[place] = at  # for the next list: who else writes there meanwhile changes what it begins at, and no more
    found = _reaching(keys, pool, depth, tops, at, candidates)
    sort(candidates, found)
    for k in range(min(n, found)):
        target = target_of_key(candidates[k])
        picked[end] = target
        keys[target] = LEAST
        end += 1
    return end


@numba.njit(cache=True, nogil=True)
def _best_of_groups(keys: np.ndarray, pool: np.ndarray, depth: int, tops: np.ndarray) -> int:
    """Fill `tops` with the best key of each group of `depth` or fewer; how many there are. A stretch of the pool has
    groups of its own: what stands as far apart as it has groups, so that all groups gain a key at a time."""
    first = 0
    for run in range(len(pool)):
        part = keys[pool[run, 0] : pool[run, 1]]
        width = (len(part) + depth - 1) // depth
        mine = tops[first : first + width]
        for k in range(width):  # to assign a slice takes two seconds more to compile
            mine[k] = part[k]
        for start in range(width, len(part), width):
            others = part[start : start + width]
            for k in range(len(others)):
                mine[k] = others[k] if others[k] > mine[k] else mine[k]
        first += width
    return first


@numba.njit(cache=True, nogil=True)
def _reaching(
    keys: np.ndarray, pool: np.ndarray, depth: int, tops: np.ndarray, least: int, candidates: np.ndarray
) -> int:
    """Fill `candidates` with those of the pool that are `least` or more; how many there are. `tops` is written over."""
    least32 = np.int32(least)  # in the keys' own type, or the compiler does not compare many at a time
    found = first = 0
    for run in range(len(pool)):
        start, part = pool[run, 0], keys[pool[run, 0] : pool[run, 1]]
        width = (len(part) + depth - 1) // depth
        mine, n_some = tops[first : first + width], 0
        for group in range(width):  # without a branch: which of them reach it is as good as random
            key = mine[group]
            mine[n_some] = group
            n_some += key >= least32
        for place in range(n_some):
            for k in range(mine[place], len(part), width):
                candidates[found] = key_of(part[k], start + k)
                found += part[k] >= least32
        first += width
    return found


@numba.njit(cache=True, nogil=True)
def _threshold(tops: np.ndarray, n: int, guess: int) -> int:
    """A number that n groups or more reach, and not many more; or the lowest that stands for a score."""
    low, high, step = LEAST + 1, 2**31, FIRST_STEP
    enough = n + n // 4 + SLACK
    at = min(max(guess, low + 1), high - 1)
    while high - low > 1:
        reached = _count(tops, at)
        if n <= reached <= enough:
            return at
        if reached < n:  # too high
            high = at
            at = max(at - step, low)
            if at == low and _count(tops, low) <= enough:
                return low
        else:
            low = at
            at += step
        step *= 2
        if not low < at < high:
            at, step = low + (high - low) // 2, 0
    return low


@numba.njit(cache=True, nogil=True)
def _count(tops: np.ndarray, least: int) -> int:
    """How many are `least` or more."""
    least32, total = np.int32(least), 0
    for k in range(len(tops)):
        total += tops[k] >= least32
    return total


@numba.njit(cache=True, nogil=True)
def sort(keys: np.ndarray, n: int) -> None:
    """Put the first n, no two of which are equal, in descending order; the last FEW are room for that.

    The place of each is how many are larger: that goes many at a time. Where there are many to sort, as of scores that
    tie, it is Shell's sort: numba takes a second to compile the general one.
    """
    if n <= FEW:
        mine = keys[len(keys) - FEW : len(keys) - FEW + n]
        for k in range(n):
            mine[k] = keys[k]
        for k in range(n):
            key, place = mine[k], 0
            for other in range(n):
                place += mine[other] > key
            keys[place] = key
        return
    for gap in (701, 301, 132, 57, 23, 10, 4, 1):  # Shell's sort with Ciura's gaps
        for k in range(gap, n):
            key, place = keys[k], k
            while place >= gap and keys[place - gap] < key:
                keys[place] = keys[place - gap]
                place -= gap
            keys[place] = key

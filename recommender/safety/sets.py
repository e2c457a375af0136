"""Candidates of one list with their scores and tiers in, the order in which they are served out.

A list that is safe item by item can still interact within itself. So items are taken one after another, each time the
one with the highest

    benefit - cost x (weight of its own warning + weights of its interactions with the items taken before it)

benefit: its score on the list's own scale, 1 for the best candidate and 0 for the last; weights: WEIGHTS by severity.
`cost` is the setting RXREC_INTERACTION_COST: 0 leaves the order of the scores, and what a higher one buys and costs is
measured in docs/evaluation.md. What is contraindicated with an item taken before it is never taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from recommender.safety.kernel import CONTRAINDICATED
from recommender.safety.tables import RuleArrays

WEIGHTS = np.array([0.0, 0.1, 0.5, 1.0])  # by rank: nothing, caution, serious, contraindicated


@dataclass(frozen=True)
class Served:
    """order (n,): positions of the candidates in the order served; apart (m,): those left out because they are
    contraindicated with one that is served."""

    order: np.ndarray
    apart: np.ndarray


def in_order(
    arrays: RuleArrays,
    scores: np.ndarray,
    ranks: np.ndarray,
    parts_ptr: np.ndarray,
    parts: np.ndarray,
    n: int,
    cost: float,
    last: np.ndarray | None = None,
) -> Served:
    """The n items to serve, of k candidates in order of their scores (k,); ranks (k,) uint8 below contraindicated.

    parts_ptr (k + 1,), parts: the ingredients of each candidate; none where it is no drug or not known. last (k,) bool:
    those that come after all others, whatever their score.
    """
    behind = np.zeros(len(scores), dtype=bool) if last is None else last
    order, apart = greedy(arrays.inter, scores.astype(np.float64), ranks, behind, parts_ptr, parts, n, cost, WEIGHTS)
    return Served(order, apart)


@numba.njit(cache=True, nogil=True)
def greedy(
    inter: np.ndarray,
    scores: np.ndarray,
    ranks: np.ndarray,
    last: np.ndarray,
    parts_ptr: np.ndarray,
    parts: np.ndarray,
    n: int,
    cost: float,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """See `in_order`; ties go to the candidate that comes first."""
    k = len(scores)
    span = scores[0] - scores[-1] if k else 0.0
    value, state = np.empty(k), np.zeros(k, np.int8)  # 0 waiting, 1 taken, 2 set apart
    for i in range(k):
        benefit = (scores[i] - scores[-1]) / span if span > 0 else 1.0
        value[i] = benefit - cost * weights[ranks[i]]
    order, taken = np.empty(min(n, k), np.int64), 0
    while taken < min(n, k):
        best = -1
        for i in range(k):
            if state[i] != 0:
                continue
            if best < 0 or (last[i] == last[best] and value[i] > value[best]) or (last[best] and not last[i]):
                best = i
        if best < 0:
            break
        order[taken] = best
        taken += 1
        state[best] = 1
        for i in range(k):
            if state[i] != 0:
                continue
            rank = pair_rank(
                inter, parts[parts_ptr[best] : parts_ptr[best + 1]], parts[parts_ptr[i] : parts_ptr[i + 1]]
            )
            if rank == CONTRAINDICATED:
                state[i] = 2
            value[i] -= cost * weights[rank]
    return order[:taken], np.flatnonzero(state == 2)


@numba.njit(cache=True, nogil=True)
def pair_rank(inter: np.ndarray, one: np.ndarray, other: np.ndarray) -> int:
    """The strictest interaction between two products; the ingredients that both hold do not interact."""
    rank = 0
    for a in one:
        for b in other:
            if inter[a, b] <= rank:
                continue
            shared = False
            for c in one:
                shared |= c == b
            for c in other:
                shared |= c == a
            if not shared:
                rank = inter[a, b]
    return rank

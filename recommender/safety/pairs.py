"""Interaction rules in, one sparse table of pairs out: which two ingredients have which rules, in both orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recommender.safety.conflicts import Cell, settled
from recommender.safety.kinds import InteractionRule


@dataclass(frozen=True)
class PairTable:
    """The pairs that count. Row and column k of every array is `ingredients[k]`.

    An ingredient's entries are `indptr[k]:indptr[k + 1]`; each is one rule with one other ingredient, strictest first.
    """

    ingredients: tuple[str, ...]  # codes, in the vocabulary's order
    severity: sp.csr_array  # (n, n) uint8, symmetrical: rank of the strictest rule of a pair, 0 where there is none
    indptr: NDArray[np.int64]  # (n + 1,)
    other: NDArray[np.int32]  # (n_entries,) which other ingredient
    rule: NDArray[np.int32]  # (n_entries,) position in the interaction rules


def pair_table(rules: Sequence[InteractionRule], ingredients: Sequence[str]) -> PairTable:
    """Expand the rules. Raises InputError for duplicates, contradictions and rules that never count."""
    place = {code: k for k, code in enumerate(ingredients)}
    counting: Mapping[Cell, tuple[int, ...]] = settled(rules)
    entries: list[tuple[int, int, int, int]] = []  # ingredient, -rank, other, rule
    for cell, positions in counting.items():
        one, other = (place[code] for code in list(cell)[:2])  # type: ignore[call-overload]
        for position in positions:
            rank = rules[position].rank
            entries += [(one, -rank, other, position), (other, -rank, one, position)]
    table = np.array(sorted(set(entries)), np.int64).reshape(-1, 4)
    n = len(ingredients)
    indptr = np.zeros(n + 1, np.int64)
    np.cumsum(np.bincount(table[:, 0], minlength=n), out=indptr[1:])
    pair = table[:, 0] * n + table[:, 2]
    first = np.unique(pair, return_index=True)[1]  # strictest: entries of a row are sorted by it
    ranks = (-table[first, 1]).astype(np.uint8)
    severity = sp.csr_array((ranks, (table[first, 0], table[first, 2])), shape=(n, n))
    severity.sort_indices()
    others, rule = table[:, 2].astype(np.int32), table[:, 3].astype(np.int32)
    for array in (indptr, others, rule):
        array.flags.writeable = False
    return PairTable(tuple(ingredients), severity, indptr, others, rule)

"""Patient rows X in, the Gram matrix X'X out: what two columns have together, summed over the patients."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse

SQUARE = 64  # columns: two squares of float64 fill 64 KB
PARTS = 4  # of the matrix, filled one after another by each thread: a part stays nearer to the core than the whole


def gram_matrix(rows: sparse.csr_matrix, used: np.ndarray | None = None) -> np.ndarray:
    """X'X (n_columns, n_columns) float64, to the bit symmetric, of rows (n_patients, n_columns) with sorted indices.

    0 for columns that are not `used` (n_columns,) bool; None: all are. The cost follows the pairs of entries within
    each row, not the columns. Each sum is added up by one thread in the order of the rows: the same bytes on any number
    of cores.
    """
    return _filled(rows, used, np.float64, lambda *part: _add_pairs(rows.indptr, rows.indices, rows.data, *part))


def times_together(rows: sparse.csr_matrix, used: np.ndarray | None = None) -> np.ndarray:
    """How many rows have an entry in both of two columns (n_columns, n_columns) int32: `gram_matrix` where every entry
    is 1, in half the room."""
    return _filled(rows, used, np.int32, lambda *part: _count_pairs(rows.indptr, rows.indices, *part))


def _filled(
    rows: sparse.csr_matrix, used: np.ndarray | None, dtype: DTypeLike, fill: Callable[[int, int, np.ndarray], None]
) -> np.ndarray:
    width = rows.shape[1]
    used = np.ones(width, dtype=bool) if used is None else used
    last = int(np.flatnonzero(used).max(initial=-1)) + 1  # columns that come later cost nothing
    gram = np.zeros((width, width), dtype)
    work = np.cumsum(_pairs_by_line(rows.indptr, rows.indices, last))
    cuts = [0, *np.searchsorted(work, work[-1:].sum() * np.arange(1, PARTS) / PARTS).tolist(), last]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda part: fill(cuts[part], cuts[part + 1], gram), range(PARTS)))
    unused = np.flatnonzero(~used[:last])
    gram[unused] = 0
    gram[:last, unused] = 0
    mirror(gram, last)
    return gram


@numba.njit(cache=True, nogil=True)
def _pairs_by_line(indptr: np.ndarray, indices: np.ndarray, width: int) -> np.ndarray:  # (width,) int64
    """To how many sums in each line of the matrix some rows add: 64 side by side of every 640."""
    pairs = np.zeros(width, np.int64)
    for start in range(0, len(indptr) - 1, 640):
        for row in range(start, min(start + 64, len(indptr) - 1)):
            for a in range(indptr[row], indptr[row + 1]):
                if indices[a] < width:
                    pairs[indices[a]] += a - indptr[row] + 1
    return pairs


@numba.njit(cache=True, nogil=True)
def _add_pairs(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, first: int, stop: int, gram: np.ndarray
) -> None:
    """The lines [first, stop) of X'X, on and below the diagonal."""
    for row in range(len(indptr) - 1):
        a = indptr[row]
        while a < indptr[row + 1] and indices[a] < first:
            a += 1
        while a < indptr[row + 1] and indices[a] < stop:
            line, weight = gram[indices[a]], np.float64(data[a])
            columns, weights = indices[indptr[row] : a + 1], data[indptr[row] : a + 1]
            for b in range(len(columns)):
                line[np.uint32(columns[b])] += weight * weights[b]  # of a number without a sign, nothing is checked
            a += 1


@numba.njit(cache=True, nogil=True)
def _count_pairs(indptr: np.ndarray, indices: np.ndarray, first: int, stop: int, gram: np.ndarray) -> None:
    """As `_add_pairs`, where every entry is 1."""
    for row in range(len(indptr) - 1):
        a = indptr[row]
        while a < indptr[row + 1] and indices[a] < first:
            a += 1
        while a < indptr[row + 1] and indices[a] < stop:
            line, columns = gram[indices[a]], indices[indptr[row] : a + 1]
            for b in range(len(columns)):
                line[np.uint32(columns[b])] += 1
            a += 1


@numba.njit(cache=True, nogil=True)
def mirror(gram: np.ndarray, width: int) -> None:
    """Copy what is below the diagonal of the first columns above it, in squares that stay in a core's cache."""
    for top in range(0, width, SQUARE):
        for left in range(0, top + 1, SQUARE):
            for a in range(top, min(top + SQUARE, width)):
                for b in range(left, min(left + SQUARE, a)):
                    gram[b, a] = gram[a, b]

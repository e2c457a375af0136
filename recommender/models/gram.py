"""Patient rows X in, the Gram matrix X'X out: what two columns have together, summed over the patients."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from scipy import sparse

SQUARE = 64  # columns: two squares of float64 fill 64 KB
PARTS = 4  # of the matrix, filled one after another by each thread: a part stays nearer to the core than the whole


def gram_matrix(rows: sparse.csr_matrix) -> np.ndarray:  # X'X (n_columns, n_columns) float64, to the bit symmetric
    """rows (n_patients, n_columns) with sorted indices. The cost follows the pairs of entries within each row, not the
    columns. Each sum is added up by one thread in the order of the rows: the same bytes on any number of cores."""
    width = rows.shape[1]
    gram = np.zeros((width, width))
    work = np.cumsum(_pairs_by_line(rows.indptr, rows.indices, width))
    cuts = [0, *np.searchsorted(work, work[-1] * np.arange(1, PARTS) / PARTS).tolist(), width]

    def fill(part: int) -> None:
        _add_pairs(rows.indptr, rows.indices, rows.data, cuts[part], cuts[part + 1], gram)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(fill, range(PARTS)))
    _mirror(gram)
    return gram


@numba.njit(cache=True, nogil=True)
def _pairs_by_line(indptr: np.ndarray, indices: np.ndarray, width: int) -> np.ndarray:  # (n_columns,) int64
    """How many sums `_add_pairs` adds to in each line of the matrix."""
    pairs = np.zeros(width, np.int64)
    for row in range(len(indptr) - 1):
        for a in range(indptr[row], indptr[row + 1]):
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
def _mirror(gram: np.ndarray) -> None:
    """Copy what is below the diagonal above it, in squares that stay in a core's cache."""
    for top in range(0, len(gram), SQUARE):
        for left in range(0, top + 1, SQUARE):
            for a in range(top, min(top + SQUARE, len(gram))):
                for b in range(left, min(left + SQUARE, a)):
                    gram[b, a] = gram[a, b]

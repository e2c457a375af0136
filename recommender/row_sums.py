"""Events as (row, column, weight) in, the sparse matrix of their sums out."""

from __future__ import annotations

import numba
import numpy as np
from scipy import sparse

DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)  # every shift of it begins with six other bits
BIT = np.zeros(64, dtype=np.int64)  # by those six bits: how far it was shifted
BIT[[(int(DE_BRUIJN) << shift) % 2**64 >> 58 for shift in range(64)]] = np.arange(64)


def row_sums(row: np.ndarray, column: np.ndarray, weight: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    """CSR float32 of `shape` with sorted indices; what stands in one place is added up in the order that it is given.

    row, column (n,) int, within `shape`; weight (n,) float32. A row is added up in a line of one number a column,
    which stays in a core's cache; a bit for each column tells which are there, in order. Quickest where rows ascend, as
    events of records do.
    """
    indptr = np.zeros(shape[0] + 1, dtype=np.int64 if len(row) > np.iinfo(np.int32).max else np.int32)
    indices, data = np.empty(len(row), dtype=np.int32), np.empty(len(row), dtype=np.float32)
    n = _sum_rows(row, column, weight, shape[1], indptr, indices, data)
    if n < 0:
        order = _by_row(row, shape[0])
        n = _sum_rows(row[order], column[order], weight[order], shape[1], indptr, indices, data)
    return sparse.csr_matrix((data[:n], indices[:n], indptr), shape=shape)


@numba.njit(cache=True, nogil=True)
def _sum_rows(
    row: np.ndarray,
    column: np.ndarray,
    weight: np.ndarray,
    n_columns: int,
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
) -> int:
    """Fill the matrix; the number of its entries, or -1 where rows do not ascend."""
    sums, words = np.zeros(n_columns, np.float32), np.zeros(n_columns // 64 + 1, np.uint64)
    some = np.empty(len(words) + 1, np.uint32)
    one, low = np.uint64(1), np.uint64(63)
    event = end = 0
    for at in range(len(indptr) - 1):
        while event < len(row) and row[event] == at:
            c = np.uint32(column[event])
            words[c >> np.uint32(6)] |= one << (np.uint64(c) & low)
            sums[c] += weight[event]
            event += 1
        n_some = 0
        for place in range(len(words)):  # without a branch: which words have a bit is as good as random
            some[n_some] = place
            n_some += words[place] != 0
        for place in some[:n_some]:
            word = words[place]
            words[place] = 0
            while word:
                last = word & (~word + one)
                c = np.uint32(64 * place + BIT[(last * DE_BRUIJN) >> np.uint64(58)])
                indices[end], data[end] = c, sums[c]
                sums[c] = 0
                end += 1
                word ^= last
        indptr[at + 1] = end
    return end if event == len(row) else -1


@numba.njit(cache=True, nogil=True)
def _by_row(row: np.ndarray, n_rows: int) -> np.ndarray:  # (n,) int64
    """The order in which rows ascend, and each row's events stand as they did."""
    starts, order = np.zeros(n_rows + 1, np.int64), np.empty(len(row), np.int64)
    for event in range(len(row)):
        starts[row[event] + 1] += 1
    starts = np.cumsum(starts)
    for event in range(len(row)):
        order[starts[row[event]]] = event
        starts[row[event]] += 1
    return order

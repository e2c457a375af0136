"""A fitted model and patient rows in, each patient's exact best n treatments out: the only place that ranks.

Scores that are not finite are dropped, treatments already in the row are dropped, ties go to the lower column, and a
list is shorter than n rather than padded. Patients are scored in blocks, so no patients x treatments matrix is ever
whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np

from recommender.features import PatientMatrix
from recommender.models.base import Model

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


def top_n(model: Model, matrix: PatientMatrix, n: int, *, progress: Callable[[int], None] | None = None) -> TopN:
    """The n best new treatments of every patient. `progress` is told the number of patients newly done."""
    targets, target_of = matrix.index.targets, matrix.index.target_of_column
    picked = np.empty((matrix.n_patients, n), dtype=np.int32)
    scores = np.empty((matrix.n_patients, n), dtype=np.float32)
    lengths = np.empty(matrix.n_patients, dtype=np.int64)
    for start in range(0, matrix.n_patients, BLOCK_ROWS):
        block = slice(start, min(start + BLOCK_ROWS, matrix.n_patients))
        rows = matrix.rows[block]
        best_of_block(
            model.score(rows), rows.indptr, rows.indices, target_of, picked[block], scores[block], lengths[block]
        )
        if progress:
            progress(block.stop - block.start)
    kept = np.arange(n) < lengths[:, None]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return TopN(indptr, targets[picked[kept]], scores[kept])


@numba.njit(cache=True, nogil=True)
def best_of_block(
    block: np.ndarray,
    indptr: np.ndarray,
    indices: np.ndarray,
    target_of: np.ndarray,
    picked: np.ndarray,
    scores: np.ndarray,
    lengths: np.ndarray,
) -> None:
    """Fill each row's best targets into `picked` and `scores` (n_rows, n) and how many there are into `lengths`.

    block (n_rows, n_targets) float32 is overwritten where the row has the treatment. A sorted list of the n best so
    far is kept by insertion: after the first few dozen targets almost every score fails one comparison and costs
    nothing more.
    """
    n = picked.shape[1]
    for row in range(block.shape[0]):
        line = block[row]
        for a in range(indptr[row], indptr[row + 1]):
            taken = target_of[indices[a]]
            if taken >= 0:
                line[taken] = np.nan
        length = 0
        for target in range(len(line)):
            score = line[target]
            if not np.isfinite(score) or n == 0 or (length == n and score <= scores[row, n - 1]):
                continue
            place = length if length < n else n - 1
            while place > 0 and scores[row, place - 1] < score:
                scores[row, place] = scores[row, place - 1]
                picked[row, place] = picked[row, place - 1]
                place -= 1
            scores[row, place] = score
            picked[row, place] = target
            length = min(length + 1, n)
        lengths[row] = length

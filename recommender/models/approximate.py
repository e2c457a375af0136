"""Sparse unit rows in, an index of them as plain arrays out; queries in, the rows that may be nearest out.

For more patients than an exact search can go through, which is over a million: up to there the exact search is both
faster and better (a million patients of 30 entries: 4 ms against 8 ms a query on one core). The rows are projected on
their leading singular vectors (latent semantic indexing: Deerwester et al., JASIS 1990), which an inverted file of
faiss holds in cells (Jegou, Douze and Schmid, PAMI 2011; https://faiss.ai). What it finds are candidates: `patients`
takes their exact cosines. The result is the same every time: fixed seed, one thread, one query at a time. faiss is an
optional dependency: rxrec[ann].
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from recommender.errors import TrainingError
from recommender.models.gram import gram_matrix

DIMENSIONS = 128
ROWS_PER_CELL = 400
SHARE_OF_CELLS = 8  # one cell in so many is searched
CANDIDATES_PER_NEIGHBOR = 10


def build(units: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """The basis (n_columns, d) float32 and the index as faiss writes it, uint8, of (n_rows, n_columns) unit rows."""
    faiss = _faiss()
    with threadpool_limits(1):
        _, vectors = np.linalg.eigh(gram_matrix(units))  # ascending
        basis = np.ascontiguousarray(vectors[:, -DIMENSIONS:], dtype=np.float32)
        n_cells = max(1, units.shape[0] // ROWS_PER_CELL)
        index = faiss.index_factory(basis.shape[1], f"IVF{n_cells},Flat", faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid = 1  # it warns of few rows a cell; few rows need no cells
        points = units @ basis
        index.train(points)
        index.add(points)
    return basis, faiss.serialize_index(index)


def opened(index: np.ndarray) -> Any:
    """The faiss index that `build` wrote."""
    faiss_index = _faiss().deserialize_index(index)
    faiss_index.nprobe = max(1, -(-faiss_index.nlist // SHARE_OF_CELLS))
    return faiss_index


def candidates(faiss_index: Any, basis: np.ndarray, queries: sparse.csr_matrix, n_neighbors: int) -> np.ndarray:
    """(n_queries, n_neighbors * CANDIDATES_PER_NEIGHBOR) int64 rows, ascending, -1 where fewer were found."""
    count = min(n_neighbors * CANDIDATES_PER_NEIGHBOR, faiss_index.ntotal)
    found = np.empty((queries.shape[0], count), dtype=np.int64)
    with threadpool_limits(1):
        for row, point in enumerate(queries @ basis):
            _, found[row : row + 1] = faiss_index.search(point[None], count)
    return np.sort(found, axis=1)


def _faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as error:
        raise TrainingError("an approximate search needs faiss: pip install 'rxrec[ann]'") from error
    return faiss

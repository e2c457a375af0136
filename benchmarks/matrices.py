"""`make bench`: how long it takes to come from a file to rows, from codes to rows and from rows to an inverse, ours
beside the usual ways."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from threadpoolctl import threadpool_limits

from benchmarks.exports import plain
from benchmarks.table import Table, Ways
from recommender.features import build_matrix
from recommender.loaders import load
from recommender.matrix import PatientMatrix
from recommender.models.linear import inverted
from recommender.row_sums import row_sums
from recommender.vocabulary import DrugVocabulary

CSV_ROWS, WIDTH = 1_500_000, 2_000


def measure_reading(table: Table) -> None:
    """Two columns of a file become a matrix; ours does far more on the way, and the name of its line says so."""
    vocabulary = DrugVocabulary.load()
    with tempfile.TemporaryDirectory(prefix="rxrec-bench-") as temporary:
        folder = Path(temporary)
        plain(folder, CSV_ROWS)

        def usual() -> sparse.csr_matrix:
            events = pd.read_csv(folder / "treatments.csv", usecols=["patient_id", "code"])
            patient, code = (pd.factorize(events[name])[0] for name in ("patient_id", "code"))
            return sparse.coo_matrix((np.ones(len(events), np.float32), (patient, code))).tocsr()

        ours = "ours: every row checked and told of, drugs understood, times read, weights by age, all blocks"
        ways: Ways = {
            ours: lambda: build_matrix(load("csv", folder, vocabulary=vocabulary)),
            "pandas read_csv, factorize, scipy coo: one column of counts a code": usual,
        }
        build_matrix(load("csv", folder, vocabulary=vocabulary))  # compiled before it is timed
        assert usual().sum() == CSV_ROWS
        table.compare("CSV to rows", CSV_ROWS, ways, reach={"pandas": 1.0})


def measure_codes(table: Table, matrix: PatientMatrix) -> None:
    """The entries of the matrix, patient by patient and in each at random, as the codes of events are."""
    rows = matrix.rows
    patient = np.repeat(np.arange(rows.shape[0], dtype=np.int32), np.diff(rows.indptr))
    order = np.lexsort((np.random.default_rng(0).random(rows.nnz), patient))
    column, weight = rows.indices[order], rows.data[order]

    def usual() -> sparse.csr_matrix:
        return sparse.coo_matrix((weight, (patient, column)), shape=rows.shape).tocsr()

    assert (row_sums(patient, column, weight, rows.shape) != usual()).nnz == 0
    ways: Ways = {
        "ours: added up row by row": lambda: row_sums(patient, column, weight, rows.shape),
        "scipy coo": usual,
    }
    table.compare("codes to rows", rows.nnz, ways, reach={"scipy": 1.5})


def measure_inverse(table: Table) -> None:
    """Of a Gram matrix: n^3 operations, beside half the seconds of a product's 2 n^3; BLAS with one thread."""
    some = np.random.default_rng(0).random((2 * WIDTH, WIDTH))
    gram = np.asfortranarray(some.T @ some) + np.eye(WIDTH)

    def product() -> float:
        began = time.perf_counter()
        _ = gram @ gram
        return (time.perf_counter() - began) / 2

    with threadpool_limits(1, "blas"):
        assert np.allclose(inverted(gram.copy(order="F")), np.linalg.inv(gram))
        ways: Ways = {
            "ours: LAPACK potrf and potri, in float64": lambda: inverted(gram.copy(order="F")),
            "numpy.linalg.inv": lambda: np.linalg.inv(gram),
            "as many operations in a product (GEMM)": product,
        }
        table.compare(f"inverse of {WIDTH:,} columns", WIDTH, ways, reach={"as many": 0.75})

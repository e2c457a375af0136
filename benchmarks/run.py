"""`make bench`: ours beside the usual ways, alternating in one process, medians and ratios out.

Absolute numbers move with the machine; the ratios, taken side by side, are what to quote.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import redis
from scipy import sparse

from recommender.features import Block, Column, ColumnIndex, PatientMatrix
from recommender.models.linear import LinearModel, gram_matrices
from recommender.ranking import TopN, top_n
from recommender.safety.charts import Charts
from recommender.settings import Settings
from recommender.snapshot import Release, Snapshot
from recommender.store import open_store

PATIENTS, TREATMENTS, CONDITIONS, PER_PATIENT, N = 100_000, 1_500, 499, 15, 20
ROUNDS = 3


def synthetic_matrix(rng: np.random.Generator) -> PatientMatrix:
    """About PER_PATIENT columns a patient with Zipf-like popularity; the last column is everyone's."""
    width = TREATMENTS + CONDITIONS
    share = 1 / np.arange(1, width + 1) ** 0.9
    columns = rng.permutation(width)[rng.choice(width, (PATIENTS, PER_PATIENT), p=share / share.sum())]
    patients = np.repeat(np.arange(PATIENTS), PER_PATIENT)
    ones = np.ones(columns.size, np.float32)
    events = sparse.csr_matrix((ones, (patients, columns.ravel())), shape=(PATIENTS, width))
    events.data[:] = 1  # a column drawn twice is still one
    rows = sparse.csr_matrix(
        sparse.hstack([events, np.ones((PATIENTS, 1), np.float32)], format="csr", dtype=np.float32)
    )
    rows.sort_indices()
    index = ColumnIndex(
        tuple(Column(str(i), "drug" if i < TREATMENTS else "condition", str(i), "") for i in range(width + 1)),
        (
            Block("treatments", 0, TREATMENTS),
            Block("conditions", TREATMENTS, width),
            Block("baseline", width, width + 1),
        ),
        np.arange(TREATMENTS, dtype=np.int32),
    )
    return PatientMatrix(rows, index, np.array([f"p{i:07d}" for i in range(PATIENTS)], dtype=object))


def usual_top_n(matrix: PatientMatrix, weights: np.ndarray, product: Callable[[sparse.csr_matrix], np.ndarray]) -> None:
    """The common way: a product of each block of rows with the weights, a mask, argpartition, a sort of the n."""
    for start in range(0, matrix.n_patients, 1_024):
        rows = matrix.rows[start : start + 1_024]
        scores = product(rows)
        taken = rows[:, :TREATMENTS].nonzero()
        scores[taken] = -np.inf
        best = np.argpartition(-scores, N, axis=1)[:, :N]
        np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1)


def compare(title: str, unit: str, amount: float, ways: dict[str, Callable[[], object]]) -> None:
    """Run every way ROUNDS times in turn and print the median rate of each and its ratio to the first, ours."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    ours = next(iter(medians.values()))
    print(f"\n{title}")
    for name, median in medians.items():
        print(f"  {name:<44}{median:>9.3f} s {amount / median:>14,.0f} {unit}/s   x{median / ours:.2f}")


def publish_ways(snapshot: Snapshot, folder: Path) -> tuple[contextlib.ExitStack, dict[str, Callable[[], object]]]:
    """Our publication, and a plain pipelined SET of the same packed values, into the same embedded server."""
    stack = contextlib.ExitStack()
    store = stack.enter_context(open_store(Settings(workdir=folder)))
    client = stack.enter_context(redis.Redis.from_url(store.url))
    number = 0

    def ours() -> None:
        nonlocal number
        number += 1
        version = f"bench-{number}"
        store.publish(replace(snapshot, release=replace(snapshot.release, version=version)))
        store.activate(version)

    def pipelined_set() -> None:
        pipe = client.pipeline(transaction=False)
        for count, (patient_id, value) in enumerate(snapshot.packed()):
            pipe.set(f"plain:{patient_id}", value)
            if count % 1_000 == 999:
                pipe.execute()
        pipe.execute()

    return stack, {"ours: buckets, verified, switched": ours, "redis-py pipelined SET, nothing verified": pipelined_set}


def main() -> None:
    matrix = synthetic_matrix(np.random.default_rng(0))
    print(
        f"{PATIENTS:,} patients, {TREATMENTS:,} treatments, {len(matrix.index):,} columns, {matrix.rows.nnz:,} entries"
    )
    fitted = LinearModel().fit(matrix)
    weights = fitted.state()["weights"]
    top_n(fitted, matrix.take(np.arange(10)), N)  # compiled before it is timed

    compare(
        "Gram matrix X'X",
        "rows",
        PATIENTS,
        {
            "ours: pairs within each row": lambda: gram_matrices(
                matrix.rows, matrix.index.target_of_column, TREATMENTS
            ),
            "scipy: X.T @ X, made dense": lambda: (matrix.rows.T @ matrix.rows).toarray(),
        },
    )
    compare("Fit, whole", "rows", PATIENTS, {"ours": lambda: LinearModel().fit(matrix)})
    compare(
        f"Score and exact top {N}",
        "patients",
        PATIENTS,
        {
            "ours: sparse row sums, insertion": lambda: top_n(fitted, matrix, N),
            "scipy: csr @ dense, argpartition": lambda: usual_top_n(matrix, weights, lambda rows: rows @ weights),
            "numpy: dense sgemm, argpartition": lambda: usual_top_n(
                matrix, weights, lambda rows: rows.toarray() @ weights
            ),
        },
    )
    top: TopN = top_n(fitted, matrix, 50)
    charts = Charts.without_facts(matrix.n_patients)
    release = Release("bench", {"as_of": "", "created": ""}, matrix.index, fitted, charts.known)
    with tempfile.TemporaryDirectory() as folder:
        stack, ways = publish_ways(Snapshot(release, matrix.patient_ids, top, matrix.rows, charts), Path(folder))
        with stack:
            compare("Publish, 50 suggestions and the row of every patient", "patients", PATIENTS, ways)


if __name__ == "__main__":
    main()

"""`make bench`: ours beside the usual ways, alternating in one process, medians and ratios out; and how ours grows.

Absolute numbers move with the machine; the ratios, taken side by side, are what to quote. The tables are written to
benchmarks/results/speed.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from scipy import sparse
from threadpoolctl import threadpool_limits

from benchmarks.matrices import measure_codes, measure_inverse, measure_reading
from benchmarks.publishing import PUBLISHED, RETIRED, measure_publishing
from benchmarks.table import ROUNDS, Table, Ways
from recommender.matrix import Block, Column, ColumnIndex, PatientMatrix
from recommender.models.gram import gram_matrix
from recommender.models.linear import LinearModel
from recommender.models.neighbours import ItemCosineModel
from recommender.ranking import Ranker, top_n
from recommender.safety.charts import Charts
from recommender.snapshot import Release, Snapshot

SIZES, TREATMENTS, CONDITIONS, PER_PATIENT, N = (100_000, 300_000, 1_000_000), 1_500, 499, 15, 20
FACTORS, NEIGHBOURS, PENALTY, ONE_BY_ONE = 64, 20, 100.0, 1_000
RECTOOLS, LENSKIT = 100_000, 1_000  # patients that they make lists for
RESULTS = Path(__file__).parent / "results" / "speed.md"
PEERS = Path(__file__).parents[1] / ".venv" / "peers" / "bin" / "python"  # made by `make bench`


EASE = LinearModel(penalties=dict.fromkeys(("treatments", "conditions", "baseline"), PENALTY))


def synthetic_matrix(rng: np.random.Generator, n: int) -> PatientMatrix:
    """About PER_PATIENT columns a patient with Zipf-like popularity; the last column is everyone's."""
    width = TREATMENTS + CONDITIONS
    share = 1 / np.arange(1, width + 1) ** 0.9
    columns = rng.permutation(width)[rng.choice(width, (n, PER_PATIENT), p=share / share.sum())]
    patients = np.repeat(np.arange(n), PER_PATIENT)
    ones = np.ones(columns.size, np.float32)
    events = sparse.csr_matrix((ones, (patients, columns.ravel())), shape=(n, width))
    events.data[:] = 1  # a column drawn twice is still one
    rows = sparse.csr_matrix(sparse.hstack([events, np.ones((n, 1), np.float32)], format="csr", dtype=np.float32))
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
    return PatientMatrix(rows, index, np.array([f"p{i:07d}" for i in range(n)], dtype=object))


def usual_top_n(matrix: PatientMatrix, weights: np.ndarray, product: Callable[[sparse.csr_matrix], np.ndarray]) -> None:
    """The common way: a product of each block of rows with the weights, a mask, argpartition, a sort of the n."""
    for start in range(0, matrix.n_patients, 1_024):
        rows = matrix.rows[start : start + 1_024]
        scores = product(rows)
        taken = rows[:, :TREATMENTS].nonzero()
        scores[taken] = -np.inf
        best = np.argpartition(-scores, N, axis=1)[:, :N]
        np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1)


def als_of(matrix: PatientMatrix) -> tuple[AlternatingLeastSquares, sparse.csr_matrix]:
    """implicit's ALS, which learned from the treatments, and those: as many threads as ours, BLAS with one."""
    items = sparse.csr_matrix(matrix.rows[:, :TREATMENTS])
    model = AlternatingLeastSquares(factors=FACTORS, iterations=1, random_state=0, num_threads=os.cpu_count())
    with threadpool_limits(1, "blas"):
        model.fit(items, show_progress=False)
    return model, items


def als_for_all(model: AlternatingLeastSquares, items: sparse.csr_matrix) -> None:
    with threadpool_limits(1, "blas"):
        for start in range(0, items.shape[0], 4_096):
            users = np.arange(start, min(start + 4_096, items.shape[0]))
            model.recommend(users, items[users], N=N, filter_already_liked_items=True)


def als_one_by_one(model: AlternatingLeastSquares, rows: list[sparse.csr_matrix]) -> None:
    """For patients as they are now: their factors are worked out anew. In one thread: starting more takes longer."""
    model.num_threads = 1
    with threadpool_limits(1, "blas"):
        for row in rows:
            model.recommend(0, row, N=N, filter_already_liked_items=True, recalculate_user=True)


def usual_ease(matrix: PatientMatrix) -> np.ndarray:
    """EASE as it is usually written, RecTools' too: the whole inverse; here in float64. The weights
    (n_columns, n_columns)."""
    gram = (matrix.rows.T @ matrix.rows).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += PENALTY
    with threadpool_limits(1, "blas"):  # as ours
        inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def dense_product(matrix: PatientMatrix, weights: np.ndarray) -> None:
    for start in range(0, matrix.n_patients, 1_024):
        _ = matrix.rows[start : start + 1_024].toarray() @ weights


class Peer:
    """The EASE of RecTools or LensKit, in an environment of its own, on the same rows: lists of the first `patients`.
    What one run tells of both steps is kept for both. scores (n_columns,): what patient 0's are to be."""

    def __init__(self, name: str, matrix: PatientMatrix, patients: int, scores: np.ndarray) -> None:
        self.name, self.matrix, self.patients = name, matrix, patients
        self.untold: dict[str, list[float]] = {"fit": [], "lists": []}
        scores = scores.copy()
        scores[matrix.rows[0].indices] = -np.inf
        self.expected = np.sort(scores)[: -N - 1 : -1]

    def seconds(self, step: str) -> float:
        if not self.untold[step]:
            told = self._run()
            for name, times in self.untold.items():
                times.append(float(told[name]))
        return self.untold[step].pop()

    def _run(self) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            rows, file = self.matrix.rows, Path(folder) / "rows.npz"
            about = {"treatments": TREATMENTS, "n": N, "penalty": PENALTY, "patients": self.patients}
            np.savez(file, indptr=rows.indptr, indices=rows.indices, data=rows.data, **about)
            command = [PEERS, Path(__file__).with_name("peers.py"), self.name, file]
            told: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert np.allclose(told["scores"], self.expected, atol=1e-3)  # a look that it did what is timed
        return told


def peers_of(matrix: PatientMatrix) -> tuple[Peer, Peer]:
    weights, row = usual_ease(matrix), matrix.rows[0].toarray()[0]
    # RecTools 0.19.0 multiplies with the weights turned: what a column is foreseen by, not what it foresees
    turned = np.where(matrix.index.target_of_column >= 0, weights @ row, -np.inf)
    return Peer("rectools", matrix, min(RECTOOLS, matrix.n_patients), turned), Peer(
        "lenskit", matrix, LENSKIT, row @ weights
    )


def implicit_cosine(items: sparse.csr_matrix) -> CosineRecommender:
    model = CosineRecommender(K=NEIGHBOURS + 1, num_threads=os.cpu_count())  # it counts an item as its own neighbour
    model.fit(items, show_progress=False)
    return model


def measure_fits(table: Table, matrix: PatientMatrix, peers: bool, lists: bool) -> None:
    """Ours beside the same algebra done the usual way, after a look that both find the same. lists: those of EASE too,
    beside its peers'."""
    gram: Ways = {"ours: pairs within each row": lambda: gram_matrix(matrix.rows)}
    gram_matrix(matrix.rows)  # compiled before it is timed
    if peers:
        gram["scipy X.T @ X"] = lambda: (matrix.rows.T @ matrix.rows).toarray()
    table.compare("Gram matrix", matrix.n_patients, gram, reach={"scipy": 8})
    cosine = ItemCosineModel(n_neighbors=NEIGHBOURS, shrink=0.0, context=False, prior=0.0)
    fit: Ways = {"ours": lambda: EASE.fit(matrix)}
    neighbours: Ways = {"ours": lambda: cosine.fit(matrix)}
    cosine.fit(matrix.take(np.arange(10)))
    if peers:
        items = sparse.csr_matrix(matrix.rows[:, :TREATMENTS])
        fitted = EASE.fit(matrix)
        assert np.allclose(fitted.weights, usual_ease(matrix)[:, :TREATMENTS], atol=1e-5)
        mine, theirs = cosine.fit(matrix).weights[:TREATMENTS], implicit_cosine(items).similarity.toarray()
        np.fill_diagonal(theirs, 0.0)  # which rows are ours is which columns are theirs; equal ones may be others
        best = [np.sort(found, axis=axis).take(range(-NEIGHBOURS, 0), axis) for found, axis in ((mine, 0), (theirs, 1))]
        assert np.allclose(best[0].T, best[1], atol=1e-5)
        fit["EASE by scipy X.T @ X and numpy inv: the same weights"] = lambda: usual_ease(matrix)
        neighbours["implicit CosineRecommender: the same neighbours"] = lambda: implicit_cosine(items)
    if peers and PEERS.exists():
        rectools, lenskit = peers_of(matrix)
        fit["RecTools EASE: the same weights"] = lambda: rectools.seconds("fit")
        fit["LensKit EASE: the same weights, float32"] = lambda: lenskit.seconds("fit")
    table.compare("fit, whole", matrix.n_patients, fit, reach={"RecTools": 4, "LensKit": 1.5})
    if lists and PEERS.exists():
        for name, peer, least in (("RecTools", rectools, {"RecTools": 20}), ("LensKit, one process", lenskit, None)):
            some = matrix.take(np.arange(peer.patients))
            made: Ways = {"ours": lambda some=some: top_n(fitted, some, N)}
            made[f"{name}, recommend"] = lambda peer=peer: peer.seconds("lists")
            table.compare(f"EASE: scores, top {N}", peer.patients, made, reach=least)
    table.compare(f"item cosine, {NEIGHBOURS} neighbours", matrix.n_patients, neighbours, reach={"implicit": 6})


def measure(table: Table, patients: int, peers: bool, fits: bool) -> tuple[list[str], list[str]]:
    """Lines of `table`; of publishing, those that come back. fits: what is fitted beside its peers, at any rate."""
    matrix = synthetic_matrix(np.random.default_rng(0), patients)
    fitted = LinearModel().fit(matrix)
    weights = fitted.state()["weights"]
    top_n(fitted, matrix.take(np.arange(10)), N)  # compiled before it is timed

    measure_fits(table, matrix, peers or fits, peers)
    ways: Ways = {"ours": lambda: top_n(fitted, matrix, N)}
    if peers:
        als, items = als_of(matrix)
        ways["implicit ALS, 64 factors, recommend"] = lambda: als_for_all(als, items)
        ways["scipy csr @ dense, argpartition"] = lambda: usual_top_n(matrix, weights, lambda rows: rows @ weights)
        ways["numpy dense product alone, nothing ranked"] = lambda: dense_product(matrix, weights)
    reach = {"implicit": 6, "numpy dense": 15}
    table.compare(f"score, exact top {N}", patients, ways, reach=reach)
    table.compare("score, exact top 80", patients, {"ours": lambda: top_n(fitted, matrix, 80)})
    if peers:  # what a request costs, whatever the number of patients
        ranker, ones = Ranker(fitted, matrix.index, N), [matrix.rows[ix] for ix in range(ONE_BY_ONE)]
        rows = [items[ix] for ix in range(ONE_BY_ONE)]
        ranker.one(ones[0].indices, ones[0].data)
        live: Ways = {"ours": lambda: [ranker.one(one.indices, one.data) for one in ones]}
        live["implicit ALS, 64 factors, recalculate_user"] = lambda: als_one_by_one(als, rows)
        table.compare(f"one chart at a time, top {N}", ONE_BY_ONE, live, reach={"implicit": 8})
        measure_codes(table, matrix)
    return measure_publishing(_snapshot(matrix, fitted), peers)


def _snapshot(matrix: PatientMatrix, fitted: LinearModel) -> Snapshot:
    charts = Charts.without_facts(matrix.n_patients)
    release = Release("bench", {"as_of": "", "created": ""}, matrix.index, fitted, charts.known)
    return Snapshot(release, matrix.patient_ids, top_n(fitted, matrix, 50), matrix.rows, charts)


def published_snapshot(patients: int) -> Snapshot:
    """What `measure` publishes of so many patients."""
    matrix = synthetic_matrix(np.random.default_rng(0), patients)
    return _snapshot(matrix, LinearModel().fit(matrix))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, nargs="+", default=SIZES)
    sizes = parser.parse_args().patients
    table = Table()
    print("\n".join(table.lines))
    published, retired = [*PUBLISHED], [*RETIRED]
    measure_reading(table)
    measure_inverse(table)
    for patients in sizes:
        lines = measure(table, patients, peers=patients == sizes[0], fits=patients == sizes[-1])
        published += lines[0]
        retired += lines[1]
    told = (
        f"{TREATMENTS:,} treatments, {TREATMENTS + CONDITIONS + 1:,} columns, {PER_PATIENT} entries a patient; medians "
        f"of {ROUNDS} rounds in turn, {os.cpu_count()} cores. To reach: the ratio that is the aim, in one run. Matrix "
        "factors (ALS) are fitted by implicit itself, so fitting them has no line."
    )
    tables = ["\n".join(lines) for lines in (table.lines, published, retired)]
    RESULTS.write_text("\n\n".join([f"# Speed\n\n`make bench`: {told}", *tables]) + "\n")


if __name__ == "__main__":
    main()

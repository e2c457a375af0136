"""Neighbourhood models: treatments that go with what a patient has, alone and together with patients who are alike."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import ClassVar, Self

import numba
import numpy as np
from scipy import sparse

from recommender.matrix import PatientMatrix
from recommender.models.base import (
    AdditiveModel,
    Contributions,
    add_rows,
    as_contributions,
    in_canonical_order,
    is_item,
    item_rows,
    keep_entries,
    unlearned,
)
from recommender.models.gram import gram_matrix, times_together
from recommender.models.patients import PatientsModel
from recommender.models.popularity import share_of_patients

BM25_K1, BM25_B = 1.2, 0.75  # of Robertson & Zaragoza 2009, and of implicit
HOLD_OUT_ONE_IN, MOST_HELD_OUT = 10, 2_000  # patients that learn the mix
MIXES = np.arange(1, 20) / 20  # both sides have a say, so that popularity is left for a patient with no history
HITS_AT = 10


@dataclass(frozen=True, eq=False)
class ItemCosineModel(AdditiveModel):
    """score_j = sum_c w_c s_cj + prior share_j, over the `n_neighbors` columns c most similar to treatment j:

        s_cj = x_c . x_j / (|x_c| |x_j|)  n_cj / (n_cj + shrink)

    x_c is column c of the patient rows and n_cj how many patients have both. (Sarwar et al., WWW 2001; shrinkage: Bell
    & Koren, KDD Cup workshop 2007.) With `context` every column may support a treatment, else only treatments. For a
    patient with no history only popularity is left, which otherwise breaks ties.
    """

    name: ClassVar[str] = "item-cosine"
    cosine: ClassVar[bool] = True  # divided by the lengths |x_c| and |x_j|
    n_neighbors: int = 20
    shrink: float = 1.0  # patients
    context: bool = True
    prior: float = 0.01

    def fit(self, matrix: PatientMatrix) -> Self:
        as_it_is = type(self)._weighted is ItemCosineModel._weighted
        if not (
            as_it_is and matrix.weight is None and (matrix.rows.data == 1).all()
        ):  # what is counted adds up exactly
            matrix = in_canonical_order(matrix)  # for the sums, which decide between near-equal neighbours
        rows, used = self._weighted(matrix), is_item(matrix.index, self.context)
        weights = _nearest(rows, used, matrix.index.targets, self.n_neighbors, self.shrink, self.cosine)
        weights[matrix.index.block("baseline")] = self.prior * share_of_patients(matrix)
        return replace(self, weights=weights)

    def _weighted(self, matrix: PatientMatrix) -> sparse.csr_matrix:
        """x, in the columns that are items; in others anything."""
        return matrix.whole


@dataclass(frozen=True, eq=False)
class ItemTfidfModel(ItemCosineModel):
    """The same with x_uc = sqrt(w_uc) log(n_items / (1 + n_u)): a patient who has n_u items, many, tells less of each.

    The weighting is that of `implicit`, which exchanges the usual roles: items are documents, patients the words.
    """

    name: ClassVar[str] = "item-tfidf"

    def _weighted(self, matrix: PatientMatrix) -> sparse.csr_matrix:
        rows = item_rows(matrix, self.context)
        return _replaced(rows, np.sqrt(rows.data) * _patient_idf(rows))


@dataclass(frozen=True, eq=False)
class ItemBm25Model(ItemCosineModel):
    """The same with BM25 weights (Robertson & Zaragoza 2009), items as documents, and the plain product x_c . x_j."""

    name: ClassVar[str] = "item-bm25"
    cosine: ClassVar[bool] = False
    n_neighbors: int = 1_000
    shrink: float = 10.0

    def _weighted(self, matrix: PatientMatrix) -> sparse.csr_matrix:
        rows = item_rows(matrix, self.context)
        length = np.bincount(rows.indices, rows.data, minlength=rows.shape[1])
        average = length.sum() / max(np.count_nonzero(length), 1)
        saturation = BM25_K1 * (1 - BM25_B + BM25_B * length / (average or 1.0))
        weights = rows.data * (BM25_K1 + 1) / (saturation[rows.indices] + rows.data) * _patient_idf(rows)
        return _replaced(rows, weights)


@dataclass(frozen=True, eq=False)
class ItemUserModel(PatientsModel):
    """What the nearest columns of a treatment and the nearest patients of a patient say, each a plain mean, mixed:

        score_uj = mix mean(w_uc over columns c nearest to j) + (1 - mix) mean(y_vj over patients v nearest to u)

    A mean is divided by the number of neighbours with a similarity above 0 (one more, popularity, joins the patients).
    (Similarity fusion: Wang, de Vries & Reinders, SIGIR 2006.) `mix` is the one of MIXES with the most hits in the
    first HITS_AT places for patients who were held out of a first fit.
    """

    name: ClassVar[str] = "item-user"
    n_neighbors: int = 50
    weighted: bool = False
    n_items: int = 10
    shrink: float = 1.0
    _: KW_ONLY
    mix: np.ndarray = field(default_factory=unlearned)  # (1,) float32
    # (n_columns, n_targets) float32: 1 / count of the nearest columns of each target
    weights: np.ndarray = field(default_factory=unlearned)

    def fit(self, matrix: PatientMatrix) -> Self:
        matrix = in_canonical_order(matrix)
        held_out = np.arange(0, matrix.n_patients, HOLD_OUT_ONE_IN)[:MOST_HELD_OUT]
        mix = 0.5
        if len(held_out) < matrix.n_patients:
            first = self._learn(matrix.take(np.setdiff1d(np.arange(matrix.n_patients), held_out)))
            asked, answers = _questions(matrix.take(held_out))
            items, patients = first._by_items(asked), PatientsModel.score(first, asked)
            taken = asked[:, matrix.index.targets].toarray() > 0
            mix = max(MIXES, key=lambda mix: _hits(mix * items + (1 - mix) * patients, taken, answers))
        return replace(self._learn(matrix), mix=np.array([mix], dtype=np.float32))

    def _learn(self, matrix: PatientMatrix) -> Self:
        """Everything but the mix."""
        used = is_item(matrix.index, context=True)
        nearest = _nearest(matrix.whole, used, matrix.index.targets, self.n_items, self.shrink, cosine=True) > 0
        weights = np.ascontiguousarray(nearest / np.maximum(nearest.sum(axis=0), 1), dtype=np.float32)
        return replace(super().fit(matrix), weights=weights)

    def _by_items(self, rows: sparse.csr_matrix) -> np.ndarray:
        scores = np.zeros((rows.shape[0], self.weights.shape[1]), dtype=np.float32)
        add_rows(rows.indptr, rows.indices, rows.data, self.weights, scores)
        return scores

    def score(self, rows: sparse.csr_matrix) -> np.ndarray:
        return self.mix * self._by_items(rows) + (1 - self.mix) * super().score(rows)

    def contributions(self, columns: np.ndarray, weights: np.ndarray, target: int) -> Contributions:
        mix = float(self.mix[0])
        parts = dict.fromkeys([*columns.tolist(), self.baseline_ix], 0.0)
        for column, weight in zip(columns.tolist(), weights.tolist(), strict=True):
            parts[column] += mix * weight * float(self.weights[column, target])
        for ix, value in zip(*(part.tolist() for part in super().contributions(columns, weights, target)), strict=True):
            parts[ix] += (1 - mix) * value
        return as_contributions(np.array(list(parts)), np.array(list(parts.values())))


def _hits(scores: np.ndarray, taken: np.ndarray, answers: np.ndarray) -> float:
    """How many answers stand in the first HITS_AT places of what is not taken; all arrays (n_patients, n_targets)."""
    first = np.argpartition(np.where(taken, np.inf, -scores), min(HITS_AT, scores.shape[1]) - 1, axis=1)[:, :HITS_AT]
    return float(np.take_along_axis(answers, first, axis=1).sum())


def _questions(matrix: PatientMatrix) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Rows to predict from, and what is to be predicted of each (n_patients, n_targets) 0/1.

    Where nothing is known to have come later, every second treatment of each row is taken out and asked for.
    """
    if matrix.later is not None:
        return matrix.rows, matrix.later.toarray()
    rows = matrix.rows
    target_of = matrix.index.target_of_column[rows.indices]
    entries = np.flatnonzero(target_of >= 0)
    row_of = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    starts = np.searchsorted(row_of[entries], row_of[entries])
    hidden = entries[(np.arange(len(entries)) - starts) % 2 == 1]
    answers = np.zeros((rows.shape[0], len(matrix.index.targets)), dtype=np.float32)
    answers[row_of[hidden], target_of[hidden]] = 1.0
    visible = np.ones(rows.nnz, dtype=bool)
    visible[hidden] = False
    return keep_entries(rows, visible), answers


def _replaced(rows: sparse.csr_matrix, data: np.ndarray) -> sparse.csr_matrix:
    return sparse.csr_matrix((data, rows.indices, rows.indptr), shape=rows.shape)


def _patient_idf(rows: sparse.csr_matrix) -> np.ndarray:  # (nnz,) float64, of the patient of each entry
    n_items, n_of_patient = len(np.unique(rows.indices)), np.diff(rows.indptr)
    return np.repeat(np.log(max(n_items, 1)) - np.log1p(n_of_patient), n_of_patient)


def _nearest(
    rows: sparse.csr_matrix, used: np.ndarray, targets: np.ndarray, n_neighbors: int, shrink: float, cosine: bool
) -> np.ndarray:
    """Shrunk similarities (n_columns, n_targets) float32 of each target's `n_neighbors` nearest columns, all others 0.

    `used` (n_columns,) bool: which columns can be near. A target is no neighbour of itself; of equally near columns the
    lower comes first. Without `cosine`, products.
    """
    counted = bool((rows.data == 1).all())  # then the products are how many patients have both
    products = times_together(rows, used) if counted else gram_matrix(rows, used)
    together = products if counted or shrink == 0 else times_together(rows, used)  # no matter where nothing is shrunk
    lengths = np.ones(rows.shape[1])
    if cosine:
        lengths = np.sqrt(products.diagonal())
        lengths[lengths == 0] = 1.0
    similar = np.zeros((rows.shape[1], len(targets)), dtype=np.float32)

    def keep(some: np.ndarray) -> None:
        _keep_nearest(products, lengths, together, float(shrink), targets, some[0], some[-1] + 1, n_neighbors, similar)

    if n_neighbors and len(targets):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(keep, np.array_split(np.arange(len(targets)), min(os.cpu_count() or 1, len(targets)))))
    return similar


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _keep_nearest(
    products: np.ndarray,
    lengths: np.ndarray,
    together: np.ndarray,
    shrink: float,
    targets: np.ndarray,
    first: int,
    stop: int,
    n: int,
    similar: np.ndarray,
) -> None:
    """Fill `similar` of the targets [first, stop), one at a time: its line of similarities stays in the nearest
    cache."""
    line, heap = np.empty(len(lengths)), np.empty(n)
    for place in range(first, stop):
        target = targets[place]
        product, both, length = products[target], together[target], lengths[target]
        for c in range(len(line)):
            line[c] = product[c] / length / lengths[c]
        if shrink:
            for c in range(len(line)):
                line[c] *= both[c] / (both[c] + shrink)
        line[target] = 0.0
        last, nearer = _last_of(line, heap), 0
        for c in range(len(line)):
            nearer += line[c] > last
        as_near = n - nearer  # of those as near as the last one, how many are kept
        for c in range(len(line)):
            if line[c] > last:
                similar[c, place] = line[c]
            elif line[c] == last and as_near > 0:
                similar[c, place] = last
                as_near -= 1


@numba.njit(cache=True, nogil=True)
def _last_of(line: np.ndarray, heap: np.ndarray) -> float:
    """The smallest of the len(heap) largest numbers above 0, or 0 where there are not so many; `heap` holds them, each
    no larger than the two at twice its place and one or two more."""
    filled = c = 0
    while c < len(line) and filled < len(heap):
        value = line[c]
        if value > 0:
            place, filled = filled, filled + 1
            while place > 0 and heap[(place - 1) // 2] > value:
                heap[place] = heap[(place - 1) // 2]
                place = (place - 1) // 2
            heap[place] = value
        c += 1
    if filled < len(heap):
        return 0.0
    least = heap[0]  # in a register, as nearly no number of the rest is larger
    for value in line[c:]:
        if value > least:
            place, child = 0, 1
            while child < len(heap):
                if child + 1 < len(heap) and heap[child + 1] < heap[child]:
                    child += 1
                if heap[child] >= value:
                    break
                heap[place] = heap[child]
                place, child = child, 2 * child + 1
            heap[place] = value
            least = heap[0]
    return float(least)

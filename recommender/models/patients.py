"""Patients like mine: a patient's row in, what the most similar training patients had or went on to start out.

The state holds the training patients' rows (without their ids): a published version of this model is patient data.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numba
import numpy as np
from scipy import sparse

from recommender.matrix import PatientMatrix
from recommender.models import approximate
from recommender.models.base import (
    Contributions,
    FieldModel,
    as_contributions,
    in_canonical_order,
    keep_entries,
    unlearned,
)
from recommender.models.popularity import share_of_patients


@dataclass(frozen=True)
class Evidence:
    """What a suggestion stands on: how many patients are similar, their mean cosine, how many had each target."""

    n_patients: int
    mean_similarity: float
    with_outcome: np.ndarray  # (n_targets,) int64


@dataclass(frozen=True, eq=False)
class PatientsModel(FieldModel):
    """The similarity-weighted mean of the outcomes of the `n_neighbors` most similar patients N, and of popularity:

        score_j = (sum_v in N s_v y_vj + prior share_j) / (sum_v in N s_v + prior)

    s_v is the cosine of the two rows (history and context), columns weighted by idf_c = log((1 + n) / (1 + n_c)), which
    is 0 for the baseline column (Herlocker et al., SIGIR 1999; idf: Breese, Heckerman & Kadie, UAI 1998). Without a
    similar patient: popularity. A patient who was trained on is the most similar to themself.
    """

    name: ClassVar[str] = "patients"
    n_neighbors: int = 100
    prior: float = 0.1  # as many fully similar patients as popularity counts for
    weighted: bool = True  # False: a plain mean, every s_v in the formula 1
    is_approximate: bool = False  # search an index for candidates; needs rxrec[ann]
    baseline_ix: int = -1  # set by fit
    _: KW_ONLY
    idf: np.ndarray = field(default_factory=unlearned)  # (n_columns,) float32
    share: np.ndarray = field(default_factory=unlearned)  # (n_targets,) float32
    # CSR of the training rows, weighted by idf and of length 1, in canonical order
    indptr: np.ndarray = field(default_factory=unlearned)
    indices: np.ndarray = field(default_factory=unlearned)
    data: np.ndarray = field(default_factory=unlearned)
    outcome_indptr: np.ndarray = field(default_factory=unlearned)  # CSR of their outcomes, all ones
    outcome_indices: np.ndarray = field(default_factory=unlearned)
    basis: np.ndarray = field(default_factory=unlearned)  # of the approximate index, see `approximate`
    index: np.ndarray = field(default_factory=unlearned)

    def fit(self, matrix: PatientMatrix) -> Self:
        matrix = in_canonical_order(matrix)  # so that equally similar patients do not stand in the order of the export
        rows, outcomes = matrix.rows, matrix.outcomes
        n_with = np.bincount(rows.indices, minlength=rows.shape[1])
        idf = np.log((1 + matrix.n_patients) / (1 + n_with)).astype(np.float32)
        units = _unit_rows(rows, idf)
        basis, index = approximate.build(units) if self.is_approximate else (np.empty(0), np.empty(0))
        return replace(
            self,
            baseline_ix=matrix.index.block("baseline").start,
            idf=idf,
            share=share_of_patients(matrix),
            indptr=units.indptr,
            indices=units.indices,
            data=units.data,
            outcome_indptr=outcomes.indptr,
            outcome_indices=outcomes.indices,
            basis=basis,
            index=index,
        )

    def score(self, rows: sparse.csr_matrix) -> np.ndarray:
        ids, similarities = self._nearest(_unit_rows(rows, self.idf))
        votes = similarities if self.weighted else (similarities > 0).astype(np.float32)
        scores = np.empty((rows.shape[0], len(self.share)), dtype=np.float32)
        _mean_outcomes(ids, votes, self.outcome_indptr, self.outcome_indices, self.share, self.prior, scores)
        return scores

    def contributions(self, columns: np.ndarray, weights: np.ndarray, target: int) -> Contributions:
        """With the neighbours given, a cosine is a sum over the columns, and each neighbour's vote is divided likewise;
        popularity's part is the baseline column's.
        """
        query, ids, similarities = self._search(columns, weights)
        votes = similarities if self.weighted else np.ones_like(similarities)
        mass = votes.sum() + self.prior
        voted = self._outcomes[ids][:, [target]].toarray().ravel() > 0
        shared = self._units[ids[voted]][:, query.indices].toarray() * query.data  # s_v by column
        parts = (votes[voted] / similarities[voted]) @ shared / mass
        popular = np.array([self.prior * self.share[target] / mass])
        return as_contributions(np.append(query.indices, self.baseline_ix), np.append(parts, popular))

    def neighbours(self, columns: np.ndarray, weights: np.ndarray) -> Evidence:
        """The evidence behind the scores of one row, given as for `contributions`."""
        _, ids, similarities = self._search(columns, weights)
        with_outcome = np.bincount(self._outcomes[ids].indices, minlength=len(self.share))
        return Evidence(len(ids), float(similarities.mean()) if len(ids) else 0.0, with_outcome)

    def _search(self, columns: np.ndarray, weights: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
        row = sparse.csr_matrix((weights, columns, [0, len(columns)]), shape=(1, len(self.idf)), dtype=np.float32)
        query = _unit_rows(row, self.idf)
        ids, similarities = self._nearest(query)
        found = similarities[0] > 0
        return query, ids[0, found], similarities[0, found].astype(np.float64)

    def _nearest(self, queries: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
        """Positions and cosines of each query's nearest, best first; cosine 0 where there are no more: both (n, k)."""
        ids = np.zeros((queries.shape[0], min(self.n_neighbors, len(self.indptr) - 1)), dtype=np.int32)
        similarities = np.zeros(ids.shape, dtype=np.float32)
        of_queries = (queries.indptr, queries.indices, queries.data)
        if self.is_approximate:
            candidates = approximate.candidates(self._opened, self.basis, queries, self.n_neighbors)
            of_training = (self.indptr, self.indices, self.data)
            _nearest_candidates(*of_queries, *of_training, candidates, len(self.idf), ids, similarities)
        else:
            by_column = self._by_column
            of_training = (by_column.indptr, by_column.indices.view(np.uint32), by_column.data)
            _nearest_of_all(*of_queries, *of_training, len(self.indptr) - 1, ids, similarities)
        return ids, similarities

    @cached_property
    def _units(self) -> sparse.csr_matrix:
        return sparse.csr_matrix((self.data, self.indices, self.indptr), shape=(len(self.indptr) - 1, len(self.idf)))

    @cached_property
    def _by_column(self) -> sparse.csc_matrix:  # the inverted index: who has each column
        return self._units.tocsc()

    @cached_property
    def _opened(self) -> Any:
        return approximate.opened(self.index)

    @cached_property
    def _outcomes(self) -> sparse.csr_matrix:
        ones = np.ones(len(self.outcome_indices), dtype=np.float32)
        shape = (len(self.outcome_indptr) - 1, len(self.share))
        return sparse.csr_matrix((ones, self.outcome_indices, self.outcome_indptr), shape=shape)


def _unit_rows(rows: sparse.csr_matrix, idf: np.ndarray) -> sparse.csr_matrix:
    """The rows weighted by idf, without the zeros, and of length 1 (or 0, where nothing is left)."""
    data = rows.data * idf[rows.indices]
    row_of = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    length = np.sqrt(np.bincount(row_of, data.astype(np.float64) ** 2, minlength=rows.shape[0]))
    unit = np.divide(data, length[row_of], out=np.zeros_like(data), where=data > 0)
    return keep_entries(sparse.csr_matrix((unit, rows.indices, rows.indptr), shape=rows.shape), data > 0)


@numba.njit(cache=True, nogil=True)
def _insert(ids: np.ndarray, similarities: np.ndarray, candidate: int, similarity: np.float32) -> None:
    """Put a candidate that beats the last into a best-first list; an earlier one stays ahead of its equals."""
    place = len(ids) - 1
    while place > 0 and similarities[place - 1] < similarity:
        similarities[place] = similarities[place - 1]
        ids[place] = ids[place - 1]
        place -= 1
    similarities[place] = similarity
    ids[place] = candidate


@numba.njit(cache=True, nogil=True)
def _nearest_of_all(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    column_indptr: np.ndarray,
    column_rows: np.ndarray,
    column_data: np.ndarray,
    n_rows: int,
    ids: np.ndarray,
    similarities: np.ndarray,
) -> None:
    """Exact: add up each query's products down the columns that it has, then read all sums once."""
    sums = np.zeros(n_rows, dtype=np.float32)
    for query in range(len(indptr) - 1):
        for a in range(indptr[query], indptr[query + 1]):
            start, stop = column_indptr[indices[a]], column_indptr[indices[a] + 1]
            # slices, and rows that cannot be negative: twice as fast, for no index needs to be checked or wrapped
            weight, rows, weights = data[a], column_rows[start:stop], column_data[start:stop]
            for b in range(len(rows)):
                sums[rows[b]] += weight * weights[b]
        best, of_best = ids[query], similarities[query]
        last = of_best[-1]
        for row in range(n_rows):
            if sums[row] > last:
                _insert(best, of_best, row, sums[row])
                last = of_best[-1]
        sums[:] = 0.0


@numba.njit(cache=True, nogil=True)
def _nearest_candidates(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    train_indptr: np.ndarray,
    train_indices: np.ndarray,
    train_data: np.ndarray,
    candidates: np.ndarray,
    n_columns: int,
    ids: np.ndarray,
    similarities: np.ndarray,
) -> None:
    """The same among each query's `candidates` (n_queries, m), ascending, -1 for none."""
    dense = np.zeros(n_columns, dtype=np.float32)
    for query in range(len(indptr) - 1):
        for a in range(indptr[query], indptr[query + 1]):
            dense[indices[a]] = data[a]
        for row in candidates[query]:
            similarity = np.float32(0.0)
            if row >= 0:
                for b in range(train_indptr[row], train_indptr[row + 1]):
                    similarity += dense[train_indices[b]] * train_data[b]
            if similarity > similarities[query, -1]:
                _insert(ids[query], similarities[query], row, similarity)
        for a in range(indptr[query], indptr[query + 1]):
            dense[indices[a]] = 0.0


@numba.njit(cache=True, nogil=True)
def _mean_outcomes(
    ids: np.ndarray,
    votes: np.ndarray,
    indptr: np.ndarray,
    indices: np.ndarray,
    share: np.ndarray,
    prior: float,
    scores: np.ndarray,
) -> None:
    for query in range(len(ids)):
        out, mass = scores[query], prior
        out[:] = prior * share
        for place in range(ids.shape[1]):
            vote = votes[query, place]
            mass += vote
            if vote > 0:
                for a in range(indptr[ids[query, place]], indptr[ids[query, place] + 1]):
                    out[indices[a]] += vote
        if mass > 0:
            out /= mass

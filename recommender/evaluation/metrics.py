"""Ranked lists and the treatments that were hidden in, one number a patient out."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from recommender.ranking import TopN


def hits(top: TopN, hidden: sparse.csr_matrix, k: int) -> np.ndarray:  # (n_patients, k) bool
    """Whether the item at each of the first k places was hidden; places beyond the end of a list are False."""
    n_patients, n_columns = hidden.shape
    length = np.diff(top.indptr)
    place = np.arange(len(top.columns)) - np.repeat(top.indptr[:-1], length)
    patient = np.repeat(np.arange(n_patients), length)
    hidden_patient = np.repeat(np.arange(n_patients), np.diff(hidden.indptr))
    found = np.isin(patient * n_columns + top.columns, hidden_patient * n_columns + hidden.indices)
    result = np.zeros((n_patients, k), dtype=bool)
    shown = place < k
    result[patient[shown], place[shown]] = found[shown]
    return result


def ndcg(top: TopN, hidden: sparse.csr_matrix, k: int) -> np.ndarray:  # (n_patients,) float64
    """NDCG@k (Jarvelin & Kekalainen 2002): gain 1, discount log2(place + 1); ideal: min(k, |hidden|) hits first."""
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(np.diff(hidden.indptr), k) - 1]
    return np.asarray(hits(top, hidden, k) @ discount / ideal)


def recall(top: TopN, hidden: sparse.csr_matrix, k: int) -> np.ndarray:  # (n_patients,) float64
    """Hits in the first k places over |hidden|, which can exceed k."""
    return np.asarray(hits(top, hidden, k).sum(axis=1) / np.diff(hidden.indptr))

"""A `PatientMatrix` in, training rows and test rows with half of their treatments hidden out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from recommender.errors import TrainingError
from recommender.features import MIN_TARGET_PATIENTS, PatientMatrix


@dataclass(frozen=True)
class HiddenHalf:
    """train: other patients, whole. visible: test patients without the hidden treatments, in training's targets.

    hidden (n_test, n_columns) CSR bool: the treatments to find again. Every hidden treatment counts, also one that
    training cannot suggest. `skipped` patients drawn for the test had fewer than two treatments, so nothing could be
    hidden.
    """

    train: PatientMatrix
    visible: PatientMatrix
    hidden: sparse.csr_matrix
    skipped: int


def hide_half(matrix: PatientMatrix, *, test_share: float = 0.25, seed: int = 0) -> HiddenHalf:
    """Draw `test_share` of the patients and hide half (rounded down, at least one) of each one's treatments.

    Conditions, allergies and demographics stay visible. Raises TrainingError when either side would be empty.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(matrix.n_patients)
    n_test = round(test_share * matrix.n_patients)
    test_ix, train_ix = np.sort(order[:n_test]), np.sort(order[n_test:])

    rows = matrix.rows[test_ix]
    treatments = matrix.index.block("treatments")
    is_treatment = (rows.indices >= treatments.start) & (rows.indices < treatments.stop)
    row_of = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    had = np.bincount(row_of[is_treatment], minlength=rows.shape[0])

    # each treatment gets a random rank within its row; ranks below had // 2 are hidden
    entries = np.flatnonzero(is_treatment)
    shuffled = entries[np.lexsort((rng.random(len(entries)), row_of[entries]))]
    starts = np.cumsum(had) - had
    rank = np.arange(len(shuffled)) - np.repeat(starts, had)
    is_hidden = np.zeros(len(rows.indices), dtype=bool)
    is_hidden[shuffled] = rank < (had // 2)[row_of[shuffled]]

    testable = had >= 2
    if not testable.any() or not len(train_ix):
        raise TrainingError("too few patients with two or more treatments to hold any out")

    def pick(mask: np.ndarray) -> sparse.csr_matrix:
        part = sparse.csr_matrix((rows.data[mask], (row_of[mask], rows.indices[mask])), shape=rows.shape)[testable]
        part.sort_indices()
        return sparse.csr_matrix(part)

    train = matrix.take(train_ix)
    taught = np.bincount(train.rows.indices, minlength=len(matrix.index))[treatments]
    targets = (np.flatnonzero(taught >= MIN_TARGET_PATIENTS) + treatments.start).astype(np.int32)
    if not len(targets):
        raise TrainingError(f"no treatment was given to {MIN_TARGET_PATIENTS} or more of the training patients")
    index = replace(matrix.index, targets=targets)
    return HiddenHalf(
        train=replace(train, index=index),
        visible=PatientMatrix(pick(~is_hidden), index, matrix.patient_ids[test_ix][testable]),
        hidden=pick(is_hidden).astype(bool),
        skipped=int((~testable).sum()),
    )

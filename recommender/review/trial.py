"""A matrix with conditions as targets in, a `Trial` out: half of each patient's conditions hidden; which are they?

With a condition all those are hidden that a code of it also lies in ('diabetes' and 'diabetic ketoacidosis' with
'type 1 diabetes'), because they would give it away; they count as hidden too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from recommender.evaluation.trial import Trial
from recommender.matrix import ColumnIndex, PatientMatrix
from recommender.models.base import keep_entries
from recommender.moments import now
from recommender.records import Records
from recommender.vocabulary import ConditionVocabulary

PROTOCOL = "hidden-conditions"


def hidden_conditions(matrix: PatientMatrix, records: Records, vocabulary: ConditionVocabulary, seed: int = 0) -> Trial:
    """`matrix`: `review_matrix` of today's charts of `records`."""
    targets, had = matrix.index.targets, matrix.had
    count = np.diff(had.indptr)
    row = np.repeat(np.arange(had.shape[0]), count)
    order = np.lexsort((np.random.default_rng(seed).random(had.nnz), row))
    rank = np.arange(had.nnz) - np.repeat(had.indptr[:-1], count)
    drawn = order[rank < np.repeat(count // 2, count)]
    chosen = sparse.csr_matrix((np.ones(len(drawn), np.float32), (row[drawn], had.indices[drawn])), shape=had.shape)
    together = related(matrix.index, records, vocabulary)
    relevant = sparse.csr_matrix((chosen @ together).multiply(had) > 0)
    relevant.sort_indices()
    columns = sparse.csr_matrix(
        (np.ones(relevant.nnz, bool), targets[relevant.indices], relevant.indptr), shape=matrix.rows.shape
    )
    rows = matrix.rows
    at = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    gone = np.asarray(columns[at, rows.indices]).ravel().astype(bool)
    moments = now(records)
    return Trial(
        PROTOCOL,
        "half of each patient's conditions (clinical groups) hidden, treatments and all else visible: which are they",
        matrix,
        replace(matrix, rows=keep_entries(rows, ~gone)),
        columns,
        moments.patient_ix,
        moments.known_until,
        moments.followed_until,
        moments.earlier,
        records.patients["site"].to_numpy(dtype=object),
    )


def related(index: ColumnIndex, records: Records, vocabulary: ConditionVocabulary) -> sparse.csr_matrix:
    """(n_targets, n_targets) CSR float32 of ones: groups that a code of the records has in common, itself included."""
    groups = [index.columns[ix].code for ix in index.targets]
    place = {group: ix for ix, group in enumerate(groups)}
    pairs = {(ix, ix) for ix in range(len(groups))}
    concepts = records.concepts
    for code in concepts.loc[concepts["kind"] == "condition", "code"]:
        of = [place[group] for group in vocabulary.groups(code) if group in place]
        pairs |= {(a, b) for a in of for b in of}
    row, column = np.array(sorted(pairs)).T
    return sparse.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=(len(groups), len(groups)))

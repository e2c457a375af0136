"""A matrix, a trial and a risk in, the same with the risk as context columns out: fitted so that nothing leaks.

A risk of 0.3 is told as one column, its band: under 1%, 1 to 5%, ... so that a linear model can give each its own
weight. Whoever has no risk has none of the columns. The risk of a training example is told by a model that was not
fitted on its person, that of a tested example by one fitted on the training examples alone: so the column says in
training what it will say in use, and no label of a tested person is in it.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy import sparse

from recommender.evaluation.bootstrap import Interval, intervals
from recommender.evaluation.compare import MAIN, evaluate
from recommender.evaluation.split import Fold, folds_of
from recommender.evaluation.trial import Trial
from recommender.matrix import Block, Column, ColumnIndex, PatientMatrix
from recommender.models.directed import DirectedModel
from recommender.risk.models import RiskModel
from recommender.risk.table import RiskTable

EDGES = (0.01, 0.05, 0.1, 0.2, 0.4)  # upper ends of the bands but the last
KIND = "condition_group"  # what the models know such a column as: a fact about the patient's illness
BLOCK = "risk"


def with_risk(matrix: PatientMatrix, risk: np.ndarray, name: str) -> PatientMatrix:
    """risk (n_patients,) float64 from 0 to 1, NaN where there is none. The block stands at the end, as derived ones."""
    known = np.flatnonzero(~np.isnan(risk))
    band = np.searchsorted(EDGES, risk[known], side="right")
    shape = (matrix.n_patients, len(EDGES) + 1)
    columns = sparse.csr_matrix((np.ones(len(known), dtype=np.float32), (known, band)), shape=shape)
    rows = sparse.hstack([matrix.rows, columns], format="csr", dtype=np.float32)
    rows.sort_indices()
    ends = [0.0, *EDGES, 1.0]
    said = [f"risk of {name} {100 * low:.0f} to {100 * high:.0f}%" for low, high in pairwise(ends)]
    index = matrix.index
    named = tuple(Column(f"risk:{name}:{number}", KIND, text, "") for number, text in enumerate(said))
    block = Block(BLOCK, len(index), len(index) + len(named))
    index = ColumnIndex((*index.columns, *named), (*index.blocks, block), index.targets)
    return replace(matrix, rows=sparse.csr_matrix(rows), index=index)


def risk_of_examples(
    table: RiskTable, model: RiskModel, values: np.ndarray, person: np.ndarray, fold: Fold, seed: int = 0
) -> np.ndarray:
    """The risk of each example of a trial (n,) float64, for one of its folds.

    values (n, n_features): what was known at the moment of each example, in the features of `table`; person (n,) str:
    whose it is. A person of the training examples is told by a model fitted on other ones of them alone, everybody else
    by one fitted on all of them. Raises TrainingError where too few of them have the outcome.
    """
    asked = table.person.astype(str)
    taught = table.take(np.flatnonzero(np.isin(asked, person[fold.train]))).learnable()
    theirs = taught.person.astype(str)
    risk = model.fit(taught.inputs.values, taught.outcome, theirs).probability(values)
    for inner in folds_of(theirs, seed=seed):
        mine = np.isin(person, theirs[inner.test])
        if mine.any():
            part = taught.take(inner.train)
            fitted = model.fit(part.inputs.values, part.outcome, theirs[inner.train])
            risk[mine] = fitted.probability(values[mine])
    return risk


def trial_with_risk(trial: Trial, risk: np.ndarray, name: str) -> Trial:
    """risk (n_examples,): the trial with its columns, in what is taught and in what is asked."""
    taught, asked = (with_risk(matrix, risk, name) for matrix in (trial.taught, trial.asked))
    relevant = trial.relevant
    shape = (len(trial), len(taught.index))
    grown = sparse.csr_matrix((relevant.data, relevant.indices, relevant.indptr), shape=shape)
    return replace(trial, taught=taught, asked=asked, relevant=grown)


def gain_of_column(
    table: RiskTable, model: RiskModel, values: np.ndarray, trial: Trial, person: np.ndarray, seed: int = 0
) -> tuple[Interval, Interval]:
    """NDCG of the directed model with the columns, and by how much it is ahead of the same without, paired: over the
    usual folds by patient, the columns fitted anew for each. person (n_examples,) str, values as above."""
    figures: list[np.ndarray] = []
    without: list[np.ndarray] = []
    who = []
    for fold in folds_of(person, seed=seed):
        risk = risk_of_examples(table, model, values, person, fold, seed)
        for found, asked in ((figures, trial_with_risk(trial, risk, table.asked.name)), (without, trial)):
            judged = evaluate([DirectedModel()], asked, [fold], seed=seed)
            found.append(judged.judged[DirectedModel.name].figures[MAIN].to_numpy())
        who.append(judged.person)
    mine, plain = np.concatenate(figures), np.concatenate(without)
    both = intervals(np.stack([mine, mine - plain], axis=1), np.concatenate(who), seed)
    return both[0], both[1]

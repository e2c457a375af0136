"""A matrix and whose rows they are in, the same with weights out: so that small groups of patients count for more.

Fitted on everyone alike, a model is fitted to the largest group. Here an example of group g counts

    weight_g = (n / n_g) ** STRENGTH, scaled to a mean of 1

(inverse frequency weighting, softened; after Kamiran & Calders, Knowledge and Information Systems 2012). The group is
read for this alone: no model has race, ethnicity or hospital as an input. For what it gains and costs, see
docs/evaluation.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recommender.features import AGE_BANDS, DAYS_PER_YEAR
from recommender.matrix import PatientMatrix
from recommender.moments import MISSING
from recommender.records import Records

BALANCED = ("sex", "age", "race", "ethnicity", "site")
STRENGTH = 0.5  # 1 gives every group the same say, 0 every example
MIN_PATIENTS = 20  # smaller groups share one weight: a handful must not decide


def balanced(
    matrix: PatientMatrix, records: Records, by: str, patient_ix: np.ndarray, when: np.ndarray
) -> PatientMatrix:
    """`by`: one of BALANCED, or "" for no weights. patient_ix and when (seconds since 1970) of each row, both (n,)."""
    if not by:
        return matrix
    group = _groups(records, by, patient_ix, when)
    pairs = np.unique(np.stack([group, patient_ix], axis=1), axis=0)
    small = np.bincount(pairs[:, 0]) < MIN_PATIENTS
    group = np.where(small[group], len(small), group)
    weight = np.bincount(group)[group].astype(np.float64) ** -STRENGTH
    return replace(matrix, weight=weight / weight.mean())


def _groups(records: Records, by: str, patient_ix: np.ndarray, when: np.ndarray) -> np.ndarray:  # (n,) int64
    if by != "age":
        return np.unique(records.patients[by].to_numpy(dtype=str)[patient_ix], return_inverse=True)[1].astype(np.int64)
    born = records.patients["birth_date"].to_numpy("datetime64[s]").astype(np.int64)[patient_ix]
    years = np.where(born == MISSING, -1, (when - born) / (86_400 * DAYS_PER_YEAR))
    return np.searchsorted(AGE_BANDS, years, side="right").astype(np.int64)

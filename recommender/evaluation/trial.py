"""`Records` in, what models are judged on out: charts at moments of the past, and what truly followed.

Three questions can be asked (`PROTOCOLS`):

- started: some hours into a visit (`usual_hours`), which treatments that are not on the chart yet begin from then on?
- next-visit: when a visit begins, which treatments does it bring, new ones and those of before?
- hidden-half: half of a chart's treatments are hidden; which are they? (What belongs to this chart, not what comes.)
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from recommender.blocks import CHUNK, Blocks
from recommender.examples import matrix_of_visits, visited
from recommender.features import build_matrix
from recommender.matrix import PatientMatrix
from recommender.moments import RESOURCE, Moments, now
from recommender.records import THERAPIES, Records

PROTOCOLS = ("started", "next-visit", "hidden-half")


@dataclass(frozen=True)
class Trial:
    """Examples to learn from and to be judged by; all parts in the same order of examples.

    taught: what a model may learn from. asked: what it is shown when it is judged. relevant (n, n_columns) CSR bool:
    what it should then name, also what is too rare to be a target. person (n,) int32: `patient_ix`. when and until
    (n,) int64 seconds: the moment, and how far what followed is looked at. earlier (n,) int32: visits before this one.
    site (n,) str: the person's hospital. `repeats`: what is on the chart may be named again.
    """

    protocol: str
    said: str
    taught: PatientMatrix
    asked: PatientMatrix
    relevant: sparse.csr_matrix
    person: np.ndarray
    when: np.ndarray
    until: np.ndarray
    earlier: np.ndarray
    site: np.ndarray
    repeats: bool = False

    def __len__(self) -> int:
        return len(self.person)

    @property
    def moments(self) -> Moments:
        """The moments of the examples."""
        return Moments(self.person, self.when, self.until, self.earlier)


def usual_protocol(records: Records) -> str:
    """What can be asked of these records that comes nearest to a list's use."""
    visit = records.concepts["kind"].to_numpy() == RESOURCE
    concept_ix = records.treatments["concept_ix"].to_numpy()
    known = any(visit[concept_ix[at : at + CHUNK]].any() for at in range(0, len(concept_ix), CHUNK))
    return "started" if known else "hidden-half"


def make_trial(
    records: Records,
    protocol: str,
    kinds: Collection[str] = THERAPIES,
    *,
    seed: int = 0,
    blocks: Blocks = Blocks(),  # noqa: B008  (frozen)
) -> Trial:
    """Raises TrainingError when nothing can be asked of these records."""
    if protocol == "hidden-half":
        return _hidden_half(records, kinds, seed)
    told = visited(records, blocks)
    after_hours = told.stays.usual_hours if protocol == "started" else 0.0
    matrix, moments = matrix_of_visits(records, told, after_hours, kinds, blocks, min_target_patients=1)
    return visits_trial(protocol, kinds, after_hours, matrix, moments, _sites(records, moments))


def visits_trial(
    protocol: str, kinds: Collection[str], after_hours: float, matrix: PatientMatrix, moments: Moments, site: np.ndarray
) -> Trial:
    """The trial of `started` or `next-visit`, with a row of `matrix` and a `site` for each of the moments."""
    during = protocol == "started"
    relevant = _in_columns(matrix.later if during else matrix.began, matrix.index.targets, len(matrix.index))
    named = ", ".join(kinds)
    return Trial(
        protocol,
        f"{after_hours:g} h into each visit: which of the treatments ({named}) not on the chart by then begin later"
        if during
        else f"at the beginning of each visit: which treatments ({named}) it brings, those of before included",
        matrix,
        matrix,
        relevant,
        moments.patient_ix,
        moments.known_until,
        moments.followed_until,
        moments.earlier,
        site,
        repeats=not during,
    )


def _hidden_half(records: Records, kinds: Collection[str], seed: int) -> Trial:
    """Of each patient, half (rounded down) of the treatments of `kinds`, drawn by the seed; all else stays visible."""
    taught = build_matrix(records, min_target_patients=1, kinds=kinds)
    had, targets = taught.had, taught.index.targets
    row = np.repeat(np.arange(had.shape[0]), np.diff(had.indptr))
    order = np.lexsort((np.random.default_rng(seed).random(had.nnz), row))
    count = np.diff(had.indptr)
    rank = np.arange(had.nnz) - np.repeat(had.indptr[:-1], count)
    chosen = np.sort(order[rank < np.repeat(count // 2, count)])
    relevant = sparse.csr_matrix(
        (np.ones(len(chosen), dtype=bool), (row[chosen], targets[had.indices[chosen]])), shape=taught.rows.shape
    )
    named = [(column.kind, column.code) for column in (taught.index.columns[ix] for ix in targets)]
    concept_of = pd.MultiIndex.from_frame(records.concepts[["kind", "code"]]).get_indexer(named)
    n_concepts, events = np.int64(len(records.concepts)), records.treatments
    pairs = row[chosen] * n_concepts + concept_of[had.indices[chosen]]
    event_pairs = events["patient_ix"].to_numpy() * n_concepts + events["concept_ix"].to_numpy()
    asked = build_matrix(records, min_target_patients=1, kinds=kinds, hidden=np.isin(event_pairs, pairs))
    moments = now(records)
    return Trial(
        "hidden-half",
        f"half of each patient's treatments ({', '.join(kinds)}) hidden, all else visible: which are they",
        taught,
        asked,
        relevant,
        moments.patient_ix,
        moments.known_until,
        moments.followed_until,
        moments.earlier,
        _sites(records, moments),
    )


def _sites(records: Records, moments: Moments) -> np.ndarray:
    return records.patients["site"].to_numpy(dtype=object)[moments.patient_ix]


def _in_columns(chosen: sparse.csr_matrix, targets: np.ndarray, n_columns: int) -> sparse.csr_matrix:
    """(n, n_targets) as (n, n_columns) bool."""
    data = np.ones(chosen.nnz, dtype=bool)
    return sparse.csr_matrix((data, targets[chosen.indices], chosen.indptr), shape=(chosen.shape[0], n_columns))

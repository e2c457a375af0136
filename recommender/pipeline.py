"""The middle of the road: `Records` and their `PatientMatrix` in, a `Snapshot` ready to publish out.

loaders.load -> Records -> features.build_matrix -> PatientMatrix -> Model.fit -> ranking.top_n -> safety -> Snapshot
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from recommender.balance import balanced
from recommender.features import build_matrix
from recommender.feedback import FeedbackUse, learned
from recommender.matrix import ColumnIndex, PatientMatrix
from recommender.models.base import Model
from recommender.moments import Moments, moments_of_visits, now, usual_hours
from recommender.ranking import DEPTH, PER_KIND, SPARE, TopN, top_n, within_depth
from recommender.records import THERAPIES, TREATMENT_KINDS, Records
from recommender.safety.charts import Charts, read_charts
from recommender.safety.kernel import CONTRAINDICATED, DRUG
from recommender.safety.kinds import RANK
from recommender.safety.screen import Screen
from recommender.snapshot import Release, Snapshot
from recommender.support import count_support


def make_snapshot(
    records: Records,
    matrix: PatientMatrix,
    model: Model,
    version: str,
    provenance: Mapping[str, Any],
    screen: Screen,
    *,
    balance: str = "",
    feedback: FeedbackUse | None = None,
    progress: Callable[[int], None] | None = None,
) -> Snapshot:
    """Fit `model`, rank every patient's suggestions and screen them. `matrix`: what is known today, from `records`.

    A model that foresees what begins after a moment is fitted on the visits of the past, any other on `matrix` itself;
    `balance`: by which groups of patients the examples are weighted (`balance.balanced`), "" for none.
    `feedback`: what clinicians made of earlier suggestions, and how the examples learn from it; None: not at all.
    `provenance` (where from, when, how good) joins the manifest as it is. `progress` is told the patients newly scored.
    """
    matrix = model.reads(matrix)
    fitted = _fitted(records, matrix, model, balance, feedback)
    top = top_n(fitted, matrix, DEPTH + SPARE, of=THERAPIES, per_kind=PER_KIND, progress=progress)
    charts = read_charts(records, screen.observed)
    top, found = screened(screen, charts, matrix.index, top)
    manifest = manifest_of(provenance, records.as_of, counts(records), matrix.index, fitted, found)
    release = Release(version, manifest, matrix.index, fitted, charts.known, count_support(matrix))
    return Snapshot(release, matrix.patient_ids, top, matrix.rows, charts)


def manifest_of(
    provenance: Mapping[str, Any],
    as_of: pd.Timestamp,
    counted: Mapping[str, int],
    index: ColumnIndex,
    fitted: Model,
    found: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        **provenance,
        "as_of": as_of.isoformat(),
        "counts": {**counted, "columns": len(index), "suggestable": len(index.targets)},
        "safety": found,
        "depth": DEPTH,
        "per_kind": PER_KIND,
        "model": {"name": fitted.name, "parameters": fitted.parameters()},
    }


def _fitted(records: Records, matrix: PatientMatrix, model: Model, balance: str, feedback: FeedbackUse | None) -> Model:
    """The model fitted on its examples, which are given up with this function: a night's memory is needed for lists."""
    moments = moments_of_visits(records, usual_hours(records)) if model.needs_later else now(records)
    examples = matrix
    if model.needs_later:
        examples = build_matrix(records, kinds=matrix.index.target_kinds, moments=moments)
    return fitted_on(examples, moments, records, matrix.index, model, balance, feedback)


def fitted_on(
    taught: PatientMatrix,
    moments: Moments,
    records: Records,
    index: ColumnIndex,
    model: Model,
    balance: str,
    feedback: FeedbackUse | None,
) -> Model:
    """The model fitted on `taught`, a row for each of the moments of the people of `records`, to suggest what `index`
    names."""
    if model.needs_later:
        taught = model.reads(taught)
        # the columns are the same at any moment; of what may be suggested, what `index` names
        taught = taught.with_targets(np.flatnonzero(np.isin(taught.index.targets, index.targets)))
    taught = balanced(taught, records, balance, moments.patient_ix, moments.known_until)
    return model.fit(learned(taught, moments.known_until, moments.followed_until, feedback or FeedbackUse()))


def screened(screen: Screen, charts: Charts, index: ColumnIndex, top: TopN) -> tuple[TopN, dict[str, Any]]:
    """Every list cut where it holds DEPTH therapies, and PER_KIND of each kind, that nothing forbids; what was found.

    What is withheld stays in the list, so that it can be shown and screened again when the chart has changed.
    """
    tiers = screen.tiers(screen.read(charts.known), charts, index.columns, top.indptr, top.columns)
    stays = within_depth(top, index, tiers.rank < CONTRAINDICATED, DEPTH, PER_KIND)
    drug = np.array([column.kind == "drug" for column in index.columns])[top.columns]
    rules = screen.rules
    found = {
        "checked": True,
        "rules": {"version": rules.version, "counts": rules.counts, "reviewed": [str(day) for day in rules.reviewed]},
        "switched_off": list(rules.switched_off),
        "lists": len(charts),
        "drugs": int(drug[stays].sum()),
        "by_severity": {name: int((tiers.rank[stays] == rank).sum()) for name, rank in RANK.items()},
        "not_checked": int((drug[stays] & (tiers.unchecked[stays] & DRUG > 0)).sum()),
    }
    return top.where(stays), found


def counts(records: Records) -> dict[str, int]:
    """Patients, events of each table, and distinct treatments of each kind."""
    kinds = records.concepts["kind"].value_counts()
    return {
        "patients": records.n_patients,
        **{f"{table}_events": len(getattr(records, table)) for table in ("treatments", "conditions", "allergies")},
        **{f"distinct_{kind}s": int(kinds.get(kind, 0)) for kind in (*TREATMENT_KINDS, "condition")},
    }

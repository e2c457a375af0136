"""The middle of the road: `Records` and their `PatientMatrix` in, a `Snapshot` ready to publish out.

loaders.load -> Records -> features.build_matrix -> PatientMatrix -> Model.fit -> ranking.top_n -> Snapshot -> Store
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from recommender.balance import balanced
from recommender.features import PatientMatrix, build_matrix
from recommender.models.base import Model
from recommender.moments import moments_of_visits, now, usual_hours
from recommender.ranking import top_n
from recommender.records import THERAPIES, TREATMENT_KINDS, Records
from recommender.snapshot import Release, Snapshot

DEPTH = 50  # therapies kept for each patient: more than are shown, so that a safety screen can still fill a list
PER_KIND = 20  # suggestions kept of each kind at least, so that one kind can be asked for
NOT_SCREENED = {
    "checked": False,
    "statement": "No suggestion was checked for interactions, allergies, contraindications, duplicate therapy or dose.",
}


def make_snapshot(
    records: Records,
    matrix: PatientMatrix,
    model: Model,
    version: str,
    provenance: Mapping[str, Any],
    *,
    balance: str = "",
    progress: Callable[[int], None] | None = None,
) -> Snapshot:
    """Fit `model` and rank every patient's suggestions. `matrix`: what is known today, built from `records`.

    A model that foresees what begins after a moment is fitted on the visits of the past, any other on `matrix` itself;
    `balance`: by which groups of patients the examples are weighted (`balance.balanced`), "" for none.
    `provenance` (where from, when, how good) joins the manifest as it is. `progress` is told the patients newly scored.
    """
    matrix = model.reads(matrix)
    moments = moments_of_visits(records, usual_hours(records)) if model.needs_later else now(records)
    taught = matrix
    if model.needs_later:
        taught = model.reads(build_matrix(records, kinds=matrix.index.target_kinds, moments=moments))
    fitted = model.fit(balanced(taught, records, balance, moments.patient_ix, moments.known_until))
    top = top_n(fitted, matrix, DEPTH, of=THERAPIES, per_kind=PER_KIND, progress=progress)
    manifest = {
        **provenance,
        "as_of": records.as_of.isoformat(),
        "counts": counts(records) | {"columns": len(matrix.index), "suggestable": len(matrix.index.targets)},
        "safety": NOT_SCREENED,
        "depth": DEPTH,
        "per_kind": PER_KIND,
        "model": {"name": fitted.name, "parameters": fitted.parameters()},
    }
    return Snapshot(Release(version, manifest, matrix.index, fitted), matrix.patient_ids, top, matrix.rows)


def counts(records: Records) -> dict[str, int]:
    """Patients, events of each table, and distinct treatments of each kind."""
    kinds = records.concepts["kind"].value_counts()
    return {
        "patients": records.n_patients,
        **{f"{table}_events": len(getattr(records, table)) for table in ("treatments", "conditions", "allergies")},
        **{f"distinct_{kind}s": int(kinds.get(kind, 0)) for kind in (*TREATMENT_KINDS, "condition")},
    }

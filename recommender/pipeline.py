"""The middle of the road: `Records` and their `PatientMatrix` in, a `Snapshot` ready to publish out.

loaders.load -> Records -> features.build_matrix -> PatientMatrix -> Model.fit -> ranking.top_n -> Snapshot -> Store
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from recommender.features import PatientMatrix
from recommender.models.base import Model
from recommender.ranking import top_n
from recommender.records import TREATMENT_KINDS, Records
from recommender.snapshot import Release, Snapshot

DEPTH = (
    50  # suggestions kept for each patient: more than are shown, so that a later safety screen can still fill a list
)
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
    progress: Callable[[int], None] | None = None,
) -> Snapshot:
    """Fit `model` on `matrix` (built from `records`) and rank every patient's suggestions.

    `provenance` (where from, when, how good) joins the manifest as it is. `progress` is told the patients newly scored.
    """
    fitted = model.fit(matrix)
    top = top_n(fitted, matrix, DEPTH, progress=progress)
    manifest = {
        **provenance,
        "as_of": records.as_of.isoformat(),
        "counts": counts(records) | {"columns": len(matrix.index), "suggestable": len(matrix.index.targets)},
        "safety": NOT_SCREENED,
        "depth": DEPTH,
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

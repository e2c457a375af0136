"""A patient id and what is wanted in, the patient's ranked suggestions with exact reasons out, as JSON."""

from __future__ import annotations

from flask import Blueprint, Response

from api import compress
from api.answers import Answer
from api.kept import kept
from api.operations import operation
from api.options import RecommendationQuery, body_of, checked_kinds, checked_n, etag, of_query
from api.serving import serving
from api.typed import JSON, tagged, unchanged
from recommender.offered import elapsed_days

__all__ = ["blueprint", "checked_kinds", "checked_n"]  # the pages read their forms by the same rules

blueprint = Blueprint("recommendations", __name__, url_prefix="/v1")


@blueprint.get("/patients/<path:patient_id>/recommendations")  # path: some systems' ids hold a slash
@operation(
    "A patient's suggestions",
    answer=Answer,
    query=RecommendationQuery,
    path={"patient_id": "The patient's id as it stood in the export, percent-encoded"},
    problems=(404,),
)
def of_patient(patient_id: str) -> Response:
    """The best suggestions for a patient of the version being served, each with its reasons and warnings.

    An unknown patient is 404, a known one for whom nothing is left is 200 with an empty list and the reasons for it,
    and a store that does not answer is 503.
    """
    desk, entry = serving().patient(patient_id)
    wanted, elapsed = of_query(desk.release), elapsed_days(desk.release)
    tag = etag(desk, entry, patient_id, wanted, elapsed)
    if (same := unchanged(tag)) is not None:
        return same
    body = body_of(desk, entry, patient_id, wanted, elapsed, tag)
    if compress.is_taken() and len(body) >= compress.SMALLEST:
        packed = kept().body((desk.release.version, elapsed), f"{tag} gzip", lambda: compress.packed(body))
        return tagged(Response(packed, mimetype=JSON, headers={"Content-Encoding": "gzip"}), tag)
    return tagged(Response(body, mimetype=JSON), tag)

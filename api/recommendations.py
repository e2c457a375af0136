"""A patient id and what is wanted in, the patient's ranked suggestions with exact reasons out, as JSON."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from api.answers import Answer, etag
from api.operations import operation
from api.options import RecommendationQuery, answered, checked_kinds, checked_n, of_query
from api.serving import serving
from recommender.offer import elapsed_days

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
    wanted = of_query(desk.release)
    tag = etag(desk, entry, wanted.n, wanted.told)
    if request.if_none_match.contains_weak(tag):
        response = Response(status=304)
    else:
        reading = desk.reading(entry.chart, elapsed=elapsed_days(desk.release))
        response = jsonify(answered(desk, entry, reading, patient_id, wanted))
    response.set_etag(tag, weak=True)
    return response

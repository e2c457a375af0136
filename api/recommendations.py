"""A patient id and n in, that patient's ranked suggestions with their exact reasons out, as JSON for record systems."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, request

from api.answers import DEFAULT_N, answer, depth, etag
from api.errors import BadParameter
from api.serving import serving

blueprint = Blueprint("recommendations", __name__, url_prefix="/v1")


@blueprint.get("/patients/<path:patient_id>/recommendations")  # path: some systems' ids hold a slash
def of_patient(patient_id: str) -> Response:
    """200 with the list, 304 when the caller's ETag still holds; see docs/api.md for the problems."""
    wanted = request.args.get("n", str(DEFAULT_N))
    release, entry = serving().patient(patient_id)
    n = checked_n(wanted, depth(release))
    tag = etag(release, entry, n)
    if request.if_none_match.contains_weak(tag):
        response = Response(status=304)
    else:
        response = jsonify(answer(release, entry, patient_id, n))
    response.set_etag(tag, weak=True)
    return response


def checked_n(text: str, longest: int) -> int:
    """A list's length from its text. Raises BadParameter unless it is a whole number from 1 to `longest`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= longest):
        raise BadParameter("n", f"n must be a whole number from 1 to {longest}")
    return int(text)

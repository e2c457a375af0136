"""A patient id, n and kinds in, the patient's ranked suggestions with exact reasons out, as JSON for record systems."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response, jsonify, request

from api.answers import DEFAULT_N, answer, etag, longest
from api.errors import BadParameter
from api.serving import serving
from recommender.records import THERAPIES, TREATMENT_KINDS

blueprint = Blueprint("recommendations", __name__, url_prefix="/v1")


@blueprint.get("/patients/<path:patient_id>/recommendations")  # path: some systems' ids hold a slash
def of_patient(patient_id: str) -> Response:
    """200 with the list, 304 when the caller's ETag still holds; see docs/api.md for the problems."""
    wanted = request.args.get("n", str(DEFAULT_N))
    desk, entry = serving().patient(patient_id)
    kinds = checked_kinds(request.args.getlist("kind"))
    n = checked_n(wanted, longest(desk.release, kinds))
    tag = etag(desk, entry, n, kinds)
    if request.if_none_match.contains_weak(tag):
        response = Response(status=304)
    else:
        response = jsonify(answer(desk, entry, patient_id, n, kinds))
    response.set_etag(tag, weak=True)
    return response


def checked_kinds(texts: Sequence[str]) -> tuple[str, ...]:
    """The kinds that are named, one or several (a,b) in each text; the therapies if none is. Raises BadParameter."""
    named = [name for text in texts for name in text.split(",") if name]
    if not set(named) <= set(TREATMENT_KINDS):
        raise BadParameter("kind", f"kind must be one or more of {', '.join(TREATMENT_KINDS)}")
    return tuple(kind for kind in TREATMENT_KINDS if kind in named) or THERAPIES


def checked_n(text: str, longest: int) -> int:
    """A list's length from its text. Raises BadParameter unless it is a whole number from 1 to `longest`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= longest):
        raise BadParameter("n", f"n must be a whole number from 1 to {longest}")
    return int(text)

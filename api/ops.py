"""A probe in, whether this process lives and whether it can serve out."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from api.errors import GettingReady, problem_of
from api.serving import serving
from recommender.errors import EngineError

blueprint = Blueprint("ops", __name__, url_prefix="/health")


@blueprint.get("/live")
def live() -> Response:
    """The process answers. The store is not asked: a restart of this process would not mend it."""
    return jsonify({"status": "live"})


@blueprint.get("/ready")
def ready() -> Response:
    """The store is reachable, holds a whole version, and this process has compiled what answers; otherwise 503 with the
    problem that says which is missing."""
    try:
        version = serving().release().version
        if serving().warming:
            raise GettingReady("this process has just started")
        return jsonify({"status": "ready", "version": version})
    except EngineError as error:
        return problem_of(error, status=503)

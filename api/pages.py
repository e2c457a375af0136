"""A form in, a page for a clinician out. Patient ids travel in form bodies only, never in an address.

A page is always shown, also when the store is down: the states say what is wrong and what to do.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from api import frame, pages_events, pages_feedback, pages_model, pages_pharmacy, pages_whatif
from api.answers import DEFAULT_N
from api.exchange import exchange
from api.patient import shown
from api.present import short_id
from api.serving import serving
from recommender.errors import EngineError, UnknownPatient

blueprint = Blueprint("pages", __name__)
for room in (
    pages_feedback.blueprint,
    pages_whatif.blueprint,
    pages_events.blueprint,
    pages_model.blueprint,
    pages_pharmacy.drugs,
    pages_pharmacy.interactions,
):
    blueprint.register_blueprint(room)
GLOBALS: dict[str, Any] = {"short_id": short_id, "default_n": DEFAULT_N}


@blueprint.get("/")
def start() -> Response:
    """Search, what this is, and what is being served."""
    try:
        return frame.page("start.html", desk=serving().desk())
    except EngineError as error:
        return frame.state(error)


@blueprint.get("/patient", defaults={"rest": ""})
@blueprint.get("/patient/<rest>")
def no_patient(rest: str) -> AnyResponse:
    """A patient's page has no address of its own, so someone who comes back to it is asked for the patient."""
    return redirect(url_for("pages.start"))


@blueprint.post("/patient")
def patient() -> Response:
    """The patient's suggestions with their reasons; an unknown patient gets the search again, with a word about it."""
    patient_id = request.form.get("patient_id", "").strip()
    if not patient_id:
        return _start_with("no-id", 400)
    return page_of(patient_id)


def page_of(patient_id: str) -> Response:
    """The page of a patient whose id came in a form."""
    try:
        return frame.page("patient.html", **shown(patient_id, request.form))
    except UnknownPatient:
        return _start_with("unknown-patient", 404)
    except EngineError as error:
        return frame.state(error, patient_id=patient_id)


def error_page(slug: str, status: int) -> Response:
    """What a person sees of an error that no page caught."""
    return frame.page("state.html", status=status, state=slug, patient_id="", request_id=exchange().id)


def _start_with(state: str, status: int) -> Response:
    try:
        return frame.page("start.html", status=status, desk=serving().desk(), state=state)
    except EngineError as error:
        return frame.state(error)

"""A form in, a page for a clinician out. Patient ids travel in form bodies only, never in an address.

A page is always shown, also when the store is down: the states say what is wrong and what to do.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from api.answers import DEFAULT_N, answer, longest, safety
from api.errors import RETRY_AFTER_SECONDS, kind_of
from api.observe import log_failure, request_id
from api.present import age_in_words, chart, date_in_words, quality_in_words, short_id, suggestions
from api.recommendations import checked_kinds, checked_n
from api.serving import serving
from api.words import Words
from recommender.errors import EngineError, UnknownPatient
from recommender.offer import Desk

LENGTHS = (10, 20)  # what a page can hold within its weight, however long the charts

blueprint = Blueprint("pages", __name__)
words = Words("en")
GLOBALS: dict[str, Any] = {"t": words, "short_id": short_id, "default_n": DEFAULT_N}


@blueprint.get("/")
def start() -> Response:
    """Search, what this is, and what is being served."""
    try:
        return _page("start.html", desk=serving().desk())
    except EngineError as error:
        return _state(error)


@blueprint.get("/patient")
def no_patient() -> AnyResponse:
    """A patient's page has no address of its own, so someone who comes back to it is asked for the patient."""
    return redirect(url_for("pages.start"))


@blueprint.post("/patient")
def patient() -> Response:
    """The patient's suggestions with their reasons; an unknown patient gets the search again, with a word about it."""
    patient_id = request.form.get("patient_id", "").strip()
    if not patient_id:
        return _start_with("no-id", 400)
    try:
        desk, entry = serving().patient(patient_id)
        release = desk.release
        kinds = checked_kinds(request.form.getlist("kind"))
        n = checked_n(request.form.get("n", str(DEFAULT_N)), longest(release, kinds))
        answered = answer(desk, entry, patient_id, n, kinds)
    except UnknownPatient:
        return _start_with("unknown-patient", 404)
    except EngineError as error:
        return _state(error, patient_id=patient_id)
    return _page(
        "patient.html",
        desk=desk,
        answer=answered,
        chart=chart(release, entry, words),
        suggestions=suggestions(answered, words),
        n=n,
        lengths=[length for length in LENGTHS if length <= longest(release, kinds)],
        kind=kinds[0] if len(kinds) == 1 else "",
        kinds=release.index.target_kinds,
    )


def error_page(slug: str, status: int) -> Response:
    """What a person sees of an error that no page caught."""
    return _page("state.html", status=status, state=slug, patient_id="", request_id=request_id())


def _state(error: EngineError, patient_id: str = "") -> Response:
    """The page's error state. `patient_id` goes into the form that tries again, and nowhere else."""
    kind = kind_of(error)
    if kind.status == 500:
        log_failure(error)
    response = _page("state.html", status=kind.status, state=kind.slug, patient_id=patient_id, request_id=request_id())
    if kind.status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _start_with(state: str, status: int) -> Response:
    try:
        return _page("start.html", status=status, desk=serving().desk(), state=state)
    except EngineError as error:
        return _state(error)


def _page(template: str, *, status: int = 200, desk: Desk | None = None, **values: Any) -> Response:
    if desk is not None:
        values |= {"release": desk.release, "served": _served(desk)}
    return make_response(render_template(template, **values), status)


def _served(desk: Desk) -> dict[str, Any]:
    """What every page says of the version being served."""
    release, manifest = desk.release, desk.release.manifest
    counts, as_of = manifest.get("counts", {}), str(manifest.get("as_of", ""))
    synthetic = manifest.get("synthetic") is True
    model = manifest.get("model", {})
    return {
        "version": release.version,
        "as_of": date_in_words(as_of),
        "as_of_iso": as_of,
        "age": age_in_words(as_of, datetime.now(UTC), words),
        "created": date_in_words(str(manifest.get("created", ""))),
        "created_iso": str(manifest.get("created", "")),
        "synthetic": synthetic,
        "examples": list(manifest.get("example_patients", ()))[:8] if synthetic else [],
        "patients": f"{counts['patients']:,}" if "patients" in counts else "",
        "suggestable": f"{len(release.index.targets):,}",
        "safety": safety(desk),
        "model": model.get("description") or model.get("name") or release.model.name,
        "quality": quality_in_words(manifest, words),
    }

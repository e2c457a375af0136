"""A patient's form and additions to the chart in, the page for that chart out: "what if". Nothing of it is stored.

A form brings the whole page; a script of ours asks for the part of it that shows the patient, and for names to offer.
All of it travels in bodies: a condition that is tried is as private as one on record.
"""

from __future__ import annotations

import threading
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, make_response, render_template, request, url_for

from api import frame
from api.answers import DEFAULT_N, answer_of, longest
from api.errors import kind_of
from api.observe import log_failure
from api.pages_feedback import OURS
from api.patient import values
from api.recommendations import checked_kinds, checked_n
from api.reference import reference
from api.serving import serving
from api.whatif import KINDS, LONGEST, Names, changes, told, understood
from recommender.errors import EngineError
from recommender.live import records_of, with_added
from recommender.offer import Desk
from recommender.offered import elapsed_days

blueprint = Blueprint("whatif", __name__)
_lock = threading.Lock()


@blueprint.post("/patient/what-if")
def show() -> Response:
    """The patient's page as it would be."""
    patient_id = request.form.get("patient_id", "").strip()
    part = OURS in request.headers
    try:
        found = _values(patient_id)
        if part:
            t, desk = frame.words(), found["desk"]
            return make_response(
                render_template("patient_body.html", t=t, token=frame.token(), **frame.served(desk, t), **found)
            )
        return frame.page("patient.html", **found)
    except EngineError as error:
        if part:
            kind = kind_of(error)
            if kind.status >= 500:
                log_failure(error)
            return make_response("", kind.status)
        return frame.state(error, patient_id=patient_id)


@blueprint.post("/patient/names")
def names() -> Response:
    """Names that begin as the reader types: {"names": [...]}."""
    kind, text = request.form.get("kind", ""), request.form.get("text", "")[:LONGEST]
    return jsonify({"names": _names(serving().desk()).offered(kind, text)})


def _values(patient_id: str) -> dict[str, Any]:
    form, t = request.form, frame.words()
    desk, entry = serving().patient(patient_id)
    elapsed = elapsed_days(desk.release)
    kinds = checked_kinds(form.getlist("kind"))
    n = checked_n(form.get("n", str(DEFAULT_N)), longest(desk.release, kinds))
    dropped = form.get("drop", "")
    given = [] if "clear" in form else [one for one in form.getlist("if") if one != dropped]
    given += [] if "clear" in form else [f"{kind}:{text}" for kind in KINDS for text in form.getlist(kind) if text]
    added, refused = understood(given, _names(desk), desk)
    before = answer_of(desk, entry, desk.reading(entry.chart, elapsed=elapsed), patient_id, n, kinds)
    if not added:
        return {**values(desk, entry, before, n, elapsed), "refused": refused}
    entries, now = told(added)
    records = records_of(entries, now, desk.screen.vocabulary)
    entry_then, reading = with_added(desk, entry, records, elapsed)
    after = answer_of(desk, entry_then, reading, patient_id, n, kinds)
    found = values(desk, entry, after, n, elapsed, added)
    again = found["again"]["fields"] + [("if", one.given) for one in added]
    return {
        **found,
        "again": {"action": url_for("pages.whatif.show"), "fields": again},
        "refused": refused,
        "changes": changes(before, after, added, t),
    }


def _names(desk: Desk) -> Names:
    """Made once a version: some tenths of a second."""
    held = current_app.extensions.get("rxrec_names")
    if held is None or held.version != desk.release.version:
        with _lock:
            held = current_app.extensions.get("rxrec_names")
            if held is None or held.version != desk.release.version:
                held = current_app.extensions["rxrec_names"] = Names.load(desk, reference())
    assert isinstance(held, Names)  # noqa: S101  (for the type checker)
    return held

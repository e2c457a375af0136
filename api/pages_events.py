"""A patient's form in, what changed for that patient since out, as server-sent events: what an open page asks for.

The id comes in a body, as everywhere on pages; a browser's EventSource could only put it into an address.
"""

from __future__ import annotations

from flask import Blueprint, Response, request

from api import frame
from api.errors import BadParameter
from api.events import is_id, stream, wait_for
from api.exchange import caller
from api.serving import serving
from api.words import Words
from recommender.observations import Event
from recommender.watching.detected_issue import sentence

blueprint = Blueprint("events", __name__)


@blueprint.post("/patient/events")
def of_page() -> Response:
    """The same of one patient, whose id comes in a form, for the patient's page; an unknown patient has none."""
    patient_id = request.form.get("patient_id", "").strip()
    after, wait = request.form.get("after", "0"), request.form.get("wait", "0")
    if not patient_id or not is_id(after) or not wait.isdigit():
        raise BadParameter("patient_id", "patient_id, after and wait are needed")
    frame.require_own_form()
    whos = serving().readings().place.whos(patient_id)
    theirs = caller().may_see(patient_id)
    found, last = wait_for(after, int(wait), lambda one: theirs and one.who in whos)
    t = frame.words()
    return stream([_said(one.event, t) for one in found], found, last)


def _said(event: Event, t: Words) -> dict[str, str]:
    """For a person: what it is in the reader's language, what the rule says in English."""
    raised = event.change == "raised"
    title = t(f"event.{event.alarm.kind}.{event.change}")
    if raised:
        title = f"{t(f'severity.{event.alarm.severity}')}{t('colon')}{title}"
    return {
        "title": title,
        "severity": event.alarm.severity if raised else "",
        "text": sentence(event),
        "management": event.alarm.management if raised else "",
    }

"""A patient's id in, what changed for them out, as a searchset of FHIR `DetectedIssue`; beside the drugs there."""

from __future__ import annotations

from flask import Response, request

from api.audit import asked as audited
from api.audit import is_theirs
from api.fhir_knowledge import blueprint
from api.fhir_types import FHIR_JSON, IssueBundle, IssueEntry, Match, OperationOutcome
from api.observation_types import IssueQuery
from api.operations import operation
from api.serving import serving
from api.typed import query, reply
from recommender.stream.readings import MOST_EVENTS
from recommender.watching.detected_issue import detected_issue

__all__ = ["blueprint"]


@blueprint.get("/DetectedIssue")
@operation(
    "What changed for a patient",
    answer=IssueBundle,
    query=IssueQuery,
    mimetype=FHIR_JSON,
    problem=OperationOutcome,
    problem_mimetype=FHIR_JSON,
    cached=False,
)
def issues() -> Response:
    """The events that are kept of a patient (of the last 10,000 of all), the newest first. A patient whom nobody knows
    has none."""
    asked = query(IssueQuery)
    patient_id = asked.patient.removeprefix("Patient/")
    found = []
    if is_theirs(patient_id):
        whos = serving().readings().place.whos(patient_id)
        # the stream is cut to about so many
        found = [one.event for one in serving().events().after("0", 2 * MOST_EVENTS) if one.who in whos]
    if found:
        audited(patient_id)
    shown = found[::-1][: asked.count]
    answer = IssueBundle(
        type="searchset",
        total=len(found),
        entry=tuple(IssueEntry(f"{request.base_url}/{one.id}", detected_issue(one), Match("match")) for one in shown),
    )
    return reply(answer, mimetype=FHIR_JSON)

"""What a clinician made of a suggestion in, whether it is stored now or was before out; and the coded reasons.

`record` is the same for a route of ours, such as the page's buttons. Nothing of an event is logged or repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from flask import Blueprint, Response, current_app, jsonify, request
from werkzeug.exceptions import UnsupportedMediaType

from api import audit
from api.errors import BadParameter, UnknownTreatment, problem_of
from api.serving import serving
from recommender.errors import UnknownPatient
from recommender.feedback import (
    COMMENT_REASON,
    MAX_COMMENT,
    NEEDS_REASON,
    OUTCOMES,
    REASONS,
    BadFeedback,
    FeedbackConflict,
    FeedbackEvent,
    FeedbackLog,
)

MAX_EVENTS = 100
MAX_BYTES = 256 * 1024
AHEAD = timedelta(days=1)  # how far a caller's clock may be before ours

blueprint = Blueprint("feedback", __name__, url_prefix="/v1/feedback")


class _Refused(Exception):
    """An event names a patient or treatment that is not served. `position`: its place among several."""

    def __init__(self, error: UnknownPatient | UnknownTreatment, position: int) -> None:
        super().__init__()
        self.error, self.position = error, position


@blueprint.get("/reasons")
def reasons() -> Response:
    """The coded reasons with their words, and when one is needed."""
    return jsonify(
        {
            "outcomes": [{"code": code, "needs_reason": code in NEEDS_REASON} for code in OUTCOMES],
            "reasons": [
                {"code": code, "name": name, "needs_comment": code == COMMENT_REASON} for code, name in REASONS.items()
            ],
            "max_comment": MAX_COMMENT,
        }
    )


@blueprint.post("")
def store() -> Response:
    """201 when an event is new, 200 when all were stored before; all are stored or none. See docs/api.md."""
    data, several = _body()
    try:
        events = [_event(one, position) for position, one in enumerate(data)]
        new = _store(events, [not _has(one, "occurred") for one in data])
    except BadFeedback as error:
        where = _where(error.field, error.position, several)
        raise BadParameter(where, f"{where} {error.message}") from None
    except FeedbackConflict as error:
        return problem_of(error, parameter=_where("event_id", error.position, several))
    except _Refused as refused:
        field = "patient_id" if isinstance(refused.error, UnknownPatient) else "code"
        return problem_of(refused.error, parameter=_where(field, refused.position, several))
    stored = [{"event_id": event.event_id, "stored": one} for event, one in zip(events, new, strict=True)]
    response = jsonify({"stored": sum(new), "already": len(new) - sum(new), "events": stored})
    response.status_code = 201 if any(new) else 200
    return response


def record(
    event_id: str,
    patient_id: str,
    code: str,
    kind: str,
    outcome: str,
    *,
    version: str,
    channel: str,
    occurred: datetime | None = None,
    reason: str = "",
    comment: str = "",
    rule_ids: Sequence[str] = (),
    rank: int | None = None,
    undoes: str = "",
) -> bool:
    """Store one event; whether it is new. Without `occurred` it is now, and a repeat keeps the first one's time.

    A form should carry an `event_id` that was drawn when it was shown, so that a double click is one event. Raises
    BadParameter, FeedbackConflict, UnknownPatient, UnknownTreatment, FeedbackUnavailable, and what reading the store
    raises.
    """
    at = occurred or datetime.now(UTC)
    of = (event_id, patient_id, code, kind, outcome, version, at, channel, reason, comment, tuple(rule_ids))
    try:
        return _store([FeedbackEvent(*of, rank=rank, undoes=undoes)], [occurred is None])[0]
    except BadFeedback as error:
        raise BadParameter(error.field, f"{error.field} {error.message}") from None
    except _Refused as refused:
        raise refused.error from None


def log() -> FeedbackLog:
    """The current application's log of feedback."""
    found = current_app.extensions["rxrec_feedback"]
    assert isinstance(found, FeedbackLog)  # noqa: S101  (for the type checker: create_app put it there)
    return found


def _body() -> tuple[list[Any], bool]:
    """The events of the request, unchecked, and whether they came as a list."""
    if not request.is_json:
        raise UnsupportedMediaType
    request.max_content_length = MAX_BYTES  # more than a form may be
    try:
        data = orjson.loads(request.get_data())
    except orjson.JSONDecodeError:
        raise BadParameter("body", "the body must be JSON in UTF-8") from None
    if not _has(data, "events"):
        return [data], False
    events = data["events"]
    if len(data) > 1 or not isinstance(events, list) or not 1 <= len(events) <= MAX_EVENTS:
        raise BadParameter("events", f"events must be a list of 1 to {MAX_EVENTS} events, and stand alone")
    return events, True


def _event(data: Any, position: int) -> FeedbackEvent:
    if _has(data, "channel"):
        raise BadFeedback("channel", "is not for the caller to say", position)
    if isinstance(data, dict):
        data = {"occurred": datetime.now(UTC), **data, "channel": "api"}
    try:
        event = FeedbackEvent.from_dict(data)
        if event.occurred > datetime.now(UTC) + AHEAD:
            raise BadFeedback("occurred", "lies in the future")
    except BadFeedback as error:
        raise BadFeedback(error.field, error.message, position) from None
    return event


def _store(events: list[FeedbackEvent], now: list[bool]) -> list[bool]:
    """Of each event, whether it is new; now: its time is the time of its arrival, so a repeat may differ in it."""
    try:
        for position, event in enumerate(events):
            try:
                _require_known(event)
            except (UnknownPatient, UnknownTreatment) as error:
                # stored while it was known: a repeat must not fail for what a newer version has forgotten
                if _as_stored(event, now[position]) != log().find(event.event_id):
                    raise _Refused(error, position) from None
        return log().append_many(events)
    except FeedbackConflict:
        if not any(now):
            raise
        return log().append_many(_as_stored(event, timed) for event, timed in zip(events, now, strict=True))


def _as_stored(event: FeedbackEvent, now: bool) -> FeedbackEvent:
    stored = log().find(event.event_id) if now else None
    return event if stored is None else replace(event, occurred=stored.occurred)


def _require_known(event: FeedbackEvent) -> None:
    """Raises UnknownPatient or UnknownTreatment; what is taken back is known by its first event."""
    if event.outcome == "undone":
        audit.asked(event.patient_id)
        if not audit.is_theirs(event.patient_id):
            raise UnknownPatient("no patient of that id is the caller's to see")
        return
    serving().patient(event.patient_id)
    index = serving().release().index
    if not any((c.kind, c.code) == (event.kind, event.code) for c in index.columns[index.block("treatments")]):
        raise UnknownTreatment("no treatment of that kind and code in the version being served")


def _has(data: Any, name: str) -> bool:
    return isinstance(data, dict) and name in data


def _where(field: str, position: int, several: bool) -> str:
    """The name of a parameter: `reason`, or `events[3].reason`."""
    at = f"events[{position}]" if several else ""
    return f"{at}.{field}" if at and field else at or field or "event"

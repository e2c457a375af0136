"""What changed for monitored patients in, as server-sent events out, to a program; to a page by `api/pages_events.py`.

Each answer holds the events there are, or the first that come while it waits, and ends; the reader asks again with the
id of the last one, as browsers' EventSource does by itself. So nothing is missed, a page takes up no thread for good,
and each answer is in the audit log before it leaves, like all others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from flask import Blueprint, Response, current_app, request

from api.audit import asked as audited
from api.errors import BadParameter
from api.exchange import caller
from api.observation_types import EventsQuery
from api.operations import operation
from api.serving import serving
from api.typed import query
from recommender.observations import Event, time_of
from recommender.stream import Stored
from recommender.watching.detected_issue import detected_issue

EVENT_STREAM = "text/event-stream"
MOST_AT_ONCE = 200
RETRY_MS = 3_000
STEP_SECONDS = 5  # of waiting: below the time after which Redis counts as gone
MOST_HELD = 4  # answers of one process that wait: `rxrec serve` gives a process twice as many threads
_held = threading.BoundedSemaphore(MOST_HELD)

blueprint = Blueprint("events", __name__)


@blueprint.get("/v1/events")
@operation(
    "Events of monitored patients",
    answer=str,
    query=EventsQuery,
    mimetype=EVENT_STREAM,
    cached=False,
)
def of_all() -> Response:
    """Server-sent events of all patients that the caller may see, after the one whose id is `Last-Event-ID` or `after`;
    without either, all that are kept (the last 10,000).

    `event` is `raised` or `ended`; `data` is JSON with the patient, the rule, what it says and because of what, and the
    same as FHIR `DetectedIssue` in `issue`. Each answer ends after its events, or after `wait` seconds without one: ask
    again with the last id, as EventSource does.
    """
    asked = query(EventsQuery)
    after = request.headers.get("Last-Event-ID", "") or asked.after
    if not is_id(after):
        raise BadParameter("Last-Event-ID", "Last-Event-ID must be the id of an event")
    found, last = wait_for(after, asked.wait, lambda one: caller().may_see(one.event.patient_id))
    return stream([_told(one.event) for one in found], found, last)


def wait_for(after: str, seconds: int, wanted: Callable[[Stored], bool]) -> tuple[list[Stored], str]:
    """The events that are wanted, and the id of the last one that was looked at."""
    events, until = serving().events(), time.monotonic()
    holds = seconds > 0 and _held.acquire(blocking=False)  # one too many is answered at once, and asks again
    if holds:
        until += min(seconds, current_app.config["LONGEST_HOLD"])
    try:
        while True:
            left = until - time.monotonic()
            block_ms = max(1, round(1_000 * min(left, STEP_SECONDS))) if left > 0 else None
            found = events.after(after, MOST_AT_ONCE, block_ms)
            after = found[-1].event.id if found else after
            kept = [one for one in found if wanted(one)]
            if kept or (len(found) < MOST_AT_ONCE and time.monotonic() >= until):
                return kept, after
    finally:
        if holds:
            _held.release()


def stream(data: Sequence[dict[str, Any]], found: Sequence[Stored], last: str) -> Response:
    audited(*(one.event.patient_id for one in found))
    lines = [f"retry: {RETRY_MS}\n\n".encode()]
    for told, one in zip(data, found, strict=True):
        lines += [f"id: {one.event.id}\nevent: {one.event.change}\ndata: ".encode(), orjson.dumps(told), b"\n\n"]
    if not found or found[-1].event.id != last:
        lines.append(f"id: {last}\n\n".encode())  # others' events are behind the reader too
    return Response(b"".join(lines), mimetype=EVENT_STREAM)


def _told(event: Event) -> dict[str, Any]:
    one, alarm = event.observation, event.alarm
    return {
        "id": event.id,
        "patient_id": event.patient_id,
        "change": event.change,
        "kind": alarm.kind,
        "rule": alarm.rule,
        "severity": alarm.severity,
        "drug": {"code": alarm.drug, "name": alarm.drug_name} if alarm.drug else None,
        "message": alarm.message,
        "management": alarm.management,
        "because": alarm.because,
        "source": alarm.source,
        "observation": {
            "id": one.id,
            "code": one.code,
            "name": one.name,
            "value": one.value,
            "unit": one.unit,
            "taken": time_of(one.taken).isoformat(),
        },
        "at": time_of(event.at).isoformat(timespec="milliseconds"),
        "version": event.version,
        "issue": detected_issue(event),
    }


def is_id(text: str) -> bool:
    first, _, second = text.partition("-")
    return all(part.isascii() and part.isdigit() and len(part) < 16 for part in (first, second or "0"))

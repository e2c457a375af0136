"""Numbers measured of patients (our JSON, or FHIR Observations) in, into the stream; what was set aside, and why, out.

Nothing of them is logged. What becomes of them is the work of `rxrec watch`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify

from api.bodies import json_body
from api.errors import BadParameter, TooMany
from api.observation_types import (
    MOST_OBSERVATIONS,
    FhirObservation,
    ObservationBundle,
    ObservationsTaken,
    SentObservation,
    SentObservations,
    SetAside,
    SetAsideReason,
)
from api.operations import operation
from api.serving import serving
from api.typed import checked
from recommender.loaders.fhir_elements import Json, identifier, key, obj, objects, text
from recommender.loaders.fhir_files import resources_of
from recommender.loaders.fhir_resources import observation as read_observation
from recommender.loaders.measurements import NO_UNIT, NO_VALUE
from recommender.observations import (
    NO_ID,
    NO_NUMBER,
    NOT_KNOWN,
    TO_COME,
    TOO_OLD,
    Observation,
    understood,
)
from recommender.stream.readings import Backlog

BACKLOG_SECONDS = 10
UNKNOWN_PATIENT = "no patient of that id is the caller's to see"
CONFLICT = "another observation was taken in under this id: give a new one a new id"
NO_TIME = "it does not tell when it was measured"
NO_VALUE_TOLD = "it holds no number"
NO_SUBJECT = "its subject is no patient"
REASONS: dict[str, SetAsideReason] = {
    NO_ID: "id",
    NOT_KNOWN: "not-known",
    NO_NUMBER: "value",
    NO_VALUE: "value",
    NO_UNIT: "unit",
    TO_COME: "time",
    TOO_OLD: "time",
    NO_TIME: "time",
    UNKNOWN_PATIENT: "unknown-patient",
    CONFLICT: "conflict",
}

blueprint = Blueprint("observations", __name__, url_prefix="/v1")


@dataclass(frozen=True)
class _Sent:
    """One number as it was sent, or why it cannot be read."""

    position: int
    id: str
    patient_id: str = ""
    code: str = ""
    value: float = 0.0
    unit: str = ""
    taken: datetime | None = None
    unread: str = ""


@blueprint.post("/observations")
@operation(
    "Send readings",
    answer=ObservationsTaken,
    body=(SentObservation, SentObservations, FhirObservation, ObservationBundle),
    status=(200, 202),
    problems=(413, 415, 429),
    cached=False,
)
def take() -> Response:
    """Home and laboratory measurements as they come, up to 1,000 at once: our JSON, a FHIR R4 Observation, or a Bundle
    of them.

    202 when any is new, 200 when none is. What is sent again under its id counts once (for a day). Units are converted;
    what is impossible, in an unknown unit, from the future or of an unknown patient is set aside and named, and the
    rest is taken in. 429 when more wait than may: send them again later.
    """
    now = datetime.now(UTC)
    sent = _sent(json_body())
    aside: list[SetAside] = []
    usable: list[tuple[_Sent, Observation]] = []
    theirs = _known({one.patient_id for one in sent if not one.unread})
    for one in sent:
        found = _understood(one, theirs, now)
        if isinstance(found, str):
            aside.append(SetAside(one.position, one.id, REASONS.get(found, "not-read"), found))
        else:
            usable.append((one, found))
    try:
        taken = serving().readings().add([found for _, found in usable])
    except Backlog:
        raise TooMany(BACKLOG_SECONDS) from None
    for (one, _), became in zip(usable, taken, strict=True):
        if became == "conflict":
            aside.append(SetAside(one.position, one.id, "conflict", CONFLICT))
    aside.sort(key=lambda one: one.position)
    told = ObservationsTaken(taken.count("new"), taken.count("already"), tuple(aside))
    response = jsonify({"accepted": told.accepted, "already": told.already, "set_aside": [_plain(a) for a in aside]})
    response.status_code = 202 if told.accepted else 200
    return response


def _plain(one: SetAside) -> dict[str, Any]:
    return {"position": one.position, "id": one.id, "reason": one.reason, "detail": one.detail}


def _known(patient_ids: set[str]) -> frozenset[str]:
    """Those who are patients of the version being served, and the caller's to see."""
    asked = sorted(patient_ids)
    return frozenset(name for name, known in zip(asked, serving().known(asked), strict=True) if known)


def _understood(one: _Sent, theirs: frozenset[str], now: datetime) -> Observation | str:
    if one.unread:
        return one.unread
    if one.patient_id not in theirs:
        return UNKNOWN_PATIENT
    if one.taken is None:
        return NO_TIME
    return understood(one.id, one.patient_id, one.code, one.value, one.unit, one.taken, now)


def _sent(data: Any) -> list[_Sent]:
    """Raises BadParameter."""
    if isinstance(data, dict) and "resourceType" in data:
        if data["resourceType"] == "Bundle":
            checked(data, ObservationBundle)
        else:
            checked(data, FhirObservation)
        found = list(_of_fhir(data))
        if not found:
            raise BadParameter("entry", "entry holds no Observation")
        if len(found) > MOST_OBSERVATIONS:
            raise BadParameter("entry", f"entry holds more than {MOST_OBSERVATIONS:,} values")
        return found
    if isinstance(data, dict) and "observations" in data:
        every = checked(data, SentObservations).observations
    else:
        every = [checked(data, SentObservation)]
    return [
        _Sent(position, one.id, one.patient_id, one.code, one.value, one.unit, one.taken)
        for position, one in enumerate(every)
    ]


# --- FHIR ------------------------------------------------------------------------------------------------------------


def _of_fhir(data: Json) -> Iterator[_Sent]:
    """One for each value: a blood pressure is two, known by the resource's id and the code."""
    for position, (resource, _) in enumerate(resources_of(data, frozenset({"Observation"}))):
        own = _id(resource)
        events = read_observation(resource)
        for event in events:
            id_ = own if len(events) == 1 else f"{own}#{event.code}"
            patient_id = event.patient or key(resource.get("subject"), "Patient") or ""
            if event.rejected is not None:
                yield _Sent(position, id_, patient_id, unread=event.rejected[1])
            elif event.value is None:
                yield _Sent(position, id_, patient_id, unread=NO_VALUE_TOLD)
            elif not patient_id:
                yield _Sent(position, id_, unread=NO_SUBJECT)
            else:
                taken = None if event.start is None else datetime.fromtimestamp(event.start, UTC)
                yield _Sent(position, id_, patient_id, event.code or "", event.value, event.unit or "", taken)


def _id(resource: Json) -> str:
    """Its first identifier, else its id and the version of it; "" where it has neither."""
    for one in objects(resource.get("identifier")):
        if told := identifier(one):
            return told
    own, version = text(resource.get("id")), text(obj(resource.get("meta")).get("versionId"))
    return f"{own}/{version}" if own and version else own or ""

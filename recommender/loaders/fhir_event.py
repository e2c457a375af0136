"""A FHIR R4 resource as parsed JSON in; an event of its patient, its span of time and what speaks against it out."""

from __future__ import annotations

from typing import Any, NamedTuple

from recommender.loaders.fhir_codes import NOT_HISTORY
from recommender.loaders.fhir_elements import Json, first_moment, key, last_moment, obj, status

NO_DATE = "not a date or time of FHIR such as 2021, 2021-03-05 or 2021-03-05T06:07:08Z"
NO_PATIENT = "the subject is not a patient"
Rejection = tuple[str, str]  # field, reason


class Event(NamedTuple):
    """What one resource says. `patient`, `encounter` and `medication` are keys of other resources (`Links`).

    `over`: it has ended, so where `stop` is missing it must not count as going on. `lost`: values of an Observation
    that are no numbers beside others that are. `reported`: as in `Records`.
    """

    patient: str | None
    start: int | None
    stop: int | None
    over: bool
    encounter: str | None = None
    code: str | None = None
    name: str | None = None
    medication: str | None = None
    route: str | None = None
    group: str | None = None
    unit: str | None = None
    value: float | None = None
    lost: int = 0
    reported: bool = False
    rejected: Rejection | None = None


# how the fields of an Event are kept (`fhir_table`), all but the last
KEPT = dict.fromkeys(Event._fields[:-1], "text") | {
    **{"start": "time", "stop": "time", "over": "int", "encounter": "key", "value": "number", "lost": "int"},
    "reported": "int",
}


def event(
    resource: Json, start: int | None, stop: int | None, over: bool, rejected: Rejection | None, **told: Any
) -> Event:
    who = "patient" if "patient" in resource else "subject"
    subject = resource.get(who)
    patient = key(subject, "Patient")
    if patient is None and rejected is None and isinstance(obj(subject).get("reference"), str):
        rejected = (who, NO_PATIENT)
    encounter = None
    if start is None or (over and stop is None):  # only then is its encounter asked
        encounter = key(resource.get("encounter") or resource.get("context"), "Encounter")
    return Event(patient, start, stop, over, encounter, rejected=rejected, **told)


def span(resource: Json, prefix: str, *otherwise: Any) -> tuple[int | None, int | None, bool]:
    """Start, end, and whether no given start can be read, of onset[x], effective[x], performed[x] or a bare period."""
    point = resource.get(f"{prefix}DateTime")
    period = obj(resource.get(f"{prefix}Period" if prefix else "period"))
    vague = (resource.get(f"{prefix}{form}") for form in ("String", "Age", "Range"))
    start, begun, bad = first_moment(point, period.get("start"), *otherwise, *vague)
    stop = last_moment(period.get("end"), begun, start)
    if start is None and stop is not None and not bad:  # only the end is known
        return stop, stop, False
    return start, stop, bad


def refused(resource: Json, field: str, reasons: dict[str, str]) -> Rejection | None:
    """The reason that `reasons` has against the status in `field`."""
    why = reasons.get(status(resource.get(field)))
    return (field, why) if why else None


def no_history(resource: Json) -> Rejection | None:
    return refused(resource, "status", NOT_HISTORY[resource["resourceType"]])


def undated(bad: bool, field: str) -> Rejection | None:
    return (field, NO_DATE) if bad else None

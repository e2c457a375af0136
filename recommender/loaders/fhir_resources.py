"""One FHIR R4 resource as parsed JSON in; the events that it tells of out, or why it does not count.

Dates and statuses are read by the rules of docs/formats/fhir.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from recommender.loaders.fhir_codes import (
    ALLERGY_OVER,
    ENCOUNTER_CLASSES,
    NO_ALLERGY,
    NO_ORDER,
    NO_PLAN,
    NOT_VERIFIED,
    ROUTE_NAMES,
    VACCINES,
)
from recommender.loaders.fhir_elements import (
    Concept,
    Json,
    after,
    amount,
    concept,
    duration,
    first_concept,
    first_moment,
    key,
    last_moment,
    moment,
    obj,
    objects,
    status,
    text,
    unit_of,
)
from recommender.loaders.fhir_event import Event, Rejection, event, no_history, refused, span, undated

OVER = frozenset({"stopped", "completed", "revoked", "inactive", "resolved", "remission"})
HERE = frozenset({"arrived", "triaged", "in-progress", "onleave"})


def medication_request(resource: Json) -> list[Event]:
    dosages, supply = objects(resource.get("dosageInstruction")), obj(resource.get("dispenseRequest"))
    bounds = [obj(obj(obj(dosage.get("timing")).get("repeat")).get("boundsPeriod")) for dosage in dosages]
    validity = obj(supply.get("validityPeriod"))
    begins = (period.get("start") for period in (*bounds, validity))
    start, begun, bad = first_moment(resource.get("authoredOn"), *begins)
    stop = _planned(dosages, bounds, supply, begun, start)
    over = status(resource.get("status")) in ("stopped", "completed")
    updated = moment(obj(resource.get("meta")).get("lastUpdated"))
    if over and stop is not None and updated is not None and start is not None:
        stop = max(start, min(stop, updated))  # it was over when this was written, so before its planned end
    rejected = no_history(resource) or refused(resource, "intent", NO_ORDER)
    if resource.get("doNotPerform") is True:
        rejected = rejected or ("doNotPerform", "an order not to give it")
    return [_drug(resource, start, stop, over, rejected or undated(bad, "authoredOn"), _route(dosages))]


def _planned(dosages: list[Json], bounds: list[Json], supply: Json, begun: Any, start: int | None) -> int | None:
    """When an order is to end: as its doses say, else when what was prescribed is used up, else when it lapses."""
    ends = [last_moment(period.get("end"), begun, start) for period in bounds]
    lengths = [duration(obj(obj(dosage.get("timing")).get("repeat")).get("boundsDuration")) for dosage in dosages]
    supplied = duration(supply.get("expectedSupplyDuration"))
    if start is not None:
        ends += [after(start, length) for length in lengths if length is not None]
    known = [end for end in ends if end is not None]
    if known:
        return max(known)
    if supplied is not None and start is not None:
        return after(start, supplied * (1 + max(0.0, amount(supply.get("numberOfRepeatsAllowed")) or 0.0)))
    return last_moment(obj(supply.get("validityPeriod")).get("end"), begun, start)


def medication_statement(resource: Json) -> list[Event]:
    start, stop, bad = span(resource, "effective", resource.get("dateAsserted"))
    over = status(resource.get("status")) in OVER
    rejected = no_history(resource) or undated(bad, "effective")
    told = _drug(resource, start, stop, over, rejected, _route(objects(resource.get("dosage"))))
    return [told._replace(reported=True)]


def medication_administration(resource: Json) -> list[Event]:
    start, stop, bad = span(resource, "effective")
    going_on = status(resource.get("status")) in ("in-progress", "on-hold") and "effectivePeriod" in resource
    stop = stop if going_on or stop is not None else start
    rejected = no_history(resource) or undated(bad, "effective")
    return [_drug(resource, start, stop, not going_on, rejected, _route(objects(resource.get("dosage"))))]


def medication_dispense(resource: Json) -> list[Event]:
    start, _, bad = first_moment(resource.get("whenHandedOver"), resource.get("whenPrepared"))
    supplied = duration(resource.get("daysSupply"))
    stop = start if start is None or supplied is None else after(start, supplied)
    rejected = no_history(resource) or undated(bad, "whenHandedOver")
    return [_drug(resource, start, stop, True, rejected, _route(objects(resource.get("dosageInstruction"))))]


def immunization(resource: Json) -> list[Event]:
    code, name = concept(resource.get("vaccineCode"))
    times = (resource.get(field) for field in ("occurrenceDateTime", "occurrenceString", "recorded"))
    start, _, bad = first_moment(*times)
    rejected = no_history(resource) or undated(bad, "occurrence")
    name, route = VACCINES.get(code or "", name), _route_words(resource.get("route"))
    return [event(resource, start, start, True, rejected, code=code, name=name, route=route)]


def condition(resource: Json) -> list[Event]:
    recorded = resource.get("recordedDate")
    start, _, bad = span(resource, "onset", recorded)
    begun = resource.get("onsetDateTime") or obj(resource.get("onsetPeriod")).get("start") or recorded
    abatement = obj(resource.get("abatementPeriod"))
    ends = (resource.get("abatementDateTime"), abatement.get("end"), abatement.get("start"))
    stop = next((end for value in ends if (end := last_moment(value, begun, start)) is not None), None)
    over = status(resource.get("clinicalStatus")) in OVER or any(field.startswith("abatement") for field in resource)
    if over and stop is None and start is not None:  # it was over when it was recorded, or later: nobody says when
        stop = max(start, moment(recorded) or start)
    rejected = refused(resource, "verificationStatus", NOT_VERIFIED) or undated(bad, "onset")
    code, name = concept(resource.get("code"))
    return [event(resource, start, stop, over, rejected, code=code, name=name)]


def allergy(resource: Json) -> list[Event]:
    """No date: since birth. An allergy is never lost to a date that cannot be read."""
    start, _, _ = span(resource, "onset", resource.get("recordedDate"), resource.get("lastOccurrence"))
    substances = (reaction.get("substance") for reaction in objects(resource.get("reaction")))
    code, name = first_concept([resource.get("code"), *substances])
    rejected = refused(resource, "verificationStatus", NOT_VERIFIED) or refused(
        resource, "clinicalStatus", ALLERGY_OVER
    )
    if code in NO_ALLERGY:
        rejected = rejected or ("code", "states that no allergy is known")
    categories = resource.get("category")
    group = text(categories[0]) if isinstance(categories, list) and categories else None
    own = event(resource, start, None, False, rejected, code=code, name=name, group=group)
    return [own._replace(encounter=None)]


def procedure(resource: Json) -> list[Event]:
    start, stop, bad = span(resource, "performed")
    going_on = status(resource.get("status")) in ("in-progress", "on-hold")
    stop = stop if going_on or stop is not None else start
    code, name = concept(resource.get("code"))
    rejected = no_history(resource) or undated(bad, "performed")
    return [event(resource, start, stop, not going_on, rejected, code=code, name=name)]


def care_plan(resource: Json) -> list[Event]:
    start, stop, bad = span(resource, "", resource.get("created"))
    activities = (obj(activity.get("detail")).get("code") for activity in objects(resource.get("activity")))
    code, name = first_concept(objects(resource.get("category")))
    if code is None:
        told = text(resource.get("title")) or name
        code, name = (None, told) if told else first_concept(activities)
    rejected = no_history(resource) or refused(resource, "intent", NO_PLAN) or undated(bad, "period")
    over = status(resource.get("status")) in OVER
    return [event(resource, start, stop, over, rejected, code=code, name=name)]


def encounter(resource: Json) -> list[Event]:
    """By what tells the department best: the service, else the type, else the class."""
    start, stop, bad = span(resource, "")
    service, types, klass = resource.get("serviceType"), objects(resource.get("type")), obj(resource.get("class"))
    code, name = first_concept([service, *types, {"coding": [klass]}])
    over = status(resource.get("status")) not in HERE
    rejected = no_history(resource) or undated(bad, "period")
    return [event(resource, start, stop, over, rejected, code=code, name=name or ENCOUNTER_CLASSES.get(code or ""))]


def observation(resource: Json) -> list[Event]:
    """Its own value, if it has one, and one event for each component: a blood pressure is two."""
    instants = (resource.get(field) for field in ("effectiveInstant", "effectiveTiming", "issued"))
    start, _, bad = span(resource, "effective", *instants)
    rejected = no_history(resource) or undated(bad, "effective")
    own = event(resource, start, start, True, rejected)
    if own.rejected:
        return [own]
    found: list[Event] = []
    reasons: list[Rejection] = []
    for part in (resource, *objects(resource.get("component"))):
        code, name = concept(part.get("code"))
        value, unit, why = _measured(part)
        if value is not None:
            found.append(own._replace(code=code, name=name, value=value, unit=unit))
        elif why is not None:
            reasons.append(why)
    if found:
        return [found[0]._replace(lost=len(reasons)), *found[1:]]
    return [own._replace(rejected=(reasons or [("value", "missing")])[0])]


def _measured(part: Json) -> tuple[float | None, str | None, Rejection | None]:
    """The number and its unit; the reason where there is a value that is none."""
    quantity = obj(part.get("valueQuantity"))
    value = amount(quantity.get("value") if quantity else part.get("valueInteger"))
    if value is not None and quantity.get("comparator") is not None:
        return None, None, ("valueQuantity", "a bound such as <5, not a measured value")
    if value is None and any(field.startswith("value") for field in part):
        return None, None, ("value", "not a number")
    return value, unit_of(quantity), None


def medication(resource: Json) -> Concept:
    """What a Medication resource is: its code, else the names of its ingredients."""
    found = concept(resource.get("code"))
    if found != (None, None):
        return found
    parts = [concept(part.get("itemCodeableConcept"))[1] for part in objects(resource.get("ingredient"))]
    return None, text(" / ".join(part for part in parts if part))


def _drug(
    resource: Json, start: int | None, stop: int | None, over: bool, rejected: Rejection | None, route: str | None
) -> Event:
    reference = obj(resource.get("medicationReference"))
    target, elsewhere = text(reference.get("reference")) or "", None
    code, name = concept(resource.get("medicationCodeableConcept"))
    if target.startswith("#"):
        inside = [part for part in objects(resource.get("contained")) if part.get("id") == target[1:]]
        code, name = medication(inside[0]) if inside else (code, name)
    elif reference:
        elsewhere = key(reference, "Medication")
    name = name or text(reference.get("display"))
    return event(resource, start, stop, over, rejected, code=code, name=name, medication=elsewhere, route=route)


def _route(dosages: Iterable[Json]) -> str | None:
    return next((told for dosage in dosages if (told := _route_words(dosage.get("route")))), None)


def _route_words(route: Any) -> str | None:
    """The name of a route, or what its code says: HL7's are words ('PO', 'IM'), SNOMED CT's numbers."""
    code, name = concept(route)
    return name or (code and ROUTE_NAMES.get(code, code.rpartition(":")[2]))


READERS: dict[str, tuple[str, Callable[[Json], list[Event]]]] = {
    "MedicationRequest": ("drug", medication_request),
    "MedicationStatement": ("drug", medication_statement),
    "MedicationAdministration": ("drug", medication_administration),
    "MedicationDispense": ("drug", medication_dispense),
    "Immunization": ("drug", immunization),
    "Procedure": ("procedure", procedure),
    "CarePlan": ("care_plan", care_plan),
    "Encounter": ("care_resource", encounter),
    "Condition": ("condition", condition),
    "AllergyIntolerance": ("allergy", allergy),
    "Observation": ("observation", observation),
}
"""Resource type -> the kind of its events, and what reads it."""

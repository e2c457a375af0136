"""A Bundle of one patient's FHIR R4 resources as parsed JSON in, what each says of the chart out, for a request.

Each resource is read by the code that reads an export (`fhir_files`, `fhir_resources`); what resources say of each
other (which Medication, during which Encounter, which version counts) is settled over dicts, as one chart is small
enough. It differs from an export in one thing: a chart that is sent is about now, so what goes on without a date counts
as known now, where an export would leave it out. Whatever the JSON holds, nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from recommender.loaders.fhir_codes import NO_ALLERGY, NOT_HISTORY
from recommender.loaders.fhir_elements import Concept, Json, concept, identifier, key, moment, obj, objects, text
from recommender.loaders.fhir_event import NO_DATE, Event, refused
from recommender.loaders.fhir_files import resources_of
from recommender.loaders.fhir_resources import READERS, medication
from recommender.loaders.people import SEX

WANTED = frozenset({"Patient", "Medication", "OperationOutcome", *READERS})
NO_MEDICATION = "its Medication is not in the request, or has no code and no name"
NOT_NAMED = "neither a code nor a name"
BOUND = "valueQuantity"  # a bound is a value that rules cannot use
STILL_KNOWN = ("drug", "condition")  # kinds that count though a date of theirs cannot be read; a value would not


@dataclass(frozen=True)
class Unread:
    """A resource that tells something of the chart that could not be read. kind: of its events; code, name: what it
    is, as far as it says."""

    kind: str
    code: str
    name: str
    why: str


@dataclass(frozen=True)
class Bundled:
    """What resources say. events: (kind, event), code and name settled. patients: how many different people they are
    of. seen: types of resources that are there. birth: seconds since 1970. failed: an OperationOutcome says that
    something is missing."""

    events: tuple[tuple[str, Event], ...] = ()
    unread: tuple[Unread, ...] = ()
    patients: int = 0
    birth: int | None = None
    sex: str = "unknown"
    seen: frozenset[str] = frozenset()
    no_allergy: bool = False
    failed: bool = False


def read_bundle(value: Any) -> Bundled:
    """What a Bundle, a resource or a list of either says."""
    return read_resources(resources_of(value, WANTED))


def read_resources(entries: Iterable[tuple[Json, str | None]]) -> Bundled:
    """What resources say, each with what a Bundle calls it."""
    read = _Reading()
    for resource, url in entries:
        read.take(resource, url)
    return read.settled()


@dataclass
class _Reading:
    """The resources while they are taken in; later versions replace earlier ones."""

    latest: dict[tuple[str, str], tuple[int, Json, str | None]] = field(default_factory=dict)
    loose: list[tuple[Json, str | None]] = field(default_factory=list)

    def take(self, resource: Json, url: str | None) -> None:
        kind, own = resource["resourceType"], text(resource.get("id"))
        url = url.lower() if url and url.startswith("urn:") else None
        if own is None:
            self.loose.append((resource, url))
            return
        updated = moment(obj(resource.get("meta")).get("lastUpdated"))
        updated = -(2**63) if updated is None else updated
        before = self.latest.get((kind, own))
        if before is None or before[0] <= updated:
            self.latest[kind, own] = (updated, resource, url)

    def settled(self) -> Bundled:
        whole = [*((resource, url) for _, resource, url in self.latest.values()), *self.loose]
        of = _by_type(whole)
        medications = _named(of, "Medication", medication)
        spans = _named(of, "Encounter", lambda resource: READERS["Encounter"][1](resource)[0])
        events: list[tuple[str, Event]] = []
        unread: list[Unread] = []
        for resource, _ in whole:
            if resource["resourceType"] in READERS:
                kind, reader = READERS[resource["resourceType"]]
                for event in reader(resource):
                    _settle(kind, resource, event, medications, spans, events, unread)
        people = [resource for resource, _ in of.get("Patient", ())]
        person = people[0] if people else {}
        return Bundled(
            events=tuple(events),
            unread=tuple(dict.fromkeys(unread)),
            patients=_count_people(of, events),
            birth=moment(person.get("birthDate")),
            sex=SEX.get((text(person.get("gender")) or "unknown").lower(), "unknown"),
            seen=frozenset(of),
            no_allergy=any(
                concept(resource.get("code"))[0] in NO_ALLERGY for resource, _ in of.get("AllergyIntolerance", ())
            ),
            failed=any(failed(resource) for resource, _ in of.get("OperationOutcome", ())),
        )


def _settle(
    kind: str,
    resource: Json,
    event: Event,
    medications: Mapping[str, Concept],
    spans: Mapping[str, Event],
    events: list[tuple[str, Event]],
    unread: list[Unread],
) -> None:
    """Add an event to `events`, or what could not be read of it to `unread`."""
    if event.medication is not None:
        code, name = medications.get(event.medication, (None, None))
        event = event._replace(code=code or event.code, name=name or event.name)

    def lacks(why: str) -> None:
        code, name = (event.code, event.name) if event.code or event.name else concept(resource.get("code"))
        unread.append(Unread(kind, code or "", name or code or "", why))

    if event.rejected is not None:
        if _matters(kind, event):
            lacks(event.rejected[1])
        if kind not in STILL_KNOWN or event.rejected[1] != NO_DATE:
            return
    if event.code is None and event.name is None:
        lacks(NO_MEDICATION if event.medication else NOT_NAMED)
        return
    during = spans.get(event.encounter or "")
    if during is not None and event.start is None:
        event = event._replace(start=during.start)
    if during is not None and event.over and event.stop is None and (during.stop or 0) >= (event.start or 0):
        event = event._replace(stop=during.stop)
    if event.over and event.stop is None:
        event = event._replace(stop=event.start)
    if event.over and event.stop is None:  # it was measured, given or has ended, and nobody says when
        lacks("it tells no date")
        return
    events.append((kind, event._replace(rejected=None)))


def _matters(kind: str, event: Event) -> bool:
    """Whether what a resource is left out for is a lack, and not what the resource says of itself."""
    assert event.rejected is not None  # noqa: S101  (for the type checker)
    field_name, why = event.rejected
    if why == NO_DATE:
        return True
    return kind == "observation" and field_name == BOUND


def _by_type(whole: Iterable[tuple[Json, str | None]]) -> dict[str, list[tuple[Json, str | None]]]:
    found: dict[str, list[tuple[Json, str | None]]] = {}
    for resource, url in whole:
        found.setdefault(resource["resourceType"], []).append((resource, url))
    return found


def _named(of: Mapping[str, list[tuple[Json, str | None]]], kind: str, read: Any) -> dict[str, Any]:
    """What is looked up, by everything that a reference may call it."""
    found: dict[str, Any] = {}
    for resource, url in of.get(kind, ()):
        if refused(resource, "status", NOT_HISTORY[kind]):
            continue
        meant = read(resource)
        own = text(resource.get("id"))
        names = [own, url, *(identifier(one) for one in objects(resource.get("identifier")))]
        names += [f"urn:uuid:{own.lower()}"] if own else []
        found |= {name: meant for name in names if name}
    return found


def _count_people(of: Mapping[str, list[tuple[Json, str | None]]], events: Iterable[tuple[str, Event]]) -> int:
    """Different people that resources are of: those that are there, and those that are only referred to."""
    meant: dict[str, int] = {}
    for number, (resource, url) in enumerate(of.get("Patient", ())):
        own = text(resource.get("id"))
        names = [own, url, *(identifier(one) for one in objects(resource.get("identifier")))]
        names += [f"urn:uuid:{own.lower()}"] if own else []
        replaced = [key(obj(link).get("other"), "Patient") for link in objects(resource.get("link"))]
        known = next((meant[name] for name in (*names, *replaced) if name in meant), number)
        meant |= {name: known for name in (*names, *replaced) if name}
    others = {event.patient for _, event in events if event.patient is not None} - meant.keys()
    people = len(set(meant.values())) or min(1, len(of.get("Patient", ())))
    return people + len(others)


def failed(outcome: Json) -> bool:
    """Whether an OperationOutcome says that something could not be given."""
    return any(issue.get("severity") in ("error", "fatal") for issue in objects(outcome.get("issue")))

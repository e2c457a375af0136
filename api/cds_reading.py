"""A hook's call in, the chart and the drafted drugs as the engine reads them out: from prefetch, else as published.

Prefetch that is null, cut off, a page of several or an OperationOutcome is not told, which is never "none". Nothing is
asked of the client's FHIR server, and nothing of a call is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from api import audit
from api.cds_types import HookCall, PatientViewContext, Resource
from api.charts import UNTOLD, Sent, lacks_of, of_resources
from api.errors import BadParameter, NoChart
from api.reference import reference
from api.serving import serving
from recommender.errors import NothingPublished, StoreCorrupt, StoreUnavailable, UnknownPatient
from recommender.fallback import PUBLISHED, Basis, fallen_back
from recommender.live import chart_of, records_of, row_of
from recommender.loaders.fhir_bundle import Bundled, failed, read_resources
from recommender.loaders.fhir_elements import Json, amount, key, obj, objects, text
from recommender.loaders.fhir_files import resources_of
from recommender.loaders.fhir_resources import medication_request, medication_statement
from recommender.matrix import Column
from recommender.offer import Desk
from recommender.offered import NotChecked, elapsed_days
from recommender.orders import Draft
from recommender.safety.charts import Chart, Known
from recommender.safety.screen import Screen
from recommender.snapshot import Entry
from recommender.vocabulary import DrugVocabulary

PREFETCH = {
    "patient": "Patient/{{context.patientId}}",
    "conditions": "Condition?patient={{context.patientId}}",
    "medicationRequests": "MedicationRequest?patient={{context.patientId}}&_include=MedicationRequest:medication",
    "medicationStatements": "MedicationStatement?patient={{context.patientId}}&_include=MedicationStatement:medication",
    "allergies": "AllergyIntolerance?patient={{context.patientId}}",
    "observations": "Observation?patient={{context.patientId}}&category=laboratory,vital-signs&_sort=-date",
}
KIND_OF = {
    "conditions": "condition",
    "medicationRequests": "drug",
    "medicationStatements": "drug",
    "allergies": "allergy",
    "observations": "observation",
}
CLINICAL = ("drug", "condition", "allergy")  # values alone are no chart to go by where a published one is known
GAPS = {
    "medicationRequests": NotChecked(
        "therapy", "orders (MedicationRequest)", "the prefetch lacks them, or a part of them"
    ),
    "medicationStatements": NotChecked(
        "therapy", "reported drugs (MedicationStatement)", "the prefetch lacks them, or a part of them"
    ),
    "conditions": NotChecked("condition", "conditions", "the prefetch lacks them, or a part of them"),
    "allergies": NotChecked("allergy", "allergies", "the prefetch lacks them, or a part of them"),
}
WANTED = frozenset(
    {"Patient", "Condition", "Medication", "MedicationRequest", "MedicationStatement", "AllergyIntolerance",
     "Observation", "Encounter", "OperationOutcome"}
)  # fmt: skip
ORDERS = {"MedicationRequest": medication_request, "MedicationStatement": medication_statement}
MOST_DRAFTS = 50
NOTHING = Draft(Column("", "drug", "", ""))  # an order that names no medication yet
Need = Literal["list", "alternatives", "rules"]


@dataclass(frozen=True)
class Hooked:
    """A chart as it was read for a call. desk, entry: None where no version can be asked; elapsed: days since it was
    read. lacks: what of it is not told; here: whether it came with the call."""

    screen: Screen
    chart: Chart
    known: Known
    elapsed: int
    lacks: tuple[NotChecked, ...]
    here: bool
    desk: Desk | None = None
    entry: Entry | None = None
    basis: Basis = PUBLISHED


@dataclass(frozen=True)
class Drafted:
    """A medication in a call's draft orders. name: what the order calls it, "" where it names none yet."""

    id: str
    name: str
    draft: Draft


@dataclass(frozen=True)
class _Told:
    """What a prefetch tells: resources, and the keys that tell all that was asked."""

    resources: tuple[tuple[Json, str | None], ...] = ()
    whole: frozenset[str] = frozenset()
    some: frozenset[str] = field(default_factory=frozenset)


def hooked(call: HookCall, context: PatientViewContext, now: datetime, need: Need) -> Hooked:
    """The chart of a call. need: a list, for which a version must be there; alternatives, if there is one; or no more
    than rules, which work on a chart that is sent while the store is down.

    Raises NoChart where nothing can be had, BadParameter for resources of another patient, and what the store raises.
    """
    audit.asked(context.patientId)
    told = _told(call.prefetch or {})
    if any(KIND_OF.get(name) in CLINICAL for name in told.some):
        return _sent(told, context, now, need)
    try:
        desk, entry = serving().patient(context.patientId)
    except UnknownPatient:
        if told.some:
            return _sent(told, context, now, need)
        raise NoChart("no part of the chart can be had") from None
    return Hooked(desk.screen, entry.chart, desk.release.known, elapsed_days(desk.release), (), False, desk, entry)


def drafted(orders: Resource, patient_id: str, vocabulary: DrugVocabulary) -> list[Drafted]:
    """The medications of a Bundle of draft orders, in its order. Raises BadParameter for no Bundle, and for an order
    that is another patient's."""
    if orders.get("resourceType") != "Bundle":
        raise BadParameter("context.draftOrders", "context.draftOrders must be a Bundle")
    resources = list(resources_of(orders, WANTED))
    medications = [resource for resource in resources if resource[0]["resourceType"] == "Medication"]
    found = []
    for resource, url in resources:
        if resource["resourceType"] not in ORDERS or resource.get("doNotPerform") is True:
            continue
        event = ORDERS[resource["resourceType"]](resource)[0]
        if event.patient is not None and _another(event.patient, patient_id):
            raise BadParameter("context.draftOrders", "context.draftOrders holds an order for another patient")
        name, code = event.name, event.code
        if event.medication is not None:
            # read as an order that stands, so that its Medication is looked up as a chart's is
            standing = {**resource, "status": "active", "intent": "order"}
            events = read_resources([(standing, url), *medications]).events
            named = next((one for kind, one in events if kind == "drug"), event)
            name, code = named.name or name, named.code or code
        draft = Draft.of(vocabulary, code or "", name or "", event.route or "") if code or name else NOTHING
        own = text(resource.get("id")) or ""
        found.append(Drafted(f"{resource['resourceType']}/{own}" if own else url or "", name or code or "", draft))
    if len(found) > MOST_DRAFTS:
        raise BadParameter("context.draftOrders", f"context.draftOrders holds more than {MOST_DRAFTS} medications")
    return found


def selected(drafts: list[Drafted], selections: list[str]) -> list[int]:
    """The places of the drafts that were selected just now; all of them where a client names them otherwise."""
    wanted = {selection.rpartition("/")[2] for selection in selections}
    found = [place for place, draft in enumerate(drafts) if draft.id and draft.id.rpartition("/")[2] in wanted]
    others = {"NutritionOrder", "ServiceRequest", "DeviceRequest", "VisionPrescription"}
    for_drugs = [one for one in selections if one.partition("/")[0] not in others]
    return found or (list(range(len(drafts))) if for_drugs else [])


def _sent(told: _Told, context: PatientViewContext, now: datetime, need: Need) -> Hooked:
    screen = reference().screen
    sent = _of_prefetch(told, context.patientId, screen, now)
    records = records_of(sent.entries, now, screen.vocabulary, birth_date=sent.birth_date, sex=sent.sex)
    chart, known = chart_of(records, screen.observed, sent.untold)
    # `GAPS` tells the same by key
    lacks = tuple(lack for lack in lacks_of(sent, records) if lack not in UNTOLD.values())
    without = Hooked(screen, chart, known, 0, lacks, True)
    if need == "rules":
        return without
    try:
        desk = serving().desk()
    except (StoreUnavailable, NothingPublished, StoreCorrupt):
        if need == "list":
            raise
        return without
    entry, _ = desk.live(*row_of(desk.release.index, records), chart, known)
    entry, basis = fallen_back(desk, entry, known, ("drug",))
    return Hooked(screen, chart, known, 0, lacks, True, desk, entry, basis)


def _of_prefetch(told: _Told, patient_id: str, screen: Screen, now: datetime) -> Sent:
    stub: Json = {"resourceType": "Patient", "id": patient_id.rpartition("/")[2]}
    resources = list(told.resources)
    if not any(resource["resourceType"] == "Patient" for resource, _ in resources):
        resources.append((stub, None))
    bundled: Bundled = read_resources(resources)
    patients = [resource for resource, _ in resources if resource["resourceType"] == "Patient"]
    if any(_another(text(one.get("id")) or patient_id, patient_id) for one in patients):
        raise BadParameter("prefetch.patient", "prefetch.patient is not the patient of context.patientId")
    # orders tell what is taken; what is only reported adds to them
    whole = {KIND_OF[name] for name in told.whole if name in KIND_OF and name != "medicationStatements"}
    untold = frozenset(KIND_OF.values()) - whole
    sent = of_resources(bundled, screen.observed, untold, now)
    lacks = tuple(gap for name, gap in GAPS.items() if name not in told.whole)
    return Sent(sent.entries, sent.birth_date, sent.sex, untold, (*lacks, *sent.lacks))


def _told(prefetch: dict[str, Any]) -> _Told:
    resources: list[tuple[Json, str | None]] = []
    whole, some = set(), set()
    for name in PREFETCH:
        found, complete = _prefetched(prefetch.get(name), name)
        resources += found
        if found or complete:
            some.add(name)
        if complete:
            whole.add(name)
    return _Told(tuple(resources), frozenset(whole), frozenset(some))


def _prefetched(value: Any, name: str) -> tuple[list[tuple[Json, str | None]], bool]:
    """The resources under a key, and whether they are all that there are."""
    kind = text(obj(value).get("resourceType"))
    if kind == "Bundle":
        every = list(resources_of(value, WANTED))
        outcomes = [one for one, _ in every if one["resourceType"] == "OperationOutcome"]
        found = [(one, url) for one, url in every if one["resourceType"] != "OperationOutcome"]
        whole = not any(map(failed, outcomes)) and not _cut_off(value)
        return found, whole and (bool(found) or name != "patient")
    if kind in WANTED and kind != "OperationOutcome":
        return [(value, None)], name == "patient"  # one resource where several were asked for: perhaps not all
    return [], False


def _cut_off(bundle: Json) -> bool:
    """Whether a Bundle is a page of several, or holds less than it says."""
    entries = bundle.get("entry")
    if any(link.get("relation") == "next" for link in objects(bundle.get("link"))):
        return True
    if entries is not None and not isinstance(entries, list):
        return True
    total = amount(bundle.get("total"))
    matches = [entry for entry in objects(entries) if obj(entry.get("search")).get("mode") in (None, "match")]
    return total is not None and total > len(matches)


def _another(one: str, patient_id: str) -> bool:
    """Whether a key certainly means another patient: what is no plain id cannot be compared."""
    plain = key({"reference": f"Patient/{patient_id.rpartition('/')[2]}"}, "Patient")
    return not one.startswith("urn:") and "|" not in one and one != plain

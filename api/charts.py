"""A chart as a request brings it (our JSON, or FHIR) in; the same as the engine reads it, and what it lacks, out.

Nothing of it is stored or logged: it lives as long as its request.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from msgspec import structs

from api.answers import Answer
from api.errors import BadParameter
from api.live_types import ChartAllergy, ChartCondition, ChartDrug, ChartObservation, ChartPatient, SentChart
from recommender.fallback import Basis, fallen_back
from recommender.live import Told, chart_of, records_of, row_of
from recommender.loaders.fhir_bundle import Bundled, Unread
from recommender.loaders.fhir_elements import moment, text
from recommender.offer import Desk
from recommender.offered import NotChecked
from recommender.records import Records
from recommender.safety.charts import Chart, Known
from recommender.safety.screen import Screen
from recommender.safety.verdict import Reading
from recommender.snapshot import Entry

AHEAD = timedelta(days=1)  # how far another system's clock may be before ours
DAYS_PER_YEAR = 365.2425
GAP_OF = {"drug": "therapy", "condition": "condition", "allergy": "allergy", "observation": "lab"}
NOT_TOLD = "the request tells none: send them, or an empty list if there is none"
UNTOLD = {
    "drug": NotChecked("therapy", "current drugs", NOT_TOLD),
    "condition": NotChecked("condition", "conditions", NOT_TOLD),
    "allergy": NotChecked("allergy", "allergies", NOT_TOLD),
}
AN_EXPORT = "this export holds no"  # how the engine begins to say what is untold of a published chart
ON_PURPOSE = ("not therapy: ", "repeats an earlier row")  # what is left out for these is no lack


@dataclass(frozen=True)
class Sent:
    """A chart that a request brings. untold: kinds of which it says nothing; lacks: what it has and cannot be read."""

    entries: tuple[Told, ...]
    birth_date: datetime | None
    sex: str
    untold: frozenset[str]
    lacks: tuple[NotChecked, ...] = ()


@dataclass(frozen=True)
class Scored:
    """A chart that a request brought, scored: its candidates, where they come from, the chart as read, and its gaps."""

    entry: Entry
    basis: Basis
    reading: Reading
    lacks: tuple[NotChecked, ...]


def scored(desk: Desk, sent: Sent, kinds: Collection[str], now: datetime) -> Scored:
    """As the night would have published it, with what it falls back to where the model knows nothing of it."""
    records = _records(desk.screen, sent, now)
    chart, known = chart_of(records, desk.screen.observed, sent.untold)
    entry, reading = desk.live(*row_of(desk.release.index, records), chart, known)
    entry, basis = fallen_back(desk, entry, known, kinds)
    return Scored(entry, basis, reading, lacks_of(sent, records))


def read(screen: Screen, sent: Sent, now: datetime) -> tuple[Chart, Known, tuple[NotChecked, ...]]:
    """As safety rules look at it; no version need be published for that."""
    records = _records(screen, sent, now)
    return *chart_of(records, screen.observed, sent.untold), lacks_of(sent, records)


def with_lacks(answer: Answer, lacks: Iterable[NotChecked]) -> Answer:
    """The answer with what the request lacks, in place of what the engine says of an export."""
    own = tuple(gap for gap in answer.not_checked if not of_export(gap))
    return structs.replace(answer, not_checked=tuple(dict.fromkeys((*lacks, *own))))


def of_export(gap: NotChecked) -> bool:
    """Whether the engine says it of an export: of a chart that was sent, we say it in other words."""
    return gap.mend.startswith(AN_EXPORT)


def lacks_of(sent: Sent, records: Records) -> tuple[NotChecked, ...]:
    """What of a chart is not told, or told in a way that cannot be used."""
    found = [UNTOLD[kind] for kind in UNTOLD if kind in sent.untold]
    found += sent.lacks
    for finding in records.log.findings:
        if finding.outcome != "rejected" or finding.reason.startswith(ON_PURPOSE):
            continue
        for row in finding.first_rows:
            entry = sent.entries[row - 1]
            found.append(NotChecked(GAP_OF.get(entry.kind, "kind"), entry.name or entry.code, finding.reason))
    return tuple(dict.fromkeys(found))


_Entry = ChartDrug | ChartCondition | ChartAllergy | ChartObservation

# --- our JSON --------------------------------------------------------------------------------------------------------


def of_json(chart: SentChart, now: datetime) -> Sent:
    """Raises BadParameter for a date that is none, and for an entry without code and name."""
    lists: dict[str, tuple[str, Sequence[_Entry] | None]] = {
        "drug": ("drugs", chart.drugs),
        "condition": ("conditions", chart.conditions),
        "allergy": ("allergies", chart.allergies),
        "observation": ("observations", chart.observations),
    }
    entries = [
        _entry(kind, one, f"{name}[{place}]", now)
        for kind, (name, listed) in lists.items()
        for place, one in enumerate(listed or ())
    ]
    birth_date, sex = _person(chart.patient or ChartPatient(), now)
    untold = frozenset(kind for kind, (_, listed) in lists.items() if listed is None)
    return Sent(tuple(entries), birth_date, sex, untold)


def _person(patient: ChartPatient, now: datetime) -> tuple[datetime | None, str]:
    if patient.birth_date is not None and patient.age is not None:
        raise BadParameter("patient.age", "patient.age and patient.birth_date say the same: give one of them")
    born = _time(patient.birth_date, "patient.birth_date")
    if born is not None and born > now + AHEAD:
        raise BadParameter("patient.birth_date", "patient.birth_date lies in the future")
    if patient.age is not None:
        born = now - timedelta(days=patient.age * DAYS_PER_YEAR, hours=1)
    return born, {"female": "F", "male": "M", "other": "other"}.get(patient.sex or "", "unknown")


def _entry(kind: str, one: _Entry, where: str, now: datetime) -> Told:
    code, name = text(one.code) or "", text(one.name) or ""
    if not code and not name:
        raise BadParameter(where, f"{where} needs a code or a name")
    if isinstance(one, ChartObservation):
        measured = _time(one.date, f"{where}.date") or now
        if measured > now + AHEAD:
            raise BadParameter(f"{where}.date", f"{where}.date lies in the future")
        return Told(kind, code, name, measured, measured, one.value, text(one.unit) or "")
    start = _time(one.start, f"{where}.start")
    stop = None if isinstance(one, ChartAllergy) else _time(one.stop, f"{where}.stop")
    route = text(one.route) or "" if isinstance(one, ChartDrug) else ""
    return Told(kind, code, name, start or _before(stop), stop, route=route)


def _before(stop: datetime | None) -> datetime | None:
    """The start of what only tells its end: the day before."""
    return None if stop is None else stop - timedelta(days=1)


def _time(day: str | None, where: str) -> datetime | None:
    if day is None:
        return None
    seconds = moment(day.strip())
    if seconds is None:
        raise BadParameter(where, f"{where} must be a date or a time with its zone, such as 2026-03-05")
    return datetime.fromtimestamp(seconds, UTC)


# --- FHIR ------------------------------------------------------------------------------------------------------------

TYPES = {  # a Bundle tells a kind if it holds any resource of it
    "drug": frozenset({"MedicationRequest", "MedicationStatement", "MedicationAdministration", "MedicationDispense"}),
    "condition": frozenset({"Condition"}),
    "allergy": frozenset({"AllergyIntolerance"}),
    "observation": frozenset({"Observation"}),
}


def of_bundle(bundled: Bundled, observed: Collection[str], now: datetime) -> Sent:
    """Raises BadParameter for resources of several people. observed: codes of observations that rules ask for."""
    untold = frozenset(kind for kind, types in TYPES.items() if not types & bundled.seen)
    return of_resources(bundled, observed, untold, now)


def of_resources(bundled: Bundled, observed: Collection[str], untold: frozenset[str], now: datetime) -> Sent:
    """The same where it is known what is told. Raises BadParameter for resources of several people."""
    if bundled.patients > 1:
        raise BadParameter("entry", "the resources are of more than one patient: send one patient's")
    entries, lacks = [], list(_unread(bundled.unread, observed))
    for kind, event in bundled.events:
        told = Told(
            kind, event.code or "", event.name or "", _at(event.start), _at(event.stop), event.value, event.unit or "",
            event.route or "",
        )  # fmt: skip
        if kind == "observation" and told.start is not None and told.start > now + AHEAD:
            if told.code in observed:
                lacks.append(NotChecked("lab", told.name or told.code, "its date lies in the future"))
            continue
        entries.append(told)
    if bundled.failed:
        why = "an OperationOutcome says that something could not be given"
        lacks.append(NotChecked("therapy", "the request's resources", why))
    born = _at(bundled.birth)
    if born is not None and born > now + AHEAD:
        born = None
        lacks.append(NotChecked("person", "date of birth", "it lies in the future"))
    return Sent(tuple(entries), born, bundled.sex, untold, tuple(lacks))


def _unread(unread: Sequence[Unread], observed: Collection[str]) -> Iterable[NotChecked]:
    for one in unread:
        if one.kind in GAP_OF and (one.kind != "observation" or one.code in observed):
            yield NotChecked(GAP_OF[one.kind], one.name or f"an unnamed {one.kind}", one.why)


def _at(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _records(screen: Screen, sent: Sent, now: datetime) -> Records:
    return records_of(sent.entries, now, screen.vocabulary, birth_date=sent.birth_date, sex=sent.sex)

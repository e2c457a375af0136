"""What the routes of readings and events take and give, as frozen values; documented from these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from api.live_types import Code
from api.types import Request, Told
from recommender.observations import LONGEST_ID

MOST_OBSERVATIONS = 1_000
LONGEST_HOLD = 20  # seconds

SetAsideReason = Literal["unknown-patient", "unit", "value", "time", "not-known", "id", "conflict", "not-read"]


class SentObservation(Request, frozen=True):
    """A number that was measured. `id`: the same when it is sent again, so that it counts once; of a device and a
    counter, say. Without `unit` it is in ours (data/vocabulary/measurements.csv)."""

    id: Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)]
    patient_id: Annotated[str, Meta(min_length=1, max_length=500)]
    code: Code
    value: float
    taken: Annotated[datetime, Meta(tz=True, examples=["2026-03-05T06:07:08Z"])]
    unit: Annotated[str, Meta(max_length=50)] = ""


class SentObservations(Request, frozen=True):
    """Several at once."""

    observations: Annotated[list[SentObservation], Meta(min_length=1, max_length=MOST_OBSERVATIONS)]


class FhirObservation(Struct, frozen=True):
    """A FHIR R4 Observation with a LOINC code, `valueQuantity` (or components with one), `effectiveDateTime`, a subject
    and an identifier or id."""

    resourceType: Literal["Observation"]  # noqa: N815  (FHIR's word)


class ObservationBundle(Struct, frozen=True):
    """A FHIR R4 Bundle of Observations, of any patients."""

    resourceType: Literal["Bundle"]  # noqa: N815  (FHIR's word)
    entry: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=MOST_OBSERVATIONS)]


class SetAside(Told, frozen=True):
    """An observation that is not taken in. position: in what was sent, from 0; id: as it was sent."""

    position: int
    id: str
    reason: SetAsideReason
    detail: str


class ObservationsTaken(Told, frozen=True):
    """accepted: new; already: taken in before under the same id; the rest is set aside, each with its reason."""

    accepted: int
    already: int
    set_aside: tuple[SetAside, ...]


class EventsQuery(Request, frozen=True):
    """From where, and how long to wait for an event."""

    after: Annotated[
        str,
        Meta(pattern=r"^[0-9]{1,15}(-[0-9]{1,10})?$", description="An event's id; `Last-Event-ID` goes before it"),
    ] = "0"
    wait: Annotated[int, Meta(ge=0, le=LONGEST_HOLD, description="Seconds; 0: answer at once")] = 0


class IssueQuery(Request, frozen=True):
    """Whose issues."""

    patient: Annotated[str, Meta(min_length=1, max_length=500, description="The patient's id, or Patient/{id}")]
    count: Annotated[int, Meta(ge=1, le=500)] = field(default=50, name="_count")

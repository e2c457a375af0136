"""CDS Hooks 2.0's words as frozen values: what the services are asked, and what they are told of their cards.

Members that a client adds are ignored, as the specification asks.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

UUID = r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"
MOST_FEEDBACK = 100
Text = Annotated[str, Meta(min_length=1, max_length=500)]
Resource = dict[str, Any]


class FhirAuthorization(Struct, frozen=True):
    """Accepted and never used: nothing is asked of the client's FHIR server. Its token is not kept or logged."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int | None = None
    scope: str | None = None
    subject: str | None = None
    patient: str | None = None


class PatientViewContext(Struct, frozen=True):
    """Whose chart is opened, and by whom."""

    userId: Text  # noqa: N815
    patientId: Text  # noqa: N815
    encounterId: str | None = None  # noqa: N815


class OrderSelectContext(PatientViewContext, frozen=True, kw_only=True):
    """The orders in work, and which of them were selected just now (`MedicationRequest/103`)."""

    selections: Annotated[list[str], Meta(max_length=200)]
    draftOrders: Resource  # noqa: N815


class OrderSignContext(PatientViewContext, frozen=True, kw_only=True):
    """The orders that are about to be signed."""

    draftOrders: Resource  # noqa: N815


class HookCall(Struct, frozen=True, kw_only=True):
    """What every hook's call has."""

    hookInstance: Annotated[str, Meta(pattern=UUID)]  # noqa: N815
    fhirServer: str | None = None  # noqa: N815
    fhirAuthorization: FhirAuthorization | None = None  # noqa: N815
    prefetch: dict[str, Any] | None = None


class PatientViewCall(HookCall, frozen=True, kw_only=True):
    """A chart is opened."""

    hook: Literal["patient-view"]
    context: PatientViewContext


class OrderSelectCall(HookCall, frozen=True, kw_only=True):
    """An order is selected."""

    hook: Literal["order-select"]
    context: OrderSelectContext


class OrderSignCall(HookCall, frozen=True, kw_only=True):
    """Orders are about to be signed."""

    hook: Literal["order-sign"]
    context: OrderSignContext


class Service(Struct, frozen=True):
    """One service: its hook, what it does, and the prefetch that it asks for."""

    hook: Literal["patient-view", "order-select", "order-sign"]
    title: str
    description: str
    id: str
    prefetch: dict[str, str]
    usageRequirements: str  # noqa: N815


class Discovery(Struct, frozen=True):
    """The services."""

    services: tuple[Service, ...]


class Cards(Struct, frozen=True):
    """Cards as CDS Hooks 2.0 defines them; without any, there is nothing to say."""

    cards: list[Resource]


class AcceptedSuggestion(Struct, frozen=True):
    """A suggestion's `uuid`."""

    id: Annotated[str, Meta(min_length=1, max_length=4_000)]


class ReasonCoding(Struct, frozen=True):
    """One of the card's `overrideReasons`."""

    code: Annotated[str, Meta(max_length=200)] | None = None
    system: Annotated[str, Meta(max_length=500)] | None = None
    display: Annotated[str, Meta(max_length=500)] | None = None


class OverrideReason(Struct, frozen=True):
    """Why, coded and in words."""

    reason: ReasonCoding | None = None
    userComment: Annotated[str, Meta(max_length=10_000)] | None = None  # noqa: N815


class CardFeedback(Struct, frozen=True):
    """What became of one card. `acceptedSuggestions` is needed with `accepted`."""

    card: Annotated[str, Meta(min_length=1, max_length=4_000)]
    outcome: Literal["accepted", "overridden"]
    outcomeTimestamp: Annotated[str, Meta(max_length=40)]  # noqa: N815
    acceptedSuggestions: (  # noqa: N815
        Annotated[list[AcceptedSuggestion], Meta(max_length=20)] | None
    ) = None
    overrideReason: OverrideReason | None = None  # noqa: N815


class Feedback(Struct, frozen=True):
    """What became of cards."""

    feedback: Annotated[list[CardFeedback], Meta(min_length=1, max_length=MOST_FEEDBACK)]


class FeedbackTaken(Struct, frozen=True):
    """How many events are new, how many were stored before, and the positions, from 0, of cards that are not ours."""

    stored: int
    already: int
    unknown: tuple[int, ...] = field(default_factory=tuple)

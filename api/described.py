"""Nothing in; out, what the routes that carry no `@operation` of their own take and give, for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from api.operations import Operation
from api.types import Kind
from recommender.feedback import MAX_COMMENT, OUTCOMES, REASONS


class Live(Struct, frozen=True):
    """The process answers."""

    status: Literal["live"]


class Ready(Struct, frozen=True):
    """A whole version can be served."""

    status: Literal["ready"]
    version: str


class FeedbackBody(Struct, frozen=True):
    """What became of one suggestion. `reason` for rejected and overridden; `undoes` for undone."""

    event_id: Annotated[str, Meta(pattern="^[A-Za-z0-9._:-]{1,100}$")]
    patient_id: Annotated[str, Meta(min_length=1, max_length=200)]
    code: Annotated[str, Meta(min_length=1, max_length=200)]
    kind: Kind
    outcome: Literal[OUTCOMES]  # type: ignore[valid-type]
    version: str
    occurred: str = ""
    reason: Literal["", *REASONS] = ""  # type: ignore[valid-type]
    comment: Annotated[str, Meta(max_length=MAX_COMMENT)] = ""
    rule_ids: tuple[str, ...] = ()
    rank: int | None = None
    undoes: str = ""


class FeedbackBodies(Struct, frozen=True):
    """Up to 100 events; all are stored or none."""

    events: Annotated[list[FeedbackBody], Meta(min_length=1, max_length=100)]


class StoredEvent(Struct, frozen=True):
    """`stored`: whether it is new."""

    event_id: str
    stored: bool


class FeedbackStored(Struct, frozen=True):
    """How many events are new, and how many were stored before."""

    stored: int
    already: int
    events: tuple[StoredEvent, ...]


class OutcomeCode(Struct, frozen=True):
    """An outcome, and whether it needs a reason."""

    code: str
    needs_reason: bool


class ReasonCode(Struct, frozen=True):
    """A coded reason in words, and whether it needs a comment."""

    code: str
    name: str
    needs_comment: bool


class FeedbackReasons(Struct, frozen=True):
    """The outcomes and coded reasons that feedback may have."""

    outcomes: tuple[OutcomeCode, ...]
    reasons: tuple[ReasonCode, ...]
    max_comment: int


OF_ENDPOINT: Mapping[str, Operation] = {
    "feedback.store": Operation(
        "Store what became of suggestions",
        FeedbackStored,
        body=(FeedbackBody, FeedbackBodies),
        status=(200, 201),
        problems=(404, 409, 413, 415),
        cached=False,
    ),
    "feedback.reasons": Operation("The coded reasons", FeedbackReasons, cached=False, usual=(500,)),
    "ops.live": Operation("Does the process live", Live, cached=False, usual=(500,)),
    "ops.ready": Operation("Can it serve", Ready, cached=False, usual=(503,)),
}

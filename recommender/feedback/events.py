"""A JSON object or fields in, one validated `FeedbackEvent` out: what a clinician made of one suggestion, and why.

The coded reasons are those that pharmacists and physicians give most often when they override an alert (docs/api.md
lists them). No error repeats what an event holds: it names the field.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from recommender.errors import InputError
from recommender.records import TREATMENT_KINDS

OUTCOMES = ("accepted", "rejected", "overridden", "undone")
NEEDS_REASON = ("rejected", "overridden")
CHANNELS = ("page", "api", "cds-hooks")
REASONS = {
    "will-monitor": "Will monitor",
    "tolerated-before": "Tolerated before",
    "patient-declines": "Patient declines",
    "not-indicated": "Not indicated",
    "contraindicated-elsewhere": "Contraindicated by something not in the chart",
    "benefit-outweighs-risk": "Benefit outweighs the risk",
    "data-wrong": "The data are wrong",
    "other": "Other",
}
COMMENT_REASON = "other"  # the one reason that says nothing without a comment
MAX_COMMENT = 1_000  # characters
MAX_ID = 500  # characters of a patient id or a treatment's code
MAX_RULES = 50
MAX_RANK = 100_000
EVENT_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
VERSION = re.compile(r"[A-Za-z0-9._+-]{1,100}")


class BadFeedback(InputError):
    """An event cannot be what was meant. `field`: the one that is wrong; `position`: its place among several."""

    def __init__(self, field: str, message: str, position: int = 0) -> None:
        super().__init__(message, field=field)
        self.message, self.position = message, position


@dataclass(frozen=True)
class FeedbackEvent:
    """What became of one suggestion (or warning) for one patient. Raises BadFeedback, naming the field.

    `reason`: a key of REASONS for rejected and overridden, else empty. `rule_ids`: the safety rules whose warnings were
    shown with the suggestion. `version`: the published version that was shown; `rank`: the place in its list, from 1.
    `occurred`: UTC. `undoes`: for the outcome undone, the event that is taken back, else empty.
    """

    event_id: str
    patient_id: str
    code: str
    kind: str
    outcome: str
    version: str
    occurred: datetime
    channel: str
    reason: str = ""
    comment: str = ""
    rule_ids: tuple[str, ...] = ()
    rank: int | None = None
    undoes: str = ""

    def __post_init__(self) -> None:
        _shaped("event_id", self.event_id, EVENT_ID, "1 to 100 letters, digits or . _ : -")
        _text("patient_id", self.patient_id, 1, MAX_ID)
        _text("code", self.code, 1, MAX_ID)
        _one_of("kind", self.kind, TREATMENT_KINDS)
        _one_of("outcome", self.outcome, OUTCOMES)
        _shaped("version", self.version, VERSION, "the name of a published version")
        _one_of("channel", self.channel, CHANNELS)
        _text("comment", self.comment, 0, MAX_COMMENT, lines=True)
        if not isinstance(self.occurred, datetime) or self.occurred.utcoffset() != timedelta(0):
            raise BadFeedback("occurred", "must be a time in UTC")
        self._check_reason()
        self._check_rules()
        if self.rank is not None and (type(self.rank) is not int or not 1 <= self.rank <= MAX_RANK):
            raise BadFeedback("rank", f"must be a whole number from 1 to {MAX_RANK:,}, or left out")
        if self.outcome == "undone":
            _shaped("undoes", self.undoes, EVENT_ID, "the event_id of the event that is taken back")
        elif self.undoes != "":
            raise BadFeedback("undoes", "belongs to the outcome undone alone")

    def _check_reason(self) -> None:
        if self.outcome in NEEDS_REASON:
            _one_of("reason", self.reason, tuple(REASONS))
        elif self.reason != "":
            raise BadFeedback("reason", f"belongs to {' and '.join(NEEDS_REASON)} alone")
        if self.reason == COMMENT_REASON and not self.comment.strip():
            raise BadFeedback("comment", f"is needed with the reason {COMMENT_REASON}")

    def _check_rules(self) -> None:
        if not isinstance(self.rule_ids, tuple) or len(self.rule_ids) > MAX_RULES:
            raise BadFeedback("rule_ids", f"must be a list of {MAX_RULES} rule ids at most")
        for rule_id in self.rule_ids:
            _text("rule_ids", rule_id, 1, 200)
        if len(set(self.rule_ids)) < len(self.rule_ids):
            raise BadFeedback("rule_ids", "names a rule twice")

    @classmethod
    def from_dict(cls, data: Any) -> FeedbackEvent:
        """The event that a JSON object holds, `occurred` as RFC 3339. Raises BadFeedback for anything else."""
        if not isinstance(data, dict):
            raise BadFeedback("", "an event must be a JSON object")
        known = {field.name: field for field in fields(cls)}
        if not data.keys() <= known.keys():
            raise BadFeedback("", f"an event has no members but {', '.join(known)}")
        for name, field in known.items():
            if name not in data and field.default is MISSING:
                raise BadFeedback(name, "is missing")
        values = dict(data)
        if isinstance(values.get("rule_ids"), list):
            values["rule_ids"] = tuple(values["rule_ids"])
        if not isinstance(values["occurred"], datetime):
            values["occurred"] = _time(values["occurred"])
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """All fields as JSON has them; `from_dict` reads it back."""
        return {**asdict(self), "occurred": self.occurred.isoformat(), "rule_ids": list(self.rule_ids)}


def standing(events: Iterable[FeedbackEvent]) -> list[FeedbackEvent]:
    """The events that still stand: neither taken back nor a taking back. In the same order."""
    events = list(events)
    taken_back = {event.undoes for event in events if event.outcome == "undone"}
    return [event for event in events if event.outcome != "undone" and event.event_id not in taken_back]


def _time(text: Any) -> datetime:
    wrong = BadFeedback("occurred", "must be a time with its zone, such as 2026-11-22T14:05:00Z")
    if not isinstance(text, str) or len(text) > 40:
        raise wrong
    try:
        time = datetime.fromisoformat(text)
        if time.utcoffset() is None:
            raise wrong
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong from None


def _one_of(field: str, value: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise BadFeedback(field, f"must be one of {', '.join(allowed)}")


def _shaped(field: str, value: object, pattern: re.Pattern[str], words: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadFeedback(field, f"must be {words}")


def _text(field: str, value: object, least: int, most: int, *, lines: bool = False) -> None:
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise BadFeedback(field, f"must be a text of {least} to {most:,} characters")
    # Cs: halves of a character, which no file can hold; Cc: control characters, which no one has typed on purpose
    allowed = "\n\r\t" if lines else ""
    if not value.isprintable() and any(
        unicodedata.category(mark) in ("Cc", "Cs") and mark not in allowed for mark in value
    ):
        raise BadFeedback(field, "must be plain text without control characters")

"""A client's report of what became of cards in, events in the log of feedback out: each once, however often it is sent.

A card's uuid tells which patient, drug and version it was about (`cds_tokens`), so no more need be known of it here:
the version may have been replaced, and the patient may never have been published.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from api.cds_tokens import About, Sealer
from api.cds_types import CardFeedback, Feedback, FeedbackTaken, OverrideReason
from api.errors import BadParameter
from api.feedback import log
from recommender.feedback import COMMENT_REASON, MAX_COMMENT, REASONS, BadFeedback, FeedbackConflict, FeedbackEvent

CHANNEL = "cds-hooks"
AHEAD = timedelta(days=1)  # how far a client's clock may be before ours
NO_REASON = "No reason was given."


def take(service: str, told: Feedback, sealer: Sealer | None) -> FeedbackTaken:
    """Store what is new. Raises BadParameter before anything is stored, and FeedbackUnavailable."""
    events: list[FeedbackEvent] = []
    unknown = []
    for position, one in enumerate(told.feedback):
        about = sealer.open(one.card) if sealer else None
        if one.outcome == "accepted" and not one.acceptedSuggestions:
            name = f"feedback[{position}].acceptedSuggestions"
            raise BadParameter(name, f"{name} is missing: an accepted card names the suggestions that were taken")
        at = _time(one.outcomeTimestamp, f"feedback[{position}].outcomeTimestamp")
        found = list(_events(one, about, at, sealer)) if about and sealer and about.service == service else []
        events += found
        if not found:
            unknown.append(position)
    new = [_append(event) for event in events]
    return FeedbackTaken(sum(new), len(new) - sum(new), tuple(unknown))


def _append(event: FeedbackEvent) -> bool:
    """Whether it is new. What was said first of a card stands, whatever time or words a repeat has."""
    try:
        return log().append(event)
    except FeedbackConflict:
        return False


def _events(one: CardFeedback, about: About, at: datetime, sealer: Sealer) -> Iterator[FeedbackEvent]:
    """What was reported of a card; nothing for suggestions that are not the card's."""
    if one.outcome == "overridden":
        reason, comment = _why(one.overrideReason)
        yield _event(about, one.card, "overridden", at, reason, comment)
        return
    for suggestion in one.acceptedSuggestions or ():
        taken = sealer.open(suggestion.id)
        if taken and (taken.service, taken.call, taken.patient_id) == (about.service, about.call, about.patient_id):
            yield _event(taken, f"{one.card}\0{suggestion.id}", "accepted", at)


def _event(about: About, of: str, outcome: str, at: datetime, reason: str = "", comment: str = "") -> FeedbackEvent:
    digest = hashlib.sha256(f"{outcome}\0{of}".encode()).hexdigest()[:40]
    try:
        return FeedbackEvent(
            f"cds-{digest}", about.patient_id, about.code, about.kind, outcome, about.version, at, CHANNEL, reason,
            comment, about.rules, about.rank,
        )  # fmt: skip
    except BadFeedback as error:
        raise BadParameter(error.field, f"{error.field} {error.message}") from None


def _why(told: OverrideReason | None) -> tuple[str, str]:
    """A reason of ours and a comment; the words of another code, or that there was none, become a comment."""
    comment = _plain((told.userComment or "") if told else "")
    coding = told.reason if told else None
    if coding is not None and coding.code in REASONS and (coding.code != COMMENT_REASON or comment):
        return coding.code, comment
    display = _plain(coding.display or coding.code or "") if coding else ""
    words = ": ".join(part for part in (display, comment) if part)
    return COMMENT_REASON, words[:MAX_COMMENT] or NO_REASON


def _plain(text: str) -> str:
    """Without control characters, no longer than a comment may be."""
    kept = "".join(mark for mark in text if mark in "\n\t" or unicodedata.category(mark) not in ("Cc", "Cs"))
    return kept.strip()[:MAX_COMMENT]


def _time(text: str, where: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)  # the specification: in UTC
    except (ValueError, OverflowError):
        raise BadParameter(where, f"{where} must be a time, such as 2026-11-25T14:05:00Z") from None
    if at > datetime.now(UTC) + AHEAD:
        raise BadParameter(where, f"{where} lies in the future")
    return at

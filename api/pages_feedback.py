"""A click on accept, "not for this patient" or "despite the warning" in, the place on the page that says so out.

Without scripts the whole page comes back; a script of ours asks for the place alone. Nothing of an answer stands in an
address or a log.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from flask import Blueprint, Response, make_response, render_template, request

from api import frame
from api.dates import date_in_words
from api.errors import BadParameter, kind_of
from api.feedback import log, record
from api.observe import log_failure
from api.words import Words
from recommender.errors import EngineError, FeedbackUnavailable
from recommender.feedback import COMMENT_REASON, standing

OURS = (
    "X-Rxrec"  # a header of our own script: it wants the part of the page that changed, and no other site can send it
)
# the reasons that make sense for each; the order is that of how often they are given
CODES = {
    "overridden": ("will-monitor", "tolerated-before", "benefit-outweighs-risk", "data-wrong"),
    "rejected": ("not-indicated", "patient-declines", "contraindicated-elsewhere", "data-wrong"),
}
SEPARATOR = "\t"

blueprint = Blueprint("feedback", __name__)


@dataclass(frozen=True)
class Said:
    """What stands of a treatment of one patient."""

    event_id: str
    outcome: str
    what: str
    reason: str
    date: str


def told_of(patient_id: str, t: Words) -> Mapping[tuple[str, str], Said] | None:
    """(kind, code) -> what was last said of it and stands; None where the log cannot be read: then nothing is asked."""
    try:
        events = standing(log().of_patient(patient_id))
    except FeedbackUnavailable as error:
        log_failure(error)
        return None
    return {
        (event.kind, event.code): Said(
            event.event_id,
            event.outcome,
            t(f"answer.{event.outcome}"),
            event.comment if event.reason == COMMENT_REASON else t.or_else(f"reason_code.{event.reason}", ""),
            date_in_words(event.occurred.isoformat(), t),
        )
        for event in events
    }


@dataclass(frozen=True)
class Answerable:
    """What an answer can be given to. The form carries it `packed` under its `id`, which becomes the event's.

    One form holds the whole list, with the patient's id once: a form for each would be a fifth of the page's weight.
    """

    id: str
    kind: str
    code: str
    name: str
    rank: int | None
    rules: tuple[str, ...]
    warned: bool
    withheld: bool = False

    @property
    def packed(self) -> str:
        marks = ("w" if self.warned else "") + ("x" if self.withheld else "")
        rank = "" if self.rank is None else str(self.rank)
        return SEPARATOR.join((self.kind, self.code, plain(self.name), rank, " ".join(self.rules), marks))

    @classmethod
    def unpacked(cls, event_id: str, text: str) -> Self:
        parts = text.split(SEPARATOR)
        if len(parts) != 6:
            raise BadParameter("choice", "the form is not one of ours: open the patient again")
        kind, code, name, rank, rules, marks = parts
        number = int(rank) if rank.isascii() and rank.isdigit() and len(rank) < 6 else None
        return cls(event_id, kind, code, name, number, tuple(rules.split()), "w" in marks, "x" in marks)


def plain(name: str) -> str:
    return " ".join(name.split())


def answerable(
    kind: str, code: str, name: str, rank: int | None, rules: tuple[str, ...], warned: bool, withheld: bool = False
) -> Answerable:
    """Drawn when the page is made, so that a double click is one event."""
    return Answerable(secrets.token_hex(8), kind, code, name, rank, rules, warned, withheld)


@blueprint.post("/patient/feedback")
def answer() -> Response:
    """Store one answer, or take one back."""
    from api.pages import page_of  # they show each other

    patient_id = request.form.get("patient_id", "")
    outcome, rest, it = "", "", None
    try:
        frame.require_own_form()
        outcome, rest, it = _chosen()
        _store(patient_id, outcome, rest, it)
    except EngineError as error:
        kind = kind_of(error)
        if kind.status >= 500:
            log_failure(error)
        if OURS in request.headers and it is not None:
            return _part(patient_id, it, _problem(error), kind.status)
        return frame.state(error, patient_id=patient_id)
    return _part(patient_id, it) if OURS in request.headers else page_of(patient_id)


def _chosen() -> tuple[str, str, Answerable]:
    """The outcome, its reason or the event that it takes back, and what it is about."""
    outcome, rest, event_id = (*request.form.get("choice", "").split(":"), "", "", "")[:3]
    return outcome, rest, Answerable.unpacked(event_id, request.form.get(f"item:{event_id}", ""))


def _store(patient_id: str, outcome: str, rest: str, it: Answerable) -> None:
    reason = rest if outcome in CODES else ""
    record(
        it.id,
        patient_id,
        it.code,
        it.kind,
        outcome,
        version=request.form.get("version", ""),
        channel="page",
        reason=reason,
        comment=request.form.get(f"comment:{outcome}:{it.id}", "") if reason == COMMENT_REASON else "",
        rule_ids=() if outcome == "undone" else it.rules,
        rank=it.rank,
        undoes=rest if outcome == "undone" else "",
    )


def _problem(error: EngineError) -> str:
    t = frame.words()
    if isinstance(error, BadParameter) and error.parameter == "comment":
        return t("answer.no_comment")
    return t("answer.unavailable") if isinstance(error, FeedbackUnavailable) else t("answer.failed")


def _part(patient_id: str, it: Answerable, problem: str = "", status: int = 200) -> Response:
    """The place on the page that was clicked on, with a new id for the next click."""
    t = frame.words()
    it = replace(it, id=secrets.token_hex(8))
    told = told_of(patient_id, t) or {}
    return make_response(render_template("answered.html", t=t, told=told, codes=CODES, it=it, problem=problem), status)

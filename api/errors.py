"""An exception in, an answer that says what is wrong and what to do out: problem+json (RFC 9457) or a calm page.

No answer repeats the request: a path or a form may hold a patient id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from api.exchange import exchange
from api.observe import log_failure
from api.words import EN
from recommender.errors import (
    AuditUnavailable,
    EngineError,
    FeedbackUnavailable,
    NothingPublished,
    RulesMissing,
    StoreCorrupt,
    StoreUnavailable,
    UnknownPatient,
    UnknownVersion,
)
from recommender.feedback import FeedbackConflict

RETRY_AFTER_SECONDS = 10
API_PATHS = ("/v1/", "/health/", "/fhir/", "/cds-services", "/openapi.json", "/oauth/", "/.well-known/")


class GettingReady(EngineError):
    """The process has just started and still compiles what answers; requests wait for it, so send them elsewhere."""


class BadParameter(EngineError):
    """A parameter of the request is outside what the route takes. The value given is not repeated."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class UnknownTreatment(EngineError):
    """The version being served has no treatment of that kind and code. Neither is part of the message."""


class FormularyBroken(EngineError):
    """The formulary that the server was set up with cannot be used; the message names its file, row and field."""


class UnknownCondition(EngineError):
    """The version being served has no condition of that code, which is not part of the message."""


class NoChart(EngineError):
    """A hook call brings nothing of a chart that can be read, and the version being served knows no such patient."""


class NotSignedIn(EngineError):
    """The request does not prove who makes it. It is not said what is wrong with what it presents."""


class NotAllowed(EngineError):
    """Whoever makes the request may not use this route."""


class TooMany(EngineError):
    """More requests than one caller may make in a minute; `seconds` until more are answered."""

    def __init__(self, seconds: int) -> None:
        super().__init__("too many requests in this minute")
        self.seconds = seconds


@dataclass(frozen=True)
class Kind:
    """A kind of problem: the last part of its stable `type`, its status, and its title's key among the words."""

    slug: str
    status: int

    @property
    def type(self) -> str:
        return f"/problems/{self.slug}"


KINDS: dict[type[EngineError], Kind] = {
    BadParameter: Kind("bad-parameter", 400),
    NotSignedIn: Kind("not-signed-in", 401),
    NotAllowed: Kind("not-allowed", 403),
    UnknownPatient: Kind("unknown-patient", 404),
    UnknownTreatment: Kind("unknown-treatment", 404),
    UnknownCondition: Kind("unknown-condition", 404),
    FeedbackConflict: Kind("feedback-conflict", 409),
    NoChart: Kind("no-chart", 412),
    TooMany: Kind("too-many-requests", 429),
    AuditUnavailable: Kind("audit-unavailable", 503),
    FeedbackUnavailable: Kind("feedback-unavailable", 503),
    GettingReady: Kind("getting-ready", 503),
    NothingPublished: Kind("nothing-published", 503),
    RulesMissing: Kind("rules-missing", 503),
    FormularyBroken: Kind("formulary-broken", 503),
    StoreUnavailable: Kind("store-unavailable", 503),
    StoreCorrupt: Kind("store-corrupt", 500),
    UnknownVersion: Kind("store-corrupt", 500),  # the pointer names a version that the store does not hold
}
INTERNAL = Kind("internal", 500)  # any other fault, ours


def kind_of(error: EngineError) -> Kind:
    return next((kind for cls, kind in KINDS.items() if isinstance(error, cls)), INTERNAL)


def problem_of(error: EngineError, status: int | None = None, parameter: str = "") -> Response:
    """The problem+json of an engine error; `status` overrides the kind's own, `parameter` is the one at fault."""
    kind = kind_of(error)
    parameter = error.parameter if isinstance(error, BadParameter) else parameter
    extra = {"parameter": parameter} if parameter else {}
    detail = str(error) if isinstance(error, BadParameter) else EN[f"problem.{kind.slug}.detail"]
    return _problem(kind.type, EN[f"problem.{kind.slug}.title"], status or kind.status, detail, **extra)


def register(app: Flask, page: Callable[[str, int], Response]) -> None:
    """Answer every error: a program gets problem+json, a person `page(slug, status)`."""

    def wants_page() -> bool:
        return not request.path.startswith(API_PATHS)

    @app.errorhandler(EngineError)
    def engine_error(error: EngineError) -> Response:
        kind = kind_of(error)
        if kind.status >= 500 and kind.slug != "nothing-published":
            log_failure(error)
        response = page(kind.slug, kind.status) if wants_page() else problem_of(error)
        if isinstance(error, TooMany):
            response.headers["Retry-After"] = str(error.seconds)
        return response

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response | HTTPException:
        status = error.code or 500
        if status < 400:
            return error  # a redirect
        if status == 500:
            slug, type_ = INTERNAL.slug, INTERNAL.type
        elif status == 404:
            slug, type_ = "not-found", "/problems/not-found"
        else:
            slug, type_ = "other", "about:blank"
        if wants_page():
            return page(slug, status)
        title = HTTPStatus(status).phrase if slug == "other" else EN[f"problem.{slug}.title"]
        return _problem(type_, title, status, EN[f"problem.{slug}.detail"])


def _problem(type_: str, title: str, status: int, detail: str, **extra: Any) -> Response:
    body = {"type": type_, "title": title, "status": status, "detail": detail, "request_id": exchange().id, **extra}
    response = Response(orjson.dumps(body), status=status, mimetype="application/problem+json")
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response

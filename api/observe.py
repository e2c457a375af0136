"""Each request in, its id, one access-log line and the security headers out. No path, id or chart content is logged."""

from __future__ import annotations

import logging
import re
import sys
import time
import traceback
import uuid
from typing import Any, TextIO

import orjson
from flask import Flask, Response, g, request
from flask.json.provider import JSONProvider

from recommender.errors import EngineError

ACCESS = logging.getLogger("rxrec.access")
FAILURES = logging.getLogger("rxrec.failures")
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class OrjsonProvider(JSONProvider):
    """JSON through orjson, which also writes the frozen dataclasses of `answers` as they are."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return orjson.dumps(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        return Response(orjson.dumps(self._prepare_response_obj(args, kwargs)), mimetype="application/json")


class _StdoutHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stdout` is when the line is written, not when the logger was made."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


def observe(app: Flask) -> None:
    """Hang the request id, the access log and the headers onto every request of `app`."""
    for logger in (ACCESS, FAILURES):
        if not logger.handlers:
            logger.addHandler(_StdoutHandler())
            logger.setLevel(logging.INFO)
            logger.propagate = False
    app.before_request(_begin)
    app.after_request(_finish)
    answered, fixed = app.wsgi_app, list(SECURITY_HEADERS.items())

    def secured(environ: Any, start: Any) -> Any:
        return answered(environ, lambda status, headers, exc_info=None: start(status, headers + fixed, exc_info))

    app.wsgi_app = secured  # type: ignore[method-assign, assignment]


def request_id() -> str:
    """This request's id: the caller's X-Request-ID where that is short and plain, else a new one."""
    if "request_id" not in g:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if SANE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    return str(g.request_id)


def log_failure(failed: BaseException | None) -> None:
    """One line for a fault of ours: where it happened, without values."""
    errors = told_without_values(failed)
    _log(FAILURES, {"event": "failure", "route": _route(), "request_id": request_id(), "errors": errors})


def told_without_values(failed: BaseException | None) -> list[dict[str, Any]]:
    """An exception and what led to it: its kind, and the places in the code.

    An exception's own words may quote patient content, so only those of `EngineError`, which never do, are kept.
    """
    error, chain = failed, []
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        chain.append(
            {
                "type": type(error).__qualname__,
                "message": str(error) if isinstance(error, EngineError) else "",
                "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
            }
        )
        error = error.__cause__ or error.__context__
    return chain


def _begin() -> None:
    g.began = time.perf_counter()


def _finish(response: Response) -> Response:
    asked = request._get_current_object()  # type: ignore[attr-defined]  # each use of the proxy looks it up anew
    response.headers["X-Request-ID"] = request_id()
    if asked.endpoint != "static":
        # Patient data: no cache, shared or in the browser, may keep it. A program that keeps an answer on purpose can
        # still ask with its ETag whether it has changed.
        response.headers["Cache-Control"] = "private, no-store"
    if asked.blueprint in ("ops", "metrics") and response.status_code < 400:
        return response  # a probe asks every few seconds: its successes would bury the rest of the log
    elapsed = time.perf_counter() - g.get("began", time.perf_counter())
    line = {
        "event": "request",
        "method": asked.method if asked.method in ("GET", "HEAD", "POST", "OPTIONS") else "other",
        "route": _route(),
        "status": response.status_code,
        "ms": round(elapsed * 1000, 2),
        "request_id": request_id(),
    }
    _log(ACCESS, line)
    return response


def _route() -> str:
    """The route's template: a path may hold a patient id, also one that no route matches."""
    return request.url_rule.rule if request.url_rule else "(no route)"


def _log(logger: logging.Logger, line: dict[str, Any]) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    logger.info("%s", orjson.dumps({"time": stamp, **line}).decode())

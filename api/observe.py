"""Each request in, its id, one access-log line and the security headers out. No path, id or chart content is logged."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import traceback
from typing import Any

import orjson
from flask import Flask, Response
from flask.json.provider import JSONProvider

from api.exchange import Exchange, exchange
from recommender.errors import EngineError

METHODS = ("GET", "HEAD", "POST", "OPTIONS")  # any other is told as "other": a client can make up as many as it likes
NO_ROUTE = "(no route)"
_printing = threading.Lock()
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


def observe(app: Flask) -> None:
    """Hang the request id, the access log and the headers onto every request of `app`."""
    app.after_request(_finish)
    answered, fixed = app.wsgi_app, list(SECURITY_HEADERS.items())

    def secured(environ: Any, start: Any) -> Any:
        # here, where headers are a list already: to set each on the way costs several times as much
        def started(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start(status, headers + _own(environ["werkzeug.request"]) + fixed, exc_info)

        return answered(environ, started)

    app.wsgi_app = secured  # type: ignore[method-assign, assignment]


def log_failure(failed: BaseException | None) -> None:
    """One line for a fault of ours: where it happened, without values."""
    asked, errors = exchange(), told_without_values(failed)
    _log({"event": "failure", "route": asked.route or NO_ROUTE, "request_id": asked.id, "errors": errors})


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


def _own(asked: Exchange) -> list[tuple[str, str]]:
    """The headers that depend on the request."""
    named = ("X-Request-ID", asked.id)
    if asked.endpoint == "static":
        return [named]
    # Patient data: no cache, shared or in the browser, may keep it. A program that keeps an answer on purpose can
    # still ask with its ETag whether it has changed.
    return [named, ("Cache-Control", "private, no-store")]


def _finish(response: Response) -> Response:
    asked = exchange()
    if asked.blueprint in ("ops", "metrics") and response.status_code < 400:
        return response  # a probe asks every few seconds: its successes would bury the rest of the log
    _log(
        {
            "event": "request",
            "method": asked.method if asked.method in METHODS else "other",
            "route": asked.route or NO_ROUTE,
            "status": response.status_code,
            "ms": round((time.perf_counter() - asked.began) * 1000, 2),
            "request_id": asked.id,
        }
    )
    return response


def _log(told: dict[str, Any]) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    printed(orjson.dumps({"time": stamp, **told}, option=orjson.OPT_APPEND_NEWLINE).decode())


def printed(line: str) -> None:
    """One line of the log. What Python's `logging` does for one costs more than to make it and to write it. Where it
    cannot be written (a full disk, a reader that is gone), requests are answered all the same: the audit log is where
    that must not be."""
    with _printing, contextlib.suppress(OSError, ValueError):  # ValueError: closed
        sys.stdout.write(line)
        sys.stdout.flush()

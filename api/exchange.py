"""A request of ours, and what becomes known of it on the way to its answer: its id, who asks, for whose data."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from flask import Request, has_request_context, request
from werkzeug.utils import cached_property

from api.auth.callers import NOBODY, Caller

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Exchange(Request):
    """began: `time.perf_counter`. caller: NOBODY until the guard knows. patients: whose data was asked for -> what
    became of it (`audit`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.began = time.perf_counter()
        self.caller: Caller = NOBODY
        self.patients: dict[str, str] = {}

    @cached_property
    def id(self) -> str:
        """The caller's X-Request-ID where that is short and plain, else a new one."""
        given = self.headers.get("X-Request-ID", "")
        return given if SANE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex

    @property
    def route(self) -> str:
        """The route's template, "" where there is none: a path may hold a patient id, also one that no route
        matches."""
        return self.url_rule.rule if self.url_rule else ""


def exchange() -> Exchange:
    """The one being answered. Each use of Flask's own `request` looks it up anew: keep what this gives."""
    found = request._get_current_object()  # type: ignore[attr-defined]
    assert isinstance(found, Exchange)  # noqa: S101  (for the type checker: the application's request_class)
    return found


def caller() -> Caller:
    """Who asks; NOBODY where none was needed, and outside of requests."""
    return exchange().caller if has_request_context() else NOBODY

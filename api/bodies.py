"""A request with a body larger than a form in, the JSON in it out: of the size and depth that its route takes.

Nothing of it is repeated, kept or logged.
"""

from __future__ import annotations

from typing import Any

import orjson
from flask import request
from werkzeug.exceptions import UnsupportedMediaType

from api.errors import BadParameter

MOST_BYTES = 2 * 1024 * 1024  # a chart of decades is some hundred kilobytes of FHIR
MOST_NESTED = 64  # FHIR's own resources nest about twenty deep


def json_body(most: int = MOST_BYTES) -> Any:
    """Raises BadParameter; 413 and 415 as plain HTTP."""
    if not request.is_json:
        raise UnsupportedMediaType
    request.max_content_length = most
    try:
        found = orjson.loads(request.get_data())
    except orjson.JSONDecodeError:
        raise BadParameter("body", "the body must be JSON in UTF-8") from None
    if _deeper(found, MOST_NESTED):
        raise BadParameter("body", f"the body must not nest more than {MOST_NESTED} deep")
    return found


def _deeper(value: Any, most: int) -> bool:
    """Whether lists and objects stand in each other more than `most` deep; without recursion, which has limits."""
    level = [value]
    for _ in range(most + 1):
        level = [
            part
            for whole in level
            if isinstance(whole, dict | list)
            for part in (whole.values() if isinstance(whole, dict) else whole)
            if isinstance(part, dict | list)
        ]
        if not level:
            return False
    return True

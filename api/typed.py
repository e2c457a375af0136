"""A request and the type of its parameters in, a checked value out; a value and its ETag in, the answer out.

The types are those that the OpenAPI document is made from (`api/openapi.py`), so what it says is what is checked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from flask import Response, request
from werkzeug.exceptions import UnsupportedMediaType

from api.errors import BadParameter

T = TypeVar("T")
MAX_BODY_BYTES = 256 * 1024
JSON = "application/json"
_WORDS = {"int": "a whole number", "str": "text", "bool": "true or false", "array": "a list", "object": "an object"}


def query(of: type[T]) -> T:
    """The query string as one value. Raises BadParameter naming the parameter; no value is repeated."""
    given = request.args.to_dict(flat=False)
    for name, values in given.items():
        if len(values) > 1 and name in _properties(of):
            raise BadParameter(name, f"{name} may be given once")
    try:
        return msgspec.convert({name: values[0] for name, values in given.items()}, of, strict=False)
    except msgspec.ValidationError as error:
        raise _refused(error, of, "query") from None


def body(of: type[T]) -> T:
    """The JSON body as one value. Raises BadParameter; 413 and 415 as plain HTTP."""
    if not request.is_json:
        raise UnsupportedMediaType
    request.max_content_length = MAX_BODY_BYTES  # more than a form may be
    try:
        return msgspec.json.decode(request.get_data(), type=of)
    except msgspec.ValidationError as error:
        raise _refused(error, of, "body") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadParameter("body", "the body must be JSON in UTF-8") from None


def checked(value: Any, of: type[T], whole: str = "body") -> T:
    """What JSON held, as one value of a type. Raises BadParameter."""
    try:
        return msgspec.convert(value, of)
    except msgspec.ValidationError as error:
        raise _refused(error, of, whole) from None


def etag(*parts: str) -> str:
    """A weak ETag's value of all that an answer depends on."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]


def reply(value: Any, tag: str = "", mimetype: str = JSON) -> Response:
    """200 with the value as JSON, or 304 where the caller's ETag still holds."""
    return unchanged(tag) or tagged(Response(msgspec.json.encode(value), mimetype=mimetype), tag)


def stream(pieces: Iterable[bytes], tag: str, mimetype: str) -> Response:
    """The same for what is sent as it is made."""
    return unchanged(tag) or tagged(Response(pieces, mimetype=mimetype), tag)


def unchanged(tag: str) -> Response | None:
    """304 where the caller has it already: ask before making what it would answer."""
    if not tag or "If-None-Match" not in request.headers:
        return None
    return tagged(Response(status=304), tag) if request.if_none_match.contains_weak(tag) else None


def tagged(response: Response, tag: str) -> Response:
    if tag:
        response.headers["ETag"] = f'W/"{tag}"'
    return response


def _properties(of: type) -> dict[str, Any]:
    """JSON Schema of each member."""
    (_,), components = msgspec.json.schema_components([of])
    found: dict[str, Any] = components[of.__name__]["properties"]
    return found


def _refused(error: msgspec.ValidationError, of: type, whole: str) -> BadParameter:
    """What is wrong in words that hold nothing of the request: msgspec repeats values and names that it refuses."""
    text = str(error)
    path = re.search(r" - at `\$\.?([^`]*)`$", text)
    where = path[1] if path and path[1] else whole
    said = text[: path.start()] if path else text
    known = _properties(of)
    if "unknown field" in said:
        return BadParameter(whole, f"the {whole} may hold {', '.join(known) or 'nothing'} only")
    missing = re.search(r"missing required field `(\w+)`", said)
    if missing:
        name = missing[1] if where == whole else f"{where}.{missing[1]}"
        return BadParameter(name, f"{name} is missing")
    if said.startswith("Invalid enum value"):
        allowed = known.get(where, {}).get("enum", ())
        return BadParameter(where, f"{where} must be one of {', '.join(map(str, allowed))}")
    plain = re.sub(r"`(\w+)`", lambda found: _WORDS.get(found[1], found[1]), said)
    return BadParameter(where, f"{where} cannot be used: {plain[:1].lower()}{plain[1:]}")

"""An answer of the API in, the same in gzip out, where the caller takes it.

Pages for people are left as they are: they will carry tokens that a compressed length could give away (BREACH). An
answer of the API holds no secret beside what it was asked for.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache

from flask import Flask, Response
from werkzeug.datastructures import Accept
from werkzeug.http import parse_accept_header

from api.exchange import exchange

PATHS = ("/v1/", "/fhir/", "/openapi.json", "/docs")
SMALLEST = 1_000  # bytes; what is smaller fits a packet anyway
LEVEL = 5
_GZIP = 16 + zlib.MAX_WBITS


def compress(app: Flask) -> None:
    app.after_request(_compressed)


def is_taken() -> bool:
    """Whether the caller takes gzip; of a HEAD, whose body is not sent, it is not asked."""
    asked = exchange()
    return asked.method != "HEAD" and _holds_gzip(asked.environ.get("HTTP_ACCEPT_ENCODING", ""))


@lru_cache(maxsize=64)
def _holds_gzip(accepted: str) -> bool:
    return bool(parse_accept_header(accepted, Accept)["gzip"] > 0)


def packed(body: bytes) -> bytes:
    return gzip.compress(body, LEVEL, mtime=0)


def _compressed(response: Response) -> Response:
    asked = exchange()
    if not asked.path.startswith(PATHS) or response.status_code != 200 or asked.method == "HEAD":
        return response
    if "Vary" in response.headers:
        response.vary.add("Accept-Encoding")
    else:  # the same without taking the header apart and putting it together
        response.headers["Vary"] = "Accept-Encoding"
    if not is_taken() or "Content-Encoding" in response.headers:
        return response
    if response.is_streamed:
        response.response = _pieces(response.iter_encoded())
        response.headers.pop("Content-Length", None)
    elif (response.content_length or 0) >= SMALLEST:
        response.set_data(packed(response.get_data()))
    else:
        return response
    response.headers["Content-Encoding"] = "gzip"
    return response


def _pieces(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP)
    for piece in pieces:
        packed = packer.compress(piece)
        if packed:
            yield packed
    yield packer.flush()

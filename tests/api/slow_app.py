"""What the worker's tests serve: an application that does at once what it is asked; slowness is the client's."""

from collections.abc import Callable, Iterator
from typing import Any

BIG = 6 * 1024 * 1024  # more than the kernel takes off our hands


def app(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
    path, ok = environ["PATH_INFO"], "200 OK"
    if path == "/big":
        start(ok, [("Content-Length", str(BIG))])
        return [b"x" * BIG]
    if path == "/breaks":
        start(ok, [("Content-Length", "100")])
        return broken(environ)
    if path == "/ignores":
        start("413 Too Large", [("Content-Length", "2")])
        return [b"no"]
    said = environ["wsgi.input"].read()
    start(ok, [("Content-Length", str(len(said) + len(path) + 1))])
    return [path.encode(), b" ", said]


def broken(environ: dict[str, Any]) -> Iterator[bytes]:
    yield b"begun"
    raise ValueError(f"PAT-QQ47 of {environ['PATH_INFO']}")

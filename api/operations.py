"""A route in, the same with what it takes and gives written on it out: `api/openapi.py` makes the document of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from api.typed import JSON
from api.types import Problem

PROBLEM = "application/problem+json"
View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Operation:
    """What a route takes and gives.

    body: the types that it may have. lines: media types of the same answer line by line. status: of answers; problems:
    statuses of problems beside the `usual` ones. path: parameter -> description. cached: whether it has an ETag.
    """

    summary: str
    answer: Any
    query: Any = None
    body: tuple[Any, ...] = ()
    path: Mapping[str, str] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    problems: tuple[int, ...] = ()
    status: tuple[int, ...] = (200,)
    mimetype: str = JSON
    problem: Any = Problem
    problem_mimetype: str = PROBLEM
    cached: bool = True
    usual: tuple[int, ...] = (400, 500, 503)


def operation(summary: str, *, answer: Any, **how: Any) -> Callable[[View], View]:
    """Mark a view with its `Operation`."""

    def mark(view: View) -> View:
        view.operation = Operation(summary, answer, **how)  # type: ignore[attr-defined]
        return view

    return mark

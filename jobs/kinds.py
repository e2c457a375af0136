"""The option that limits a command to kinds of treatment: `--kind drug --kind procedure`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from recommender.records import TREATMENT_KINDS


def kinds_option(without: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command --kind as `kinds`, empty if none is named. `without`: what the help says is then done."""
    return click.option(
        "--kind",
        "kinds",
        multiple=True,
        type=click.Choice(TREATMENT_KINDS),
        help=f"A kind of treatment to suggest; may be given more than once. All records stay the input. [{without}]",
    )

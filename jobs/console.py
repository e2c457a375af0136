"""How commands speak: progress bars for people, one JSON document for machines, exit codes for schedulers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click
from tqdm import tqdm

from recommender.errors import EngineError
from recommender.settings import Settings


@dataclass(frozen=True)
class Console:
    """`quiet` says nothing but errors; `as_json` prints the result as JSON on stdout and nothing else there."""

    settings: Settings
    quiet: bool
    as_json: bool

    def say(self, text: str) -> None:
        """A line for a person, on stderr, so that stdout stays for results."""
        if not self.quiet and not self.as_json:
            click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """As `say`, beside a result in JSON too: who asked for something and gets something else must hear of it."""
        if not self.quiet:
            click.echo(text, err=True)

    def result(self, data: dict[str, Any], text: str) -> None:
        """The command's answer: `data` for a machine or `text` for a person."""
        if self.as_json:
            click.echo(json.dumps(data, indent=2, default=str))
        elif not self.quiet:
            click.echo(text)

    @contextmanager
    def progress(self, label: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        """A bar that shows itself once a stage has taken two seconds, on a terminal or in a log."""
        silent = self.quiet or self.as_json
        with tqdm(total=total, desc=label, unit=f" {unit}", delay=2, disable=silent, file=sys.stderr) as bar:
            yield lambda done: (bar.update(done), None)[1]


class Group(click.Group):
    """The command group that turns the engine's errors into one plain line (or JSON) and its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EngineError as error:
            if isinstance(ctx.obj, Console) and ctx.obj.as_json:
                click.echo(json.dumps({"error": type(error).__name__, "message": str(error)}))
            else:
                click.echo(f"rxrec: {error}", err=True)
            ctx.exit(error.exit_code)

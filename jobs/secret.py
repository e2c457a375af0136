"""`rxrec secret`: the site's secret in; a new one in front of it, or which there are, out. None is ever shown."""

from __future__ import annotations

import click

from jobs.console import Console
from recommender.access.secret import SiteSecret


@click.group()
def secret() -> None:
    """The secret that names patients in Redis, seals the audit log and signs tokens."""


@secret.command()
@click.pass_obj
def rotate(console: Console) -> None:
    """Put a new one in front. Those of before stay in the file: what was made with them is still read.

    The next whole night names every patient anew. A server that runs takes it up by itself. Copy the file to every
    machine that serves or publishes, and into your backup, before that night.
    """
    made = SiteSecret.rotate(console.settings.secret_file)
    console.result(
        {"number": made.number, "numbers": list(made.numbers)},
        f"secret number {made.number} is used from now on; {len(made.numbers) - 1} of before are kept to read with",
    )


@secret.command("list")
@click.pass_obj
def list_(console: Console) -> None:
    """The numbers of the secrets of the file, the newest first."""
    found = SiteSecret.load(console.settings.secret_file)
    console.result({"numbers": list(found.numbers)}, "\n".join(map(str, found.numbers)))

"""`rxrec versions` and `rxrec rollback`: which versions the store holds, and going back to the one before."""

from __future__ import annotations

from dataclasses import asdict

import click

from jobs.console import Console
from recommender.store import open_store


@click.command()
@click.pass_obj
def versions(console: Console) -> None:
    """List the published versions, newest first."""
    with open_store(console.settings) as store:
        listed = store.versions()
    lines = [f"{v.version}  {v.patients:>9,} patients{'  (being served)' if v.served else ''}" for v in listed]
    console.result({"versions": [asdict(v) for v in listed]}, "\n".join(lines) or "nothing has been published yet")


@click.command()
@click.pass_obj
def rollback(console: Console) -> None:
    """Serve again the version that was served before this one."""
    with open_store(console.settings) as store:
        version = store.rollback()
    console.result({"version": version}, f"version {version} is being served again")

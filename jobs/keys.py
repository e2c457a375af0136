"""`rxrec keys`: who may use this server in, a key (shown once) or the list of keys out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jobs.console import Console
from recommender.access import ROLES, Key, KeyFile
from recommender.access.keys import FILE
from recommender.errors import EngineError

MOST_DAYS = 730
WARN_DAYS = 30


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke the keys that let people and programs in."""


def _file(console: Console) -> KeyFile:
    return KeyFile(console.settings.workdir / (console.settings.keys or FILE))


_DAYS = click.option(
    "--days", type=click.IntRange(1, MOST_DAYS), default=365, show_default=True, help="Days until it expires."
)


@keys.command()
@click.option("--name", required=True, help="Whose it is: stands in the audit log beside each access.")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it may: see docs/security.md.")
@click.option(
    "--panel",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with one patient id a line: the only patients this clinician may see. Kept as hashes.",
)
@_DAYS
@click.pass_obj
def add(console: Console, name: str, role: str, panel: Path | None, days: int) -> None:
    """Make a key. It is shown this once; what is kept cannot be turned back into it."""
    if panel is not None and role != "clinician":
        raise click.UsageError("--panel is for the role clinician: the others see no patient")
    ids = None if panel is None else [line.strip() for line in _lines(panel) if line.strip()]
    key, text = _file(console).make(name, role, days, ids)
    _shown(console, key, text)


@keys.command("list")
@click.pass_obj
def list_(console: Console) -> None:
    """List the keys, the live ones and those that were."""
    found = sorted(_file(console).all(), key=lambda key: key.created)
    told = [_told(key) for key in found]
    lines = [
        f"{one['id']}  {one['state']:<8} {one['role']:<10} until {one['expires'][:10]}  {one['name']}"
        + ("" if one["panel"] is None else f"  (panel of {one['panel']:,})")
        for one in told
    ]
    console.result({"keys": told}, "\n".join(lines) or "there are no keys: make one with `rxrec keys add`")


@keys.command()
@click.argument("id_", metavar="ID")
@click.option(
    "--overlap-hours",
    type=click.IntRange(0, 24 * 30),
    default=24,
    show_default=True,
    help="Hours for which the old key still works, so that its user can change over.",
)
@_DAYS
@click.pass_obj
def rotate(console: Console, id_: str, overlap_hours: int, days: int) -> None:
    """Make a key in the place of another: same name, role and panel."""
    key, text = _file(console).rotate(id_, days, overlap_hours)
    _shown(console, key, text)


@keys.command()
@click.argument("id_", metavar="ID")
@click.pass_obj
def revoke(console: Console, id_: str) -> None:
    """End a key and every session that it opened, at once."""
    key = _file(console).revoke(id_)
    console.result(_told(key), f"key {key.id} of {key.name} lets nobody in any more")


def _told(key: Key) -> dict[str, Any]:
    """What may be shown of a key: not its hash, and of its panel how large it is."""
    told = {name: getattr(key, name) for name in ("id", "name", "role", "created", "expires", "revoked")}
    return {**told, "state": key.state, "panel": None if key.panel is None else len(key.panel)}


def _shown(console: Console, key: Key, text: str) -> None:
    said = f"key {key.id} for {key.name} ({key.role}), until {key.expires[:10]}. It is shown this once:\n{text}"
    console.result({**_told(key), "key": text}, said)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"{file.name} cannot be read as UTF-8 text") from error

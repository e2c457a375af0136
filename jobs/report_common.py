"""What the commands of `rxrec report` share: their options, the store with a version and its rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from recommender.errors import InputError, RulesMissing
from recommender.formulary import Formulary
from recommender.offer import Desk
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen
from recommender.settings import Settings
from recommender.snapshot import Release
from recommender.store import Store, open_store

FOLDER = click.Path(path_type=Path, file_okay=False)
VERSION = click.option("--version", "version", help="A published version. [default: the one being served]")
NUMBER = click.option(
    "-n", "n", type=click.IntRange(1, 50), default=10, show_default=True, help="Suggestions a patient."
)
AGAINST = click.option("--against", help="The version to compare with. [default: the one published before]")
OUT = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="A new folder, readable by its owner only.",
)
SITE = click.option(
    "--site",
    type=click.Path(path_type=Path, dir_okay=False),
    help="For the model card, what only the site knows: JSON, name of an attribute -> words (docs/reports.md).",
)


@contextmanager
def opened(settings: Settings, version: str | None) -> Iterator[tuple[Store, Desk]]:
    """The store and a version with today's rules. Raises RulesMissing: a list that nothing screened is not printed."""
    with open_store(settings) as store:
        yield store, desk_of(settings, store.release(version or store.current()))


def desk_of(settings: Settings, release: Release, screen: Screen | None = None) -> Desk:
    """Lists as the API makes them now: by today's rules (`screen`, where they have been read) and formulary, in the
    same order. Raises RulesMissing."""
    try:
        screen = screen or Screen.load(settings.rules, settings.vocabulary)
        indications = Indications.load(vocabulary=screen.vocabulary, conditions=screen.conditions)
    except InputError as error:
        raise RulesMissing(str(error)) from error
    formulary = Formulary.load(Path(settings.formulary), screen.vocabulary) if settings.formulary else Formulary()
    cost, first = settings.interaction_cost, settings.formulary_first
    return Desk(release, screen, indications, cost, lambda: formulary, first)


def before_of(store: Store, version: str, against: str | None) -> Release | None:
    """The version named, or the one published before; None where there is none."""
    if against is None:
        names = [one.version for one in store.versions()]
        earlier = names[names.index(version) + 1 :]
        if not earlier:
            return None
        against = earlier[0]
    return store.release(against)


def patients_of(store: Store, version: str) -> int:
    return next(one.patients for one in store.versions() if one.version == version)


def json_of(path: Path) -> dict[str, Any]:
    """Raises InputError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path.name) from None
    except ValueError:
        raise InputError("is no JSON in UTF-8", file=path.name) from None
    if not isinstance(found, dict):
        raise InputError("must be one JSON object", file=path.name)
    return found


def site_of(path: Path) -> dict[str, str]:
    """The site's words by the key of an attribute. Raises InputError."""
    return {key: str(words) for key, words in json_of(path).items()}

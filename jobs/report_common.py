"""What the commands of `rxrec report` share: their options, the store with a version and its rules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from jobs.console import Console
from recommender.errors import InputError, RulesMissing
from recommender.formulary import Formulary
from recommender.offer import Desk
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen
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


@contextmanager
def opened(console: Console, version: str | None) -> Iterator[tuple[Store, Desk]]:
    """The store and a version with today's rules. Raises RulesMissing: a list that nothing screened is not printed."""
    settings = console.settings
    try:
        screen = Screen.load(settings.rules, settings.vocabulary)
        indications = Indications.load(vocabulary=screen.vocabulary, conditions=screen.conditions)
    except InputError as error:
        raise RulesMissing(str(error)) from error
    with open_store(settings) as store:
        release = store.release(version or store.current())
        yield store, Desk(release, screen, indications, settings.interaction_cost)


def formulary_of(console: Console, desk: Desk) -> Formulary:
    path = console.settings.formulary
    return Formulary.load(Path(path), desk.screen.vocabulary) if path else Formulary()


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

"""Settings in; rules, labelled uses, formulary and catalogue out, each read when first asked for and once a process.

None of it needs a patient, and only the catalogue needs the store: interactions are checked while the store is down.
"""

from __future__ import annotations

import threading

from flask import current_app

from api.formulary_file import FormularyFile
from api.serving import safety_of
from recommender.catalogue import Catalogue
from recommender.formulary import Formulary
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen
from recommender.settings import Settings
from recommender.snapshot import Release

CATALOGUES_HELD = 2  # as many as releases: one that is being replaced is still asked for


class Reference:
    """What the pharmacy's routes look things up in. Safe to share between threads."""

    def __init__(self, settings: Settings, formulary: FormularyFile) -> None:
        self._settings, self._formulary = settings, formulary
        self._lock = threading.Lock()
        self._catalogues: tuple[Catalogue, ...] = ()  # newest first

    @property
    def screen(self) -> Screen:
        """Raises RulesMissing: then nothing is checked, and nothing is said to be."""
        return safety_of(self._settings.rules, self._settings.vocabulary)[0]

    @property
    def indications(self) -> Indications:
        """Labelled uses. Raises RulesMissing."""
        return safety_of(self._settings.rules, self._settings.vocabulary)[1]

    @property
    def formulary(self) -> Formulary:
        """As the file stands now; read again when it changed. Raises FormularyBroken: an old one is not told of."""
        return self._formulary.now(self.screen.vocabulary)

    def catalogue(self, release: Release) -> Catalogue:
        """The catalogue of a release; some tenths of a second, once a version."""
        with self._lock:
            found = next((one for one in self._catalogues if one.version == release.version), None)
            if found is None:
                screen = self.screen
                counted = release.support, release.given
                found = Catalogue(release.version, release.index, screen.vocabulary, screen.rules, *counted)
                self._catalogues = (found, *self._catalogues)[:CATALOGUES_HELD]
            return found


def reference() -> Reference:
    """The current application's `Reference`."""
    found = current_app.extensions["rxrec_reference"]
    assert isinstance(found, Reference)  # noqa: S101  (for the type checker: create_app put it there)
    return found

"""A patient's id in, the lines of the page that tell that person's predicted risks out.

What was scored is a file of the working directory (`rxrec risk score`), read again when it changed. Whoever is not in
it has no line; a file that cannot be read is told as such, and does not take the list away.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from flask import current_app

from api.dates import date_in_words
from api.formulary_file import stamp_of
from api.words import Words
from recommender.access.secret import FILE as SECRET
from recommender.access.secret import SiteSecret
from recommender.errors import EngineError
from recommender.risk.registry import CURRENT, Registry, RiskRelease
from recommender.risk.scores import FILE as SCORES
from recommender.risk.scores import Scores, Told, load_scores
from recommender.settings import Settings

LOG = logging.getLogger("rxrec")
Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class RiskLine:
    """One risk as the page shows it. `because`: what raises or lowers it most; "" where nothing is told."""

    name: str
    chance: str
    because: str
    note: str


class Risks:
    """Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._registry = Registry(settings.workdir)
        self._secret_file = settings.workdir / (settings.secret or SECRET)
        self._lock = threading.Lock()
        self._held: dict[str, tuple[Stamp, RiskRelease, Scores | None]] = {}

    def of(self, patient_id: str, t: Words) -> tuple[RiskLine, ...]:
        """In the order of the risks' names."""
        found = []
        for name in self._registry.names():
            try:
                release, scores = self._read(name)
                if scores is None or scores.version != release.version:
                    continue
                told = scores.of(patient_id, SiteSecret.load(self._secret_file))
            except EngineError as error:
                LOG.error("a risk cannot be told: %s", error)
                found.append(RiskLine(name, "", "", t("risk.unreadable")))
                continue
            if told is not None:
                found.append(_line(release, scores, told, t))
        return tuple(found)

    def _read(self, name: str) -> tuple[RiskRelease, Scores | None]:
        files = tuple(self._registry.path(name, file) for file in (CURRENT, SCORES))
        with self._lock:
            stamp = tuple(map(stamp_of, files))
            if name not in self._held or self._held[name][0] != stamp:
                self._held[name] = stamp, self._registry.current(name), load_scores(files[1])
            return self._held[name][1:]


def risks() -> Risks:
    """The current application's `Risks`."""
    found = current_app.extensions["rxrec_risks"]
    assert isinstance(found, Risks)  # noqa: S101  (for the type checker: create_app put it there)
    return found


def _line(release: RiskRelease, scores: Scores, told: Told, t: Words) -> RiskLine:
    """A time is told only where the outcome has one."""
    name, span = release.asked.name, release.asked.span_parts
    said = t("risk.within", name=name, span=t.count(f"span.{span[1]}", span[0])) if span else t("risk.has", name=name)
    raise_, lower = ([n for n, part in told.reasons if (part > 0) == up] for up in (True, False))
    sides = (("risk.raise", raise_), ("risk.lower", lower))
    because = t("risk.and").join(t(key, names=t("list.comma").join(names)) for key, names in sides if names)
    note = t("risk.synthetic") if release.manifest.get("synthetic") else t("risk.note")
    return RiskLine(said, _chance(told.probability, t), because, f"{note} {_as_of(scores, t)}".strip())


def _as_of(scores: Scores, t: Words) -> str:
    return t("risk.as_of", date=date_in_words(scores.as_of, t)) if scores.as_of else ""


def _chance(probability: float, t: Words) -> str:
    if probability < 0.01:
        return t("risk.under", n=1)
    return t("risk.over", n=99) if probability > 0.99 else f"{100 * probability:.0f}%"

"""A patient's entry in, the conditions to review that the page tells out: none unless RXREC_REVIEW_CONDITIONS is yes.

They stand apart from the suggestions, and in no answer of the API: what a record suggests is no diagnosis.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from flask import current_app

from api.formulary_file import stamp_of
from api.words import Words
from recommender.errors import EngineError, NothingPublished
from recommender.model_files import CURRENT
from recommender.offer import Desk
from recommender.review.columns import patterns
from recommender.review.reviewer import NAME, Reviewer, ReviewFiles, Suspected
from recommender.settings import Settings
from recommender.snapshot import Entry

LOG = logging.getLogger("rxrec")


@dataclass(frozen=True)
class ReviewLine:
    """One condition as the page shows it."""

    name: str
    code: str
    because: str


@dataclass(frozen=True)
class Review:
    """`trouble`: why nothing can be told; `note`: what it is, and how well it found hidden conditions again."""

    lines: tuple[ReviewLine, ...]
    note: str
    trouble: str = ""


class Reviews:
    """Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._on = settings.review_conditions
        self._files = ReviewFiles(settings.workdir)
        self._lock = threading.Lock()
        self._held: tuple[tuple[int, int], Reviewer] | None = None

    def of(self, desk: Desk, entry: Entry, t: Words) -> Review | None:
        """None where it is off, nothing is in service, or nothing is to be reviewed."""
        if not self._on:
            return None
        try:
            reviewer = self._read(desk)
        except NothingPublished:
            return None
        except EngineError as error:
            LOG.error("conditions to review cannot be told: %s", error)
            return Review((), "", t("review.unreadable"))
        release = desk.release
        found = reviewer.suspected(release.index, entry.row_columns, entry.row_weights, entry.chart, release.known)
        if not found:
            return None
        note = t("risk.synthetic" if reviewer.manifest.get("synthetic") else "review.note")
        return Review(tuple(_line(one, t) for one in found), note)

    def _read(self, desk: Desk) -> Reviewer:
        with self._lock:
            now = stamp_of(self._files.files.path(NAME, CURRENT))
            if self._held is None or self._held[0] != now:
                rules = desk.screen.rules
                known = patterns({measure.id: measure.codes for measure in rules.measures.values()})
                self._held = now, self._files.current(known, desk.screen.conditions, desk.indications)
            return self._held[1]


def reviews() -> Reviews:
    """The current application's `Reviews`."""
    found = current_app.extensions["rxrec_reviews"]
    assert isinstance(found, Reviews)  # noqa: S101  (for the type checker: create_app put it there)
    return found


def _line(one: Suspected, t: Words) -> ReviewLine:
    parts = [
        f"{part.column.name}{t('review.labelled') if part.labelled else ''} {part.value:+.2f}" for part in one.parts
    ]
    return ReviewLine(one.name, one.code, t("list.comma").join(parts))

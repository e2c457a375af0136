"""A published version in, the folder of one report out: what `rxrec report` and the end of a night both write."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.console import Console
from jobs.report_common import before_of, patients_of
from recommender.catalogue import Catalogue
from recommender.errors import FeedbackUnavailable, UnknownVersion
from recommender.feedback import FeedbackEvent, FeedbackLog, publishable
from recommender.offer import Desk
from recommender.reports.card import Card, card_of
from recommender.reports.card_page import write_card
from recommender.reports.cohort import Cohort
from recommender.reports.drift import Drift, drift_of, seen
from recommender.reports.folder import new_folder
from recommender.reports.history import Night, history
from recommender.reports.lists import about_of
from recommender.reports.monitoring_page import write_drift, write_history
from recommender.reports.pharmacy import Pharmacy, pharmacy_of
from recommender.reports.quality import Quality, quality_report
from recommender.reports.sums_page import write_pharmacy, write_quality
from recommender.reports.tally import Tally, tally
from recommender.snapshot import Release
from recommender.store import Store


def tallied(console: Console, store: Store, desk: Desk, n: int) -> Tally:
    """What pharmacy and quality reports count, in one walk through all patients."""
    total = patients_of(store, desk.release.version)
    with console.progress("patients", total, "patients") as progress:
        return tally(desk, store.entries(desk.release), n, formulary=desk.formulary(), progress=progress)


def card_folder(out: Path, release: Release, **more: Mapping[str, Any] | None) -> Card:
    """`more`: evaluation, external and site, as `card_of` takes them."""
    found = card_of(release.version, release.manifest, **more)
    with new_folder(out) as folder:
        write_card(folder, found)
    return found


def pharmacy_folder(out: Path, desk: Desk, found: Tally) -> Pharmacy:
    release, screen = desk.release, desk.screen
    catalogue = Catalogue(release.version, release.index, screen.vocabulary, screen.rules)
    told = pharmacy_of(release, found, catalogue, desk.formulary())
    with new_folder(out) as folder:
        write_pharmacy(folder, told, about_of(desk, Cohort(), datetime.now(UTC)), found.n)
    return told


def quality_folder(
    out: Path, workdir: Path, desk: Desk, found: Tally, before: Release | None, since: datetime | None = None
) -> Quality:
    """before: the version to compare with; since: the first day of feedback that counts."""
    heard: dict[str, Any]
    try:
        heard = publishable(FeedbackLog(workdir).summary(since))
    except FeedbackUnavailable as error:
        heard = {"not_read": str(error)}
    then = None if before is None else (before.version, before.manifest)
    told = quality_report(desk.release.version, desk.release.manifest, then, found, heard)
    with new_folder(out) as folder:
        about = about_of(desk, Cohort(), datetime.now(UTC))
        write_quality(folder, told, about, "" if since is None else f"{since:%Y-%m-%d}")
    return told


def drift_folder(out: Path, console: Console, store: Store, release: Release, against: str | None = None) -> Drift:
    """Raises UnknownVersion where there is nothing to compare with."""
    events: list[FeedbackEvent] = []
    try:
        events = FeedbackLog(console.settings.workdir).events()
    except FeedbackUnavailable as error:
        console.say(f"feedback was not read: {error}")
    earlier = before_of(store, release.version, against)
    if earlier is None:
        raise UnknownVersion("no version was published before this one: there is nothing to compare with")
    counted = []
    for one in (release, earlier):
        with console.progress(one.version, patients_of(store, one.version), "patients") as progress:
            counted.append(seen(one, store.entries(one), progress))
    now, then = counted
    told = drift_of(release, now, earlier, then, events)
    with new_folder(out) as folder:
        write_drift(folder, told)
    return told


def history_folder(out: Path, workdir: Path, store: Store) -> tuple[list[Night], list[str]]:
    """The nights, and which of them cannot be read."""
    nights, unread = history(workdir / "runs", store.versions())
    with new_folder(out) as folder:
        write_history(folder, nights, unread)
    return nights, unread

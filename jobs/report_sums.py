"""`rxrec report pharmacy`, `quality`, `drift`, `history`: a published version in; sums of many patients out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from jobs.console import Console
from jobs.report_common import AGAINST, NUMBER, OUT, VERSION, before_of, formulary_of, opened, patients_of
from recommender.catalogue import Catalogue
from recommender.errors import FeedbackUnavailable, UnknownVersion
from recommender.feedback import FeedbackLog, publishable
from recommender.formulary import Formulary
from recommender.offer import Desk
from recommender.reports.cells import in_words
from recommender.reports.cohort import Cohort
from recommender.reports.drift import drift_of, seen
from recommender.reports.folder import new_folder
from recommender.reports.history import history as nights_of
from recommender.reports.lists import about_of
from recommender.reports.monitoring_page import write_drift, write_history
from recommender.reports.pharmacy import pharmacy_of
from recommender.reports.quality import quality_report
from recommender.reports.sums_page import write_pharmacy, write_quality
from recommender.reports.tally import Tally, tally
from recommender.store import Store, open_store


@click.command()
@OUT
@VERSION
@NUMBER
@click.pass_obj
def pharmacy(console: Console, out: Path, version: str | None, n: int) -> None:
    """For pharmacists: formulary use, interactions and duplicates in what patients take, treatments by condition.

    A page, JSON and CSV tables. Nothing in it tells of fewer than 11 patients.
    """
    with opened(console, version) as (store, desk):
        formulary = formulary_of(console, desk)
        found = _tallied(console, store, desk, n, formulary)
        screen = desk.screen
        catalogue = Catalogue(desk.release.version, desk.release.index, screen.vocabulary, screen.rules)
        told = pharmacy_of(desk.release, found, catalogue, formulary)
    with new_folder(out) as folder:
        write_pharmacy(folder, told, about_of(desk, Cohort(), datetime.now(UTC)), n)
    counted = {"interactions": len(told.interactions), "duplicates": len(told.duplicates)}
    data = {"folder": str(out), "version": desk.release.version, "patients": told.patients, **counted}
    console.result(data, f"{out}/pharmacy.html: {in_words(told.patients)} patients")


@click.command()
@OUT
@VERSION
@NUMBER
@AGAINST
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day of feedback that counts (UTC).")
@click.pass_obj
def quality(
    console: Console, out: Path, version: str | None, n: int, against: str | None, since: datetime | None
) -> None:
    """For quality officers: what changed, coverage, burden of alerts, what clinicians accepted and overrode.

    A page, JSON and a CSV table. Nothing in it tells of fewer than 11 patients.
    """
    begin = None if since is None else since.replace(tzinfo=UTC)
    try:
        heard = publishable(FeedbackLog(console.settings.workdir).summary(begin))
    except FeedbackUnavailable as error:
        heard = {"not_read": str(error)}
    with opened(console, version) as (store, desk):
        found = _tallied(console, store, desk, n, Formulary())
        before = before_of(store, desk.release.version, against)
        release = desk.release
        then = None if before is None else (before.version, before.manifest)
        told = quality_report(release.version, release.manifest, then, found, heard)
    with new_folder(out) as folder:
        about = about_of(desk, Cohort(), datetime.now(UTC))
        write_quality(folder, told, about, "" if since is None else f"{since:%Y-%m-%d}")
    data = {"folder": str(out), "version": release.version, "before": told.before, "patients": told.patients}
    console.result(
        data, f"{out}/quality.html: {in_words(told.patients)} patients, compared with {told.before or 'nothing'}"
    )


@click.command()
@OUT
@VERSION
@AGAINST
@click.pass_obj
def drift(console: Console, out: Path, version: str | None, against: str | None) -> None:
    """How inputs, scores and acceptance moved since an earlier version.

    A page, JSON, and drift.prom for Prometheus (the textfile collector of node_exporter).
    """
    try:
        events = FeedbackLog(console.settings.workdir).events()
    except FeedbackUnavailable as error:
        console.say(f"feedback was not read: {error}")
        events = []
    with open_store(console.settings) as store:
        release = store.release(version or store.current())
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
    data = {
        "folder": str(out),
        "version": told.version,
        "before": told.before,
        "changed": list(told.changed),
        "indices": {one.name: {"index": one.index, "limit": one.limit, "state": one.state} for one in told.indices},
    }
    moved = ", ".join(told.changed) or "nothing"
    console.result(data, f"{out}/drift.html: distributed otherwise than in {told.before}: {moved}")


@click.command()
@OUT
@click.pass_obj
def history(console: Console, out: Path) -> None:
    """All nights of this working directory with their figures, refused ones too."""
    with open_store(console.settings) as store:
        published = store.versions()
    nights, unread = nights_of(console.settings.workdir / "runs", published)
    with new_folder(out) as folder:
        write_history(folder, nights, unread)
    data = {"folder": str(out), "versions": [night.version for night in nights], "unread": unread}
    console.result(data, f"{out}/history.html: {len(nights)} versions")


def _tallied(console: Console, store: Store, desk: Desk, n: int, formulary: Formulary) -> Tally:
    total = patients_of(store, desk.release.version)
    with console.progress("patients", total, "patients") as progress:
        return tally(desk, store.entries(desk.release), n, formulary=formulary, progress=progress)

"""`rxrec report pharmacy`, `quality`, `drift`, `history`: a published version in; sums of many patients out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from jobs.console import Console
from jobs.report_common import AGAINST, NUMBER, OUT, VERSION, before_of, opened
from jobs.report_write import drift_folder, history_folder, pharmacy_folder, quality_folder, tallied
from recommender.reports.cells import in_words
from recommender.store import open_store


@click.command()
@OUT
@VERSION
@NUMBER
@click.pass_obj
def pharmacy(console: Console, out: Path, version: str | None, n: int) -> None:
    """For pharmacists: formulary use, interactions and duplicates in what patients take, treatments by condition.

    A page, JSON and CSV tables. Nothing in it tells of fewer than 11 patients.
    """
    with opened(console.settings, version) as (store, desk):
        told = pharmacy_folder(out, desk, tallied(console, store, desk, n))
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
    with opened(console.settings, version) as (store, desk):
        before = before_of(store, desk.release.version, against)
        told = quality_folder(out, console.settings.workdir, desk, tallied(console, store, desk, n), before, begin)
    data = {"folder": str(out), "version": told.version, "before": told.before, "patients": told.patients}
    compared = told.before or "nothing"
    console.result(data, f"{out}/quality.html: {in_words(told.patients)} patients, compared with {compared}")


@click.command()
@OUT
@VERSION
@AGAINST
@click.pass_obj
def drift(console: Console, out: Path, version: str | None, against: str | None) -> None:
    """How inputs, scores and acceptance moved since an earlier version.

    A page, JSON, and drift.prom for Prometheus (the textfile collector of node_exporter).
    """
    with open_store(console.settings) as store:
        told = drift_folder(out, console, store, store.release(version or store.current()), against)
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
        nights, unread = history_folder(out, console.settings.workdir, store)
    data = {"folder": str(out), "versions": [night.version for night in nights], "unread": unread}
    console.result(data, f"{out}/history.html: {len(nights)} versions")

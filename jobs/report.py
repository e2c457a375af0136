"""`rxrec report`: a published version in; lists of patients, reports for pharmacists and quality officers out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from jobs.console import Console
from jobs.kinds import kinds_option
from recommender.catalogue import Catalogue
from recommender.errors import FeedbackUnavailable, InputError, RulesMissing, UnknownVersion
from recommender.feedback import FeedbackLog, publishable
from recommender.formulary import Formulary
from recommender.offer import Desk
from recommender.records import THERAPIES
from recommender.reports.card import card_of
from recommender.reports.card_page import write_card
from recommender.reports.cohort import Cohort, cohort_of, ids_of
from recommender.reports.drift import drift_of, seen
from recommender.reports.folder import new_folder
from recommender.reports.history import history as nights_of
from recommender.reports.lists import FORMATS, Listed, about_of, write_lists
from recommender.reports.monitoring_page import write_drift, write_history
from recommender.reports.pharmacy import pharmacy_of
from recommender.reports.quality import quality_report
from recommender.reports.sums_page import write_pharmacy, write_quality
from recommender.reports.tally import Tally, tally
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen
from recommender.snapshot import Release
from recommender.store import Store, open_store

MOST_PLACES = 10  # of unknown ids, told on the terminal

_FOLDER = click.Path(path_type=Path, file_okay=False)
_VERSION = click.option("--version", "version", help="A published version. [default: the one being served]")
_N = click.option("-n", "n", type=click.IntRange(1, 50), default=10, show_default=True, help="Suggestions a patient.")
_AGAINST = click.option("--against", help="The version to compare with. [default: the one published before]")
_OUT = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="A new folder, readable by its owner only.",
)


@click.group()
def report() -> None:
    """Write what wards, pharmacists and quality officers read."""


@report.command()
@_OUT
@_VERSION
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(FORMATS),
    default=("html", "pdf"),
    show_default=True,
    help="May be given more than once.",
)
@click.option("--condition", "conditions", multiple=True, help="Patients with any of these: a code, name or group.")
@click.option("--department", "departments", multiple=True, help="Patients seen in any of these: a code or name.")
@click.option("--age-from", type=click.FloatRange(min=0), help="Years; the age itself is in.")
@click.option("--age-below", type=click.FloatRange(min=0), help="Years; the age itself is not in.")
@click.option("--sex", type=click.Choice(["F", "M"]), help="One of the two.")
@click.option(
    "--ids",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A CSV with a column patient_id: a ward's list, say, or a clinician's.",
)
@_N
@click.option("--font", type=click.Path(path_type=Path, dir_okay=False), help="A TrueType font for the PDF.")
@kinds_option("default: drugs, procedures and care plans")
@click.pass_obj
def patients(
    console: Console,
    out: Path,
    version: str | None,
    formats: tuple[str, ...],
    conditions: tuple[str, ...],
    departments: tuple[str, ...],
    age_from: float | None,
    age_below: float | None,
    sex: str | None,
    ids: Path | None,
    n: int,
    font: Path | None,
    kinds: tuple[str, ...],
) -> None:
    """Lists for a ward, a clinic or any cohort: one page a patient.

    Suggestions with reasons and warnings, what was withheld and why, and what could not be checked. HTML and PDF
    print a page a patient; CSV, XLSX and NDJSON are for programs. What is asked for together must hold together.
    """
    wanted = None if ids is None else ids_of(ids)
    with opened(console, version) as (store, desk):
        cohort = cohort_of(
            desk.release,
            conditions=conditions,
            departments=departments,
            age_from=age_from,
            age_below=age_below,
            sex=sex or "",
            ids=wanted,
        )
        formulary = formulary_of(console, desk)
        with console.progress("patients", None, "patients") as progress:
            listed = write_lists(
                *(out, store, desk, cohort, formats, n),
                kinds=kinds or THERAPIES,
                formulary=formulary,
                font=font,
                progress=progress,
            )
    told = {"folder": str(out), "version": desk.release.version, "cohort": cohort.words, **asdict(listed)}
    console.result(told, _in_words(out, cohort.words, listed))


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


def _in_words(out: Path, cohort: str, listed: Listed) -> str:
    lines = [
        f"{out}: {listed.patients:,} patients ({cohort}), {listed.with_suggestions:,} of them with suggestions, "
        f"{listed.with_warnings:,} with a warning beside one, {listed.with_withheld:,} with something withheld"
    ]
    if listed.unknown:
        places = ", ".join(map(str, listed.unknown[:MOST_PLACES]))
        more = f" and {len(listed.unknown) - MOST_PLACES:,} more" if len(listed.unknown) > MOST_PLACES else ""
        lines.append(f"not known to this version: ids number {places}{more} of the list")
    if listed.not_drawn:
        lines.append(
            f"the PDF shows □ for {listed.not_drawn:,} characters that its font lacks: install fonts-wqy-microhei, or "
            "name a font with --font"
        )
    return "\n".join(lines)


@report.command()
@_OUT
@_VERSION
@click.option("--evaluation", type=_FOLDER, help="A report of `rxrec evaluate` on the same source, for more figures.")
@click.option("--external", type=_FOLDER, help="One on other hospitals (--by hospital) or another source.")
@click.option(
    "--site",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What only the site knows: JSON, name of an attribute -> words (docs/reports.md).",
)
@click.pass_obj
def card(
    console: Console,
    out: Path,
    version: str | None,
    evaluation: Path | None,
    external: Path | None,
    site: Path | None,
) -> None:
    """The model card: the 31 source attributes of HTI-1.

    Each is filled from measurements, or stated, or plainly not assessed.
    """
    with open_store(console.settings) as store:
        release = store.release(version or store.current())
    found = card_of(
        release.version,
        release.manifest,
        evaluation=None if evaluation is None else _evaluation(evaluation),
        external=None if external is None else _evaluation(external),
        site=None if site is None else {key: str(words) for key, words in _json_of(site).items()},
    )
    with new_folder(out) as folder:
        write_card(folder, found)
    missing = [one.asked.key for one in found.not_assessed]
    told = {
        "folder": str(out),
        "version": release.version,
        "attributes": len(found.attributes),
        "not_assessed": missing,
    }
    console.result(told, f"{out}/card.html: {len(found.attributes)} attributes; not assessed: {', '.join(missing)}")


def _evaluation(folder: Path) -> dict[str, Any]:
    told = _json_of(folder / "evaluation.json")
    if not {"first", "models", "by", "source", "by_length", "by_group", "reliability"} <= told.keys():
        raise InputError("is no report of this `rxrec evaluate`: run it again", file="evaluation.json")
    return told


def _json_of(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path.name) from None
    except ValueError:
        raise InputError("is no JSON in UTF-8", file=path.name) from None
    if not isinstance(found, dict):
        raise InputError("must be one JSON object", file=path.name)
    return found


@report.command()
@_OUT
@_VERSION
@_N
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
    console.result(data, f"{out}/pharmacy.html: {told.patients:,} patients")


@report.command()
@_OUT
@_VERSION
@_N
@_AGAINST
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
        before = _before(store, desk.release.version, against)
        release = desk.release
        then = None if before is None else (before.version, before.manifest)
        told = quality_report(release.version, release.manifest, then, found, heard)
    with new_folder(out) as folder:
        about = about_of(desk, Cohort(), datetime.now(UTC))
        write_quality(folder, told, about, "" if since is None else f"{since:%Y-%m-%d}")
    data = {"folder": str(out), "version": release.version, "before": told.before, "patients": told.patients}
    console.result(data, f"{out}/quality.html: {told.patients:,} patients, compared with {told.before or 'nothing'}")


@report.command()
@_OUT
@_VERSION
@_AGAINST
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
        earlier = _before(store, release.version, against)
        if earlier is None:
            raise UnknownVersion("no version was published before this one: there is nothing to compare with")
        counted = []
        for one in (release, earlier):
            with console.progress(one.version, _patients(store, one.version), "patients") as progress:
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


@report.command()
@_OUT
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
    total = _patients(store, desk.release.version)
    with console.progress("patients", total, "patients") as progress:
        return tally(desk, store.entries(desk.release), n, formulary=formulary, progress=progress)


def _before(store: Store, version: str, against: str | None) -> Release | None:
    """The version named, or the one published before; None where there is none."""
    if against is None:
        names = [one.version for one in store.versions()]
        earlier = names[names.index(version) + 1 :]
        if not earlier:
            return None
        against = earlier[0]
    return store.release(against)


def _patients(store: Store, version: str) -> int:
    return next(one.patients for one in store.versions() if one.version == version)

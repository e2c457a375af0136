"""`rxrec report`: a published version in; lists of patients, reports for pharmacists and quality officers out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from jobs.console import Console
from jobs.kinds import kinds_option
from jobs.report_common import FOLDER, NUMBER, OUT, SITE, VERSION, json_of, opened, site_of
from jobs.report_sums import drift, history, pharmacy, quality
from jobs.report_write import card_folder
from recommender.errors import InputError
from recommender.records import THERAPIES
from recommender.reports.cohort import cohort_of, ids_of
from recommender.reports.lists import FORMATS, Listed, write_lists
from recommender.store import open_store

MOST_PLACES = 10  # of unknown ids, told on the terminal


@click.group()
def report() -> None:
    """Write what wards, pharmacists and quality officers read."""


for command in (pharmacy, quality, drift, history):
    report.add_command(command)


@report.command()
@OUT
@VERSION
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
@NUMBER
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
    with opened(console.settings, version) as (store, desk):
        cohort = cohort_of(
            desk.release,
            conditions=conditions,
            departments=departments,
            age_from=age_from,
            age_below=age_below,
            sex=sex or "",
            ids=wanted,
        )
        with console.progress("patients", None, "patients") as progress:
            listed = write_lists(
                *(out, store, desk, cohort, formats, n),
                kinds=kinds or THERAPIES,
                formulary=desk.formulary(),
                font=font,
                progress=progress,
            )
    told = {"folder": str(out), "version": desk.release.version, "cohort": cohort.words, **asdict(listed)}
    console.result(told, _in_words(out, cohort.words, listed))


@report.command()
@OUT
@VERSION
@click.option("--evaluation", type=FOLDER, help="A report of `rxrec evaluate` on the same source, for more figures.")
@click.option("--external", type=FOLDER, help="One on other hospitals (--by hospital) or another source.")
@SITE
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
    found = card_folder(
        out,
        release,
        evaluation=None if evaluation is None else _evaluation(evaluation),
        external=None if external is None else _evaluation(external),
        site=None if site is None else site_of(site),
    )
    missing = [one.asked.key for one in found.not_assessed]
    told = {
        "folder": str(out),
        "version": release.version,
        "attributes": len(found.attributes),
        "not_assessed": missing,
    }
    console.result(told, f"{out}/card.html: {len(found.attributes)} attributes; not assessed: {', '.join(missing)}")


def _evaluation(folder: Path) -> dict[str, Any]:
    told = json_of(folder / "evaluation.json")
    if not {"first", "models", "by", "source", "by_length", "by_group", "reliability"} <= told.keys():
        raise InputError("is no report of this `rxrec evaluate`: run it again", file="evaluation.json")
    return told


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

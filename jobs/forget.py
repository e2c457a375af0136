"""`rxrec forget`: a patient's id in; that person out of the store, the feedback, the runs, and every later fit."""

from __future__ import annotations

import shutil
import sys

import click

from jobs.console import Console
from recommender.errors import EngineError
from recommender.feedback import FeedbackLog
from recommender.forgotten import Forgotten
from recommender.store import open_store
from recommender.stream import Place, Readings


@click.command()
@click.argument("patient")
@click.option("--yes", is_flag=True, help="Do not ask. It cannot be undone.")
@click.pass_obj
def forget(console: Console, patient: str, yes: bool) -> None:
    """Remove a person; `-` reads the id from stdin, so that no shell keeps it.

    From every published version, the log of feedback, readings and their events, and what runs have kept, weights too,
    as no weight tells whose it is; later nights, fits and evaluations leave the person out, also where an export holds
    them. The weights of the served model still have learned from them until the next night. The audit log stays: it
    must tell who saw them. Backups, exports and reports are yours to clean.
    """
    patient_id = sys.stdin.readline().strip() if patient == "-" else patient
    if not patient_id:
        raise click.UsageError("give the id of a patient")
    if not yes:
        click.confirm("Remove this person for good?", abort=True, err=True)
    settings = console.settings
    Forgotten(settings.workdir, settings.secret_file).add(patient_id)
    events = FeedbackLog(settings.workdir).forget(patient_id)
    kept = 0
    for scores in (settings.workdir / "risk").glob("*/scores.npz"):
        scores.unlink()  # told again by the next `rxrec risk score`, without this person
    runs = settings.workdir / "runs"
    learned = [folder for part in ("model", "support") for folder in runs.glob(f"*/release/{part}")]
    for folder in (settings.workdir / "cache", *runs.glob("*/stages"), *learned):
        if folder.is_dir():
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise EngineError(f"{folder} cannot be removed: correct its owner, then do this again") from error
            kept += 1
    with open_store(settings) as store:
        versions = store.forget(patient_id)
        # last: from now on no consumer knows the person any more
        readings = Readings(Place(store.url, settings.key_prefix, settings.secret_file)).forget(patient_id)
    told = {"versions": versions, "feedback_events": events, "readings": readings, "folders": kept}
    console.result(
        told,
        f"removed from {versions} published versions, {events} events of feedback, {readings} readings and events of "
        f"monitoring and {kept} folders that runs kept. "
        "Run `rxrec nightly` so that the served model has not learned from this person either; if a night was running, "
        "do this again when it has ended.",
    )

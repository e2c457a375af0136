"""`rxrec nightly`: an export in, a new published version and the account of the run out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from data.synthetic import is_sample
from jobs.assessing import Night, assess, load_night, save_night
from jobs.concluding import conclude, night_in_words, served_version
from jobs.console import Console
from jobs.feedback import heard
from jobs.kinds import kinds_option
from jobs.night_reports import Wanted, failures_in_words
from jobs.night_reports import options as report_options
from jobs.source import Source, source_options
from jobs.stages import Events, Form, Kept, Run, Telling, fingerprint, sha256_of
from jobs.updating import load_update, save_update, told_whole
from jobs.work import Work
from recommender.access import seal_of
from recommender.errors import EngineError, ReportsFailed
from recommender.examples import matrix_today
from recommender.feedback import HOW, OFF
from recommender.forgotten import Forgotten
from recommender.gate import Verdict, compared, coverage_of, inputs_of
from recommender.matrix import PatientMatrix
from recommender.memory import in_bytes, let_go
from recommender.models import SERVABLE
from recommender.pipeline import make_snapshot
from recommender.publication import Onto
from recommender.records import THERAPIES, TREATMENT_KINDS
from recommender.run_files import (
    load_matrix,
    load_records,
    load_snapshot,
    save_matrix,
    save_records,
    save_snapshot,
)
from recommender.safety.screen import Screen
from recommender.selection import AUTO, FILE
from recommender.snapshot import Snapshot
from recommender.store import Store, open_store
from recommender.update import make_update, why_not

T = TypeVar("T")
EXAMPLES = 8  # synthetic patients offered on the start page of the demo


@click.command()
@source_options
@click.option(
    "--model",
    "name",
    type=click.Choice([AUTO, *SERVABLE]),
    default=AUTO,
    show_default=True,
    help="auto: what `rxrec fit` selected; else directed where enough visits are known, linear otherwise.",
)
@click.option(
    "--gate",
    type=click.Choice(["on", "warn", "off"]),
    default="on",
    show_default=True,
    help="on: publish nothing that is worse than what is being served; warn: say so and publish; off: do not compare.",
)
@click.option(
    "--feedback",
    "how",
    type=click.Choice(HOW),
    default=OFF,
    show_default=True,
    help="Learn from what was accepted (labels), or more from patients with feedback (weights): read the risks first.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Take up the latest run of the same options that did not end: what it had finished is not done again.",
)
@click.option(
    "--update",
    is_flag=True,
    help="Keep the served model and rewrite only patients who have changed; a whole night where that cannot be done.",
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="What the night may have in memory, such as 3GiB (else RXREC_MEMORY; else what this machine has).",
)
@click.option(
    "--events",
    "events_file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Append a JSON line for each stage and its progress, for a program that watches.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "spark"]),
    default="local",
    show_default=True,
    help="spark: on a cluster, with pip install 'rxrec[spark]' and Java 17 (docs/spark.md).",
)
@click.option("--master", metavar="URL", help="Of the cluster: spark://host:7077, yarn, k8s://..., local[4].")
@click.option("--spark-conf", "conf", metavar="NAME=VALUE", multiple=True, help="A setting of Spark; may be repeated.")
@click.option("--parts", type=click.IntRange(min=0), default=0, help="In how many parts the patients lie on a cluster.")
@report_options
@kinds_option("default: all kinds; quality is then measured on drugs, procedures and care plans")
@click.pass_obj
def nightly(
    console: Console,
    source: Source,
    name: str,
    gate: str,
    how: str,
    kinds: tuple[str, ...],
    engine: str,
    master: str | None,
    conf: tuple[str, ...],
    parts: int,
    resume: bool,
    update: bool,
    memory: str | None,
    events_file: Path | None,
    reports: str,
    lists: Path | None,
    site: Path | None,
) -> None:
    """Run a night: read, fit, score, compare, publish, switch over, write reports.

    What was published before stays in service until the new version is whole, and stays as it is when anything fails,
    and when the new version is worse in what it was compared by.
    """
    cluster = None if engine == "local" else Cluster.asked(master, conf, parts)
    if (cluster and (resume or update or memory)) or (not cluster and (master or conf or parts)):
        raise click.UsageError(
            "--resume, --update, --memory are for --engine local; --master, --spark-conf, --parts for spark"
        )
    if memory:
        console = replace(console, settings=replace(console.settings, memory=in_bytes(memory)))
    os.umask(0o077)  # what this run writes is readable by its owner only
    workdir, asked, wanted = console.settings.workdir, _asked(), Wanted.of(reports, lists, site)
    events = Events(events_file)
    try:
        run = Run.resumed(workdir / "runs", asked, events, seal_of(console.settings)) if resume else None
        with contextlib.ExitStack() as stack:
            if run:
                stack.callback(run.close)
                console.say(f"run {run.name} is taken up")
            elif resume:
                console.say("there is no such run to take up: a new one begins")
            told = Telling(console.settings, console.quiet, console.as_json, events)
            asked_for = Asked(name, gate, how, kinds, update, asked, wanted)
            summary = _night(told, source, asked_for, run, stack, cluster)
        console.result(summary, night_in_words(summary))
        failed = bool(summary["reports"]["failed"])
        events.tell("run", state="done", exit_code=ReportsFailed.exit_code if failed else 0)
    except EngineError as error:
        events.tell("run", state="failed", error=type(error).__name__, message=str(error), exit_code=error.exit_code)
        raise
    except BaseException as error:
        events.tell("run", state="failed", error=type(error).__name__, exit_code=1)
        raise
    finally:
        events.close()
    if failed:  # the result was told: to raise would print a second one
        if not console.as_json:
            click.echo(f"rxrec: {failures_in_words(summary['reports'])}", err=True)
        click.get_current_context().exit(ReportsFailed.exit_code)


@dataclass(frozen=True)
class Asked:
    """The options of a night; `digest`: of all of them, to find a run by that was asked to do the same."""

    model: str
    gate: str
    feedback: str
    kinds: tuple[str, ...]
    update: bool
    digest: str
    wanted: Wanted


@dataclass(frozen=True)
class Cluster:
    """Where Spark is (`master`), its settings, and in how many parts the people are to lie (0: by their number)."""

    master: str
    conf: dict[str, str]
    parts: int

    @classmethod
    def asked(cls, master: str | None, conf: tuple[str, ...], parts: int) -> Cluster:
        if not master:
            raise click.UsageError("--engine spark needs --master: spark://host:7077, yarn, k8s://..., local[4]")
        if not all("=" in one for one in conf):
            raise click.UsageError("--spark-conf is NAME=VALUE")
        return cls(master, dict(one.split("=", 1) for one in conf), parts)


def _asked() -> str:
    """A digest of the options, which may hold a database's password."""
    options = {**click.get_current_context().params, "resume": None, "events_file": None, "memory": None}
    return hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()


def _made_from(source: Source) -> dict[str, Any]:
    """What reading depends on: the export, and the files that say how to read it."""
    options = click.get_current_context().params
    files = {name: sha256_of(options[name]) for name in ("columns", "drug_map") if options.get(name)}
    vocabulary = fingerprint(Path(source.vocabulary_folder)) if source.vocabulary_folder else []
    return {"source": source.format, "export": fingerprint(Path(source.path)), "vocabulary": vocabulary, **files}


def _night(
    console: Telling,
    source: Source,
    asked: Asked,
    run: Run | None,
    stack: contextlib.ExitStack,
    cluster: Cluster | None,
) -> dict[str, Any]:
    """The night on this machine or on a cluster; what it has to say in the end."""
    screen = Screen.load(console.settings.rules, source.vocabulary_folder)  # without rules nothing is read in vain
    # a store that is down is found out before the work, not after
    store = stack.enter_context(open_store(console.settings))
    if run is None:
        version = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        runs, seal = console.settings.workdir / "runs", seal_of(console.settings)
        run = Run.begun(runs / version, asked.digest, console.events, seal)
        stack.callback(run.close)
    console.events.run = run.name
    console.events.tell("run", state="begun", created=run.created)
    if cluster is None:
        return _here(console, source, asked, run, screen, store)
    from jobs.spark_night import spark_night

    return spark_night(console, source, asked, cluster, run, screen, store, stack)


def _here(console: Telling, source: Source, asked: Asked, run: Run, screen: Screen, store: Store) -> dict[str, Any]:
    """The stages, one after another."""
    settings, workdir = console.settings, console.settings.workdir
    work = Work.of(settings)
    synthetic, kinds = is_sample(source.path), asked.kinds
    served, why_nothing = served_version(store, synthetic)
    judge_by, why_alone = (None, "--gate off") if asked.gate == "off" else (served, why_nothing)
    use, told = heard(workdir, asked.feedback)

    def stage(name: str, made_from: dict[str, Any], make: Callable[[], T], form: Form[T]) -> Kept[T]:
        console.say(f"{name} ...")
        kept = run.stage(name, made_from, make, form)
        let_go()
        return kept

    def publish(snapshot: Snapshot, verdict: Verdict, onto: Onto | None = None) -> dict[str, Any]:
        log, patients = records.value.log, len(snapshot.patient_ids)
        records.give_up()
        warn(work.publishing(patients))

        def write(progress: Callable[[int], None]) -> None:
            def sent(done: int) -> None:
                progress(done)
                work.memory.keep()

            store.publish(snapshot, sent, onto)

        made = (snapshot.release, log, verdict, patients, write)
        return conclude(console, run, store, screen, asked.gate, asked.wanted, *made)

    def warn(said: str) -> None:
        if said:
            console.say(f"  {said}")

    def judge() -> Night:
        warn(work.judging(records.value, matrix.value))
        with console.progress("evaluate", 2, "models") as progress:
            blocks = work.blocks(records.value)
            return assess(records.value, kinds or THERAPIES, asked.model, workdir, judge_by, use, progress, blocks)

    def score() -> Snapshot:
        choice, blocks = night.value.choice, work.blocks(records.value)
        warn(work.scoring(records.value, matrix.value, choice.model))
        provenance = {
            "created": run.created,
            **lasting,
            "example_patients": _examples(matrix.value) if synthetic else [],
            "quality": night.value.quality,
            "chances": night.value.chances,
            "chosen": choice.as_dict(),
            "inputs": inputs_of(records.value, blocks),
            "feedback": told,
        }
        with console.progress("score", matrix.value.n_patients, "patients") as progress:
            made_of = (records.value, matrix.value, choice.model, run.name, provenance, screen)
            how = partial(make_snapshot, *made_of, balance=choice.balance, feedback=use)
            return how(progress=progress, blocks=blocks)

    left_out = Forgotten(workdir, settings.secret_file).fingerprint
    read_from = {**_made_from(source), "forgotten": left_out}
    records = stage("read", read_from, lambda: source.read(console), Form(save_records, load_records, mapped=True))
    lasting = {
        "source": source.format,
        "vocabulary": source.vocabulary_name,
        "synthetic": synthetic,
        "kinds": list(kinds or TREATMENT_KINDS),
    }
    if asked.update:
        why_whole = why_not(store, served, records.value, screen, lasting) if served else why_nothing
        told_whole(console, run, why_whole)
        if served and not why_whole:
            warn(work.updating(records.value))
            provenance, blocks = {**lasting, "created": run.created}, work.blocks(records.value)
            make = partial(make_update, records.value, served, run.name, provenance, screen, store, blocks)
            kept_as = Form(save_update, partial(load_update, run.name), mapped=True)
            update = stage("update", {"served": served.version, "rules": screen.rules.version}, make, kept_as).value
            verdict = compared(update.changed.release.manifest, judge_by, None, why_alone)
            snapshot = _judged(update.changed, verdict)
            return publish(snapshot, verdict, update.onto)

    def today() -> PatientMatrix:
        warn(work.matrix(records.value))
        return matrix_today(records.value, kinds or TREATMENT_KINDS, work.blocks(records.value))

    matrix = stage("matrix", {"kinds": kinds}, today, Form(save_matrix, load_matrix, mapped=True))
    judged_by = {"served": judge_by.version if judge_by else why_alone, "feedback": told, "model": asked.model}
    selected = sha256_of(workdir / FILE) if asked.model == AUTO else ""
    night = stage("evaluate", {**judged_by, "selected": selected}, judge, Form(save_night, load_night))
    form = Form(save_snapshot, partial(load_snapshot, run.name), mapped=True)
    scored = stage("fit and score", {"rules": screen.rules.version}, score, form)
    matrix.give_up()
    snapshot = scored.value
    coverage = coverage_of(snapshot.release.index, snapshot.top)
    verdict = compared({**snapshot.release.manifest, "coverage": coverage}, judge_by, night.value.gain, why_alone)
    judged = _judged(snapshot, verdict, coverage=coverage)
    return publish(judged, verdict)


def _judged(snapshot: Snapshot, verdict: Verdict, **more: Any) -> Snapshot:
    """With the verdict in its manifest, and more."""
    release = snapshot.release
    manifest = {**release.manifest, **more, "gate": verdict.as_dict()}
    return replace(snapshot, release=replace(release, manifest=manifest))


def _examples(matrix: PatientMatrix) -> list[str]:
    """Ids of a few patients from the emptiest chart to the fullest."""
    by_size = np.argsort(np.diff(matrix.rows.indptr), kind="stable")
    return [str(matrix.patient_ids[ix]) for ix in by_size[np.linspace(0, len(by_size) - 1, EXAMPLES).astype(int)]]

"""`rxrec nightly`: an export in, a new published version and the account of the run out."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np

from data.synthetic import is_sample
from jobs.console import Console
from jobs.feedback import heard, night_in_words
from jobs.kinds import kinds_option
from jobs.source import Source, source_options
from recommender.balance import balanced
from recommender.errors import GateRefused, NothingPublished, StoreCorrupt, TrainingError
from recommender.evaluation.bootstrap import Interval
from recommender.evaluation.calibrate import calibrate
from recommender.evaluation.compare import Evaluation, evaluate
from recommender.evaluation.split import folds_of, one_of
from recommender.evaluation.trial import Trial, make_trial, usual_protocol
from recommender.features import PatientMatrix, build_matrix
from recommender.feedback import HOW, OFF, FeedbackUse, learned
from recommender.gate import compared, coverage_of, inputs_of, paired_gain, quality_of
from recommender.models import MODELS
from recommender.models.popularity import PopularityModel
from recommender.moments import HORIZON
from recommender.pipeline import make_snapshot
from recommender.records import THERAPIES, TREATMENT_KINDS, Records
from recommender.safety.screen import Screen
from recommender.selection import AUTO, FILE, MOST_TESTED, Choice, read_choice, usual_choice
from recommender.snapshot import Release, pack_release
from recommender.store import Store, open_store

ENOUGH_PATIENTS = 100  # tested; a share among fewer says too little to be shown
EXAMPLES = 8  # synthetic patients offered on the start page of the demo


@click.command()
@source_options
@click.option(
    "--model",
    "name",
    type=click.Choice([AUTO, *MODELS]),
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
@kinds_option("default: all kinds; quality is then measured on drugs, procedures and care plans")
@click.pass_obj
def nightly(console: Console, source: Source, name: str, gate: str, how: str, kinds: tuple[str, ...]) -> None:
    """Run a night: read, fit, score, compare, publish, switch over.

    What was published before stays in service until the new version is whole, and stays as it is when anything fails,
    and when the new version is worse in what it was compared by.
    """
    os.umask(0o077)  # what this run writes is readable by its owner only
    seconds: dict[str, float] = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        console.say(f"{name} ...")
        began = perf_counter()
        yield
        seconds[name] = round(perf_counter() - began, 3)

    created = datetime.now(UTC)
    version = f"{created:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    synthetic, workdir = is_sample(source.path), console.settings.workdir
    screen = Screen.load(console.settings.rules, source.vocabulary_folder)  # without rules nothing is read in vain
    with open_store(console.settings) as store:  # first: a store that is down is found out before the work, not after
        served, why_alone = (None, "--gate off") if gate == "off" else _served(store, synthetic)
        use, told = heard(workdir, how)
        with stage("read"):
            records = source.read(console)
        with stage("matrix"):
            matrix = build_matrix(records, kinds=kinds or TREATMENT_KINDS)
        with stage("evaluate"), console.progress("evaluate", 2, "models") as progress:
            night = _assess(records, kinds or THERAPIES, name, workdir, served, use, progress)
        choice = night.choice
        provenance = {
            "created": created.isoformat(timespec="seconds"),
            "source": source.format,
            "vocabulary": source.vocabulary_name,
            "synthetic": synthetic,
            "example_patients": _examples(matrix) if synthetic else [],
            "quality": night.quality,
            "chances": night.chances,
            "chosen": choice.as_dict(),
            "inputs": inputs_of(records),
            "feedback": told,
        }
        with stage("fit and score"), console.progress("score", matrix.n_patients, "patients") as progress:
            snapshot = make_snapshot(
                *(records, matrix, choice.model, version, provenance, screen),
                balance=choice.balance,
                feedback=use,
                progress=progress,
            )
        manifest = {**snapshot.release.manifest, "coverage": coverage_of(snapshot.release.index, snapshot.top)}
        verdict = compared(manifest, served, night.gain, why_alone)
        release = replace(snapshot.release, manifest={**manifest, "gate": verdict.as_dict()})
        run = _write_run(workdir, release, records)
        if verdict.reasons and gate == "on":
            raise GateRefused(
                f"not published, version {verdict.served} stays in service: {'; '.join(verdict.reasons)}. Everything "
                f"measured is in {run}/gate.json; `--gate warn` publishes all the same"
            )
        for reason in verdict.reasons:
            console.say(f"  worse than version {verdict.served}: {reason}")
        with stage("publish"), console.progress("publish", matrix.n_patients, "patients") as progress:
            store.publish(replace(snapshot, release=release), progress)
            store.activate(version)
    summary = {
        "version": version,
        "run": str(run),
        "counts": manifest["counts"],
        "safety": manifest["safety"],
        "chosen": manifest["chosen"],
        "quality": night.quality,
        "gate": verdict.as_dict(),
        "feedback": told,
        "seconds": seconds,
    }
    console.result(summary, _in_words(summary))


def _served(store: Store, synthetic: bool) -> tuple[Release | None, str]:
    """The version being served, or why there is nothing to compare with."""
    try:
        served = store.release(store.current())
    except NothingPublished:
        return None, "this is the first version"
    except StoreCorrupt:  # of an earlier program, say: to refuse would leave it in service
        return None, "the served version cannot be read"
    if served.manifest.get("synthetic") and not synthetic:
        return None, "the served version is of synthetic patients"
    return served, ""


@dataclass(frozen=True)
class _Night:
    """What model is to be published, how good it is, how often what it lists comes true, and by how much it beats the
    served configuration; None where that was not measured."""

    choice: Choice
    quality: dict[str, Any]
    chances: dict[str, Any] | None = None
    gain: Interval | None = None


def _assess(
    records: Records,
    kinds: Collection[str],
    name: str,
    workdir: Path,
    served: Release | None,
    use: FeedbackUse,
    progress: Callable[[int], None],
) -> _Night:
    """Where the quality cannot be measured, it is told in words why."""
    try:
        trial = make_trial(records, usual_protocol(records), kinds)
    except TrainingError as error:
        return _Night(_choice(name, workdir, None), {"not_assessed": str(error)})
    choice = _choice(name, workdir, trial)
    models = {model.name: model for model in (choice.model, PopularityModel())}
    try:
        folds = one_of(folds_of(trial.person), MOST_TESTED)
        weighted = _weighted(trial, records, choice.balance, use)
        evaluation = evaluate(list(models.values()), weighted, folds, progress=progress)
    except TrainingError as error:
        return _Night(choice, {"not_assessed": str(error)})
    quality = quality_of(evaluation, choice.model.name, PopularityModel.name, records)
    chances = _chances(evaluation, choice.model.name)
    if served is None:
        return _Night(choice, quality, chances)
    chosen, used = served.manifest.get("chosen", {}).get("model", {}), served.manifest.get("feedback", {})
    if chosen == choice.as_dict()["model"] and used.get("used", OFF) == use.how:
        return _Night(choice, quality, chances)
    try:
        as_served = _weighted(trial, records, chosen.get("balance", ""), replace(use, how=used.get("used", OFF)))
        gain = paired_gain(evaluation, choice.model.name, served.model, as_served, folds)
        return _Night(choice, quality, chances, gain)
    except TrainingError:  # the served model needs visits, say, and these records tell none: what fell will be told
        return _Night(choice, quality, chances)


def _chances(evaluation: Evaluation, model: str) -> dict[str, Any] | None:
    """What an answer needs to say how often such a suggestion came true; only what follows a moment comes true."""
    if evaluation.trial.protocol != "started" or len(np.unique(evaluation.person)) < ENOUGH_PATIENTS:
        return None
    found = calibrate(evaluation, model)
    ece = found.methods.set_index("method").loc[found.method, "ece"]
    curve = found.calibration.as_dict()
    return {"depth": found.depth, "days": HORIZON // 86_400, "method": found.method, "ece": float(ece), "curve": curve}


def _choice(name: str, workdir: Path, trial: Trial | None) -> Choice:
    if name != AUTO:
        return Choice(MODELS[name](), "", f"--model {name}")
    return read_choice(workdir / FILE) if (workdir / FILE).exists() else usual_choice(trial)


def _weighted(trial: Trial, records: Records, balance: str, use: FeedbackUse) -> Trial:
    """What may be learned from, by the settings; what is judged, what was truly begun, stays as it is."""
    taught = balanced(trial.taught, records, balance, trial.person, trial.when)
    return replace(trial, taught=learned(taught, trial.when, trial.until, use))


def _examples(matrix: PatientMatrix) -> list[str]:
    """Ids of a few patients from the emptiest chart to the fullest."""
    by_size = np.argsort(np.diff(matrix.rows.indptr), kind="stable")
    return [str(matrix.patient_ids[ix]) for ix in by_size[np.linspace(0, len(by_size) - 1, EXAMPLES).astype(int)]]


def _write_run(workdir: Path, release: Release, records: Records) -> Path:
    """`runs/{version}/`: the release as it is published, the account of every rejected row, and the gate's."""
    run = workdir / "runs" / release.version
    run.mkdir(parents=True, mode=0o700)
    for name, asset in pack_release(release).items():
        file = run / "release" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(asset)
    (run / "ingest.json").write_text(json.dumps(records.log.as_dict(), indent=2))
    (run / "gate.json").write_text(json.dumps(release.manifest["gate"], indent=2))
    return run


def _screened(safety: dict[str, Any]) -> str:
    found, rules = safety["by_severity"], safety["rules"]
    return (
        f"screened by rules {rules['version']}, reviewed {' to '.join(rules['reviewed'])}: of {safety['drugs']:,} "
        f"suggested drugs {found['contraindicated']:,} are withheld, {found['serious']:,} carry a serious warning and "
        f"{found['caution']:,} a caution; {safety['not_checked']:,} could not be checked"
    )


def _in_words(summary: dict[str, Any]) -> str:
    counts, quality, chosen, gate = (summary[part] for part in ("counts", "quality", "chosen", "gate"))
    if "not_assessed" in quality:
        judged = f"quality not assessed: {quality['not_assessed']}"
    else:
        judged = "{metric} {value:.3f} (95% interval {low:.3f} to {high:.3f}, {patients:,} patients)".format(**quality)
        judged += ", popularity {value:.3f}".format(**quality["baseline"])
    worse = "" if gate["passed"] else ", and worse: see the lines above"
    timed = ", ".join(f"{name} {taken:.1f} s" for name, taken in summary["seconds"].items())
    return (
        f"version {summary['version']} is being served: {counts['patients']:,} patients, "
        f"{counts['suggestable']:,} treatments that can be suggested\n"
        f"model {chosen['model']['name']}: {chosen['why']}\n{judged}\n"
        f"compared with {gate['compared_with']}{worse}\n{timed}\n"
        f"{_screened(summary['safety'])}\n{night_in_words(summary['feedback'])}"
    )

"""`rxrec nightly`: an export in, a new published version and the account of the run out."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np

from data.synthetic import is_sample
from jobs.console import Console
from jobs.kinds import kinds_option
from jobs.source import Source, source_options
from recommender.errors import TrainingError
from recommender.evaluation.compare import MAIN, K, evaluate
from recommender.evaluation.split import folds_of, one_of
from recommender.evaluation.trial import make_trial, usual_protocol
from recommender.features import PatientMatrix, build_matrix
from recommender.models import MODELS
from recommender.models.base import Model
from recommender.models.popularity import PopularityModel
from recommender.pipeline import NOT_SCREENED, make_snapshot
from recommender.records import THERAPIES, TREATMENT_KINDS, Records
from recommender.snapshot import Release, pack_release
from recommender.store import open_store

MOST_TESTED = 20_000  # examples; more would make the interval narrower than the night is worth
EXAMPLES = 8  # synthetic patients offered on the start page of the demo


@click.command()
@source_options
@click.option("--model", "model_name", type=click.Choice(list(MODELS)), default="linear", show_default=True)
@kinds_option("default: all kinds; quality is then measured on drugs, procedures and care plans")
@click.pass_obj
def nightly(console: Console, source: Source, model_name: str, kinds: tuple[str, ...]) -> None:
    """Run a night: read, fit, score, publish, switch over.

    What was published before stays in service until the new version is whole, and stays as it is when anything fails.
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
    model, synthetic = MODELS[model_name](), is_sample(source.path)
    with open_store(console.settings) as store:  # first: a store that is down is found out before the work, not after
        with stage("read"):
            records = source.read(console)
        with stage("matrix"):
            matrix = build_matrix(records, kinds=kinds or TREATMENT_KINDS)
        with stage("evaluate"), console.progress("evaluate", 2, "models") as progress:
            quality = _quality(model, records, kinds or THERAPIES, progress)
        provenance = {
            "created": created.isoformat(timespec="seconds"),
            "source": source.format,
            "vocabulary": source.vocabulary_name,
            "synthetic": synthetic,
            "example_patients": _examples(matrix) if synthetic else [],
            "quality": quality,
        }
        with stage("fit and score"), console.progress("score", matrix.n_patients, "patients") as progress:
            snapshot = make_snapshot(records, matrix, model, version, provenance, progress=progress)
        with stage("publish"), console.progress("publish", matrix.n_patients, "patients") as progress:
            run = _write_run(console.settings.workdir, snapshot.release, records)
            store.publish(snapshot, progress)
            store.activate(version)
    summary = {
        "version": version,
        "run": str(run),
        "counts": snapshot.release.manifest["counts"],
        "quality": quality,
        "seconds": seconds,
    }
    console.result(summary, _in_words(summary))


def _quality(model: Model, records: Records, kinds: Collection[str], progress: Callable[[int], None]) -> dict[str, Any]:
    """How well the model foresees treatments beside popularity; or in words why that could not be measured."""
    try:
        trial = make_trial(records, usual_protocol(records), kinds)
        fold = one_of(folds_of(trial.person), MOST_TESTED)
        evaluation = evaluate([model, PopularityModel()], trial, fold, progress=progress)
    except TrainingError as error:
        return {"not_assessed": str(error)}
    return {
        "metric": f"NDCG@{K}",
        "protocol": trial.said,
        "patients": len(np.unique(evaluation.person)),
        **asdict(evaluation.summary(model.name)[MAIN]),
        "baseline": {"model": PopularityModel.name, **asdict(evaluation.summary(PopularityModel.name)[MAIN])},
    }


def _examples(matrix: PatientMatrix) -> list[str]:
    """Ids of a few patients from the emptiest chart to the fullest."""
    by_size = np.argsort(np.diff(matrix.rows.indptr), kind="stable")
    return [str(matrix.patient_ids[ix]) for ix in by_size[np.linspace(0, len(by_size) - 1, EXAMPLES).astype(int)]]


def _write_run(workdir: Path, release: Release, records: Records) -> Path:
    """`runs/{version}/`: the release as it is published and the account of every rejected row, for their owner only."""
    run = workdir / "runs" / release.version
    run.mkdir(parents=True, mode=0o700)
    for name, asset in pack_release(release).items():
        file = run / "release" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(asset)
    (run / "ingest.json").write_text(json.dumps(records.log.as_dict(), indent=2))
    return run


def _in_words(summary: dict[str, Any]) -> str:
    counts, quality = summary["counts"], summary["quality"]
    if "not_assessed" in quality:
        judged = f"quality not assessed: {quality['not_assessed']}"
    else:
        judged = "{metric} {value:.3f} (95% interval {low:.3f} to {high:.3f}, {patients:,} patients)".format(**quality)
        judged += ", popularity {value:.3f}".format(**quality["baseline"])
    timed = ", ".join(f"{name} {taken:.1f} s" for name, taken in summary["seconds"].items())
    return (
        f"version {summary['version']} is being served: {counts['patients']:,} patients, "
        f"{counts['suggestable']:,} treatments that can be suggested\n{judged}\n{timed}\n"
        f"Not safety-checked: {NOT_SCREENED['statement']}"
    )

"""`rxrec nightly --engine spark`: the same night, its people in parts on a Spark cluster."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from data.synthetic import is_sample
from jobs.assessing import Night, judged, not_assessed
from jobs.concluding import conclude, served_version
from jobs.feedback import heard
from jobs.nightly import EXAMPLES, Asked, Cluster
from jobs.source import Source
from jobs.stages import Run, Telling
from recommender.distributed.lists import Address, Scored, found_in, score, write
from recommender.distributed.night import Examples, Today, examples_of, fit, today_of
from recommender.distributed.parts import Parts
from recommender.distributed.reading import settle
from recommender.errors import EngineError, TrainingError
from recommender.forgotten import Forgotten
from recommender.gate import compared, folded
from recommender.ingest_log import IngestLog
from recommender.loaders.column_map import read_map
from recommender.pipeline import manifest_of
from recommender.publication import Begun
from recommender.records import THERAPIES, TREATMENT_KINDS
from recommender.safety.screen import Screen
from recommender.settings import Settings
from recommender.snapshot import Release
from recommender.store import Store
from recommender.store_index import LOCK_SECONDS

T = TypeVar("T")


def spark_night(
    console: Telling,
    source: Source,
    asked: Asked,
    cluster: Cluster,
    run: Run,
    screen: Screen,
    store: Store,
    stack: contextlib.ExitStack,
) -> dict[str, Any]:
    """The stages, one after another; what a night has to say in the end."""
    settings, workdir = console.settings, console.settings.workdir
    if not settings.redis_url and not cluster.master.startswith("local"):
        raise EngineError("the machines of a cluster cannot reach the embedded store: set REDIS_URL")
    synthetic = is_sample(source.path)
    served, why_alone = (None, "--gate off") if asked.gate == "off" else served_version(store, synthetic)
    use, told = heard(workdir, asked.feedback)
    forgotten = Forgotten(workdir, settings.secret_file).marked()
    spark = stack.enter_context(_session(cluster))
    stage = _Stages(console, run)

    from recommender.distributed.spark.als import als_points
    from recommender.distributed.spark.tables import read

    specs = {} if source.columns is None else read_map(source.columns)

    def reading() -> tuple[Today, IngestLog]:
        gathering = read(spark, source.format, source.path, specs, source.vocabulary, cluster.parts)
        parts, concepts, log = settle(gathering.parts, forgotten, gathering.lookups)
        today = today_of(parts, concepts, asked.kinds or TREATMENT_KINDS, screen.observed)
        gathering.parts.drop()
        return today, log

    today, log = stage.timed("read", reading)
    console.say(f"read {sum(log.read.values()):,} rows of {len(log.read)} files, {today.n_patients:,} patients")
    for finding in log.findings:
        console.say(f"  {finding}")

    def judge() -> tuple[Night, Examples | None]:
        kinds = asked.kinds or THERAPIES
        try:
            examples = examples_of(today, kinds)
            trial = examples.trial(kinds)
        except TrainingError as error:
            return not_assessed(asked.model, workdir, error), None
        return judged(trial, examples.records, asked.model, workdir, served, use, lambda done: None), examples

    night, examples = stage.timed("evaluate", judge)
    choice = night.choice

    def scoring() -> tuple[Release, Parts[Scored | None]]:
        model, index, support = fit(today, choice.model, choice.balance, use, examples, als_points)
        scored = score(today, model, screen)
        found, coverage = found_in(scored, index)
        provenance = {
            "created": run.created,
            "source": source.format,
            "vocabulary": source.vocabulary_name,
            "synthetic": synthetic,
            "kinds": list(asked.kinds or TREATMENT_KINDS),
            "example_patients": _examples(scored) if synthetic else [],
            "quality": night.quality,
            "chances": night.chances,
            "chosen": choice.as_dict(),
            "inputs": {name: folded(count) for name, count in today.gist.inputs.items()},
            "feedback": told,
        }
        manifest = manifest_of(provenance, today.gist.as_of, today.counted, index, model, found)
        known = today.gist.told.known(today.concepts)
        return Release(run.name, {**manifest, "coverage": coverage}, index, model, known, support, today.given), scored

    release, scored = stage.timed("fit and score", scoring)
    verdict = compared(release.manifest, served, night.gain, why_alone)
    release = replace(release, manifest={**release.manifest, "gate": verdict.as_dict()})
    write = partial(_publish, store, scored, release, today.n_patients, settings)
    made = (release, log, verdict, today.n_patients, write)
    return conclude(console, run, store, screen, asked.gate, asked.wanted, *made)


@dataclass(frozen=True)
class _Stages:
    console: Telling
    run: Run

    def timed(self, name: str, make: Callable[[], T]) -> T:
        self.console.say(f"{name} ...")
        with self.run.timed(name) as cost:
            made = make()
        self.run.add(name, cost)
        return made


@contextlib.contextmanager
def _session(cluster: Cluster) -> Iterator[Any]:
    try:
        from recommender.distributed.spark.cluster import explained, session
    except ImportError:
        raise EngineError("Spark is not installed: pip install 'rxrec[spark]', and Java 17") from None
    spark = session(cluster.master, cluster.conf)
    try:
        with explained():
            yield spark
    finally:
        with contextlib.suppress(Exception):  # Java may be what has died
            spark.stop()


def _publish(
    store: Store,
    scored: Parts[Scored | None],
    release: Release,
    n_patients: int,
    settings: Settings,
    progress: Callable[[int], None],
) -> None:
    begun = store.begin(release, n_patients)
    try:
        with _prolonged(store, begun):
            write(scored, release, begun, Address(store.url, settings))
        store.finish(begun)
    except BaseException:
        store.abandon(begun)
        raise
    progress(n_patients)


@contextlib.contextmanager
def _prolonged(store: Store, begun: Begun) -> Iterator[None]:
    """While the cluster is at work on something else than writing, the store must not take this run for dead."""
    over = threading.Event()

    def prolong() -> None:
        while not over.wait(LOCK_SECONDS / 3):
            with contextlib.suppress(EngineError):  # who writes will be told
                store.prolong(begun)

    thread = threading.Thread(target=prolong, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _examples(scored: Parts[Scored | None]) -> list[str]:
    """As `jobs.nightly` picks them, of a sample, whose people are few."""
    found = [one for one in scored.ask(_sizes) if one is not None]
    ids, sizes = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    by_size = np.argsort(sizes, kind="stable")
    return [str(ids[ix]) for ix in by_size[np.linspace(0, len(by_size) - 1, EXAMPLES).astype(int)]]


def _sizes(part: Scored | None) -> tuple[np.ndarray, np.ndarray] | None:
    return None if part is None else (part.patient_ids, np.diff(part.rows.indptr))

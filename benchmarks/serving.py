"""`make bench`: a published sample in; what requests cost beside a bare Flask view in the same worker, and how soon a
page is there, out.

Everybody signs in with a key and every access is audited, as in a hospital; who asks is counted. One gunicorn worker of
four threads; callers ask in turn for a bare view and for patients' lists, at last while a night publishes beside them.
Read the ratios: the callers take one of the machine's two cores, and each answer waits for the audit log's disk.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from flask import Flask, jsonify

from api import create_app
from benchmarks.beside import night
from data.synthetic import write_hospital
from recommender.access import KeyFile
from recommender.features import build_matrix
from recommender.loaders import load
from recommender.models.directed import DirectedModel
from recommender.offer import Desk
from recommender.pipeline import make_snapshot
from recommender.run_files import save_snapshot
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen
from recommender.sealing import Place
from recommender.settings import Settings
from recommender.snapshot import Snapshot
from recommender.store import open_store

PATIENTS, REQUESTS, CALLERS, ROUNDS, PAGES = 3_000, 1_500, 4, 3, 300
PACE, BESIDE = 20_000, 120_000  # patients a second, and in all, of the night beside
BARE = "/bare"
LIST = "/v1/patients/{}/recommendations"


def app() -> Flask:
    """What the worker serves: ours, and beside it a view that does next to nothing."""
    made = create_app()
    bare = Flask("bare")
    bare.add_url_rule(BARE, view_func=lambda: jsonify({"status": "bare"}))
    ours = made.wsgi_app
    made.wsgi_app = lambda environ, start: (  # type: ignore[method-assign]
        bare.wsgi_app(environ, start) if environ["PATH_INFO"] == BARE else ours(environ, start)
    )
    return made


@dataclass(frozen=True)
class Worker:
    """A gunicorn of one worker process. pid: of its master."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """Of the worker, in user and kernel, since its start."""
        child = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0]
        user, kernel = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(kernel)) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def worker(redis_url: str, folder: Path, **changes: str) -> Iterator[Worker]:
    """One that is ready."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-m", "gunicorn", "--workers", "1", "--threads", "4", "--no-control-socket"]
        command += ["--worker-class", "api.worker.Worker", "--logger-class", "api.worker.Log"]
        command += ["--bind", f"fd://{listening.fileno()}", "--pythonpath", str(Path(__file__).parent.parent)]
        command += ["benchmarks.serving:app()"]
        environment = {
            **os.environ,
            "REDIS_URL": redis_url,
            "RXREC_WORKDIR": str(folder),
            "RXREC_AUTH": "on",
            "RXREC_RATE_LIMIT": "1000000",
            **changes,
        }
        process = subprocess.Popen(
            command, env=environment, pass_fds=[listening.fileno()], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port = listening.getsockname()[1]
        try:
            wait_until_ready(port)
            yield Worker(port, process.pid)
        finally:
            process.terminate()
            process.wait()


def wait_until_ready(port: int) -> None:
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=120).read()
            return
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(0.05)


class Caller:
    """Who asks, with a key. What was answered is remembered by its ETag."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._headers = {"Authorization": f"Bearer {key}"}
        self._tags: dict[str, str] = {}

    def ask(self, path: str, expected: int = 200, form: str | None = None) -> float:
        """Milliseconds until the whole answer was there. Where 304 is expected, what is held already is told."""
        headers = dict(self._headers)
        if expected == 304:
            headers["If-None-Match"] = self._tags[path]
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        began = time.perf_counter()
        self._connection.request("GET" if form is None else "POST", path, form, headers)
        answer = self._connection.getresponse()
        answer.read()
        taken = 1e3 * (time.perf_counter() - began)
        if answer.status != expected:
            raise SystemExit(f"{answer.status} in place of {expected}")
        self._tags[path] = answer.headers.get("ETag", "")
        return taken

    def hang_up(self) -> None:
        """The next request connects anew: gunicorn ends a connection that is idle for two seconds."""
        self._connection.close()


@dataclass(frozen=True)
class Round:
    """rate: requests a second; cpu: milliseconds of the worker's processor a request; taken: milliseconds of each."""

    rate: float
    cpu: float
    taken: list[float]


def asked(at: Worker, callers: list[Caller], paths: list[str], expected: int = 200) -> Round:
    """All callers at once, each a share of the paths."""

    def call(number: int) -> list[float]:
        callers[number].hang_up()
        return [callers[number].ask(path, expected) for path in paths[number :: len(callers)]]

    with ThreadPoolExecutor(len(callers)) as threads:
        before, began = at.cpu_seconds(), time.perf_counter()
        taken = [one for mine in threads.map(call, range(len(callers))) for one in mine]
        passed, used = time.perf_counter() - began, at.cpu_seconds() - before
    return Round(len(paths) / passed, 1e3 * used / len(paths), taken)


def lists(url: str, folder: Path, key: str, ids: list[str]) -> None:
    paths = [LIST.format(patient_id) for patient_id in ids]
    bare = [BARE] * len(paths)
    with contextlib.ExitStack() as stack:
        # of one worker no answer is kept, so that each request of it is the first of its day
        first = stack.enter_context(worker(url, folder, RXREC_ANSWER_MEMORY="0"))
        again = stack.enter_context(worker(url, folder, RXREC_ANSWER_MEMORY="256"))
        free = stack.enter_context(worker(url, folder, RXREC_ANSWER_MEMORY="256", RXREC_AUDIT="off"))
        callers = {at: [Caller(at.port, key) for _ in range(CALLERS)] for at in (first, again, free)}
        ways = {
            "a bare Flask view": (again, bare, 200),
            "a list, asked for the first time": (first, paths, 200),
            "a list, asked for again that day": (again, paths, 200),
            "a list that the caller has (304)": (again, paths, 304),
            "asked for again, without audit": (free, paths, 200),
        }
        for at, mine in callers.items():
            asked(at, mine, paths)
        found: dict[str, list[Round]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, (at, told, expected) in ways.items():
                found[name].append(asked(at, callers[at], told, expected))
    base, *_ = found.values()
    for name, rounds in found.items():
        rate, cpu = (statistics.median(getattr(one, of) for one in rounds) for of in ("rate", "cpu"))
        share = statistics.median(one.rate / bare.rate for one, bare in zip(rounds, base, strict=True))
        less = statistics.median(bare.cpu / one.cpu for one, bare in zip(rounds, base, strict=True))
        p50, p99 = np.percentile([taken for one in rounds for taken in one.taken], [50, 99])
        print(
            f"  {name:<34}{rate:6,.0f} requests/s, {share:4.2f} of bare; p50 {p50:4.1f} ms, p99 {p99:5.1f} ms; "
            f"processor {cpu:4.2f} ms a request, {less:4.2f} of bare"
        )


def beside(url: str, folder: Path, key: str, ids: list[str]) -> None:
    """Lists that were asked for before, with nothing beside it and while a night publishes, in turn."""
    paths, rounds = [LIST.format(patient_id) for patient_id in ids], []
    with (
        worker(url, folder, RXREC_ANSWER_MEMORY="256") as at,
        night(folder / "made", url, folder, BESIDE, PACE) as other,
    ):
        callers = [Caller(at.port, key) for _ in range(CALLERS)]
        asked(at, callers, paths)
        for _ in range(ROUNDS):
            idle = asked(at, callers, paths)
            with other.publishing():
                rounds.append((idle, asked(at, callers, paths)))
    share = statistics.median(busy.rate / idle.rate for idle, busy in rounds)
    p50, p99 = np.percentile([taken for _, busy in rounds for taken in busy.taken], [50, 99])
    rate = statistics.median(busy.rate for _, busy in rounds)
    print(
        f"  {'... while a night publishes':<34}{rate:6,.0f} requests/s, {share:4.2f} of idle (to reach: 0.8); p50 "
        f"{p50:4.1f} ms, p99 {p99:5.1f} ms; {PACE:,} patients a second (RXREC_PUBLISH_RATE)"
    )


def pages(url: str, folder: Path, key: str, ids: list[str]) -> None:
    """How long a patient's page takes, each of another patient, one after another; and the very first one."""
    with tempfile.TemporaryDirectory() as compiled:
        began = time.perf_counter()
        with worker(url, folder, NUMBA_CACHE_DIR=compiled) as at:
            print(f"  a worker of a fresh install is ready after {time.perf_counter() - began:.1f} s")
            asking = Caller(at.port, key)
            cold, *taken = [asking.ask("/patient", form=f"patient_id={patient_id}") for patient_id in ids]
    p50, p95 = np.percentile(taken, [50, 95])
    print(f"  a patient's page: the first after the start {cold:.0f} ms")
    print(f"  {len(taken)} others: p50 {p50:.0f} ms, p95 {p95:.0f} ms, longest {max(taken):.0f} ms (to reach: 200 ms)")


def main() -> None:
    screen = Screen.load()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_hospital(folder / "sample", patients=PATIENTS, seed=0)
        records = load("synthea", folder / "sample", vocabulary=screen.vocabulary)
        made = {"created": datetime.now(UTC).isoformat()}
        snapshot = make_snapshot(records, build_matrix(records), DirectedModel(), "bench", made, screen)
        ids = np.random.default_rng(0).permutation(snapshot.patient_ids)[:REQUESTS].tolist()
        save_snapshot(snapshot, Place(folder / "made"))
        _, key = KeyFile(folder / "keys.json").make("bench", "clinician", 1)
        with open_store(Settings(workdir=folder)) as store:
            store.publish(snapshot)
            store.activate("bench")
            print(
                f"{PATIENTS:,} patients, one worker of 4 threads, {CALLERS} callers, medians of {ROUNDS} rounds in turn"
            )
            lists(store.url, folder, key, ids)
            beside(store.url, folder, key, ids)
            pages(store.url, folder, key, ids[:PAGES])
        live(Desk(snapshot.release, screen, Indications.load(vocabulary=screen.vocabulary), 0.2), snapshot)


def live(desk: Desk, snapshot: Snapshot) -> None:
    """Charts as requests bring them: each tells what its own concepts are, and those are read anew."""
    taken = []
    for patient in range(200):
        entry = snapshot.entry(patient)
        concepts = tuple(snapshot.release.known.concepts[ix] for ix in entry.chart.concept.tolist())
        known = replace(snapshot.release.known, concepts=concepts)
        chart = replace(entry.chart, concept=np.arange(len(concepts), dtype=np.int32))
        began = time.perf_counter()
        desk.live(entry.row_columns, entry.row_weights, chart, known)
        taken.append(1e3 * (time.perf_counter() - began))
    p50, p99 = np.percentile(taken[20:], [50, 99])
    print(f"  a row scored, ranked and screened live: p50 {p50:.2f} ms, p99 {p99:.2f} ms")


if __name__ == "__main__":
    main()

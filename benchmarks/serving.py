"""`make bench`: a published sample in; what a request costs beside a bare Flask view in the same worker out.

One gunicorn worker of four threads; callers ask in turn for a bare view and for patients' lists, which are audited.
Read the ratios: the callers take one of the machine's two cores.
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
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from flask import Flask, jsonify

from api import create_app
from data.synthetic import write_hospital
from recommender.features import build_matrix
from recommender.loaders import load
from recommender.models.linear import LinearModel
from recommender.offer import Desk
from recommender.pipeline import make_snapshot
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen
from recommender.settings import Settings
from recommender.store import open_store

PATIENTS, REQUESTS, CALLERS, ROUNDS = 3_000, 1_500, 4, 3
BARE = "/bare"


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


@contextlib.contextmanager
def worker(redis_url: str, folder: Path) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-m", "gunicorn", "--workers", "1", "--threads", "4", "--no-control-socket"]
        command += ["--worker-class", "api.worker.Worker", "--logger-class", "api.worker.Log"]
        command += ["--bind", f"fd://{listening.fileno()}", "--pythonpath", str(Path(__file__).parent), "serving:app()"]
        environment = {
            **os.environ,
            "REDIS_URL": redis_url,
            "RXREC_WORKDIR": str(folder),
            "RXREC_RATE_LIMIT": "1000000",
        }
        process = subprocess.Popen(
            command, env=environment, pass_fds=[listening.fileno()], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port = listening.getsockname()[1]
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=120).read()
            yield port
        finally:
            process.terminate()
            process.wait()


def asked(port: int, paths: list[str]) -> tuple[float, np.ndarray]:
    """Requests a second, and the milliseconds of each, of CALLERS at once on connections of their own."""
    taken: list[float] = []

    def call(mine: list[str]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for path in mine:
            began = time.perf_counter()
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise SystemExit(f"{path}: {answer.status}")
            taken.append(1e3 * (time.perf_counter() - began))

    threads = [threading.Thread(target=call, args=(paths[number::CALLERS],)) for number in range(CALLERS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(paths) / (time.perf_counter() - began), np.array(taken)


def main() -> None:
    screen = Screen.load()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_hospital(folder / "sample", patients=PATIENTS, seed=0)
        records = load("synthea", folder / "sample", vocabulary=screen.vocabulary)
        snapshot = make_snapshot(records, build_matrix(records), LinearModel(), "bench", {}, screen)
        ids = np.random.default_rng(0).choice(snapshot.patient_ids, REQUESTS).tolist()
        lists = [f"/v1/patients/{patient_id}/recommendations" for patient_id in ids]
        ways = {"a bare Flask view": [BARE] * REQUESTS, "a patient's list, screened, with reasons": lists}
        ways["the same without reasons"] = [f"{path}?explain=false" for path in lists]
        with open_store(Settings(workdir=folder)) as store:
            store.publish(snapshot)
            store.activate("bench")
            with worker(store.url, folder) as port:
                asked(port, lists[:100])
                found: dict[str, list[tuple[float, np.ndarray]]] = {name: [] for name in ways}
                for _ in range(ROUNDS):
                    for name, paths in ways.items():
                        found[name].append(asked(port, paths))
        print(f"{PATIENTS:,} patients, one worker of 4 threads, {CALLERS} callers, medians of {ROUNDS} rounds in turn")
        first = statistics.median(rate for rate, _ in found["a bare Flask view"])
        for name, rounds in found.items():
            rate = statistics.median(rate for rate, _ in rounds)
            p50, p99 = np.percentile(np.concatenate([taken for _, taken in rounds]), [50, 99])
            print(
                f"  {name:<42}{rate:8,.0f} requests/s  {rate / first:5.2f} of bare   p50 {p50:.1f} ms, p99 {p99:.1f} ms"
            )
        desk = Desk(snapshot.release, screen, Indications.load(vocabulary=screen.vocabulary), 0.2)
        entries = [snapshot.entry(patient) for patient in range(200)]
        live = []
        for entry in entries:
            began = time.perf_counter()
            desk.live(entry.row_columns, entry.row_weights, entry.chart, snapshot.release.known)
            live.append(1e3 * (time.perf_counter() - began))
        p50, p99 = np.percentile(live[20:], [50, 99])
        print(f"  a row scored, ranked and screened live: p50 {p50:.2f} ms, p99 {p99:.2f} ms")


if __name__ == "__main__":
    main()

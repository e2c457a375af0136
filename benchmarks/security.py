"""The same request with and without sign-in and audit in, what each costs in microseconds a request out.

In one process, through the application as gunicorn calls it, on a real redis-server: `python benchmarks/security.py`.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import sparse

from api import create_app
from recommender.access import KeyFile, Shared
from recommender.audit import Access, AuditLog, audit_event
from recommender.matrix import Block, Column, ColumnIndex, PatientMatrix
from recommender.models.linear import LinearModel
from recommender.ranking import top_n
from recommender.safety.charts import Charts, Known
from recommender.settings import Settings
from recommender.snapshot import Release, Snapshot
from recommender.store import Store, open_store

REQUESTS = 400
SILENT = open("/dev/null", "w")  # noqa: SIM115, PTH123  (the access log goes there for as long as this runs)


def ward() -> Snapshot:
    """200 made-up patients, 50 treatments, 40 conditions."""
    rng = np.random.default_rng(7)
    columns = [Column(f"rx:{i}", "drug", f"drug {i}", "") for i in range(50)]
    columns += [Column(f"snomed:{i}", "condition", f"condition {i}", "") for i in range(40)]
    columns += [Column("baseline", "baseline", "how common it is overall", "")]
    dense = (rng.random((200, 91)) < 0.15).astype(np.float32)
    dense[:, 90] = 1
    rows = sparse.csr_matrix(dense, shape=(200, 91), dtype=np.float32)
    blocks = (Block("treatments", 0, 50), Block("conditions", 50, 90), Block("baseline", 90, 91))
    index = ColumnIndex(tuple(columns), blocks, np.arange(50, dtype=np.int32))
    ids = np.array([f"patient-{i}" for i in range(200)], dtype=object)
    matrix = PatientMatrix(rows, index, ids)
    fitted = LinearModel().fit(matrix)
    manifest = {"run_id": "bench", "created": "2026-01-01T00:00:00+00:00", "as_of": "2026-01-01T00:00:00+00:00"}
    release = Release("bench", manifest, index, fitted, Known(()))
    return Snapshot(release, ids, top_n(fitted, matrix, 50), rows, Charts.without_facts(200))


def taken(*asks: Callable[[int], None]) -> list[dict[str, float]]:
    """Of one call of each in microseconds: median and 95th percentile by the clock, and the median of this thread's own
    processor time, which a busy machine does not disturb; by turns, so that each meets the same load."""
    times: list[list[tuple[float, float]]] = [[] for _ in asks]
    for number in range(REQUESTS + 50):
        for ask, of in zip(asks, times, strict=True):
            began, worked = time.perf_counter(), time.thread_time()
            ask(number)
            of.append(((time.perf_counter() - began) * 1e6, (time.thread_time() - worked) * 1e6))
    told = []
    for of in times:
        clock, own = zip(*of[50:], strict=True)
        p95 = round(statistics.quantiles(clock, n=20)[-1])
        median = statistics.median(clock)
        per_second = round(1e6 / median)  # of one caller after another
        told.append(
            {"median": round(median), "p95": p95, "own": round(statistics.median(own)), "per_second": per_second}
        )
    return told


def request(settings: Settings, headers: dict[str, str], store: Store) -> Callable[[int], None]:
    client = create_app(settings, store).test_client()

    def ask(number: int) -> None:
        answer = client.get(f"/v1/patients/patient-{number % 200}/recommendations", headers=headers)
        if answer.status_code != 200:
            raise RuntimeError(answer.text)

    return ask


def of_the_log(workdir: Path, threads: int) -> dict[str, float]:
    """Appends a second, each on disk when it returns."""
    log = AuditLog(workdir, workdir / "site.key")
    access = Access("patient-1", "key:1", "Dr A", "clinician", "key", "10.0.0.1", "/v1/x", "r", "given")
    each = 200

    def write() -> None:
        for _ in range(each):
            log.append([audit_event(access)])

    workers = [threading.Thread(target=write) for _ in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    lines = AuditLog(workdir, workdir / "site.key").verify().lines
    return {
        "appends_per_second": round(threads * each / seconds),
        "verified_lines_per_second": round(lines / (time.perf_counter() - began)),
    }


def main() -> None:
    out, sys.stdout = sys.stdout, SILENT
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="rxrec-bench-") as folder:
        workdir = Path(folder)
        settings = Settings(workdir=workdir, rate_limit=10**9)
        with open_store(settings) as store:
            store.publish(ward())
            store.activate("bench")
            _, key = KeyFile(workdir / "keys.json").make("bench", "clinician", 1)
            headers = {"Authorization": f"Bearer {key}"}
            on = dataclasses.replace(settings, auth="on", audit="off")
            shared = Shared(store.url, "bench")
            asks = {
                "open demonstration": request(dataclasses.replace(settings, auth="off"), {}, store),
                "with a key and a limit": request(on, headers, store),
                "with a key, a limit and the audit log": request(dataclasses.replace(on, audit="on"), headers, store),
                "of that, counting a request in Redis": lambda _: shared.count("who", 60) and None,
            }
            found.update(zip(asks, taken(*asks.values()), strict=True))
            shared.close()
        for threads in (1, 8):
            with tempfile.TemporaryDirectory(dir=workdir) as other:
                found[f"the audit log, {threads} writers"] = of_the_log(Path(other), threads)
    sys.stdout = out
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()

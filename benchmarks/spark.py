"""`make bench-spark`: one night on one machine, the same on a Spark cluster, side by side: time, memory, disk, the lists.

For each size a synthetic hospital is written once, as Parquet, which both engines read in pieces. A real standalone
cluster (a master, two workers of one core each, on loopback) and a real redis-server stand on this machine, so both
nights have the same two cores. Nights run one after the other, each as a user would run it; the table is written to
benchmarks/results/spark.md.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from benchmarks.processes import ELSE, Cost, Watch, watching
from benchmarks.standalone import LOOPBACK, free_port, running_cluster
from recommender.settings import Settings
from recommender.store import open_store

SIZES = (20_000, 100_000)
WARM = 200  # patients of a night before all others, after which everything is compiled
WORKERS = 2
MOST_COMPARED = 200_000  # patients; of more, the entries of every tenth are compared
STAGES = ("read", "matrix", "evaluate", "fit and score", "publish", ELSE)
GROUPS = ("driver", "executors' Java", "executors' Python", "master and workers", "Redis")
RESULTS = Path(__file__).parent / "results" / "spark.md"
HEAD = f"""# A night on Spark beside the same night on one machine

`make bench-spark`, {os.cpu_count()} cores: one machine has both; the cluster is a master and {WORKERS} workers of one core each
on the same machine, with the driver beside them. Processor seconds are those of all processes; memory is the proportional
set size of all together. What lies between the stages is starting (of Java too) and ending.

"""
MEMORY = {"spark.driver.memory": "3g", "spark.executor.memory": "2g"}


@dataclass(frozen=True)
class Night:
    """What a night took, or why there is none. seconds: by stage, as `run.json` has them."""

    seconds: dict[str, float]
    whole: float
    watch: Watch
    redis_mib: float
    lists: str
    failed: str = ""


class Bench:
    """A folder, a store and the sample of one size, for nights to run on."""

    def __init__(self, folder: Path, store: subprocess.Popen[bytes], url: str) -> None:
        self.folder, self.store, self.url = folder, store, url

    def night(self, name: str, export: Path, roots: dict[int, str], disks: tuple[Path, ...], *words: str) -> Night:
        workdir, events = self.folder / name, self.folder / f"{name}.events"
        settings = Settings(workdir, self.url)
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
            before = client.info("memory")["used_memory"]
        options = ["--input", str(export), "--source", "synthea", "--gate", "off", "--reports", "none"]
        command = [sys.executable, "-m", "jobs", "--json", "nightly", *options, "--events", str(events), *words]
        environment = {**os.environ, "REDIS_URL": self.url, "RXREC_WORKDIR": str(workdir)}
        out, errors = self.folder / f"{name}.out", self.folder / f"{name}.err"
        began = time.perf_counter()
        with out.open("wb") as to, errors.open("wb") as wrong:
            process = subprocess.Popen(command, env=environment, stdout=to, stderr=wrong, start_new_session=True)
        try:
            roots = {process.pid: "driver", self.store.pid: "Redis", **roots}
            with watching(Watch(_group, roots, events, (workdir, *disks))) as watch:
                process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        whole = time.perf_counter() - began
        if process.returncode:
            return Night({}, whole, watch, 0.0, "", errors.read_text()[-3_000:])
        seconds = json.loads(out.read_text())["seconds"]
        seconds[ELSE] = whole - sum(seconds.values())
        with redis.Redis.from_url(self.url) as client:
            taken = client.info("memory")["used_memory"] - before
        return Night(seconds, whole, watch, taken / 2**20, _lists(settings))


def _group(words: list[str], name: str) -> str:
    """Of a process; "" for that of what started it."""
    if any("CoarseGrainedExecutorBackend" in word for word in words):
        return "executors' Java"
    return "executors' Python" if "pyspark.daemon" in words else ""


def _lists(settings: Settings) -> str:
    """One number of everything served: each entry's hash, added up, for the order is not looked at."""
    total = compared = 0
    with open_store(settings) as store:
        release = store.release(store.current())
        every = 1 if release.manifest["counts"]["patients"] <= MOST_COMPARED else 10
        for patient_id, entry in store.entries(release):
            if int(hashlib.sha256(patient_id.encode()).hexdigest()[:8], 16) % every:
                continue
            digest = hashlib.sha256(patient_id.encode())
            chart = entry.chart
            for array in (entry.columns, entry.scores, entry.row_columns, entry.row_weights):
                digest.update(array.tobytes())
            for array in (chart.concept, chart.days, chart.value):
                digest.update(array.tobytes())
            digest.update(f"{chart.age}{chart.sex}".encode())
            total += int.from_bytes(digest.digest()[:16], "big")
            compared += 1
    return f"{compared:,} patients, {total % 2**128:032x}"


@contextlib.contextmanager
def _store(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    executable = shutil.which("redis-server")
    if executable is None:
        raise SystemExit("redis-server is not on PATH: install it (Debian: apt install redis-server)")
    port = free_port()
    command = [executable, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([*command, "--logfile", str(folder / "redis.log")], start_new_session=True)
    try:
        with redis.Redis(port=port, retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.1), 100)) as client:
            client.ping()
        yield process, f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


def measure(patients: int, folder: Path) -> tuple[Night, Night]:
    export, disk = folder / "export", folder / "cluster"
    _sample(patients, export)
    with _store(folder) as (process, url):
        bench = Bench(folder, process, url)
        here = bench.night("one", export, {}, ())
        _say(f"{patients:,} on one machine", here)
        shutil.rmtree(folder / "one", ignore_errors=True)  # the disk may be needed
        disk.mkdir()
        with running_cluster(disk, WORKERS, memory=MEMORY["spark.executor.memory"]) as cluster:
            daemons = dict.fromkeys([cluster.master.pid, *(one.pid for one in cluster.workers)], "master and workers")
            driver = folder / "driver"
            conf = {**LOOPBACK, **MEMORY, "spark.local.dir": str(driver)}
            words = ["--engine", "spark", "--master", cluster.url]
            words += [word for name, value in conf.items() for word in ("--spark-conf", f"{name}={value}")]
            there = bench.night("spark", export, daemons, (cluster.local, driver), *words)
            _say(f"{patients:,} on Spark", there)
            if there.failed:
                logs = [log.read_text(errors="replace")[-2_000:] for log in (disk / "work").rglob("stderr")]
                print("\n".join(logs), file=sys.stderr, flush=True)
    return here, there


def _sample(patients: int, export: Path) -> None:
    command = [sys.executable, "-m", "jobs", "-q", "sample", "--patients", str(patients), "--format", "parquet"]
    subprocess.run([*command, "--out", str(export)], check=True)


def _say(what: str, night: Night) -> None:
    told = f"failed:\n{night.failed}" if night.failed else f"{night.whole:.0f} s, {night.lists}"
    print(f"{time.strftime('%H:%M:%S')} {what}: {told}", file=sys.stderr, flush=True)


def table(patients: int, here: Night, there: Night) -> list[str]:
    lines = [
        f"## {patients:,} patients",
        "",
        "| stage | one machine: s | processor s | peak MiB | Spark: s | processor s | peak MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for stage in STAGES:
        lines.append(f"| {stage} | {_cells(here, stage)} | {_cells(there, stage)} |")
    lines.append(f"| **together** | {_sum(here)} | {_sum(there)} |")
    lines += ["", "| | one machine | Spark |", "|---|---:|---:|"]
    one, other = here.watch.total(), there.watch.total()
    for group in GROUPS:
        told = [f"{cost.cpu.get(group, 0.0):.0f} s, {cost.peak.get(group, 0.0):,.0f} MiB" for cost in (one, other)]
        lines.append(f"| {group}: processor seconds, peak memory | {told[0] if group in one.cpu else ''} | {told[1]} |")
    lines.append(f"| disk, at most, MiB | {here.watch.disk:,.0f} | {there.watch.disk:,.0f} |")
    lines.append(f"| the version in Redis, MiB | {here.redis_mib:,.0f} | {there.redis_mib:,.0f} |")
    if not (here.failed or there.failed):
        same = "the same" if here.lists == there.lists else "NOT THE SAME"
        compared = here.lists.partition(",")[0] if patients < 1_000 else here.lists.rpartition(",")[0]
        lines.append(f"| entries as they are served | | {same} ({compared} compared) |")
    return [*lines, ""]


def _cells(night: Night, stage: str) -> str:
    """A stage may be over before anybody looks."""
    if stage not in night.seconds:
        return " | | "
    cost = night.watch.stages.get(stage, Cost())
    peak = f"{cost.together:,.0f}" if cost.together else ""
    return f"{night.seconds[stage]:.1f} | {sum(cost.cpu.values()):.1f} | {peak}"


def _sum(night: Night) -> str:
    if night.failed:
        return "failed | | "
    cost = night.watch.total()
    return f"{night.whole:.1f} | {sum(cost.cpu.values()):.1f} | {cost.together:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, nargs="+", default=SIZES)
    parser.add_argument("--folder", type=Path, help="where there is room for the export and the executors' disks")
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what was started is ended
    lines: list[str] = []
    for patients in [WARM, *asked.patients]:
        with tempfile.TemporaryDirectory(dir=asked.folder, prefix="rxrec-spark-", ignore_cleanup_errors=True) as name:
            if patients == WARM:
                _sample(patients, Path(name) / "export")
                with _store(Path(name)) as (process, url):
                    Bench(Path(name), process, url).night("warm", Path(name) / "export", {}, ())
                continue
            found = measure(patients, Path(name))
        lines += (told := table(patients, *found))
        print("\n".join(told), flush=True)
        if asked.save:
            RESULTS.write_text(HEAD + "\n".join(lines))


if __name__ == "__main__":
    main()

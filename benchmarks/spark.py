"""`make bench-spark`: a night on one machine, the same on a Spark cluster, side by side: time, memory, disk, the lists.

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
from functools import partial
from pathlib import Path

import pyspark
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

`make bench-spark`, {os.cpu_count()} cores: one machine has both; the cluster is a master and {WORKERS} workers of one
core each on the same machine, with the driver beside them. Processor seconds are those of all processes; memory is the
proportional set size of all together, Redis included. What lies between the stages is starting (Java's too) and ending.

"""
USUAL = {
    "spark.driver.memory": "3g",
    "spark.executor.memory": "2g",
    # a driver that only plans need not compile itself for long; an executor of one core wants no threads for garbage
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.executor.extraJavaOptions": "-XX:+UseSerialGC",
}


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
            with watching(Watch(_group, roots, events, (workdir, *disks), partial(_tell, name))) as watch:
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
        try:
            lists = _lists(settings)
        except Exception as error:  # the night was measured all the same
            lists = f"cannot be compared: {error}"
        return Night(seconds, whole, watch, taken / 2**20, lists)


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
    return f"{compared:,} compared, sum {total % 2**64:016x}"


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


def measure(patients: int, folder: Path, more: dict[str, str]) -> tuple[Night, Night]:
    export, disk = folder / "export", folder / "cluster"
    _sample(patients, export)
    with _store(folder) as (process, url):
        bench = Bench(folder, process, url)
        here = bench.night("one", export, {}, ())
        _say(f"{patients:,} on one machine", here)
        shutil.rmtree(folder / "one", ignore_errors=True)  # the disk may be needed
        try:
            there = _on_spark(bench, export, disk, more)
        except Exception as error:  # of the cluster; what one machine took is not lost
            there = Night({}, 0.0, Watch(_group, {}, folder, ()), 0.0, "", repr(error))
        _say(f"{patients:,} on Spark", there)
    return here, there


def _on_spark(bench: Bench, export: Path, disk: Path, more: dict[str, str]) -> Night:
    disk.mkdir()
    driver = disk / "driver"
    conf = {**LOOPBACK, **USUAL, "spark.local.dir": str(driver), **more}
    with running_cluster(disk, WORKERS, memory=conf["spark.executor.memory"]) as cluster:
        daemons = dict.fromkeys([cluster.master.pid, *(one.pid for one in cluster.workers)], "master and workers")
        words = ["--engine", "spark", "--master", cluster.url]
        words += [word for name, value in conf.items() for word in ("--spark-conf", f"{name}={value}")]
        night = bench.night("spark", export, daemons, (cluster.local, driver), *words)
    if night.failed:
        logs = [log.read_text(errors="replace")[-2_000:] for log in (disk / "work").rglob("stderr")]
        print("\n".join(logs), file=sys.stderr, flush=True)
    return night


def _sample(patients: int, export: Path) -> None:
    command = [sys.executable, "-m", "jobs", "-q", "sample", "--patients", str(patients), "--format", "parquet"]
    subprocess.run([*command, "--out", str(export)], check=True)


def _say(what: str, night: Night) -> None:
    seconds = {stage: round(taken, 1) for stage, taken in night.seconds.items()}
    processor = sum(night.watch.total().cpu.values())
    told = f"{night.whole:.0f} s, {seconds}, {processor:.0f} processor s; {night.lists}"
    _tell(what, f"failed after {night.whole:.0f} s:\n{night.failed}" if night.failed else told)


def _tell(what: str, now: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}: {now}", file=sys.stderr, flush=True)


def table(patients: int, load: float, here: Night, there: Night) -> list[str]:
    lines = [
        f"## {patients:,} patients",
        "",
        f"Spark {pyspark.__version__}; load average of the machine when it had begun: {load:.1f}.",
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
        lines.append(f"| entries as they are served | {here.lists} | {same} |")
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
    parser.add_argument("--spark-conf", action="append", default=[], metavar="NAME=VALUE", help="beside what is usual")
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that what was started is ended
    more = dict(one.split("=", 1) for one in asked.spark_conf)
    with _folder(asked.folder) as folder, _store(folder) as (process, url):
        _sample(WARM, folder / "export")
        Bench(folder, process, url).night("warming up", folder / "export", {}, ())
    for patients in asked.patients:
        load = os.getloadavg()[0]
        with _folder(asked.folder) as folder:
            told = "\n".join(table(patients, load, *measure(patients, folder, more)))
        print(told, flush=True)
        if asked.save:
            _save(patients, told)


@contextlib.contextmanager
def _folder(where: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=where, prefix="rxrec-spark-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def _save(patients: int, told: str) -> None:
    """In place of what was measured of this size before, and beside that of others."""
    before = RESULTS.read_text() if RESULTS.exists() else ""
    sections = {int(s.split()[0].replace(",", "")): f"## {s}" for s in before.split("\n## ")[1:]}
    sections[patients] = told
    RESULTS.write_text(HEAD + "\n".join(f"{sections[size].rstrip()}\n" for size in sorted(sections)))


if __name__ == "__main__":
    main()

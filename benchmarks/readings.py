"""`make bench-readings`: a published sample in; how fast readings are dealt with, and how soon an event is told, out.

A Redis server that writes each change to disk, `rxrec serve`, `rxrec watch` and the sender, all on this machine: what
they take of it together is part of the figure. A thousand patients are monitored, and
were before; every hundredth reading crosses a threshold. What each part takes of a processor depends little on what
else runs; how long things take does.
"""

from __future__ import annotations

import argparse
import dataclasses
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson

from data.synthetic import write_hospital
from recommender.features import build_matrix
from recommender.loaders import load
from recommender.models.linear import LinearModel
from recommender.pipeline import make_snapshot
from recommender.safety.screen import Screen
from recommender.settings import Settings
from recommender.store import open_store
from recommender.stream import Events, Place, Readings

PATIENTS, MONITORED, SENDERS = 3_000, 1_000, 2
# how many of 20 readings, code, usual value, how much it varies: mostly vital signs, some laboratory values
MIXED = (
    (4, "loinc:8480-6", 130, 8), (4, "loinc:8462-4", 80, 5), (4, "loinc:8867-4", 75, 6), (3, "loinc:59408-5", 97, 1),
    (2, "loinc:2345-7", 120, 15), (1, "loinc:29463-7", 80, 1), (1, "loinc:2160-0", 0.9, 0.1),
    (1, "loinc:2823-3", 4.2, 0.2),
)  # fmt: skip
MEASURED = [(code, usual, spread) for times, code, usual, spread in MIXED for _ in range(times)]
PARTS = ("redis", "serve", "watch")
CROSSING = ("loinc:59408-5", 85)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def readings_of(rng: np.random.Generator, patients: list[str], n: int, first: int) -> list[dict[str, object]]:
    now = datetime.now(UTC).isoformat()
    found = []
    for number in range(first, first + n):
        code, usual, spread = MEASURED[number % len(MEASURED)]
        value = float(np.round(usual + spread * np.clip(rng.standard_normal(), -2, 2), 2))
        if number % 100 == 0:
            code, value = CROSSING
        who = patients[int(rng.integers(len(patients)))]
        found.append({"id": f"b{number}", "patient_id": who, "code": code, "value": value, "taken": now})
    return found


def send(port: int, patients: list[str], each: int, batch: int, rate: float, lane: int, late: list[float]) -> None:
    """`each` readings in batches, `rate` a second; late: by how much each batch left later than it was to."""
    rng = np.random.default_rng(lane)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    begun = time.monotonic()
    for n in range(0, each, batch):
        wait = begun + n / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        late.append(max(0.0, -wait))
        body = orjson.dumps({"observations": readings_of(rng, patients, batch, lane * 10_000_000 + n)})
        connection.request("POST", "/v1/observations", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = orjson.loads(answer.read())
        assert answer.status == 202 and told["accepted"] == batch, told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=2_000, help="readings a second")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--batch", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        redis_port, port = free_port(), free_port()
        settings = Settings(workdir=folder, redis_url=f"redis://127.0.0.1:{redis_port}/0")
        environment = {**os.environ, "RXREC_WORKDIR": name, "REDIS_URL": settings.redis_url}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        redis = shutil.which("redis-server")
        kept = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", name]
        parts = [subprocess.Popen([str(redis), "--port", str(redis_port), *kept], **quiet)]
        try:
            time.sleep(1)
            patients = published(folder, settings)
            command = [sys.executable, "-m", "jobs", "-q"]
            parts.append(subprocess.Popen([*command, "serve", "--port", str(port)], env=environment, **quiet))
            parts.append(subprocess.Popen([*command, "watch"], env=environment, **quiet))
            until_up(port)
            measure(asked, settings, port, patients[:MONITORED], dict(zip(PARTS, parts, strict=True)))
        finally:
            for part in reversed(parts):
                part.terminate()
                part.wait()


def published(folder: Path, settings: Settings) -> list[str]:
    screen = Screen.load()
    write_hospital(folder / "sample", patients=PATIENTS, seed=0)
    records = load("synthea", folder / "sample", vocabulary=screen.vocabulary)
    snapshot = make_snapshot(records, build_matrix(records), LinearModel(), "bench", {}, screen)
    now = datetime.now(UTC).isoformat()
    manifest = {**snapshot.release.manifest, "created": now, "as_of": now}
    snapshot = dataclasses.replace(snapshot, release=dataclasses.replace(snapshot.release, manifest=manifest))
    with open_store(settings) as store:
        store.publish(snapshot)
        store.activate("bench")
    return [str(one) for one in snapshot.patient_ids]


def until_up(port: int) -> None:
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit("the server did not start")


def processor_seconds(pid: int) -> float:
    """Of a process and all that it started, so far."""
    parent, spent = {}, {}
    for one in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = one.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        own = int(one.parent.name)
        parent[own], spent[own] = int(fields[1]), int(fields[11]) + int(fields[12])
    found = {pid}
    while more := {own for own, of in parent.items() if of in found} - found:
        found |= more
    return sum(spent.get(own, 0) for own in found) / os.sysconf("SC_CLK_TCK")


def measure(
    asked: argparse.Namespace,
    settings: Settings,
    port: int,
    patients: list[str],
    parts: dict[str, subprocess.Popen[bytes]],
) -> None:
    place = Place(settings.redis_url, settings.key_prefix, settings.workdir / "site.key")
    readings, events = Readings(place), Events(place)
    while not readings.is_watched():
        time.sleep(0.2)
    send(port, patients, 16 * len(patients), asked.batch, 1e9, 9, [])  # who is monitored was before
    while readings.counts()["waiting"]:
        time.sleep(0.1)
    spent = {name: processor_seconds(part.pid) for name, part in parts.items()}
    before, late, most = events.last(), list[float](), [0]
    each = int(asked.rate * asked.seconds / SENDERS) // asked.batch * asked.batch
    lanes = [
        threading.Thread(target=send, args=(port, patients, each, asked.batch, asked.rate / SENDERS, lane, late))
        for lane in range(SENDERS)
    ]
    begun = time.monotonic()
    for lane in lanes:
        lane.start()
    while any(lane.is_alive() for lane in lanes):
        most[0] = max(most[0], readings.counts()["waiting"])
        time.sleep(0.25)
    sent = time.monotonic() - begun
    while readings.counts()["waiting"]:
        time.sleep(0.02)
    done = time.monotonic() - begun
    told = [one.event for one in events.after(before, 100_000)]
    delays = np.array([one.at - one.observation.arrived for one in told])
    total = SENDERS * each
    print(f"{total:,} readings in {sent:.1f} s: {total / sent:,.0f} a second; dealt with after {done:.1f} s,")
    print(f"at most {most[0]:,} waited; a batch left at most {max(late):.2f} s late; {len(told):,} events")
    if len(delays):
        p50, p99 = np.percentile(delays, [50, 99])
        print(f"from arrival to event: p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {delays.max():.0f} ms")
    each_took = {name: processor_seconds(part.pid) - spent[name] for name, part in parts.items()}
    told_of = ", ".join(f"{name} {1e6 * seconds / total:.0f}" for name, seconds in each_took.items())
    print(f"microseconds of a processor for a reading: {told_of}")
    load1, *_ = os.getloadavg()
    print(f"load of the machine {load1:.1f}, {os.cpu_count()} processors")


if __name__ == "__main__":
    main()

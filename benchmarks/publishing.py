"""Publishing beside the usual ways, in turn, into one embedded server: time, processor time of both sides, bytes a
patient; and what another client of the server sees while an old version is taken away.

Called by `benchmarks/run.py`; alone, it prints its tables: `python -m benchmarks.publishing --patients 100000`.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import redis
from scipy import sparse

from recommender.access.secret import SiteSecret
from recommender.pseudonyms import Pseudonyms, encoded
from recommender.ranking import TopN
from recommender.settings import Settings
from recommender.snapshot import Named, Packer, Snapshot
from recommender.store import Store, open_store

ROUNDS, ALONE = 5, 20  # suggestions of the smallest entry that could be published
PUBLISHED = [
    "| publish | patients | way | s | patients/s | ours is faster by | client CPU s | server CPU s | bytes a patient |",
    "|---|---:|---|---:|---:|---:|---:|---:|---:|",
]
RETIRED = [
    "| retire a version | patients | in all, ms | worst stall of another client, ms | of the idle worst |",
    "|---|---:|---:|---:|---:|",
]
# one PING after another; tells the longest wait for an answer once it is told to stop
PINGER = """
import select, socket, sys, time
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1])
worst = 0.0
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    began = time.perf_counter()
    server.sendall(b"PING\\r\\n")
    server.recv(64)
    worst = max(worst, time.perf_counter() - began)
print(worst)
"""


@dataclass(frozen=True)
class Cost:
    """seconds; processor seconds of the client and of the server; bytes of the entries on the server, keys and all, NaN
    where unknown."""

    seconds: float
    client: float
    server: float
    held: float


def alone(snapshot: Snapshot) -> Snapshot:
    """The best suggestions and nothing else, which is all that other engines publish; ours shows and screens less."""
    patients = len(snapshot.patient_ids)
    some = np.minimum(np.diff(snapshot.top.indptr), ALONE)
    at = np.concatenate([np.arange(start, start + n) for start, n in zip(snapshot.top.indptr, some, strict=False)])
    top = TopN(np.concatenate([[0], np.cumsum(some)]), snapshot.top.columns[at], snapshot.top.scores[at])
    return replace(snapshot, top=top, rows=sparse.csr_matrix((patients, snapshot.rows.shape[1]), dtype=np.float32))


class Server:
    """The embedded server, and the same patients on their way into it in several ways."""

    def __init__(self, snapshot: Snapshot, store: Store, client: redis.Redis, secret_file: Path) -> None:
        self.snapshot, self.store, self.client, self._number = snapshot, store, client, 0
        self.address = store.url.removeprefix("unix://")
        # as the store packs them: the usual ways get the same bytes, ready made
        pseudonyms, ids = Pseudonyms(SiteSecret.load(secret_file)), encoded(snapshot.patient_ids)
        names = pseudonyms.names(ids)
        packed = Packer(snapshot, Named(names, pseudonyms.seal(names, ids))).pack(np.arange(len(ids)))
        self.values = {name.tobytes(): packed[place] for place, name in enumerate(names)}
        self.size = int(packed.ptr[-1] // len(ids))

    def _cost(self, way: Callable[[], float | None]) -> Cost:
        """`way` tells its seconds itself where it does more than what is measured."""
        server, client, began = self._cpu(), _client_cpu(), time.perf_counter()
        told = way()
        seconds = time.perf_counter() - began if told is None else told
        return Cost(seconds, _client_cpu() - client, self._cpu() - server, float("nan"))

    def _cpu(self) -> float:
        used = self.client.info("cpu")
        return float(used["used_cpu_user"] + used["used_cpu_sys"])

    def _held(self, keys: list[str] | list[bytes]) -> float:
        """What the server says of a thousand of them, for all."""
        some = keys[:: -(-len(keys) // 1_000)]
        with self.client.pipeline(transaction=False) as pipe:
            for key in some:
                pipe.memory_usage(key, samples=0)
            return len(keys) * statistics.mean(pipe.execute())

    def publish(self) -> str:
        self._number += 1
        version = f"bench-{self._number}"
        self.store.publish(replace(self.snapshot, release=replace(self.snapshot.release, version=version)))
        return version

    def ours(self) -> Cost:
        cost = self._cost(lambda: self.publish() and None)
        version, index = f"bench-{self._number}", self.store._index
        held = self._held(index.keys.buckets(version, index.whole(version)))
        self.store.activate(version)  # writes the embedded server's memory to disk, which no other way does
        return replace(cost, held=held)

    def _set_all(self) -> None:
        pipe = self.client.pipeline(transaction=False)
        for count, (name, value) in enumerate(self.values.items()):
            pipe.set(b"plain:" + name, value)
            if count % 1_000 == 999:
                pipe.execute()
        pipe.execute()

    def pipelined_set(self) -> Cost:
        cost, keys = self._cost(self._set_all), [b"plain:" + name for name in self.values]
        held = self._held(keys)
        self.client.delete(*keys)
        return replace(cost, held=held)

    def redis_benchmark(self) -> Cost:
        patients = str(len(self.values))
        command = ["redis-benchmark", "-s", self.address, "-P", "100", "-c", "1", "-t", "set", "--csv"]
        words = [*command, "-d", str(self.size), "-n", patients, "-r", patients]

        def send() -> float:
            said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            return len(self.values) / float(said.splitlines()[-1].split(",")[1].strip('"'))

        cost = self._cost(send)
        self.client.eval("for _, k in ipairs(redis.call('keys', 'key:*')) do redis.call('unlink', k) end", 0)
        return cost  # its keys are drawn by chance, some of them twice

    def stall(self, way: Callable[[], object]) -> tuple[float, float]:
        """How long it takes, and the worst that another client sees meanwhile; seconds."""
        words = [sys.executable, "-c", PINGER, self.address]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as pinger:
            assert pinger.stdout and pinger.stdout.readline() == "ready\n"
            began = time.perf_counter()
            way()
            taken = time.perf_counter() - began
            told, _ = pinger.communicate("stop\n")
        return taken, float(told)

    def retired(self) -> dict[str, tuple[float, float]]:
        """A version taken away as `activate` does it, and by FLUSHDB one and the same patients with a key each; and
        nothing at all for a while. All versions are gone afterwards."""
        index, found = self.store._index, {}
        self.client.flushdb()
        versions = [self.publish(), self.publish()]
        of = index.whole(versions[0])
        found["nothing, for half a second"] = self.stall(lambda: time.sleep(0.5))
        found["ours: UNLINK, some buckets at a time"] = self.stall(lambda: index.remove(versions[0], of))
        found["FLUSHDB of one that stands in buckets"] = self.stall(self.client.flushdb)
        self._set_all()
        found["FLUSHDB of one that has a key a patient"] = self.stall(self.client.flushdb)
        return found


def _client_cpu() -> float:
    """Of this process and of those that it ran."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@contextlib.contextmanager
def server_for(snapshot: Snapshot) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(workdir=Path(folder))
        with open_store(settings) as store, redis.Redis.from_url(store.url) as client:
            made = Server(snapshot, store, client, settings.secret_file)
            made.ours()  # compiled before it is timed
            yield made


def measure_publishing(snapshot: Snapshot, peers: bool, rounds: int = ROUNDS) -> tuple[list[str], list[str]]:
    """Lines of PUBLISHED and of RETIRED."""
    patients, published, retired = len(snapshot.patient_ids), [], []
    with server_for(snapshot) as server:
        ways = {"ours: packed, checked, sent, read back": server.ours}
        if peers:
            ways["redis-py pipelined SET, nothing verified"] = server.pipelined_set
            if shutil.which("redis-benchmark"):
                ways["redis-benchmark -P 100 SET of as many bytes, nothing packed"] = server.redis_benchmark
        what = f"{_longest(snapshot)} suggestions and the row, {server.size} B"
        published += _told(what, patients, _in_turn(ways, rounds))
        taken: dict[str, list[tuple[float, float]]] = {}
        for _ in range(rounds):
            for name, one in server.retired().items():
                taken.setdefault(name, []).append(one)
        medians = {name: np.median(np.array(times), axis=0) for name, times in taken.items()}
        idle = next(iter(medians.values()))[1]
        for name, (seconds, worst) in medians.items():
            told = f"{seconds * 1e3:.1f} | {worst * 1e3:.2f} | {worst / idle:.1f}x"
            retired.append(f"| {name} | {patients:,} | {told} |")
            print(retired[-1], flush=True)
    if peers:
        with server_for(alone(snapshot)) as server:
            what = f"{ALONE} suggestions alone, {server.size} B"
            published += _told(
                what, patients, _in_turn({"ours: packed, checked, sent, read back": server.ours}, rounds)
            )
    return published, retired


def _longest(snapshot: Snapshot) -> int:
    return int(np.diff(snapshot.top.indptr).max())


def _in_turn(ways: dict[str, Callable[[], Cost]], rounds: int) -> dict[str, Cost]:
    """The median of each."""
    taken: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(way())
    return {
        name: Cost(*(statistics.median(values) for values in zip(*map(_parts, costs), strict=True)))
        for name, costs in taken.items()
    }


def _parts(cost: Cost) -> tuple[float, float, float, float]:
    return cost.seconds, cost.client, cost.server, cost.held


def _told(what: str, patients: int, ways: dict[str, Cost]) -> list[str]:
    ours, lines = next(iter(ways.values())).seconds, []
    for name, cost in ways.items():
        ratio = "" if cost.seconds == ours else f"{cost.seconds / ours:.1f}x"
        bytes_each = "" if np.isnan(cost.held) else f"{cost.held / patients:.0f}"
        speed = f"{cost.seconds:.2f} | {patients / cost.seconds:,.0f} | {ratio}"
        line = f"| {what} | {patients:,} | {name} | {speed} | {cost.client:.2f} | {cost.server:.2f} | {bytes_each} |"
        print(line, flush=True)
        lines.append(line)
    return lines


def main() -> None:
    from benchmarks.run import SIZES, published_snapshot  # which calls this file

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, nargs="+", default=SIZES)
    print("\n".join([*PUBLISHED, *RETIRED]))
    for patients in parser.parse_args().patients:
        measure_publishing(published_snapshot(patients), peers=True)


if __name__ == "__main__":
    main()

"""A snapshot's files, a store, and how fast in; versions of many times its patients published, one for each line read
from stdin, out: the night that publishes beside the server of `serving.py`, in a process of its own as a night is.

Usage: beside.py FOLDER REDIS_URL WORKDIR PATIENTS, with RXREC_PUBLISH_RATE; says "begun" when the first patients are
there, and "done" when all are.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recommender.ranking import TopN
from recommender.run_files import load_snapshot
from recommender.sealing import Place
from recommender.settings import Settings
from recommender.snapshot import Snapshot
from recommender.store import open_store


@dataclass(frozen=True)
class Night:
    """The process, seen from the benchmark."""

    process: subprocess.Popen[str]

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Raises SystemExit where the version was there before what was done beside it."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.process.stdout.readline()
        yield
        os.set_blocking(self.process.stdout.fileno(), False)
        early = self.process.stdout.readline()
        os.set_blocking(self.process.stdout.fileno(), True)
        if early:
            raise SystemExit("the version was published before the round was over: publish more patients")
        self.process.stdout.readline()


@contextlib.contextmanager
def night(made: Path, url: str, workdir: Path, patients: int, rate: int) -> Iterator[Night]:
    command = [sys.executable, __file__, str(made), url, str(workdir), str(patients)]
    environment = {**os.environ, "RXREC_PUBLISH_RATE": str(rate)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Night(process)
    finally:
        process.terminate()
        process.wait()


def many(snapshot: Snapshot, patients: int) -> Snapshot:
    """The same people again and again, under other ids."""
    who = np.arange(patients) % len(snapshot.patient_ids)
    lengths = np.diff(snapshot.top.indptr)[who]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    entry = np.arange(ends[-1]) + np.repeat(snapshot.top.indptr[who] - ends[:-1], lengths)
    top = TopN(ends, snapshot.top.columns[entry], snapshot.top.scores[entry])
    ids = np.array([f"{snapshot.patient_ids[ix]}-{number}" for number, ix in enumerate(who)], dtype=object)
    return Snapshot(snapshot.release, ids, top, snapshot.rows[who], snapshot.charts.take(who))


def main() -> None:
    made, url, workdir, patients = sys.argv[1:]
    settings = replace(Settings.from_environment(), redis_url=url, workdir=Path(workdir))
    snapshot = many(load_snapshot("bench", Place(Path(made))), int(patients))
    with open_store(settings) as store:
        for number, _ in enumerate(sys.stdin):
            told: list[int] = []

            def sent(count: int, told: list[int] = told) -> None:
                if not told:
                    print("begun", flush=True)
                told.append(count)

            version = f"beside-{os.getpid()}-{number}"
            store.publish(replace(snapshot, release=replace(snapshot.release, version=version)), sent)
            print("done", flush=True)


if __name__ == "__main__":
    main()

"""`make bench-safety`, first part: charts and lists of a synthetic hospital, repeated to a million, in; rates out.

The compiled screen of all patients beside the same verdicts made one by one in Python, and what one request costs.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from data.synthetic import write_hospital
from recommender.features import build_matrix
from recommender.loaders import load
from recommender.models.linear import LinearModel
from recommender.offer import Desk
from recommender.pipeline import make_snapshot
from recommender.records import THERAPIES
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen
from recommender.settings import Settings
from recommender.snapshot import Snapshot

SAMPLE, CANDIDATES, ROUNDS, REQUESTS, SLOWLY = 5_000, 50, 3, 500, 200


def sample(screen: Screen) -> Snapshot:
    with tempfile.TemporaryDirectory() as folder:
        write_hospital(Path(folder) / "sample", patients=SAMPLE, seed=0)
        records = load("synthea", Path(folder) / "sample", vocabulary=screen.vocabulary)
    return make_snapshot(records, build_matrix(records), LinearModel(), "bench", {}, screen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=1_000_000)
    patients = parser.parse_args().patients
    screen = Screen.load()
    snapshot = sample(screen)
    columns = snapshot.release.index.columns
    drugs = [ix for ix in snapshot.release.index.targets.tolist() if columns[ix].kind == "drug"]
    who = np.random.default_rng(0).integers(0, SAMPLE, patients)
    charts, read = snapshot.charts.take(who), screen.read(snapshot.charts.known)
    # every patient gets as many candidates, all of them drugs: what is screened, not what is passed over
    best = np.array([drugs[:CANDIDATES]] * SAMPLE, dtype=np.int32)
    for patient in range(SAMPLE):
        listed = [ix for ix in snapshot.top.of(patient)[0].tolist() if columns[ix].kind == "drug"]
        best[patient] = (listed + [ix for ix in drugs if ix not in listed])[:CANDIDATES]
    list_ptr, listed = np.arange(patients + 1, dtype=np.int64) * CANDIDATES, best[who].ravel()
    screen.tiers(
        read, snapshot.charts.take(np.arange(2)), columns, list_ptr[:3], listed[:100]
    )  # compiled before timing
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        tiers = screen.tiers(read, charts, columns, list_ptr, listed)
        seconds.append(time.perf_counter() - began)
    ours = statistics.median(seconds)
    desk = Desk(snapshot.release, screen, Indications.load(vocabulary=screen.vocabulary), Settings().interaction_cost)
    began = time.perf_counter()
    for patient in range(SLOWLY):
        reading = desk.reading(charts.of(patient))
        for ix in best[who[patient]].tolist():
            reading.verdict(columns[ix])
    slowly = patients * (time.perf_counter() - began) / SLOWLY
    screened, offered = [], []
    for patient in range(REQUESTS):
        entry = snapshot.entry(patient)
        began = time.perf_counter()
        reading = desk.reading(entry.chart)
        reading.tiers(desk.candidates, entry.columns)
        screened.append(time.perf_counter() - began)
        began = time.perf_counter()
        desk.offer(entry, reading, 10, THERAPIES)
        offered.append(time.perf_counter() - began)
    facts = charts.indptr[-1] / patients
    print(f"{patients:,} patients x {CANDIDATES} candidates, {facts:.1f} facts a chart, rules {screen.rules.version}")
    for name, taken in (("compiled, on all cores", ours), ("one by one, with words", slowly)):
        print(f"  {name:<24}{taken:9.1f} s {patients / taken:12,.0f} patients/s   x{taken / ours:.0f}")
    held = [int((tiers.rank == rank).sum()) for rank in range(4)]
    print(f"  nothing {held[0]:,}, caution {held[1]:,}, serious {held[2]:,}, contraindicated {held[3]:,}")
    for name, taken in (("screen the list", screened), ("make the offer, 10 items with words", offered)):
        low, high = np.percentile(taken, [50, 99]) * 1e3
        print(f"  one request, {name}: p50 {low:.2f} ms, p99 {high:.2f} ms")
    print(f"  peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10:,} MiB")


if __name__ == "__main__":
    main()

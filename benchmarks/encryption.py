"""A night with and without encrypted files in, what encryption costs out: `python benchmarks/encryption.py`.

By turns, on one made-up hospital, each night in a process and a working directory of its own, twice in a row: the first
reads the export, the second finds it in cache/. Processor seconds are told beside those of the clock, as they are what
a busy machine disturbs least.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from data.synthetic import write_hospital

NIGHT = (sys.executable, "-m", "jobs", "--json", "nightly", "--gate", "off", "--model", "linear", "--input")


def night(export: Path, workdir: Path, encrypt: str) -> dict[str, float]:
    environment = {**os.environ, "RXREC_WORKDIR": str(workdir), "RXREC_ENCRYPT_FILES": encrypt, "REDIS_URL": ""}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    told = subprocess.run([*NIGHT, str(export)], env=environment, capture_output=True, text=True, check=True).stdout
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    run = json.loads((Path(json.loads(told)["run"]) / "run.json").read_text())
    return {
        "seconds": seconds,
        "processor": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_mib": max(stage["peak_mib"] for stage in run["stages"].values()),
        "read_mib": run["stages"]["read"]["peak_mib"],
        "read": run["stages"]["read"]["seconds"],
        "cache_mib": sum(file.stat().st_size for file in (workdir / "cache").rglob("*") if file.is_file()) / 2**20,
    }


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--patients", type=int, default=20_000)
    asked.add_argument("--turns", type=int, default=3)
    options = asked.parse_args()
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="rxrec-bench-") as folder:
        export = Path(folder) / "sample"
        write_hospital(export, patients=options.patients, seed=1)
        for turn in range(options.turns):
            for encrypt in ("off", "on"):
                workdir = Path(folder) / f"{turn}-{encrypt}"
                for which in ("first", "second"):
                    found.setdefault(f"encryption {encrypt}, {which} night", []).append(night(export, workdir, encrypt))
    for name, nights in found.items():
        told = {key: round(statistics.median(one[key] for one in nights), 2) for key in nights[0]}
        print(json.dumps({"night": name, **told}))


if __name__ == "__main__":
    main()

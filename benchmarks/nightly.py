"""`make bench-nightly`: whole nights by stage, seconds and peak memory, and a night that updates beside a whole one.

For each size a synthetic hospital is written, then four nights run as a user runs them: from nothing; again, when every
file has been read before; after CHANGED of the patients got a new condition, as an update; and the same as a whole
night. The table is written to benchmarks/results/nightly.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SIZES = (100_000, 300_000, 1_000_000)
CHANGED = 100  # one patient in so many
STAGES = ("read", "matrix", "evaluate", "fit and score", "update", "publish", "reports")
RESULTS = Path(__file__).parent / "results" / "nightly.md"


def rxrec(workdir: Path, *words: str) -> dict[str, Any]:
    """What `rxrec --json` says."""
    command = [sys.executable, "-m", "jobs", "--json", "--workdir", str(workdir), *words]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"rxrec {' '.join(words)} failed:\n{run.stderr[-2_000:]}")
    told: dict[str, Any] = json.loads(run.stdout)
    return told


def change(export: Path) -> None:
    """A day's file: one patient in CHANGED has got, today, a condition of one of the first rows."""
    with (export / "conditions.csv").open(newline="") as rows:
        reader = csv.DictReader(rows)
        conditions = [row for row, _ in zip(reader, range(500), strict=False)]
    with (export / "patients.csv").open(newline="") as rows:
        people = [row["Id"] for place, row in enumerate(csv.DictReader(rows)) if place % CHANGED == 0]
    with (export / "conditions-2026-11-25.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, list(conditions[0]))
        writer.writeheader()
        for place, patient in enumerate(people):
            start = max(row["START"] for row in conditions)
            writer.writerow({**conditions[place % 500], "PATIENT": patient, "START": start, "STOP": ""})


def night(workdir: Path, export: Path, *more: str) -> dict[str, tuple[float, int]]:
    """Seconds and peak MiB by stage."""
    told = rxrec(workdir, "nightly", "--source", "synthea", "--input", str(export), "--gate", "warn", *more)
    stages = json.loads((Path(told["run"]) / "run.json").read_text())["stages"]
    return {name: (one["seconds"], one["peak_mib"]) for name, one in stages.items()}


def measure(patients: int, folder: Path) -> list[str]:
    export, workdir = folder / "export", folder / "work"
    told = rxrec(workdir, "sample", "--patients", str(patients), "--out", str(export))
    nights = {"from nothing": night(workdir, export), "again, nothing new": night(workdir, export)}
    change(export)
    nights[f"1 in {CHANGED} changed, `--update`"] = night(workdir, export, "--update")
    nights[f"1 in {CHANGED} changed, whole"] = night(workdir, export)
    lines = []
    for name, stages in nights.items():
        cells = [f"{stages[stage][0]:.1f}" if stage in stages else "" for stage in STAGES]
        total, peak = sum(one[0] for one in stages.values()), max(one[1] for one in stages.values())
        lines.append(f"| {patients:,} | {name} | {' | '.join(cells)} | {total:.0f} | {peak / 1024:.1f} |")
        print(lines[-1], flush=True)
    print(f"{patients:,} patients: {told}", flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, nargs="+", default=SIZES)
    parser.add_argument("--save", action="store_true")
    asked = parser.parse_args()
    head = [
        f"| patients | night | {' | '.join(f'{stage}, s' for stage in STAGES)} | together, s | peak, GiB |",
        f"|---:|---|{'---:|' * (len(STAGES) + 2)}",
    ]
    print("\n".join(head))
    lines = []
    for patients in asked.patients:
        with tempfile.TemporaryDirectory() as folder:
            lines += measure(patients, Path(folder))
    if asked.save:
        said = (
            f"# Nights\n\n`make bench-nightly`, {os.cpu_count()} cores; seconds by stage as `run.json` keeps them.\n\n"
        )
        RESULTS.write_text(said + "\n".join([*head, *lines]) + "\n")


if __name__ == "__main__":
    main()

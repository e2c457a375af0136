"""An export that needs more memory than there is: it is read in pieces, and could not be read whole."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

pytestmark = pytest.mark.slow

PATIENTS, MILLION = 20_000, 1_000_000
LIMIT = 900  # MiB of private memory, of which the libraries and the reading of a CSV file take 500 whatever its size
SMALL, LARGE = "32", "8192"  # MiB for the rows in work
READ = """
import resource, sys
from pathlib import Path
from recommender.loaders import load
from recommender.loaders.tabular import rows_in_work
folder, cache, rows, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit) << 20, int(limit) << 20))
print(len(load("csv", folder, vocabulary=None, cache=Path(cache), rows=rows_in_work(int(rows) << 20)).treatments))
"""


def export(folder: Path, rows: int) -> Path:
    """Plain CSV: orders of 300 drugs for PATIENTS people, no two of a person on one day."""
    folder.mkdir()
    with (folder / "treatments.csv").open("wb") as file:
        for first in range(0, rows, MILLION):
            number = np.arange(first, min(rows, first + MILLION))
            start = np.datetime64("2000-01-01") + number // PATIENTS
            code = pa.array([f"drug {n} of the formulary" for n in range(300)]).take(pa.array(number * 7919 % 300))
            patient_id = pa.array(number % PATIENTS)
            table = pa.table({"patient_id": patient_id, "code": code, "start": start, "stop": start + 30})
            pa_csv.write_csv(table, file, pa_csv.WriteOptions(include_header=first == 0))
    return folder


def read(folder: Path, cache: Path, memory: str, limit: int = 0) -> tuple[int, str, int]:
    """In a process of its own, under a limit in MiB if any -> exit status, what it says, its most private MiB."""
    command = [sys.executable, "-c", READ, str(folder), str(cache), memory, str(limit)]
    most = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while run.poll() is None:
            found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{run.pid}/status").read_text())
            most = max(most, int(found[1]) >> 10 if found else 0)
            time.sleep(0.01)
        assert run.stdout and run.stderr
        return run.returncode, run.stdout.read() + run.stderr.read(), most


def test_more_rows_than_memory_are_read_in_pieces_and_not_otherwise(tmp_path):
    folder = export(tmp_path / "export", 8 * MILLION)
    status, told, most = read(folder, tmp_path / "cache", SMALL, LIMIT)
    assert (status, told) == (0, f"{8 * MILLION}\n")
    again = read(folder, tmp_path / "cache", SMALL, LIMIT)
    assert again[:2] == (status, told)
    assert again[2] < most
    status, told, most = read(folder, tmp_path / "other", LARGE, LIMIT)
    assert status != 0
    assert "MemoryError" in told or "bad_alloc" in told


def test_twice_the_rows_need_hardly_more_memory(tmp_path):
    most = {}
    for millions in (8, 16):  # before that, the allocators are still taking what they will never give back
        folder = export(tmp_path / f"{millions}", millions * MILLION)
        most[millions] = [read(folder, tmp_path / "cache", SMALL)[2] for _ in ("first", "again")]
    assert most[16][0] < most[8][0] + 60
    assert most[16][1] < most[8][1] + 20

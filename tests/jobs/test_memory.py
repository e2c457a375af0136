"""`RXREC_MEMORY`: what a night may have resident, kept to by every stage, or refused in words before it begins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.__main__ import main
from recommender.settings import Settings
from tests.recommender.test_read_memory import MILLION
from tests.recommender.test_read_memory import export as rows_of

PATIENTS = "patient_id,birth_date,sex\n" + "".join(f"p{n},1980-01-0{n},F\n" for n in range(1, 6))
TREATMENTS = "patient_id,code,start\n" + "".join(f"p{n},a,2020-01-01\np{n},b,2020-01-02\n" for n in range(1, 6))
READ = """
import resource, sys
from pathlib import Path
from recommender.loaders import load
from recommender.memory import Memory, resident
room = int(sys.argv[3]) << 20
begun = resident()
memory = Memory(begun + room) if room else Memory.of()
load("csv", sys.argv[1], vocabulary=None, cache=Path(sys.argv[2]), memory=memory)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10) - (begun >> 20))
"""


def night(workdir: Path, export: Path, memory: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "jobs", "--json", "--workdir", str(workdir), "nightly", "--reports", "none"]
    environment = {**os.environ, "RXREC_MEMORY": memory}
    command += ["--source", "synthea", "--input", str(export), "--gate", "warn"]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return run.returncode, json.loads(run.stdout)


@pytest.mark.parametrize("asked", [{"RXREC_MEMORY": "64MiB"}, {}], ids=["setting", "option"])
def test_what_cannot_keep_to_it_is_refused_before_it_begins(asked: dict[str, str], tmp_path: Path, settings: Settings):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "patients.csv").write_text(PATIENTS)
    (tmp_path / "export" / "treatments.csv").write_text(TREATMENTS)
    environment = {"REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(settings.workdir), **asked}
    words = ["--json", "nightly", "--source", "csv", "--input", str(tmp_path / "export"), "--vocabulary", "none"]
    result = CliRunner().invoke(main, words if asked else [*words, "--memory", "64MiB"], env=environment)
    told = json.loads(result.stdout)
    assert (result.exit_code, told["error"]) == (15, "NotEnoughMemory")
    assert told["message"].startswith("reading an export needs about ")
    assert "RXREC_MEMORY (or --memory) allows 64MiB: set it to" in told["message"]


def test_a_slip_is_told(tmp_path: Path):
    for name, value in (("RXREC_MEMORY", "lots"), ("RXREC_READ_MEMORY", "512")):
        result = CliRunner().invoke(main, ["versions"], env={"RXREC_WORKDIR": str(tmp_path), name: value})
        assert result.exit_code == 1
        assert name in result.output or "such as 3GiB" in result.output


def test_reading_keeps_to_it(tmp_path: Path):
    export, room = rows_of(tmp_path / "export", 2 * MILLION), 310  # MiB beside the libraries

    def taken(memory: int) -> int:
        """MiB at most; memory: how many more than there are before may be taken, 0: no setting."""
        cache = tmp_path / f"cache-{memory}"  # what is read from there takes less
        command = [sys.executable, "-c", READ, str(export), str(cache), str(memory)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert taken(room) <= room < taken(0)


@pytest.mark.slow
def test_every_stage_of_a_night_keeps_to_it_and_makes_the_same(tmp_path: Path):
    export, limit = tmp_path / "export", 800
    write = [sys.executable, "-m", "jobs", "sample", "--patients", "60000", "--out", str(export)]
    subprocess.run(write, check=True, capture_output=True)
    night(tmp_path / "first", export, "")  # what it compiles takes memory that later nights do not
    made, peaks = [], []
    for number, memory in enumerate((f"{limit}MiB", "")):
        status, told = night(tmp_path / f"{number}", export, memory)
        assert status == 0, told
        stages = json.loads((Path(told["run"]) / "run.json").read_text())["stages"]
        peaks.append({name: one["peak_mib"] for name, one in stages.items()})
        made.append({name: one["files"] for name, one in stages.items()})
    for files in made:
        files["fit and score"].pop("release/manifest")  # has the name of the run
    assert made[0] == made[1]
    assert max(peaks[0].values()) <= limit < max(peaks[1].values()), peaks
    status, told = night(tmp_path / "low", export, "500MiB")
    assert (status, told["error"]) == (15, "NotEnoughMemory")
    assert "500MiB: set it to" in told["message"]

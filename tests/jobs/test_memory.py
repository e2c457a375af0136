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

PATIENTS = "patient_id,birth_date,sex\n" + "".join(f"p{n},1980-01-0{n},F\n" for n in range(1, 6))
TREATMENTS = "patient_id,code,start\n" + "".join(f"p{n},a,2020-01-01\np{n},b,2020-01-02\n" for n in range(1, 6))
# a hospital of 60,000 patients and 2.4 million events; its matrix within so many MiB more, or (0) all at once; or all
# of it but one patient, by way of files or (0) not
HOSPITAL = """
import resource, sys
from pathlib import Path
import numpy as np, pandas as pd
from recommender.blocks import Blocks
from recommender.examples import matrix_today
from recommender.features import build_matrix
from recommender.forgotten import Forgotten
from recommender.ingest_log import IngestLog
from recommender.memory import Memory, resident
from recommender.records import SCHEMA, TIME, TREATMENT_KINDS, Records
from recommender.run_files import load_records, save_records
from recommender.sealing import Place

people, events = 60_000, 2_400_000
nothing = {n: pd.DataFrame({c: pd.Series(dtype=t) for c, t in columns.items()}) for n, columns in SCHEMA.items()}
number = np.arange(events, dtype=np.int64)
times = lambda seconds: pd.Series(pd.array(seconds, dtype=TIME))
words = pd.DataFrame({"code": [f"c{n}" for n in range(300)], "kind": "drug", "name": "a", "group": "", "unit": ""})
person = {"patient_id": [f"p{n}" for n in range(people)], "sex": "F", "race": "", "ethnicity": "", "site": ""}
person |= {"birth_date": times(np.zeros(people, np.int64)), "as_of": times(np.full(people, 2_000_000_000))}
treatments = {"patient_ix": (number * 7919 % people).astype(np.int32), "concept_ix": (number % 300).astype(np.int32)}
treatments |= {"start": times(1_500_000_000 + number), "stop": times(1_600_000_000 + number)}
treatments |= {"reported": False, "local": False, "routes": np.uint32(0)}
tables = {**nothing, "treatments": pd.DataFrame(treatments)}
tables["concepts"] = words.astype(SCHEMA["concepts"])
tables["patients"] = pd.DataFrame(person)[list(SCHEMA["patients"])].astype(SCHEMA["patients"])
folder, room, what = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
place, forgotten = Place(folder / "records"), Forgotten(folder, folder / "site.key")
forgotten.add("p7")
save_records(Records(**tables, log=IngestLog()), place)
del tables, treatments, number
records, memory = load_records(place), Memory(0)
memory.room()
Path("/proc/self/clear_refs").write_text("5")
begun = resident()
if what == "forget":
    left = forgotten.left_out(records, folder if room else None)
    made = len(left.treatments), int(left.treatments["start"].array.view("int64").sum())
elif room:
    blocks = Blocks.within(Memory(begun + (room << 20)), records, folder)
    made = matrix_today(records, TREATMENT_KINDS, blocks).rows.nnz,
else:
    made = build_matrix(records).rows.nnz,
peak = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM:"))
print((peak >> 10) - (begun >> 20), *made)
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


@pytest.mark.parametrize(("what", "room"), [("matrix", 200), ("forget", 80)])
def test_what_is_made_of_everybody_keeps_to_it(what: str, room: int, tmp_path: Path):
    def taken(room: int) -> list[int]:
        """MiB at most, beside what was there before; and what was made."""
        (tmp_path / f"{room}").mkdir()
        command = [sys.executable, "-c", HOSPITAL, str(tmp_path / f"{room}"), str(room), what]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        return list(map(int, run.stdout.split()))

    (in_blocks, *made), (at_once, *expected) = taken(room), taken(0)
    assert in_blocks <= room < at_once
    assert made == expected


@pytest.mark.slow
def test_every_stage_of_a_night_keeps_to_it_and_makes_the_same(tmp_path: Path):
    export, limit = tmp_path / "export", 810
    write = [sys.executable, "-m", "jobs", "sample", "--patients", "100000", "--out", str(export)]
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

"""A night that is worse than the last stays unpublished, with its reasons; one that is as good goes through."""

import csv
import json
import random
import shutil

import pytest
from click.testing import CliRunner

from data.synthetic import write_hospital
from jobs.__main__ import main
from recommender.store import open_store


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hospital") / "sample"
    write_hospital(folder, patients=800, seed=5)
    return folder


@pytest.fixture
def export(sample, tmp_path):
    return shutil.copytree(sample, tmp_path / "export")


@pytest.fixture
def night(settings, export):
    """`night("--gate", "warn")`: the exit code, what was printed, and what is being served afterwards."""
    environment = {"REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(settings.workdir)}

    def run(*words):
        words = ["--json", "nightly", "--input", str(export), "--reports", "none", *words]
        result = CliRunner().invoke(main, words, env=environment, catch_exceptions=False)
        with open_store(settings) as store:
            return result.exit_code, json.loads(result.stdout), store.release(store.current())

    return run


def rewrite(file, change):
    with file.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *change(header, rows)])


def under_other_names(header, rows):
    """Each row stands under the name of another one's patient."""
    patient = header.index("PATIENT")
    names = random.Random(0).sample([row[patient] for row in rows], len(rows))
    return [[*row[:patient], name, *row[patient + 1 :]] for row, name in zip(rows, names, strict=True)]


def without_half_the_drugs(header, rows):
    name = header.index("DESCRIPTION")
    kept = sorted({row[name] for row in rows})[::2]
    return [row for row in rows if row[name] in kept]


def test_the_same_hospital_again_goes_through(night, settings):
    _, first, _ = night()
    code, second, served = night()
    assert (code, served.version) == (0, second["version"])
    assert first["gate"]["compared_with"] == "nothing to compare with: this is the first version"
    gate = second["gate"]
    assert (gate["compared_with"], gate["passed"], gate["reasons"]) == (first["version"], True, [])
    assert served.manifest["gate"] == gate
    assert json.loads((settings.workdir / "runs" / second["version"] / "gate.json").read_text()) == gate
    assert served.manifest["chosen"]["model"]["name"] == "directed"
    assert "visits tell what followed" in served.manifest["chosen"]["why"]


@pytest.mark.parametrize(
    ("files", "change", "words"),
    [
        (("medications.csv", "procedures.csv", "careplans.csv"), under_other_names, "NDCG@10 fell from 0."),
        (("medications.csv",), without_half_the_drugs, " fewer than the "),
    ],
    ids=["shuffled", "half the drugs"],
)
def test_a_worse_night_is_refused_and_the_old_version_stays(night, export, settings, files, change, words):
    _, first, _ = night()
    for file in files:
        rewrite(export / file, change)
    code, said, served = night()
    assert (code, said["error"]) == (9, "GateRefused")
    assert served.version == first["version"]
    assert f"version {first['version']} stays in service: " in said["message"]
    assert words in said["message"]
    (refused,) = [run for run in (settings.workdir / "runs").iterdir() if run.name != first["version"]]
    gate = json.loads((refused / "gate.json").read_text())
    assert not gate["passed"]
    assert any(words in reason for reason in gate["reasons"])


def test_a_worse_model_is_refused_on_the_same_patients_unless_asked_for(night):
    _, first, _ = night()
    code, said, served = night("--model", "popularity")
    assert (code, served.version) == (9, first["version"])
    assert "worse than the served configuration's on the same patients: by -0." in said["message"]
    code, second, served = night("--model", "popularity", "--gate", "warn")
    assert (code, served.version) == (0, second["version"])
    assert not second["gate"]["passed"]
    code, third, served = night("--gate", "off")
    assert (code, served.version) == (0, third["version"])
    assert third["gate"]["compared_with"] == "nothing to compare with: --gate off"

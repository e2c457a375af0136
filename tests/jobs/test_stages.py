"""A night that dies in any stage is taken up where it died; what is served is whole all the while."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from data.synthetic import write_hospital
from jobs import stages
from jobs.__main__ import main
from jobs.stages import Events, Form, Run
from recommender import run_files
from recommender.errors import EngineError
from recommender.matrix import PatientMatrix
from recommender.packing import Words
from recommender.records import SCHEMA, Records
from recommender.sealing import Place, Seal
from recommender.snapshot import Named, Packer, Snapshot
from recommender.store import Store, open_store

STAGES = ["read", "matrix", "evaluate", "fit and score", "publish"]
TEXT = Form(lambda value, place: place.write("value", value.encode()), lambda place: place.read("value").decode())


# --- one stage after another ------------------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path):
    """`work("a", "b")`: two stages of a run, each of which notes that it was done; the run and what they gave."""
    done = []

    def run_stages(*settings, resume=True):
        events = Events(None)
        run = Run.resumed(tmp_path / "runs", "asked", events) if resume else None
        run = run or Run.begun(tmp_path / "runs" / f"run-{len(list(tmp_path.glob('runs/*')))}", "asked", events)
        found = []
        with contextlib.closing(run):
            for name, setting in zip(("one", "two"), settings, strict=False):

                def make(name=name, setting=setting):
                    done.append(name)
                    return f"{name} of {setting}"

                found.append(run.stage(name, {"setting": setting}, make, TEXT).value)
        return run, found

    run_stages.done = done
    return run_stages


def test_a_finished_stage_is_not_done_twice(work):
    work("a")
    run, found = work("a", "b")
    assert found == ["one of a", "two of b"]
    assert work.done == ["one", "two"]
    assert work("a", "b")[0].name == run.name
    assert work.done == ["one", "two"]
    assert run.state["stages"]["one"]["seconds"] >= 0
    assert run.state["stages"]["one"]["peak_mib"] > 0


@pytest.mark.parametrize(("settings", "again"), [(("c", "b"), ["one", "two"]), (("a", "c"), ["two"])])
def test_what_changed_is_done_anew_with_all_that_follows(work, settings, again):
    work("a", "b")
    work.done.clear()
    work(*settings)
    assert work.done == again


@pytest.mark.parametrize("damage", [lambda f: f.write_text("altered"), lambda f: f.unlink()])
def test_a_stage_whose_files_are_not_as_recorded_is_done_anew(work, damage):
    run, _ = work("a", "b")
    damage(run.folder / "stages" / "one" / "value")
    assert work("a", "b")[1] == ["one of a", "two of b"]
    assert work.done == ["one", "two", "one", "two"]


def test_a_state_that_cannot_be_read_is_no_run_to_take_up(work):
    run, _ = work("a")
    for content in ("", "[]", '{"format": 0}'):
        (run.folder / "run.json").write_text(content)
        assert work("a")[0].name != run.name


def test_an_ended_run_is_not_taken_up_and_leaves_its_account_only(work):
    dead, _ = work("a", "b")
    run, _ = work("a", "b", resume=False)
    run = Run.resumed(run.folder.parent, "asked", Events(None))
    run.end("published")
    run.close()
    for one in (dead, run):
        assert not (one.folder / "stages").exists()  # what a dead run left goes too: it is overtaken
    assert set(json.loads((run.folder / "run.json").read_text())["stages"]["one"]["files"]) == {"value"}
    assert work("a")[0].name == dead.name


def test_two_cannot_take_up_one_run(work, tmp_path):
    work("a")
    first = Run.resumed(tmp_path / "runs", "asked", Events(None))
    with pytest.raises(EngineError, match="still at work"):
        Run.resumed(tmp_path / "runs", "asked", Events(None))
    first.close()
    assert Run.resumed(tmp_path / "runs", "something else", Events(None)) is None


def test_a_full_disk_is_told_and_the_run_can_be_taken_up(work, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stages.os, "fsync", full)
        with pytest.raises(EngineError, match=r"No space left on device: free room there, then run with --resume"):
            work("a")
    run = Run.begun(tmp_path / "runs" / "another", "asked", Events(None))
    with contextlib.closing(run), pytest.raises(EngineError, match="free room"):
        run.stage("one", {}, lambda: "x", Form(full, TEXT.load))
    assert work("a")[1] == ["one of a"]


def test_events_that_cannot_be_written(tmp_path):
    with pytest.raises(EngineError, match="events cannot be written"):
        Events(tmp_path / "nowhere" / "events")


# --- the values as files ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["in clear", "sealed"])
def place(tmp_path: Path, request) -> Place:
    return Place(tmp_path, Seal(tmp_path, 1, lambda _: b"k" * 32) if request.param == "sealed" else None)


def test_records_come_back(tiny_records: Records, place: Place):
    run_files.save_records(tiny_records, place)
    back = run_files.load_records(place)
    for name in SCHEMA:
        assert getattr(back, name).equals(getattr(tiny_records, name))
    assert back.log.as_dict() == tiny_records.log.as_dict()
    back.log.check()


def test_a_matrix_comes_back(tiny_matrix: PatientMatrix, place: Place):
    run_files.save_matrix(tiny_matrix, place)
    back = run_files.load_matrix(place)
    assert (back.rows != tiny_matrix.rows).nnz == 0
    assert back.rows.shape == tiny_matrix.rows.shape
    assert back.index.as_dict() == tiny_matrix.index.as_dict()
    assert back.patient_ids.tolist() == tiny_matrix.patient_ids.tolist()


def test_a_snapshot_comes_back_to_the_byte(tiny_snapshot, place: Place):
    snapshot: Snapshot = tiny_snapshot("v1")
    run_files.save_snapshot(snapshot, place)
    back = run_files.load_snapshot("v1", place)
    ids = [patient_id.encode().rjust(16) for patient_id in snapshot.patient_ids]
    named = Named(np.frombuffer(b"".join(ids), dtype=np.uint8).reshape(-1, 16), Words.of(ids))
    packed, again = (Packer(one, named).pack(np.arange(len(ids))) for one in (snapshot, back))
    assert packed.data.tobytes() == again.data.tobytes() and np.array_equal(packed.ptr, again.ptr)
    assert np.array_equal(back.release.model.score(back.rows), snapshot.release.model.score(snapshot.rows))


# --- whole nights -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hospital") / "sample"
    write_hospital(folder, patients=400, seed=3)
    return folder


def words_of(sample: Path, workdir: Path) -> list[str]:
    return [
        *("nightly", "--input", str(sample), "--gate", "off", "--resume"),
        *("--events", str(workdir / "events.jsonl"), "--reports", "none"),
    ]


def told(workdir: Path) -> list[dict]:
    file = workdir / "events.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def lists_of(store: Store) -> dict[str, tuple[bytes, bytes]]:
    release = store.release(store.current())
    return {name: (entry.columns.tobytes(), entry.scores.tobytes()) for name, entry in store.entries(release)}


@pytest.mark.parametrize("deaths", [["evaluate", "publish"], pytest.param(STAGES, marks=pytest.mark.slow)])
def test_a_night_killed_in_its_stages_is_taken_up(settings, sample, tmp_path, deaths):
    environment = {**os.environ, "REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(tmp_path)}
    for stage in deaths:
        before = len(told(tmp_path))
        words = [sys.executable, "-m", "jobs", *words_of(sample, tmp_path)]
        run = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begun = {"event": "stage", "stage": stage, "state": "begun"}
        while run.poll() is None and not any(begun.items() <= line.items() for line in told(tmp_path)[before:]):
            time.sleep(0.005)
        run.send_signal(signal.SIGKILL)
        run.wait()
    killed = told(tmp_path)
    assert len({line["run"] for line in killed if line["run"]}) == 1  # one run throughout
    environment = {"REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(tmp_path)}
    result = CliRunner().invoke(main, ["--json", *words_of(sample, tmp_path)], env=environment, catch_exceptions=False)
    assert result.exit_code == 0
    last = told(tmp_path)[len(killed) :]
    assert {line["stage"] for line in last if line.get("state") == "kept"} == set(STAGES[:-1])
    with open_store(settings) as store:
        assert store.current() == json.loads(result.stdout)["version"] == last[0]["run"]
        taken_up = lists_of(store)
        for finished in STAGES[:-1]:
            done = [line for line in [*killed, *last] if line.get("stage") == finished and line.get("state") == "done"]
            assert len(done) == 1
        words = [word for word in words_of(sample, tmp_path) if word != "--resume"]
        CliRunner().invoke(main, words, env=environment, catch_exceptions=False)
        assert store.current() != last[0]["run"]
        assert lists_of(store) == taken_up  # what one night would have given that nobody killed


def test_an_export_that_changed_is_read_anew(settings, sample, tmp_path):
    export = shutil.copytree(sample, tmp_path / "export")
    environment = {"REDIS_URL": "redis://127.0.0.1:1/0", "RXREC_WORKDIR": str(tmp_path)}
    up = {**environment, "REDIS_URL": settings.redis_url}
    words = words_of(export, tmp_path)
    assert CliRunner().invoke(main, words, env=environment).exit_code == 4
    failed = told(tmp_path)[-1]
    assert (failed["event"], failed["state"], failed["exit_code"]) == ("run", "failed", 4)
    assert "cannot be reached" in failed["message"]
    (tmp_path / "events.jsonl").unlink()
    first = json.loads(CliRunner().invoke(main, ["--json", *words], env=up).stdout)
    drugs = (export / "medications.csv").read_text().splitlines(keepends=True)
    (export / "medications.csv").write_text("".join(drugs[: len(drugs) // 2]))
    second = json.loads(CliRunner().invoke(main, ["--json", *words], env=up).stdout)
    assert second["counts"]["treatments_events"] < first["counts"]["treatments_events"]
    progress = [line for line in told(tmp_path) if line["event"] == "progress" and line["stage"] == "publish"]
    assert {(line["done"], line["total"], line["unit"], line["left_s"]) for line in progress} == {
        (400, 400, "patients", 0)
    }


@pytest.mark.parametrize("killed", ["", pytest.param("publish", marks=pytest.mark.slow)])
def test_a_night_that_updates_rewrites_who_changed(settings, sample, tmp_path, killed):
    export = shutil.copytree(sample, tmp_path / "export")
    environment = {"REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(tmp_path)}
    words = words_of(export, tmp_path)
    first = json.loads(CliRunner().invoke(main, ["--json", *words], env=environment).stdout)
    header, *rows = (export / "conditions.csv").read_text().splitlines(keepends=True)
    patient = header.split(",").index("PATIENT")
    who = rows[0].split(",")[patient]
    diabetes = next(row for row in rows if ",44054006," in row and row.split(",")[patient] != who).split(",")
    diabetes[patient] = who
    (export / "conditions-2026-11-25.csv").write_text(header + ",".join(diabetes))
    header, *people = (export / "patients.csv").read_text().splitlines(keepends=True)
    (export / "patients.csv").write_text("".join([header, *people[:-1]]))
    if killed:
        command = [sys.executable, "-m", "jobs", *words, "--update"]
        run = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before, begun = len(told(tmp_path)), {"event": "stage", "stage": killed, "state": "begun"}
        while run.poll() is None and not any(begun.items() <= line.items() for line in told(tmp_path)[before:]):
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
        run.wait()
    result = CliRunner().invoke(main, ["--json", *words, "--update"], env=environment, catch_exceptions=False)
    second = json.loads(result.stdout)
    update = second["update"]
    assert (update["base"], update["changed"], update["new"], update["gone"]) == (first["version"], 1, 0, 1)
    assert "fit and score" not in second["seconds"] and second["quality"] == first["quality"]
    with open_store(settings) as store:
        release = store.release(store.current())
        chart = store.entry(release, who).chart
        assert "snomed:44054006" in {release.known.concepts[ix].code for ix in chart.concept}
        assert len(dict(store.entries(release))) == 399
    assert CliRunner().invoke(main, ["rollback"], env=environment).exit_code == 0
    # another question: a whole night, and it says why wherever one may look
    before, asked = len(told(tmp_path)), ["--json", *words, "--update", "--kind", "drug"]
    other = CliRunner().invoke(main, asked, env=environment, catch_exceptions=False)
    why = "the served version was made with another kinds (drug procedure care_plan care_resource; now drug)"
    assert f"a whole night, because {why}\n" in other.stderr
    third = json.loads(other.stdout)
    assert third["whole_night_because"] == why
    assert json.loads((Path(third["run"]) / "run.json").read_text())["whole_night_because"] == why
    skipped = [line for line in told(tmp_path)[before:] if line.get("state") == "not possible"]
    assert [(line["stage"], line["why"]) for line in skipped] == [("update", why)]
    assert "whole_night_because" not in second


@pytest.mark.slow
def test_yesterdays_run_and_todays_changes_give_the_lists_of_a_full_run(settings, sample, tmp_path):
    """A file changed, a file of a day added, patients gone: what was kept of the night before changes no list."""
    export = shutil.copytree(sample, tmp_path / "export")
    up = {"REDIS_URL": settings.redis_url, "RXREC_SECRET": str(settings.secret_file)}

    def night(workdir: Path) -> dict[str, tuple[bytes, bytes]]:
        words = ["--json", "--workdir", str(workdir), "nightly", "--input", str(export), "--gate", "off"]
        result = CliRunner().invoke(main, words, env=up, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        with open_store(settings) as store:
            return lists_of(store)

    before = night(tmp_path / "kept")
    header, *rows = (export / "medications.csv").read_text().splitlines(keepends=True)
    (export / "medications.csv").write_text("".join([header, *rows[: -len(rows) // 5]]))
    (export / "medications-2026-11-25.csv").write_text("".join([header, *rows[-len(rows) // 5 :]]))
    header, *people = (export / "patients.csv").read_text().splitlines(keepends=True)
    (export / "patients.csv").write_text("".join([header, *people[7:]]))
    conditions = (export / "conditions.csv").read_text().splitlines(keepends=True)
    (export / "conditions.csv").write_text("".join(conditions[:-50]))
    after = night(tmp_path / "kept")
    assert after == night(tmp_path / "anew")
    assert len(before) - len(after) == 7
    assert any(before[name] != lists for name, lists in after.items())

"""On a fresh install everything is compiled before the server says that it is ready: no clinician waits for it."""

import dataclasses
from datetime import UTC, datetime

import pytest

from benchmarks.serving import LIST, Caller, worker
from data.synthetic import write_hospital
from recommender.access import KeyFile
from recommender.features import build_matrix
from recommender.loaders import load
from recommender.models.directed import DirectedModel
from recommender.pipeline import make_snapshot
from recommender.safety.screen import Screen
from recommender.store import open_store

pytestmark = pytest.mark.slow


def test_after_ready_nothing_is_compiled(settings, tmp_path):
    screen, compiled = Screen.load(), tmp_path / "compiled"
    write_hospital(tmp_path / "sample", patients=400, seed=0)
    records = load("synthea", tmp_path / "sample", vocabulary=screen.vocabulary)
    made = {"created": datetime.now(UTC).isoformat()}
    snapshot = make_snapshot(records, build_matrix(records), DirectedModel(), "v1", made, screen)
    workdir = tmp_path / "work"
    _, key = KeyFile(workdir / "keys.json").make("one", "clinician", 1)
    with open_store(dataclasses.replace(settings, workdir=workdir)) as store:
        store.publish(snapshot)
        store.activate("v1")
        with worker(store.url, workdir, NUMBA_CACHE_DIR=str(compiled)) as at:
            when_ready = {file.name for file in compiled.rglob("*.nb?")}
            assert len(when_ready) > 10
            caller = Caller(at.port, key)
            for patient_id in snapshot.patient_ids[:60]:
                caller.ask(LIST.format(patient_id))
                caller.ask("/patient", form=f"patient_id={patient_id}")
            caller.hang_up()
            assert {file.name for file in compiled.rglob("*.nb?")} == when_ready

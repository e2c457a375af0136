"""A person who is to be forgotten is gone from the store, the feedback, what runs kept, and every later night."""

import dataclasses
from datetime import UTC, datetime
from typing import get_args

import numpy as np
import orjson
import pandas as pd
import pytest
from click.testing import CliRunner

from jobs.__main__ import main
from recommender.errors import EngineError, InputError, UnknownPatient
from recommender.feedback import FeedbackEvent, FeedbackLog
from recommender.forgotten import Forgotten
from recommender.given import counts_in
from recommender.records import Table
from recommender.store import open_store
from recommender.stream import Place, Readings
from tests.recommender.watching import POTASSIUM, reading


def run(settings, *words, given=""):
    environment = {"RXREC_WORKDIR": str(settings.workdir), "REDIS_URL": settings.redis_url}
    return CliRunner().invoke(main, ["--json", *words], env=environment, input=given)


@pytest.fixture
def forgotten(tmp_path):
    return Forgotten(tmp_path, tmp_path / "site.key")


def test_gone_from_every_version_the_feedback_and_what_runs_kept(settings, tiny_snapshot):
    log = FeedbackLog(settings.workdir)
    now = datetime.now(UTC)
    for name in ("PAT-1", "PAT-2"):
        log.append(FeedbackEvent(f"e-{name}", name, "rxnorm:6809", "drug", "accepted", "v1", now, "api"))
    for folder in ("cache/x", "runs/v1/stages/read", "runs/v1/release", "runs/v0/release/model"):
        (settings.workdir / folder).mkdir(parents=True)
        (settings.workdir / folder / "file").write_text("PAT-2")
    with open_store(settings) as store:
        for version in ("v1", "v2"):
            store.publish(tiny_snapshot(version))
            store.activate(version)
        readings = Readings(Place(settings.redis_url, settings.key_prefix, settings.workdir / "site.key"))
        for name in ("PAT-1", "PAT-2"):
            one = reading(f"r-{name}", name, POTASSIUM, 5.0)
            readings.add([one])
            readings.apply([one])
        done = run(settings, "forget", "-", "--yes", given="PAT-2\n")
        assert done.exit_code == 0, done.output
        assert orjson.loads(done.stdout) == {"versions": 2, "feedback_events": 1, "readings": 2, "folders": 3}
        for version in ("v1", "v2"):
            release = store.release(version)
            with pytest.raises(UnknownPatient):
                store.entry(release, "PAT-2")
            assert store.entry(release, "PAT-1")
            assert [name for name, _ in store.entries(release)].count("PAT-1") == 1
        assert [one.patients for one in store.versions()] == [5, 5]
        assert readings.newest(["PAT-1", "PAT-2"])[1] == {} and list(readings.everyone()) == ["PAT-1"]
    assert [event.patient_id for event in log.events()] == ["PAT-1"]
    assert not (settings.workdir / "cache").exists() and (settings.workdir / "runs/v1/release").exists()
    assert not (settings.workdir / "runs/v0/release/model").exists()  # a model may hold patients' rows
    held = b"".join(f.read_bytes() for f in settings.workdir.glob("*") if f.is_file() and f.name != "site.key")
    assert b"PAT-2" not in held
    again = orjson.loads(run(settings, "forget", "PAT-2", "--yes").stdout)
    assert again == {"versions": 0, "feedback_events": 0, "readings": 0, "folders": 0}


def test_it_asks_first(settings):
    assert run(settings, "forget", "PAT-2", given="n\n").exit_code == 1
    assert not (settings.workdir / "forgotten.json").exists()


@pytest.mark.parametrize("in_files", [False, True])
def test_later_records_leave_the_person_out(forgotten, tiny_records, tmp_path, in_files, monkeypatch):
    monkeypatch.setattr("recommender.forgotten.EVENTS", 3)
    assert forgotten.left_out(tiny_records) is tiny_records
    forgotten.add("PAT-2")
    left = forgotten.left_out(tiny_records, tmp_path / "scratch" if in_files else None)
    assert list(left.patients["patient_id"]) == ["PAT-1", "PAT-3", "PAT-4", "PAT-5", "PAT-6"]

    def had(records):
        names = records.patients["patient_id"].to_numpy()[records.treatments["patient_ix"]]
        return sorted(zip(names, records.treatments["concept_ix"].tolist(), strict=True))

    for name in get_args(Table):  # as pandas would take them, to the bit
        table = getattr(tiny_records, name)
        kept = table[table["patient_ix"] != 1].reset_index(drop=True)
        kept = kept.assign(patient_ix=kept["patient_ix"] - (kept["patient_ix"] > 1).astype(np.int32))
        pd.testing.assert_frame_equal(getattr(left, name), kept)
    assert had(left) == [one for one in had(tiny_records) if one[0] != "PAT-2"]
    lisinopril = (tiny_records.concepts["code"] == "rxnorm:29046").to_numpy()
    assert [int(counts_in(one)[lisinopril].sum()) for one in (tiny_records, left)] == [3, 2]
    assert len(left.allergies) == 1 and left.patients["patient_id"][left.allergies["patient_ix"].iloc[0]] == "PAT-3"


def test_the_list_names_nobody_and_changes_what_a_night_is_made_from(forgotten, tiny_records):
    before = forgotten.fingerprint
    forgotten.add("PAT-2")
    forgotten.add("PAT-2")
    assert forgotten.fingerprint != before and len(orjson.loads(forgotten.file.read_bytes())) == 1
    assert b"PAT-2" not in forgotten.file.read_bytes() and forgotten.file.stat().st_mode & 0o777 == 0o600
    records = dataclasses.replace(tiny_records)
    for number in (1, 3, 4, 5, 6):
        forgotten.add(f"PAT-{number}")
    with pytest.raises(InputError, match="everybody"):
        forgotten.left_out(records)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'["x"]'])
def test_a_damaged_list_stops_a_night(forgotten, tiny_records, content):
    forgotten.file.write_bytes(content)
    with pytest.raises(EngineError, match="backup"):
        forgotten.left_out(tiny_records)

"""Each access to a patient's data is written down before the answer leaves, or the answer does not leave."""

import dataclasses
import os

import orjson
import pytest
from click.testing import CliRunner

from api import create_app
from jobs.__main__ import main
from recommender.access import KeyFile
from recommender.audit import AuditLog
from recommender.audit.events import patient_of
from tests.api import auth

PATIENT = "/v1/patients/{}/recommendations"
EVENT = {
    "event_id": "e1", "patient_id": "PAT-2", "code": "rxnorm:36567", "kind": "drug", "outcome": "accepted",
    "version": "v1",
}  # fmt: skip


@pytest.fixture
def keys(settings):
    return auth.keys(settings.workdir)


@pytest.fixture
def audited(settings):
    return dataclasses.replace(settings, auth="on", rate_limit=10_000)


@pytest.fixture
def locked(audited, store, published, keys):
    return create_app(audited, store).test_client()


@pytest.fixture
def log(settings):
    return AuditLog(settings.workdir, settings.workdir / "site.key")


def told(log):
    found = [body["event"] for _, body in log.lines()]
    return [(patient_of(event), event["action"], event["outcome"], event["entity"][1]["name"]) for event in found]


def test_every_way_to_a_patients_data_leaves_a_line(locked, keys, log):
    who = auth.bearer(keys["clinician"])
    assert locked.get(PATIENT.format("PAT-2"), headers=who).status_code == 200
    assert locked.get(PATIENT.format("NOBODY"), headers=who).status_code == 404
    assert (
        locked.post(
            "/v1/recommendations/batch", json={"patient_ids": ["PAT-1", "NO", "PAT-3"]}, headers=who
        ).status_code
        == 200
    )
    assert locked.post("/patient", data={"patient_id": "PAT-4"}, headers=who).status_code == 200
    assert locked.post("/v1/feedback", json=EVENT, headers=who).status_code == 201
    assert locked.post("/v1/recommendations", json={"conditions": []}, headers=who).status_code in (200, 400)
    assert locked.get("/v1/treatments", headers=who).status_code == 200
    one, batch = "/v1/patients/<path:patient_id>/recommendations", "/v1/recommendations/batch"
    assert told(log)[:-1] == [
        ("PAT-2", "R", "0", one), ("NOBODY", "R", "4", one),
        ("PAT-1", "R", "0", batch), ("NO", "R", "4", batch), ("PAT-3", "R", "0", batch),
        ("PAT-4", "R", "0", "/patient"), ("PAT-2", "C", "0", "/v1/feedback"),
    ]  # fmt: skip
    assert told(log)[-1][::3] == ("", "/v1/recommendations")
    agent = next(body["event"] for _, body in log.lines())["agent"][0]
    assert agent["who"]["display"] == "Test clinician" and agent["network"]["address"] == "127.0.0.1"
    assert agent["who"]["identifier"]["value"] == f"key:{keys['clinician'].split('_')[1]}"
    text = b"".join(file.read_bytes() for file in log.files())
    assert b"metformin" not in text and b"diabetes" not in text and keys["clinician"].encode() not in text


def test_an_answer_from_the_callers_memory_is_an_access_too(locked, keys, log):
    who = auth.bearer(keys["clinician"])
    tag = locked.get(PATIENT.format("PAT-2"), headers=who).headers["ETag"]
    assert locked.get(PATIENT.format("PAT-2"), headers={**who, "If-None-Match": tag}).status_code == 304
    assert len(told(log)) == 2


def test_who_was_refused_by_role_or_panel(locked, keys, log, settings):
    assert locked.get(PATIENT.format("PAT-2"), headers=auth.bearer(keys["pharmacy"])).status_code == 403
    assert told(log) == []  # nothing was looked for
    _, key = KeyFile(settings.workdir / "keys.json").make("ward 3", "clinician", 30, ["PAT-1"])
    assert locked.get(PATIENT.format("PAT-2"), headers=auth.bearer(key)).status_code == 404
    assert [line[:3] for line in told(log)] == [("PAT-2", "R", "4")]


def test_lines_cannot_be_injected(locked, keys, log, capsys):
    evil = 'PAT-2"}\n{"n":99,"k":1}\r\nX-Evil: 1'
    answer = locked.get(PATIENT.format("x"), headers=auth.bearer(keys["clinician"]))
    answer = locked.post("/patient", data={"patient_id": evil}, headers=auth.bearer(keys["clinician"]))
    assert answer.status_code == 404 and "X-Evil" not in answer.headers
    assert told(log)[-1][0] == evil.strip()
    assert log.verify().lines == 2
    assert sum(len(file.read_bytes().splitlines()) for file in log.files()) == 2
    assert all(orjson.loads(line) for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("page", [False, True])
def test_with_a_full_disk_no_patients_data_leave_and_the_rest_does(locked, keys, log, monkeypatch, page):
    who = auth.bearer(keys["clinician"])
    assert locked.get(PATIENT.format("PAT-2"), headers=who).status_code == 200

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    if page:
        answer = locked.post("/patient", data={"patient_id": "PAT-2"}, headers=who)
        assert "Nothing of a patient can be shown" in answer.text
    else:
        answer = locked.get(PATIENT.format("PAT-2"), headers=who)
        assert answer.json["type"] == "/problems/audit-unavailable"
    assert answer.status_code == 503 and answer.headers["Retry-After"]
    assert "metformin" not in answer.text and "simvastatin" not in answer.text
    batch = locked.post(
        "/v1/recommendations/batch", json={"patient_ids": ["PAT-1"]}, headers={**who, "Accept": "application/x-ndjson"}
    )
    assert batch.status_code == 503 and b"simvastatin" not in batch.data
    assert locked.post("/v1/interactions/check", json={"drugs": ["warfarin"]}, headers=who).status_code == 200
    monkeypatch.undo()
    assert locked.get(PATIENT.format("PAT-2"), headers=who).status_code == 200
    log.verify()


def test_the_commands_tell_who_saw_a_patient_and_find_what_was_altered(locked, keys, log, settings):
    who = auth.bearer(keys["clinician"])
    for patient in ("PAT-2", "PAT-1", "PAT-2"):
        locked.get(PATIENT.format(patient), headers=who)
    environment = {"RXREC_WORKDIR": str(settings.workdir)}

    def run(*words, given=""):
        return CliRunner().invoke(main, ["--json", "audit", *words], env=environment, input=given)

    found = orjson.loads(run("who", "--patient", "-", given="PAT-2\n").stdout)["accesses"]
    assert [(one["who"], one["outcome"]) for one in found] == [("Test clinician", "given")] * 2
    whole = orjson.loads(run("verify").stdout)
    assert whole["lines"] == 3 and orjson.loads(run("head").stdout)["head"] == whole["head"]
    assert run("verify", "--head", whole["head"]).exit_code == 0
    events = CliRunner().invoke(main, ["audit", "who", "--patient", "PAT-1", "--events"], env=environment).stdout
    assert orjson.loads(events)["resourceType"] == "AuditEvent"
    (file,) = log.files()
    file.write_bytes(file.read_bytes().replace(b"Test clinician", b"Nice clinician", 1))
    assert run("verify").exit_code == 13


def test_the_open_demonstration_is_not_audited_unless_asked(client, published, settings, store, log):
    client.get(PATIENT.format("PAT-2"))
    assert log.files() == []
    create_app(dataclasses.replace(settings, audit="on"), store).test_client().get(PATIENT.format("PAT-2"))
    assert [line[0] for line in told(log)] == ["PAT-2"]


def test_nothing_of_keys_tokens_or_patients_is_in_the_servers_log(locked, keys, capsys, settings):
    auth.trust(settings.workdir)
    token = auth.of_person("clinician")
    for credential in (keys["clinician"], token, "rxt_" + "a" * 43, auth.forged(token)):
        locked.get(PATIENT.format("PAT-2"), headers=auth.bearer(credential))
    locked.post("/sign-in", data={"key": keys["clinician"]})
    captured = capsys.readouterr()
    for private in ("PAT-2", keys["clinician"], token, "rxt_", "metformin", "Test clinician", "rxk_"):
        assert private not in captured.out + captured.err

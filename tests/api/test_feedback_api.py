"""The contract of POST /v1/feedback, on a real Redis and a real file."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from api.errors import BadParameter, UnknownTreatment
from api.feedback import record
from recommender.errors import UnknownPatient
from recommender.feedback import FILE, REASONS, FeedbackConflict, FeedbackLog

ROUTE = "/v1/feedback"
EVENT = {
    "event_id": "e-1",
    "patient_id": "PAT-2",
    "code": "rxnorm:36567",
    "kind": "drug",
    "outcome": "overridden",
    "reason": "will-monitor",
    "rule_ids": ["onc-1"],
    "version": "v1",
    "rank": 1,
    "occurred": "2025-01-02T08:00:00Z",
}


@pytest.fixture
def log(settings):
    return FeedbackLog(settings.workdir)


@pytest.fixture
def post(client, published):
    return lambda body, **changes: client.post(ROUTE, json=body, **changes)


def problem(response, status, type_):
    assert response.content_type == "application/problem+json"
    assert (response.status_code, response.json["status"], response.json["type"]) == (status, status, type_)
    assert response.json["request_id"] == response.headers["X-Request-ID"]
    assert "QQ47" not in response.text
    return response.json


class TestStoring:
    def test_new_then_there_already_then_another(self, post, log):
        first = post(EVENT)
        assert first.status_code == 201
        assert first.json == {"stored": 1, "already": 0, "events": [{"event_id": "e-1", "stored": True}]}
        again = post(EVENT)
        assert again.status_code == 200
        assert again.json == {"stored": 0, "already": 1, "events": [{"event_id": "e-1", "stored": False}]}
        (stored,) = log.events()
        assert (stored.channel, stored.occurred) == ("api", datetime(2025, 1, 2, 8, tzinfo=UTC))
        body = problem(post({**EVENT, "reason": "tolerated-before"}), 409, "/problems/feedback-conflict")
        assert body["parameter"] == "event_id"
        assert log.events() == [stored]

    def test_several_at_once_are_all_stored_or_none(self, post, log):
        events = [{**EVENT, "event_id": f"e-{n}"} for n in range(100)]
        assert post({"events": events[:1]}).status_code == 201
        mixed = post({"events": events[:3]})
        assert (mixed.status_code, mixed.json["stored"], mixed.json["already"]) == (201, 2, 1)
        assert [one["stored"] for one in mixed.json["events"]] == [False, True, True]
        wrong = [{**EVENT, "event_id": "new"}, {**events[1], "rank": 2}]
        body = problem(post({"events": wrong}), 409, "/problems/feedback-conflict")
        assert body["parameter"] == "events[1].event_id"
        assert log.find("new") is None
        assert post({"events": events}).json["stored"] == 97

    def test_a_repeat_without_a_time_keeps_the_first(self, post, log):
        timeless = {name: value for name, value in EVENT.items() if name != "occurred"}
        assert post(timeless).status_code == 201
        (stored,) = log.events()
        assert datetime.now(UTC) - stored.occurred < timedelta(minutes=1)
        assert post(timeless).status_code == 200
        problem(post({**timeless, "rank": 2}), 409, "/problems/feedback-conflict")
        assert log.events() == [stored]

    def test_taking_back(self, post, log):
        undone = {**EVENT, "event_id": "e-2", "outcome": "undone", "reason": "", "undoes": "e-1"}
        assert problem(post(undone), 400, "/problems/bad-parameter")["parameter"] == "undoes"
        assert post({"events": [EVENT, undone]}).status_code == 201
        assert post(undone).status_code == 200
        assert log.summary().total.events == 0

    def test_a_double_click_from_two_threads_is_one_event(self, client, published, log):
        timeless = {name: value for name, value in EVENT.items() if name != "occurred"}
        application, codes = client.application, []

        def click():
            codes.append(application.test_client().post(ROUTE, json=timeless).status_code)

        threads = [threading.Thread(target=click) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(codes) == [200] * 5 + [201]
        assert len(log.events()) == 1

    def test_what_a_newer_version_has_forgotten_can_be_repeated_and_taken_back(
        self, post, store, tiny_snapshot, with_manifest
    ):
        assert post(EVENT).status_code == 201
        newer = with_manifest(tiny_snapshot("v2"))
        ids = newer.patient_ids.copy()
        ids[list(ids).index("PAT-2")] = "someone else"
        store.publish(dataclasses.replace(newer, patient_ids=ids))
        store.activate("v2")
        assert post(EVENT).status_code == 200
        problem(post({**EVENT, "rank": 2}), 404, "/problems/unknown-patient")
        problem(post({**EVENT, "event_id": "e-9"}), 404, "/problems/unknown-patient")
        undone = {**EVENT, "event_id": "e-2", "outcome": "undone", "reason": "", "undoes": "e-1"}
        assert post(undone).status_code == 201


class TestRefused:
    @pytest.mark.parametrize(
        ("parameter", "changes"),
        [
            ("outcome", {"outcome": "QQ47"}),
            ("reason", {"reason": "QQ47"}),
            ("reason", {"reason": None}),
            ("comment", {"reason": "other"}),
            ("comment", {"comment": "QQ47" * 251}),
            ("occurred", {"occurred": "QQ47"}),
            ("occurred", {"occurred": (datetime.now(UTC) + timedelta(days=2)).isoformat()}),
            ("rank", {"rank": "QQ47"}),
            ("rank", {"rank": 2**63}),
            ("rule_ids", {"rule_ids": "QQ47"}),
            ("rule_ids", {"rule_ids": [["QQ47"]]}),
            ("patient_id", {"patient_id": {"QQ47": 1}}),
            ("channel", {"channel": "page"}),
            ("event", {"QQ47": 1}),
        ],
    )
    def test_the_field_is_named(self, post, log, parameter, changes, capsys):
        body = problem(post({**EVENT, **changes}), 400, "/problems/bad-parameter")
        assert body["parameter"] == parameter
        assert body["detail"].startswith(parameter)
        several = problem(post({"events": [EVENT, {**EVENT, **changes}]}), 400, "/problems/bad-parameter")
        assert several["parameter"] == ("events[1]" if parameter == "event" else f"events[1].{parameter}")
        assert log.events() == []
        assert "QQ47" not in capsys.readouterr().out

    @pytest.mark.parametrize("missing", ["event_id", "patient_id", "code", "kind", "outcome", "version"])
    def test_a_missing_member(self, post, missing):
        event = {name: value for name, value in EVENT.items() if name != missing}
        assert problem(post(event), 400, "/problems/bad-parameter")["parameter"] == missing

    @pytest.mark.parametrize(
        "events", [[], {}, "QQ47", None, 7, [EVENT] * 101], ids=["none", "object", "text", "null", "number", "101"]
    )
    def test_a_list_that_is_none(self, post, events):
        assert problem(post({"events": events}), 400, "/problems/bad-parameter")["parameter"] == "events"

    def test_a_list_beside_something_else(self, post):
        body = problem(post({"events": [EVENT], **EVENT}), 400, "/problems/bad-parameter")
        assert body["parameter"] == "events"

    @pytest.mark.parametrize("body", [b"", b"QQ47", b"{", b'"\xff"', b"NaN", b"[" * 5_000, b'{"a":"\\ud800"}'])
    def test_what_is_no_json(self, client, published, body):
        response = client.post(ROUTE, data=body, content_type="application/json")
        assert problem(response, 400, "/problems/bad-parameter")["parameter"] == "body"

    @pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"QQ47"'])
    def test_what_is_no_event(self, client, published, body):
        response = client.post(ROUTE, data=body, content_type="application/json")
        assert problem(response, 400, "/problems/bad-parameter")["parameter"] == "event"

    def test_unknown_patient_and_treatment(self, post, log):
        body = problem(post({**EVENT, "patient_id": "PAT-QQ47"}), 404, "/problems/unknown-patient")
        assert body["parameter"] == "patient_id"
        for changes in ({"code": "rxnorm:QQ47"}, {"kind": "procedure"}, {"code": "snomed:44054006"}):
            body = problem(post({"events": [EVENT, {**EVENT, **changes}]}), 404, "/problems/unknown-treatment")
            assert body["parameter"] == "events[1].code"
        assert log.events() == []

    def test_another_media_type_size_or_method(self, client, published):
        for type_ in ("text/plain", "application/x-www-form-urlencoded", ""):
            problem(client.post(ROUTE, data=json.dumps(EVENT), content_type=type_), 415, "about:blank")
        long = client.post(ROUTE, data=b" " * 256 * 1024 + b"{}", content_type="application/json")
        problem(long, 413, "about:blank")
        problem(client.get(ROUTE), 405, "about:blank")
        # more than a form may be, less than a list of events may be
        roomy = client.post(ROUTE, data=b" " * 100_000 + json.dumps(EVENT).encode(), content_type="application/json")
        assert roomy.status_code == 201

    def test_nothing_published(self, client, log):
        problem(client.post(ROUTE, json=EVENT), 503, "/problems/nothing-published")
        assert log.events() == []

    def test_a_log_that_cannot_be_written(self, post, settings, capsys):
        (settings.workdir / FILE).write_bytes(b"not ours")
        response = post({**EVENT, "comment": "QQ47"})
        problem(response, 503, "/problems/feedback-unavailable")
        assert response.headers["Retry-After"]
        out = capsys.readouterr().out
        assert "FeedbackUnavailable" in out and "is damaged or is no feedback log" in out
        assert "QQ47" not in out and "PAT-2" not in out


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*EVENT, "events"]), inner, max_size=5),
    max_leaves=12,
)


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON, st.dictionaries(st.sampled_from([*EVENT, "comment", "undoes"]), JSON, max_size=3), st.binary(max_size=40))
def test_whatever_is_sent_is_never_a_fault_of_ours(client, published, anything, changes, raw):
    for body in (anything, {**EVENT, **changes}, {"events": [anything, {**EVENT, **changes}]}):
        data = json.dumps(body).encode()
        status = client.post(ROUTE, data=data, content_type="application/json").status_code
        assert status in (200, 201, 400, 404, 409)
    assert client.post(ROUTE, data=raw, content_type="application/json").status_code == 400


def test_nothing_of_the_content_is_logged(post, capsys):
    post({**EVENT, "comment": "a word about QQ47"})
    post({**EVENT, "comment": "another word"})
    out = capsys.readouterr().out
    assert [json.loads(line)["route"] for line in out.splitlines()] == [ROUTE] * 2
    for word in ("QQ47", "PAT-2", "rxnorm", "e-1", "will-monitor", "word"):
        assert word not in out


def test_the_coded_reasons(client):
    body = client.get(f"{ROUTE}/reasons").json
    assert {one["code"]: one["name"] for one in body["reasons"]} == REASONS
    assert [one["code"] for one in body["reasons"] if one["needs_comment"]] == ["other"]
    assert [one["code"] for one in body["outcomes"] if one["needs_reason"]] == ["rejected", "overridden"]
    assert body["max_comment"] == 1_000


class TestRecord:
    """What the page's buttons call."""

    def click(self, client, event_id="b-1", patient_id="PAT-2", code="rxnorm:36567", outcome="accepted", **more):
        with client.application.test_request_context():
            return record(event_id, patient_id, code, "drug", outcome, version="v1", channel="page", **more)

    def test_twice_is_once(self, client, published, log):
        assert self.click(client) is True
        assert self.click(client) is False
        with pytest.raises(FeedbackConflict):
            self.click(client, outcome="rejected", reason="not-indicated")
        assert self.click(client, "b-2", outcome="undone", undoes="b-1", rank=1) is True
        assert [(one.channel, one.outcome) for one in log.events()] == [("page", "accepted"), ("page", "undone")]

    def test_errors(self, client, published, log):
        for error, changes in (
            (UnknownPatient, {"patient_id": "PAT-QQ47"}),
            (UnknownTreatment, {"code": "rxnorm:QQ47"}),
            (BadParameter, {"outcome": "rejected"}),
            (BadParameter, {"outcome": "undone", "undoes": "nothing"}),
        ):
            with pytest.raises(error) as caught:
                self.click(client, **changes)
            assert "QQ47" not in str(caught.value)
        assert log.events() == []


def test_the_documented_example(serve, client, published, log):
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    (code,) = re.findall(r"```sh\n(.*?)```", text, re.S)
    code = code.replace("http://127.0.0.1:8000", serve(client.application).url)
    said = subprocess.run(["bash", "-euc", code], capture_output=True, text=True, check=True, timeout=60).stdout
    first, again = map(json.loads, said.splitlines())
    assert (first["stored"], again["already"]) == (1, 1)
    (event,) = log.events()
    assert (event.outcome, event.reason) == ("rejected", "patient-declines")
    documented = re.findall(r"^\| `([a-z-]+)` \| [A-Z].* \|$", text, re.M)
    assert [code for code in documented if code in REASONS] == list(REASONS)


def test_processes_and_threads_share_the_file(published, settings, log):
    environment = {**os.environ, "REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(settings.workdir)}
    code = """
import json, os, sys, threading
from api import create_app
from recommender.settings import Settings
app = create_app(Settings.from_environment())  # given settings, it starts no thread that a fork would break
def send(worker, numbers):
    client = app.test_client()
    for number in numbers:
        event = {**json.loads(sys.argv[1]), "event_id": f"w-{worker}-{number}"}
        assert client.post("/v1/feedback", json=event).status_code == 201
pid = os.fork()  # as gunicorn does
threads = [threading.Thread(target=send, args=(bool(pid) * 4 + n, range(15))) for n in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
if pid:
    assert os.waitpid(pid, 0)[1] == 0
"""
    command = [sys.executable, "-W", "ignore", "-c", code, json.dumps(EVENT)]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(log.events()) == 2 * 4 * 15

"""Health, errors, request ids, headers and logs: what everyone but the clinician sees."""

import gc
import re
import threading
import time

import orjson
import pytest
import redis
from flask import abort

from api import create_app
from recommender.offer import Desk

ROUTE = "/v1/patients/PAT-2/recommendations"


@pytest.fixture
def broken(settings, store, published):
    """An application with routes that fail, as a later route of ours might."""
    app = create_app(settings, store)

    @app.get("/v1/broken/<name>")
    @app.get("/broken/<name>")
    def fails(name):
        try:
            raise KeyError(name)
        except KeyError as error:
            raise ValueError(f"could not use {name}") from error

    @app.get("/v1/teapot")
    def teapot():
        abort(418)

    return app.test_client()


def lines(captured):
    return [orjson.loads(line) for line in captured.out.splitlines()]


def test_live_asks_no_store(settings):
    client = create_app(settings, store=object()).test_client()
    assert client.get("/health/live").json == {"status": "live"}


def test_ready(client, published):
    assert client.get("/health/ready").json == {"status": "ready", "version": "v1"}


def test_not_ready_before_all_is_compiled(client, published, monkeypatch):
    """What `create_app` begins when gunicorn starts it; clinicians who come before are answered, and wait."""
    serving = client.application.extensions["rxrec"]
    go_on, warm = threading.Event(), Desk.warm
    monkeypatch.setattr(Desk, "warm", lambda desk: go_on.wait(10) and warm(desk))
    serving.warm()
    early = client.get("/health/ready")
    assert (early.status_code, early.json["type"]) == (503, "/problems/getting-ready")
    assert early.headers["Retry-After"] and client.get("/health/live").status_code == 200
    assert client.get("/v1/patients/PAT-2/recommendations").status_code == 200
    go_on.set()
    assert comes(lambda: client.get("/health/ready").status_code == 200)


def test_what_was_loaded_is_not_looked_through_at_each_collection(client, published):
    serving = client.application.extensions["rxrec"]
    gc.unfreeze()
    serving.warm()
    while serving.warming:
        time.sleep(0.01)
    assert gc.get_freeze_count() > 10_000
    gc.unfreeze()  # the tests beside this one are to find the collector as it was


def test_ready_once_a_store_that_was_empty_at_the_start_has_a_version(client, store, tiny_snapshot, with_manifest):
    serving = client.application.extensions["rxrec"]
    serving.warm()
    assert client.get("/health/ready").json["type"] == "/problems/nothing-published"
    store.publish(with_manifest(tiny_snapshot("v1")))
    store.activate("v1")
    assert comes(lambda: client.get("/health/ready").status_code == 200)


def test_a_fault_while_getting_ready_does_not_hide_the_process_for_ever(client, published, monkeypatch):
    def broken(_):
        raise ValueError("a fault of ours")

    monkeypatch.setattr(Desk, "warm", broken)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    client.application.extensions["rxrec"].warm()
    assert comes(lambda: client.get("/health/ready").status_code == 200)


def comes(true):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.01)
    return False


def test_not_ready_says_which_problem(client):
    response = client.get("/health/ready")
    assert (response.status_code, response.json["type"]) == (503, "/problems/nothing-published")
    assert response.headers["Retry-After"]


def test_not_ready_with_a_broken_version(client, published, redis_url):
    with redis.Redis.from_url(redis_url) as raw:
        raw.hset("rxrec:v1:assets", "columns", b"{}")
    response = client.get("/health/ready")
    assert (response.status_code, response.json["type"]) == (503, "/problems/store-corrupt")


def test_a_fault_of_ours_is_a_problem_with_its_request_id_and_no_words_of_the_exception(broken, capsys):
    response = broken.get("/v1/broken/PAT-QQ47")
    assert (response.status_code, response.json["type"]) == (500, "/problems/internal")
    assert response.json["request_id"] == response.headers["X-Request-ID"]
    captured = capsys.readouterr()
    failure, access = lines(captured)
    assert failure["event"] == "failure"
    assert [error["type"] for error in failure["errors"]] == ["ValueError", "KeyError"]
    assert any("test_observe.py" in at and at.endswith(" fails") for at in failure["errors"][0]["at"])
    assert failure["request_id"] == access["request_id"] == response.json["request_id"]
    assert "QQ47" not in captured.out + captured.err + response.text


def test_a_fault_of_ours_is_a_calm_page(broken, capsys):
    response = broken.get("/broken/PAT-QQ47")
    assert response.status_code == 500
    assert "Something went wrong on our side" in response.text
    assert response.headers["X-Request-ID"] in response.text
    assert "QQ47" not in response.text + capsys.readouterr().out


def test_other_statuses(broken):
    response = broken.get("/v1/teapot")
    assert (response.status_code, response.json["type"], response.json["title"]) == (418, "about:blank", "I'm a Teapot")


def test_access_log_has_templates_and_no_patient(client, published, capsys):
    client.get(ROUTE, query_string={"n": 2, "secret": "query"})
    client.get("/v1/patients/NOBODY-QQ47/recommendations")
    client.get("/v1/patients/NOBODY-QQ47")
    client.get("/NOBODY-QQ47")
    client.post("/patient", data={"patient_id": "PAT-2"})
    client.post("/patient", data={"patient_id": "NOBODY-QQ47"})
    client.open("/", method="NOBODY-QQ47")
    captured = capsys.readouterr()
    assert [(line["method"], line["route"], line["status"]) for line in lines(captured)] == [
        ("GET", "/v1/patients/<path:patient_id>/recommendations", 400),
        ("GET", "/v1/patients/<path:patient_id>/recommendations", 404),
        ("GET", "(no route)", 404),
        ("GET", "(no route)", 404),
        ("POST", "/patient", 200),
        ("POST", "/patient", 404),
        ("other", "(no route)", 405),
    ]
    assert set(lines(captured)[0]) == {"time", "event", "method", "route", "status", "ms", "request_id"}
    for private in ("PAT-2", "QQ47", "secret", "metformin", "diabetes"):
        assert private not in captured.out + captured.err


def test_every_line_is_among_those_that_are_scanned_for_patients(client, broken, published, all_that_is_logged):
    before = len(all_that_is_logged)
    client.get(ROUTE)
    broken.get("/v1/broken/x")
    told = [orjson.loads(line)["event"] for line in all_that_is_logged[before:]]
    assert told == ["request", "failure", "request"]


@pytest.mark.parametrize("fault", [OSError("no space left on device"), ValueError("I/O operation on closed file")])
def test_a_log_that_cannot_be_written_keeps_nobody_from_an_answer(client, published, monkeypatch, fault):
    class Full:
        def write(self, text):
            raise fault

    monkeypatch.setattr("sys.stdout", Full())
    assert client.get(ROUTE).status_code == 200


@pytest.mark.parametrize("given", ["abc-123", "A.b_c-9", "x" * 64])
def test_a_sane_request_id_is_kept(client, given):
    assert client.get("/health/live", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'a"b', "ü", "<script>", "{}"])
def test_any_other_request_id_is_replaced(client, given):
    made = client.get("/health/live", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", made)


@pytest.mark.parametrize("path", ["/", "/health/live", ROUTE, "/v1/none", "/none", "/static/page.css"])
def test_security_headers_on_every_answer(client, published, path):
    with client.get(path) as response:
        headers = response.headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_a_large_form_is_refused(client, published):
    response = client.post("/patient", data={"patient_id": "x" * 20_000})
    assert response.status_code == 413
    assert "xxxx" not in response.text

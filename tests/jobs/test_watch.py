"""`rxrec watch` and `rxrec events` as they are run; and (slow) what is left when each part of the road is killed."""

import contextlib
import http.client
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from jobs.__main__ import main
from recommender.observations import understood
from recommender.settings import Settings
from recommender.store import open_store
from recommender.stream import Events, Readings
from recommender.watching.telling import Told
from tests.recommender.watching import CREATININE, POTASSIUM, SPO2, place, reading, served

ROOT = Path(__file__).parents[2]


def run(settings, *words, **environment):
    there = {"RXREC_WORKDIR": str(settings.workdir), "REDIS_URL": settings.redis_url, **environment}
    return CliRunner().invoke(main, ["--json", *words], env=there)


def test_watch_once_and_what_became_of_it(settings, tiny_snapshot):
    hook = {"RXREC_WEBHOOK": "http://127.0.0.1:9/"}  # nobody listens there
    with open_store(settings) as store:
        served(store, tiny_snapshot)
    Readings(place(settings)).add([reading("a", "PAT-1", CREATININE, 4.0)])
    done = run(settings, "watch", "--once", **hook)
    assert done.exit_code == 0, done.output
    told = orjson.loads(done.stdout)
    assert (told["observations"], told["waiting"], told["dead"]) == (1, 0, 0) and told["events"] >= 1
    assert "PAT-1" not in done.output
    status = orjson.loads(run(settings, "events", "status").stdout)
    assert status["due"] == status["events"] == told["events"] and status["undelivered_events"] == []
    assert orjson.loads(run(settings, "events", "replay").stdout) == {"events": 0, "readings": 0}
    assert orjson.loads(run(settings, "events", "key", **hook).stdout)["secret"].startswith("whsec_")
    assert run(settings, "events", "key").exit_code == 1


def test_watch_needs_a_version(settings):
    assert run(settings, "watch", "--once").exit_code == 6


# --- killed ----------------------------------------------------------------------------------------------------------


class Part:
    """A process that is started anew after it was killed."""

    def __init__(self, command, environment):
        self.command, self.environment = command, {**os.environ, **environment}
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self.command, env=self.environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def post(port, rows):
    """The answer, whatever happens meanwhile: at least once."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            with contextlib.closing(connection):
                connection.request(
                    "POST",
                    "/v1/observations",
                    orjson.dumps({"observations": rows}),
                    {"Content-Type": "application/json"},
                )
                answer = connection.getresponse()
                content = answer.read()
                if answer.status in (200, 202):
                    return orjson.loads(content)
        time.sleep(0.1)
    raise AssertionError("no answer")


@pytest.mark.slow
def test_consumer_redis_and_server_are_killed_and_all_adds_up(tmp_path, tiny_snapshot):
    redis_port, port = free_port(), free_port()
    settings = Settings(workdir=tmp_path, redis_url=f"redis://127.0.0.1:{redis_port}/0")
    environment = {"RXREC_WORKDIR": str(tmp_path), "REDIS_URL": settings.redis_url, "RXREC_QUIET_MINUTES": "1"}
    (tmp_path / "redis").mkdir()
    options = ["--port", str(redis_port), "--dir", str(tmp_path / "redis"), "--save", ""]
    options += ["--appendonly", "yes", "--appendfsync", "always"]
    server = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--threads", "4", "--no-control-socket"]
    parts = [Part([shutil.which("redis-server"), *options], {})]
    try:
        time.sleep(1)
        with open_store(settings) as store:
            served(store, tiny_snapshot)
        consumer = [sys.executable, "-m", "jobs", "-q", "watch"]
        parts += [Part([*server, "api:create_app()"], environment), Part(consumer, environment)]
        begun = datetime.now(UTC) - timedelta(hours=2)
        sent, accepted = [], 0
        for batch in range(60):
            rows = []
            for n in range(20):
                number = batch * 20 + n
                code, values = [(CREATININE, (0.8, 4.0)), (POTASSIUM, (4.0, 7.0)), (SPO2, (97.0, 85.0))][number % 3]
                # out of order: every third is older than the one before
                taken = begun + timedelta(seconds=number - (5 if number % 3 == 2 else 0))
                rows.append({
                    "id": f"r{number}", "patient_id": f"PAT-{1 + number % 5}", "code": code,
                    "value": values[(number // 15) % 2], "taken": taken.isoformat(),
                })  # fmt: skip
            answer = post(port, rows)
            assert answer["accepted"] + answer["already"] == 20 and answer["set_aside"] == []
            accepted += answer["accepted"]
            sent += rows
            if batch % 10 == 5:
                killed = parts[{5: 2, 15: 0, 25: 1, 35: 2, 45: 0, 55: 2}[batch]]
                killed.kill()
                killed.start()
        readings = Readings(place(settings))
        until = time.monotonic() + 90
        while readings.counts()["waiting"] and time.monotonic() < until:
            time.sleep(0.2)
        assert readings.counts() == {"waiting": 0, "dead": 0, "patients": 5}
        assert len(readings.place.client.keys("rxrec:readings:seen:*")) == len(sent) == 1_200 >= accepted
        expected = {}
        for row in sent:
            time_ = datetime.fromisoformat(row["taken"])
            one = understood(row["id"], row["patient_id"], row["code"], row["value"], "", time_, datetime.now(UTC))
            held = expected.setdefault(row["patient_id"], {})
            if row["code"] not in held or one.order > held[row["code"]].order:
                held[row["code"]] = one
        stories = {}
        for stored in Events(readings.place).after("0", 10_000):
            stories.setdefault((stored.event.patient_id, stored.event.alarm.key), []).append(stored.event.change)
        for patient_id, newest in expected.items():
            person = readings.person(patient_id)
            assert {c: (o.id, o.value) for c, o in person.newest.items()} == {
                c: (o.id, o.value) for c, o in newest.items()
            }
            told = Told.loads(person.told)
            for (who, key), story in stories.items():  # each told once, in turn, and it ends with what is told to hold
                if who == patient_id:
                    assert all(a != b for a, b in itertools.pairwise(story)), (who, key, story)
                    assert (story[-1] == "raised") == (key in told.alarms)
        assert stories
    finally:
        for part in reversed(parts):
            part.kill()

"""The server with eight workers, of which one after another is killed -9 while all answer: the log loses nothing."""

import http.client
import os
import random
import signal
import threading
import time
import uuid
from pathlib import Path

import pytest

from recommender.access import KeyFile
from recommender.audit import AuditLog
from recommender.settings import Settings
from recommender.store import open_store
from tests.jobs.test_serve import announced, free_port, start

WORKERS, CALLERS, KILLS = 8, 8, 6
SECONDS = 20


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


@pytest.mark.slow
def test_what_was_answered_is_in_the_log_whatever_was_killed(tmp_path, tiny_snapshot, monkeypatch):
    with open_store(Settings(workdir=tmp_path)) as store:
        store.publish(tiny_snapshot("v1"))
        store.activate("v1")
    _, key = KeyFile(tmp_path / "keys.json").make("one", "clinician", 1)
    monkeypatch.setenv("RXREC_RATE_LIMIT", "1000000")
    port, answered, over = free_port(), [], threading.Event()

    def call(number: int) -> None:
        while not over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                while not over.is_set():
                    name = uuid.uuid4().hex
                    path = f"/v1/patients/PAT-{number % 6 + 1}/recommendations"
                    headers = {"Authorization": f"Bearer {key}", "X-Request-ID": name}
                    connection.request("GET", path, headers=headers)
                    answer = connection.getresponse()
                    if answer.status == 200 and answer.read():
                        answered.append(name)
            except (OSError, http.client.HTTPException):  # its worker was killed
                time.sleep(0.05)
            finally:
                connection.close()

    with start(tmp_path, "--port", str(port), "--workers", str(WORKERS)) as server:
        announced(server)
        threading.Thread(target=server.stderr.read, daemon=True).start()  # else it waits for its log to be read
        (master,) = [pid for pid in children(server.pid) if b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        callers = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
        for caller in callers:
            caller.start()
        killed = 0
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends or killed < KILLS:
            time.sleep(SECONDS / KILLS / 2)
            workers = children(master)
            if killed < KILLS and len(workers) == WORKERS and len(answered) > 100 * killed:
                os.kill(random.choice(workers), signal.SIGKILL)
                killed += 1
            assert time.monotonic() < ends + 300
        over.set()
        for caller in callers:
            caller.join()
    log = AuditLog(tmp_path, tmp_path / "site.key")
    found = log.verify()
    events = [body["event"] for _, body in log.lines() if "event" in body]
    logged = [event["entity"][1]["what"]["identifier"]["value"] for event in events]
    told = f"{len(answered)} answers, {found.lines} lines, {found.torn} torn, {killed} workers killed"
    assert len(answered) > 500 and set(answered) <= set(logged) and len(set(logged)) == len(logged), told
    assert len(logged) - len(answered) <= killed * 4  # each killed worker answers four at once

"""The server as `make run` starts it: a real process, a real port, Ctrl-C."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.__main__ import main
from recommender.access import KeyFile
from recommender.audit import AuditLog
from recommender.settings import Settings
from recommender.store import open_store


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def start(workdir: Path, *words: str) -> Iterator[subprocess.Popen]:
    """`rxrec serve` on the embedded server of `workdir`, in a process group of its own, as a terminal would give it."""
    server = subprocess.Popen(
        [sys.executable, "-m", "jobs", "--json", "--workdir", str(workdir), "serve", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name not in ("REDIS_URL", "RXREC_WORKDIR")},
        start_new_session=True,
        # a shell that runs the tests in the background has them ignore Ctrl-C, and what they start inherits that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.terminate()
        try:
            server.communicate(timeout=20)
        except (subprocess.TimeoutExpired, ValueError):  # ValueError: the test has read its output to the end
            server.kill()


def get(address: str) -> tuple[int, dict]:
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def announced(server: subprocess.Popen) -> str:
    """The address that the server prints once it answers."""
    lines = []
    for line in server.stdout:
        lines.append(line)
        if line == "}\n":
            break
    return json.loads("".join(lines))["address"]


def publish(workdir, tiny_snapshot) -> None:
    with open_store(Settings(workdir=workdir)) as store:
        store.publish(tiny_snapshot("v1"))
        store.activate("v1")


def test_it_says_that_nothing_is_published_serves_what_is_and_stops_on_ctrl_c(tmp_path, tiny_snapshot):
    port = free_port()
    with start(tmp_path, "--port", str(port)) as server:
        address = announced(server)
        assert address == f"http://127.0.0.1:{port}/"
        status, body = get(f"{address}v1/patients/PAT-2/recommendations")
        assert status == 503
        assert "nightly" in body["detail"]
        publish(tmp_path, tiny_snapshot)
        status, body = get(f"{address}v1/patients/PAT-2/recommendations?n=3")
        assert (status, body["version"]) == (200, "v1")
        # the terminal sends Ctrl-C to the whole group, and an impatient user sends it twice
        os.killpg(server.pid, signal.SIGINT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGINT)
        _, err = server.communicate(timeout=30)
    assert server.returncode == 0, err
    assert "Traceback" not in err
    with pytest.raises(OSError):  # nothing listens any more
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    with open_store(Settings(workdir=tmp_path)) as store:  # and what was published is still there
        assert store.current() == "v1"


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """`refused("--host", "::")`: why the command starts no server. In this process: there is no other to see."""

    def no_server(*_, **__):
        pytest.fail("it started a server")

    def run(*words):
        with monkeypatch.context() as patch:
            patch.delenv("REDIS_URL", raising=False)
            patch.setattr(subprocess, "Popen", no_server)
            result = CliRunner().invoke(main, ["--json", "--workdir", str(tmp_path), "serve", *words])
        assert result.exit_code == 1, result.output
        return json.loads(result.stdout)["message"]

    return run


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_it_listens_on_loopback_only(refused, host):
    assert "not a loopback address" in refused("--host", host)


def test_beyond_loopback_it_wants_sign_in_a_key_that_lives_and_tls(tmp_path, monkeypatch, refused):
    def refusal(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return refused("--host", "0.0.0.0")

    assert "not a loopback address" in refusal(RXREC_AUTH="off")
    assert "no key that lives" in refusal(RXREC_AUTH="on")
    key, _ = KeyFile(tmp_path / "keys.json").make("one", "clinician", 1)
    assert "TLS" in refusal(RXREC_BASE_URL="http://rxrec.example.org")
    KeyFile(tmp_path / "keys.json").revoke(key.id)
    assert "no key that lives" in refusal()


def test_with_sign_in_it_serves_who_has_a_key_and_nobody_else(tmp_path, tiny_snapshot):
    publish(tmp_path, tiny_snapshot)
    _, key = KeyFile(tmp_path / "keys.json").make("one", "clinician", 1)
    with start(tmp_path, "--port", str(free_port())) as server:
        address = f"{announced(server)}v1/patients/PAT-2/recommendations"
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(address, timeout=10)
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
        server.terminate()
        server.communicate(timeout=30)
    assert server.returncode == 0
    assert AuditLog(tmp_path, tmp_path / "site.key").verify().lines == 1


def test_a_port_in_use_is_an_error_in_words(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with start(tmp_path, "--port", str(port)) as server:
            out, _ = server.communicate(timeout=30)
    assert server.returncode == 1
    assert f"port {port}" in json.loads(out)["message"]

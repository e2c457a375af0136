"""What every test may ask for: a hospital of six patients and five drugs, a real redis-server, a browser, open data."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Browser, sync_playwright

from recommender import publication
from recommender.assembly import assemble
from recommender.features import build_matrix
from recommender.ingest_log import IngestLog
from recommender.matrix import PatientMatrix
from recommender.models.linear import LinearModel
from recommender.ranking import top_n
from recommender.records import RawEvents, RawPatients, Records
from recommender.safety.charts import Charts, read_charts
from recommender.settings import Settings
from recommender.snapshot import Release, Snapshot
from recommender.store_index import Index

AS_OF = pd.Timestamp("2025-01-01", tz="UTC")


# --- a hospital small enough to work out by hand ---------------------------------------------------------------------


@pytest.fixture(scope="session")
def tiny_records() -> Records:
    """Six patients, five drugs, two conditions, one allergy, one lab value; every chart is read at 2025-01-01.

    Drugs (1: still running, weight log2(2) = 1; h: ended one half-life ago, weight log2(1.5) = 0.585):

                 metformin lisinopril simvastatin warfarin amoxicillin    conditions
        PAT-1        1         1           1                              diabetes, hypertension; eGFR 55
        PAT-2        1         1                                          diabetes, hypertension
        PAT-3        1                     1                              diabetes; allergic to penicillin
        PAT-4                  1                      1                   hypertension
        PAT-5                                         h         1
        PAT-6   (no history)
    """
    long_ago, half_life_ago = pd.Timestamp("2020-01-01", tz="UTC"), AS_OF - pd.Timedelta(days=3 * 365.25)

    def events(kind: str, rows: list[tuple[str, str, str]]) -> RawEvents:
        frame = pd.DataFrame(rows, columns=["patient_id", "code", "name"])
        stops = [half_life_ago if row[:2] == ("PAT-5", "rxnorm:11289") else pd.NaT for row in rows]
        frame = frame.assign(row=range(2, len(rows) + 2), start=long_ago, stop=pd.to_datetime(stops, utc=True))
        log.count_read(f"{kind}.csv", len(rows))
        return RawEvents(f"{kind}.csv", kind, frame.assign(value=55.0) if kind == "observation" else frame)

    def each(code: str, name: str, numbers: str) -> list[tuple[str, str, str]]:
        return [(f"PAT-{number}", code, name) for number in numbers]

    log = IngestLog()
    people = pd.DataFrame(
        {
            "row": range(2, 8),
            "patient_id": [f"PAT-{number}" for number in range(1, 7)],
            "birth_date": pd.to_datetime([f"{year}-07-01" for year in (1950, 1955, 1960, 1965, 1985, 2000)], utc=True),
            "sex": ["F", "M", "F", "M", "F", "M"],
            "race": "unknown",
            "ethnicity": "unknown",
            "as_of": AS_OF,
        }
    )
    log.count_read("patients.csv", len(people))
    drugs = [
        *each("rxnorm:6809", "metformin", "123"),
        *each("rxnorm:29046", "lisinopril", "124"),
        *each("rxnorm:36567", "simvastatin", "13"),
        *each("rxnorm:11289", "warfarin", "45"),
        *each("rxnorm:723", "amoxicillin", "5"),
    ]
    conditions = [*each("snomed:44054006", "diabetes", "123"), *each("snomed:38341003", "hypertension", "124")]
    return assemble(
        RawPatients("patients.csv", people, clock="own"),
        [
            events("drug", drugs),
            events("condition", conditions),
            events("allergy", each("snomed:91936005", "allergy to penicillin", "3")),
            events("observation", each("loinc:33914-3", "eGFR", "1")),
        ],
        log,
    )


@pytest.fixture(scope="session")
def tiny_matrix(tiny_records: Records) -> PatientMatrix:
    """All five drugs may be suggested."""
    return build_matrix(tiny_records, min_target_patients=1).plain


@pytest.fixture(scope="session")
def tiny_charts(tiny_records: Records) -> Charts:
    """What the safety rules look at, with the eGFR of PAT-1."""
    return read_charts(tiny_records, {"loinc:33914-3"})


@pytest.fixture(scope="session")
def tiny_snapshot(tiny_matrix: PatientMatrix, tiny_charts: Charts) -> Callable[..., Snapshot]:
    """`tiny_snapshot(version="v1", n=5)`: the linear model's lists of the tiny hospital, ready to publish."""

    def snapshot(version: str = "v1", n: int = 5) -> Snapshot:
        model = LinearModel().fit(tiny_matrix)
        manifest = {"source": "tiny", "as_of": AS_OF.isoformat()}
        release = Release(version, manifest, tiny_matrix.index, model, tiny_charts.known)
        return Snapshot(release, tiny_matrix.patient_ids, top_n(model, tiny_matrix, n), tiny_matrix.rows, tiny_charts)

    return snapshot


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Snapshot, Callable[[], object]], Snapshot]:
    """`interrupted(snapshot, event)`: `event` happens when two of six patients have been written."""
    monkeypatch.setattr(publication, "CHUNK_PATIENTS", 2)
    monkeypatch.setattr(publication, "WRITERS", 1)

    def interrupt(snapshot: Snapshot, event: Callable[[], object]) -> Snapshot:
        send, sent = Index.send, []

        def send_or_stop(index: Index, *chunk: Any) -> None:
            sent.append(chunk)
            if len(sent) == 2:  # the first two patients are there
                event()
            send(index, *chunk)

        monkeypatch.setattr(Index, "send", send_or_stop)
        return snapshot

    return interrupt


# --- a real redis-server ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RedisServer:
    """A running redis-server on a loopback port; `folder` holds its log (`redis.log`)."""

    process: subprocess.Popen[bytes]
    url: str
    folder: Path


@contextlib.contextmanager
def running_redis(*options: str, sentinel: Sequence[str] = ()) -> Iterator[RedisServer]:
    """`sentinel`: options of a Sentinel, which keeps a configuration file of its own."""
    executable = shutil.which("redis-server")
    if executable is None:
        pytest.fail("redis-server is not on PATH: install it (Debian: apt install redis-server)")
    with tempfile.TemporaryDirectory(prefix="rxrec-test-redis-") as folder:
        for _ in range(5):  # another process may take the free port first
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            command = [executable, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
            if sentinel:
                (Path(folder) / "sentinel.conf").touch()
                command = [executable, f"{folder}/sentinel.conf", "--sentinel", *command[1:], *sentinel]
            else:
                command += ["--save", ""]
            process = subprocess.Popen([*command, "--logfile", f"{folder}/redis.log", *options])
            try:
                if _answers(port, process):
                    yield RedisServer(process, f"redis://127.0.0.1:{port}/0", Path(folder))
                    return
            finally:
                process.kill()
                process.wait()
        pytest.fail("redis-server did not start: " + (Path(folder) / "redis.log").read_text())


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    for _ in range(500):
        if process.poll() is not None:
            return False
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(100).startswith((b"+PONG", b"-NOAUTH"))
        time.sleep(0.02)
    return False


@pytest.fixture
def start_redis() -> Iterator[Callable[..., RedisServer]]:
    """`start_redis("--maxmemory", "2mb")`: a server of the test's own, to fill up, kill or lock."""
    with contextlib.ExitStack() as stack:
        yield lambda *options, **how: stack.enter_context(running_redis(*options, **how))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for all tests of a worker. Fixtures that outlive a test use another database than `redis_url`
    (`redis_server.url[:-1] + "1"`)."""
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of an empty database."""
    port = int(redis_server.url.removesuffix("/0").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"FLUSHDB\r\n")
        assert connection.recv(100) == b"+OK\r\n"
    return redis_server.url


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    """An installation of the test's own, on an empty database of a real server."""
    return Settings(workdir=tmp_path, redis_url=redis_url)


# --- a real browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    # Chromium without its window, where it is there: a page takes a quarter of the processor time
    executable = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if executable is None:
        pytest.fail("no Chromium is on PATH: install it (Debian: apt install chromium-headless-shell)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


# --- the open data sets ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the open data sets: `$RXREC_TEST_DATA` or `../shared/data` beside the project."""
    folder = Path(os.environ.get("RXREC_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if folder.is_dir():
        return folder
    message = f"no open data sets in {folder}: set RXREC_TEST_DATA to their folder"
    if os.environ.get("RXREC_REQUIRE_REAL_DATA") == "1":
        pytest.fail(message)
    pytest.skip(message)

"""What the API's tests share: a published tiny hospital, a ward with awkward names, gunicorn, and a real Chromium."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect
from prometheus_client import generate_latest
from scipy import sparse
from werkzeug.serving import make_server

from api import create_app
from api.metrics import OWN
from recommender.matrix import Block, Column, ColumnIndex, PatientMatrix
from recommender.models.base import Model
from recommender.models.linear import LinearModel
from recommender.ranking import top_n
from recommender.records import THERAPIES
from recommender.safety.charts import Charts, Known
from recommender.settings import Settings
from recommender.snapshot import Release, Snapshot
from recommender.store import Store, open_store

expect.set_options(timeout=20_000)  # as long as for all else: a machine that runs other tests beside is slow
ROOT = Path(__file__).parents[2]
STATEMENT = "No suggestion was checked for interactions, allergies or contraindications."
MANIFEST: dict[str, Any] = {
    "run_id": "v1",
    "created": "2025-01-02T02:10:00+00:00",
    "source": "tiny",
    "synthetic": False,
    "as_of": "2025-01-01T00:00:00+00:00",
    "counts": {"patients": 6},
    "safety": {"checked": False, "statement": STATEMENT},
    "model": {"name": "linear"},
}
QUALITY: dict[str, Any] = {
    "metric": "NDCG@10",
    "protocol": "0 h into each visit",
    "patients": 570,
    "value": 0.47,
    "low": 0.45,
    "high": 0.49,
    "baseline": {"model": "popularity", "value": 0.2, "low": 0.19, "high": 0.21},
    "groups": [
        {"attribute": "sex", "group": "female", "patients": 300, "value": 0.4, "low": 0.35, "high": 0.45}
        | {"gap": 0.1, "gap_low": 0.04, "gap_high": 0.16},
        {"attribute": "sex", "group": "male", "patients": 270, "value": 0.5, "low": 0.45, "high": 0.55}
        | {"gap": None, "gap_low": None, "gap_high": None},
    ],
}
CHANCES: dict[str, Any] = {
    "depth": 10,
    "days": 30,
    "method": "isotonic",
    "ece": 0.0015,
    "curve": {"scores": [0.0, 0.5], "probabilities": [0.0, 0.4]},
}
LONG_NAME = (
    "24 HR metoprolol succinate 200 MG Extended Release Oral Tablet with " + "a-name-that-goes-on".replace("-", "") * 4
)
EVIL_NAME = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\"'&"


# of the tiny hospital and of the ward: ids, names of drugs and conditions, and what tests look patients up by
PRIVATE = (
    "PAT-", "7f3c0", "EMPTY", "LONG", "QQ47", "metformin", "simvastatin", "amoxicillin", "warfarin", "diabetes",
    "treatment ", "condition ", "allergen ", "hacked", "Test clinician", "rxk_", "rxt_",
)  # fmt: skip


def tell_nothing(text: str) -> None:
    """Fails where logs or metrics name a patient, or anything of a chart, or a credential."""
    for line in text.splitlines():
        # thirty-two random hexadecimal digits sometimes hold what is looked for
        told = re.sub(r'"request_id":"[0-9a-f]{32}"', "", line)
        found = [private for private in PRIVATE if private in told]
        assert not found, f"{found} in {line[:300]}"


@pytest.fixture(scope="session", autouse=True)
def all_that_is_logged() -> Iterator[list[str]]:
    """Every line that any application of these tests logs in this process; scanned when all are done."""
    lines: list[str] = []
    observe = import_module("api.observe")  # `api` itself names the function so
    printed = observe.printed
    observe.printed = lambda line: (lines.append(line), printed(line))[1]
    yield lines
    tell_nothing("".join(lines))
    tell_nothing(generate_latest(OWN).decode())


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings) as opened:
        yield opened


@pytest.fixture(scope="session")
def with_manifest() -> Callable[..., Snapshot]:
    """`with_manifest(snapshot, synthetic=True)`: the snapshot with a whole manifest, changed where wished."""

    def changed(snapshot: Snapshot, **changes: Any) -> Snapshot:
        manifest = {**MANIFEST, "run_id": snapshot.release.version, **changes}
        return dataclasses.replace(snapshot, release=dataclasses.replace(snapshot.release, manifest=manifest))

    return changed


@pytest.fixture
def published(store: Store, tiny_snapshot: Callable[..., Snapshot], with_manifest: Callable[..., Snapshot]) -> Snapshot:
    """The tiny hospital, being served as v1."""
    snapshot = with_manifest(tiny_snapshot("v1"))
    store.publish(snapshot)
    store.activate("v1")
    return snapshot


@pytest.fixture
def client(settings: Settings, store: Store) -> FlaskClient:
    """A client of the application on the test's own store, in which nothing is published yet."""
    return create_app(settings, store).test_client()


# --- a ward: enough columns for a full page, and names that a page must survive -------------------------------------


@pytest.fixture(scope="session")
def ward(with_manifest: Callable[..., Snapshot]) -> Callable[..., Snapshot]:
    """`ward(version, model)`: 60 patients, 60 treatments, 40 conditions; patient EMPTY has had every treatment.

    Treatment 0 and condition 0 are named to break out of HTML, treatment 1 is too long for a line. Patient LONG has
    that condition and that treatment, and is suggested treatment 0.
    """
    rng = np.random.default_rng(7)
    kinds = ["drug"] * 50 + ["procedure"] * 4 + ["care_plan"] * 3 + ["care_resource"] * 3
    names = [EVIL_NAME, LONG_NAME, *(f"treatment {number}" for number in range(2, 60))]
    columns = [
        *(
            Column(f"rx:{i}", kind, name, f"class {i % 9}")
            for i, (kind, name) in enumerate(zip(kinds, names, strict=True))
        ),
        Column("snomed:0", "condition", EVIL_NAME, ""),
        *(Column(f"snomed:{i}", "condition", f"condition {i} (disorder)", "") for i in range(1, 40)),
        *(Column(f"allergy:{i}", "allergy", f"allergen {i}", "") for i in range(3)),
        *(Column(f"age:{lower}-{lower + 9}", "age", f"age {lower}-{lower + 9}", "") for lower in (20, 40, 60)),
        *(Column(f"sex:{sex}", "sex", name, "") for sex, name in (("F", "female"), ("M", "male"))),
        Column("baseline", "baseline", "how common it is overall", ""),
    ]
    blocks = [Block("treatments", 0, 60), Block("conditions", 60, 100), Block("allergies", 100, 103)]
    blocks += [Block("demographics", 103, 108), Block("baseline", 108, 109)]
    dense = (rng.random((60, 109)) < 0.2) * np.float32(1)
    dense[:, :2] = rng.random((60, 2)) < 0.5  # the awkward names are popular, so they are suggested
    dense[:, 103:] = 0
    dense[np.arange(60), 103 + rng.integers(0, 3, 60)] = 1
    dense[np.arange(60), 106 + rng.integers(0, 2, 60)] = 1
    dense[:, 108] = 1
    dense[0, :60] = 1  # EMPTY
    dense[1, :2], dense[1, 60:75] = (0, 1), 1  # LONG
    dense[2, :2] = 0
    rows = sparse.csr_matrix(dense, shape=(60, 109), dtype=np.float32)
    index = ColumnIndex(tuple(columns), tuple(blocks), np.arange(60, dtype=np.int32))
    ids = np.array(
        ["EMPTY", "LONG", *(f"7f3c{number:04d}-0000-4000-8000-00000000{number:04d}" for number in range(58))]
    )
    matrix = PatientMatrix(rows, index, ids.astype(object))

    def snapshot(version: str = "ward-1", model: Model | None = None, **changes: Any) -> Snapshot:
        fitted = (model or LinearModel()).fit(matrix)
        examples = {"synthetic": True, "example_patients": [str(i) for i in ids[2:8]], "counts": {"patients": 60}}
        top = top_n(fitted, matrix, 50, of=THERAPIES, per_kind=20)
        release = Release(version, {}, index, fitted, Known(()))
        made = Snapshot(release, ids, top, rows, Charts.without_facts(len(ids)))
        return with_manifest(made, **{**examples, **changes})

    return snapshot


# --- gunicorn and Chromium --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Server:
    """A running server; `log` is everything that a gunicorn has written."""

    url: str
    log: Path | None = None


@contextlib.contextmanager
def gunicorn_on(redis_url: str, folder: Path) -> Iterator[Server]:
    environment: Mapping[str, str] = {**os.environ, "REDIS_URL": redis_url, "RXREC_WORKDIR": str(folder)}
    log = folder / "gunicorn.log"
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as output:
        command = [sys.executable, "-m", "gunicorn", "--workers", "1", "--threads", "4", "--no-control-socket"]
        command += ["--worker-class", "api.worker.Worker", "--logger-class", "api.worker.Log"]
        command += ["--bind", f"fd://{listening.fileno()}", "api:create_app()"]
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, pass_fds=[listening.fileno()], stdout=output, stderr=output
        )
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            # the socket listens already, so this waits for the worker rather than fails
            with urllib.request.urlopen(f"{url}/health/live", timeout=60) as answer:
                assert answer.status == 200
            yield Server(url, log)
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(scope="session")
def ward_server(redis_server: Any, ward: Callable[..., Snapshot], tmp_path_factory: Any) -> Iterator[Server]:
    """gunicorn on the published ward, for all browser tests of a worker."""
    url = redis_server.url[:-1] + "1"
    folder = tmp_path_factory.mktemp("ward")
    with open_store(Settings(workdir=folder, redis_url=url)) as store:
        store.publish(ward("ward-1"))
        store.activate("ward-1")
    with gunicorn_on(url, folder) as server:
        yield server
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=60) as answer:
            metrics = answer.read().decode()
    said = server.log.read_text() if server.log else ""
    assert "rxrec_requests_total" in metrics and '"event":"request"' in said
    tell_nothing(said)  # of the whole run of the browser
    tell_nothing(metrics)


@contextlib.contextmanager
def served(app: Flask) -> Iterator[Server]:
    """`app` on a port, in a thread of this process: a gunicorn takes seconds to start."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Server(f"http://127.0.0.1:{server.port}")
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Flask], Server]]:
    """`serve(app)`: a server of the test's own."""
    with contextlib.ExitStack() as stack:
        yield lambda app: stack.enter_context(served(app))


@pytest.fixture(scope="session")
def clinic_server(
    redis_server: Any,
    tiny_snapshot: Callable[..., Snapshot],
    with_manifest: Callable[..., Snapshot],
    tmp_path_factory: Any,
) -> Iterator[Server]:
    """The tiny hospital, whose drugs are real ones, being served by a thread; read last night.

    PAT-3 is allergic to penicillin, so amoxicillin is withheld. PAT-5 took amoxicillin and is suggested metformin.
    """
    folder = tmp_path_factory.mktemp("clinic")
    settings = Settings(workdir=folder, redis_url=redis_server.url[:-1] + "3")
    night = datetime.now(UTC) - timedelta(hours=6)
    with open_store(settings) as store:
        store.publish(
            with_manifest(tiny_snapshot("clinic-1"), created=night.isoformat(), quality=QUALITY, chances=CHANCES)
        )
        store.activate("clinic-1")
        with served(create_app(settings, store)) as server:
            yield server


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """`tab(server, width=1280, dark=False, language="en-GB")`: a page at the start; complains about the console and
    foreign requests."""
    contexts: list[BrowserContext] = []
    troubles: list[str] = []

    def opened(
        server: Server,
        width: int = 1280,
        dark: bool = False,
        forgiven: Sequence[int | str] = (),
        language: str = "en-GB",
        **more: Any,
    ) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            base_url=server.url,
            locale=language,
            **more,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)

        def heard(message: ConsoleMessage) -> None:
            # the browser itself notes a page whose status is an error, which a state of ours is meant to have
            if message.type in ("error", "warning") and not any(str(known) in message.text for known in forgiven):
                troubles.append(message.text)

        page.on("console", heard)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(server.url + "/") else troubles.append(r.url))
        page.goto("/")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not troubles


@pytest.fixture
def run(
    serve: Callable[[Flask], Server], client: FlaskClient, published: Snapshot, tmp_path: Path
) -> Callable[..., str]:
    """`run("bash", "-euc", code)`: what an example of the documentation prints, run against the tiny hospital."""
    server = serve(client.application)

    def run(*command: str) -> str:
        *start, code = command
        code = code.replace("http://127.0.0.1:8000", server.url)
        done = subprocess.run([*start, code], capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path)
        return done.stdout

    return run

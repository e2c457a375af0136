"""docs/monitoring-readings.md does what it says: its examples run against a server, its numbers are the real ones."""

import base64
import contextlib
import csv
import json
import re
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

from api.observation_types import MOST_OBSERVATIONS, SetAsideReason
from recommender.loaders.measurements import measurements
from recommender.observations import KEPT_DAYS
from recommender.stream import Readings
from recommender.stream.readings import MOST_EVENTS, MOST_WAITING
from recommender.watching.telling import MOST_AN_HOUR
from recommender.watching.webhook import DELAYS, signature
from tests.recommender.watching import place, watcher

TEXT = (Path(__file__).parents[2] / "docs" / "monitoring-readings.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.S)


@pytest.fixture
def run(serve, client, store, tiny_snapshot, with_manifest):
    night = (datetime.now(UTC) - timedelta(hours=6)).isoformat()
    store.publish(with_manifest(tiny_snapshot("v1"), created=night, as_of=night))
    store.activate("v1")
    server = serve(client.application)
    now = datetime.now(UTC).isoformat(timespec="seconds")

    def run(code):
        code = code.replace("http://127.0.0.1:8000", server.url).replace("NOW", now).replace("wait=20", "wait=1")
        return subprocess.run(["bash", "-euc", code], capture_output=True, text=True, check=True, timeout=60).stdout

    return run


def test_examples(run, settings, store):
    send, fhir, events, issues = blocks("bash")
    assert json.loads(run(send)) == json.loads(blocks("json")[0])
    assert json.loads(run(fhir)) == {"accepted": 1, "already": 0, "set_aside": []}
    watcher(store, Readings(place(settings))).turn(block_ms=None)
    told = [json.loads(line.removeprefix("data: ")) for line in run(events).splitlines() if line.startswith("data: ")]
    assert {("PAT-1", "therapy", "egfr-metformin-30"), ("PAT-2", "threshold", "potassium-6.5")} <= {
        (one["patient_id"], one["kind"], one["rule"]) for one in told
    }
    bundle = json.loads(run(issues))
    assert {one["resource"]["resourceType"] for one in bundle["entry"]} == {"DetectedIssue"} and bundle["total"] >= 1


def test_the_receivers_check_knows_ours_from_others():
    (python,) = blocks("python")
    there: dict[str, object] = {}
    exec(python, there)
    key, at = b"k" * 32, int(time.time())
    secret = "whsec_" + base64.b64encode(key).decode()
    headers = {"webhook-id": "1-0", "webhook-timestamp": str(at), "webhook-signature": signature(key, "1-0", at, b"{}")}
    check = there["is_ours"]
    assert check(secret, headers, b"{}") and not check(secret, headers, b"{ }")
    assert not check(secret, {**headers, "webhook-timestamp": str(at - 400)}, b"{}")


def test_numbers_and_tables():
    table = TEXT.partition("| `reason` |")[2].partition("FHIR R4 is")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.M)) == set(get_args(SetAsideReason))
    assert f"not one of the {len(measurements())} measurements" in TEXT
    assert f"Up to {MOST_OBSERVATIONS:,} at once" in TEXT
    assert f"counts for {KEPT_DAYS} days" in TEXT and f"at most {MOST_AN_HOUR} events" in TEXT
    assert f"The last {MOST_EVENTS:,} are kept" in TEXT and MOST_WAITING == 1_000_000
    assert DELAYS == (1, 5, 30, 120, 600, 3_600, 21_600)
    with contextlib.closing((Path(__file__).parents[2] / "data/monitoring/thresholds.csv").open()) as file:
        assert all(row["source"] for row in csv.DictReader(file))

"""/metrics: what was asked is counted by route template, of all workers together, and nothing of a patient is in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api import create_app
from recommender.settings import Settings
from recommender.store import open_store

ROOT = Path(__file__).parents[2]
FILES = ROOT / "docs" / "monitoring"


def samples(text: str) -> dict[tuple, float]:
    families = text_string_to_metric_families(text)
    return {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}


def asked(client) -> dict[tuple, float]:
    answer = client.get("/metrics")
    assert (answer.status_code, answer.mimetype) == (200, "text/plain")
    return samples(answer.text)


def test_requests_are_counted_by_template_and_status(hospital):
    route = "/v1/patients/<path:patient_id>/recommendations"
    counter = ("rxrec_requests_total", ("method", "GET"), ("route", route))
    known = next(iter(hospital.entries))
    before = asked(hospital.client)
    for name in (known, known, "nobody"):
        hospital.client.get(f"/v1/patients/{name}/recommendations")
    hospital.client.get("/no/such/SECRET-77")
    after = asked(hospital.client)

    def more(*labels) -> float:
        key = (counter[0], *sorted([*counter[1:], *labels]))
        return after.get(key, 0) - before.get(key, 0)

    assert more(("status", "200")) == 2
    assert more(("status", "404")) == 1
    count = ("rxrec_request_seconds_count", ("route", route))
    assert after[count] - before.get(count, 0) == 3


def routes_of(hospital) -> set[str]:
    text = hospital.client.get("/metrics").text
    return {dict(key[1:])["route"] for key in samples(text) if key[0] == "rxrec_requests_total"}


def test_nothing_of_a_patient_is_told(hospital):
    known = next(iter(hospital.entries))
    # the counters are of the whole process, in which other tests have applications with routes of their own
    before = routes_of(hospital)
    hospital.client.get(f"/v1/patients/{known}/recommendations?n=3&kind=drug")
    hospital.client.get(f"/v1/patients/{known}/nothing-here")
    hospital.client.open("/v1/openapi", method="BREW-SECRET-77")
    text = hospital.client.get("/metrics").text
    assert known not in text
    assert "SECRET-77" not in text
    rules = {rule.rule for rule in hospital.client.application.url_map.iter_rules()} | {"(no route)"}
    told = routes_of(hospital)
    assert told - before <= rules
    assert {"/v1/patients/<path:patient_id>/recommendations", "(no route)"} <= told


def test_the_version_being_served_is_told(hospital):
    manifest, found = hospital.desk.release.manifest, asked(hospital.client)
    info = ("rxrec_version_info", ("model", manifest["model"]["name"]), ("version", hospital.desk.release.version))
    assert found[info] == 1
    assert found["rxrec_up",] == 1
    assert found["rxrec_version_quality",] == pytest.approx(manifest["quality"]["value"])
    assert found["rxrec_version_patients",] == 400
    assert found["rxrec_version_suggestable",] == manifest["counts"]["suggestable"]


def test_a_store_in_which_nothing_is_published_is_told_as_down(settings):
    with open_store(settings) as store:
        found = asked(create_app(settings, store).test_client())
    assert found["rxrec_up",] == 0
    assert ("rxrec_version_patients",) not in found


WORKER = """
import sys
from pathlib import Path
from api import create_app
from recommender.settings import Settings
from recommender.store import open_store
settings = Settings(workdir=Path(sys.argv[1]), redis_url=sys.argv[2])
with open_store(settings) as store:
    client = create_app(settings, store).test_client()
    for _ in range(int(sys.argv[3])):
        client.get("/health/live")
    print(client.get("/metrics").text)
"""


def test_workers_are_counted_together(settings: Settings, tmp_path):
    """Two processes one after the other: the second tells of both."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    for times, together in ((2, 2), (3, 5)):
        command = [sys.executable, "-c", WORKER, str(settings.workdir), settings.redis_url, str(times)]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True)
        found = samples(done.stdout.decode())
        key = ("rxrec_requests_total", ("method", "GET"), ("route", "/health/live"), ("status", "200"))
        assert found[key] == together


def test_rules_and_dashboard_ask_for_nothing_that_is_not_told(hospital, tmp_path):
    """Every rxrec_ name in them is one of /metrics or of drift.prom."""
    hospital.asked("report", "drift", "--out", tmp_path / "drift")
    text = hospital.client.get("/metrics").text + (tmp_path / "drift" / "drift.prom").read_text()
    told = {key[0] for key in samples(text)}
    board = json.loads((FILES / "grafana-dashboard.json").read_text())
    wanted = set(re.findall(r"\brxrec_\w+", " ".join(re.findall(r"expr: (.*)", (FILES / "rules.yml").read_text()))))
    wanted |= {n for p in board["panels"] for t in p["targets"] for n in re.findall(r"\brxrec_\w+", t["expr"])}
    assert len(wanted) > 8
    assert wanted <= told

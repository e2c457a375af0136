"""A page that is open is told what a reading has changed for its patient, in a real browser."""

import urllib.request
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from playwright.sync_api import expect

from api import create_app
from recommender.settings import Settings
from recommender.store import open_store
from recommender.stream import Readings
from tests.api.browsing import search, sideways, violations
from tests.api.conftest import served
from tests.recommender.watching import CREATININE, place, watcher


@pytest.fixture
def monitored(redis_server, tiny_snapshot, with_manifest, tmp_path):
    """(server, deal): the tiny hospital with a consumer at work; `deal()` lets it deal with what waits."""
    settings = Settings(workdir=tmp_path, redis_url=redis_server.url[:-1] + "5")
    night = (datetime.now(UTC) - timedelta(hours=6)).isoformat()
    with open_store(settings) as store:
        store.publish(with_manifest(tiny_snapshot("events-1"), created=night, as_of=night))
        store.activate("events-1")
        one = watcher(store, Readings(place(settings)))
        one.turn(block_ms=None)
        app = create_app(settings, store)
        app.config["LONGEST_HOLD"] = 2  # seconds: nothing is held when the test ends
        with served(app) as server:
            yield server, lambda: one.turn(block_ms=None)


def test_a_page_that_is_open_is_told(tab, monitored):
    server, deal = monitored
    page = tab(server)
    search(page, "PAT-1")
    expect(page.locator("#news")).to_be_hidden()
    body = {"id": "lab-1", "patient_id": "PAT-1", "code": CREATININE, "value": 400, "unit": "umol/L"}
    body["taken"] = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    request = urllib.request.Request(
        f"{server.url}/v1/observations", orjson.dumps(body), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 202
    deal()
    news = page.locator("#news")
    expect(news).to_be_visible()
    expect(news.locator("li")).to_contain_text(["Contraindicated: New warning about a current drug"])
    expect(news.locator("li").first).to_contain_text("metformin: eGFR below 30")
    assert violations(page) == [] and sideways(page) == {}
    with page.expect_navigation():
        page.get_by_role("button", name="Show the list as it is now").click()
    assert "PAT-1" not in page.url
    expect(page.locator(".chart")).to_contain_text("creatinine 4.52 mg/dL, today")
    expect(page.locator("#news")).to_be_hidden()  # it was told before this page was opened

"""What GET /v1/model and GET /v1/versions say, of a night with all that is measured and of one with nothing."""

import dataclasses

import pytest

FIGURE = {"value": 0.3, "low": 0.25, "high": 0.35}
GAP = {"gap": 0.02, "gap_low": -0.01, "gap_high": 0.05}
QUALITY = {
    "metric": "NDCG@10", "protocol": "24 h into each visit", "patients": 863, **FIGURE,
    "baseline": {"model": "popularity", "value": 0.2, "low": 0.18, "high": 0.22},
    "groups": [
        {"attribute": "sex", "group": "female", "patients": 400, **FIGURE, "gap": None},
        {"attribute": "sex", "group": "male", "patients": 463, **FIGURE, **GAP},
    ],
}  # fmt: skip
SAFETY = {
    "checked": True, "drugs": 100, "not_checked": 2, "by_severity": {"contraindicated": 3, "serious": 5, "caution": 7},
    "rules": {
        "version": "abc", "counts": {"interactions": 4, "labs": 2, "pairs": 99},
        "reviewed": ["2026-01-01", "2026-02-01"],
    },
}  # fmt: skip


@pytest.fixture
def publish(store, tiny_snapshot, with_manifest):
    def publish(version, **manifest):
        store.publish(with_manifest(tiny_snapshot(version), **manifest))
        store.activate(version)

    return publish


def test_what_is_served(client, publish):
    publish("v1", quality=QUALITY, safety=SAFETY, chosen={"why": "it was the best"}, gate={"compared_with": "v0"})
    response = client.get("/v1/model")
    body = response.json
    assert (body["version"], body["model"], body["chosen"]) == ("v1", "linear", "it was the best")
    assert (body["data_as_of"], body["compared_with"]) == ("2025-01-01T00:00:00+00:00", "v0")
    assert body["quality"]["figure"] == FIGURE
    assert body["quality"]["baseline_figure"] == {"value": 0.2, "low": 0.18, "high": 0.22}
    female, male = body["quality"]["groups"]
    assert (female["gap"], male["gap"]) == (None, {"value": 0.02, "low": -0.01, "high": 0.05})
    assert body["screened"] == {
        "rules_version": "abc", "rules_reviewed": "2026-02-01", "rules": 6, "drugs": 100, "withheld": 3, "serious": 5,
        "caution": 7, "not_checked": 2,
    }  # fmt: skip
    assert body["limits"]
    again = client.get("/v1/model", headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304


def test_what_was_not_measured_is_said(client, publish):
    publish("v1", quality={"not_assessed": "too few patients"})
    body = client.get("/v1/model").json
    assert (body["quality"], body["not_assessed"], body["screened"]) == (None, "too few patients", None)


def test_versions(client, publish):
    publish("v1")
    publish("v2")
    found = client.get("/v1/versions").json["versions"]  # of 6 patients: too few to be told
    assert [(one["version"], one["served"], one["patients"]) for one in found] == [("v2", True, 0), ("v1", False, 0)]


def test_nothing_published(client):
    assert client.get("/v1/model").status_code == 503
    assert client.get("/v1/versions").json == {"versions": []}


def test_a_manifest_of_before_still_answers(client, store, tiny_snapshot):
    snapshot = tiny_snapshot("v1")
    store.publish(dataclasses.replace(snapshot, release=dataclasses.replace(snapshot.release, manifest={})))
    store.activate("v1")
    body = client.get("/v1/model").json
    assert (body["version"], body["quality"], body["counts"]) == ("v1", None, {})

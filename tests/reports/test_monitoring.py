"""Drift and history: indices by the formula over counts of our own, new codes, missingness, acceptance, all nights."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from recommender.feedback import FeedbackEvent
from recommender.reports.cells import about
from recommender.reports.drift import BLOCKS, Seen, binned, drift_of, seen
from recommender.reports.history import history
from recommender.reports.monitoring_page import as_prometheus


@pytest.fixture(scope="session")
def two(hospital):
    """Both versions: release, what was seen, and entries as a second path has them."""
    releases = [hospital.store.release(one.version) for one in hospital.store.versions()]
    return [(release, seen(release, hospital.store.entries(release))) for release in releases]


@pytest.fixture(scope="session")
def drift(two):
    (release, now), (earlier, then) = two
    return drift_of(release, now, earlier, then)


def index_of(now: dict, then: dict, absent: int = 0) -> float:
    """The formula itself, over counts; shares are 1e-4 at least."""
    codes = sorted({*now, *then})
    counts = [[side.get(code, absent) for code in codes] for side in (now, then)]
    shares = [[max(count / sum(side), 1e-4) for count in side] for side in counts]
    return sum((p - q) * math.log(p / q) for p, q in zip(*shares, strict=True))


def common(counts: dict) -> dict:
    """Rare codes together, as "others"."""
    told = {code: count for code, count in counts.items() if count > 10}
    return {**told, "others": sum(counts.values()) - sum(told.values())}


def test_what_is_seen_is_what_stands_in_the_entries(hospital, two):
    """Counted anew from each entry."""
    release, now = two[0]
    columns = release.index.columns
    entries = hospital.entries.values()
    assert now.patients == len(entries)
    assert now.sexes == Counter(entry.chart.sex for entry in entries)
    having = Counter(
        f"{columns[ix].kind} {columns[ix].code}"
        for entry in entries
        for ix in entry.row_columns.tolist()
        if columns[ix].kind in ("drug", "procedure", "care_plan", "care_resource", "condition", "allergy")
    )
    assert {code: n for name in BLOCKS for code, n in now.codes[name].items()} == having
    without = sum(not any(columns[ix].kind == "condition" for ix in entry.row_columns) for entry in entries)
    assert now.missing["conditions"] == without
    therapies = ("drug", "procedure", "care_plan")
    best = [
        next(s for ix, s in zip(e.columns, e.scores, strict=True) if columns[ix].kind in therapies) for e in entries
    ]
    assert sorted(now.best.tolist()) == sorted(float(score) for score in best)


def test_indices_are_those_of_the_formula(two, drift):
    (_, now), (_, then) = two
    found = {one.name: one for one in drift.indices}
    for name in BLOCKS:
        assert found[name].index == round(index_of(common(now.codes[name]), common(then.codes[name]), 10), 2)
    assert found["sex"].index == pytest.approx(index_of(now.sexes, then.sexes), abs=0.006)
    assert found["age"].index == pytest.approx(index_of(now.ages, then.ages), abs=0.02)  # bands of a few count together
    edges = np.quantile(then.best, np.arange(1, 10) / 10)
    counts = [Counter(str(sum(edge <= value for edge in edges)) for value in side.best) for side in (now, then)]
    assert found["score of the first suggestion"].index == pytest.approx(index_of(*counts), abs=0.006)


def test_two_samples_of_one_hospital_have_not_drifted(drift):
    assert drift.changed == ()
    assert all(one.index >= 0 for one in drift.indices)


def shifted(side: Seen, **changes) -> Seen:
    return dataclasses.replace(side, **changes)


def test_what_has_changed_is_found(two):
    (release, now), (earlier, then) = two
    men = shifted(now, sexes={"M": 380, "F": 20})
    assert "sex" in drift_of(release, men, earlier, then).changed
    lower = shifted(now, best=now.best * 0.2)
    assert "score of the first suggestion" in drift_of(release, lower, earlier, then).changed
    renamed = {code.replace("drug", "drug x"): count for code, count in now.codes["treatments"].items()}
    codes = {**now.codes, "treatments": renamed}
    told = drift_of(release, shifted(now, codes=codes), earlier, then)
    assert "treatments" in told.changed
    assert told.new_codes["treatments"] > 100
    assert [one.now.number for one in told.new_named] == sorted(
        (one.now.number for one in told.new_named), reverse=True
    )
    assert len(told.new_named) == 5
    assert told.new_named[0].now == told.with_new
    most = max(count for code, count in renamed.items() if code not in then.codes["treatments"])
    assert told.with_new == about(most, 400)


def test_half_of_the_conditions_missing_is_found_though_their_shares_are_the_same(hospital, two):
    """Every second condition of each chart is gone: the mix of codes stays, and only how many a patient has tells."""
    (release, now), _ = two
    conditions = {ix for ix, column in enumerate(release.index.columns) if column.kind == "condition"}
    of_each = [sum(ix in conditions for ix in entry.row_columns.tolist()) for entry in hospital.entries.values()]
    edges = (1, 2, 3, 5, 9, 17)
    assert now.sizes["conditions"] == Counter(str(sum(count >= edge for edge in edges)) for count in of_each)
    halved = Counter(str(sum(count // 2 >= edge for edge in edges)) for count in of_each)
    told = drift_of(release, shifted(now, sizes={**now.sizes, "conditions": halved}), release, now)
    assert told.changed == ("conditions a patient",)


def test_missing_and_moved_shares_are_told_in_steps(two, drift):
    (release, now), (_, then) = two
    by_words = {one.words: one for one in drift.missing}
    assert by_words["no condition"].now == about(now.missing["conditions"], now.patients)
    assert by_words["no measurement that rules look at"].before == about(then.missing["measured"], then.patients)
    assert drift.prevalence
    assert not any(one.now.hidden or one.before.hidden for one in drift.prevalence)
    codes = {c.name: f"{c.kind} {c.code}" for c in release.index.columns if c.kind == "drug"}
    for one in drift.prevalence:
        if one.words in codes:
            assert one.now == about(now.codes["treatments"][codes[one.words]], now.patients)


def test_acceptance_is_told_by_version(two):
    (release, now), (earlier, then) = two
    when = datetime(2026, 11, 2, tzinfo=UTC)
    events = [
        FeedbackEvent(f"{version}.{n}", f"p{n}", "rxnorm:1", "drug", "accepted", version, when, "api")
        for version, count in ((release.version, 12), (earlier.version, 4))
        for n in range(count)
    ]
    told = drift_of(release, now, earlier, then, events).feedback
    assert told[release.version]["outcomes"]["accepted"] == "about 20"  # 11 to 24
    assert told[earlier.version]["outcomes"]["accepted"] == "<11"


def test_scores_all_alike_fall_into_one_bin():
    now, then = binned(np.array([1.0, 2.0]), np.array([1.0] * 50))
    assert (sum(now.values()), sum(then.values())) == (2, 50)


def test_the_commands_write_pages_json_and_gauges(hospital, tmp_path, drift):
    told = hospital.asked("report", "drift", "--out", tmp_path / "drift")
    assert told["indices"]["sex"]["index"] == pytest.approx(next(o.index for o in drift.indices if o.name == "sex"))
    text = (tmp_path / "drift" / "drift.prom").read_text()
    assert text == as_prometheus(drift)
    assert 'rxrec_drift_index{distribution="sex"}' in text
    told = hospital.asked("report", "history", "--out", tmp_path / "history")
    versions = [one.version for one in hospital.store.versions()]
    assert told["versions"] == versions
    written = json.loads((tmp_path / "history" / "history.json").read_text())["versions"]
    assert [one["state"] for one in written] == ["served", "published"]
    for one in written:
        manifest = hospital.store.release(one["version"]).manifest
        assert one["quality"]["value"] == pytest.approx(manifest["quality"]["value"], abs=5e-4)
        assert one["patients"] == 400
        assert f"{manifest['quality']['value']:.3f}" in (tmp_path / "history" / "history.html").read_text()


def test_gauges_are_in_prometheus_format(drift):
    families = {one.name: one for one in text_string_to_metric_families(as_prometheus(drift))}
    assert {s.labels["distribution"] for s in families["rxrec_drift_index"].samples} == {o.name for o in drift.indices}
    assert len(families["rxrec_drift_new_codes"].samples) == len(BLOCKS)


def test_history_tells_refused_nights_and_what_cannot_be_read(hospital, tmp_path):
    manifest = hospital.desk.release.manifest
    for name, content in (
        ("refused", {"manifest": {**manifest, "gate": {"reasons": ["worse"]}}}),
        ("broken", {"manifest": {}}),
    ):
        file = tmp_path / name / "release" / "manifest"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(content))
    nights, unread = history(tmp_path, [])
    assert [(night.version, night.state, night.reasons) for night in nights] == [("refused", "refused", ("worse",))]
    assert unread == ["broken"]


def test_nothing_before_is_an_error_in_words(hospital, tmp_path):
    oldest = hospital.store.versions()[-1].version
    result = hospital.rxrec("report", "drift", "--out", tmp_path / "drift", "--version", oldest)
    assert result.exit_code == 6
    assert "nothing to compare with" in result.stderr

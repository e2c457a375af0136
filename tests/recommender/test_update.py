"""An update holds what a whole night with the same model would: for who changed, for who did not, and as days pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recommender.access.secret import SiteSecret
from recommender.blocks import Blocks
from recommender.errors import EngineError, UnknownPatient
from recommender.features import build_matrix, rows_over
from recommender.matrix import Column
from recommender.models.linear import LinearModel
from recommender.pipeline import make_snapshot, screened
from recommender.ranking import DEPTH, PER_KIND, SPARE, top_n
from recommender.records import THERAPIES, TIME, Records
from recommender.safety.charts import RUNS, Chart, Known, aged
from recommender.safety.screen import Screen
from recommender.settings import Settings
from recommender.snapshot import Entry, Release, Snapshot
from recommender.store import Store, open_store
from recommender.update import MOST_DAYS, Update, _charts, make_update, why_not

METFORMIN, LISINOPRIL, SIMVASTATIN = "rxnorm:6809", "rxnorm:29046", "rxnorm:36567"
DIABETES, HYPERTENSION, EGFR = "snomed:44054006", "snomed:38341003", "loinc:33914-3"
YEAR = 8_736  # hours from the opening to the end of the year, when charts are read
LASTING = {"source": "tiny", "vocabulary": "ours"}
PEOPLE = {name: {"birth_date": "1960-07-01", "sex": "F"} for name in "ABCDEFGH"}
FIRST = [
    *[("drug", who, METFORMIN, 100, None) for who in "ABCD"],
    *[("drug", who, LISINOPRIL, 100, None) for who in "BCDE"],
    *[("drug", who, SIMVASTATIN, 100, YEAR - 24 * 5) for who in "CDE"],  # ended five days ago: still on the chart
    *[("condition", who, DIABETES, 100, None) for who in "ABCD"],
    *[("condition", who, HYPERTENSION, 50, None) for who in "EF"],
    ("allergy", "F", "snomed:91936005", 10, None),
]
SECOND = [
    *[event for event in FIRST if event[1] != "G"],
    ("condition", "A", HYPERTENSION, 8_000, None),  # a new condition
    ("drug", "F", METFORMIN, 8_000, None),  # a new drug
    ("allergy", "B", "snomed:294505008", 8_000, None),  # one that no chart had
    ("drug", "E", "rxnorm:723", 8_000, None),  # a drug that has no column
    ("condition", "I", DIABETES, 8_000, None),  # somebody new
]


@pytest.fixture(scope="module")
def screen() -> Screen:
    return Screen.load()


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings) as opened:
        yield opened


def people(names: str) -> dict[str, Any]:
    return {name: PEOPLE.get(name, {}) for name in names}


def later(records: Records, days: float) -> Records:
    moved = (records.patients["as_of"] + pd.Timedelta(days=days)).astype(TIME)
    return dataclasses.replace(records, patients=records.patients.assign(as_of=moved))


def published(store: Store, records: Records, screen: Screen, version: str = "v1") -> Release:
    snapshot = make_snapshot(records, build_matrix(records), LinearModel(), version, LASTING, screen)
    store.publish(snapshot)
    store.activate(version)
    return store.release(version)


def updated(store: Store, served: Release, records: Records, screen: Screen, version: str = "v2") -> Update:
    update = make_update(records, served, version, {}, screen, store, Blocks(2))
    store.publish(update.changed, onto=update.onto)
    store.activate(version)
    return update


def whole(records: Records, served: Release, screen: Screen) -> Snapshot:
    """Every patient's list, row and chart, made anew with the model of `served`."""
    matrix, _ = rows_over(served.index, records)
    charts = _charts(records, served.known, screen)
    top = top_n(served.model, matrix, DEPTH + SPARE, of=THERAPIES, per_kind=PER_KIND)
    top, _ = screened(screen, charts, served.index, top)
    release = dataclasses.replace(served, known=charts.known)
    return Snapshot(release, matrix.patient_ids, top, matrix.rows, charts)


def assert_alike(entry: Entry, other: Entry, weight_off: float = 0.0) -> None:
    assert np.array_equal(entry.columns, other.columns)
    assert np.array_equal(entry.row_columns, other.row_columns)
    assert np.abs(entry.row_weights - other.row_weights).max(initial=0) <= weight_off
    if not weight_off:
        assert entry.scores.tobytes() == other.scores.tobytes()
    for name in ("concept", "value", "days"):
        assert np.array_equal(getattr(entry.chart, name), getattr(other.chart, name), equal_nan=name == "value")
    assert entry.chart.age == pytest.approx(other.chart.age, abs=1e-4, nan_ok=True)
    assert entry.chart.sex == other.chart.sex


def assert_served(store: Store, version: str, wanted: Snapshot, weight_off: float = 0.0) -> None:
    """One by one, and all in turn."""
    release = store.release(version)
    listed = dict(store.entries(release))
    assert sorted(listed) == sorted(wanted.patient_ids)
    for patient_ix, patient_id in enumerate(wanted.patient_ids):
        assert_alike(store.entry(release, patient_id), wanted.entry(patient_ix), weight_off)
        assert_alike(listed[patient_id], wanted.entry(patient_ix), weight_off)
        found = store.current_entry(release, patient_id)
        assert (found is not None) == (store.current() == version)
        if found is not None:
            assert_alike(found[0], wanted.entry(patient_ix), weight_off)


def test_only_who_changed_is_rewritten_and_everybody_is_right(hospital, store: Store, screen: Screen) -> None:
    served = published(store, hospital(FIRST, people("ABCDEFG")), screen)
    second = hospital(SECOND, people("ABCDEFI"))
    update = updated(store, served, second, screen)
    assert sorted(update.changed.patient_ids) == ["A", "B", "E", "F", "I"]
    told = update.changed.release.manifest["update"]
    assert {name: told[name] for name in ("base", "days", "changed", "new", "gone", "columns_unknown")} == {
        "base": "v1", "days": 0, "changed": 4, "new": 1, "gone": 1, "columns_unknown": 2,
    }  # fmt: skip
    assert_served(store, "v2", whole(second, served, screen))
    release = store.release("v2")
    # as counts of patients, those of routes are the version's until the next whole night
    assert served.given is not None and served.given.drugs and release.given == served.given
    with pytest.raises(UnknownPatient):  # who is no more
        store.entry(release, "G")
    assert store.current_entry(release, "G") is None
    assert store.entry(served, "G")  # and still is in the version before
    assert [(one.version, one.patients, one.base) for one in store.versions()] == [("v2", 7, "v1"), ("v1", 7, "")]
    # what rules look at stands at once, though the model knows no column for it
    codes = {release.known.concepts[ix].code for ix in store.entry(release, "B").chart.concept}
    assert "snomed:294505008" in codes
    assert "rxnorm:723" in {release.known.concepts[ix].code for ix in store.entry(release, "E").chart.concept}


def test_nothing_new_rewrites_nobody(hospital, store: Store, screen: Screen) -> None:
    first = hospital(FIRST, people("ABCDEFG"))
    served = published(store, first, screen)
    update = updated(store, served, first, screen)
    assert len(update.changed.patient_ids) == 0 and not update.onto.gone
    assert_served(store, "v2", whole(first, served, screen))


@pytest.mark.parametrize("days", [1, 3, MOST_DAYS])
def test_days_that_pass_change_charts_without_a_rewriting(hospital, store: Store, screen: Screen, days: int) -> None:
    """Simvastatin ended 5 days before: 6 and 8 days before it is still on the chart, 19 days before it is not."""
    first = hospital(FIRST, people("ABCDEFG"))
    served = published(store, first, screen)
    passed = later(first, days)
    update = updated(store, served, passed, screen)
    assert len(update.changed.patient_ids) == 0
    wanted = whole(passed, served, screen)
    assert_served(store, "v2", wanted, weight_off=0.01)
    release = store.release("v2")
    names = [release.known.concepts[ix].code for ix in store.entry(release, "C").chart.concept]
    assert (SIMVASTATIN in names) == (days < MOST_DAYS)
    assert store.entry(release, "C").chart.age == pytest.approx(store.entry(served, "C").chart.age + days / 365.2425)


def test_an_update_of_an_update_leans_on_the_same_version(hospital, store: Store, screen: Screen) -> None:
    first = hospital(FIRST, people("ABCDEFG"))
    served = published(store, first, screen)
    updated(store, served, hospital(SECOND, people("ABCDEFI")), screen)
    third = later(hospital([*SECOND, ("condition", "D", HYPERTENSION, 8_700, None)], people("ABCDEFGI")), 2)
    again = updated(store, store.release("v2"), third, screen, "v3")
    assert again.changed.release.base == "v1"
    assert sorted(again.changed.patient_ids) == ["A", "B", "D", "E", "F", "I"]  # D of today, the others of yesterday
    assert_served(store, "v3", whole(third, served, screen), weight_off=0.01)
    assert [one.version for one in store.versions()] == ["v3", "v2", "v1"]  # kept for what leans on it
    assert store.rollback() == "v2"
    assert_served(store, "v2", whole(hospital(SECOND, people("ABCDEFI")), served, screen))
    # a whole night makes the version that was leaned on superfluous, once nothing leans on it any more
    published(store, third, screen, "v4")
    assert [one.version for one in store.versions()] == ["v4", "v2", "v1"]
    published(store, third, screen, "v5")
    assert [one.version for one in store.versions()] == ["v5", "v4"]
    assert {key.decode().split(":")[1] for key in store._client.keys("rxrec:v*")} == {"v4", "v5", "versions"}


def test_a_forgotten_person_is_in_no_version(hospital, store: Store, screen: Screen) -> None:
    served = published(store, hospital(FIRST, people("ABCDEFG")), screen)
    updated(store, served, hospital(SECOND, people("ABCDEFI")), screen)
    # C stands in the version that is leaned on alone, A in both, I in the update, G is no more in the update
    assert [store.forget(who) for who in ("C", "A", "I", "G", "Z")] == [2, 2, 1, 1, 0]
    for version, left in (("v1", "BDEF"), ("v2", "BDEF")):
        release = store.release(version)
        assert "".join(sorted(who for who, _ in store.entries(release))) == left
        with pytest.raises(UnknownPatient):
            store.entry(release, "A")
    assert {one.version: one.patients for one in store.versions()} == {"v1": 4, "v2": 4}


def test_an_entry_that_was_altered_is_rewritten(hospital, store: Store, screen: Screen) -> None:
    first = hospital(FIRST, people("ABCDEFG"))
    served = published(store, first, screen)
    name = store.pseudonyms("v1").name("D")
    value = store._client.hget("rxrec:v1:p:0", name)
    store._client.hset("rxrec:v1:p:0", name, value[:-9] + b"x" + value[-8:])
    assert updated(store, served, first, screen).changed.patient_ids.tolist() == ["D"]
    assert_served(store, "v2", whole(first, served, screen))


def test_what_cannot_be_updated_says_why(hospital, store: Store, settings: Settings, screen: Screen) -> None:
    first = hospital(FIRST, people("ABCDEFG"))
    served = published(store, first, screen)
    assert why_not(store, served, first, screen, LASTING) == ""
    other = why_not(store, served, first, screen, {**LASTING, "source": "other"})
    assert other == f"the served version was made with another source ({LASTING['source']}; now other)"
    assert ", 15 days later; 0 to 14 can" in why_not(store, served, later(first, MOST_DAYS + 1), screen, LASTING)
    assert ", -1 days later; 0 to 14 can" in why_not(store, served, later(first, -1), screen, LASTING)
    other = dataclasses.replace(served, manifest={**served.manifest, "safety": {"rules": {"version": "older"}}})
    assert why_not(store, other, first, screen, LASTING) == "the rules have changed since the served version was made"
    older = dataclasses.replace(served, given=None)
    assert "does not tell by which routes" in why_not(store, older, first, screen, LASTING)
    moments = later(first, 2).patients["as_of"].where(first.patients["patient_id"] != "A", first.patients["as_of"])
    own = dataclasses.replace(first, patients=first.patients.assign(as_of=moments))
    assert "a moment of its own" in why_not(store, served, own, screen, LASTING)
    SiteSecret.rotate(settings.secret_file)
    assert why_not(store, served, first, screen, LASTING) == "the site's secret was rotated"


def test_an_update_of_what_is_gone_is_refused(hospital, store: Store, screen: Screen) -> None:
    first = hospital(FIRST, people("ABCDEFG"))
    served = published(store, first, screen)
    update = make_update(first, served, "v4", {}, screen, store)
    for version in ("v2", "v3"):
        published(store, first, screen, version)
    with pytest.raises(EngineError, match="not one to be updated"):
        store.publish(update.changed, onto=update.onto)
    assert store.current() == "v3" and not store._client.keys("rxrec:v4:*")


def test_a_chart_grows_older() -> None:
    known = Known(tuple(map(_column, ("drug", "drug", "drug", "condition", "observation"))))
    chart = Chart(
        np.arange(5, dtype=np.int32),
        np.array([RUNS, -1, 12, 31_999, 3], dtype=np.int32),
        np.array([np.nan, np.nan, np.nan, np.nan, 7.5], dtype=np.float32),
        50.0,
        "F",
    )
    two = aged(chart, known, 2)
    assert two.days.tolist() == [RUNS, -1, 14, 32_000, 5] and two.value[-1] == 7.5
    three = aged(chart, known, 3)
    assert three.concept.tolist() == [0, 1, 3, 4] and three.age == pytest.approx(50 + 3 / 365.2425)


def _column(kind: str) -> Column:
    return Column(f"{kind}:1", kind, kind, "")

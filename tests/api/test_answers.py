"""Every served item of several versions and models is the sum of its reasons, as exact values and as displayed."""

import dataclasses
import math
import re
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.answers import answer, etag
from api.present import adding_up, age_in_words, date_in_words, quality_in_words, short_id, suggestions
from api.words import EN, Words
from recommender.errors import StoreCorrupt
from recommender.formulary import Formulary
from recommender.models.linear import LinearModel
from recommender.models.popularity import PopularityModel
from recommender.offer import Desk
from recommender.offered import elapsed_days
from recommender.safety.charts import OLDEST
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen

SCREEN, LABELS = Screen.load(), Indications.load()
WORDS = Words()
MODELS = [
    LinearModel(),
    PopularityModel(),
    LinearModel(
        {**dict.fromkeys(("treatments", "conditions"), 0.5), "allergies": 1.0, "demographics": 500.0, "baseline": 0.01}
    ),
]


def desk(release):
    return Desk(release, SCREEN, LABELS)


@pytest.mark.parametrize("model", MODELS, ids=["linear", "popularity", "linear-loose"])
def test_reasons_add_up_for_every_served_item(ward, model):
    snapshot = ward("v1", model)
    for patient_ix, patient_id in enumerate(snapshot.patient_ids.tolist()):
        entry = snapshot.entry(patient_ix)
        served = answer(desk(snapshot.release), entry, patient_id, 50)
        for item, shown in zip(served.items, suggestions(served, WORDS), strict=True):
            assert math.fsum(r.contribution for r in item.reasons) == pytest.approx(item.score, abs=1e-5)
            parts = [*shown.because, *shown.against, *([shown.rest] if shown.rest else [])]
            assert sum(hundredths(part.shown, 100) for part in parts) == hundredths(shown.score, 100)
            assert sum(hundredths(part.shown, 1000) for part in shown.parts) == hundredths(shown.fine_score, 1000)
            assert 0 <= shown.bar <= 100


def hundredths(shown, per_unit):
    """Read a number as a person does."""
    assert re.fullmatch(r"[+−]?\d*\.\d{2,3}", shown)
    return round(float(shown.replace("−", "-")) * per_unit)


@given(st.lists(st.floats(-5, 5), max_size=40), st.sampled_from([100, 1000]))
def test_rounded_shares_add_up_and_stay_close(values, per_unit):
    rounded = adding_up(values, math.fsum(values), per_unit)
    if values:
        assert sum(rounded) == round(math.fsum(values) * per_unit)
    assert all(abs(r - v * per_unit) < 1 + 1e-6 for r, v in zip(rounded, values, strict=True))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40), st.floats(-1e-5, 1e-5))
def test_rounded_shares_add_up_to_a_total_of_other_float_rounding(values, drift):
    total = math.fsum(values) + drift
    assert sum(adding_up(values, total, 100)) == round(total * 100)


def test_reasons_of_another_model_are_refused(ward):
    snapshot = ward("v1")
    other = dataclasses.replace(snapshot.release, model=ward("v2", PopularityModel()).release.model)
    with pytest.raises(StoreCorrupt, match="not the sum of its reasons"):
        answer(desk(other), snapshot.entry(3), "x", 10)


def test_a_score_that_is_no_number_is_refused(ward):
    snapshot = ward("v1")
    entry = snapshot.entry(3)
    with pytest.raises(StoreCorrupt):
        answer(desk(snapshot.release), dataclasses.replace(entry, scores=np.full_like(entry.scores, np.nan)), "x", 10)


def test_etag_follows_all_that_is_answered_from(ward):
    snapshot = ward("v1")
    entry = snapshot.entry(3)
    served = desk(snapshot.release)
    chart = dataclasses.replace(entry.chart, concept=np.array([0], np.int32), days=np.array([7], np.int32))
    chart = dataclasses.replace(chart, value=np.array([5], np.float32))
    charted = dataclasses.replace(entry, chart=chart)

    def of_chart(**changes):
        return dataclasses.replace(entry, chart=dataclasses.replace(chart, **changes))

    def tag(at=served, of=charted, patient="P", asked=("n=10", "drug"), elapsed=0):
        return etag(at, of, patient, asked, elapsed)

    same = tag()
    assert same == tag() == tag(of=of_chart())
    listed = Formulary("f1")
    others = [
        tag(at=Desk(snapshot.release, SCREEN, LABELS, 0.5)),
        tag(at=Desk(snapshot.release, SCREEN, LABELS, formulary=lambda: listed)),
        tag(at=Desk(snapshot.release, SCREEN, LABELS, formulary_first=True)),
        tag(at=Desk(snapshot.release, dataclasses.replace(SCREEN, rules=other_rules()), LABELS)),
        tag(at=desk(dataclasses.replace(snapshot.release, version="v2"))),
        tag(patient="Q"),  # two patients may have the same entry, and each answer names its own
        tag(asked=("n=9", "drug")),
        tag(asked=("n=10",)),
        tag(elapsed=1),  # its values are a day older
        tag(of=snapshot.entry(4)),
        tag(of=dataclasses.replace(charted, scores=charted.scores * 2)),
        tag(of=dataclasses.replace(charted, columns=charted.columns[::-1])),
        tag(of=dataclasses.replace(charted, row_weights=charted.row_weights / 2)),
        tag(of=dataclasses.replace(charted, row_columns=charted.row_columns[:-1])),
        tag(of=of_chart(age=71.0)),
        tag(of=of_chart(sex="F")),
        tag(of=of_chart(days=np.array([8], np.int32))),
        tag(of=of_chart(value=np.array([6], np.float32))),
        tag(of=of_chart(concept=np.array([1], np.int32))),
    ]
    assert len({same, *others}) == 1 + len(others)


def other_rules():
    return dataclasses.replace(SCREEN.rules, version="other")


def test_days_since_the_charts_were_read_and_long_ago_where_nobody_knows(ward):
    release = ward("v1", created="2025-01-02T02:10:00+00:00").release
    for now, days in (("2025-01-02T02:09:00", 0), ("2025-01-03T02:09:00", 0), ("2025-01-03T02:10:00", 1)):
        assert elapsed_days(release, datetime.fromisoformat(f"{now}+00:00")) == days
    for created in (None, "", "soon", "2025-01-02"):
        assert elapsed_days(ward("v1", created=created).release) == OLDEST


def test_dates_in_words():
    moment = "2026-11-22T02:10:00+00:00"

    def at(day):
        return datetime.fromisoformat(f"2026-11-{day}T12:00:00+00:00")

    assert date_in_words(moment) == "22 Nov 2026"
    assert date_in_words("soon") == "soon"
    assert [age_in_words(moment, at(day), WORDS) for day in (21, 22, 23, 30)] == [
        "",
        "today",
        "1 day old",
        "8 days old",
    ]
    assert age_in_words("soon", at(22), WORDS) == ""


def test_ids_are_shortened_only_where_it_helps():
    assert short_id("PAT-2") == "PAT-2"
    assert short_id("7f3c0000-0000-4000-8000-000000000000") == "7f3c0000…"


def test_quality_in_words():
    whole = {"metric": "NDCG@10", "value": 0.4123, "low": 0.4, "high": 0.42, "patients": 1180, "baseline": 0.29}
    assert quality_in_words({"quality": whole}, WORDS) == (
        "NDCG@10 0.412 on 1,180 held-out patients (95% interval 0.4 to 0.42); "
        "always suggesting the most common treatments reaches 0.29."
    )
    assert (
        quality_in_words({"quality": {"metric": "NDCG@10", "value": 0.4}}, WORDS) == "NDCG@10 0.4 on held-out patients."
    )
    for nothing in ({}, {"quality": None}, {"quality": {}}, {"quality": "good"}):
        assert quality_in_words(nothing, WORDS) == EN["model.no_quality"]


CHANCES = {"depth": 2, "days": 30, "curve": {"scores": [0.0, 0.5], "probabilities": [0.0, 0.5]}}


def test_the_first_therapies_have_a_probability_and_no_other_has(ward):
    release = dataclasses.replace(ward("v1").release, manifest={**ward("v1").release.manifest, "chances": CHANCES})
    patient_id, entry = ward("v1").patient_ids[5], ward("v1").entry(5)
    served = answer(desk(release), entry, patient_id, 10)
    # the curve is a straight line of slope 1 up to 0.5
    assert [item.probability for item in served.items[:2]] == [
        pytest.approx(min(max(item.score, 0), 0.5)) for item in served.items[:2]
    ]
    assert [item.probability for item in served.items[2:]] == [None] * 8
    drugs = answer(desk(release), entry, patient_id, 10, ("drug",))
    likely = {item.code: item.probability for item in served.items[:2]}
    assert all(item.probability == likely.get(item.code) for item in drugs.items)
    shown = suggestions(served, WORDS)
    assert [one.chance for one in shown[:2]] == [f"{round(100 * item.probability)}%" for item in served.items[:2]]
    assert shown[0].bar == round(100 * served.items[0].probability, 1)
    assert not any(one.chance for one in shown[2:])


def test_chances_that_are_not_ours_are_refused(ward):
    for curve in (
        {"scores": [0.0]},
        {"scores": [0, 1], "probabilities": [1, 0]},
        {"scores": [0], "probabilities": [7]},
    ):
        release = dataclasses.replace(ward("v1").release, manifest={"chances": {**CHANCES, "curve": curve}})
        with pytest.raises(StoreCorrupt, match="chances"):
            _ = release.chances

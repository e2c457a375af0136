"""The line of a predicted risk on a patient's page: whose, for how long, by what, and when there is none."""

import numpy as np
import pytest

from api.words import EN
from recommender.access.secret import SiteSecret
from recommender.risk.models import LogisticRisk
from recommender.risk.registry import Registry
from recommender.risk.scores import FILE, save_scores
from recommender.risk.table import Feature, Inputs, Outcome


@pytest.fixture
def tell(settings):
    """`tell(horizon_days, log_odds={"PAT-1": ...})`: a risk of heart disease whose one input is its log-odds."""

    def told(horizon_days=None, log_odds=None, **manifest):
        registry = Registry(settings.workdir)
        one, zero = np.ones(1), np.zeros(1)
        model = LogisticRisk(medians=zero, marked=np.empty(0, int), used=one, centre=zero, spread=one)
        model = LogisticRisk.from_state({"penalty": None}, {**model.state(), "slopes": one, "intercept": zero})
        features = (Feature("blood pressure", "bp", "number"),)
        release = registry.save("heart", Outcome("heart <disease>", "x", horizon_days), features, model, manifest)
        registry.activate(release)
        ids = np.array(list(log_odds), dtype=object)
        inputs = Inputs(features, ids, np.array(list(log_odds.values()))[:, None])
        secret = SiteSecret.load(settings.workdir / "site.key")
        has = np.zeros(len(ids), dtype=bool)
        save_scores(registry.path("heart", FILE), release, inputs, has, "2025-01-01", secret)
        return release

    return told


def page_of(client, patient_id):
    found = client.post("/patient", data={"patient_id": patient_id})
    assert found.status_code == 200
    return found.text


def test_a_horizon_is_told_where_there_is_one(client, published, tell):
    assert EN["chart.risks"] not in page_of(client, "PAT-1")
    tell(3650, {"PAT-1": np.log(0.25 / 0.75), "PAT-2": -9.0})
    page = page_of(client, "PAT-1")
    assert "heart &lt;disease&gt; within 10 years" in page and '<b class="num">25%</b>' in page
    assert "lowered by blood pressure" in page and "By the record of 1 Jan 2025." in page
    assert EN["risk.note"] in page
    assert "under 1%" in page_of(client, "PAT-2")
    assert EN["chart.risks"] not in page_of(client, "PAT-3")
    assert "10 年" in client.post("/patient", data={"patient_id": "PAT-1"}, headers={"Accept-Language": "zh"}).text


def test_without_a_horizon_no_time_is_told(client, published, tell):
    tell(None, {"PAT-1": 2.0}, synthetic=True)
    page = page_of(client, "PAT-1")
    assert "Likelihood of heart &lt;disease&gt;" in page and "within" not in page.partition('id="risks"')[2][:400]
    assert EN["risk.synthetic"] in page


def test_what_another_version_scored_is_not_shown(client, published, tell, settings):
    release = tell(365, {"PAT-1": 2.0})
    assert "within 1 year" in page_of(client, "PAT-1")
    registry = Registry(settings.workdir)
    registry.activate(registry.save("heart", release.asked, release.features, release.model, {}))
    assert EN["chart.risks"] not in page_of(client, "PAT-1")


def test_a_broken_file_does_not_take_the_list_away(client, published, tell, settings):
    tell(365, {"PAT-1": 2.0})
    (settings.workdir / "risk" / "heart" / FILE).write_bytes(b"")
    page = page_of(client, "PAT-1")
    assert EN["risk.unreadable"] in page and EN["list.heading"] in page

"""`rxrec risk`: from a table or an export to a card, a risk for everybody, and a version that is kept back."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from data.synthetic import write_hospital
from jobs.__main__ import main
from recommender.evaluation import bootstrap
from recommender.risk import judge, models
from recommender.risk.models import BoostedRisk, ConstantRisk, LogisticRisk, OneVariableRisk
from recommender.risk.registry import Registry


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 100)
    monkeypatch.setattr(models, "PENALTIES", (3.0, 30.0))
    monkeypatch.setattr(
        judge, "all_models", lambda: [LogisticRisk(), BoostedRisk(trees=20), OneVariableRisk(), ConstantRisk()]
    )


@pytest.fixture
def rxrec(settings):
    environment = {"REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(settings.workdir)}

    def run(*words):
        return CliRunner().invoke(main, ["--json", *map(str, words)], env=environment, catch_exceptions=False)

    return run


def heart(file, told=True, n=300):
    """age,gender,... of which age and diabetes tell, or nothing does."""
    rng = np.random.default_rng(0)
    age, diabetes = rng.normal(55, 12, n), rng.random(n) < 0.2
    log_odds = (age - 60) / 6 + 1.5 * diabetes if told else np.zeros(n)
    outcome = rng.random(n) < 1 / (1 + np.exp(-log_odds))
    with file.open("w", newline="") as out:
        rows = csv.writer(out)
        names = ("patient_id", "age", "gender", "bmi", "cholesterol", "blood_pressure", "diabetes", "heart_disease")
        rows.writerow(names)
        for i in range(n):
            measured = (f"{rng.normal(27, 4):.1f}", round(rng.normal(200, 30)), round(rng.normal(130, 15)))
            rows.writerow([f"P{i}", round(age[i]), "FM"[i % 2], *measured, int(diabetes[i]), int(outcome[i])])
    return file


def test_from_a_plain_table_to_everybodys_risk(rxrec, settings, tmp_path):
    table = heart(tmp_path / "heart.csv")
    words = ("--input", table, "--outcome", "heart_disease", "--horizon-days", 3650)
    judged = json.loads(rxrec("risk", "evaluate", *words).stdout)
    assert judged["models"]["logistic"]["auc"]["low"] > 0.6 and judged["models"]["constant"]["auc"]["value"] == 0.5
    trained = rxrec("risk", "train", *words)
    assert trained.exit_code == 0, trained.output
    told = json.loads(trained.stdout)
    odds = {row["feature"]: row for row in told["odds"]}
    assert odds["age"]["low"] > 1 and odds["diabetes"]["low"] > 1 and odds["bmi"]["low"] < 1.3
    release = Registry(settings.workdir).current("heart-disease")
    assert release.version == told["version"] and release.asked.span == "10 years"
    page = (settings.workdir / "risk" / "heart-disease" / told["version"] / "card.html").read_text()
    assert "A risk is told for 10 years and for nothing else" in page and "Odds ratios" in page
    assert "P17" not in page
    scored = rxrec("risk", "score", "--name", "heart-disease", "--input", table, "--out", tmp_path / "out.csv")
    assert json.loads(scored.stdout)["told"] == 300
    with (tmp_path / "out.csv").open() as rows:
        first = next(csv.DictReader(rows))
    assert first["patient_id"] == "P0" and 0 < float(first["risk"]) < 1

    # what was trained on nothing is not served
    worse = rxrec("risk", "train", "--input", heart(tmp_path / "worse.csv", told=False), *words[2:])
    assert worse.exit_code == 9 and "AUC fell from" in json.loads(worse.stdout)["message"]
    assert Registry(settings.workdir).current("heart-disease").version == told["version"]
    warned = rxrec("risk", "train", "--input", tmp_path / "worse.csv", *words[2:], "--gate", "warn")
    assert warned.exit_code == 0 and json.loads(warned.stdout)["gate"]["passed"] is False

    # who is forgotten is scored no more
    assert rxrec("forget", "P17", "--yes").exit_code == 0
    assert not (settings.workdir / "risk" / "heart-disease" / "scores.npz").exists()
    again = rxrec("risk", "score", "--name", "heart-disease", "--input", table)
    assert json.loads(again.stdout)["told"] == 299


def test_from_an_export(rxrec, settings, tmp_path):
    write_hospital(tmp_path / "sample", patients=250, seed=3)
    words = ("--input", tmp_path / "sample")
    trained = rxrec("risk", "train", *words, "--outcome", "hypertension", "--model", "logistic")
    assert trained.exit_code == 0, trained.output
    told = json.loads(trained.stdout)
    assert told["synthetic"] and told["outcome"]["horizon_days"] is None
    assert (
        "no risk is told “within” any time"
        in (settings.workdir / "risk" / "hypertension" / told["version"] / "card.html").read_text()
    )
    scored = json.loads(rxrec("risk", "score", "--name", "hypertension", *words).stdout)
    assert scored["told"] + scored["have_it"] == 250 and scored["have_it"] == told["quality"]["events"]


def test_wrong_use_is_explained(rxrec, tmp_path):
    table = heart(tmp_path / "heart.csv")
    unknown = rxrec("risk", "score", "--name", "none", "--input", table)
    assert unknown.exit_code == 6 and "rxrec risk train" in unknown.stdout
    wrong = rxrec("risk", "train", "--input", table, "--outcome", "bmi")
    assert wrong.exit_code == 3 and "an outcome has yes and no" in wrong.stdout
    few = rxrec("risk", "train", "--input", heart(tmp_path / "few.csv", n=30), "--outcome", "heart_disease")
    assert few.exit_code == 8

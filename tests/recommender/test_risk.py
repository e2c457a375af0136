"""Risk models: what is read, what is learned, what is kept and told; figures worked out by hand."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from recommender.access.secret import SiteSecret
from recommender.errors import EngineError, InputError, NothingPublished, StoreCorrupt, TrainingError
from recommender.evaluation import bootstrap
from recommender.evaluation.split import Fold, folds_of
from recommender.risk.context import risk_of_examples
from recommender.risk.csv_table import learn_csv, read_csv
from recommender.risk.judge import all_models, chosen, foreseen, inputs_of
from recommender.risk.models import RISK_MODELS, BoostedRisk, ConstantRisk, LogisticRisk, OneVariableRisk
from recommender.risk.odds import odds_ratios
from recommender.risk.registry import Registry
from recommender.risk.scores import load_scores, save_scores
from recommender.risk.table import Feature, Inputs, Outcome, RiskTable

HEART = Outcome("heart disease", "heart_disease", 3652)


def made(n=400, seed=0, missing=0.1, person=None):
    """Two numbers and a yes or no, of which the first number and the yes tell; some missing."""
    rng = np.random.default_rng(seed)
    values = np.stack([rng.normal(50, 10, n), rng.normal(0, 1, n), (rng.random(n) < 0.3).astype(float)], axis=1)
    log_odds = (values[:, 0] - 55) / 8 + 1.2 * values[:, 2] - 0.5
    outcome = rng.random(n) < 1 / (1 + np.exp(-log_odds))
    values[rng.random((n, 3)) < missing] = np.nan
    features = (Feature("age", "age", "number"), Feature("noise", "noise", "number"), Feature("ill", "ill", "yes"))
    ids = np.array([f"p{i}" for i in range(n)], dtype=object) if person is None else person
    groups = pd.DataFrame({"sex": rng.choice(["F", "M"], n)})
    return RiskTable(HEART, Inputs(features, ids, values), outcome, groups, "made")


# --- a plain table ---------------------------------------------------------------------------------------------------

TABLE = """age,gender,bmi,cholesterol,blood_pressure,diabetes,race,ward,heart_disease
50,M,27.5,210,130,0,a,x1,1
61,F,,190,120,1,b,x2,0
?,F,22,n/a,110,yes,a,x3,no
70,,31,250,150,no,a,x4,yes
44,M,25,200,,0,b,x5,
"""


@pytest.fixture
def csv_file(tmp_path):
    file = tmp_path / "heart.csv"
    file.write_text(TABLE)
    return file


def test_a_plain_table_is_read_as_what_it_says(csv_file):
    table = learn_csv(csv_file, HEART, groups=["ward"])
    assert table.outcome.tolist() == [True, False, False, True]
    assert table.notes == ("1 rows without an outcome are left out",)
    assert [(f.name, f.kind) for f in table.inputs.features] == [
        *(("age", "number"), ("gender M", "level"), ("bmi", "number"), ("cholesterol", "number")),
        *(("blood_pressure", "number"), ("diabetes", "yes")),
    ]
    nan = np.nan
    np.testing.assert_equal(
        table.inputs.values,
        [[50, 1, 27.5, 210, 130, 0], [61, 0, nan, 190, 120, 1], [nan, 0, 22, nan, 110, 1], [70, nan, 31, 250, 150, 0]],
    )
    # race is never an input, nor is what --group names; sex and age are measured by too
    assert table.groups.columns.tolist() == ["race", "ward", "age", "sex"]
    assert table.groups["sex"].tolist() == ["M", "F", "F", "unknown"]
    assert table.groups["age"].tolist() == ["40 to 64", "40 to 64", "unknown", "65 to 79"]


def test_the_same_columns_are_read_again_to_be_scored(csv_file):
    features = learn_csv(csv_file, HEART).inputs.features
    again = read_csv(csv_file, features)
    assert again.ids.tolist() == ["1", "2", "3", "4", "5"]
    np.testing.assert_equal(again.values[0], learn_csv(csv_file, HEART).inputs.values[0])
    with pytest.raises(InputError, match=r"heart\.csv, field other: the model needs this column"):
        read_csv(csv_file, [Feature("other", "other", "number")])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("age,x\n1,1\n", "no such column; there are age, x"),
        ("heart_disease,x\n2,1\n", "an outcome has yes and no"),
        ("heart_disease,x\n", "has no rows"),
        ("heart_disease,patient_id\n1,\n", "row 2, field patient_id: the id is missing"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path, text, said):
    file = tmp_path / "t.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=said):
        learn_csv(file, HEART)


def test_too_few_events_are_refused():
    table = made(n=60)
    few = dataclasses.replace(table, outcome=np.arange(60) < 19)
    with pytest.raises(TrainingError, match="19 of 60 examples have the outcome 'heart disease'"):
        few.learnable()


@pytest.mark.parametrize(
    ("days", "span"),
    [(None, ""), (1, "1 day"), (30, "1 month"), (365, "1 year"), (3650, "10 years"), (100, "100 days")],
)
def test_a_time_is_told_only_where_there_is_one(days, span):
    assert Outcome("x", "x", days).span == span


# --- the models ------------------------------------------------------------------------------------------------------

EACH = pytest.mark.parametrize("name", RISK_MODELS)


@EACH
@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_parts_add_up_and_state_gives_the_same_bytes(name, seed):
    table = made(n=80, seed=seed)
    table.outcome[:2] = [True, False]
    settings_of = {"boosted": {"trees": 10}, "logistic": {"penalty": 10.0}, "one-variable": {"penalty": 10.0}}
    model = RISK_MODELS[name](**settings_of.get(name, {})).fit(table.inputs.values, table.outcome)
    base, parts = model.parts(table.inputs.values)
    probability = model.probability(table.inputs.values)
    np.testing.assert_allclose(base + parts.sum(axis=1), np.log(probability / (1 - probability)), atol=1e-9)
    again = type(model).from_state(json.loads(json.dumps(model.parameters())), model.state())
    assert np.array_equal(again.probability(table.inputs.values), probability)
    assert np.array_equal(model.fit(table.inputs.values, table.outcome).probability(table.inputs.values), probability)


def test_logistic_is_the_pipeline_of_scikit_learn():
    table = made()
    ours = LogisticRisk(penalty=10.0).fit(table.inputs.values, table.outcome)
    theirs = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True), StandardScaler(), LogisticRegression(C=0.1, tol=1e-8)
    ).fit(table.inputs.values, table.outcome)
    told = theirs.predict_proba(table.inputs.values)[:, 1]
    np.testing.assert_allclose(ours.probability(table.inputs.values), told, atol=1e-9)


def test_boosted_is_the_trees_of_scikit_learn():
    table = made(missing=0)
    ours = BoostedRisk(trees=30).fit(table.inputs.values, table.outcome)
    theirs = GradientBoostingClassifier(
        n_estimators=30, max_depth=3, learning_rate=0.05, min_samples_leaf=20, subsample=0.5, random_state=0
    ).fit(table.inputs.values, table.outcome)
    told = theirs.predict_proba(table.inputs.values)[:, 1]
    np.testing.assert_allclose(ours.probability(table.inputs.values), told, atol=1e-9)


def test_the_baselines_say_the_share_and_the_best_one():
    table = made(missing=0)
    share = (table.outcome.sum() + 0.5) / (len(table) + 1)
    assert ConstantRisk().fit(table.inputs.values, table.outcome).probability(table.inputs.values) == pytest.approx(
        share
    )
    alone = OneVariableRisk().fit(table.inputs.values, table.outcome)
    assert alone.chosen.tolist() == [0]
    assert (alone.parts(table.inputs.values)[1][:, 1:] == 0).all()


def test_odds_ratios_of_a_two_by_two_table():
    # ill: 30 of 50 had it; not ill: 20 of 100: OR (30 x 80) / (20 x 20) = 6, s = sqrt(1/30 + 1/20 + 1/20 + 1/80)
    ill = np.repeat([1.0, 1.0, 0.0, 0.0], [30, 20, 20, 80])
    outcome = np.repeat([True, False, True, False], [30, 20, 20, 80])
    inputs = Inputs((Feature("ill", "ill", "yes"),), np.arange(150).astype(str).astype(object), ill[:, None])
    table = RiskTable(HEART, inputs, outcome, pd.DataFrame(index=range(150)), "by hand")
    (row,) = odds_ratios(LogisticRisk(penalty=1e-9).fit(ill[:, None], outcome), table).itertuples()
    s = np.sqrt(1 / 30 + 1 / 20 + 1 / 20 + 1 / 80)
    assert row.odds_ratio == pytest.approx(6, rel=1e-4) and row.per == "yes against no"
    assert row.low == pytest.approx(6 * np.exp(-1.959964 * s), rel=1e-3)
    assert row.high == pytest.approx(6 * np.exp(1.959964 * s), rel=1e-3)
    # each person twice: as many people, so the same interval
    twice = table.take(np.repeat(np.arange(150), 2))
    fitted = LogisticRisk(penalty=1e-9).fit(twice.inputs.values, twice.outcome)
    assert odds_ratios(fitted, twice)["high"][0] == pytest.approx(row.high, rel=1e-3)


def test_the_challenger_must_be_better_beyond_chance(monkeypatch):
    table = made(n=300)
    monkeypatch.setattr(bootstrap, "RESAMPLES", 200)
    found = foreseen(table, all_models(), folds_of(table.person.astype(str), 3))
    assert chosen(found)[0] is LogisticRisk  # what is made is logistic
    same = dataclasses.replace(
        found,
        probability={
            **found.probability,
            "boosted": table.outcome[
                np.concatenate([fold.test for fold in folds_of(table.person.astype(str), 3)])
            ].astype(float),
        },
    )
    assert chosen(same)[0] is BoostedRisk


def test_rows_of_one_person_are_never_on_both_sides():
    person = np.array([f"p{i // 4}" for i in range(400)], dtype=object)
    seen = []

    class Told(ConstantRisk):
        def fit(self, values, outcome, person=None):
            seen.append(set(person.tolist()))
            return super().fit(values, outcome)

    table = made(person=person)
    folds = folds_of(person.astype(str))
    foreseen(table, [Told()], folds)
    for fold, learned in zip(folds, seen, strict=True):
        assert not learned & set(person[fold.test].tolist())


def test_inputs_are_counted_alike_by_the_edges_of_before():
    table = made(missing=0)
    counts, edges = inputs_of(table, {})
    assert len(edges["age"]) == 9 and set(edges) == {"age", "noise"}
    assert {counts["age"][f"bin {number}"] for number in range(10)} == {40}
    moved = dataclasses.replace(table.inputs, values=table.inputs.values + np.array([1_000, 0, 0]))
    assert inputs_of(dataclasses.replace(table, inputs=moved), edges)[0]["age"]["bin 9"] == 400


# --- what is kept and told -------------------------------------------------------------------------------------------


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path)


def saved(registry, table=None, **told):
    table = table or made()
    model = LogisticRisk().fit(table.inputs.values, table.outcome)
    release = registry.save("heart", table.asked, table.inputs.features, model, told)
    registry.activate(release)
    return release


def test_what_is_filed_scores_the_same(registry):
    table = made()
    with pytest.raises(NothingPublished, match=r"no 'heart' is in service \(there are: none\)"):
        registry.current("heart")
    release = saved(registry, table, quality=1)
    again = registry.current("heart")
    assert (again.version, again.asked, again.features) == (release.version, HEART, table.inputs.features)
    assert again.manifest["quality"] == 1 and registry.names() == ["heart"]
    assert np.array_equal(again.model.probability(table.inputs.values), release.model.probability(table.inputs.values))
    assert not any(b"pickle" in file.read_bytes() for file in registry.path("heart", release.version).iterdir())


def test_what_was_altered_is_refused(registry):
    release = saved(registry)
    file = registry.path("heart", release.version) / "state.npz"
    whole = bytearray(file.read_bytes())
    whole[100] ^= 1
    file.write_bytes(whole)
    with pytest.raises(StoreCorrupt, match="is not what was written: `rxrec risk train`"):
        registry.current("heart")
    with pytest.raises(EngineError, match="small letters"):
        registry.current("../heart")


def test_a_patient_is_told_by_the_last_row_and_named_nowhere(registry, tmp_path):
    table = made()
    release, secret = saved(registry, table), SiteSecret.load(tmp_path / "site.key")
    ids = np.array(["PATIENT-A", "PATIENT-B", "PATIENT-A"], dtype=object)
    inputs = Inputs(release.features, ids, np.array([[30.0, 0, 0], [60, 0, 1], [80, 0, 1]]))
    file = tmp_path / "scores.npz"
    save_scores(file, release, inputs, np.array([False, False, False]), "2025-01-01", secret)
    scores = load_scores(file)
    expected = release.model.probability(inputs.values)
    told = scores.of("PATIENT-A", secret)
    assert told.probability == pytest.approx(expected[2], rel=1e-6)
    assert told.reasons[0][0] == "age" and told.reasons[0][1] > 0
    assert scores.of("PATIENT-C", secret) is None and scores.version == release.version
    assert b"PATIENT" not in file.read_bytes()
    save_scores(file, release, inputs, np.array([False, True, False]), "2025-01-01", secret)
    assert load_scores(file).of("PATIENT-B", secret) is None  # who has it already
    rotated = SiteSecret.rotate(tmp_path / "site.key")
    assert load_scores(file).of("PATIENT-A", rotated) is not None
    file.write_bytes(b"other")
    with pytest.raises(EngineError, match="run `rxrec risk score` again"):
        load_scores(file)
    assert load_scores(tmp_path / "none.npz") is None


def test_a_context_column_leaks_no_label():
    table = made(n=200, missing=0)
    person = table.person.astype(str)
    fold = Fold(np.arange(150), np.arange(150, 200))
    values = table.inputs.values
    said = risk_of_examples(table, LogisticRisk(penalty=1.0), values, person, fold)
    # labels of tested persons change nothing
    other = dataclasses.replace(table, outcome=np.where(np.arange(200) < 150, table.outcome, ~table.outcome))
    assert np.array_equal(risk_of_examples(other, LogisticRisk(penalty=1.0), values, person, fold), said)
    # a training person's own label changes what is said of the others, and not of that person
    flipped = table.outcome.copy()
    flipped[7] = ~flipped[7]
    changed = risk_of_examples(
        dataclasses.replace(table, outcome=flipped), LogisticRisk(penalty=1.0), values, person, fold
    )
    assert changed[7] == said[7] and (changed != said).sum() > 100

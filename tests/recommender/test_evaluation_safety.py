"""How unsafe lists are: figures worked out by hand, and what holds of the lists of real patients."""

from __future__ import annotations

import numpy as np
import pytest

from recommender.evaluation.compare import evaluate
from recommender.evaluation.safety import COSTS, Bench, as_markdown, figures_of, safety_table, served
from recommender.evaluation.split import folds_of
from recommender.evaluation.trial import make_trial
from recommender.loaders import load
from recommender.matrix import Column
from recommender.models.directed import DirectedModel
from recommender.safety.charts import Chart, Charts, Known
from recommender.safety.screen import Screen

SCREEN = Screen.load()
NAMES = ("warfarin", "ibuprofen", "simvastatin", "clarithromycin", "metformin", "amoxicillin")
WARFARIN, IBUPROFEN, SIMVASTATIN, CLARITHROMYCIN, METFORMIN, AMOXICILLIN = range(6)


def drug(name: str) -> Column:
    return Column(SCREEN.vocabulary.match(name).code, "drug", name, "")


@pytest.fixture
def bench() -> Bench:
    """Three patients: one takes warfarin, one is allergic to penicillin, one has nothing on the chart."""
    known = Known((Column("text:penicillin", "allergy", "penicillin", ""), drug("warfarin")))
    facts = Chart(np.array([1, 0], np.int32), np.zeros(2, np.int32), np.full(2, np.nan, np.float32))
    ages, sexes = np.full(3, 50, np.float32), np.full(3, 2, np.uint8)
    charts = Charts(known, np.array([0, 1, 2, 2]), facts.concept, facts.days, facts.value, ages, sexes)
    columns = tuple(map(drug, NAMES))
    return Bench(SCREEN, SCREEN.read(known), charts, columns, *SCREEN.candidates(columns, known)[:2])


def test_figures_by_hand(bench: Bench) -> None:
    shown = np.array(
        [
            [IBUPROFEN, METFORMIN, -1],  # a serious interaction with warfarin; one pair, which does not interact
            [AMOXICILLIN, -1, -1],  # forbidden by the allergy; no pair
            [SIMVASTATIN, CLARITHROMYCIN, METFORMIN],  # three pairs, one of them contraindicated
        ]
    )
    figures = figures_of(bench, shown)
    assert figures["drugs"] == pytest.approx(6 / 3)
    assert figures["contraindicated"] == figures["allergies contraindicated"] == pytest.approx(100 / 3)
    assert figures["serious"] == figures["interactions serious"] == pytest.approx(100 / 3)
    assert figures["pairs contraindicated"] == pytest.approx(100 / 3)
    assert figures["pairs serious"] == 0
    assert figures["pair rate"] == pytest.approx(1 / 4)


def test_without_any_pair_the_rate_is_undefined(bench: Bench) -> None:
    figures = figures_of(bench, np.array([[IBUPROFEN, -1], [-1, -1], [METFORMIN, -1]]))
    assert np.isnan(figures["pair rate"])


def test_what_is_served_holds_nothing_forbidden_and_fills_up_behind_it(bench: Bench) -> None:
    ranked = np.array([[AMOXICILLIN, SIMVASTATIN, CLARITHROMYCIN, METFORMIN]] * 3)
    scores = np.array([[0.0, 0.0, 3.0, 2.0, 1.0, 4.0]] * 3)
    tiers = np.array([[0, 0, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0]], dtype=np.uint8)
    found = served(bench, ranked, scores, tiers, 3, 0.0)
    assert found.tolist() == [
        [AMOXICILLIN, SIMVASTATIN, METFORMIN],
        [SIMVASTATIN, METFORMIN, -1],
        [AMOXICILLIN, SIMVASTATIN, METFORMIN],
    ]


@pytest.mark.real_data
@pytest.mark.parametrize(("source", "folder"), [("eicu", "eicu_demo"), ("mimic", "mimic_iv_demo")])
def test_screening_real_lists_removes_what_is_forbidden_and_costs_little(real_data, source, folder) -> None:
    records = load(source, real_data / folder, vocabulary=SCREEN.vocabulary)
    trial = make_trial(records, "started", ["drug"])
    evaluation = evaluate([DirectedModel()], trial, folds_of(trial.person))
    table = safety_table(evaluation, "directed", records, SCREEN).set_index(["length", "list"])
    for length in ("as begun", "10"):
        assert table.loc[(length, "unscreened"), "contraindicated"] > 0
        costs = [f"screened, cost {cost:g}" for cost in COSTS]
        assert (table.loc[length].loc[costs, ["contraindicated", "pairs contraindicated"]] == 0).all(axis=None)
        # the higher the cost, the fewer warnings and interacting pairs
        assert table.loc[length].loc[costs, "serious"].is_monotonic_decreasing
    gains = table.loc["10"]["ndcg gain"]
    assert gains["screened, cost 0.2"].low > -0.01  # the setting that is shipped
    as_begun = table.loc["as begun"]
    assert as_begun.loc["truly begun", "drugs"] == pytest.approx(as_begun.loc["unscreened", "drugs"], rel=0.02)
    shipped, truth = as_begun.loc["screened, cost 0.2"], as_begun.loc["truly begun"]
    assert shipped["serious"] < truth["serious"] and shipped["pairs serious"] < truth["pairs serious"]
    lines = as_markdown(table.reset_index(), "10", ["contraindicated", "ndcg gain"]).splitlines()
    assert len(lines) == 2 + 1 + len(COSTS)

"""For whom and for what it holds: tables by hand, and gaps that chance does not make."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from recommender.evaluation.breakdown import (
    MIN_PATIENTS,
    by_group,
    by_length,
    by_rarity,
    by_repeat,
    groups,
    largest_gaps,
)
from recommender.evaluation.compare import Evaluation, Judged, evaluate
from recommender.evaluation.split import folds_of
from recommender.evaluation.trial import Trial, make_trial
from recommender.matrix import Block, Column, ColumnIndex, PatientMatrix
from recommender.models.popularity import PopularityModel


def judged(scores, given, known=None, frequency=None, person=None, earlier=None, figures=None):
    """An evaluation of one model, "m", in one fold: scores and given (n, n_targets)."""
    scores, given = np.asarray(scores, dtype=np.float32), np.asarray(given, dtype=bool)
    n, m = given.shape
    known = sparse.csr_matrix(np.zeros((n, m)) if known is None else np.asarray(known), dtype=np.float32)
    index = ColumnIndex(
        tuple(Column(str(i), "drug", "", "") for i in range(m)), (Block("treatments", 0, m),), np.arange(m)
    )
    person = np.arange(n) if person is None else np.asarray(person)
    matrix = PatientMatrix(known, index, person.astype(str))
    zeros = np.zeros(n, dtype=np.int64)
    earlier = zeros if earlier is None else np.asarray(earlier)
    trial = Trial(
        "next-visit", "", matrix, matrix, sparse.csr_matrix(given), person, zeros, zeros, earlier, zeros, True
    )
    nobody = np.empty(0, dtype=np.int64)
    frequency = np.full((1, m), 1_000) if frequency is None else np.asarray([frequency])
    evaluation = Evaluation(trial, 0, np.arange(n), zeros, given, nobody, nobody, frequency)
    evaluation.judged["m"] = Judged(pd.DataFrame(figures or {}), scores, scores[:0], 0.0, 0.0)
    return evaluation


def test_by_length_by_hand():
    # the relevant ones stand at places 1 and 3
    table = by_length(judged([[9, 5, 7, 1]], [[1, 1, 0, 0]]), lengths=(1, 3, 20)).set_index(["k", "metric"])["value"]
    assert table.xs("recall", level="metric").tolist() == [0.5, 1, 1]
    assert table.xs("capped_recall", level="metric").tolist() == [1, 1, 1]
    ideal = 1 + 1 / np.log2(3)
    assert table.xs("ndcg", level="metric").tolist() == pytest.approx([1, 1.5 / ideal, 1.5 / ideal])


def test_by_rarity_by_hand():
    scores = np.tile(-np.arange(12.0), (2, 1))  # the first ten are listed
    given = np.zeros((2, 12))
    given[0, [0, 1, 11]] = given[1, [0, 10]] = 1
    frequency = [100, 99, 10, 9, 0, 0, 0, 0, 0, 0, 9, 500]
    table = by_rarity(judged(scores, given, frequency=frequency)).set_index("trained")
    assert table["treatments"].tolist() == [8, 2, 2]
    assert table.loc["under 10", ["patients", "relevant", "found", "value"]].tolist() == [1, 1, 0, 0]
    assert table.loc["10 to 99", ["patients", "relevant", "found", "value"]].tolist() == [1, 1, 1, 1]
    assert table.loc["100 or more", ["patients", "relevant", "found"]].tolist() == [2, 3, 2]
    assert table.loc["100 or more", "value"] == pytest.approx(2 / 3)


def test_by_repeat_by_hand():
    scores = np.tile(-np.arange(12.0), (3, 1))  # the first ten are listed
    given, known = np.zeros((3, 12)), np.zeros((3, 12))
    given[0, [0, 1, 11]] = known[0, [0, 1, 5]] = 1  # a later visit: two repeats found, a new start missed
    given[1, [0, 10]] = 1  # a first visit: one of two new starts found
    given[2, [3]] = known[2, [3]] = 1  # a later visit: one repeat found
    table = by_repeat(judged(scores, given, known=known, earlier=[2, 0, 1])).set_index(["visits", "part"])
    assert set(table.index) == {
        ("all", "repeats"),
        ("all", "new starts"),
        ("first", "new starts"),
        ("later", "repeats"),
        ("later", "new starts"),
    }
    counts = ["patients", "relevant", "found", "value"]
    assert table.loc[("all", "repeats"), counts].tolist() == [2, 3, 3, 1]
    assert table.loc[("all", "new starts"), counts].tolist() == [2, 3, 1, 0.25]  # 0 of 1, and 1 of 2
    assert table.loc[("first", "new starts"), counts].tolist() == [1, 2, 1, 0.5]
    assert table.loc[("later", "new starts"), counts].tolist() == [1, 1, 0, 0]


class TestGroups:
    def test_what_people_are_at_the_moment(self, hospital):
        events = [("care_resource", "ann", "icu", 0, 1), ("care_resource", "ann", "icu", 24 * 200, 24 * 200 + 1)]
        events += [("care_resource", name, "icu", 0, 1) for name in ("bob", "cho")]
        events += [("drug", name, "aspirin", 0.5, None) for name in ("ann", "bob", "cho")]
        events += [("drug", "ann", "statin", 24 * 200, None), ("condition", "bob", "sepsis", -5, None)]
        records = hospital(
            events,
            {
                "ann": {"birth_date": "1960-03-01", "sex": "F", "race": "white", "site": "north"},
                "bob": {"birth_date": "2010-01-01", "sex": "M", "race": "black"},
            },
        )
        trial = make_trial(records, "started")
        several = [np.concatenate([np.arange(4)] * 5)] * 2
        trial = replace(
            trial,
            taught=trial.taught.take(several[0]),
            asked=trial.asked.take(several[0]),
            relevant=trial.relevant[several[0]],
            **{name: getattr(trial, name)[several[0]] for name in ("person", "when", "until", "earlier", "site")},
        )
        evaluation = evaluate([PopularityModel()], trial, folds_of(np.arange(20), 2))
        of = groups(evaluation, records).assign(person=evaluation.person, visit_number=trial.earlier[evaluation.tested])
        of = of.drop_duplicates().set_index(["person", "visit_number"]).sort_index()
        assert of["sex"].tolist() == ["female", "female", "male", "unknown"]
        assert of["age"].tolist() == ["40 to 64", "65 to 79", "under 18", "unknown"]  # ann turns 65 in between
        assert of["race"].tolist() == ["white", "white", "black", "unknown"]
        assert of["hospital"].tolist() == ["north", "north", "unknown", "unknown"]
        assert of["visit"].tolist() == ["first", "later", "first", "first"]
        assert of["leading condition"].tolist() == ["none on the chart"] * 2 + ["common", "none on the chart"]
        assert "ethnicity" not in of  # all the same: nothing to compare

    def test_a_hospital_without_conditions_has_no_leading_one(self, hospital):
        people = [f"p{number}" for number in range(12)]
        events = [("care_resource", one, "icu", 0, 1) for one in people]
        records = hospital(events + [("drug", one, "aspirin", 0.5, None) for one in people], {"p0": {"sex": "F"}})
        trial = make_trial(records, "started")
        of = groups(evaluate([PopularityModel()], trial, folds_of(trial.person, 2)), records)
        assert list(of) == ["sex"]


def grouped(figure, group, person=None, **more):
    figure = np.asarray(figure, dtype=float)
    evaluation = judged(np.zeros((len(figure), 1)), np.ones((len(figure), 1)), person=person, figures={"ndcg": figure})
    return by_group(evaluation, pd.DataFrame({"ward": group, **more}), "m", ["ndcg"])


class TestByGroup:
    def test_means_and_the_gap_to_the_best_by_hand(self):
        figure = [*np.tile([0.2, 0.4], 50), *np.tile([0.7, 0.9], 50), 0.0, 0.0]
        table = grouped(figure, ["a"] * 100 + ["b"] * 100 + ["c"] * 2).set_index("group")
        assert table["examples"].tolist() == table["patients"].tolist() == [100, 100, 2]
        assert table["value"].tolist()[:2] == pytest.approx([0.3, 0.8])
        assert table.loc["a", "best"] == "b"
        assert table.loc["a", "gap"] == pytest.approx(0.5)
        assert table.loc["a", "distinguishable"]
        assert table.loc["b", ["gap", "gap_low", "gap_high"]].isna().all()
        # too small: named, without a figure, and it does not take part
        assert table.loc["c", ["value", "low", "high", "best", "gap", "distinguishable"]].isna().all()

    def test_with_two_groups_it_is_the_usual_interval(self):
        rng = np.random.default_rng(0)
        figure = rng.random(400)
        group = np.repeat(["a", "b"], 200)
        (row,) = grouped(figure, group).dropna(subset="gap").itertuples()
        error = np.sqrt(figure[:200].var() / 200 + figure[200:].var() / 200)
        assert row.gap_high - row.gap == pytest.approx(1.96 * error, rel=0.1)
        assert row.gap == pytest.approx(abs(figure[:200].mean() - figure[200:].mean()))

    def test_one_of_many_groups_does_not_look_far_apart_by_luck(self):
        rng = np.random.default_rng(1)
        group = np.repeat([f"ward {i}" for i in range(8)], 25)
        wrong = sum(grouped(rng.random(200), group)["distinguishable"].any() for _ in range(60))
        assert wrong <= 9  # 5% of 60 is 3

    def test_examples_of_one_person_count_together(self):
        group = np.repeat(["a", "b"], 400)
        person = np.arange(800) // 20  # 20 persons each
        of_person = np.random.default_rng(0).random(40)
        together, apart = (grouped(of_person[person], group, person=who).dropna(subset="gap") for who in (person, None))
        assert (together["patients"] == MIN_PATIENTS).all()
        widths = [(one["gap_high"] - one["gap_low"]).item() for one in (together, apart)]
        assert widths[0] > 3 * widths[1]

    def test_a_lone_group_has_no_gap(self):
        table = grouped(np.arange(25) / 25, ["a"] * 24 + ["b"])
        assert table["gap"].isna().all()
        assert table.loc[0, "value"] == pytest.approx(11.5 / 25)
        assert largest_gaps(table).empty

    def test_nothing_to_compare(self):
        evaluation = judged([[0], [0]], [[1], [1]], figures={"ndcg": [0.0, 1.0]})
        for of in (pd.DataFrame(index=range(2)), pd.DataFrame({"ward": ["a", "b"]})):
            table = by_group(evaluation, of, "m", ["ndcg"])
            assert len(table) == 2 * of.shape[1]
            assert table["value"].isna().all()
            assert largest_gaps(table).empty

    def test_the_largest_gap_of_each_attribute(self):
        figure = np.repeat([0.1, 0.5, 0.9], 30)
        table = grouped(figure, np.repeat(["a", "b", "c"], 30), sex=np.tile(["F", "M"], 45))
        found = largest_gaps(table).set_index("attribute")
        assert found.loc["ward", ["group", "best"]].tolist() == ["a", "c"]
        assert found.loc["ward", "gap"] == pytest.approx(0.8)
        assert found.loc["sex", "gap"] == pytest.approx(0)
        assert not found.loc["sex", "distinguishable"]

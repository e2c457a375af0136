"""What is asked, what is shown and what is to be found, in a hospital worked out by hand; and who is tested when."""

import numpy as np
import pytest
from hypothesis import given as having
from hypothesis import settings
from hypothesis import strategies as st

from recommender.errors import TrainingError
from recommender.evaluation.split import Fold, after, folds_of, one_of
from recommender.evaluation.trial import make_trial, usual_protocol
from recommender.records import TREATMENT_KINDS


def stay(patient, start, stop):
    return ("care_resource", patient, "icu", start, stop)


def drug(patient, name, start, stop=None):
    return ("drug", patient, name, start, stop)


def told(trial, part):
    """The codes of the columns of each example's row in a matrix of all columns."""
    codes = np.array([column.code for column in trial.asked.index.columns], dtype=object)
    return [set(codes[part[row].indices]) for row in range(part.shape[0])]


def targets(trial):
    return {trial.asked.index.columns[ix].code for ix in trial.asked.index.targets}


# ann is there twice, in two wards of one visit and again ten days later; bob once
EVENTS = [
    stay("ann", 0, 30),
    stay("ann", 32, 60),
    stay("ann", 240, 300),
    drug("ann", "aspirin", -100, -50),
    drug("ann", "heparin", 2, 20),
    drug("ann", "insulin", 24, 25),
    drug("ann", "heparin", 40, 50),
    drug("ann", "metformin?", 30),
    drug("ann", "aspirin", 250, 251),
    drug("ann", "statin", 270),
    stay("bob", 0, 48),
    drug("bob", "heparin", 30, 31),
    drug("bob", "statin", 24 * 31 + 30),
    ("condition", "bob", "sepsis", 1, None),
    ("condition", "bob", "delirium", 40, None),
    ("procedure", "bob", "dialysis", 26, 28),
]


class TestStarted:
    @pytest.fixture
    def trial(self, hospital):
        return make_trial(hospital(EVENTS), "started", ["drug"])

    def test_a_moment_a_visit_a_day_into_it(self, trial):
        assert trial.person.tolist() == [0, 0, 1]
        assert trial.earlier.tolist() == [0, 1, 0]
        opened = np.datetime64("2025-01-01", "s").astype(np.int64)
        assert ((trial.when - opened) / 3600).tolist() == [24, 264, 24]
        assert ((trial.until - opened) / 3600).tolist() == [240, 264 + 720, 24 + 720]
        assert trial.said.startswith("24 h into each visit: which of the treatments (drug)")
        assert not trial.repeats

    def test_relevant_is_what_began_then_and_is_new_to_the_chart(self, trial):
        # heparin goes on for ann, metformin was only reported, bob's statin is after the horizon, dialysis is no drug
        assert told(trial, trial.relevant) == [{"insulin"}, {"statin"}, {"heparin"}]

    def test_only_what_was_known_by_then_is_shown(self, trial):
        plain = {"aspirin", "heparin", "insulin", "metformin", "statin", "sepsis", "delirium", "dialysis", "icu"}
        shown = [row & plain for row in told(trial, trial.asked.rows)]
        assert shown == [
            {"aspirin", "heparin", "icu"},
            {"aspirin", "heparin", "insulin", "metformin", "icu"},
            {"sepsis", "icu"},
        ]
        assert trial.asked is trial.taught

    def test_only_the_kinds_asked_for(self, trial, hospital):
        assert targets(trial) == {"aspirin", "heparin", "insulin", "metformin", "statin"}
        every = make_trial(hospital(EVENTS), "started", TREATMENT_KINDS)
        assert told(every, every.relevant)[2] == {"heparin", "dialysis"}
        assert "icu" in targets(every)

    def test_short_visits_are_asked_at_once(self, hospital):
        trial = make_trial(hospital([stay("ann", 0, 1), drug("ann", "aspirin", 0)]), "started")
        assert told(trial, trial.relevant) == [{"aspirin"}]
        assert trial.said.startswith("0 h into each visit: which of the treatments (drug, procedure, care_plan)")


class TestNextVisit:
    @pytest.fixture
    def trial(self, hospital):
        return make_trial(hospital(EVENTS), "next-visit", ["drug"])

    def test_from_the_beginning_of_the_visit(self, trial):
        opened = np.datetime64("2025-01-01", "s").astype(np.int64)
        assert ((trial.when - opened) / 3600).tolist() == [0, 240, 0]
        assert trial.repeats

    def test_relevant_is_all_it_brings_repeats_too(self, trial):
        assert told(trial, trial.relevant) == [{"heparin", "insulin"}, {"aspirin", "statin"}, {"heparin"}]
        assert "aspirin" in told(trial, trial.asked.rows)[1]  # on the chart, and still to be named


class TestHiddenHalf:
    people = tuple(f"p{number}" for number in range(40))
    names = ("aspirin", "heparin", "insulin", "statin", "metformin")

    @pytest.fixture
    def records(self, hospital):
        rng = np.random.default_rng(0)
        events = [("procedure", one, "dialysis", 1, 2) for one in self.people[:3]]
        for one in self.people:
            for name in rng.choice(self.names, rng.integers(1, 6), replace=False):
                events += [drug(one, str(name), 5), drug(one, str(name), 50, 60)]  # twice, so both must be hidden
        return hospital([*events, ("condition", "p0", "sepsis", 1, None)])

    def test_half_rounded_down_is_hidden_and_the_rest_is_shown(self, records):
        trial = make_trial(records, "hidden-half", ["drug"], seed=3)
        had = trial.taught.had.toarray() > 0
        shown, hidden = trial.asked.had.toarray() > 0, trial.relevant[:, trial.asked.index.targets].toarray()
        assert np.array_equal(shown | hidden, had)
        assert not (shown & hidden).any()
        assert np.array_equal(hidden.sum(axis=1), had.sum(axis=1) // 2)

    def test_what_is_hidden_shows_nowhere(self, records):
        trial = make_trial(records, "hidden-half", ["drug"], seed=3)
        whole = told(trial, trial.taught.rows)
        for hidden, shown, all_of_it in zip(
            told(trial, trial.relevant), told(trial, trial.asked.rows), whole, strict=True
        ):
            assert not {code for code in shown if code.endswith(tuple(hidden))}
            for name in hidden:
                assert all_of_it >= {name, f"class:class of {name}"}  # it would have shown

    def test_all_else_stays(self, records):
        trial = make_trial(records, "hidden-half", ["drug"], seed=3)
        for name in ("conditions", "allergies", "demographics", "baseline"):
            part = trial.asked.index.block(name)
            assert (trial.asked.rows[:, part] != trial.taught.rows[:, part]).nnz == 0
        assert all("dialysis" in row for row in told(trial, trial.asked.rows)[:1])

    def test_only_the_kinds_asked_for_are_hidden(self, records):
        hidden = make_trial(records, "hidden-half", ["procedure"], seed=3)
        assert hidden.relevant.nnz == 0  # one each, and half of one is none
        drugs = make_trial(records, "hidden-half", ["drug"], seed=3)
        assert set().union(*told(drugs, drugs.relevant)) <= set(self.names)

    def test_the_seed_decides(self, records):
        one, same, other = (make_trial(records, "hidden-half", ["drug"], seed=seed).relevant for seed in (1, 1, 2))
        assert (one != same).nnz == 0
        assert (one != other).nnz > 0


def test_without_visits_half_is_hidden(hospital):
    assert usual_protocol(hospital([drug("ann", "aspirin", 0)])) == "hidden-half"
    assert usual_protocol(hospital(EVENTS)) == "started"


def test_hospitals_are_the_persons(hospital):
    trial = make_trial(hospital(EVENTS, {"ann": {"site": "north"}, "bob": {"site": "south"}}), "started")
    assert trial.site.tolist() == ["north", "north", "south"]


class TestFolds:
    @settings(max_examples=100, deadline=None)
    @having(st.lists(st.integers(0, 30), min_size=8, max_size=80), st.integers(2, 5), st.integers(0, 5))
    def test_nobody_is_on_both_sides_and_everyone_is_tested_once(self, groups, n_folds, seed):
        groups = np.array(groups)
        if len(np.unique(groups)) < n_folds:
            with pytest.raises(TrainingError, match="groups cannot be split"):
                folds_of(groups, n_folds, seed)
            return
        folds = folds_of(groups, n_folds, seed)
        assert len(folds) == n_folds
        assert np.array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(len(groups)))
        for fold in folds:
            assert not set(groups[fold.train]) & set(groups[fold.test])
            assert np.array_equal(np.sort(np.concatenate([fold.train, fold.test])), np.arange(len(groups)))
        sizes = [len(fold.test) for fold in folds]
        assert max(sizes) - min(sizes) <= np.bincount(groups).max()

    def test_by_hospital(self):
        sites = np.array(["north", "south", "north", "east", "south"], dtype=object)
        folds = folds_of(sites, 3)
        assert {frozenset(sites[fold.test]) for fold in folds} == {
            frozenset(["north"]),
            frozenset(["south"]),
            frozenset(["east"]),
        }

    def test_the_seed_decides(self):
        people = np.arange(50)
        one, same, other = (folds_of(people, 5, seed)[0].test.tolist() for seed in (1, 1, 2))
        assert one == same != other

    def test_the_calendar_is_half_open_and_leaves_out_what_lies_astride(self):
        when, until = np.array([0, 50, 90, 100, 150]), np.array([100, 101, 100, 130, 180])
        (fold,) = after(when, until, 100)
        assert fold.train.tolist() == [0, 2]
        assert fold.test.tolist() == [3, 4]

    @pytest.mark.parametrize("cutoff", [-1, 1_000])
    def test_a_cutoff_with_nothing_on_one_side_is_an_error(self, cutoff):
        with pytest.raises(TrainingError, match="that day"):
            after(np.array([0, 50]), np.array([40, 90]), cutoff)

    def test_one_of_draws_from_the_first(self):
        folds = folds_of(np.arange(100), 2)
        (drawn,) = one_of(folds, 10, seed=1)
        assert np.array_equal(drawn.train, folds[0].train)
        assert len(drawn.test) == 10
        assert set(drawn.test) <= set(folds[0].test)
        assert np.array_equal(drawn.test, np.unique(drawn.test))
        assert one_of(folds, 10, seed=1)[0].test.tolist() == drawn.test.tolist()
        (whole,) = one_of([Fold(np.array([0]), np.array([1, 2]))], 2)
        assert whole.test.tolist() == [1, 2]

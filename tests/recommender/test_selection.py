"""The same budget for every model, no look at the test patients, and a choice that survives being written down."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from data.synthetic import write_hospital
from recommender import selection
from recommender.balance import balanced
from recommender.errors import InputError
from recommender.evaluation.split import folds_of
from recommender.evaluation.trial import make_trial
from recommender.loaders import load
from recommender.matrix import PatientMatrix
from recommender.models import MODELS, SERVABLE
from recommender.models.linear import LinearModel
from recommender.selection import BUDGET, GRIDS, read_choice, save, select, tunable, usual_choice

FAST = ("popularity", "conditional", "linear")


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hospital") / "sample"
    write_hospital(folder, patients=300, seed=3)
    return make_trial(load("synthea", folder, vocabulary=None), "started")


@pytest.fixture(scope="module")
def train(trial):
    return folds_of(trial.person)[0].train


def told(found):
    return [(one.model, one.parameters, one.ndcg) for one in found.tried]


def test_every_model_has_the_same_budget():
    assert set(GRIDS) == set(SERVABLE)
    assert {len(grid) for grid in GRIDS.values()} == {1, BUDGET}
    for name, grid in GRIDS.items():
        made = [str(MODELS[name](**parameters).parameters()) for parameters in grid]
        assert len(set(made)) == len(grid)


def test_the_best_configuration_of_the_best_model_wins(trial, train):
    found = select(trial, train, FAST)
    assert len(found.tried) == 1 + 2 * BUDGET
    best = max(found.tried, key=lambda one: round(one.ndcg.value, 3))
    assert best.model in ("conditional", "linear")
    assert found.winner.name == best.model
    assert best.parameters.items() <= found.winner.parameters().items()
    assert set(found.best) == set(FAST)
    assert found.patients == len(np.unique(trial.person[train][np.diff(trial.relevant[train].indptr) > 0]))


def test_the_test_patients_have_no_say(trial, train):
    mine = np.isin(np.arange(len(trial)), train)

    def emptied(part):
        kept = sparse.csr_matrix(part.multiply(mine[:, None]))
        kept.sort_indices()
        return kept

    matrix = replace(trial.taught, rows=emptied(trial.taught.rows), later=emptied(trial.taught.later), began=None)
    blind = replace(trial, taught=matrix, asked=matrix, relevant=emptied(trial.relevant))
    assert told(select(blind, train, FAST)) == told(select(trial, train, FAST))


def test_of_equals_the_simpler_is_taken(trial, train, monkeypatch):
    monkeypatch.setattr(selection, "GRIDS", {"recency": ({"prior": 0.1}, {"prior": 0.2}), "popularity": ({},)})
    found = select(trial, train, ("popularity", "recency"))  # in this trial both suggest what is common
    assert len({one.ndcg for one in found.tried}) == 1
    assert found.winner.parameters() == {"prior": 0.1}


def test_what_learns_from_visits_alone_is_left_out_without_any(trial):
    bare = replace(trial, taught=replace(trial.taught, later=None))
    assert set(tunable(trial)) - set(tunable(bare)) == {"directed", "logistic-candidates", "blend"}


class TestChoice:
    def test_it_is_read_as_it_was_written(self, trial, train, tmp_path):
        found = select(trial, train, FAST)
        file = tmp_path / "selected_model.json"
        save(file, found, "race", {"created": "2025-01-01"})
        choice = read_choice(file)
        assert type(choice.model) is type(found.winner)
        assert choice.model.parameters() == found.winner.parameters()
        assert (choice.balance, choice.why) == ("race", "selected by `rxrec fit` on 2025-01-01")
        assert not any(patient in file.read_text() for patient in trial.taught.patient_ids[:50])

    @pytest.mark.parametrize(
        "text",
        [
            "{",
            "[]",
            '{"model": "linear"}',
            '{"model": "oracle", "parameters": {}, "balance": "", "created": ""}',
            '{"model": "linear", "parameters": {"depth": 3}, "balance": "", "created": ""}',
            '{"model": "linear", "parameters": {}, "balance": "wealth", "created": ""}',
        ],
    )
    def test_another_file_is_an_error_in_words(self, tmp_path, text):
        (tmp_path / "selected_model.json").write_text(text)
        with pytest.raises(InputError, match=r"selected_model\.json: names no model"):
            read_choice(tmp_path / "selected_model.json")

    def test_without_one_directed_needs_enough_visits(self, trial, train):
        assert usual_choice(trial).model.name == "directed"
        few = replace(trial, relevant=trial.relevant[:10])
        for where in (few, replace(trial, taught=replace(trial.taught, later=None)), None):
            choice = usual_choice(where)
            assert isinstance(choice.model, LinearModel)
            assert "200 are needed" in choice.why


class TestBalance:
    """100 women, 25 men, 3 others of two kinds: n / 100, n / 25 and, as one group, n / 3."""

    PEOPLE = SimpleNamespace(patients=pd.DataFrame({"sex": ["F"] * 100 + ["M"] * 25 + ["other", "other", "unknown"]}))

    def test_weights_by_hand(self):
        matrix = PatientMatrix(sparse.csr_matrix((128, 1), dtype=np.float32), None, np.arange(128).astype(object))
        weight = balanced(matrix, self.PEOPLE, "sex", np.arange(128), np.zeros(128)).weight
        expected = np.repeat([1 / 10, 1 / 5, 1 / np.sqrt(3)], [100, 25, 3])
        np.testing.assert_allclose(weight, expected / expected.mean())
        assert balanced(matrix, self.PEOPLE, "", np.arange(128), np.zeros(128)).weight is None

    def test_a_group_is_small_by_its_patients_not_by_their_visits(self):
        matrix = PatientMatrix(sparse.csr_matrix((130, 1), dtype=np.float32), None, np.arange(130).astype(object))
        patient = np.append(np.arange(100), [125] * 30)  # one of the others, thirty times, and the women
        weight = balanced(matrix, self.PEOPLE, "sex", patient, np.zeros(130)).weight
        expected = np.repeat([1 / np.sqrt(100), 1 / np.sqrt(30)], [100, 30])
        np.testing.assert_allclose(weight, expected / expected.mean())

    def test_age_is_that_of_the_moment(self):
        born = pd.to_datetime(["1950-01-01"] * 50 + [None] * 50, utc=True).astype("datetime64[s, UTC]")
        people = SimpleNamespace(patients=pd.DataFrame({"birth_date": born}))
        when = np.where(np.arange(100) < 25, 0, 40 * 365 * 86_400)  # 20 and 60 years old; the others nobody knows
        matrix = PatientMatrix(sparse.csr_matrix((100, 1), dtype=np.float32), None, np.arange(100).astype(object))
        weight = balanced(matrix, people, "age", np.arange(100), when).weight
        assert len(np.unique(weight[:25])) == len(np.unique(weight[25:50])) == len(np.unique(weight[50:])) == 1
        assert weight[0] == weight[25] == pytest.approx(np.sqrt(2) * weight[50])

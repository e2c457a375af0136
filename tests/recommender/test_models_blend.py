"""The blend and the logistic models against their definitions; test_models_contract has the rest."""

from typing import ClassVar
from zlib import crc32

import numpy as np
import pytest
from scipy import sparse
from test_models import DERIVED_INDEX, N_COLUMNS, index_of, matrix_of, random_matrix

from recommender.errors import TrainingError
from recommender.models import blend
from recommender.models.blend import BlendModel
from recommender.models.directed import DirectedModel
from recommender.models.logistic import CandidatesLogisticModel, LogisticModel
from recommender.models.popularity import PopularityModel

BASELINE = N_COLUMNS - 1


class NoiseModel(PopularityModel):
    """Knows nothing, says a lot."""

    name = "noise"

    def score(self, rows):
        seeds = [crc32(rows.indices[a:b].tobytes()) for a, b in zip(rows.indptr, rows.indptr[1:], strict=False)]
        return np.array([np.random.default_rng(seed).random(len(self.share)) * 100 for seed in seeds], np.float32)


class SpyModel(PopularityModel):
    name = "spy"
    read: ClassVar[list] = []

    def reads(self, matrix):
        self.read.append(set(matrix.patient_ids))
        return super().reads(matrix)


def telling_matrix():
    """Condition c1 of four foretells treatment c1."""
    rng = np.random.default_rng(0)
    which = rng.integers(0, 4, 300)
    index = index_of(4, 4)
    rows = np.zeros((300, 9))
    rows[np.arange(300), 4 + which] = rows[:, 8] = 1
    return matrix_of(index, rows, later=np.eye(4)[which])


class TestBlend:
    def test_what_knows_nothing_gets_no_vote(self, monkeypatch):
        monkeypatch.setitem(blend.BLENDED, "noise", NoiseModel)
        matrix = telling_matrix()
        fitted = BlendModel({"directed": {"strength": 0.1}, "noise": {}}).fit(matrix)
        assert fitted.factors[1] == 0
        alone = DirectedModel(0.1).fit(matrix).score(matrix.rows)
        np.testing.assert_allclose(fitted.score(matrix.rows), fitted.factors[0] * alone, rtol=1e-6)

    def test_nobody_is_held_out_of_a_fit_that_saw_them(self, monkeypatch):
        monkeypatch.setitem(blend.BLENDED, "spy", SpyModel)
        SpyModel.read.clear()
        matrix = telling_matrix()
        matrix.patient_ids[:] = [f"p{i // 3}" for i in range(300)]  # three visits each
        BlendModel({"spy": {}}).fit(matrix)
        *pairs, whole = SpyModel.read
        assert len(pairs) == 2 * blend.PARTS
        for learned, asked in zip(pairs[::2], pairs[1::2], strict=True):
            assert not learned & asked
        assert set.union(*pairs[1::2]) == whole

    def test_with_nobody_to_hold_out_all_have_an_equal_say(self):
        matrix = telling_matrix().take(np.arange(1))
        assert BlendModel({"directed": {}, "linear": {}}).fit(matrix).factors.tolist() == [0.5, 0.5]

    def test_without_visits_it_says_so(self):
        with pytest.raises(TrainingError, match="tell no visits"):
            BlendModel().fit(random_matrix(0))


class TestLogistic:
    @staticmethod
    def assert_maximum(weights, rows, outcome, penalty):
        """The gradient of the penalised likelihood is nil, the intercept's without a penalty."""
        error = 1 / (1 + np.exp(-rows @ weights)) - outcome
        gradient = rows.T @ error + penalty * weights * (np.arange(len(weights)) != BASELINE)
        np.testing.assert_allclose(gradient, 0, atol=0.02)

    def test_it_is_the_maximum_of_the_penalised_likelihood(self):
        matrix = random_matrix(1, with_later=True)
        weights = LogisticModel(2.0).fit(matrix).weights
        rows = matrix.rows.toarray()
        for target in range(7):
            self.assert_maximum(weights[:, target], rows, matrix.later.toarray()[:, target], 2.0)

    def test_a_treatment_does_not_foretell_itself(self):
        matrix = random_matrix(1)
        weights = LogisticModel(2.0).fit(matrix).weights
        for position, target in enumerate(matrix.index.targets):
            rows = matrix.rows.toarray()
            rows[:, target] = 0
            assert weights[target, position] == 0
            self.assert_maximum(weights[:, position], rows, matrix.had.toarray()[:, position], 2.0)

    def test_candidates_are_those_who_did_not_have_it(self):
        matrix = random_matrix(1, with_later=True, index=DERIVED_INDEX)
        weights = CandidatesLogisticModel(2.0).fit(matrix).weights
        for position in range(7):
            asked = matrix.had.toarray()[:, position] == 0
            rows, outcome = matrix.rows.toarray()[asked], matrix.later.toarray()[asked, position]
            self.assert_maximum(weights[:, position], rows, outcome, 2.0)
        with pytest.raises(TrainingError, match="tell no visits"):
            CandidatesLogisticModel().fit(random_matrix(1))

    def test_what_nobody_began_has_the_odds_of_half_a_patient(self):
        matrix = matrix_of(index_of(1, 1), [[0, 1, 1]] * 6, later=[[0]] * 6)
        fitted = LogisticModel().fit(matrix)
        assert fitted.score(sparse.csr_matrix(matrix.rows[:1])).item() == pytest.approx(np.log(0.5 / 6.5))

"""What every model owes, whatever it computes: one suite that all of MODELS and their variants pass."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse
from test_models import DERIVED_INDEX, N_COLUMNS, random_matrix

from recommender.models import MODELS
from recommender.models.blend import BlendModel
from recommender.models.caser import CaserModel
from recommender.models.directed import DirectedModel
from recommender.models.factors import AlsModel
from recommender.models.linear import LinearModel
from recommender.models.logistic import LogisticModel
from recommender.models.neighbours import ItemCosineModel
from recommender.models.patients import PatientsModel
from recommender.models.popularity import PopularityModel
from recommender.ranking import top_n
from recommender.safety.charts import Known
from recommender.snapshot import Release, pack_release, unpack_release

ALL = {
    **{name: model() for name, model in MODELS.items() if model.is_available()},
    **({"caser": CaserModel(width=4, filters=2, epochs=1)} if CaserModel.is_available() else {}),
    "item-cosine, treatments alone": ItemCosineModel(context=False),
    "als, treatments alone": AlsModel(context=False),
    "patients, few": PatientsModel(n_neighbors=5),
    "patients, approximate": PatientsModel(n_neighbors=5, is_approximate=True),
}


# what is known alone, or with what came later: those that learn from nothing else are given nothing else
CASES = [(name, later) for name, model in ALL.items() for later in (False, True) if later or not model.needs_later]
EACH = pytest.mark.parametrize(
    ("name", "with_later"), CASES, ids=[f"{name}{', later' if later else ''}" for name, later in CASES]
)
# what these say of a patient with no history is given all other columns, and need not be popularity
WITH_INTERCEPT = (LinearModel, DirectedModel, LogisticModel, BlendModel, CaserModel)


def read_by(model, seed, n_patients=200, density=0.25, with_later=False):
    return model.reads(random_matrix(seed, n_patients, density, with_later, DERIVED_INDEX))


@pytest.fixture(params=CASES, ids=[f"{name}{', later' if later else ''}" for name, later in CASES])
def case(request):
    name, with_later = request.param
    return ALL[name], read_by(ALL[name], 0, with_later=with_later)


@pytest.fixture
def model(case):
    return case[0]


@pytest.fixture
def matrix(case):
    return case[1]


class TestEveryModel:
    def test_scores_have_one_column_a_target_and_are_finite(self, model, matrix):
        scores = model.fit(matrix).score(matrix.rows)
        assert scores.shape == (200, 7)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_fitting_changes_nothing_and_repeats_to_the_byte(self, model, matrix):
        other = read_by(model, 1, n_patients=90, with_later=model.needs_later)
        first = model.fit(matrix).score(matrix.rows)
        again = model.fit(other).fit(matrix)
        assert np.array_equal(again.score(matrix.rows), first)
        assert again.parameters() == model.fit(matrix).parameters()

    def test_the_order_of_patients_does_not_matter(self, model, matrix):
        shuffled = matrix.take(np.random.default_rng(1).permutation(200))
        assert np.array_equal(model.fit(matrix).score(matrix.rows), model.fit(shuffled).score(matrix.rows))

    def test_one_patient_alone_scores_as_in_a_batch(self, model, matrix):
        fitted = model.fit(matrix)
        batch = fitted.score(matrix.rows)
        alone = np.vstack([fitted.score(matrix.rows[u]) for u in range(200)])
        assert np.array_equal(batch, alone)

    def test_published_and_read_again_it_scores_the_same_bytes(self, model, matrix):
        fitted = model.fit(matrix)
        again = unpack_release("v1", pack_release(Release("v1", {}, matrix.index, fitted, Known(())))).model
        assert type(again) is type(fitted)
        assert again.parameters() == fitted.parameters()
        assert np.array_equal(again.score(matrix.rows), fitted.score(matrix.rows))

    @settings(max_examples=15, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        n_patients=st.integers(1, 60),
        density=st.floats(0, 1),
    )
    @EACH
    def test_contributions_add_up_to_the_score(self, name, with_later, seed, n_patients, density):
        matrix = read_by(ALL[name], seed, n_patients, density, with_later)
        assume(matrix.outcomes.nnz or not ALL[name].needs_later)
        fitted = ALL[name].fit(matrix)
        scores = fitted.score(matrix.rows)
        for u in range(min(n_patients, 5)):
            row = matrix.rows[u]
            for target in range(7):
                parts = fitted.contributions(row.indices, row.data, target)
                assert parts.values.sum() == pytest.approx(scores[u, target], rel=1e-5, abs=1e-5) and parts.values.all()
                assert len(set(parts.columns)) == len(parts.columns) == len(parts.values)
                assert set(parts.columns) <= set(row.indices)

    def test_a_patient_with_no_history_gets_popularity(self, model, matrix):
        shape = (1, len(matrix.index))
        nothing_known = sparse.csr_matrix(([1.0], ([0], [N_COLUMNS - 1])), shape=shape, dtype=np.float32)
        scores = model.fit(matrix).score(nothing_known)[0]
        assert np.isfinite(scores).all()
        if not isinstance(model, WITH_INTERCEPT):
            share = PopularityModel().fit(matrix).share
            order = np.argsort(-share, kind="stable")
            assert np.array_equal(np.argsort(-scores, kind="stable"), order)
            assert (np.diff(scores[order]) < 0).tolist() == (np.diff(share[order]) < 0).tolist()

    def test_a_row_without_even_the_baseline_column_is_scored(self, model, matrix):
        empty = sparse.csr_matrix((1, len(matrix.index)), dtype=np.float32)
        assert np.isfinite(model.fit(matrix).score(empty)).all()

    def test_what_is_taken_or_cannot_be_scored_is_never_listed(self, model, matrix):
        class OneUnknown(type(model)):
            def score(self, rows):
                scores = super().score(rows)
                scores[:, 2] = np.nan
                return scores

        fitted = model.fit(matrix)
        fitted = OneUnknown(**{f.name: getattr(fitted, f.name) for f in dataclasses.fields(fitted)})
        top = top_n(fitted, matrix, 7)
        for u in range(200):
            targets = DERIVED_INDEX.targets.tolist()
            expected = set(targets) - set(matrix.rows[u].indices.tolist()) - {targets[2]}
            assert set(top.of(u)[0].tolist()) == expected


HEEDING_WEIGHT = ("popularity", "linear", "directed", "logistic", "logistic-candidates")


@pytest.mark.parametrize(("name", "with_later"), [case for case in CASES if case[0] in HEEDING_WEIGHT])
def test_a_patient_of_weight_two_counts_as_two(name, with_later):
    model = ALL[name]
    matrix = read_by(model, 3, with_later=with_later)
    weight = np.where(np.arange(200) % 3 == 0, 2.0, 1.0)
    repeated = matrix.take(np.repeat(np.arange(200), weight.astype(int)))
    expected = model.fit(repeated).score(matrix.rows)
    weighted = model.fit(dataclasses.replace(matrix, weight=weight))
    np.testing.assert_allclose(weighted.score(matrix.rows), expected, atol=2e-4)

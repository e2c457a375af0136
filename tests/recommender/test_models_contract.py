"""What every model owes, whatever it computes: one suite that all of MODELS and their variants pass."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from test_models import INDEX, N_COLUMNS, random_matrix

from recommender.models import MODELS
from recommender.models.factors import AlsModel
from recommender.models.linear import LinearModel
from recommender.models.neighbours import ItemCosineModel
from recommender.models.patients import PatientsModel
from recommender.models.popularity import PopularityModel
from recommender.ranking import top_n
from recommender.snapshot import Release, pack_release, unpack_release

ALL = {
    **{name: model() for name, model in MODELS.items()},
    "item-cosine, treatments alone": ItemCosineModel(context=False),
    "als, treatments alone": AlsModel(context=False),
    "patients, few": PatientsModel(n_neighbors=5),
    "patients, approximate": PatientsModel(n_neighbors=5, is_approximate=True),
}


@pytest.fixture(params=ALL)
def model(request):
    return ALL[request.param]


@pytest.fixture(params=[False, True], ids=["all that is known", "with what came later"])
def matrix(request):
    return random_matrix(0, with_later=request.param)


class TestEveryModel:
    def test_scores_have_one_column_a_target_and_are_finite(self, model, matrix):
        scores = model.fit(matrix).score(matrix.rows)
        assert scores.shape == (200, 7)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_fitting_changes_nothing_and_repeats_to_the_byte(self, model, matrix):
        other = random_matrix(1, n_patients=90)
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
        again = unpack_release("v1", pack_release(Release("v1", {}, INDEX, fitted))).model
        assert type(again) is type(fitted)
        assert again.parameters() == fitted.parameters()
        assert np.array_equal(again.score(matrix.rows), fitted.score(matrix.rows))

    @settings(max_examples=15, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        n_patients=st.integers(1, 60),
        density=st.floats(0, 1),
        with_later=st.booleans(),
    )
    @pytest.mark.parametrize("name", ALL)
    def test_contributions_add_up_to_the_score(self, name, seed, n_patients, density, with_later):
        matrix = random_matrix(seed, n_patients, density, with_later)
        fitted = ALL[name].fit(matrix)
        scores = fitted.score(matrix.rows)
        for u in range(min(n_patients, 5)):
            row = matrix.rows[u]
            for target in range(7):
                parts = fitted.contributions(row.indices, row.data, target)
                assert sum(p.value for p in parts) == pytest.approx(scores[u, target], rel=1e-5, abs=1e-5)
                assert len({p.column_ix for p in parts}) == len(parts)
                assert {p.column_ix for p in parts} <= set(row.indices.tolist())

    def test_a_patient_with_no_history_gets_popularity(self, model, matrix):
        nothing_known = sparse.csr_matrix(([1.0], ([0], [N_COLUMNS - 1])), shape=(1, N_COLUMNS), dtype=np.float32)
        scores = model.fit(matrix).score(nothing_known)[0]
        assert np.isfinite(scores).all()
        if not isinstance(model, LinearModel):  # its baseline weights are popularity given all other columns
            share = PopularityModel().fit(matrix).share
            order = np.argsort(-share, kind="stable")
            assert np.array_equal(np.argsort(-scores, kind="stable"), order)
            assert (np.diff(scores[order]) < 0).tolist() == (np.diff(share[order]) < 0).tolist()

    def test_a_row_without_even_the_baseline_column_is_scored(self, model, matrix):
        empty = sparse.csr_matrix((1, N_COLUMNS), dtype=np.float32)
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
            expected = set(INDEX.targets.tolist()) - set(matrix.rows[u].indices.tolist()) - {int(INDEX.targets[2])}
            assert set(top.of(u)[0].tolist()) == expected

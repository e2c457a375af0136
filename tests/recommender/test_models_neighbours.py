"""The neighbourhood models against what is worked out by hand, brute force, and `implicit` where it does the same."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from implicit.utils import ParameterWarning
from scipy import sparse
from test_models import index_of, matrix_of, random_matrix

from recommender.errors import TrainingError
from recommender.models import neighbours
from recommender.models.neighbours import ItemBm25Model, ItemCosineModel, ItemTfidfModel, ItemUserModel
from recommender.models.patients import PatientsModel


def drugs_alone(seed, n_patients=300, n_drugs=25):
    """Zeros and ones, each drug more common than the last; and the baseline."""
    rng = np.random.default_rng(seed)
    rows = rng.random((n_patients, n_drugs)) < np.linspace(0.03, 0.4, n_drugs)
    return matrix_of(index_of(n_drugs, 0), np.hstack([rows, np.ones((n_patients, 1))]))


class TestItems:
    # treatments a, b and condition x: a with x twice, b with x once, a with b once
    MATRIX = matrix_of(index_of(2, 1), [[1, 0, 1, 1], [1, 1, 1, 1], [0, 1, 0, 1], [1, 0, 0, 1]])

    def test_cosine_by_hand(self):
        """|a|^2 = 3, |b|^2 = 2, |x|^2 = 2; a.b = 1, a.x = 2, b.x = 1; each shrunk by n / (n + 1)."""
        weights = ItemCosineModel(shrink=1.0, prior=0.5).fit(self.MATRIX).state()["weights"]
        a_b, a_x, b_x = 1 / np.sqrt(6) / 2, 2 / np.sqrt(6) * 2 / 3, 1 / 2 / 2
        np.testing.assert_allclose(weights, [[0, a_b], [a_b, 0], [a_x, b_x], [0.5 * 3 / 4, 0.5 * 2 / 4]], rtol=1e-6)

    def test_only_the_nearest_count_and_context_only_where_it_is_asked_for(self):
        nearest = ItemCosineModel(n_neighbors=1, shrink=1.0, prior=0.0).fit(self.MATRIX).state()["weights"]
        assert (nearest > 0).tolist() == [[False, False], [False, False], [True, True], [False, False]]
        alone = ItemCosineModel(context=False, prior=0.0).fit(self.MATRIX).state()["weights"]
        assert (alone > 0).tolist() == [[False, True], [True, False], [False, False], [False, False]]

    def test_without_neighbours_popularity_is_left(self):
        alone = ItemCosineModel(n_neighbors=0, prior=0.5).fit(self.MATRIX).state()["weights"]
        np.testing.assert_allclose(alone, [[0, 0], [0, 0], [0, 0], [0.5 * 3 / 4, 0.5 * 2 / 4]], rtol=1e-6)

    @given(seed=st.integers(0, 10_000), n=st.integers(0, 12), shrink=st.sampled_from([0.0, 1.0]))
    @settings(max_examples=40, deadline=None)
    def test_the_nearest_are_those_of_a_stable_sort(self, seed, n, shrink):
        """Few patients, so many columns are equally near: of those the lower come first."""
        rows = np.random.default_rng(seed).random((12, 11)) < 0.4
        together = rows.T.astype(float) @ rows
        length = np.sqrt(np.maximum(together.diagonal(), 1))
        similar = together / length / length[:, None] * (together / np.maximum(together + shrink, 1))
        np.fill_diagonal(similar, 0)
        first = np.argsort(-similar[:, :6], axis=0, kind="stable")[:n]
        expected = np.zeros((12, 6), dtype=np.float32)
        np.put_along_axis(expected, first, np.take_along_axis(similar[:, :6], first, axis=0), axis=0)
        matrix = matrix_of(index_of(6, 5), np.hstack([rows, np.ones((12, 1))]))
        fitted = ItemCosineModel(n_neighbors=n, shrink=shrink, prior=0.0).fit(matrix)
        np.testing.assert_array_equal(fitted.weights, expected)

    @pytest.mark.parametrize(
        ("model", "theirs"),
        [
            (ItemCosineModel, CosineRecommender),
            (ItemTfidfModel, TFIDFRecommender),
            (ItemBm25Model, BM25Recommender),
        ],
    )
    def test_with_all_neighbours_and_no_shrinkage_it_is_the_one_of_implicit(self, model, theirs):
        matrix = drugs_alone(1)
        user_items = matrix.had
        theirs = theirs(K=25, num_threads=1)
        with pytest.warns(ParameterWarning):  # of its own coo_matrix
            theirs.fit(user_items, show_progress=False)
        fitted = model(n_neighbors=25, shrink=0.0, context=False, prior=0.0).fit(matrix)
        ours = fitted.score(matrix.rows)
        for u in range(60):
            if not user_items[u].nnz:
                continue
            items, scores = theirs.recommend(u, user_items[u], N=25 - user_items[u].nnz)
            items, scores = items[scores > 0], scores[scores > 0]  # beyond these it pads
            np.testing.assert_allclose(ours[u, items], scores, rtol=1e-5)
            new = np.setdiff1d(np.flatnonzero(ours[u] > 0), user_items[u].indices)
            assert set(items) == set(new)


class TestPatients:
    # conditions x (patients 0 and 1) and y (patients 1 and 2); treatment a: patient 0, b: patients 1 and 2
    MATRIX = matrix_of(index_of(2, 2), [[1, 0, 1, 0, 1], [0, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 0, 0, 1]])
    QUERY = (np.array([2, 4]), np.array([1, 1], dtype=np.float32))  # x, and the baseline

    def fitted(self, **settings):
        return PatientsModel(n_neighbors=2, **settings).fit(self.MATRIX)

    def cosines(self):
        """idf of a: log(5/2) = p; of b, x and y: log(5/3) = q. The query is x alone, of length 1.

        Patient 0 has a and x, patient 1 has b, x and y: cosines q / |(p, q)| and q / |(q, q, q)|.
        """
        p, q = np.log(5 / 2), np.log(5 / 3)
        return q / np.hypot(p, q), 1 / np.sqrt(3)

    def test_by_hand(self):
        s0, s1 = self.cosines()
        expected = np.array([s0 + 0.5 * 1 / 4, s1 + 0.5 * 2 / 4]) / (s0 + s1 + 0.5)
        query = sparse.csr_matrix(np.array([[0, 0, 1, 0, 1]], dtype=np.float32))
        np.testing.assert_allclose(self.fitted(prior=0.5).score(query)[0], expected, rtol=1e-6)
        plain = np.array([1 + 0.5 * 1 / 4, 1 + 0.5 * 2 / 4]) / 2.5
        np.testing.assert_allclose(self.fitted(prior=0.5, weighted=False).score(query)[0], plain, rtol=1e-6)

    def test_the_evidence_is_counted(self):
        evidence = self.fitted().neighbours(*self.QUERY)
        assert (evidence.n_patients, evidence.with_outcome.tolist()) == (2, [1, 1])
        assert evidence.mean_similarity == pytest.approx(sum(self.cosines()) / 2)
        nobody = self.fitted().neighbours(np.array([4]), np.ones(1, dtype=np.float32))
        assert (nobody.n_patients, nobody.mean_similarity, nobody.with_outcome.tolist()) == (0, 0.0, [0, 0])

    def test_what_came_later_is_counted_not_what_was_there(self):
        rows = self.MATRIX.rows.toarray()
        later = matrix_of(self.MATRIX.index, rows, later=[[0, 1], [1, 0], [0, 0], [0, 0]])
        evidence = PatientsModel(n_neighbors=1).fit(later).neighbours(np.array([0, 2]), np.ones(2, dtype=np.float32))
        assert evidence.with_outcome.tolist() == [0, 1]

    def test_the_exact_search_is_exact(self):
        matrix = random_matrix(2, n_patients=500)
        fitted = PatientsModel(n_neighbors=20, prior=0.0).fit(matrix)
        weighted = matrix.rows.toarray() * fitted.state()["idf"]
        units = weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)
        cosines, had = units @ units.T, matrix.had.toarray()
        for u in range(500):
            nearest = np.argsort(-cosines[u], kind="stable")[:20]
            expected = cosines[u, nearest] @ had[nearest] / max(cosines[u, nearest].sum(), 1e-12)
            np.testing.assert_allclose(fitted.score(matrix.rows[u])[0], expected, rtol=1e-4, atol=1e-6)

    def test_the_approximate_search_finds_nearly_all_of_them_in_patients_of_a_few_kinds(self):
        rng = np.random.default_rng(0)
        kinds = rng.random((20, 60)) < 0.2  # 20 diseases, each with its own dozen columns
        rows = (kinds[rng.integers(0, 20, 4_000)] & (rng.random((4_000, 60)) < 0.8)) | (rng.random((4_000, 60)) < 0.01)
        matrix = matrix_of(index_of(30, 30), np.hstack([rows, np.ones((4_000, 1))]))
        exact = PatientsModel(n_neighbors=20).fit(matrix)
        approximate = PatientsModel(n_neighbors=20, is_approximate=True).fit(matrix)
        again = PatientsModel(n_neighbors=20, is_approximate=True).fit(matrix)
        assert all(np.array_equal(array, again.state()[name]) for name, array in approximate.state().items())
        found = [
            np.array([fitted.neighbours(row.indices, row.data).mean_similarity for row in matrix.rows[:200]])
            for fitted in (exact, approximate)
        ]
        assert (found[1] <= found[0] + 1e-6).all()
        assert found[1].mean() > 0.99 * found[0].mean()

    def test_without_faiss_an_approximate_search_is_an_error_in_words(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "faiss", None)
        with pytest.raises(TrainingError, match=r"rxrec\[ann\]"):
            self.fitted(is_approximate=True)


class TestItemUser:
    def test_by_hand(self):
        """Four patients with a and x, four with b and y, and one with x alone asks; mix as if it had been 0.5.

        Nearest column of a: x, of b: y. The one nearest patient has a. So a: 0.5 x 1 + 0.5 x (1 + prior share) / 2.
        """
        rows = [[1, 0, 1, 0, 1]] * 4 + [[0, 1, 0, 1, 1]] * 4
        fitted = ItemUserModel(n_neighbors=1, n_items=1).fit(matrix_of(index_of(2, 2), rows))
        half = type(fitted).from_state(fitted.parameters(), fitted.state() | {"mix": np.array([0.5], dtype=np.float32)})
        scores = half.score(sparse.csr_matrix(np.array([[0, 0, 1, 0, 1]], dtype=np.float32)))
        prior = fitted.prior
        popular = prior * 0.5 / (1 + prior)
        np.testing.assert_allclose(scores[0], [0.5 + 0.5 * (1 / (1 + prior) + popular), 0.5 * popular], rtol=1e-6)

    def test_the_mix_leans_to_the_side_that_predicts(self, monkeypatch):
        """Later, everyone starts the one of 20 treatments that their condition calls for; 300 conditions are noise.

        The nearest column of each treatment tells it; the nearest patients are alike in the noise.
        """
        monkeypatch.setattr(neighbours, "HITS_AT", 1)  # of 20 treatments, ten would be easy
        rng = np.random.default_rng(0)
        disease, noise = np.eye(20)[rng.integers(0, 20, 800)], rng.random((800, 300)) < 0.1
        rows = np.hstack([np.zeros((800, 20)), disease, noise, np.ones((800, 1))])
        clear = ItemUserModel(n_neighbors=5, n_items=1).fit(matrix_of(index_of(20, 320), rows, disease))
        # the same, but what is started is common or rare whatever the condition: that the patients tell
        by_chance = np.eye(20)[np.minimum(rng.geometric(0.1, 800) - 1, 19)]
        chance = ItemUserModel(n_neighbors=200, n_items=1).fit(matrix_of(index_of(20, 320), rows, by_chance))
        assert clear.mix[0] > 0.25 > chance.mix[0]

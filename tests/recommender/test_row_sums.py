"""Events become the matrix of their sums, whatever order they come in."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.row_sums import row_sums


def test_by_hand():
    row, column = np.array([0, 0, 0, 2]), np.array([70, 3, 70, 0])
    sums = row_sums(row, column, np.array([0.5, 1, 0.25, 2], dtype=np.float32), (4, 71))
    assert sums.indptr.tolist() == [0, 2, 2, 3, 3]
    assert sums.indices.tolist() == [3, 70, 0] and sums.data.tolist() == [1, 0.75, 2]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000), n=st.integers(0, 300), shape=st.tuples(st.integers(1, 9), st.integers(1, 200)),
    ascending=st.booleans(),
)  # fmt: skip
def test_they_are_those_of_a_dense_matrix(seed, n, shape, ascending):
    rng = np.random.default_rng(seed)
    row, column = rng.integers(0, shape[0], n), rng.integers(0, shape[1], n).astype(np.int32)
    row = np.sort(row) if ascending else row
    weight = rng.random(n, dtype=np.float32)
    expected = np.zeros(shape, dtype=np.float32)
    np.add.at(expected, (row, column), weight)  # in the order of the events
    sums = row_sums(row, column, weight, shape)
    assert sums.has_sorted_indices and sums.dtype == np.float32
    np.testing.assert_array_equal(sums.toarray(), expected)

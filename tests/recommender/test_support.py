"""Counts of patients that may be published: right, coarse, and no small one to be worked out from them."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from recommender.matrix import Block, Column, ColumnIndex, PatientMatrix
from recommender.support import BLOCKS, FEW, Count, Support, count_support, least_told, steps


def many_of(matrix, times):
    """The same patients over and over, each time under other ids."""
    ids = np.array([f"{patient}/{k}" for k in range(times) for patient in matrix.patient_ids], dtype=object)
    return PatientMatrix(sparse.vstack([matrix.rows] * times, format="csr"), matrix.index, ids)


@pytest.fixture
def tenfold(tiny_matrix):
    """The tiny hospital ten times: 60 patients."""
    return count_support(many_of(tiny_matrix, 10))


@pytest.fixture
def column(tiny_matrix):
    return {c.name: ix for ix, c in enumerate(tiny_matrix.index.columns)}


@pytest.fixture
def target(tiny_matrix, column):
    return {name: tiny_matrix.index.target_of_column[ix] for name, ix in column.items()}


def test_of_six_patients_nothing_is_told(tiny_matrix, column, target):
    support = count_support(tiny_matrix)
    assert support.had(target["metformin"]) == Count("<11", 0)
    assert support.together(column["diabetes"], target["metformin"]).hidden
    assert not support.counts.any() and not support.totals.any()


def test_counts_worked_out_by_hand(tenfold, column, target):
    # see the table of `tiny_records`, times ten
    had = {name: tenfold.had(target[name]).text for name in ("metformin", "lisinopril", "simvastatin", "warfarin")}
    assert had == {"metformin": "30", "lisinopril": "30", "simvastatin": "20", "warfarin": "20"}
    assert tenfold.had(target["amoxicillin"]).text == "<11"  # ten patients
    assert tenfold.of_column(column["diabetes"]).text == "30"
    assert tenfold.together(column["diabetes"], target["metformin"]).text == "30"  # PAT-1, PAT-2, PAT-3
    assert tenfold.together(column["metformin"], target["lisinopril"]).text == "20"  # PAT-1, PAT-2
    assert tenfold.together(column["lisinopril"], target["metformin"]).text == "20"
    assert tenfold.together(column["lisinopril"], target["warfarin"]).text == "<11"  # PAT-4
    assert tenfold.together(column["diabetes"], target["warfarin"]).text == "<11"  # nobody
    beside = dict(zip(target, tenfold.beside(column["hypertension"])[list(target.values())], strict=True))
    assert (beside["lisinopril"], beside["metformin"], beside["warfarin"]) == (30, 20, 0)


def test_only_treatments_and_conditions_are_counted(tenfold, tiny_matrix):
    counted = {tiny_matrix.index.block_of(ix) for ix in tenfold.columns.tolist()}
    assert counted == set(BLOCKS)
    with pytest.raises(KeyError):
        tenfold.of_column(tiny_matrix.index.block("demographics").start)


def test_state_and_back(tenfold, column, target):
    again = Support.from_state(tenfold.to_state())
    assert again.n_patients == 60
    for name, array in tenfold.to_state().items():
        assert (again.to_state()[name] == array).all() and again.to_state()[name].dtype == array.dtype
    assert again.together(column["diabetes"], target["metformin"]) == Count("30", 30)
    for broken in (
        {"counts": tenfold.counts[:, :2]},
        {"totals": tenfold.totals[1:]},
        {"targets": tenfold.targets + 10_000},
    ):
        with pytest.raises(ValueError, match="fit together"):
            Support.from_state({**tenfold.to_state(), **broken})
    with pytest.raises(KeyError):
        Support.from_state({})


@given(st.integers(0, 2**32 - 1), st.integers(30, 200))
def test_the_compiled_loop_counts_what_dense_matrices_say(seed, n):
    rng = np.random.default_rng(seed)
    dense = (rng.random((n, 9)) < 0.4).astype(np.float32) * rng.random((n, 9)).astype(np.float32)
    columns = tuple(Column(f"c:{ix}", "drug", f"c{ix}", "") for ix in range(9))
    blocks = (Block("treatments", 0, 4), Block("conditions", 4, 7), Block("baseline", 7, 9))
    index = ColumnIndex(columns, blocks, np.array([1, 3], dtype=np.int32))
    support = count_support(PatientMatrix(sparse.csr_matrix(dense), index, np.arange(n).astype(object)))
    there = (dense > 0).astype(np.int64)
    pairs = there.T @ there
    assert (support.counts == steps(pairs[:7][:, [1, 3]], n)).all()
    assert (support.totals == steps(there.sum(axis=0)[:7], n)).all()


def test_a_count_for_people_and_for_programs():
    support = Support(5000, *(np.array([0]),) * 2, np.array([141]), np.array([[0]]))
    assert (support.had(0).text, support.had(0).plain, support.had(0).about) == ("1,410", "1410", 1410)
    assert support.together(0, 0).plain == "<11"


def test_steps():
    def told(count, n=1000):
        return int(steps(np.array([count]), n)[0]) * 10

    assert [told(c) for c in (0, 1, 10, 11, 14, 15, 24, 25, 34, 35, 404, 405, 414, 415)] == [
        *(0, 0, 0, 20, 20, 20, 20, 30, 30, 40, 400, 410, 410, 420)
    ]
    assert [told(c) for c in (984, 985, 994, 995, 1000)] == [980, 990, 990, 990, 990]  # 985 to 1000
    assert steps(np.array([655_354]), 655_354).dtype == np.uint16
    assert steps(np.array([10**6]), 10**6).dtype == np.uint32
    assert int(steps(np.array([700_004]), 10**6)[0]) == 70_000
    assert [least_told(n) for n in (0, 6, 10, 11, 20, 21, 10**6)] == [11, 11, 11, 21, 21, 11, 11]
    assert Support(12, *(np.array([0]),) * 3, np.array([[0]])).had(0).text == "<21"


@pytest.mark.parametrize("n", [*range(1, 70), 100, 101, 105, 109, 123])
def test_no_small_number_can_be_worked_out_from_two_counts(n):
    """For whatever is told of one count, of two (one within the other), and of one beside N, a number below 11 that it
    could leave is one of ten or more, or of all that there can be where there are fewer patients than that."""
    told = steps(np.arange(n + 1), n).tolist()
    single, rest, without = defaultdict(set), defaultdict(set), defaultdict(set)
    for had in range(n + 1):
        single[told[had]].add(had)
        rest[told[had]].add(n - had)
        for together in range(had + 1):
            without[told[had], told[together]].add(had - together)
    for left in itertools.chain(single.values(), rest.values(), without.values()):
        small = [number for number in left if number < FEW]
        assert len(small) >= min(10, n) or not small


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_what_is_told_is_near_the_count_and_never_of_a_small_one(a, b):
    count, n = sorted((a, b))
    (tens,) = steps(np.array([count]), n)
    assert (tens == 0) == (count < least_told(n))
    if tens:
        assert tens >= 2
        assert abs(10 * int(tens) - count) <= 5 or count < 25 or n - count < 15

"""The sequence of visits, by hand; Caser's score against the formula; and, where PyTorch is there, what it learns."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from test_models import matrix_of

from recommender.errors import TrainingError
from recommender.features import build_matrix
from recommender.matrix import Block, Column, ColumnIndex
from recommender.models import SERVABLE
from recommender.models.caser import CaserModel
from recommender.models.directed import DirectedModel
from recommender.moments import Moments
from recommender.sequence import items_of, with_visits, without_visits

needs_torch = pytest.mark.skipif(
    not CaserModel.is_available(), reason="PyTorch (the extra `deep`) is not installed: make test-slow runs this"
)


@pytest.fixture
def visited(tiny_records):
    """PAT-1: metformin at a visit in 2020, lisinopril at one in 2022, simvastatin at one in 2024."""
    day = {"rxnorm:6809": "2020-01-01", "rxnorm:29046": "2022-01-01", "rxnorm:36567": "2024-01-01"}
    code = tiny_records.concepts["code"].to_numpy()
    own = tiny_records.treatments[tiny_records.treatments["patient_ix"] == 0].reset_index(drop=True)
    start = pd.to_datetime([day[code[ix]] for ix in own["concept_ix"]], utc=True).as_unit("s")
    own = own.assign(start=start)
    ward = tiny_records.concepts.iloc[:1].assign(code="ward", kind="care_resource")
    concepts = pd.concat([tiny_records.concepts, ward])
    stays = own.assign(concept_ix=np.int32(len(concepts) - 1), stop=start + pd.Timedelta(days=1))
    return dataclasses.replace(
        tiny_records,
        concepts=concepts.reset_index(drop=True),
        treatments=pd.concat([own, stays], ignore_index=True).astype(tiny_records.treatments.dtypes),
    )


def seconds(day):
    return np.array([pd.Timestamp(day).timestamp()], dtype=np.int64)


def moment(day):
    return Moments(np.zeros(1, np.int32), seconds(day), seconds("2025-01-01"), np.zeros(1, np.int32))


@pytest.mark.parametrize(
    ("day", "brought"),
    [
        ("2022-01-02", [{"lisinopril", "ward"}, {"metformin", "ward"}, set()]),
        ("2024-06-01", [{"simvastatin", "ward"}, {"lisinopril", "ward"}, {"metformin", "ward"}]),
        # a visit has begun and nothing is known of it yet: what it brings begins in that second
        ("2024-01-01", [{"lisinopril", "ward"}, {"metformin", "ward"}, set()]),
    ],
)
def test_each_visit_has_what_it_brought(visited, day, brought):
    at = moment(day)
    matrix = build_matrix(visited, min_target_patients=1, moments=at)
    grown = with_visits(visited, at, matrix)
    names = []
    for number in (1, 2, 3):
        block = grown.index.block(f"visit-{number}")
        columns = [block.start + ix for ix in grown.rows[0, block].indices]
        found = [c for c in (grown.index.columns[ix] for ix in columns) if ":snomed:" not in c.code]  # no conditions
        names.append({"ward" if c.code.endswith(":ward") else c.name for c in found})
    assert names == brought
    back = without_visits(grown)
    assert back.index.columns == matrix.index.columns and (back.rows != matrix.rows).nnz == 0
    assert DirectedModel().reads(grown).index.columns == matrix.index.columns
    assert CaserModel().reads(grown) is grown


N_ITEMS, LENGTH, D = 4, 3, 5
INDEX = ColumnIndex(
    (
        *(Column(f"c{i}", "drug", f"n{i}", "") for i in range(3)),
        *(Column("k", "condition", "k", ""), Column("a", "allergy", "a", ""), Column("b", "baseline", "b", "")),
        *(Column(f"visit-{v}:{i}", "visit", f"n{i}", "") for v in (1, 2, 3) for i in range(N_ITEMS)),
    ),
    (
        *(Block("treatments", 0, 3), Block("conditions", 3, 4), Block("allergies", 4, 5), Block("demographics", 5, 5)),
        Block("baseline", 5, 6),
        *(Block(f"visit-{v + 1}", 6 + v * N_ITEMS, 6 + (v + 1) * N_ITEMS) for v in range(LENGTH)),
    ),
    np.arange(3, dtype=np.int32),
)


def drawn(seed=0):
    """A model of random arrays."""
    rng = np.random.default_rng(seed)

    def some(*shape):
        return rng.normal(size=shape).astype(np.float32)

    lag, item = np.full(18, -1, np.int32), np.full(18, -1, np.int32)
    item[4] = 0
    lag[6:], item[6:] = np.repeat(np.arange(3), N_ITEMS), np.tile(np.arange(N_ITEMS), 3)
    height = np.arange(LENGTH)[None, None, :, None] <= np.arange(LENGTH)[:, None, None, None]
    return CaserModel(
        width=D,
        filters=2,
        lag=lag,
        item=item,
        embedding=some(N_ITEMS, D),
        across=some(LENGTH, 2, LENGTH, D) * height,
        across_bias=some(LENGTH, 2),
        down=some(2, LENGTH),
        dense=some(LENGTH * 2 + 2 * D, D),
        dense_bias=some(D),
        out=some(D, 3),
        static=some(1, 3),
        bias=some(3),
    )


def rows_drawn(n=30, seed=1):
    dense = (np.random.default_rng(seed).random((n, 18)) < 0.4).astype(np.float32)
    dense[:, 5] = 1
    return sparse.csr_matrix(dense)


def test_caser_scores_by_its_formula():
    model, rows = drawn(), rows_drawn()
    for row, scores in zip(rows.toarray(), model.score(rows), strict=True):
        brought = row[6:].reshape(LENGTH, N_ITEMS)
        picture = brought @ model.embedding / np.maximum(brought.sum(axis=1, keepdims=True), 1)
        hidden = []
        for h in range(LENGTH):
            for f in range(2):
                hits = [
                    (picture[t : t + h + 1] * model.across[h, f, : h + 1]).sum() + model.across_bias[h, f]
                    for t in range(LENGTH - h)
                ]
                hidden.append(max(0, *hits) if len(hits) > 1 else max(0, hits[0]))
        hidden += (model.down @ picture).ravel().tolist()
        z = np.maximum(np.array(hidden) @ model.dense + model.dense_bias, 0)
        np.testing.assert_allclose(scores, model.bias + z @ model.out + row[4] * model.static[0], rtol=1e-4, atol=1e-4)


def test_caser_is_explained_exactly():
    model, rows = drawn(), rows_drawn()
    for row, scores in zip(rows, model.score(rows), strict=True):
        for target in range(3):
            parts = model.contributions(row.indices, row.data, target)
            assert parts.values.sum() == pytest.approx(scores[target], abs=1e-5)
            assert set(parts.columns) <= set(row.indices)


def test_caser_is_not_served():
    assert "caser" not in SERVABLE and "directed" in SERVABLE


def test_caser_says_what_it_lacks(monkeypatch):
    matrix = matrix_of(INDEX, np.ones((4, 18)), later=np.zeros((4, 3)))
    monkeypatch.setattr(CaserModel, "is_available", staticmethod(lambda: False))
    with pytest.raises(TrainingError, match=r"pip install 'rxrec\[deep\]'"):
        CaserModel().fit(matrix)


@needs_torch
def test_caser_learns_what_one_visit_after_another_means():
    """Drug 0 begins after drug 1 at the visit before and drug 2 at this one, and not the other way round."""
    rng = np.random.default_rng(0)
    rows = np.zeros((400, 18))
    rows[:, 5] = 1
    first, second = rng.integers(0, 2, 400) > 0, rng.integers(0, 2, 400) > 0
    rows[np.arange(400), 6 + N_ITEMS + np.where(first, 1, 2)] = 1  # visit-2
    rows[np.arange(400), 6 + np.where(second, 1, 2)] = 1  # visit-1
    began = first & ~second
    later = np.zeros((400, 3))
    later[:, 0] = began
    model = CaserModel(width=8, epochs=60, dropout=0.1).fit(matrix_of(INDEX, rows, later))
    scores = model.score(sparse.csr_matrix(rows.astype(np.float32)))[:, 0]
    assert scores[began].min() > scores[~began].max()
    assert items_of(INDEX).tolist() == [0, 1, 2, 3]

"""Reasons are true: taking the strongest one off the chart lowers the score by exactly what it was said to add."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from data.synthetic import write_hospital
from recommender.explain import explain
from recommender.features import build_matrix
from recommender.loaders import load
from recommender.models.directed import DirectedModel
from recommender.models.linear import LinearModel
from recommender.models.simple import ConditionalModel
from recommender.pipeline import make_snapshot
from recommender.safety.screen import Screen
from recommender.vocabulary import DrugVocabulary

SCREEN = Screen.load()


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("hospital") / "sample"
    write_hospital(folder, patients=300, seed=3)
    return load("synthea", folder, vocabulary=DrugVocabulary.load())


@pytest.fixture(params=[LinearModel, DirectedModel], ids=lambda model: model.name)
def snapshot(request, records):
    return make_snapshot(records, build_matrix(records), request.param(), "v1", {}, SCREEN)


def length(model, row) -> float:
    """By what the directed model divides a row; 1 for a model that does not."""
    if model.name != "directed":
        return 1.0
    return float(np.sqrt((row.data.astype(np.float64) ** 2 * model.length[row.indices]).sum()))


def test_without_its_strongest_reason_a_score_falls_by_what_that_added(snapshot) -> None:
    release, tried = snapshot.release, 0
    for patient in range(0, 300, 3):
        entry = snapshot.entry(patient)
        row = snapshot.rows[patient]
        scores = release.model.score(row)[0]
        for column in entry.columns[:5].tolist():
            target = int(release.index.target_of_column[column])
            (reasons,) = explain(release, entry, [column])
            blocks = np.array([release.index.block_of(ix) for ix in reasons.columns.tolist()])
            if blocks[0] == "baseline":  # it is everybody's, and cannot be taken off a chart
                continue
            kept = row.indices != reasons.columns[0]
            without = sparse.csr_matrix((row.data[kept], row.indices[kept], [0, kept.sum()]), shape=row.shape)
            after = float(release.model.score(without)[0, target])
            base = reasons.values[blocks == "baseline"].sum()
            # a shorter chart is brought to the same length again, which stretches all that is left but the baseline
            stretch = length(release.model, row) / length(release.model, without)
            left = float(scores[target]) - reasons.values[0] - base
            assert after == pytest.approx(base + left * stretch, abs=2e-5)
            tried += 1
    assert tried > 50


def test_reasons_add_up_and_stand_in_order_of_size(snapshot) -> None:
    for patient in range(0, 300, 10):
        entry = snapshot.entry(patient)
        found = explain(snapshot.release, entry, entry.columns[:10].tolist())
        for reasons, score in zip(found, entry.scores[:10].tolist(), strict=True):
            sizes = np.abs(reasons.values).tolist()
            assert sizes == sorted(sizes, reverse=True) and all(sizes)
            assert reasons.values.sum() == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("snapshot", [DirectedModel, ConditionalModel], indirect=True)
def test_together_each_is_explained_as_alone(snapshot) -> None:
    """Parts of equal size stand by kind and code, whether a model is one product or tells its parts one by one."""
    release = snapshot.release
    for patient in range(0, 300, 30):
        entry = snapshot.entry(patient)
        columns = entry.columns[:5].tolist()
        for column, reasons in zip(columns, explain(release, entry, columns), strict=True):
            target = int(release.index.target_of_column[column])
            alone = dict(zip(*release.model.contributions(entry.row_columns, entry.row_weights, target), strict=True))
            said = [
                (-abs(value), column.kind, column.code, ix, value)
                for (ix, value), column in ((part, release.index.columns[part[0]]) for part in alone.items())
            ]
            assert list(zip(*(part.tolist() for part in reasons), strict=True)) == [one[3:] for one in sorted(said)]

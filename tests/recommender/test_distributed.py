"""A night in parts is the night of one machine, to the byte: what must hold of any cluster, shown in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.synthetic import write_hospital
from recommender.distributed.lists import found_in, score
from recommender.distributed.night import Today, examples_of, fit, today_of
from recommender.distributed.reading import settle
from recommender.errors import EngineError
from recommender.evaluation.trial import make_trial
from recommender.features import build_matrix
from recommender.feedback import FeedbackUse
from recommender.forgotten import Marked
from recommender.gate import coverage_of
from recommender.loaders import load
from recommender.models.directed import DirectedModel
from recommender.models.linear import LinearModel
from recommender.models.popularity import PopularityModel
from recommender.pipeline import counts, make_snapshot
from recommender.records import SCHEMA, THERAPIES, TREATMENT_KINDS, Records
from recommender.safety.screen import Screen
from recommender.vocabulary import DrugVocabulary
from tests.recommender.parts import in_parts, lookups

PARTS = 3
NOBODY = Marked(frozenset(), {})


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_hospital(folder, patients=250, seed=5)
    return folder


@pytest.fixture(scope="module")
def vocabulary() -> DrugVocabulary:
    return DrugVocabulary.load(None)


@pytest.fixture(scope="module")
def whole(sample, vocabulary) -> Records:
    return load("synthea", sample, vocabulary=vocabulary)


@pytest.fixture(scope="module")
def screen() -> Screen:
    return Screen.load()


@pytest.fixture(scope="module")
def read(sample, vocabulary):
    return settle(in_parts(sample, "synthea", PARTS, vocabulary), NOBODY, lookups("synthea"))


@pytest.fixture(scope="module")
def today(read, screen) -> Today:
    parts, concepts, _ = read
    return today_of(parts, concepts, TREATMENT_KINDS, screen.observed)


def test_the_records_are_those_of_an_export_read_at_once(read, whole):
    parts, concepts, log = read
    found = parts.ask(lambda part: part.records)
    pd.testing.assert_frame_equal(concepts, whole.concepts)
    pd.testing.assert_frame_equal(pd.concat([one.patients for one in found], ignore_index=True), whole.patients)
    ids = whole.patients["patient_id"].to_numpy()
    for name in ("treatments", "conditions", "allergies", "observations"):
        pieces = [
            getattr(one, name).assign(
                patient_ix=one.patients["patient_id"].to_numpy()[getattr(one, name)["patient_ix"]]
            )
            for one in found
        ]
        expected = getattr(whole, name)
        expected = expected.assign(patient_ix=ids[expected["patient_ix"]])
        columns = list(SCHEMA[name])
        in_parts_, at_once = (
            frame.sort_values(columns, kind="stable").reset_index(drop=True)
            for frame in (pd.concat(pieces, ignore_index=True), expected)
        )
        pd.testing.assert_frame_equal(in_parts_, at_once)
    told, expected_log = log.as_dict(), whole.log.as_dict()
    assert told["files"] == expected_log["files"]
    assert told["mapped"] == expected_log["mapped"]
    strip = lambda of: sorted((f["file"], f["field"], f["reason"], f["count"]) for f in of["findings"])  # noqa: E731
    assert strip(told) == strip(expected_log)


def test_what_they_say_together(today, whole):
    assert today.counted == counts(whole)
    assert today.gist.as_of == whole.as_of
    assert today.index.as_dict() == build_matrix(whole).index.as_dict()


def test_the_examples_are_those_of_one_machine(today, whole):
    trial, expected = examples_of(today, THERAPIES).trial(THERAPIES), make_trial(whole, "started", THERAPIES)
    assert trial.said == expected.said
    for name in ("when", "until", "earlier", "site"):
        np.testing.assert_array_equal(getattr(trial, name), getattr(expected, name))
    for name in ("rows", "later", "began"):
        assert abs(getattr(trial.asked, name) - getattr(expected.asked, name)).nnz == 0
    assert (trial.relevant != expected.relevant).nnz == 0


@pytest.mark.parametrize("model", [DirectedModel(), LinearModel()], ids=lambda model: model.name)
def test_the_lists_are_those_of_one_machine(model, today, whole, screen):
    expected = make_snapshot(whole, build_matrix(whole), model, "v1", {}, screen)
    fitted, index, support = fit(today, model, "", FeedbackUse(), examples_of(today, THERAPIES))
    assert index.as_dict() == expected.release.index.as_dict()
    for name, array in expected.release.model.state().items():
        np.testing.assert_array_equal(fitted.state()[name], array)
    for name, array in expected.release.support.to_state().items():
        np.testing.assert_array_equal(support.to_state()[name], array)
    assert today.given == expected.release.given and today.given.drugs
    scored = score(today, fitted, screen)
    found, coverage = found_in(scored, index)
    assert found == expected.release.manifest["safety"]
    assert coverage == coverage_of(index, expected.top)
    assert today.gist.told.known(today.concepts) == expected.release.known
    parts = scored.ask(lambda part: part)
    np.testing.assert_array_equal(np.concatenate([one.patient_ids for one in parts]), expected.patient_ids)
    for name in ("columns", "scores"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(one.top, name) for one in parts]), getattr(expected.top, name)
        )
    np.testing.assert_array_equal(
        np.concatenate([np.diff(one.top.indptr) for one in parts]), np.diff(expected.top.indptr)
    )
    for name in ("concept", "days", "value", "age", "sex"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(one.charts, name) for one in parts]), getattr(expected.charts, name)
        )


def test_a_model_that_cannot_be_fitted_in_parts_is_refused(today):
    with pytest.raises(EngineError, match="popularity cannot be fitted in parts"):
        fit(today, PopularityModel(), "", FeedbackUse(), None)


def test_parts_without_anybody_change_nothing(tmp_path, whole, screen, vocabulary):
    """Twelve people in five parts, and more of them forgotten than one part holds."""
    write_hospital(tmp_path, patients=12, seed=5)
    expected = load("synthea", tmp_path, vocabulary=vocabulary)
    parts, concepts, log = settle(in_parts(tmp_path, "synthea", 14, vocabulary), NOBODY, ())
    pd.testing.assert_frame_equal(concepts, expected.concepts)
    assert log.as_dict()["files"] == expected.log.as_dict()["files"]
    assert today_of(parts, concepts, TREATMENT_KINDS, screen.observed).counted == counts(expected)

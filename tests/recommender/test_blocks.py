"""A night in blocks of patients is a night of all at once, to the byte, wherever what it makes lies."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.synthetic import write_hospital
from recommender import blocks as blocks_module
from recommender.blocks import TABLES, Blocks
from recommender.errors import EngineError, NotEnoughMemory
from recommender.evaluation.trial import make_trial
from recommender.examples import matrix_today
from recommender.features import build_matrix
from recommender.gate import inputs_of
from recommender.loaders import load
from recommender.memory import MIB, Growing, Memory, in_bytes, in_words, resident
from recommender.models.directed import DirectedModel
from recommender.models.linear import LinearModel
from recommender.moments import moments_of_visits, usual_hours
from recommender.pipeline import fitted_on, make_snapshot
from recommender.records import THERAPIES, TREATMENT_KINDS, Records
from recommender.safety.charts import read_charts
from recommender.safety.screen import Screen
from recommender.vocabulary import DrugVocabulary


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Records:
    folder = tmp_path_factory.mktemp("sample")
    write_hospital(folder, patients=120, seed=5)
    return load("synthea", folder, vocabulary=DrugVocabulary.load(None))


def in_order_of_people(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("patient_ix", kind="stable").reset_index(drop=True)


@pytest.mark.parametrize("most_runs", [0, blocks_module.MOST_RUNS], ids=["looked through", "in runs"])
def test_every_event_comes_once_in_its_order(records, monkeypatch, most_runs):
    monkeypatch.setattr(blocks_module, "MOST_RUNS", most_runs)
    monkeypatch.setattr(blocks_module, "CHUNK", 1_000)
    treatments = records.treatments.iloc[np.random.default_rng(1).permutation(len(records.treatments))]
    shuffled = replace(records, treatments=treatments.reset_index(drop=True))
    parts = list(Blocks(50).of(shuffled))
    assert [(first, part.n_patients) for first, part in parts] == [(0, 50), (50, 50), (100, 20)]
    for name in TABLES:
        moved = [
            getattr(part, name).assign(patient_ix=getattr(part, name)["patient_ix"] + np.int32(first))
            for first, part in parts
        ]
        whole = pd.concat([in_order_of_people(one) for one in moved], ignore_index=True)
        pd.testing.assert_frame_equal(whole, in_order_of_people(getattr(shuffled, name)))
    people = pd.concat([part.patients for _, part in parts], ignore_index=True)
    pd.testing.assert_frame_equal(people, records.patients)


def same(one: object, other: object) -> None:
    for field in fields(one):  # type: ignore[arg-type]
        first, second = getattr(one, field.name), getattr(other, field.name)
        if isinstance(first, np.ndarray):
            assert first.dtype == second.dtype, field.name
            np.testing.assert_array_equal(first, second, err_msg=field.name)


def same_rows(one, other) -> None:
    for name in ("indptr", "indices", "data"):
        assert getattr(one, name).dtype == getattr(other, name).dtype
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("model", [DirectedModel(), LinearModel()], ids=lambda model: model.name)
def test_lists_charts_and_model_do_not_depend_on_the_blocks(records, model, tmp_path):
    screen, matrix = Screen.load(), build_matrix(records)
    made = [
        make_snapshot(records, matrix, model, "v1", {}, screen, blocks=how)
        for how in (Blocks(10_000), Blocks(37, tmp_path))
    ]
    for name in ("top", "charts"):
        same(*(getattr(one, name) for one in made))
    same_rows(*(one.rows for one in made))
    first, second = (one.release for one in made)
    assert (first.manifest, first.known, first.index.as_dict()) == (
        second.manifest, second.known, second.index.as_dict()
    )  # fmt: skip
    assert first.given == second.given and first.given.drugs
    for state in ("model", "support"):
        arrays = [one.model.state() if state == "model" else one.support.to_state() for one in (first, second)]
        assert all(np.array_equal(array, arrays[1][name]) for name, array in arrays[0].items())
    # and are what is made of all of them without any blocks
    charts = read_charts(records, screen.observed)
    assert charts.known == first.known
    same(charts, made[1].charts)
    moments = moments_of_visits(records, usual_hours(records))
    taught = build_matrix(records, moments=moments) if model.needs_later else model.reads(matrix)
    fitted = fitted_on(taught, moments, records, first.index, model, "", None)
    assert all(np.array_equal(array, second.model.state()[name]) for name, array in fitted.state().items())


def test_matrix_trial_and_inputs_do_not_depend_on_the_blocks(records, tmp_path):
    how = Blocks(37, tmp_path)
    today, whole = matrix_today(records, TREATMENT_KINDS, how), build_matrix(records)
    same_rows(today.rows, whole.rows)
    assert today.index.as_dict() == whole.index.as_dict()
    assert list(today.patient_ids) == list(whole.patient_ids)
    for protocol in ("started", "next-visit"):
        parts, at_once = (make_trial(records, protocol, THERAPIES, blocks=one) for one in (how, Blocks(10_000)))
        same(parts, at_once)
        for name in ("rows", "later", "began"):
            same_rows(getattr(parts.asked, name), getattr(at_once.asked, name))
    assert inputs_of(records, how) == inputs_of(records)
    moments = moments_of_visits(records, usual_hours(records))
    trial = make_trial(records, "started", THERAPIES, blocks=how)
    same_rows(trial.asked.rows, build_matrix(records, 1, THERAPIES, moments).rows)
    same(trial.moments, moments)


@pytest.mark.parametrize("in_a_file", [True, False])
def test_an_array_that_grows(in_a_file, tmp_path):
    scratch = tmp_path / "new" if in_a_file else None
    growing = Growing(np.int32, scratch)
    for piece in ([3, 1], [], [2]):
        growing.append(np.array(piece, dtype=np.int64))
    whole = growing.whole()
    whole[0] = 7  # it may be written to
    assert (whole.tolist(), whole.dtype) == ([7, 1, 2], np.int32)
    assert Growing(np.float32, scratch).whole().tolist() == []
    assert not in_a_file or list((tmp_path / "new").iterdir()) == []


def test_sizes():
    assert [in_bytes(told) for told in ("3GiB", "800 mib", "1.5GiB", "2GB", "17")] == [
        3 * 1024**3, 800 * 1024**2, 1536 * 1024**2, 2 * 10**9, 17
    ]  # fmt: skip
    for wrong in ("", "lots", "-1GiB", "0MiB", "3 GiB of it", "٣GiB"):
        with pytest.raises(EngineError, match="3GiB or 800MiB"):
            in_bytes(wrong)
    assert [in_words(size) for size in (MIB + 1, 800 * MIB, 5 * 1024 * MIB)] == ["2MiB", "800MiB", "5GiB"]


def test_what_does_not_fit_is_said_before():
    held = resident()
    assert held > 50 * MIB
    asked = Memory(held + 100 * MIB)
    assert asked.needs("the matrix", 10 * MIB) == ""
    with pytest.raises(NotEnoughMemory, match=r"the matrix needs about \d+MiB.*RXREC_MEMORY.*set it to \d+MiB or more"):
        asked.needs("the matrix", 900 * MIB)
    assert "may be ended by the system" in Memory(held + 100 * MIB, asked=False).needs("the matrix", 900 * MIB)
    assert Memory(held + 90 * MIB).in_work(1, 10**12) <= 45 * MIB
    assert Memory(held, asked=False).in_work(1, 10**12) == 10**12  # nothing was asked for: as fast as can be


def test_blocks_follow_from_the_memory(records, tmp_path):
    roomy, tight = (Blocks.within(Memory(resident() + more), records, Path(tmp_path)) for more in (900 * MIB, MIB))
    assert tight.patients == blocks_module.LEAST_PATIENTS < roomy.patients <= blocks_module.PATIENTS

"""The weights of the matrix, worked by hand."""

import numpy as np
import pandas as pd
import pytest

from recommender.errors import TrainingError
from recommender.features import FLOOR, HALF_LIFE_DAYS, ColumnIndex, build_matrix
from recommender.ingest_log import IngestLog
from recommender.records import TIME, RawEvents, RawPatients, assemble

NOW = pd.Timestamp("2026-01-01", tz="UTC")


def records(events, people=("ann", "bob", "cho")):
    """events: (kind, patient, code, start days ago, stop days ago or None)."""
    log = IngestLog()
    frame = pd.DataFrame(
        {
            "row": range(2, 2 + len(people)),
            "patient_id": list(people),
            "birth_date": pd.Series(["1960-01-01", None, "2025-06-01"][: len(people)], dtype=TIME),
            "sex": ["F", "unknown", "M"][: len(people)],
            "race": "",
            "ethnicity": "",
            "as_of": pd.Series([NOW] * len(people), dtype=TIME),
        }
    )
    log.count_read("patients", len(people))
    raw = []
    for kind in dict.fromkeys(e[0] for e in events):
        rows = [e for e in events if e[0] == kind]
        log.count_read(kind, len(rows))
        raw.append(
            RawEvents(
                kind,
                kind,
                pd.DataFrame(
                    {
                        "row": range(2, 2 + len(rows)),
                        "patient_id": [e[1] for e in rows],
                        "code": [e[2] for e in rows],
                        "name": [f"name of {e[2]}" for e in rows],
                        "start": pd.Series([NOW - pd.Timedelta(days=e[3]) for e in rows], dtype=TIME),
                        "stop": pd.Series(
                            [None if e[4] is None else NOW - pd.Timedelta(days=e[4]) for e in rows], dtype=TIME
                        ),
                    }
                ),
            )
        )
    return assemble(RawPatients("patients", frame), raw, log)


def weight(matrix, patient, code):
    column = [c.code for c in matrix.index.columns].index(code)
    return matrix.rows[list(matrix.patient_ids).index(patient), column]


HAD_BY_ALL = [("drug", p, "metformin", 10, None) for p in ("ann", "bob", "cho")]


def test_a_running_course_weighs_one_and_a_stopped_one_less():
    half_life = round(HALF_LIFE_DAYS)
    matrix = build_matrix(
        records(
            [
                *HAD_BY_ALL,
                ("drug", "ann", "aspirin", half_life + 5, half_life),  # stopped one half-life ago: 2^-1
                ("drug", "bob", "aspirin", 30_000, 29_000),  # so long ago that the floor holds
                ("drug", "cho", "aspirin", 3, -3),  # ends in three days: still going on
            ],
        )
    )
    assert weight(matrix, "ann", "metformin") == 1.0
    assert weight(matrix, "ann", "aspirin") == 0.5
    assert weight(matrix, "bob", "aspirin") == FLOOR
    assert weight(matrix, "cho", "aspirin") == 1.0


def test_repeats_add_up_to_one_at_most():
    year = 365.25
    past = [("drug", "ann", "aspirin", 4 * year, 4 * year), ("drug", "bob", "aspirin", 1.5 * year, 1.5 * year)]
    matrix = build_matrix(records([*HAD_BY_ALL, *past, past[0], ("drug", "ann", "metformin", 9, 5)]))
    assert weight(matrix, "bob", "aspirin") == pytest.approx(2**-0.5, abs=1e-3)  # half a half-life ago
    assert weight(matrix, "ann", "aspirin") == FLOOR  # the same row twice is one event
    assert weight(matrix, "ann", "metformin") == 1  # one that goes on and one past
    two_past = [("drug", "ann", "aspirin", days, days) for days in (4 * year, 5 * year)]
    assert weight(build_matrix(records([*HAD_BY_ALL, *two_past])), "ann", "aspirin") == 1  # 1/2 + 1/2


def test_what_happens_after_the_chart_is_read_is_not_seen():
    matrix = build_matrix(
        records([*HAD_BY_ALL, ("condition", "ann", "flu", -1, None), ("condition", "bob", "flu", 0, None)])
    )
    assert weight(matrix, "ann", "flu") == 0
    assert weight(matrix, "bob", "flu") == 1


def test_age_and_sex_columns_hold_what_is_known():
    matrix = build_matrix(records(HAD_BY_ALL))
    described = {
        patient: {
            matrix.index.columns[ix].name
            for ix in matrix.rows[row].indices
            if matrix.index.block_of(ix) == "demographics"
        }
        for row, patient in enumerate(matrix.patient_ids)
    }
    assert described == {"ann": {"age 60-69", "female"}, "bob": set(), "cho": {"age under 1", "male"}}


def test_blocks_lie_side_by_side_and_only_common_treatments_are_targets():
    matrix = build_matrix(
        records(
            [
                *HAD_BY_ALL,
                ("drug", "ann", "rare", 1, None),
                ("procedure", "ann", "x-ray", 1, 1),
                ("condition", "ann", "flu", 1, None),
                ("allergy", "bob", "penicillin", 1, None),
            ]
        )
    )
    assert [b.name for b in matrix.index.blocks] == [
        "treatments",
        "conditions",
        "allergies",
        "demographics",
        "baseline",
    ]
    assert [c.code for c in matrix.index.columns[:5]] == ["metformin", "rare", "x-ray", "flu", "penicillin"]
    assert [matrix.index.columns[t].code for t in matrix.index.targets] == ["metformin"]
    assert matrix.rows[:, -1].toarray().ravel().tolist() == [1, 1, 1]
    assert ColumnIndex.from_dict(matrix.index.as_dict()).columns == matrix.index.columns


def test_weights_survive_float16():
    rng = np.random.default_rng(0)
    events = HAD_BY_ALL + [
        ("drug", "ann", f"d{k}", int(d), int(d) - 1) for k, d in enumerate(rng.integers(1, 9_000, 50))
    ]
    data = build_matrix(records(events)).rows.data
    assert np.array_equal(data, data.astype(np.float16).astype(np.float32))


def test_too_little_to_learn_from_is_an_error_in_words():
    with pytest.raises(TrainingError, match="3 or more of the 2 patients"):
        build_matrix(records(HAD_BY_ALL[:2], people=("ann", "bob")))

"""The weights of the matrix, worked by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from recommender.assembly import assemble
from recommender.errors import TrainingError
from recommender.features import FLOOR, HALF_LIFE_DAYS, build_matrix
from recommender.ingest_log import IngestLog
from recommender.matrix import DERIVED, ColumnIndex
from recommender.moments import Moments
from recommender.records import TIME, RawEvents, RawPatients

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
    return assemble(RawPatients("patients", frame, clock="own"), raw, log)


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


def moments(*rows):
    """(patient's position, days ago from which on nothing is known, days ago until which it is followed)"""
    seconds = [[int((NOW - pd.Timedelta(days=days)).timestamp()) for days in row[1:]] for row in rows]
    known, followed = np.array(seconds).T
    return Moments(np.array([row[0] for row in rows], np.int32), known, followed, np.zeros(len(rows), np.int32))


COURSES = [
    *HAD_BY_ALL,
    ("drug", "ann", "aspirin", 300, 200),
    ("drug", "ann", "statin", 100, 50),
    ("drug", "bob", "aspirin", 60, None),
    ("drug", "bob", "statin", 55, None),
    ("drug", "cho", "aspirin", 20, 5),
    ("condition", "ann", "flu", 100, None),
]


def test_at_a_moment_only_what_was_known_is_seen_and_what_followed_stands_beside():
    at = moments((0, 250, 100), (0, 100, 9), (1, 58, 0), (2, 15, 0))
    matrix = build_matrix(records(COURSES), min_target_patients=1, moments=at)
    assert list(matrix.patient_ids) == ["ann", "ann", "bob", "cho"]
    column = [c.code for c in matrix.index.columns].index
    rows = matrix.rows.toarray()
    assert rows[:, column("aspirin")].tolist() == pytest.approx([1, 2 ** (-100 / HALF_LIFE_DAYS), 1, 1], abs=1e-3)
    assert rows[:, column("flu")].tolist() == [0, 0, 0, 0]  # of the very moment: not yet known
    assert rows[:, column("running:aspirin")].tolist() == [1, 0, 1, 1]
    named = [matrix.index.columns[ix].code for ix in matrix.index.targets]
    assert named == ["aspirin", "metformin", "statin"]
    # 100 days ago is the end of what follows the first moment, and the beginning of what follows the second
    assert matrix.later.toarray().tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 1], [0, 1, 0]]
    today = build_matrix(records(COURSES), min_target_patients=1)
    assert today.index.as_dict() == matrix.index.as_dict()
    assert today.later is None


def test_what_is_only_reported_did_not_begin_then():
    told = records(COURSES)
    told = replace(
        told, treatments=told.treatments.assign(reported=told.treatments["start"] == NOW - pd.Timedelta("20D"))
    )
    matrix = build_matrix(told, min_target_patients=1, moments=moments((2, 30, 0)))
    assert matrix.later.toarray().tolist() == [[0, 1, 0]]  # metformin alone, not aspirin
    assert weight(build_matrix(told, min_target_patients=1), "cho", "reported:aspirin") == 1


def test_a_hidden_event_shows_nowhere():
    all_of_it = records(COURSES)
    hidden = (all_of_it.treatments["patient_ix"] == 1).to_numpy()
    matrix = build_matrix(all_of_it, min_target_patients=1, hidden=hidden)
    demographics_and_baseline = [c.kind for c in matrix.index.columns if c.kind in ("age", "sex", "baseline")]
    assert demographics_and_baseline
    shown = [matrix.index.columns[ix].kind for ix in matrix.rows[1].indices]
    assert set(shown) <= {"age", "sex", "baseline"}
    assert matrix.index.as_dict() == build_matrix(all_of_it, min_target_patients=1).index.as_dict()


def test_what_goes_on_and_what_began_last_are_told_apart():
    last = [("drug", "ann", "aspirin", 5.5, 5.2), ("drug", "ann", "statin", 5, 4), ("drug", "bob", "metformin", 50, 40)]
    matrix = build_matrix(records([*COURSES, *last]), min_target_patients=1)
    drugs = ("aspirin", "statin", "metformin")
    assert [weight(matrix, "bob", f"running:{drug}") for drug in drugs] == [1, 1, 1]
    assert [weight(matrix, "ann", f"running:{drug}") for drug in drugs] == [0, 0, 1]
    assert [weight(matrix, "ann", f"recent:{drug}") for drug in drugs] == [1, 1, 0]  # both within a day of the last
    assert [weight(matrix, "bob", f"recent:{drug}") for drug in drugs] == [0, 0, 1]
    assert matrix.index.n_plain == [c.code for c in matrix.index.columns].index("running:aspirin")


def test_classes_and_groups_are_columns_of_their_own():
    told = records(
        [*COURSES, ("condition", "bob", "icd10cm:E11.9", 5, None), ("condition", "cho", "icd9cm:250.00", 5, 4)]
    )
    told = replace(
        told, concepts=told.concepts.assign(group=told.concepts["code"].map({"aspirin": "NSAID"}).fillna(""))
    )
    matrix = build_matrix(told, min_target_patients=1)
    assert [weight(matrix, who, "class:NSAID") for who in ("ann", "bob", "cho")] == [1, 1, 1]
    assert [weight(matrix, who, "running_class:NSAID") for who in ("ann", "bob", "cho")] == [0, 1, 0]
    assert [weight(matrix, who, "condition_group:diabetes") for who in ("ann", "bob", "cho")] == [0, 1, 1]


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
        *DERIVED,
    ]
    assert [c.code for c in matrix.index.columns[:5]] == ["metformin", "rare", "x-ray", "flu", "penicillin"]
    assert [matrix.index.columns[t].code for t in matrix.index.targets] == ["metformin"]
    assert matrix.rows[:, matrix.index.block("baseline")].toarray().ravel().tolist() == [1, 1, 1]
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


def test_kinds_limit_what_is_suggested_and_not_what_is_seen():
    visits = [("care_resource", *event[1:2], "cardiology", *event[3:]) for event in HAD_BY_ALL]
    known = records([*HAD_BY_ALL, *visits])
    both, drugs, care = (build_matrix(known, **k) for k in ({}, {"kinds": ["drug"]}, {"kinds": ["care_resource"]}))
    assert both.index.target_kinds == ("drug", "care_resource")
    assert (drugs.index.target_kinds, care.index.target_kinds) == (("drug",), ("care_resource",))
    assert [drugs.index.columns[ix].kind for ix in both.index.targets_of(["drug"])] == ["drug"]
    assert (both.rows != drugs.rows).nnz == 0
    with pytest.raises(TrainingError, match=r"no treatment \(procedure\)"):
        build_matrix(known, kinds=["procedure"])

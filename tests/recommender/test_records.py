"""`assemble` on frames of a few rows, and the account of what it rejects."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.assembly import assemble
from recommender.errors import EngineError, InputError
from recommender.event_kernel import MISSING, repeats
from recommender.ingest_log import IngestLog
from recommender.records import SCHEMA, RawEvents, RawPatients, Records


def day(text: str | None) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC") if text else pd.NaT


def people(*ids: str, born: str | None = "1950-01-01", **more: object) -> RawPatients:
    frame = pd.DataFrame({"row": range(2, len(ids) + 2), "patient_id": list(ids)})
    frame = frame.assign(sex="F", race="unknown", ethnicity="unknown", **more)
    return RawPatients(
        "people.csv",
        frame.assign(birth_date=pd.Series(day(born), index=frame.index, dtype=SCHEMA["patients"]["birth_date"])),
        "own" if "as_of" in frame else "one",
    )


def events(kind: str, *rows: tuple, categorical: bool = False) -> RawEvents:
    """Rows of patient, code, name, start, stop."""
    frame = pd.DataFrame(rows, columns=["patient_id", "code", "name", "start", "stop"])
    for column in ("start", "stop"):
        frame[column] = pd.Series([day(text) for text in frame[column]], dtype=SCHEMA["treatments"]["start"])
    if categorical:
        frame = frame.astype(dict.fromkeys(["patient_id", "code", "name"], "category"))
    return RawEvents(f"{kind}.csv", kind, frame.assign(row=range(2, len(rows) + 2)))


def assembled(who: RawPatients, *raws: RawEvents) -> Records:
    log = IngestLog()
    for raw in (who, *raws):
        log.count_read(raw.file, len(raw.frame))
    return assemble(who, raws, log)


DRUG = ("a", "x", "X", "2020-01-01", None)


@pytest.mark.parametrize("categorical", [False, True])
def test_codes_of_different_kinds_are_different_concepts(categorical):
    records = assembled(
        people("a", "b"),
        events("drug", ("b", "y", "Y", "2020-01-02", None), DRUG, categorical=categorical),
        events("condition", ("a", "x", "another X", "2020-01-01", None), categorical=categorical),
    )
    assert records.concepts[["kind", "code", "name"]].to_numpy().tolist() == [
        ["condition", "x", "another X"],
        ["drug", "x", "X"],
        ["drug", "y", "Y"],
    ]
    assert records.treatments[["patient_ix", "concept_ix"]].to_numpy().tolist() == [[1, 2], [0, 1]]
    assert records.conditions[["patient_ix", "concept_ix"]].to_numpy().tolist() == [[0, 0]]
    assert records.as_of == day("2020-01-02")


def test_a_concept_is_called_what_most_rows_call_it():
    rows = [("a", "x", name, f"2020-01-0{n}", None) for n, name in enumerate(["Old", "Metformin", "Metformin", "Z"], 1)]
    assert list(assembled(people("a"), events("drug", *rows)).concepts["name"]) == ["Metformin"]
    rows = [("a", "x", name, f"2020-01-0{n}", None) for n, name in enumerate(["METFORMIN", "Metformin"], 1)]
    assert list(assembled(people("a"), events("drug", *rows)).concepts["name"]) == ["Metformin"]


def test_files_of_one_kind_share_their_concepts():
    one, other = (
        events("drug", DRUG),
        events("drug", ("a", "w", "W", "2020-01-01", None), ("a", "x", "X", "2020-01-05", None)),
    )
    records = assembled(people("a"), one, RawEvents("more.csv", "drug", other.frame))
    assert list(records.concepts["code"]) == ["w", "x"]
    assert list(records.treatments["concept_ix"]) == [1, 0, 1]


def test_rejections_are_counted():
    records = assembled(
        people("a", "", "a"),
        events(
            "drug",
            DRUG,
            DRUG,
            ("z", "x", "X", "2020-01-01", None),
            (None, "x", "X", "2020-01-01", None),
            ("a", "x", "X", None, None),
            ("a", "x", "X", "2020-01-02", "2020-01-01"),
            ("a", "x", "X", "1948-12-30", None),
            ("a", "x", "X", "1949-01-01", None),  # some sources know the year of birth only
            ("a", "x", "X", "2940-01-01", None),
        ),
    )
    assert {(f.file, f.field, f.reason): f.first_rows for f in records.log.findings} == {
        ("people.csv", "patient_id", "patient id missing"): (3,),
        ("people.csv", "patient_id", "the same patient id as an earlier row"): (4,),
        ("drug.csv", "row", "repeats an earlier row (same patient, code, times and value)"): (3,),
        ("drug.csv", "patient_id", "patient id not in the patients file"): (4,),
        ("drug.csv", "patient_id", "patient id missing"): (5,),
        ("drug.csv", "start", "date missing"): (6,),
        ("drug.csv", "stop", "stop is before start"): (7,),
        ("drug.csv", "start", "date is before birth"): (8,),
        ("drug.csv", "start", "date lies in the future"): (10,),
    }
    assert records.log.as_dict()["files"]["drug.csv"] == {"read": 9, "kept": 2, "rejected": 7}


@pytest.mark.parametrize("wrong", [None, "1940-01-01", "2940-01-01"])
@pytest.mark.parametrize(("born", "since"), [("1950-01-01", "1950-01-01"), (None, "1900-01-01")])
def test_an_allergy_is_kept_whatever_its_date(wrong, born, since):
    known = wrong == "1940-01-01" and born is None  # nothing is wrong with it then
    records = assembled(people("a", born=born), events("drug", DRUG), events("allergy", ("a", "p", "P", wrong, None)))
    assert list(records.allergies["start"]) == [day("1940-01-01" if known else since)]
    assert [f.outcome for f in records.log.findings] == ([] if known else ["set aside"])


def test_an_allergy_with_a_wrong_stop_is_still_there():
    records = assembled(
        people("a"), events("drug", DRUG), events("allergy", ("a", "p", "P", "2020-01-01", "2019-01-01"))
    )
    assert records.allergies["stop"].isna().all()


def test_charts_are_read_at_the_moment_the_loader_gives():
    records = assembled(
        people("a", as_of=pd.Series([day("2150-01-01")], dtype=SCHEMA["patients"]["as_of"])), events("drug", DRUG)
    )
    assert records.as_of == day("2150-01-01")


def test_data_shifted_into_the_future_are_believed():
    rows = [("a", "x", "X", f"2150-01-0{n}", None) for n in range(1, 9)]
    assert len(assembled(people("a"), events("drug", *rows)).treatments) == 8


def test_nothing_usable():
    with pytest.raises(InputError, match=r"no patient in this file can be used; most often: people.csv, patient_id"):
        assembled(people(""), events("drug", DRUG))
    with pytest.raises(InputError, match=r"no usable event.*; most often: drug.csv, start: date missing: 1 rejected"):
        assembled(people("a"), events("drug", ("a", "x", "X", None, None)))
    with pytest.raises(InputError, match=r"no usable event.*; without any row: drug.csv"):
        assembled(people("a"), events("drug"))


def test_records_that_are_not_whole_are_refused():
    records = assembled(people("a"), events("drug", DRUG))
    tables = {name: getattr(records, name) for name in SCHEMA}
    with pytest.raises(EngineError, match="expected"):
        Records(**{**tables, "patients": records.patients.drop(columns="sex")}, log=records.log)
    with pytest.raises(EngineError, match="outside its patient_ix table"):
        Records(**{**tables, "treatments": records.treatments.assign(patient_ix=np.int32(7))}, log=records.log)


def test_a_loader_that_loses_rows_is_a_fault_of_ours():
    log = IngestLog()
    log.count_read("people.csv", 1)
    log.count_read("drug.csv", 2)
    with pytest.raises(EngineError, match="2 rows read but 1 kept and 0 rejected"):
        assemble(people("a"), [events("drug", DRUG)], log)


def test_the_log_keeps_the_first_rows_and_the_most_frequent_names():
    log = IngestLog()
    log.add("f", "x", "why", np.array([9, 8, 7]))
    log.add("f", "x", "why", [6, 5, 4, 3])
    log.add("f", "x", "why", [])
    assert [(f.count, f.first_rows) for f in log.findings] == [(7, (3, 4, 5, 6, 7))]
    assert str(log.findings[0]) == "f, x: why: 7 rejected (rows 3, 4, 5, 6, 7, ...)"
    for number in range(60):
        log.count_unmapped(f"drug {number:02}", number + 1)
    listed = log.as_dict()["unmapped"]
    assert (len(listed), next(iter(listed.items()))) == (50, ("drug 59", 60))


EVENTS = st.tuples(
    st.integers(3, 5),
    st.integers(0, 1),
    st.sampled_from([0, 5, MISSING]),
    st.sampled_from([5, MISSING]),
    st.sampled_from([0.5, 0.0, -0.0, float("nan")]),
    st.booleans(),
)
TYPES = {"patient_ix": "int32", "described": "int32", "start": "int64", "stop": "int64", "value": "f8", "local": "bool"}


@given(st.lists(EVENTS, max_size=30))
@settings(deadline=None)
def test_repeats_are_those_of_pandas(rows):
    table = pd.DataFrame(rows, columns=list(TYPES)).astype(TYPES)
    for columns in (list(TYPES), list(TYPES)[:4], [*list(TYPES)[:4], "local"]):
        routes = 1 << np.arange(len(table), dtype=np.uint32)  # an own bit each
        found = repeats({**{name: table[name].to_numpy().copy() for name in columns}, "routes": routes}, 3, 6)
        assert found.tolist() == table[columns].duplicated().tolist()
        of_all = [sum(1 << row for row in mine.index) for _, mine in table.groupby(columns, dropna=False, sort=False)]
        assert routes[~found].tolist() == of_all

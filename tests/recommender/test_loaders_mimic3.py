"""MIMIC-III exports: a folder of a few rows, worked out by hand; what is as in MIMIC-IV is tested there."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loaders_sources import NOT_A_TIME, events, findings, names, same

from recommender.errors import InputError
from recommender.loaders import load

FIXTURE = Path(__file__).parents[1] / "fixtures" / "mimic3"


def test_orders_have_dates_only():
    records = load("mimic3", FIXTURE, vocabulary=None)
    assert [event for event in events(records, "treatments") if event[1] == "drug"] == [
        ("100", "drug", "mimic:Furosemide", "2150-01-01T08:00:00", "2150-01-01T23:59:59"),  # admitted at 8 on that day
        ("100", "drug", "mimic:Furosemide", "2150-01-02", "2150-01-05T12:00:00"),  # discharged at 12 on that day
        ("100", "drug", "mimic:Warfarin", "2149-12-31", "2150-01-02T23:59:59"),
        ("200", "drug", "mimic:Warfarin", "2180-06-16", "2180-06-20T10:00:00"),  # no stop: ends with the stay
    ]
    diluent = "not therapy: the diluent of an order (drug_type is neither MAIN nor ADDITIVE)"
    assert findings(records.log, "PRESCRIPTIONS.csv") == {
        ("stop", "stop is before start", "rejected"): (5,),
        ("DRUG_TYPE", diluent, "rejected"): (6,),
    }


def test_what_is_coded_is_known_from_discharge_on():
    records = load("mimic3", FIXTURE, vocabulary=None)
    assert [event for event in events(records, "treatments") if event[1] == "procedure"] == [
        ("100", "procedure", "icd9pcs:39.61", "2150-01-05T12:00:00", "2150-01-05T12:00:00")
    ]
    assert events(records, "conditions") == [
        ("100", "condition", "icd9cm:413.9", "2150-01-05T12:00:00", ""),
        ("200", "condition", "icd9cm:E880.9", "2180-06-20T10:00:00", ""),
    ]
    unknown = "the admission is not among the usable ones, so the date is unknown"
    assert findings(records.log, "DIAGNOSES_ICD.csv") == {
        ("hadm_id", unknown, "rejected"): (4,),
        ("icd9_code", "missing", "rejected"): (5,),
    }
    assert names(records)["icd9cm:413.9"] == "Other and unspecified angina pectoris"
    assert records.log.absent == ["d_icd_procedures", "services", "transfers"]


def test_laboratory_values():
    records = load("mimic3", FIXTURE, vocabulary=None)
    drawn = "2150-01-01T09:00:00"
    assert events(records, "observations") == [
        ("100", "observation", "loinc:2160-0", drawn, drawn, 1.2),
        ("100", "observation", "loinc:2823-3", drawn, drawn, 4.5),
    ]
    assert findings(records.log, "LABEVENTS.csv") == {
        ("valueuom", "not the unit that this test is known to come in", "rejected"): (4,),
        ("ITEMID", "not one of the laboratory tests that are read", "rejected"): (5,),
    }


def test_people():
    people = load("mimic3", FIXTURE, vocabulary=None).patients.set_index("patient_id")
    # 200 is born 300 years before the first admission, which stands for an age over 89: taken as 90
    assert list(people["birth_date"].dt.strftime("%Y-%m-%d")) == ["2100-03-01", "2090-06-15", "2090-01-01"]
    assert [str(time) for time in people["as_of"].dt.tz_localize(None)] == [
        "2150-01-05 12:00:00",  # the last discharge
        "2180-06-20 10:00:00",
        "2090-01-01 00:00:00",  # nothing is known but the birth
    ]
    assert list(people["sex"]) == ["F", "M", "M"]
    assert list(people["race"]) == ["black", "unknown", "unknown"]
    assert list(people["ethnicity"]) == ["nonhispanic", "hispanic", "unknown"]


def test_a_birth_date_that_cannot_be_read_is_set_aside(tmp_path):
    shutil.copytree(FIXTURE, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "patients.csv"
    file.write_text(file.read_text().replace("2100-03-01 00:00:00", "March 2100"))
    records = load("mimic3", tmp_path, vocabulary=None)
    assert list(records.patients["birth_date"].isna()) == [True, False, False]
    assert findings(records.log, "patients.csv") == {("dob", NOT_A_TIME, "set aside"): (2,)}


def test_the_case_of_file_and_column_names_does_not_matter(tmp_path):
    """Releases differ in it."""
    for change in (str.upper, str.lower):
        for file in FIXTURE.iterdir():
            header, rows = file.read_text().split("\n", 1)
            (tmp_path / change(file.name)).write_text(change(header) + "\n" + rows)
        same(load("mimic3", tmp_path, vocabulary=None), load("mimic3", FIXTURE, vocabulary=None))
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()


@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_arbitrary_cells(data):
    """A file of the fixture gets some of its cells exchanged for others of the same file."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(FIXTURE, folder, dirs_exist_ok=True)
        file = data.draw(st.sampled_from(sorted(Path(folder).iterdir())))
        rows = pd.read_csv(file, dtype=str)
        place = st.tuples(st.integers(0, len(rows) - 1), st.integers(0, rows.shape[1] - 1))
        for one, other in data.draw(st.lists(st.tuples(place, place), max_size=8)):
            rows.iloc[one] = rows.iloc[other]
        rows.to_csv(file, index=False)
        with contextlib.suppress(InputError):
            load("mimic3", Path(folder), vocabulary=None).log.check()

"""Each source's loader on a folder of a few rows, its expected tables worked out by hand, dirt and all."""

import gzip
import shutil
from pathlib import Path

import pandas as pd
import pytest

from recommender.errors import InputError
from recommender.ingest_log import IngestLog
from recommender.loaders import SOURCES, load
from recommender.records import Records
from recommender.vocabulary import DrugVocabulary

FIXTURES = Path(__file__).parents[1] / "fixtures"
# FHIR is no rows, and OMOP's fixture holds tab-separated files: their own tests ask the same of them
ROW_FILES = sorted(SOURCES.keys() - {"fhir", "omop"})


@pytest.fixture(scope="module")
def vocabulary() -> DrugVocabulary:
    return DrugVocabulary.load()


def events(records: Records, table: str) -> list[tuple]:
    """(patient id, kind, code, start, stop[, value]) of each event, in order; dates as text, '' for none."""
    frame = getattr(records, table)
    concepts = records.concepts.iloc[frame["concept_ix"]]

    def text(times: pd.Series) -> list[str]:
        return [("" if pd.isna(t) else t.isoformat().removesuffix("+00:00").removesuffix("T00:00:00")) for t in times]

    ids = records.patients["patient_id"].iloc[frame["patient_ix"]]
    columns = [ids, concepts["kind"], concepts["code"], text(frame["start"]), text(frame["stop"])]
    if table == "observations":
        columns.append(frame["value"].round(6))
    return sorted(zip(*columns, strict=True))


def findings(log: IngestLog, file: str) -> dict[tuple[str, str, str], tuple[int, ...]]:
    return {(f.field, f.reason, f.outcome): f.first_rows for f in log.findings if f.file == file}


def names(records: Records) -> dict[str, str]:
    return dict(zip(records.concepts["code"], records.concepts["name"], strict=True))


NOT_A_TIME = "not a date or time such as 2021-03-05 or 2021-03-05T06:07:08Z"
REPEATS = "repeats an earlier row (same patient, code, times and value)"


# --- plain csv -------------------------------------------------------------------------------------------------------


def test_csv_keeps_what_can_be_used_and_counts_the_rest():
    records = load("csv", FIXTURES / "csv", vocabulary=None)
    assert events(records, "treatments") == [
        ("001", "drug", "A10", "2020-01-01", ""),
        ("001", "drug", "A10", "2021-01-01", "2021-02-01"),
        ("003", "drug", "text:aspirin 100 mg", "2020-06-01", "2020-06-30"),
        ("004", "care_plan", "C1", "2020-07-01", ""),
        ("004", "procedure", "P1", "2020-07-01", "2020-07-01"),
    ]
    assert findings(records.log, "treatments.csv") == {
        ("stop", "stop is before start", "rejected"): (4,),
        ("start", NOT_A_TIME, "rejected"): (5,),
        ("patient_id", "patient id not in the patients file", "rejected"): (6,),
        ("row", REPEATS, "rejected"): (7,),
        ("code", "neither a code nor a name", "rejected"): (8,),
        ("kind", "not one of drug, procedure, care_plan, care_resource", "rejected"): (12,),
        ("row", "not as many fields as the header has", "rejected"): (13,),
        ("row", "blank, or with nothing in the columns that are read", "rejected"): (14,),
        ("start", "date is before birth", "rejected"): (15,),
        ("patient_id", "patient id missing", "rejected"): (16,),
        ("start", "date missing", "rejected"): (17,),
        ("code", "over several lines or longer than 1,000 characters (a quotation mark missing?)", "rejected"): (18,),
    }
    assert (records.log.read["treatments.csv"], records.log.kept["treatments.csv"]) == (17, 5)


def test_csv_patients():
    records = load("csv", FIXTURES / "csv", vocabulary=None)
    people = records.patients.set_index("patient_id")
    assert list(people.index) == ["001", "002", "003", "004", "006"]  # 006 has no history
    assert list(people["sex"]) == ["F", "M", "unknown", "F", "M"]
    assert list(people["race"]) == ["white", "unknown", "black", "asian", "unknown"]
    assert [str(day.date()) for day in people["birth_date"].dropna()] == ["1950-03-01", "1960-05-05", "1980-01-01"]
    assert set(people["as_of"]) == {pd.Timestamp("2021-01-01", tz="UTC")}  # the latest start of all
    assert findings(records.log, "patients.csv") == {
        ("sex", "not a known spelling of a sex, taken as unknown", "set aside"): (4,),
        ("birth_date", NOT_A_TIME, "set aside"): (5,),
        ("patient_id", "patient id missing", "rejected"): (6,),
        ("patient_id", "the same patient id as an earlier row", "rejected"): (7,),
    }


def test_an_allergy_is_never_lost_to_a_wrong_date():
    records = load("csv", FIXTURES / "csv", vocabulary=None)
    assert events(records, "allergies") == [
        ("001", "allergy", "text:penicillin", "1950-03-01", ""),  # since birth
        ("002", "allergy", "N1", "2015-01-01", ""),
        ("003", "allergy", "L1", "1900-01-01", ""),  # since an unknown birth
    ]
    assert findings(records.log, "allergies.csv") == {
        ("start", "date missing", "set aside"): (2, 3),
        ("start", NOT_A_TIME, "set aside"): (3,),
        ("stop", "stop is before start", "set aside"): (4,),
    }


def test_observations_stay_in_one_unit():
    records = load("csv", FIXTURES / "csv", vocabulary=None)
    assert events(records, "observations") == [
        ("001", "observation", "2160-0", "2020-01-01", "2020-01-01", 88.0),
        ("001", "observation", "2160-0", "2020-02-01", "2020-02-01", 90.0),
    ]
    assert findings(records.log, "observations.csv") == {
        ("unit", "not the unit that most rows of this code have", "rejected"): (4,),
        ("value", "not a number", "rejected"): (5,),
        ("value", "missing", "rejected"): (6,),
    }
    assert list(records.concepts.loc[records.concepts["kind"] == "observation", "unit"]) == ["umol/L"]


def test_csv_drugs_by_the_vocabulary(vocabulary):
    records = load("csv", FIXTURES / "csv", vocabulary=vocabulary)
    assert {(e[0], e[2]) for e in events(records, "treatments") if e[1] == "drug"} == {
        ("001", "rxnorm:6809"),
        ("003", "rxnorm:1191"),
    }
    assert sum(records.log.mapped.values()) == 9  # rows 2-7, 9, 15-17 are drugs with a name, but row 5 has no date
    assert not records.log.unmapped


def test_csv_of_patients_and_items_alone(tmp_path):
    (tmp_path / "treatments.csv").write_text("patient_id,code\n007,0012\n007,0013\n008,0012\n008,0012\n")
    records = load("csv", tmp_path, vocabulary=None)
    assert events(records, "treatments") == [
        ("007", "drug", "0012", "2000-01-01", ""),
        ("007", "drug", "0013", "2000-01-01", ""),
        ("008", "drug", "0012", "2000-01-01", ""),
    ]
    assert list(records.patients["patient_id"]) == ["007", "008"]
    assert set(records.patients["sex"]) == {"unknown"}
    assert records.log.as_dict()["absent"] == ["patients", "conditions", "allergies", "observations"]
    finding = next(f for f in records.log.findings if f.outcome == "set aside")
    assert (finding.reason, finding.count) == ("no such column: all events share one date", 4)


def test_csv_without_dates_takes_the_latest_of_the_other_files(tmp_path):
    (tmp_path / "treatments.csv").write_text("patient_id,code\n1,A\n")
    (tmp_path / "conditions.csv").write_text("patient_id,code,start\n1,C,2020-02-03\n")
    records = load("csv", tmp_path, vocabulary=None)
    assert events(records, "treatments") == [("1", "drug", "A", "2020-02-03", "")]


# --- Synthea ---------------------------------------------------------------------------------------------------------


def test_synthea(vocabulary):
    records = load("synthea", FIXTURES / "synthea", vocabulary=vocabulary)
    assert events(records, "treatments") == [
        ("p-1", "care_plan", "snomed:53950000", "2020-04-01", ""),
        ("p-1", "drug", "rxnorm:6809", "2020-01-01T10:00:00", ""),
        ("p-1", "procedure", "snomed:127783003", "2020-03-01T08:00:00", "2020-03-01T09:00:00"),
        ("p-1", "procedure", "snomed:127783003", "2020-03-02T08:00:00", "2020-03-02T08:00:00"),
        ("p-2", "drug", "rxnorm:29046", "2020-01-01T10:00:00", "2020-03-01T10:00:00"),
        ("p-2", "drug", vocabulary.match("Frobnicol 5 MG Oral Tablet").code, "2020-02-01T10:00:00", ""),
    ]
    assert findings(records.log, "medications.csv") == {
        ("stop", "stop is before start", "rejected"): (4,),
        ("row", REPEATS, "rejected"): (5,),  # the same drug, shouted
        ("start", "date missing", "rejected"): (7,),
        ("patient_id", "patient id not in the patients file", "rejected"): (8,),
    }
    assert records.log.unmapped == {"Frobnicol 5 MG Oral Tablet": 1}
    assert records.log.mapped == {"parsed": 6, "none": 1}
    assert str(records.as_of) == "2020-05-01 08:00:00+00:00"


def test_synthea_context():
    records = load("synthea", FIXTURES / "synthea", vocabulary=None)
    assert events(records, "conditions") == [
        ("p-1", "condition", "snomed:44054006", "2019-01-01", ""),
        ("p-2", "condition", "icd10cm:I10", "2019-03-01", ""),
        ("p-2", "condition", "snomed:160903007", "2019-04-01", ""),
        ("p-2", "condition", "snomed:444814009", "2019-02-01", "2019-03-01"),
    ]
    assert events(records, "allergies") == [
        ("p-1", "allergy", "rxnorm:1191", "2011-03-02", ""),
        ("p-2", "allergy", "snomed:102263004", "1960-05-05", ""),
    ]
    assert events(records, "observations") == [
        ("p-1", "observation", "loinc:8302-2", "2020-05-01T08:00:00", "2020-05-01T08:00:00", 167.1)
    ]
    assert findings(records.log, "observations.csv") == {("VALUE", "not a number", "rejected"): (3,)}
    assert names(records)["snomed:44054006"] == "Diabetes mellitus type 2"
    assert names(records)["icd10cm:I10"] == "Essential (primary) hypertension"
    assert names(records)["snomed:102263004"] == "Eggs (edible)"
    assert names(records)["rxnorm:314076"] == "lisinopril 10 MG Oral Tablet"  # as most rows have it
    groups = records.concepts[records.concepts["kind"] == "allergy"]
    assert list(groups["group"]) == ["medication", "food"]
    assert list(records.patients["ethnicity"]) == ["nonhispanic", "hispanic", "nonhispanic"]


def test_synthea_of_old(tmp_path):
    """Early versions know no SYSTEM and no CATEGORY, and procedures have one DATE."""
    shutil.copytree(FIXTURES / "synthea", tmp_path, dirs_exist_ok=True)
    for name, gone in (("conditions", "SYSTEM"), ("allergies", "SYSTEM"), ("allergies", "CATEGORY")):
        file = tmp_path / f"{name}.csv"
        pd.read_csv(file, dtype=str).drop(columns=gone).to_csv(file, index=False)
    file = tmp_path / "procedures.csv"
    pd.read_csv(file, dtype=str).drop(columns="STOP").rename(columns={"START": "DATE"}).to_csv(file, index=False)
    (tmp_path / "observations.csv").unlink()
    records = load("synthea", tmp_path, vocabulary=None)
    procedures = [event for event in events(records, "treatments") if event[1] == "procedure"]
    assert [event[3:] for event in procedures] == [
        ("2020-03-01T08:00:00", "2020-03-01T08:00:00"),
        ("2020-03-02T08:00:00", "2020-03-02T08:00:00"),
    ]
    assert len(records.conditions) == 4
    assert len(records.observations) == 0
    assert records.log.absent == ["encounters", "observations"]


# --- MIMIC-IV --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["mimic", "mimic/hosp"])
def test_mimic_treatments(vocabulary, folder):
    records = load("mimic", FIXTURES / folder, vocabulary=vocabulary)
    assert events(records, "treatments") == [
        ("100", "drug", "rxnorm:10454", "2151-01-01T12:00:00", "2151-01-02T12:00:00"),  # thiamine, an additive
        ("100", "drug", "rxnorm:4603", "2150-01-01T12:00:00", "2150-01-02T12:00:00"),
        ("100", "drug", "rxnorm:4603", "2150-01-01T12:00:00", "2150-01-05T12:00:00"),  # ends with the stay
        ("100", "procedure", "icd9pcs:39.61", "2150-01-02", "2150-01-02"),
        ("200", "drug", "rxnorm:11289", "2180-06-02", "2180-06-03"),
        ("200", "drug", "rxnorm:11289", "2180-06-11", "2180-06-11"),  # ordered after the stay
        ("200", "procedure", "icd10pcs:02HV33Z", "2180-06-03", "2180-06-03"),
    ]
    diluent = "not therapy: the diluent of an order (drug_type is neither MAIN nor ADDITIVE)"
    flush = vocabulary.match("Sodium Chloride 0.9%  Flush", route="IV").method.removeprefix("rule:")
    assert findings(records.log, "prescriptions.csv") == {
        ("stop", "stop is before start", "rejected"): (4,),
        ("drug_type", diluent, "rejected"): (5,),
        ("name", f"not therapy: {flush}", "rejected"): (6,),
        ("row", REPEATS, "rejected"): (10,),
    }


def test_mimic_diagnoses_are_known_from_discharge_on():
    records = load("mimic", FIXTURES / "mimic", vocabulary=None)
    assert events(records, "conditions") == [
        ("100", "condition", "icd10cm:E11.9", "2151-01-03T12:00:00", ""),
        ("100", "condition", "icd9cm:413.9", "2150-01-05T12:00:00", ""),
        ("100", "condition", "icd9cm:E880.9", "2151-01-03T12:00:00", ""),
        ("200", "condition", "icd10cm:I10", "2180-06-10", ""),
    ]
    unknown = "the admission is not among the usable ones, so the date is unknown"
    assert findings(records.log, "diagnoses_icd.csv") == {
        ("hadm_id", unknown, "rejected"): (6,),  # not discharged yet
        ("icd_version", "neither 9 nor 10", "rejected"): (7,),
    }
    assert findings(records.log, "admissions.csv") == {("dischtime", "missing", "rejected"): (5,)}
    assert names(records)["icd10cm:I10"] == "Essential (primary) hypertension"
    assert names(records)["icd9cm:E880.9"] == "icd9cm:E880.9"  # not in the dictionary of titles
    assert names(records)["mimic:Furosemide"] == "Furosemide"
    assert records.allergies.empty


def test_mimic_observations_in_ucum():
    records = load("mimic", FIXTURES / "mimic", vocabulary=None)
    drawn, seen = "2150-01-01T06:00:00", "2150-02-01"
    assert events(records, "observations") == [
        ("100", "observation", "loinc:2160-0", drawn, drawn, 1.2),
        ("100", "observation", "loinc:29463-7", seen, seen, 45.359237),  # 100 lb
        ("100", "observation", "loinc:39156-5", seen, seen, 23.5),
        ("100", "observation", "loinc:6301-6", drawn, drawn, 1.1),
        ("100", "observation", "loinc:8302-2", seen, seen, 25.4),  # 10 in
        ("100", "observation", "loinc:8462-4", seen, seen, 80.0),
        ("100", "observation", "loinc:8480-6", seen, seen, 120.0),
        ("100", "observation", "loinc:8480-6", "2150-02-02", "2150-02-02", 120.0),  # of "120/"
    ]
    assert findings(records.log, "labevents.csv") == {
        ("valueuom", "not the unit that this test is known to come in", "rejected"): (3,),
        ("valuenum", "missing", "rejected"): (4,),
        ("itemid", "not one of the laboratory tests that are read", "rejected"): (6,),
    }
    not_a_pair = "not a number, or not a pair like 120/80"
    assert findings(records.log, "omr.csv") == {
        ("result_value", not_a_pair, "rejected"): (7,),
        ("result_name", "not one of the results that are read", "rejected"): (8,),
    }
    assert findings(records.log, "omr.csv (diastolic)") == {("result_value", not_a_pair, "rejected"): (6, 7)}
    assert (records.log.read["omr.csv"], records.log.read["omr.csv (diastolic)"]) == (7, 3)


def test_mimic_patients_have_a_clock_of_their_own():
    people = load("mimic", FIXTURES / "mimic", vocabulary=None).patients.set_index("patient_id")
    assert [t.year for t in people["birth_date"]] == [2100, 2089, 2090]
    assert [str(t) for t in people["as_of"].dt.tz_localize(None)] == [
        "2151-01-03 12:00:00",  # the last discharge
        "2180-06-11 00:00:00",  # an order after it; the open stay has no discharge
        "2120-01-01 00:00:00",  # nothing known but the anchor year
    ]
    assert list(people["race"]) == ["black", "unknown", "unknown"]  # the latest answer that tells one
    assert list(people["ethnicity"]) == ["nonhispanic", "hispanic", "unknown"]


# --- all sources -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ROW_FILES)
def test_every_row_is_accounted_for(source, vocabulary):
    log = load(source, FIXTURES / source, vocabulary=vocabulary).log
    for file in (FIXTURES / source).rglob("*.csv"):
        rows = len(pd.read_csv(file, dtype=str, skip_blank_lines=False, on_bad_lines="error"))
        assert log.read[file.name] == rows
        assert log.kept[file.name] + log.rejected(file.name) == rows


def as_gzip(file: Path) -> None:
    file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))


def as_parquet(file: Path) -> None:
    pd.read_csv(file, dtype=str, skip_blank_lines=False).to_parquet(file.with_suffix(".parquet"))


@pytest.mark.parametrize("source", ROW_FILES)
@pytest.mark.parametrize("rewrite", [as_gzip, as_parquet])
def test_the_form_of_the_files_does_not_matter(source, rewrite, tmp_path):
    shutil.copytree(FIXTURES / source, tmp_path, dirs_exist_ok=True)
    for file in list(tmp_path.rglob("*.csv")):
        rewrite(file)
        file.unlink()
    same(load(source, tmp_path, vocabulary=None), load(source, FIXTURES / source, vocabulary=None))


@pytest.mark.parametrize("source", ROW_FILES)
def test_the_order_of_the_rows_does_not_matter(source, tmp_path):
    shutil.copytree(FIXTURES / source, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.rglob("*.csv"):
        if file.name != "patients.csv":  # of two rows with one id, the first is taken
            rows = pd.read_csv(file, dtype=str, skip_blank_lines=False)
            rows.iloc[::-1].to_csv(file, index=False)
    same(load(source, tmp_path, vocabulary=None), load(source, FIXTURES / source, vocabulary=None))


def same(one: Records, other: Records) -> None:
    for table in ("treatments", "conditions", "allergies", "observations"):
        assert events(one, table) == events(other, table)
    pd.testing.assert_frame_equal(one.concepts, other.concepts)
    pd.testing.assert_frame_equal(one.patients, other.patients)


def test_an_unknown_source_names_the_known_ones():
    with pytest.raises(InputError, match=", ".join(sorted(SOURCES))):
        load("paper", FIXTURES / "csv", vocabulary=None)


def test_progress_is_told_every_row():
    told: list[int] = []
    records = load("synthea", FIXTURES / "synthea", vocabulary=None, progress=told.append)
    assert sum(told) == sum(records.log.read.values())

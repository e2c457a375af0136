"""OMOP on a folder of a few rows with every quirk, its records worked out by hand; codes; eras; bytes that are none."""

import contextlib
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.errors import InputError
from recommender.loaders import load, omop_codes
from recommender.loaders.omop_codes import Concept
from recommender.loaders.omop_eras import drug_eras
from recommender.records import Records
from recommender.vocabulary import DrugVocabulary

FIXTURE = Path(__file__).parents[1] / "fixtures" / "omop"
A, B, C, D = "-9007199254740993", "9007199254740992", "9007199254740993", "4"  # B and C are one number as floats
REPEATS = "repeats an earlier row (same patient, code, times and value)"


@pytest.fixture(scope="module")
def records() -> Records:
    return load("omop", FIXTURE, vocabulary=None)


def events(records: Records, table: str) -> list[tuple]:
    """(patient id, code, start, stop[, value]) of each event, in order; dates as text, '' for none."""
    frame = getattr(records, table)

    def text(times: pd.Series) -> list[str]:
        return [("" if pd.isna(t) else t.isoformat().removesuffix("+00:00").removesuffix("T00:00:00")) for t in times]

    ids = records.patients["patient_id"].iloc[frame["patient_ix"]]
    columns = [ids, records.concepts["code"].iloc[frame["concept_ix"]], text(frame["start"]), text(frame["stop"])]
    if table == "observations":
        columns.append(frame["value"])
    return sorted(zip(*columns, strict=True))


def findings(records: Records, file: str) -> dict[tuple[str, str, str], tuple[int, ...]]:
    return {(f.field, f.reason, f.outcome): f.first_rows for f in records.log.findings if f.file == file}


def names(records: Records, kind: str) -> dict[str, str]:
    of = records.concepts[records.concepts["kind"] == kind]
    return dict(zip(of["code"], of["name"], strict=True))


def copied(folder: Path) -> Path:
    for file in FIXTURE.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


# --- people ----------------------------------------------------------------------------------------------------------


def test_people(records):
    people = records.patients.set_index("patient_id")
    assert list(people.index) == [A, B, C, D]
    assert list(people["sex"]) == ["M", "F", "F", "other"]
    assert list(people["race"]) == ["white", "martian", "black", "unknown"]
    assert list(people["ethnicity"]) == ["hispanic", "nonhispanic", "unknown", "unknown"]
    births = [str(birth.date()) for birth in people["birth_date"]]
    assert births == ["1950-03-01", "1960-05-20", "1970-01-01", "1980-01-01"]  # there is no February 30th
    assert findings(records, "PERSON.csv") == {("day_of_birth", "no such day, taken as January 1st", "set aside"): (5,)}
    assert set(people["as_of"]) == {pd.Timestamp("2021-01-04", tz="UTC")}  # the latest start of all: one clock


def test_shifted_dates_give_each_person_a_clock_of_their_own(tmp_path):
    for file in copied(tmp_path).glob("*.csv"):
        file.write_text(file.read_text().replace("2020-", "2150-").replace("2019-", "2149-").replace("2021-", "2151-"))
    people = load("omop", tmp_path, vocabulary=None).patients.set_index("patient_id")["as_of"]
    # A: a stay, as the drug of May ends before it starts; B: a billed diagnosis at its end; C: a drug; D: nothing dated
    assert [str(time)[:16] for time in people] == [
        "2150-02-01 00:00",
        "2151-01-04 00:00",
        "2150-06-01 00:00",
        "1980-01-01 00:00",
    ]


# --- events ----------------------------------------------------------------------------------------------------------


def test_drugs(records):
    drugs = [e for e in events(records, "treatments") if e[1] in names(records, "drug")]
    assert drugs == [
        (A, "rxnorm:308182", "2020-01-05T09:00:00", "2020-01-12T09:00:00"),
        (A, "text:metoprolol succinate xl", "2020-02-01", "2020-03-01"),
        (B, "ndc:00002751001", "2020-03-01", "2020-03-31"),  # 30 days' supply
        (B, "omop:1234", "2020-03-02", "2020-03-09"),  # ends as the source said
        (B, "rxnorm:308182", "2020-03-03", ""),
        (C, "rxnorm:308182", "2020-06-01", "2020-06-02"),
    ]
    assert names(records, "drug") == {
        "rxnorm:308182": "amoxicillin 250 MG Oral Capsule",
        "text:metoprolol succinate xl": "Metoprolol Succinate XL",
        "ndc:00002751001": "00002751001",
        "omop:1234": "Aspirin 81 mg tab",  # the source's concept has a name
    }
    not_a_time = "not a date or time such as 2021-03-05 or 2021-03-05T06:07:08Z"
    assert findings(records, "drug_exposure.csv") == {
        ("patient_id", "patient id not in the patients file", "rejected"): (7,),
        ("stop", "stop is before start", "rejected"): (8,),
        ("drug_exposure_start_datetime", not_a_time, "set aside"): (9,),  # the date is left
        ("row", REPEATS, "rejected"): (10,),
        ("code", "neither a code nor a name", "rejected"): (11,),
        ("start", "date missing", "rejected"): (12,),
    }


def test_what_ends_on_the_date_of_its_start_ends_during_that_day(tmp_path):
    (tmp_path / "person.csv").write_text("person_id,gender_concept_id,year_of_birth\n1,8507,1950\n")
    (tmp_path / "visit_occurrence.csv").write_text(
        "person_id,visit_occurrence_id,visit_concept_id,visit_start_date,visit_start_datetime,visit_end_date\n"
        "1,1,9202,2020-01-05,2020-01-05 09:00:00,2020-01-05\n"
        "1,2,9203,2020-01-06,2020-01-06 09:00:00,2020-01-05\n"
    )
    (tmp_path / "drug_exposure.csv").write_text(
        "person_id,drug_concept_id,drug_source_value,drug_exposure_start_date,drug_exposure_start_datetime,"
        "drug_exposure_end_date,verbatim_end_date\n"
        "1,0,by date,2020-01-05,2020-01-05 10:00:00,2020-01-05,\n"
        "1,0,verbatim,2020-01-05,2020-01-05 11:00:00,,2020-01-05\n"
        "1,0,wrong,2020-01-05,2020-01-05 11:00:00,2020-01-04,\n"
    )
    records = load("omop", tmp_path, vocabulary=None)
    assert [(start, stop) for _, _, start, stop in events(records, "treatments")] == [
        ("2020-01-05T09:00:00", "2020-01-05T09:00:00"),
        ("2020-01-05T10:00:00", "2020-01-05T10:00:00"),
        ("2020-01-05T11:00:00", "2020-01-05T11:00:00"),
    ]
    for file, row in (("visit_occurrence.csv", 3), ("drug_exposure.csv", 4)):
        assert findings(records, file)["stop", "stop is before start", "rejected"] == (row,)


def test_what_a_patient_told_of_is_reported(tmp_path):
    (tmp_path / "person.csv").write_text("person_id,gender_concept_id,year_of_birth\n1,8507,1950\n")
    (tmp_path / "drug_exposure.csv").write_text(
        "person_id,drug_concept_id,drug_source_value,drug_exposure_start_date,drug_type_concept_id\n"
        "1,0,ordered,2020-01-05,32838\n1,0,told,2020-01-06,32865\n1,0,told before,2020-01-07,44787730\n"
        "1,0,untyped,2020-01-08,\n"
    )
    records = load("omop", tmp_path, vocabulary=None)
    reported = records.treatments.sort_values("start")["reported"].tolist()
    assert reported == [False, True, True, False]


def test_drugs_by_the_vocabulary():
    records = load("omop", FIXTURE, vocabulary=DrugVocabulary.load())
    known = {code for code in names(records, "drug") if code.startswith("rxnorm:")}
    assert known == {"rxnorm:723", "rxnorm:6918", "rxnorm:1191"}  # amoxicillin, metoprolol, aspirin
    assert records.log.unmapped == {"00002751001": 1}


def test_conditions(records):
    assert events(records, "conditions") == [
        (A, "icd9cm:250.00", "2019-01-01", ""),  # by its source, though the standard concept is in CONCEPT
        (A, "snomed:44054006", "2019-02-01", ""),
        (B, "icd10cm:E11.9", "2019-03-01", "2019-04-01"),
        (B, "icd10cm:E88.09", "2019-05-01", ""),  # E8809 twice: the source's concept id tells them apart
        (B, "icd10cm:I10", "2020-01-10T12:00:00", ""),  # coded for the bill: known when the visit ended
        (B, "icd10cm:I10", "2021-01-04", ""),  # no such visit: when the condition is said to end
        (B, "icd9cm:E880.9", "2019-06-01", ""),
        (C, "icd10cm:I50.9", "2019-08-01", ""),
        (C, "omop:4329041", "2019-07-01", ""),
        (C, "text:250", "2019-09-01", ""),  # nothing says that this is ICD-9
    ]
    assert names(records, "condition")["snomed:44054006"] == "Type 2 diabetes mellitus"
    assert names(records, "condition")["omop:4329041"] == "Pain"


def test_procedures(records):
    done = [e for e in events(records, "treatments") if e[1] in names(records, "procedure")]
    assert done == [
        (A, "snomed:386516004", "2020-01-05T10:00:00", "2020-01-05T11:00:00"),
        (B, "icd10pcs:04HL33Z", "2020-01-06", "2020-01-06"),
        (B, "omop:2110369", "2020-01-07", "2020-01-07"),
    ]


def test_allergies(records):
    assert events(records, "allergies") == [
        (A, "rxnorm:1191", "2020-01-05", ""),
        (A, "snomed:91936005", "2018-01-01", ""),  # OMOP has some allergies among the conditions
        (D, "rxnorm:1191", "1980-01-01", ""),  # its date is unreadable: known since birth
        (B, "text:peanut", "2020-01-05", ""),
        (C, "omop:4000000", "2020-01-05", ""),  # descends from the concept of drug allergy
    ]
    assert names(records, "allergy")["omop:4000000"] == "Sulfa reaction"
    groups = records.concepts.set_index("code")["group"]
    assert (groups["rxnorm:1191"], groups["text:peanut"], groups["omop:4000000"]) == ("medication", "food", "")


def test_measurements(records):
    at = "2020-01-05T10:30:00"
    assert events(records, "observations") == [
        (A, "loinc:63512-8", "2020-01-05", "2020-01-05", 3.0),  # of OBSERVATION
        (A, "loinc:8480-6", at, at, 120.0),
        (B, "loinc:8480-6", at, at, 131.0),
        (C, "omop:2000000002", at, at, 7.0),
    ]
    units = records.concepts.set_index("code")["unit"]
    assert units["loinc:8480-6"] == "mm[Hg]"  # the concept's, not the source's mmHg
    assert names(records, "observation")["omop:2000000002"] == 'Pain "score, 0-10'  # Athena quotes nothing
    assert findings(records, "measurement.csv") == {
        ("value_as_number", "missing", "rejected"): (3, 5),
        ("value_as_number", "not a number", "set aside"): (5,),
    }
    assert findings(records, "observation.csv")["value_as_number", "missing", "rejected"] == (7, 8)  # 8: no allergy


def test_every_row_is_accounted_for(records):
    records.log.check()
    assert records.log.read["CONCEPT.csv"] == 13
    unused = "not used by any record of this export"
    assert findings(records, "CONCEPT.csv") == {("concept_id", unused, "rejected"): (14,)}
    assert records.log.absent == ["provider"]


def test_eras_stand_in_for_exposures(tmp_path):
    copied(tmp_path)
    (tmp_path / "drug_exposure.csv").write_text((FIXTURE / "drug_exposure.csv").read_text().partition("\n")[0] + "\n")
    (tmp_path / "drug_era.csv").write_text(
        "drug_era_id,person_id,drug_concept_id,drug_era_start_date,drug_era_end_date\n1,4,1112807,2020-01-01,2020-02-01\n"
    )
    records = load("omop", tmp_path, vocabulary=None)
    drugs = [e for e in events(records, "treatments") if e[1] in names(records, "drug")]
    assert drugs == [(D, "rxnorm:1191", "2020-01-01", "2020-02-01")]


@pytest.mark.parametrize("table", ["PERSON", "CONCEPT", "concept_ancestor", "measurement", "visit_occurrence"])
def test_only_people_must_be_there(tmp_path, table):
    copied(tmp_path)
    (tmp_path / f"{table}.csv").unlink()
    if table == "PERSON":
        with pytest.raises(InputError, match="a table is missing: expected one of person"):
            load("omop", tmp_path, vocabulary=None)
    else:
        assert table.lower() in load("omop", tmp_path, vocabulary=None).log.absent


def test_only_the_vocabulary_tables_may_be_separated_by_tabs(tmp_path):
    copied(tmp_path)
    person = tmp_path / "PERSON.csv"
    person.write_text(person.read_text().replace(",", "\t"))
    with pytest.raises(InputError, match="separated by tabs"):
        load("omop", tmp_path, vocabulary=None)


# --- codes -----------------------------------------------------------------------------------------------------------

CONCEPTS = {
    "1": Concept("Diabetes", "ICD9CM", "250.00"),
    "2": Concept("Appendectomy", "ICD9Proc", "47.01"),
    "3": Concept("Local", "hospital", "X"),
    "4": Concept("Diabetes mellitus", "SNOMED", "73211009"),
}


@pytest.mark.parametrize(
    ("standard", "source", "value", "expected"),
    [
        ("4", "1", "25000", ("icd9cm:250.00", "Diabetes")),
        ("4", "3", "X", ("snomed:73211009", "Diabetes mellitus")),  # the source's own is of no known vocabulary
        ("9", "3", "E119", ("omop:9", "Local")),  # its vocabulary is known, so the value is no ICD code
        ("9", "44819500", "V08", ("icd9cm:V08", "V08")),
        ("9", "44819500", "E119", ("icd9cm:E119", "E119")),
        ("9", "44819500", "flu", ("omop:9", "flu")),
        ("9", "35200000", "V08", ("icd10cm:V08", "V08")),
        (None, None, "V08", (None, "V08")),
        (None, None, None, (None, None)),
        ("-5", None, None, ("omop:-5", None)),
    ],
)
def test_conditions_are_coded_by_what_is_sure(standard, source, value, expected):
    assert omop_codes.condition(standard, source, value, CONCEPTS) == expected


def test_procedures_are_coded_by_what_is_sure():
    assert omop_codes.procedure("4", "2", "4701", CONCEPTS) == ("icd9pcs:47.01", "Appendectomy")
    assert omop_codes.procedure(None, None, "04HL33Z", {}) == (
        None,
        "04HL33Z",
    )  # a name, as no id says that it is coded
    assert omop_codes.procedure("8", "7", "04HL33O", {}) == ("omop:8", "04HL33O")  # the letter O is in no code


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Allergy to penicillin", True),
        ("Allergy status to sulfonamides", True),
        ("Drug allergy", True),
        ("Allergic disposition to nuts", False),
        ("Propensity to adverse reactions to drug", True),
        ("Intolerance to lactose", True),
        ("No known allergy", False),
        ("Family history of allergy", False),
        ("Allergy test", False),
        ("Seasonal allergic rhinitis", False),
    ],
)
def test_what_is_named_as_an_allergy(name, says):
    assert omop_codes.is_allergy("1", {"1": Concept(name, "SNOMED", "1")}) is says


# --- eras ------------------------------------------------------------------------------------------------------------


def eras(*exposures: tuple[str, str, str]) -> list[tuple[str, str, str, int, int]]:
    frame = pd.DataFrame(exposures, columns=["code", "start", "stop"]).assign(patient_id="1")
    for column in ("start", "stop"):
        frame[column] = pd.to_datetime(frame[column], utc=True, format="ISO8601")
    found = drug_eras(frame)
    return [
        (era.code, f"{era.start:%Y-%m-%d}", f"{era.stop:%Y-%m-%d}", era.exposures, era.gap_days)
        for era in found.itertuples()
    ]


def test_three_scripts_of_thirty_days_with_small_gaps_are_one_era():
    # from July 1st to 15th are 14 days, from August 14th to 25th 11
    scripts = ("a", "2021-06-01", "2021-07-01"), ("a", "2021-07-15", "2021-08-14"), ("a", "2021-08-25", "2021-09-24")
    assert eras(*scripts) == [("a", "2021-06-01", "2021-09-24", 3, 25)]


def test_overlapping_supplies_are_not_stockpiled():
    scripts = ("a", "2021-06-01", "2021-07-01"), ("a", "2021-06-15", "2021-07-15"), ("a", "2021-07-25", "2021-08-24")
    assert eras(*scripts) == [("a", "2021-06-01", "2021-08-24", 3, 10)]


def test_thirty_days_are_persistence_and_thirty_one_are_not():
    assert eras(("a", "2021-01-01", "2021-01-01"), ("a", "2021-01-31", "2021-02-02")) == [
        ("a", "2021-01-01", "2021-02-02", 2, 30)
    ]
    assert eras(("a", "2021-01-01", "2021-01-01"), ("a", "2021-02-01", "2021-02-02")) == [
        ("a", "2021-01-01", "2021-01-01", 1, 0),
        ("a", "2021-02-01", "2021-02-02", 1, 0),
    ]


def test_a_long_exposure_covers_the_short_ones_in_it():
    exposures = ("a", "2021-01-01", "2021-06-30"), ("a", "2021-01-05", "2021-01-06"), ("a", "2021-07-20", "2021-07-21")
    assert eras(*exposures) == [("a", "2021-01-01", "2021-07-21", 3, 20)]


def test_each_ingredient_has_its_own_eras_and_an_open_end_is_its_day():
    assert eras(
        ("b", "2021-01-02 13:00", ""), ("a", "2021-01-01", "2021-01-05"), ("b", "2021-01-20", "2021-01-21")
    ) == [
        ("a", "2021-01-01", "2021-01-05", 1, 0),
        ("b", "2021-01-02", "2021-01-21", 2, 18),
    ]


# --- any bytes -------------------------------------------------------------------------------------------------------

FILES = sorted(file.name for file in FIXTURE.iterdir())


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@settings(max_examples=4, deadline=None)
def test_arbitrary_bytes_in_any_table(name, data):
    whole = (FIXTURE / name).read_bytes()
    header = whole.partition(b"\n")[0] + b"\n"
    damaged = st.tuples(st.integers(0, len(whole)), st.binary(max_size=4)).map(
        lambda d: whole[: d[0]] + d[1] + whole[d[0] :]
    )
    lines = st.lists(st.text('0123456789-. ,\t"\nEVZabc:', max_size=60), max_size=6).map("\n".join)
    content = data.draw(st.binary(max_size=80) | damaged | lines.map(lambda text: header + text.encode()))
    with tempfile.TemporaryDirectory() as folder:
        (copied(Path(folder)) / name).write_bytes(content)
        with contextlib.suppress(InputError):
            load("omop", Path(folder), vocabulary=None).log.check()


@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_arbitrary_cells_in_any_table(data):
    """A table gets some of its cells exchanged for others of the same table."""
    with tempfile.TemporaryDirectory() as folder:
        file = copied(Path(folder)) / data.draw(st.sampled_from([name for name in FILES if "drug_era" not in name]))
        separator = "\t" if "\t" in file.read_text() else ","
        rows = pd.read_csv(file, dtype=str, sep=separator, quoting=3)
        cell = st.tuples(st.integers(0, len(rows) - 1), st.integers(0, rows.shape[1] - 1))
        for one, other in data.draw(st.lists(st.tuples(cell, cell), max_size=10)):
            rows.iloc[one] = rows.iloc[other]
        file.write_text(separator.join(rows.columns) + "\n")
        with file.open("a") as out:
            for row in rows.fillna("").itertuples(index=False):
                out.write(separator.join(row) + "\n")
        with contextlib.suppress(InputError):
            load("omop", Path(folder), vocabulary=None).log.check()


def test_parquet_with_ids_as_integers_reads_the_same(tmp_path, records):
    for file in FIXTURE.iterdir():
        frame = pd.read_csv(file, dtype=str, sep="\t" if "\t" in file.read_text() else ",", quoting=3)
        if "person_id" in (lower := {c.lower(): c for c in frame}):
            frame[lower["person_id"]] = frame[lower["person_id"]].astype("int64")
        frame.to_parquet(tmp_path / f"{file.stem}.parquet")
    again = load("omop", tmp_path, vocabulary=None)
    for table in ("treatments", "conditions", "allergies", "observations"):
        assert events(again, table) == events(records, table)

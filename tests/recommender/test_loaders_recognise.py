"""Which source an export is from, told by its files and headers alone; and files that go by a site's own names."""

import gzip
import shutil
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from test_loaders_sources import events, same

from jobs.__main__ import main
from recommender.errors import InputError
from recommender.loaders import SOURCES, load
from recommender.loaders.recognise import recognise

FIXTURES = Path(__file__).parents[1] / "fixtures"
OMOP = {"person.csv": "person_id,year_of_birth\n", "drug_exposure.csv": "drug_exposure_id,person_id\n"}
BUNDLE = '{"resourceType": "Bundle", "type": "collection", "entry": []}'


def write(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


# --- recognising -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "source", "why"),
    [
        ("csv", "csv", "csv: treatments.csv is there"),
        ("synthea", "synthea", "synthea: patients.csv and medications.csv are there"),
        ("mimic", "mimic", "mimic: hosp/prescriptions.csv and hosp/diagnoses_icd.csv are there"),
        ("mimic/hosp", "mimic", "mimic: prescriptions.csv and diagnoses_icd.csv are there"),
        ("mimic3", "mimic3", "mimic3: PRESCRIPTIONS.csv and DIAGNOSES_ICD.csv are there"),
        ("eicu", "eicu", "eicu: patient.csv and medication.csv are there"),
    ],
)
def test_folders(folder, source, why):
    assert recognise(FIXTURES / folder) == (source, why)
    assert source in SOURCES


def test_the_form_and_letter_case_of_the_files_do_not_matter(tmp_path):
    for file in (FIXTURES / "mimic3").iterdir():
        pd.read_csv(file, dtype=str).to_parquet(tmp_path / f"{file.stem.lower()}.parquet")
    assert recognise(str(tmp_path))[0] == "mimic3"
    folder = write(tmp_path / "omop", {name.upper(): content.upper() for name, content in OMOP.items()})
    assert recognise(folder) == ("omop", "omop: PERSON.CSV and DRUG_EXPOSURE.CSV are there")
    (folder / "PERSON.CSV").rename(folder / "person.csv")  # another copy beside it is the loader's business
    (folder / "person.csv.gz").write_bytes(gzip.compress(OMOP["person.csv"].encode()))
    assert recognise(folder) == ("omop", "omop: person.csv and DRUG_EXPOSURE.CSV are there")


def test_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "cdm.zip", "w") as archive:
        for name, content in OMOP.items():
            archive.writestr(f"cdm/{name}", content)
    assert recognise(tmp_path / "cdm.zip") == ("omop", "omop: person.csv and drug_exposure.csv are there")


@pytest.mark.parametrize("url", ["sqlite:///cdm.db", "postgresql+psycopg://host/cdm?schema=cdm"])
def test_a_database(url):
    assert recognise(url) == ("omop", "omop: this is a database")


def test_fhir(tmp_path):
    resource = '{"resourceType": "Patient", "id": "1"}\n'
    folder = write(tmp_path / "bulk", {"Patient.000.ndjson": resource})
    assert recognise(folder) == ("fhir", "fhir: Patient.000.ndjson holds FHIR resources")
    assert recognise(folder / "Patient.000.ndjson")[0] == "fhir"
    folder = write(tmp_path / "bundles", {"a.json": "[1, 2]", "b.json": BUNDLE})
    assert recognise(folder) == ("fhir", "fhir: b.json holds FHIR resources")
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(BUNDLE.encode()))
    assert recognise(tmp_path / "c.json.gz")[0] == "fhir"


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        recognise(path)
    return str(caught.value)


def test_more_than_one(tmp_path):
    shutil.copytree(FIXTURES / "csv", tmp_path, dirs_exist_ok=True)
    write(tmp_path, OMOP)
    assert (
        "more than one format fits (csv: treatments.csv is there; omop: person.csv and drug_exposure.csv are there): "
        "name the one to read as source"
    ) in refused(tmp_path)


def test_none(tmp_path):
    said = refused(write(tmp_path / "empty", {"notes.json": "{}", "broken.json.gz": "\x1f\x8b"}))
    for source in SOURCES:
        assert f"{source}: " in said
    assert "quite fits" not in said
    assert "no such folder or file" in refused(tmp_path / "nowhere")
    assert "no known format" in refused(write(tmp_path, {"note.txt": "hello"}) / "note.txt")


def test_what_is_nearly_one_is_told_why(tmp_path):
    medication = {"medication.csv": "patientunitstayid,drugname\n"}
    said = refused(write(tmp_path / "half", medication))
    assert "no format quite fits. eicu: there is no patient" in said
    said = refused(write(tmp_path / "other", {**medication, "patient.csv": "patientunitstayid,name\nx,Meyer\n"}))
    assert "patient.csv, row 1, field uniquepid: this column is missing" in said
    assert "Meyer" not in said
    assert "treatments.csv: the file is empty" in refused(write(tmp_path / "empty", {"treatments.csv": ""}))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("eicu_demo", "eicu"),
        ("fhir_bulk_13", "fhir"),
        ("mimic_iv_demo", "mimic"),
        ("omop_mimic_demo", "omop"),
        ("omop_synthea27nj/Synthea27Nj_5.4.zip", "omop"),
        ("omop_synthea27nj/Synthea27NjParquet_5.4.zip", "omop"),
        ("synthea_ne_111", "synthea"),
    ],
)
def test_the_open_data_sets(real_data, folder, source):
    assert recognise(real_data / folder)[0] == source


# --- a column map ----------------------------------------------------------------------------------------------------

HEADER = "table,ours,theirs\n"
MAP = (
    f"\ufeff{HEADER}treatments,file,Orders_2024.CSV\ntreatments,patient_id,MRN\ntreatments,code,drug no\n\n"
    "treatments,name, drug no \npatients,file,people\npatients,patient_id,MRN\npatients,birth_date,DOB\n"
)
ORDERS = "MRN,drug no,start\n7,A10,2020-01-01\n8,B20,2020-01-02\n"
PEOPLE = "mrn,DOB,sex\n7,1950-01-01,F\n8,1960-01-01,M\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return write(tmp_path / "site", {"Orders_2024.csv": ORDERS, "people.csv": PEOPLE, "map.csv": MAP})


def test_files_under_a_sites_own_names(site, tmp_path):
    ours = write(
        tmp_path / "ours",
        {
            "treatments.csv": "patient_id,code,name,start\n7,A10,A10,2020-01-01\n8,B20,B20,2020-01-02\n",
            "patients.csv": PEOPLE.replace("mrn,DOB", "patient_id,birth_date"),
        },
    )
    records = load("csv", site, vocabulary=None, columns=site / "map.csv")
    same(records, load("csv", ours, vocabulary=None))
    assert [event[2] for event in events(records, "treatments")] == ["A10", "B20"]
    assert records.log.read == {"people.csv": 2, "Orders_2024.csv": 2}


def test_what_the_map_names_must_be_there(site):
    (site / "people.csv").unlink()
    with pytest.raises(InputError, match=r"a table is missing: expected one of people\.csv"):
        load("csv", site, vocabulary=None, columns=site / "map.csv")
    write(site, {"people.csv": PEOPLE.replace("DOB", "born")})
    with pytest.raises(InputError) as caught:
        load("csv", site, vocabulary=None, columns=site / "map.csv")
    assert (caught.value.file, caught.value.row, caught.value.field) == ("people.csv", 1, "DOB")


@pytest.mark.parametrize(
    ("content", "row", "field", "words"),
    [
        (HEADER + "orders,code,x\n", 2, "table", "the tables are patients, treatments, conditions"),
        (HEADER + "treatments,drug,x\n", 2, "ours", "it has patient_id, code, name"),
        (HEADER + "\n\ntreatments,code, \n", 4, "theirs", "empty"),
        (HEADER + "treatments,code,x\ntreatments,code,y\n", 3, "ours", "mapped in an earlier row too"),
        (HEADER + "treatments,code\n", 2, "", "not three fields"),
        ("ours,theirs\n", 1, "", "the first row of a column map is table,ours,theirs"),
        ("", 1, "", "the first row of a column map is table,ours,theirs"),
        (b"table,ours,theirs\nx,\xff,y\n", None, "", "no CSV file in UTF-8"),
        (HEADER + '"treatments', None, "", "no CSV file in UTF-8"),
    ],
)
def test_a_map_that_cannot_be_used(site, content, row, field, words):
    (site / "map.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        load("csv", site, vocabulary=None, columns=site / "map.csv")
    assert (caught.value.file, caught.value.row, caught.value.field) == ("map.csv", row, field)
    assert words in str(caught.value)


def test_a_map_is_for_plain_files(site):
    with pytest.raises(InputError, match=r"a column map is for plain files \(source csv\), not for eicu"):
        load("eicu", FIXTURES / "eicu", vocabulary=None, columns=site / "map.csv")
    with pytest.raises(InputError, match="the column map cannot be read"):
        load("csv", site, vocabulary=None, columns=site / "nowhere.csv")


# --- the command line ------------------------------------------------------------------------------------------------


def rxrec(*words: object):
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def test_auto_is_the_default_and_says_why(tmp_path):
    treatments = "".join(f"{person},{code},2020-01-01\n" for person in range(12) for code in "ABCD"[: 2 + person % 3])
    folder = write(tmp_path / "export", {"treatments.csv": f"patient_id,code,start\n{treatments}"})
    result = rxrec("evaluate", "--input", folder, "--vocabulary", "none")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "source csv: treatments.csv is there"
    (folder / "treatments.csv").rename(folder / "orders.csv")
    result = rxrec("evaluate", "--input", folder, "--vocabulary", "none")
    assert result.exit_code == 3
    assert "no known format" in result.stderr
    write(folder, {"map.csv": f"{HEADER}treatments,file,orders\n"})
    result = rxrec("evaluate", "--input", folder, "--vocabulary", "none", "--columns", folder / "map.csv")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "source csv: a column map is given"

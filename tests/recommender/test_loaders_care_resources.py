"""Departments, services and kinds of visit from each source, worked out by hand; the open data sets counted anew."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from test_loaders_sources import FIXTURES, NOT_A_TIME, REPEATS, events, findings, names

from recommender.loaders import load
from recommender.loaders.fhir_resources import encounter


@pytest.fixture
def export(tmp_path: Path):
    """`export("mimic/hosp", services="a,b\\n1,2\\n")`: a copy of that fixture with these files added or replaced."""

    def made(fixture: str, **files: str) -> Path:
        folder = tmp_path / "export"
        shutil.copytree(FIXTURES / fixture, folder)
        for name, text in files.items():
            (folder / f"{name}.csv").write_text(text)
        return folder

    return made


def care(records) -> list[tuple]:
    """(patient id, code, start, stop)"""
    return [(who, code, *when) for who, kind, code, *when in events(records, "treatments") if kind == "care_resource"]


def test_csv(export):
    rows = "patient_id,code,name,kind,start,stop\n001,cardio,Cardiology,care resource,2020-01-01,\n"
    rows += "001,icu,Intensive care,care_resource,2020-02-01,2020-02-03\n001,A,aspirin,drug,2020-02-01,\n"
    assert care(load("csv", export("csv", treatments=rows), vocabulary=None)) == [
        ("001", "cardio", "2020-01-01", "2020-01-01"),  # without a stop: over at once
        ("001", "icu", "2020-02-01", "2020-02-03"),
    ]


def test_synthea(export):
    rows = "Id,START,STOP,PATIENT,ORGANIZATION,PROVIDER,PAYER,ENCOUNTERCLASS,CODE,DESCRIPTION\n"
    rows += (
        "e1,2020-01-01T10:00:00Z,2020-01-03T09:00:00Z,p-1,o,d,y,inpatient,305408004,Admission to surgical department\n"
    )
    rows += (
        "e2,2020-02-01T10:00:00Z,2020-02-01T10:15:00Z,p-2,o,d,y,urgentcare,702927004,Urgent care clinic (environment)\n"
    )
    rows += "e3,someday,,p-2,o,d,y,wellness,162673000,General examination of patient (procedure)\n"
    rows += "e4,2020-03-01T10:00:00Z,,p-9,o,d,y,wellness,162673000,General examination of patient (procedure)\n"
    records = load("synthea", export("synthea", encounters=rows), vocabulary=None)
    assert care(records) == [
        ("p-1", "snomed:305408004", "2020-01-01T10:00:00", "2020-01-03T09:00:00"),
        ("p-2", "snomed:702927004", "2020-02-01T10:00:00", "2020-02-01T10:15:00"),
    ]
    assert names(records)["snomed:702927004"] == "Urgent care clinic"
    assert findings(records.log, "encounters.csv") == {
        ("START", NOT_A_TIME, "rejected"): (4,),
        ("patient_id", "patient id not in the patients file", "rejected"): (5,),
    }


def test_synthea_of_old(export):
    rows = "ID,DATE,PATIENT,CODE,DESCRIPTION,REASONCODE\ne1,2020-01-01,p-1,185345009,Encounter for symptom,\n"
    records = load("synthea", export("synthea", encounters=rows), vocabulary=None)
    assert care(records) == [("p-1", "snomed:185345009", "2020-01-01", "2020-01-01")]


SERVICES = """subject_id,hadm_id,transfertime,prev_service,curr_service
100,1,2150-01-03 09:00:00,MED,CSURG
100,1,2150-01-01 10:00:00,,MED
200,3,2180-06-11 00:00:00,,XYZ
200,4,2181-06-01 00:00:00,,OMED
200,3,2180-06-01 00:00:00,,
"""
TRANSFERS = """subject_id,hadm_id,transfer_id,eventtype,careunit,intime,outtime
100,,1,ED,Emergency Department,2150-01-01 08:00:00,2150-01-01 10:00:00
100,1,2,admit,Medicine,2150-01-01 10:00:00,2150-01-03 09:00:00
100,1,3,discharge,,2150-01-05 12:00:00,
"""


def test_mimic(export):
    folder = export("mimic/hosp", services=SERVICES, transfers=TRANSFERS)
    records = load("mimic", folder, vocabulary=None)
    assert care(records) == [
        ("100", "mimic-service:CSURG", "2150-01-03T09:00:00", "2150-01-05T12:00:00"),  # until the discharge
        ("100", "mimic-service:MED", "2150-01-01T10:00:00", "2150-01-03T09:00:00"),  # until the next service
        ("100", "mimic-unit:Emergency Department", "2150-01-01T08:00:00", "2150-01-01T10:00:00"),
        ("100", "mimic-unit:Medicine", "2150-01-01T10:00:00", "2150-01-03T09:00:00"),
        ("200", "mimic-service:OMED", "2181-06-01", ""),  # not discharged yet
        ("200", "mimic-service:XYZ", "2180-06-11", "2180-06-11"),  # after the discharge
    ]
    named = names(records)
    assert named["mimic-service:CSURG"] == "Cardiac surgery service"
    assert named["mimic-service:OMED"] == "Oncology service"
    assert named["mimic-service:XYZ"] == "XYZ"
    assert findings(records.log, "services.csv") == {("curr_service", "missing", "rejected"): (6,)}
    assert findings(records.log, "transfers.csv") == {("careunit", "missing", "rejected"): (4,)}
    assert records.log.kept["admissions.csv"] == 3


def test_mimic3(export):
    services = SERVICES.upper().replace("200,3", "200,2").replace("200,4", "200,3")
    transfers = "SUBJECT_ID,HADM_ID,EVENTTYPE,PREV_CAREUNIT,CURR_CAREUNIT,INTIME,OUTTIME\n"
    transfers += (
        "100,1,admit,,MICU,2150-01-01 08:00:00,2150-01-02 08:00:00\n100,1,transfer,MICU,,2150-01-02 08:00:00,\n"
    )
    folder = export("mimic3", SERVICES=services, TRANSFERS=transfers)
    records = load("mimic3", folder, vocabulary=None)
    assert ("100", "mimic-unit:MICU", "2150-01-01T08:00:00", "2150-01-02T08:00:00") in care(records)
    assert ("100", "mimic-service:MED", "2150-01-01T10:00:00", "2150-01-03T09:00:00") in care(records)
    assert names(records)["mimic-unit:MICU"] == "Medical Intensive Care Unit (MICU)"
    assert findings(records.log, "TRANSFERS.csv") == {("careunit", "missing", "rejected"): (3,)}


def test_eicu(export):
    patients = pd.read_csv(FIXTURES / "eicu" / "patient.csv", dtype=str)
    unit = {"12": "MICU", "11": "Cardiac ICU", "21": "SICU"}
    patients = patients.assign(
        unittype=patients["patientunitstayid"].map(unit), unitdischargeoffset=["60", "120", "", "bad", "", "", "", ""]
    )
    records = load("eicu", export("eicu", patient=patients.to_csv(index=False)), vocabulary=None)
    # 002-1 was admitted on January 1st at 23:36; to the Cardiac ICU 8 minutes later, to the MICU 2,258 minutes later
    assert care(records) == [
        ("002-1", "eicu:unit/Cardiac ICU", "2015-01-01T23:44:00", "2015-01-02T01:44:00"),
        ("002-1", "eicu:unit/MICU", "2015-01-03T13:14:00", "2015-01-03T14:14:00"),
        ("002-2", "eicu:unit/SICU", "2014-01-01T06:30:00", ""),  # nobody says when it was left
    ]
    assert (records.log.read["patient.csv (unit stays)"], records.log.kept["patient.csv (unit stays)"]) == (3, 3)
    assert findings(records.log, "patient.csv")["unitdischargeoffset", "not a number", "set aside"] == (5,)


def test_omop(export):
    visits = "visit_occurrence_id,person_id,visit_concept_id,visit_source_concept_id,provider_id,visit_start_date,"
    visits += "visit_start_datetime,visit_end_date,visit_end_datetime\n"
    visits += "1,4,9203,0,7,2020-01-02,2020-01-02 08:00:00,2020-01-02,2020-01-02 09:00:00\n"  # an emergency room
    visits += "2,4,9203,0,7.0,2020-01-02,2020-01-02 08:00:00,2020-01-02,2020-01-02 09:00:00\n"  # the same again
    visits += "3,4,9201,999,8,2020-02-01,,2020-02-05,\n"  # a source concept of SNOMED CT; a specialty in words
    visits += "4,4,9202,2000000001,,2020-03-01,,2020-03-01,\n"  # a source concept of the site's own
    visits += "5,4,0,0,,2020-04-01,,2020-04-01,\n"  # nothing is known
    providers = "provider_id,specialty_concept_id,specialty_source_value\n7,38004446,GENERAL PRACTICE\n8,0,Cardiology\n"
    concepts = (
        FIXTURES / "omop" / "CONCEPT.csv"
    ).read_text() + "38004446\tGeneral Practice\t\tMedicare Specialty\t\t\t01\n"
    folder = export("omop", visit_occurrence=visits, provider=providers, CONCEPT=concepts)
    records = load("omop", folder, vocabulary=None)
    assert care(records) == [
        ("4", "omop:38004446", "2020-01-02T08:00:00", "2020-01-02T09:00:00"),
        ("4", "omop:9202", "2020-03-01", "2020-03-01"),
        ("4", "omop:9203", "2020-01-02T08:00:00", "2020-01-02T09:00:00"),
        ("4", "snomed:1", "2020-02-01", "2020-02-05"),
        ("4", "text:cardiology", "2020-02-01", "2020-02-05"),
    ]
    named = names(records)
    assert (named["omop:38004446"], named["omop:9203"]) == ("General Practice", "Emergency Room Visit")
    assert named["snomed:1"] == "Something else"
    assert findings(records.log, "visit_occurrence.csv") == {
        ("row", REPEATS, "rejected"): (3,),
        ("code", "neither a code nor a name", "rejected"): (6,),
    }
    assert findings(records.log, "visit_occurrence.csv (specialty)") == {("row", REPEATS, "rejected"): (3,)}
    assert records.log.read["visit_occurrence.csv (specialty)"] == 3


SNOMED = "http://snomed.info/sct"
SURGERY = {"coding": [{"system": SNOMED, "code": "394609007", "display": "General surgery"}]}
CHECK_UP = {"coding": [{"system": SNOMED, "code": "185349003", "display": "Encounter for check up (procedure)"}]}
CLASS = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "EMER"}


@pytest.mark.parametrize(
    ("told", "code", "name"),
    [
        ({"serviceType": SURGERY, "type": [CHECK_UP], "class": CLASS}, "snomed:394609007", "General surgery"),
        ({"type": [{"text": "x"}, CHECK_UP], "class": CLASS}, "snomed:185349003", "Encounter for check up (procedure)"),
        ({"class": CLASS}, "v3-actcode:EMER", "emergency"),
        ({"class": CLASS | {"display": "ER"}}, "v3-actcode:EMER", "ER"),
        ({"type": [{"text": "Day clinic"}]}, None, "Day clinic"),
        ({"type": "x", "class": 3, "serviceType": []}, None, None),
    ],
)
def test_fhir_takes_the_service_before_the_type_before_the_class(told, code, name):
    (event,) = encounter({"resourceType": "Encounter", "status": "finished", **told})
    assert (event.code, event.name) == (code, name)


def test_fhir(tmp_path):
    def visit(number: int, status: str, **more) -> dict:
        period = {"start": f"2020-0{number}-01T10:00:00Z", "end": f"2020-0{number}-02"}
        own = {"resourceType": "Encounter", "id": f"e{number}", "status": status, "class": CLASS, "period": period}
        return own | {"subject": {"reference": "Patient/p1"}} | more

    order = {
        "resourceType": "MedicationRequest",
        "id": "r",
        "status": "stopped",
        "subject": {"reference": "Patient/p1"},
    }
    order |= {"medicationCodeableConcept": {"text": "aspirin"}, "encounter": {"reference": "Encounter/e1"}}
    lines = [
        visit(1, "finished", type=[CHECK_UP]),
        visit(2, "planned"),
        visit(3, "cancelled"),
        visit(4, "entered-in-error"),
        visit(5, "in-progress", period={"start": "2020-05-01"}),
        visit(6, "finished", period={"start": "2020-06-01"}),  # over, nobody says when: at once
        visit(7, "finished", **{"class": None}),  # nobody says what
        visit(8, "finished", period=None),
        {"resourceType": "Patient", "id": "p1"},
        order,  # during e1
    ]
    (tmp_path / "a.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    records = load("fhir", tmp_path, vocabulary=None)
    assert care(records) == [
        ("p1", "snomed:185349003", "2020-01-01T10:00:00", "2020-01-02"),
        ("p1", "v3-actcode:EMER", "2020-05-01", ""),
        ("p1", "v3-actcode:EMER", "2020-06-01", "2020-06-01"),
    ]
    assert names(records)["snomed:185349003"] == "Encounter for check up"
    assert ("p1", "drug", "text:aspirin", "2020-01-01T10:00:00", "2020-01-02") in events(records, "treatments")
    assert findings(records.log, "a.ndjson") == {
        ("status", "it has not taken place (planned)", "rejected"): (2,),
        ("status", "it did not take place (cancelled)", "rejected"): (3,),
        ("status", "recorded by mistake (entered-in-error)", "rejected"): (4,),
        ("code", "neither a code nor a name", "rejected"): (7,),
        ("start", "date missing", "rejected"): (8,),
    }


# --- the open data sets ----------------------------------------------------------------------------------------------


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(next(folder.glob(f"{name}.csv*")), dtype=str)


def counted(records) -> dict[str, int]:
    """Events by code."""
    codes = records.concepts[records.concepts["kind"] == "care_resource"]["code"]
    counts = records.treatments["concept_ix"].value_counts()
    return {code: int(counts[ix]) for ix, code in codes.items()}


@pytest.mark.real_data
def test_mimic_iv_demo(real_data):
    hosp = real_data / "mimic_iv_demo" / "hosp"
    services, transfers = table(hosp, "services"), table(hosp, "transfers")
    expected = ("mimic-service:" + services["curr_service"]).value_counts().to_dict()
    expected |= ("mimic-unit:" + transfers["careunit"].dropna()).value_counts().to_dict()
    records = load("mimic", real_data / "mimic_iv_demo", vocabulary=None)
    assert counted(records) == expected
    assert sum(expected.values()) == 319 + 915
    # a dictionary that had the services wrong would be found out by the wards that their patients lie on
    ours = transfers[transfers["hadm_id"].isin(services.loc[services["curr_service"] == "OMED", "hadm_id"])]
    wards = ours["careunit"].value_counts()
    assert wards.index[0].startswith("Hematology/Oncology")


@pytest.mark.real_data
def test_eicu_demo(real_data):
    stays = table(real_data / "eicu_demo", "patient")
    records = load("eicu", real_data / "eicu_demo", vocabulary=None)
    assert counted(records) == ("eicu:unit/" + stays["unittype"]).value_counts().to_dict()
    care = records.concepts["kind"].to_numpy()[records.treatments["concept_ix"]] == "care_resource"
    lengths = (records.treatments["stop"] - records.treatments["start"])[care].dt.total_seconds() / 60
    assert sorted(lengths) == sorted(stays["unitdischargeoffset"].astype(float))


@pytest.mark.real_data
def test_synthea_ne_111(real_data):
    encounters = table(real_data / "synthea_ne_111", "encounters")
    records = load("synthea", real_data / "synthea_ne_111", vocabulary=None)
    assert counted(records) == ("snomed:" + encounters["CODE"]).value_counts().to_dict()


@pytest.mark.real_data
def test_fhir_bulk_13(real_data):
    lines = (real_data / "fhir_bulk_13" / "Encounter.000.ndjson").read_text().splitlines()
    types = [json.loads(line)["type"][0]["coding"][0]["code"] for line in lines]
    found = counted(load("fhir", real_data / "fhir_bulk_13", vocabulary=None))
    assert sum(found.values()) == len(types) - 1 == 1214  # one is told twice
    assert set(found) == {f"snomed:{code}" for code in types}


@pytest.mark.real_data
def test_omop_demos(real_data):
    visits = table(real_data / "omop_mimic_demo", "visit_occurrence")
    records = load("omop", real_data / "omop_mimic_demo", vocabulary=None)
    assert counted(records) == ("omop:" + visits["visit_concept_id"]).value_counts().to_dict()
    assert names(records)["omop:38004207"] == "Ambulatory Clinic / Center"  # its CONCEPT does not say so
    records = load("omop", real_data / "omop_synthea27nj" / "Synthea27Nj_5.4.zip", vocabulary=None)
    # of 1,791 visits 7 are told twice; of 8 the specialty is that of another one at the same time
    assert counted(records) == {"omop:9201": 13, "omop:9202": 1715, "omop:9203": 56, "omop:38004446": 1783}

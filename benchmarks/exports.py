"""A format, a number of medication rows and a folder in; an export of that format with so many of them out, quickly.

Names and codes are those of the synthetic hospital; how often each is given falls off as in hospitals. Columns that no
loader reads are there too, because a reader must pass over them. Only medications are many.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

PER_PATIENT = 15
CHUNK = 1 << 20  # rows made at a time
DRUGS = Path(__file__).parents[1] / "data" / "synthetic" / "drugs.csv"
FIRST_DAY = np.datetime64("2015-01-01T00:00:00", "s")
YEARS = 10

Columns = dict[str, Any]
"""By name in the file: an array, or one value for all rows."""
Writer = Callable[[Path, int], None]


def _drugs() -> tuple[list[str], list[str]]:
    """RxCUIs and names."""
    with DRUGS.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return [row["rxcui"] for row in rows], [row["name"] for row in rows]


RXCUIS, NAMES = map(np.array, _drugs())


class Rows:
    """So many orders: `patient` (n,) int64 in order, `drug` (n,) index, `start` and `stop` (n,) datetime64[s]."""

    def __init__(self, first: int, count: int) -> None:
        rng = np.random.default_rng(first)
        share = 1 / np.arange(1, len(NAMES) + 1)
        self.count, self.number = count, np.arange(first, first + count)
        self.patient = self.number // PER_PATIENT
        self.drug = rng.choice(len(NAMES), count, p=share / share.sum())
        self.start = FIRST_DAY + rng.integers(0, YEARS * 365 * 86_400, count)
        self.stop = self.start + rng.integers(3_600, 90 * 86_400, count)
        self.minute = rng.integers(0, 20_000, count)  # of a stay

    def code(self) -> pa.Array:
        return pa.array(RXCUIS).take(pa.array(self.drug))

    def name(self) -> pa.Array:
        return pa.array(NAMES).take(pa.array(self.drug))


def uuids(numbers: np.ndarray, kind: int) -> pa.Array:
    text = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), 12, "0")
    return pc.binary_join_element_wise(f"{kind:08x}-5f3a-4b1c-9d2e", text, "-")


def iso(times: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(pc.replace_substring(_clock(times), " ", "T"), "Z", "")


def patients_of(rows: int) -> np.ndarray:
    return np.arange(-(-rows // PER_PATIENT))


def write(path: Path, rows: int, columns: Callable[[Rows], Columns]) -> None:
    """A CSV file of `rows` orders."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        for first in range(0, rows, CHUNK):
            made = Rows(first, min(CHUNK, rows - first))
            options = pa_csv.WriteOptions(include_header=first == 0, quoting_style="needed")
            pa_csv.write_csv(_table(columns(made), made.count), file, options)


def small(path: Path, count: int, columns: Columns) -> None:
    path.parent.mkdir(exist_ok=True)
    pa_csv.write_csv(_table(columns, count), path, pa_csv.WriteOptions(quoting_style="needed"))


def _table(columns: Columns, count: int) -> pa.Table:
    def array(value: Any) -> pa.Array:
        return pa.repeat(value, count) if isinstance(value, str | int | float) else pa.array(value)

    return pa.table({name: array(value) for name, value in columns.items()})


def headers(folder: Path, tables: dict[str, str]) -> None:
    """Tables that must be there, without a row."""
    for name, header in tables.items():
        (folder / f"{name}.csv").write_text(header + "\n")


# --- formats ---------------------------------------------------------------------------------------------------------


def plain(folder: Path, rows: int) -> None:
    people = patients_of(rows)
    small(folder / "patients.csv", len(people), {"patient_id": people, "birth_date": "1960-01-01", "sex": "F"})

    def columns(made: Rows) -> Columns:
        told = {"patient_id": made.patient, "code": made.code(), "name": made.name()}
        return {**told, "start": made.start, "stop": made.stop, "kind": "drug"}

    write(folder / "treatments.csv", rows, columns)


def synthea(folder: Path, rows: int) -> None:
    people = patients_of(rows)
    told = {"Id": uuids(people, 1), "BIRTHDATE": "1960-01-01", "GENDER": "F", "RACE": "white", "ETHNICITY": "hispanic"}
    small(folder / "patients.csv", len(people), told)

    def columns(made: Rows) -> Columns:
        told = {"START": iso(made.start), "STOP": iso(made.stop), "PATIENT": uuids(made.patient, 1)}
        told |= {"PAYER": uuids(made.drug, 2), "ENCOUNTER": uuids(made.number // 3, 3), "CODE": made.code()}
        told |= {"DESCRIPTION": made.name(), "BASE_COST": made.minute / 100, "PAYER_COVERAGE": 35.3, "DISPENSES": 3}
        return {**told, "TOTALCOST": made.minute / 33, "REASONCODE": 193462001, "REASONDESCRIPTION": "Insomnia"}

    write(folder / "medications.csv", rows, columns)
    event = "START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION"
    headers(folder, {"procedures": event, "careplans": event, "conditions": event, "allergies": event})


def omop(folder: Path, rows: int) -> None:
    people = patients_of(rows)
    small(folder / "person.csv", len(people), {"person_id": people, "gender_concept_id": 8532, "year_of_birth": 1960})
    concepts = {"concept_id": np.arange(len(NAMES)) + 19_000_000, "concept_name": NAMES, "domain_id": "Drug"}
    small(folder / "concept.csv", len(NAMES), {**concepts, "vocabulary_id": "RxNorm", "concept_code": RXCUIS})

    def columns(made: Rows) -> Columns:
        told = {"drug_exposure_id": made.number, "person_id": made.patient, "drug_concept_id": made.drug + 19_000_000}
        for end, times in (("start", made.start), ("end", made.stop)):
            told |= {f"drug_exposure_{end}_date": times.astype("M8[D]"), f"drug_exposure_{end}_datetime": times}
        told |= {"drug_type_concept_id": 32838, "quantity": 30, "days_supply": 30, "route_concept_id": 4132161}
        told |= {"visit_occurrence_id": made.number // 3, "drug_source_value": made.name()}
        return {**told, "drug_source_concept_id": 0, "route_source_value": "PO", "dose_unit_source_value": "TAB"}

    write(folder / "drug_exposure.csv", rows, columns)


def mimic(folder: Path, rows: int) -> None:
    people = patients_of(rows)
    anchor = {"subject_id": people, "gender": "F", "anchor_age": 60, "anchor_year": 2020}
    small(folder / "patients.csv", len(people), anchor)
    _admissions(folder / "admissions.csv", people)

    def columns(made: Rows) -> Columns:
        told = {"subject_id": made.patient, "hadm_id": made.patient + 20_000_000, "pharmacy_id": made.number}
        told |= {"starttime": _clock(made.start), "stoptime": _clock(made.stop), "drug_type": "MAIN"}
        told |= {"drug": made.name(), "gsn": 6562, "ndc": 51079088120, "prod_strength": "5 mg Tab", "dose_val_rx": 5}
        return {**told, "dose_unit_rx": "mg", "form_unit_disp": "TAB", "route": "PO"}

    write(folder / "prescriptions.csv", rows, columns)
    coded = "subject_id,hadm_id,icd_code,icd_version"
    headers(folder, {"diagnoses_icd": coded, "procedures_icd": f"{coded},chartdate"})


def mimic3(folder: Path, rows: int) -> None:
    people = patients_of(rows)
    small(folder / "PATIENTS.csv", len(people), {"SUBJECT_ID": people, "GENDER": "F", "DOB": "1960-01-01 00:00:00"})
    _admissions(folder / "ADMISSIONS.csv", people)

    def columns(made: Rows) -> Columns:
        told = {"ROW_ID": made.number, "SUBJECT_ID": made.patient, "HADM_ID": made.patient + 20_000_000}
        days = {name: times.astype("M8[D]") for name, times in (("STARTDATE", made.start), ("ENDDATE", made.stop))}
        told |= {**days, "DRUG_TYPE": "MAIN", "DRUG": made.name(), "GSN": 6562, "NDC": 51079088120}
        return {**told, "PROD_STRENGTH": "5 mg Tab", "DOSE_VAL_RX": 5, "DOSE_UNIT_RX": "mg", "ROUTE": "PO"}

    write(folder / "PRESCRIPTIONS.csv", rows, columns)
    coded = "SUBJECT_ID,HADM_ID,SEQ_NUM,ICD9_CODE"
    headers(folder, {"DIAGNOSES_ICD": coded, "PROCEDURES_ICD": coded})


def _admissions(path: Path, people: np.ndarray) -> None:
    stay = {"subject_id": people, "hadm_id": people + 20_000_000, "admittime": "2015-01-01 00:00:00"}
    small(path, len(people), {**stay, "dischtime": "2025-12-31 00:00:00", "race": "WHITE"})


def _clock(times: np.ndarray) -> pa.Array:
    return pa.array(times).cast(pa.string())


def eicu(folder: Path, rows: int) -> None:
    people = patients_of(rows)
    stay = {"patientunitstayid": people, "patienthealthsystemstayid": people, "gender": "Female", "age": "60"}
    stay |= {"ethnicity": "Caucasian", "hospitalid": 59, "hospitaladmittime24": "23:36:00", "hospitaladmitoffset": -60}
    stay |= {"hospitaldischargeyear": 2015, "hospitaldischargeoffset": 20_000, "unittype": "MICU"}
    small(folder / "patient.csv", len(people), {**stay, "uniquepid": uuids(people, 1)})

    def columns(made: Rows) -> Columns:
        told = {"medicationid": made.number, "patientunitstayid": made.patient, "drugorderoffset": made.minute - 10}
        told |= {"drugstartoffset": made.minute, "drugivadmixture": "No", "drugordercancelled": "No"}
        told |= {"drugname": made.name(), "drughiclseqno": made.drug + 2_000, "dosage": "5 3", "routeadmin": "PO"}
        return {**told, "frequency": "BID", "prn": "No", "drugstopoffset": made.minute + 1_440, "gtc": 0}

    write(folder / "medication.csv", rows, columns)


def fhir(folder: Path, rows: int) -> None:
    people = patients_of(rows)
    patient = {"resourceType": "Patient", "id": "@0", "gender": "female", "birthDate": "1960-01-01"}
    with (folder / "Patient.ndjson").open("wb") as file:
        file.writelines(_lines(patient, [uuids(people, 1)]))
    coding = {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "@1", "display": "@2"}
    order = {
        "resourceType": "MedicationRequest",
        "id": "@0",
        "status": "completed",
        "intent": "order",
        "medicationCodeableConcept": {"coding": [coding], "text": "@2"},
        "subject": {"reference": "Patient/@3"},
        "encounter": {"reference": "Encounter/@4"},
        "authoredOn": "@5",
        "dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": {"start": "@5", "end": "@6"}}}}],
    }
    with (folder / "MedicationRequest.ndjson").open("wb") as file:
        for first in range(0, rows, CHUNK):
            made = Rows(first, min(CHUNK, rows - first))
            ids = uuids(made.number, 4), made.code(), made.name(), uuids(made.patient, 1), uuids(made.number // 3, 3)
            file.writelines(_lines(order, [*ids, iso(made.start), iso(made.stop)]))


def _lines(resource: dict[str, Any], values: Sequence[pa.Array]) -> list[bytes]:
    """`resource` with values in place of @0, @1 ..., a line for each."""
    pieces: list[Any] = [json.dumps(resource) + "\n"]
    for number, value in enumerate(values):
        split = [part.split(f"@{number}") if isinstance(part, str) else [part] for part in pieces]
        pieces = [
            piece
            for parts in split
            for place, part in enumerate(parts)
            for piece in ([value, part] if place else [part])
        ]
    joined = pc.binary_join_element_wise(*pieces, "")
    return [line.encode() for line in joined.to_pylist()]


FORMATS: dict[str, tuple[Writer, str]] = {
    "csv": (plain, "treatments.csv"),
    "synthea": (synthea, "medications.csv"),
    "omop": (omop, "drug_exposure.csv"),
    "mimic": (mimic, "prescriptions.csv"),
    "mimic3": (mimic3, "PRESCRIPTIONS.csv"),
    "eicu": (eicu, "medication.csv"),
    "fhir": (fhir, "MedicationRequest.ndjson"),
}
"""Source -> what writes an export of it, and its file of medications."""

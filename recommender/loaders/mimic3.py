"""A MIMIC-III folder in, its people and events out; what it has in common with MIMIC-IV is read as there.

File and column names may be in upper or lower case. Prescriptions have dates only: one of the day of admission starts
with the admission, and each lasts to the end of its last day. Procedures and diagnoses carry no time: both are known
from discharge on.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from recommender.loaders.columns import constant
from recommender.loaders.mimic import (
    ADMISSIONS,
    LAB_EVENTS,
    PRESCRIPTIONS,
    at_discharge,
    by_admission,
    care_resources,
    coded,
    described,
    labs,
    prescriptions,
)
from recommender.loaders.mimic_codes import diagnosis_code, procedure_code
from recommender.loaders.people import people
from recommender.loaders.stays import of_stay
from recommender.loaders.tabular import Export, Table, TableSpec, text, time
from recommender.records import RawEvents, RawPatients

PATIENTS = TableSpec(
    "patients",
    {
        "patient_id": text("subject_id"),
        "sex": text("gender"),
        "birth_date": time("dob", unreadable="set aside"),
    },
)
CODED = {"patient_id": text("subject_id"), "admission": text("hadm_id"), "icd": text("icd9_code", filled=True)}
DIAGNOSES = TableSpec("diagnoses_icd", CODED)
PROCEDURES = TableSpec("procedures_icd", CODED)
TITLES = {"icd": text("icd9_code"), "name": text("long_title", lines=True)}
DIAGNOSIS_TITLES = TableSpec("d_icd_diagnoses", TITLES, optional=True)
PROCEDURE_TITLES = TableSpec("d_icd_procedures", TITLES, optional=True)
YEAR = pd.Timedelta(days=365.2425)
HIDDEN_AGE = 90 * YEAR  # over 89, MIMIC-III shifts the birth to 300 years before the first admission
DAY = pd.Timedelta(days=1)


def load(export: Export) -> tuple[RawPatients, Iterator[RawEvents]]:
    """Read the tables; dictionaries, services, transfers and laboratory values may be absent."""
    patients, admissions = export.read(PATIENTS), export.read(ADMISSIONS)
    return people(described(_born(patients, admissions), admissions), export.log), _events(export, admissions)


def _events(export: Export, admissions: Table) -> Iterator[RawEvents]:
    log, stays = export.log, by_admission(admissions)
    log.count_kept(admissions.file, len(admissions.frame))
    for piece in export.pieces(PRESCRIPTIONS):
        yield prescriptions(_in_their_days(piece, stays), stays["stop"]).events("drug")
    titles = _icd9(export.lookup(PROCEDURE_TITLES))
    for piece in export.pieces(PROCEDURES):
        procedures = at_discharge(coded(_icd9(piece), titles, procedure_code), stays["stop"], log)
        yield procedures.assign(stop=procedures.frame["start"]).events("procedure")
    titles = _icd9(export.lookup(DIAGNOSIS_TITLES))
    for piece in export.pieces(DIAGNOSES):
        yield at_discharge(coded(_icd9(piece), titles, diagnosis_code), stays["stop"], log).events("condition")
    yield from care_resources(export, stays["stop"])
    for piece in export.pieces(LAB_EVENTS):
        yield labs(piece, log).events("observation")


def _icd9(table: Table) -> Table:
    return table.assign(version=constant("9", len(table.frame)))


def _in_their_days(table: Table, stays: pd.DataFrame) -> Table:
    """An order dated on the day of admission starts with it; the last day counts to its end, or to the discharge."""
    frame = table.frame
    admission, discharge = (of_stay(stays[column], frame["admission"]) for column in ("start", "stop"))
    start, stop = frame["start"], frame["stop"]
    start = start.where(~((start < admission) & (start.dt.floor("D") == admission.dt.floor("D"))), admission)
    end_of_day = stop.dt.floor("D") + DAY - pd.Timedelta(seconds=1)
    leaves = (discharge < end_of_day) & (discharge >= stop.dt.floor("D"))
    return table.assign(start=start, stop=end_of_day.where(~leaves, discharge))


def _born(patients: Table, admissions: Table) -> Table:
    """With the birth of those over 89 put 90 years before the first admission."""
    frame = patients.frame
    stays = admissions.frame
    first = stays["start"].groupby(stays["patient_id"].astype("str")).min().reindex(frame["patient_id"].astype("str"))
    first = pd.Series(first.array, index=frame.index)
    hidden = (first - frame["birth_date"]) > HIDDEN_AGE
    birth = frame["birth_date"].where(~hidden, (first - HIDDEN_AGE).dt.floor("D"))
    return patients.assign(birth_date=birth, as_of=birth)

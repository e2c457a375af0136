"""A MIMIC-IV `hosp/` folder (or the folder that holds it) in, its people and events out.

Every patient of MIMIC has a clock of their own, shifted by decades: charts are read at the last thing known of each.
What was coded at discharge is known from discharge on. There is no allergy table, so no allergy of anyone is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from recommender.ingest_log import IngestLog
from recommender.loaders.columns import per_distinct
from recommender.loaders.mimic_codes import (
    LABS,
    READINGS,
    SERVICE_NAMES,
    UNIT_NAMES,
    diagnosis_code,
    procedure_code,
)
from recommender.loaders.people import people
from recommender.loaders.stays import january, of_stay
from recommender.loaders.tabular import Export, Table, TableSpec, number, text, time
from recommender.records import TIME, RawEvents, RawPatients

PATIENTS = TableSpec(
    "patients",
    {
        "patient_id": text("subject_id"),
        "sex": text("gender"),
        "anchor_age": number("anchor_age", unreadable="set aside"),
        "anchor_year": number("anchor_year", unreadable="set aside"),
    },
)
ADMISSIONS = TableSpec(
    "admissions",
    {
        "patient_id": text("subject_id"),
        "admission": text("hadm_id", filled=True),
        "start": time("admittime"),
        "stop": time("dischtime", filled=True),
        "race": text("race", "ethnicity"),
    },
)
NOT_THERAPY = "not therapy: the diluent of an order (drug_type is neither MAIN nor ADDITIVE)"
PRESCRIPTIONS = TableSpec(
    "prescriptions",
    {
        "patient_id": text("subject_id"),
        "admission": text("hadm_id"),
        "start": time("starttime", "startdate"),
        "stop": time("stoptime", "enddate"),
        "drug_type": text("drug_type", only=frozenset({"MAIN", "ADDITIVE"}), otherwise=NOT_THERAPY),
        "name": text("drug", lines=True),
        "route": text("route", required=False),
    },
)
CODED = {
    "patient_id": text("subject_id"),
    "icd": text("icd_code", filled=True),
    "version": text("icd_version", only=frozenset({"9", "10"}), otherwise="neither 9 nor 10"),
}
DIAGNOSES = TableSpec("diagnoses_icd", {**CODED, "admission": text("hadm_id")})
PROCEDURES = TableSpec("procedures_icd", {**CODED, "start": time("chartdate")})
TITLES = {"icd": text("icd_code"), "version": text("icd_version"), "name": text("long_title", lines=True)}
DIAGNOSIS_TITLES = TableSpec("d_icd_diagnoses", TITLES, optional=True)
PROCEDURE_TITLES = TableSpec("d_icd_procedures", TITLES, optional=True)
LAB_EVENTS = TableSpec(
    "labevents",
    {
        "patient_id": text("subject_id"),
        "item": text("itemid", only=frozenset(LABS), otherwise="not one of the laboratory tests that are read"),
        "start": time("charttime"),
        "value": number("valuenum", filled=True),
        "source_unit": text("valueuom"),
    },
    optional=True,
)
OMR = TableSpec(
    "omr",
    {
        "patient_id": text("subject_id"),
        "start": time("chartdate"),
        "item": text("result_name", only=frozenset(READINGS), otherwise="not one of the results that are read"),
        "result": text("result_value", filled=True),
    },
    optional=True,
)
SERVICES = TableSpec(
    "services",
    {
        "patient_id": text("subject_id"),
        "admission": text("hadm_id"),
        "start": time("transfertime"),
        "service": text("curr_service", filled=True),
    },
    optional=True,
)
TRANSFERS = TableSpec(
    "transfers",
    {
        "patient_id": text("subject_id"),
        "start": time("intime"),
        "stop": time("outtime"),
        "unit": text("careunit", "curr_careunit", filled=True),
    },
    optional=True,
)
RACES = {
    "WHITE": "white",
    "PORTUGUESE": "white",
    "BLACK": "black",
    "ASIAN": "asian",
    "AMERICAN INDIAN": "native",
    "NATIVE HAWAIIAN": "hawaiian",
    "OTHER": "other",
    "MULTIPLE": "other",
    "SOUTH AMERICAN": "other",
}


def load(export: Export) -> tuple[RawPatients, Iterator[RawEvents]]:
    """Read the `hosp` tables; dictionaries, services, transfers, laboratory values and readings may be absent."""
    if (export.folder / "hosp").is_dir():
        export = replace(export, folder=export.folder / "hosp")
    patients, admissions = export.read(PATIENTS), export.read(ADMISSIONS)
    # birth is a year off at most, but age 91 stands for over 89
    anchor, age = patients.frame["anchor_year"], patients.frame["anchor_age"]
    patients = patients.assign(birth_date=january(anchor - age), as_of=january(anchor))
    return people(described(patients, admissions), export.log), _events(export, admissions)


def _events(export: Export, admissions: Table) -> Iterator[RawEvents]:
    log, discharge = export.log, by_admission(admissions)["stop"]
    log.count_kept(admissions.file, len(admissions.frame))
    for piece in export.pieces(PRESCRIPTIONS):
        yield prescriptions(piece, discharge).events("drug")
    titles = export.lookup(PROCEDURE_TITLES)
    for piece in export.pieces(PROCEDURES):
        yield coded(piece.assign(stop=piece.frame["start"]), titles, procedure_code).events("procedure")
    titles = export.lookup(DIAGNOSIS_TITLES)
    for piece in export.pieces(DIAGNOSES):
        yield at_discharge(coded(piece, titles, diagnosis_code), discharge, log).events("condition")
    yield from care_resources(export, discharge)
    for piece in export.pieces(LAB_EVENTS):
        yield labs(piece, log).events("observation")
    for piece in export.pieces(OMR):
        yield from _readings(piece, log)


def by_admission(admissions: Table) -> pd.DataFrame:
    """The usable admissions, by their id."""
    stays = admissions.frame.drop_duplicates("admission")
    return stays.set_index(stays["admission"].astype("str"))


def prescriptions(table: Table, discharge: pd.Series) -> Table:
    """Orders without a stop end with the stay."""
    frame = table.frame
    end = of_stay(discharge, frame["admission"])
    return table.assign(
        code=per_distinct(lambda drug: drug and f"mimic:{drug}", frame["name"]),
        stop=frame["stop"].fillna(end.where(~(end < frame["start"]), frame["start"])),
    )


def coded(table: Table, titles: Table, code: Callable[[str, str], str]) -> Table:
    """With `system:code` and, from the dictionary of titles, a name."""
    icds, versions = table.frame["icd"], table.frame["version"]
    used = titles.frame[titles.frame["icd"].isin(icds.cat.categories)].dropna()
    title = {(icd, version): name for icd, version, name in used[["icd", "version", "name"]].itertuples(index=False)}
    return table.assign(
        code=per_distinct(code, icds, versions), name=per_distinct(lambda *icd: title.get(icd), icds, versions)
    )


def at_discharge(table: Table, discharge: pd.Series, log: IngestLog) -> Table:
    known = of_stay(discharge, table.frame["admission"])
    table = table.assign(start=known, stop=pd.Series(pd.NaT, index=known.index, dtype=TIME))
    return table.without(
        known.isna(), log, "hadm_id", "the admission is not among the usable ones, so the date is unknown"
    )


def care_resources(export: Export, discharge: pd.Series) -> Iterator[RawEvents]:
    """Services, each until the next one of the admission or the discharge, and the units that people lay in."""
    table = export.read(SERVICES)
    frame = table.frame.sort_values(["admission", "start"])
    end = frame.groupby("admission", observed=True)["start"].shift(-1).fillna(of_stay(discharge, frame["admission"]))
    yield (
        replace(table, frame=frame)
        .assign(
            code=per_distinct(lambda service: f"mimic-service:{service}", frame["service"]),
            name=per_distinct(lambda service: SERVICE_NAMES.get(service or "", service), frame["service"]),
            stop=end.where(~(end < frame["start"]), frame["start"]),
        )
        .events("care_resource")
    )
    for piece in export.pieces(TRANSFERS):
        yield piece.assign(
            code=per_distinct(lambda unit: f"mimic-unit:{unit}", piece.frame["unit"]),
            name=per_distinct(lambda unit: UNIT_NAMES.get(unit or "", unit), piece.frame["unit"]),
        ).events("care_resource")


def labs(table: Table, log: IngestLog) -> Table:
    usual = per_distinct(lambda item: LABS[item].source_unit or None, table.frame["item"])
    other = table.frame["source_unit"].notna() & (table.frame["source_unit"].astype("str") != usual.astype("str"))
    table = table.without(other, log, "valueuom", "not the unit that this test is known to come in")
    item = table.frame["item"]
    return table.assign(
        code=per_distinct(lambda item: f"loinc:{LABS[item].loinc}", item),
        name=per_distinct(lambda item: LABS[item].name, item),
        unit=per_distinct(lambda item: LABS[item].unit, item),
        stop=table.frame["start"],
    )


def _readings(table: Table, log: IngestLog) -> list[RawEvents]:
    """A blood pressure is two events: the second is accounted for under a file name of its own."""
    pairs = {item for item, readings in READINGS.items() if len(readings) == 2}
    second = replace(table, file=f"{table.file} (diastolic)", frame=table.frame[table.frame["item"].isin(pairs)])
    log.count_read(second.file, len(second.frame))
    return [_reading(table, 0, log).events("observation"), _reading(second, 1, log).events("observation")]


def _reading(table: Table, place: int, log: IngestLog) -> Table:
    """The number in the given place of each result, in UCUM units."""

    def number_at(item: str, result: str) -> str | None:
        parts = result.split("/")
        return parts[place] if len(parts) == len(READINGS[item]) else None

    item = table.frame["item"]
    value = pd.to_numeric(per_distinct(number_at, item, table.frame["result"]).astype("str"), errors="coerce")
    factor = item.astype("str").map(
        {name: readings[place].factor for name, readings in READINGS.items() if readings[place:]}
    )
    table = table.assign(
        code=per_distinct(lambda item: f"loinc:{READINGS[item][place].loinc}", item),
        name=per_distinct(lambda item: READINGS[item][place].name, item),
        unit=per_distinct(lambda item: READINGS[item][place].unit, item),
        value=value * factor,
        stop=table.frame["start"],
    )
    return table.without(
        ~np.isfinite(table.frame["value"]), log, "result_value", "not a number, or not a pair like 120/80"
    )


def described(patients: Table, admissions: Table) -> Table:
    """What `people` needs of each patient. Their own `as_of` is used only for those without an admission."""
    frame = patients.frame
    stays = admissions.frame.sort_values(["start", "admission"])
    stays = stays.assign(text=per_distinct(_race, stays["race"]), hispanic=per_distinct(_ethnicity, stays["race"]))
    by_patient = stays.groupby(stays["patient_id"].astype("str"))
    latest = by_patient[["text", "hispanic"]].last()
    identity = frame["patient_id"].astype("str")
    discharged = by_patient["stop"].max().reindex(identity)
    return patients.assign(
        race=pd.Categorical(latest["text"].reindex(identity)),
        ethnicity=pd.Categorical(latest["hispanic"].reindex(identity)),
        as_of=pd.Series(discharged.array, index=frame.index).fillna(frame["as_of"]),
    )


def _race(text: str | None) -> str | None:
    """MIMIC asks race and ethnicity in one question; the leading word of the answer, None where it tells no race."""
    return next((race for start, race in RACES.items() if (text or "").startswith(start)), None)


def _ethnicity(text: str | None) -> str | None:
    if (text or "").startswith("HISPANIC"):
        return "hispanic"
    return "nonhispanic" if _race(text) else None

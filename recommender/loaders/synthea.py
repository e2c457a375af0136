"""A folder in Synthea's CSV layout (old or new column set) in, its people and events out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from recommender.loaders.columns import per_distinct
from recommender.loaders.people import people
from recommender.loaders.tabular import Column, Export, Table, TableSpec, number, text, time
from recommender.records import RawEvents, RawPatients

PATIENTS = TableSpec(
    "patients",
    {
        "patient_id": text("Id"),
        "birth_date": time("BIRTHDATE", unreadable="set aside"),
        "sex": text("GENDER"),
        "race": text("RACE", required=False),
        "ethnicity": text("ETHNICITY", required=False),
    },
)
EVENT: dict[str, Column] = {
    "patient_id": text("PATIENT"),
    "start": time("START", "DATE"),
    "stop": time("STOP", required=False),
    "code": text("CODE"),
    "name": text("DESCRIPTION", lines=True),
    "system": text("SYSTEM", required=False),
}
# an allergy whose dates cannot be read is still an allergy
UNDATED = {"start": time("START", unreadable="set aside"), "stop": time("STOP", required=False, unreadable="set aside")}
MEDICATIONS = TableSpec("medications", EVENT)
PROCEDURES = TableSpec("procedures", EVENT)
ENCOUNTERS = TableSpec("encounters", EVENT, optional=True)
CARE_PLANS = TableSpec("careplans", EVENT)
CONDITIONS = TableSpec("conditions", EVENT)
ALLERGIES = TableSpec("allergies", {**EVENT, **UNDATED, "group": text("CATEGORY", required=False)})
OBSERVATIONS = TableSpec(
    "observations",
    {**EVENT, "value": number("VALUE", filled=True), "unit": text("UNITS", required=False)},
    optional=True,
)
SYSTEMS = {
    "snomed-ct": "snomed",
    "http://snomed.info/sct": "snomed",
    "rxnorm": "rxnorm",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "rxnorm",
    "loinc": "loinc",
    "http://loinc.org": "loinc",
    "icd10": "icd10cm",
    "icd-10": "icd10cm",
    "icd10-cm": "icd10cm",
    "icd-10-cm": "icd10cm",
    "http://hl7.org/fhir/sid/icd-10-cm": "icd10cm",
}
# SNOMED CT ends its full names with the kind of thing in brackets, which says nothing to a clinician
TAG = re.compile(
    r" \((procedure|regime/therapy|disorder|finding|situation|event|record artifact|substance|organism|product|person"
    r"|observable entity|environment|morphologic abnormality|physical object|qualifier value"
    r"|context-dependent category)\)$"
)


def load(export: Export) -> tuple[RawPatients, Iterator[RawEvents]]:
    """Read the eight tables; only encounters and observations may be absent."""
    return people(export.read(PATIENTS), export.log), _events(export)


def _events(export: Export) -> Iterator[RawEvents]:
    for piece in export.pieces(MEDICATIONS):
        yield _coded(piece, "rxnorm").events("drug")
    # what an encounter is tells more than its class: "Admission to surgical department" is one of class inpatient
    for spec, kind in ((PROCEDURES, "procedure"), (ENCOUNTERS, "care_resource")):
        for piece in export.pieces(spec):
            over_at_once = piece.frame["stop"].fillna(piece.frame["start"])
            yield _coded(piece.assign(stop=over_at_once), "snomed").events(kind)
    for spec, kind in ((CARE_PLANS, "care_plan"), (CONDITIONS, "condition"), (ALLERGIES, "allergy")):
        for piece in export.pieces(spec):
            yield _coded(piece, "snomed").events(kind)
    for piece in export.pieces(OBSERVATIONS):
        yield _coded(piece.assign(stop=piece.frame["start"]), "loinc").events("observation")


def _coded(table: Table, usual: str) -> Table:
    """`system:code` for the code, and the name without its tag. `usual`: the system where the row names none."""

    def code(system: str | None, code: str | None) -> str | None:
        return code and f"{SYSTEMS.get((system or '').lower(), usual)}:{code}"

    frame = table.frame
    return table.assign(
        code=per_distinct(code, frame["system"], frame["code"]),
        name=per_distinct(lambda name: name and TAG.sub("", name), frame["name"]),
    )

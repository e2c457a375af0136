"""`Records`, the one validated form in which every later step sees a hospital, and what loaders give to build it from.

All events have one shape, whatever they are (a drug order, a procedure, a diagnosis, an allergy, a lab value): who,
what, from when, until when. People and concepts are dense integers from here on; their external ids stand in
`patients` and `concepts`. Times are UTC-aware at second resolution, which also holds the far-future dates of
de-identified data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import pandas as pd

from recommender.errors import EngineError
from recommender.ingest_log import IngestLog

Table = Literal["treatments", "conditions", "allergies", "observations"]
THERAPIES = ("drug", "procedure", "care_plan")
# a care resource is who gives care: the department, specialty or kind of place of an encounter
TREATMENT_KINDS = (*THERAPIES, "care_resource")
KINDS: dict[Table, tuple[str, ...]] = {
    "treatments": TREATMENT_KINDS,
    "conditions": ("condition",),
    "allergies": ("allergy",),
    "observations": ("observation",),
}
TABLE_OF_KIND: dict[str, Table] = {kind: table for table, kinds in KINDS.items() for kind in kinds}
TIME = "datetime64[s, UTC]"
SEXES = ("F", "M", "other", "unknown")

EVENT = {"patient_ix": "int32", "concept_ix": "int32", "start": TIME, "stop": TIME}
SCHEMA: dict[str, dict[str, str]] = {
    # row number = patient_ix; birth_date may be missing; site: the hospital that last treated this person, "" where the
    # source tells none; as_of: the moment at which this person's chart is read
    "patients": {
        "patient_id": "str",
        "birth_date": TIME,
        "sex": "str",
        "race": "str",
        "ethnicity": "str",
        "site": "str",
        "as_of": TIME,
    },
    # row number = concept_ix; (kind, code) is unique; group: therapeutic class or "", unit: UCUM or ""
    "concepts": {"code": "str", "kind": "str", "name": "str", "group": "str", "unit": "str"},
    # start: when it was ordered, became known to the hospital, or was measured; stop missing: still going on
    # reported: told of as taken (at home, say), not ordered or given here, so its start is when that was told
    # local: given where it acts (eye, ear, skin), so that next to nothing of it gets into the body
    # routes: by which ways a drug was ordered so, a bit of each (`vocabulary.routes`); 0 where that is not told
    "treatments": {**EVENT, "reported": "bool", "local": "bool", "routes": "uint32"},
    "conditions": EVENT,
    "allergies": EVENT,
    "observations": {**EVENT, "value": "float64"},
}
Clock = Literal["one", "own", "told by the dates"]


@dataclass(frozen=True)
class RawPatients:
    """People as a loader read them. `frame`: row (int), patient_id, birth_date, sex, race, ethnicity[, site, as_of].

    `clock`: whether the whole export has one clock or, as where dates were shifted to hide who it is, each person an
    own one; "told by the dates": own ones if most people's last moment lies in the future. `as_of`: a moment at which
    something is known of the person (the end of a stay, say), for clocks of their own.
    """

    file: str
    frame: pd.DataFrame
    clock: Clock = "one"


@dataclass(frozen=True)
class RawEvents:
    """Events of one kind as a loader read them, times parsed, codes final (system:code).

    `frame`: row (int), patient_id, code, name, start, stop and, where known, group, unit, value, reported, local,
    routes. Strings may be categorical.
    """

    file: str
    kind: str
    frame: pd.DataFrame


@dataclass(frozen=True)
class Records:
    """The validated tables of `SCHEMA`, and the account of what became of each row of the export."""

    patients: pd.DataFrame
    concepts: pd.DataFrame
    treatments: pd.DataFrame
    conditions: pd.DataFrame
    allergies: pd.DataFrame
    observations: pd.DataFrame
    log: IngestLog

    def __post_init__(self) -> None:
        for name, columns in SCHEMA.items():
            found = {str(c): str(t) for c, t in getattr(self, name).dtypes.items()}
            if found != columns:
                raise EngineError(f"records table {name} has columns {found}, expected {columns}")
        for name in get_args(Table):
            table = getattr(self, name)
            for column, limit in (("patient_ix", len(self.patients)), ("concept_ix", len(self.concepts))):
                if len(table) and not (table[column].min() >= 0 and table[column].max() < limit):
                    raise EngineError(f"records table {name} points outside its {column} table")

    @property
    def n_patients(self) -> int:
        return len(self.patients)

    @property
    def as_of(self) -> pd.Timestamp:
        """The latest moment at which any chart is read: the age of the data."""
        return self.patients["as_of"].max()

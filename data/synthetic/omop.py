"""In: the Synthea tables of a block; out: the same people and events as OMOP CDM 5.4 tables, every column text.

Nothing is drawn here: each row is a row of the Synthea tables, so the two exports are of the same hospital. CONCEPT
holds this hospital's codes and names only, under ids of its own (from two billion on, as the CDM asks of local
concepts). OMOP has no care plans. An order without end ends with the hospital's last day, as the CDM asks for an end.
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from data.synthetic import omop_cdm as cdm
from data.synthetic import text
from data.synthetic.block import BLOCK
from data.synthetic.people import END
from recommender.loaders.omop_eras import drug_eras

Tables = dict[str, pa.Table]
EHR, PRESCRIPTION = "32817", "32838"  # type concepts
SEXES = {"M": "8507", "F": "8532"}
RACES = {"white": "8527", "black": "8516", "asian": "8515", "native": "8657", "hawaiian": "8557", "other": "8522"}
ETHNICITIES = {"hispanic": "38003563", "nonhispanic": "38003564"}
VISITS = {"inpatient": "9201", "emergency": "9203"}
OUTPATIENT = "9202"
ALLERGIES = {"medication": "439224", "food": "4188027"}
ALLERGY = "40772948"
ERA_DATES = ("drug_exposure_start_date", "drug_exposure_end_date")
LAST_DAY = str(text.DAYS[END - 1 - text.FIRST_DAY].astype("U10"))


def omop(synthea: Tables, number: int) -> Tables:
    """The tables of block `number`; CONCEPT and CDM_SOURCE come with block 0."""
    found = _Block(synthea, number).tables()
    return found | ({"concept": cdm.concept_table(), "cdm_source": cdm.source(LAST_DAY)} if number == 0 else {})


class _Block:
    """Holds what the tables of one block share: ids of people, visits and concepts."""

    def __init__(self, synthea: Tables, number: int):
        self.synthea, self.number = synthea, number

    def tables(self) -> Tables:
        return {
            "person": self._people(),
            "observation_period": self._periods(),
            "visit_occurrence": self._visits(),
            "drug_exposure": self._exposures(),
            "drug_era": self._eras(),
            "condition_occurrence": self._conditions(),
            "procedure_occurrence": self._procedures(),
            "measurement": self._measurements(),
            "observation": self._allergies(),
            "death": self._deaths(),
        }

    def _person(self, ids: pa.ChunkedArray) -> pa.Array:
        place = pc.index_in(ids, value_set=self.synthea["patients"]["Id"])
        return pc.add(place.cast(pa.int64()), self.number * BLOCK + 1)

    def _visit(self, ids: pa.ChunkedArray) -> pa.Array:
        place = pc.index_in(ids, value_set=self.synthea["encounters"]["Id"])
        return pc.add(place.cast(pa.int64()), (self.number << 32) + 1)

    def _numbers(self, rows: int) -> pa.Array:
        """Ids of events, which no other block has."""
        return pa.array(range((self.number << 32) + 1, (self.number << 32) + 1 + rows), pa.int64())

    def _events(self, name: str, source: pa.Table, vocabulary: str, **columns: object) -> pa.Table:
        """Rows of one domain, with what all domains have: id, person, visit, source value and source concept."""
        domain = name.partition("_")[0]
        shared = {
            f"{name}_id": self._numbers(source.num_rows),
            "person_id": self._person(source["PATIENT"]),
            "visit_occurrence_id": self._visit(source["ENCOUNTER"]),
            f"{domain}_concept_id": "0",
            f"{domain}_type_concept_id": EHR,
            f"{domain}_source_value": source["CODE"],
            f"{domain}_source_concept_id": cdm.concept_ids(vocabulary, source["CODE"]),
        }
        return cdm.table(name, source.num_rows, shared | columns)

    def _people(self) -> pa.Table:
        people = self.synthea["patients"]
        born = people["BIRTHDATE"]
        return cdm.table(
            "person",
            people.num_rows,
            {
                "person_id": self._person(people["Id"]),
                "gender_concept_id": cdm.mapped(people["GENDER"], SEXES, "0"),
                "year_of_birth": pc.utf8_slice_codeunits(born, 0, 4),
                "month_of_birth": pc.utf8_slice_codeunits(born, 5, 7).cast(pa.int32()),
                "day_of_birth": pc.utf8_slice_codeunits(born, 8, 10).cast(pa.int32()),
                "birth_datetime": cdm.moment(born),
                "race_concept_id": cdm.mapped(people["RACE"], RACES, "0"),
                "ethnicity_concept_id": cdm.mapped(people["ETHNICITY"], ETHNICITIES, "0"),
                "person_source_value": people["Id"],
                "gender_source_value": people["GENDER"],
                "gender_source_concept_id": "0",
                "race_source_value": people["RACE"],
                "race_source_concept_id": "0",
                "ethnicity_source_value": people["ETHNICITY"],
                "ethnicity_source_concept_id": "0",
            },
        )

    def _periods(self) -> pa.Table:
        """From the first encounter of a person to the end of the last."""
        visits = self.synthea["encounters"].select(["PATIENT", "START", "STOP"]).to_pandas()
        spans = visits.groupby("PATIENT", sort=False).agg(start=("START", "min"), stop=("STOP", "max"))
        person = self._person(pa.chunked_array([pa.array(spans.index, pa.string())]))
        dates = {column: cdm.date(pa.array(spans[column], pa.string())) for column in ("start", "stop")}
        columns = {
            "observation_period_id": person,
            "person_id": person,
            "observation_period_start_date": dates["start"],
            "observation_period_end_date": dates["stop"],
            "period_type_concept_id": EHR,
        }
        return cdm.table("observation_period", len(spans), columns)

    def _visits(self) -> pa.Table:
        visits = self.synthea["encounters"]
        return cdm.table(
            "visit_occurrence",
            visits.num_rows,
            {
                "visit_occurrence_id": self._visit(visits["Id"]),
                "person_id": self._person(visits["PATIENT"]),
                "visit_concept_id": cdm.mapped(visits["ENCOUNTERCLASS"], VISITS, OUTPATIENT),
                **cdm.when("visit_start", visits["START"]),
                **cdm.when("visit_end", visits["STOP"]),
                "visit_type_concept_id": EHR,
                "visit_source_value": visits["Id"],
                "visit_source_concept_id": cdm.concept_ids("SNOMED", visits["CODE"]),
            },
        )

    def _exposures(self) -> pa.Table:
        orders = self.synthea["medications"]
        return self._events(
            "drug_exposure",
            orders,
            "RxNorm",
            **cdm.when("drug_exposure_start", orders["START"]),
            **cdm.when("drug_exposure_end", pc.fill_null(orders["STOP"], f"{LAST_DAY}T23:59:59Z")),
            verbatim_end_date=cdm.date(orders["STOP"]),
            drug_type_concept_id=PRESCRIPTION,
            route_concept_id="0",
            drug_source_value=pc.coalesce(orders["CODE"], orders["DESCRIPTION"]),
        )

    def _eras(self) -> pa.Table:
        """Of every ingredient of every order that has a code and possible dates."""
        exposures = self._exposures().select(["person_id", "drug_source_value", *ERA_DATES]).to_pandas()
        exposures.columns = pd.Index(["patient_id", "code", "start", "stop"])
        exposures["code"] = exposures["code"].map(cdm.ingredients())
        exposures = exposures.dropna().explode("code")
        for column in ("start", "stop"):
            exposures[column] = pd.to_datetime(exposures[column], utc=True)
        eras = drug_eras(exposures[exposures["start"] <= exposures["stop"]])
        columns = {
            "drug_era_id": self._numbers(len(eras)),
            "person_id": eras["patient_id"],
            "drug_concept_id": cdm.ingredient_ids(pa.array(eras["code"], pa.string())),
            "drug_era_start_date": eras["start"].dt.strftime("%Y-%m-%d"),
            "drug_era_end_date": eras["stop"].dt.strftime("%Y-%m-%d"),
            "drug_exposure_count": eras["exposures"],
            "gap_days": eras["gap_days"],
        }
        return cdm.table("drug_era", len(eras), columns)

    def _conditions(self) -> pa.Table:
        rows = self.synthea["conditions"]
        dates = cdm.when("condition_start", rows["START"]) | cdm.when("condition_end", rows["STOP"])
        return self._events("condition_occurrence", rows, "SNOMED", **dates, condition_status_concept_id="0")

    def _procedures(self) -> pa.Table:
        rows = self.synthea["procedures"]
        dates = cdm.when("procedure", rows["START"]) | cdm.when("procedure_end", rows["STOP"])
        return self._events("procedure_occurrence", rows, "SNOMED", **dates)

    def _measurements(self) -> pa.Table:
        rows = self.synthea["observations"]
        return self._events(
            "measurement",
            rows,
            "LOINC",
            **cdm.when("measurement", rows["DATE"]),
            value_as_number=rows["VALUE"],
            value_source_value=rows["VALUE"],
            unit_concept_id=cdm.concept_ids("UCUM", rows["UNITS"]),
            unit_source_value=rows["UNITS"],
        )

    def _allergies(self) -> pa.Table:
        rows = self.synthea["allergies"]
        substance = pc.if_else(
            pc.equal(rows["SYSTEM"], "RxNorm"),
            cdm.concept_ids("RxNorm", rows["CODE"]),
            cdm.concept_ids("SNOMED", rows["CODE"]),
        )
        return self._events(
            "observation",
            rows,
            "",
            **cdm.when("observation", rows["START"]),
            observation_concept_id=cdm.mapped(rows["CATEGORY"], ALLERGIES, ALLERGY),
            value_as_concept_id=substance,
            value_as_string=rows["DESCRIPTION"],
        )

    def _deaths(self) -> pa.Table:
        people = self.synthea["patients"]
        died = people.filter(pc.is_valid(people["DEATHDATE"]))
        columns = {
            "person_id": self._person(died["Id"]),
            **cdm.when("death", died["DEATHDATE"]),
            "death_type_concept_id": EHR,
        }
        return cdm.table("death", died.num_rows, columns)

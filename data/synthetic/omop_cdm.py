"""In: columns by name, codes; out: tables as CDM 5.4 defines them, ids of concepts, the CONCEPT table of our codes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from data.synthetic import tables
from data.synthetic.export import encounter_codes
from recommender.loaders.synthea import TAG
from recommender.vocabulary import DrugVocabulary

COLUMNS = {  # of CDM 5.4, in the order of its definition
    "person": "person_id gender_concept_id year_of_birth month_of_birth day_of_birth birth_datetime race_concept_id "
    "ethnicity_concept_id location_id provider_id care_site_id person_source_value gender_source_value "
    "gender_source_concept_id race_source_value race_source_concept_id ethnicity_source_value "
    "ethnicity_source_concept_id",
    "observation_period": "observation_period_id person_id observation_period_start_date observation_period_end_date "
    "period_type_concept_id",
    "visit_occurrence": "visit_occurrence_id person_id visit_concept_id visit_start_date visit_start_datetime "
    "visit_end_date visit_end_datetime visit_type_concept_id provider_id care_site_id visit_source_value "
    "visit_source_concept_id admitted_from_concept_id admitted_from_source_value discharged_to_concept_id "
    "discharged_to_source_value preceding_visit_occurrence_id",
    "condition_occurrence": "condition_occurrence_id person_id condition_concept_id condition_start_date "
    "condition_start_datetime condition_end_date condition_end_datetime condition_type_concept_id "
    "condition_status_concept_id stop_reason provider_id visit_occurrence_id visit_detail_id condition_source_value "
    "condition_source_concept_id condition_status_source_value",
    "drug_exposure": "drug_exposure_id person_id drug_concept_id drug_exposure_start_date drug_exposure_start_datetime "
    "drug_exposure_end_date drug_exposure_end_datetime verbatim_end_date drug_type_concept_id stop_reason refills "
    "quantity days_supply sig route_concept_id lot_number provider_id visit_occurrence_id visit_detail_id "
    "drug_source_value drug_source_concept_id route_source_value dose_unit_source_value",
    "drug_era": "drug_era_id person_id drug_concept_id drug_era_start_date drug_era_end_date drug_exposure_count "
    "gap_days",
    "procedure_occurrence": "procedure_occurrence_id person_id procedure_concept_id procedure_date procedure_datetime "
    "procedure_end_date procedure_end_datetime procedure_type_concept_id modifier_concept_id quantity provider_id "
    "visit_occurrence_id visit_detail_id procedure_source_value procedure_source_concept_id modifier_source_value",
    "measurement": "measurement_id person_id measurement_concept_id measurement_date measurement_datetime "
    "measurement_time measurement_type_concept_id operator_concept_id value_as_number value_as_concept_id "
    "unit_concept_id range_low range_high provider_id visit_occurrence_id visit_detail_id measurement_source_value "
    "measurement_source_concept_id unit_source_value unit_source_concept_id value_source_value measurement_event_id "
    "meas_event_field_concept_id",
    "observation": "observation_id person_id observation_concept_id observation_date observation_datetime "
    "observation_type_concept_id value_as_number value_as_string value_as_concept_id qualifier_concept_id "
    "unit_concept_id provider_id visit_occurrence_id visit_detail_id observation_source_value "
    "observation_source_concept_id unit_source_value qualifier_source_value value_source_value observation_event_id "
    "obs_event_field_concept_id",
    "death": "person_id death_date death_datetime death_type_concept_id cause_concept_id cause_source_value "
    "cause_source_concept_id",
    "concept": "concept_id concept_name domain_id vocabulary_id concept_class_id standard_concept concept_code "
    "valid_start_date valid_end_date invalid_reason",
    "cdm_source": "cdm_source_name cdm_source_abbreviation cdm_holder source_description "
    "source_documentation_reference cdm_etl_reference source_release_date cdm_release_date cdm_version "
    "cdm_version_concept_id vocabulary_version",
}
FIRST_CONCEPT = 2_000_000_001  # below two billion OMOP numbers its own
OURS = "rxrec"  # the vocabulary of what has no code elsewhere
DOMAINS = {"RxNorm": "Drug", OURS: "Drug", "SNOMED": "Observation", "LOINC": "Measurement", "UCUM": "Unit"}
Key = tuple[str, str]  # vocabulary and code


def table(name: str, rows: int, columns: Mapping[str, object]) -> pa.Table:
    """The CDM table with these columns, each an array or one text for all rows; the others are empty."""

    def column(of: str) -> pa.Array:
        value = columns.get(of)
        if value is None or isinstance(value, str):
            return pa.array([value], pa.string()).take(pa.array([0] * rows, pa.int64()))
        return value if isinstance(value, pa.Array | pa.ChunkedArray) else pa.array(value)

    return pa.table({of: column(of).cast(pa.string()) for of in COLUMNS[name].split()})


def when(name: str, moments: pa.ChunkedArray) -> dict[str, pa.Array]:
    return {f"{name}_date": date(moments), f"{name}_datetime": moment(moments)}


def date(moments: pa.Array) -> pa.Array:
    """'2026-10-31T09:12:45Z' -> '2026-10-31'"""
    return pc.utf8_slice_codeunits(moments, 0, 10)


def moment(moments: pa.Array) -> pa.Array:
    """'2026-10-31T09:12:45Z' -> '2026-10-31 09:12:45'; a day begins at midnight."""
    second = pc.utf8_slice_codeunits(moments, 11, 19)
    second = pc.if_else(pc.equal(pc.utf8_length(second), 0), "00:00:00", second)
    return pc.binary_join_element_wise(date(moments), second, " ")


def mapped(values: pa.ChunkedArray, words: Mapping[str, str], other: str) -> pa.Array:
    place = pc.index_in(values, value_set=pa.array(list(words), pa.string()))
    return pc.fill_null(pa.array(list(words.values()), pa.string()).take(place.combine_chunks()), other)


def concept_ids(vocabulary: str, codes: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The concept of each code; 0 for none."""
    known = {code: str(concept) for (of, code), (concept, _) in concepts().items() if of == vocabulary}
    codes = codes if isinstance(codes, pa.ChunkedArray) else pa.chunked_array([codes])
    return mapped(codes, known, "0")


@cache
def concepts() -> dict[Key, tuple[int, str]]:
    """(vocabulary, code) -> id and name, of all that this hospital can write down."""
    rules = tables.load()
    found: dict[Key, str] = {}

    def add(vocabulary: str, rows: Iterable[tables.Row], code: str, name: str) -> None:
        for row in rows:
            words = TAG.sub("", row[name]).replace(",", " ").replace('"', "")
            found.setdefault((vocabulary, row[code]), words)

    add("RxNorm", rules.drugs, "rxcui", "name")
    for system, vocabulary in (("RxNorm", "RxNorm"), ("SNOMED-CT", "SNOMED")):
        add(vocabulary, [row for row in rules.allergies if row["system"] == system], "code", "description")
    conditions = [{"code": c.code, "name": c.description} for c in rules.conditions.values()]
    add("SNOMED", conditions, "code", "name")
    add("SNOMED", rules.procedure_rows, "code", "description")
    add("SNOMED", [{"code": code, "name": name} for code, name in encounter_codes(rules)], "code", "name")
    add("LOINC", rules.observation_rows, "code", "description")
    add("UCUM", rules.observation_rows, "units", "units")
    drugs = DrugVocabulary.load().drugs
    for code in sorted({part for parts in ingredients().values() for part in parts}):
        found.setdefault(_key(code), drugs[code].name)
    return {key: (FIRST_CONCEPT + i, name) for i, (key, name) in enumerate(found.items())}


@cache
def ingredients() -> dict[str, tuple[str, ...]]:
    """RxNorm code of a clinical drug -> the codes of its ingredients, as the engine's vocabulary has them."""
    vocabulary = DrugVocabulary.load()
    return {row["rxcui"]: vocabulary.match(row["name"]).ingredients for row in tables.load().drugs}


def ingredient_ids(codes: pa.Array) -> pa.Array:
    known = {code: str(concepts()[_key(code)][0]) for parts in ingredients().values() for code in parts}
    return mapped(pa.chunked_array([codes]), known, "0")


def _key(ingredient: str) -> Key:
    return ("RxNorm", ingredient.removeprefix("rxnorm:")) if ingredient.startswith("rxnorm:") else (OURS, ingredient)


def concept_table() -> pa.Table:
    of = concepts()
    columns = {
        "concept_id": [concept for concept, _ in of.values()],
        "concept_name": [name for _, name in of.values()],
        "domain_id": [DOMAINS[vocabulary] for vocabulary, _ in of],
        "vocabulary_id": [vocabulary for vocabulary, _ in of],
        "concept_class_id": "Undefined",
        "concept_code": [code for _, code in of],
        "valid_start_date": "1970-01-01",
        "valid_end_date": "2099-12-31",
    }
    return table("concept", len(of), columns)


def source(released: str) -> pa.Table:
    columns = {
        "cdm_source_name": "rxrec synthetic hospital",
        "cdm_source_abbreviation": "rxrec",
        "cdm_holder": "nobody: no record is of a real person",
        "source_release_date": released,
        "cdm_release_date": released,
        "cdm_version": "5.4",
        "cdm_version_concept_id": "756265",
        "vocabulary_version": "none: local concepts only",
    }
    return table("cdm_source", 1, columns)

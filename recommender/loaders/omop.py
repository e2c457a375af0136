"""An OMOP CDM 5.3 or 5.4 (a folder or zip of CSV or Parquet files, or a database) in, its people and events out.

Dates are as the CDM gives them, with three rules: what was coded for the bill of a stay is known at the end of the
stay, an exposure without end lasts its days of supply, and where most people's last day lies in the future, dates were
shifted person by person, so each chart is read at the last thing known of that person. DRUG_EXPOSURE is the truth about
drugs; an export without any has them from DRUG_ERA. All of it stands in docs/formats/omop.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from recommender.ingest_log import IngestLog
from recommender.loaders import omop_codes as codes
from recommender.loaders.columns import chosen, distinct, per_distinct
from recommender.loaders.omop_people import PERSON, described
from recommender.loaders.stays import latest_known, of_stay
from recommender.loaders.tabular import Column, Export, Table, TableSpec, number, text, time
from recommender.records import TIME, RawEvents, RawPatients

Coder = Callable[[str | None, str | None, str | None, codes.Concepts], codes.Coded]


def _coded(domain: str) -> dict[str, Column]:
    return {
        "patient_id": text("person_id"),
        "standard": text(f"{domain}_concept_id"),
        "source": text(f"{domain}_source_concept_id", required=False),
        "source_value": text(f"{domain}_source_value", required=False, lines=True),
    }


def _when(ours: str, table: str) -> dict[str, Column]:
    """The date, and the same with the time of day, which may be missing or unreadable."""
    return {
        f"{ours}_date": time(f"{table}_date", required=ours == "start"),
        f"{ours}_time": time(f"{table}_datetime", required=False, unreadable="set aside"),
    }


VISITS = TableSpec(
    "visit_occurrence",
    {
        "patient_id": text("person_id"),
        "visit": text("visit_occurrence_id"),
        **_when("start", "visit_start"),
        **_when("stop", "visit_end"),
    },
    optional=True,
)
EXPOSURES = TableSpec(
    "drug_exposure",
    {
        **_coded("drug"),
        **_when("start", "drug_exposure_start"),
        **_when("stop", "drug_exposure_end"),
        "verbatim_stop": time("verbatim_end_date", required=False, unreadable="set aside"),
        "days": number("days_supply", required=False, unreadable="set aside"),
        "route": text("route_source_value", required=False),
        "route_concept": text("route_concept_id", required=False),
    },
    optional=True,
)
ERAS = TableSpec(
    "drug_era",
    {
        "patient_id": text("person_id"),
        "standard": text("drug_concept_id"),
        "start": time("drug_era_start_date"),
        "stop": time("drug_era_end_date", required=False),
    },
    optional=True,
)
CONDITIONS = TableSpec(
    "condition_occurrence",
    {
        **_coded("condition"),
        **_when("start", "condition_start"),
        **_when("stop", "condition_end"),
        "type": text("condition_type_concept_id", required=False),
        "visit": text("visit_occurrence_id", required=False),
    },
    optional=True,
)
PROCEDURES = TableSpec(
    "procedure_occurrence",
    {**_coded("procedure"), **_when("start", "procedure"), **_when("stop", "procedure_end")},
    optional=True,
)
VALUE: dict[str, Column] = {
    "value": number("value_as_number", required=False, unreadable="set aside"),
    "unit_concept": text("unit_concept_id", required=False),
    "unit_value": text("unit_source_value", required=False),
}
MEASUREMENTS = TableSpec(
    "measurement", {**_coded("measurement"), **_when("start", "measurement"), **VALUE}, optional=True
)
OBSERVATIONS = TableSpec(
    "observation",
    {
        **_coded("observation"),
        # an allergy whose date cannot be read is still an allergy
        "start_date": time("observation_date", unreadable="set aside"),
        "start_time": time("observation_datetime", required=False, unreadable="set aside"),
        **VALUE,
        "cause": text("value_as_concept_id", required=False),
        "cause_value": text("value_as_string", required=False, lines=True),
    },
    optional=True,
)
CONCEPTS = ("standard", "source", "unit_concept", "route_concept", "cause")
IDS = (*CONCEPTS, "type", "visit")
UNUSED = "not used by any record of this export"

# Type concepts of records that are made when a stay is over: claims, discharge records and summaries, billing records
CODED_AFTERWARDS = frozenset({"32810", "32812", "32821", "32823", "32824", "32853", "32854", "32855"})


def load(export: Export) -> tuple[RawPatients, list[RawEvents]]:
    """Read what is there of the tables above, of CONCEPT and of CONCEPT_ANCESTOR; only PERSON must be there."""
    log = export.log
    person, visits, exposures = export.read(PERSON), _read(export, VISITS), _read(export, EXPOSURES)
    conditions, procedures, measurements, observations = (
        _read(export, spec) for spec in (CONDITIONS, PROCEDURES, MEASUREMENTS, OBSERVATIONS)
    )
    drugs = _read(export, ERAS) if exposures.frame.empty else exposures
    events = drugs, conditions, procedures, measurements, observations
    concepts = _concepts(export, events)
    allergies = _allergy_concepts(export, concepts, (conditions, observations))
    conditions, disorders = _apart(conditions, allergies)
    observations, allergy_rows = _apart(observations, allergies)
    read = [
        _drugs(drugs, concepts).events("drug"),
        _procedures(procedures, concepts).events("procedure"),
        _conditions(conditions, visits, concepts).events("condition"),
        _named(disorders, codes.condition, concepts).events("allergy"),
        _allergies(allergy_rows, concepts).events("allergy"),
        *(_numbers(table, concepts, log).events("observation") for table in (measurements, observations)),
    ]
    log.count_kept(visits.file, len(visits.frame))
    stays = visits.frame.assign(stop=visits.frame["stop"].fillna(visits.frame["start"]))
    return described(person, latest_known(stays, read), log), read


def _read(export: Export, spec: TableSpec) -> Table:
    """With one `start` and `stop`, and ids without the '.0' that a missing neighbour gave them; concept 0 is none."""
    table = export.read(spec)
    frame = table.frame
    ids = {name: _ids(frame[name]) for name in IDS if name in frame}
    times = {
        ours: frame[f"{ours}_time"].fillna(frame[f"{ours}_date"])
        for ours in ("start", "stop")
        if f"{ours}_date" in frame
    }
    return table.assign(**ids, **times)


def _ids(column: pd.Series) -> pd.Series:
    texts = column.cat.categories
    if not (texts.str.endswith(".0") | (texts == "0")).any():
        return column
    return per_distinct(lambda text: None if text in (None, "0", "0.0") else text.removesuffix(".0"), column)


def _concepts(export: Export, tables: tuple[Table, ...]) -> codes.Concepts:
    """What CONCEPT says of the concepts that the events name; an Athena download has millions of others."""
    named = [table.frame[name] for table in tables for name in CONCEPTS if name in table.frame]
    used = frozenset(concept for column in named for concept in column.cat.categories)
    spec = TableSpec(
        "concept",
        {
            "id": text("concept_id", only=used, otherwise=UNUSED),
            "name": text("concept_name", lines=True),
            "vocabulary": text("vocabulary_id"),
            "code": text("concept_code"),
        },
        optional=True,
        tabs=True,
    )
    table = export.read(spec)
    export.log.count_kept(table.file, len(table.frame))
    words = table.frame[["id", "name", "vocabulary", "code"]].astype("object")
    rows = words.where(words.notna(), None).itertuples(index=False)
    return {concept: codes.Concept(*rest) for concept, *rest in rows}


def _allergy_concepts(export: Export, concepts: codes.Concepts, tables: tuple[Table, ...]) -> frozenset[str]:
    """Those that say that someone is allergic: OMOP's three, what descends from them, what is named as an allergy."""
    spec = TableSpec(
        "concept_ancestor",
        {
            "ancestor": text("ancestor_concept_id", only=frozenset(codes.ALLERGY_TO), otherwise=UNUSED),
            "descendant": text("descendant_concept_id"),
        },
        optional=True,
        tabs=True,
    )
    descendants = export.read(spec)
    export.log.count_kept(descendants.file, len(descendants.frame))
    used = {c for table in tables for name in ("standard", "source") for c in table.frame[name].cat.categories}
    named = {concept for concept in used if codes.is_allergy(concept, concepts)}
    return frozenset(named | (used & set(descendants.frame["descendant"].dropna())))


def _apart(table: Table, concepts: frozenset[str]) -> tuple[Table, Table]:
    """The rows of other concepts, and those of the given ones."""
    of = table.frame["standard"].isin(concepts) | table.frame["source"].isin(concepts)
    return replace(table, frame=table.frame[~of]), replace(table, frame=table.frame[of])


def _named(table: Table, coder: Coder, concepts: codes.Concepts) -> Table:
    columns = table.frame["standard"], table.frame["source"], table.frame["source_value"]
    position, combinations = distinct(*columns)
    coded = [coder(standard, source, value, concepts) for standard, source, value in combinations]
    return table.assign(
        code=chosen([code for code, _ in coded], position, table.frame.index),
        name=chosen([name for _, name in coded], position, table.frame.index),
    )


def _drugs(table: Table, concepts: codes.Concepts) -> Table:
    frame = table.frame
    if "days" not in frame:  # eras are of standard concepts only
        nothing = frame["standard"].cat.set_categories([])
        return _named(table.assign(source=nothing, source_value=nothing), codes.drug, concepts)
    supply = pd.to_timedelta(frame["days"].where(frame["days"].between(1, 3660)), unit="D").astype("timedelta64[s]")

    def route(concept: str | None, value: str | None) -> str | None:
        known = concepts.get(concept or "")
        return value or (known.name if known else None)

    stop = frame["stop"].fillna(frame["verbatim_stop"]).fillna(frame["start"] + supply)
    table = table.assign(stop=stop.astype(TIME), route=per_distinct(route, frame["route_concept"], frame["route"]))
    return _named(table, codes.drug, concepts)


def _procedures(table: Table, concepts: codes.Concepts) -> Table:
    """CDM 5.3 knows no end: a procedure is over at once."""
    frame = table.frame
    return _named(table.assign(stop=frame["stop"].fillna(frame["start"])), codes.procedure, concepts)


def _conditions(table: Table, visits: Table, concepts: codes.Concepts) -> Table:
    """What was coded afterwards is known from the end of the visit on, and its own end is not: that is the visit's."""
    frame = table.frame
    stays = visits.frame.dropna(subset=["visit"]).drop_duplicates("visit")
    over = of_stay(pd.Series(stays["stop"].array, index=stays["visit"].astype("str")), frame["visit"])
    known = over.fillna(frame["stop"]).fillna(frame["start"])
    afterwards = frame["type"].isin(CODED_AFTERWARDS)
    start = frame["start"].where(~afterwards | (known < frame["start"]), known)
    return _named(table.assign(start=start, stop=frame["stop"].where(~afterwards)), codes.condition, concepts)


def _allergies(table: Table, concepts: codes.Concepts) -> Table:
    """By its cause where that is told: the substance is what a drug is screened against. An observation has no end."""
    frame = table.frame
    of = _named(table, codes.condition, concepts).frame
    by_cause = _named(
        table.assign(standard=frame["cause"], source=frame["cause"], source_value=frame["cause_value"]),
        codes.measurement,
        concepts,
    ).frame
    told = by_cause["code"].notna() | by_cause["name"].notna()
    return table.assign(
        code=of["code"].astype("str").where(~told, by_cause["code"].astype("str")).astype("category"),
        name=of["name"].astype("str").where(~told, by_cause["name"].astype("str")).astype("category"),
        group=per_distinct(lambda concept: codes.ALLERGY_TO.get(concept or ""), frame["standard"]),
        stop=pd.Series(pd.NaT, index=frame.index, dtype=TIME),
    )


def _numbers(table: Table, concepts: codes.Concepts, log: IngestLog) -> Table:
    table = table.without(table.frame["value"].isna(), log, "value_as_number", "missing")
    frame = table.frame

    def unit(concept: str | None, value: str | None) -> str | None:
        return codes.unit(concept, value, concepts)

    units = per_distinct(unit, frame["unit_concept"], frame["unit_value"])
    return _named(table.assign(unit=units, stop=frame["start"]), codes.measurement, concepts)

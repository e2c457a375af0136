"""An OMOP CDM 5.3 or 5.4 (a folder or zip of CSV or Parquet files, or a database) in, its people and events out.

Dates are as the CDM gives them, with three rules: what was coded for the bill of a stay is known at the end of the
stay, an exposure without end lasts its days of supply, and where most people's last day lies in the future, dates were
shifted person by person, so each chart is read at the last thing known of that person. DRUG_EXPOSURE is the truth about
drugs; an export without any has them from DRUG_ERA. All of it stands in docs/formats/omop.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from recommender.ingest_log import IngestLog
from recommender.loaders import omop_codes as codes
from recommender.loaders.columns import per_distinct
from recommender.loaders.omop_people import PERSON, described
from recommender.loaders.omop_tables import CONCEPTS, coded, named, ready, that_day, when
from recommender.loaders.omop_visits import PROVIDERS, VISITS, care_resources
from recommender.loaders.stays import of_stay
from recommender.loaders.tabular import Column, Export, Table, TableSpec, number, text, time
from recommender.records import TIME, RawEvents, RawPatients

EXPOSURES = TableSpec(
    "drug_exposure",
    {
        **coded("drug"),
        **when("start", "drug_exposure_start"),
        **when("stop", "drug_exposure_end"),
        "verbatim_stop": time("verbatim_end_date", required=False, unreadable="set aside"),
        "days": number("days_supply", required=False, unreadable="set aside"),
        "type": text("drug_type_concept_id", required=False),
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
        **coded("condition"),
        **when("start", "condition_start"),
        **when("stop", "condition_end"),
        "type": text("condition_type_concept_id", required=False),
        "visit": text("visit_occurrence_id", required=False),
    },
    optional=True,
)
PROCEDURES = TableSpec(
    "procedure_occurrence",
    {**coded("procedure"), **when("start", "procedure"), **when("stop", "procedure_end")},
    optional=True,
)
VALUE: dict[str, Column] = {
    "value": number("value_as_number", required=False, unreadable="set aside"),
    "unit_concept": text("unit_concept_id", required=False),
    "unit_value": text("unit_source_value", required=False),
}
MEASUREMENTS = TableSpec(
    "measurement", {**coded("measurement"), **when("start", "measurement"), **VALUE}, optional=True
)
OBSERVATIONS = TableSpec(
    "observation",
    {
        **coded("observation"),
        # an allergy whose date cannot be read is still an allergy
        "start_date": time("observation_date", unreadable="set aside"),
        "start_time": time("observation_datetime", required=False, unreadable="set aside"),
        **VALUE,
        "cause": text("value_as_concept_id", required=False),
        "cause_value": text("value_as_string", required=False, lines=True),
    },
    optional=True,
)
UNUSED = "not used by any record of this export"

# Type concepts of drugs that the patient told of: "Patient self-report", and its forerunner of CDM 5.3
SELF_REPORTED = frozenset({"32865", "44787730"})
# Type concepts of records that are made when a stay is over: claims, discharge records and summaries, billing records
CODED_AFTERWARDS = frozenset({"32810", "32812", "32821", "32823", "32824", "32853", "32854", "32855"})


def load(export: Export) -> tuple[RawPatients, Iterator[RawEvents]]:
    """Read what is there of the tables above, of CONCEPT and of CONCEPT_ANCESTOR; only PERSON must be there."""
    person, visits = export.read(PERSON), ready(export.read(VISITS))
    return described(person, visits.frame, export.log), _events(export, visits)


def _events(export: Export, visits: Table) -> Iterator[RawEvents]:
    log = export.log
    used = _used(export)
    concepts = _concepts(export, frozenset().union(*(found for columns in used.values() for found in columns.values())))
    allergies = _allergy_concepts(export, concepts, used)
    yield from care_resources(visits, ready(export.lookup(PROVIDERS)), concepts, log)
    exposed = False
    for piece in export.pieces(EXPOSURES):
        exposed |= not piece.frame.empty
        yield _drugs(ready(piece), concepts).events("drug")
    for piece in () if exposed else export.pieces(ERAS):
        yield _drugs(ready(piece), concepts).events("drug")
    for piece in export.pieces(PROCEDURES):
        yield _procedures(ready(piece), concepts).events("procedure")
    for piece in export.pieces(CONDITIONS):
        conditions, disorders = _apart(ready(piece), allergies)
        yield _conditions(conditions, visits, concepts).events("condition")
        yield named(disorders, codes.condition, concepts).events("allergy")
    for piece in export.pieces(MEASUREMENTS):
        yield _numbers(ready(piece), concepts, log).events("observation")
    for piece in export.pieces(OBSERVATIONS):
        observations, allergy_rows = _apart(ready(piece), allergies)
        yield _allergies(allergy_rows, concepts).events("allergy")
        yield _numbers(observations, concepts, log).events("observation")


def _used(export: Export) -> dict[str, dict[str, frozenset[str]]]:
    """By table and column, the concepts that the events name: a look ahead, because CONCEPT has millions of others."""
    ahead = export.unlogged()
    used: dict[str, dict[str, frozenset[str]]] = {}
    for spec in (EXPOSURES, ERAS, PROCEDURES, CONDITIONS, MEASUREMENTS, OBSERVATIONS, VISITS, PROVIDERS):
        columns = used[spec.name] = {name: frozenset() for name in CONCEPTS if name in spec.columns}
        for piece in ahead.pieces(spec):
            frame = ready(piece).frame
            for name in columns:
                columns[name] |= frozenset(frame[name].cat.categories)
    return used


def _concepts(export: Export, used: frozenset[str]) -> codes.Concepts:
    """What CONCEPT says of the concepts that the events name."""
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
    table = export.lookup(spec)
    words = table.frame[["id", "name", "vocabulary", "code"]].astype("object")
    rows = words.where(words.notna(), None).itertuples(index=False)
    return {concept: codes.Concept(*rest) for concept, *rest in rows}


def _allergy_concepts(
    export: Export, concepts: codes.Concepts, used: dict[str, dict[str, frozenset[str]]]
) -> frozenset[str]:
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
    descendants = export.lookup(spec)
    told = {c for spec in (CONDITIONS, OBSERVATIONS) for name in ("standard", "source") for c in used[spec.name][name]}
    named = {concept for concept in told if codes.is_allergy(concept, concepts)}
    return frozenset(named | (told & set(descendants.frame["descendant"].dropna())))


def _apart(table: Table, concepts: frozenset[str]) -> tuple[Table, Table]:
    """The rows of other concepts, and those of the given ones."""
    of = table.frame["standard"].isin(concepts) | table.frame["source"].isin(concepts)
    return replace(table, frame=table.frame[~of]), replace(table, frame=table.frame[of])


def _drugs(table: Table, concepts: codes.Concepts) -> Table:
    frame = table.frame
    if "days" not in frame:  # eras are of standard concepts only
        nothing = frame["standard"].cat.set_categories([])
        return named(table.assign(source=nothing, source_value=nothing), codes.drug, concepts)
    supply = pd.to_timedelta(frame["days"].where(frame["days"].between(1, 3660)), unit="D").astype("timedelta64[s]")

    def route(concept: str | None, value: str | None) -> str | None:
        known = concepts.get(concept or "")
        return value or (known.name if known else None)

    ended = that_day(frame["start"], frame["stop"].fillna(frame["verbatim_stop"]))
    stop = ended.fillna(frame["start"] + supply)
    table = table.assign(
        stop=stop.astype(TIME),
        route=per_distinct(route, frame["route_concept"], frame["route"]),
        reported=frame["type"].isin(SELF_REPORTED).to_numpy(),
    )
    return named(table, codes.drug, concepts)


def _procedures(table: Table, concepts: codes.Concepts) -> Table:
    """CDM 5.3 knows no end: a procedure is over at once."""
    frame = table.frame
    return named(table.assign(stop=frame["stop"].fillna(frame["start"])), codes.procedure, concepts)


def _conditions(table: Table, visits: Table, concepts: codes.Concepts) -> Table:
    """What was coded afterwards is known from the end of the visit on, and its own end is not: that is the visit's."""
    frame = table.frame
    stays = visits.frame.dropna(subset=["visit"]).drop_duplicates("visit")
    over = of_stay(pd.Series(stays["stop"].array, index=stays["visit"].astype("str")), frame["visit"])
    known = over.fillna(frame["stop"]).fillna(frame["start"])
    afterwards = frame["type"].isin(CODED_AFTERWARDS)
    start = frame["start"].where(~afterwards | (known < frame["start"]), known)
    return named(table.assign(start=start, stop=frame["stop"].where(~afterwards)), codes.condition, concepts)


def _allergies(table: Table, concepts: codes.Concepts) -> Table:
    """By its cause where that is told: the substance is what a drug is screened against. An observation has no end."""
    frame = table.frame
    of = named(table, codes.condition, concepts).frame
    by_cause = named(
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
    return named(table.assign(unit=units, stop=frame["start"]), codes.measurement, concepts)

"""PERSON and the last thing known of each person in; the people, each perhaps on a clock of their own, out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from recommender.ingest_log import IngestLog
from recommender.loaders.columns import per_distinct
from recommender.loaders.people import people
from recommender.loaders.tabular import Table, TableSpec, number, text, time
from recommender.records import RawPatients

PERSON = TableSpec(
    "person",
    {
        "patient_id": text("person_id"),
        "sex": text("gender_concept_id"),
        "sex_value": text("gender_source_value", required=False),
        "race": text("race_concept_id", required=False),
        "race_value": text("race_source_value", required=False),
        "ethnicity": text("ethnicity_concept_id", required=False),
        "ethnicity_value": text("ethnicity_source_value", required=False),
        "born": time("birth_datetime", required=False, unreadable="set aside"),
        "year": number("year_of_birth", required=False, unreadable="set aside"),
        "month": number("month_of_birth", required=False, unreadable="set aside"),
        "day": number("day_of_birth", required=False, unreadable="set aside"),
    },
)
# OMOP's own concepts; what is none of them is told by the source value
SEXES = {"8507": "M", "8532": "F", "8521": "other", "8570": "other", "8551": "unknown"}
RACES = {
    "8527": "white",
    "8516": "black",
    "8515": "asian",
    "8657": "native",
    "8557": "hawaiian",
    "8522": "other",
}
ETHNICITIES = {"38003563": "hispanic", "38003564": "nonhispanic"}


def described(person: Table, visits: pd.DataFrame, log: IngestLog) -> RawPatients:
    """`visits`: patient_id, start, stop. Where most people's last moment lies in the future, every person's dates were
    shifted by another number of years, and each chart is read at its own last moment."""
    frame = person.frame

    def words(known: dict[str, str], name: str) -> pd.Series:
        return per_distinct(
            lambda concept, value: known.get((concept or "").removesuffix(".0")) or value,
            frame[name],
            frame[f"{name}_value"],
        )

    last = visits["stop"].fillna(visits["start"]).groupby(visits["patient_id"].astype("str")).max()
    described = person.assign(
        sex=words(SEXES, "sex"),
        race=words(RACES, "race"),
        ethnicity=words(ETHNICITIES, "ethnicity"),
        birth_date=frame["born"].fillna(_born(person, log)),
        as_of=last.reindex(frame["patient_id"].astype("str")).array,
    )
    return replace(people(described, log), clock="told by the dates")


def _born(person: Table, log: IngestLog) -> pd.Series:
    """From year, month and day; January 1st stands for what is not told. An impossible day or month is set aside."""
    frame = person.frame
    year = frame["year"].where(frame["year"].between(1, 9999) & (frame["year"] % 1 == 0))
    month, day = (frame[part].fillna(1) for part in ("month", "day"))
    possible = month.between(1, 12) & day.between(1, 31) & (month % 1 == 0) & (day % 1 == 0)
    whole = [part.where(possible, 1).to_numpy().astype(np.int64) for part in (month, day)]
    months = (year.fillna(1970).to_numpy().astype(np.int64) - 1970).astype("M8[Y]").astype("M8[M]") + (whole[0] - 1)
    days = months.astype("M8[D]") + (whole[1] - 1)
    fits = possible.to_numpy() & (days.astype("M8[M]") == months)
    log.add(person.file, "day_of_birth", "no such day, taken as January 1st", frame.loc[~fits, "row"], "set aside")
    date = np.where(fits, days, months.astype("M8[Y]").astype("M8[D]")).astype("M8[s]")
    return pd.Series(date, index=frame.index).where(year.notna()).dt.tz_localize("UTC")

"""Exposures to drugs in, drug eras out: the spans of time in which a person is taken to be exposed without a break.

After the OMOP CDM's own convention for DRUG_ERA (https://ohdsi.github.io/CommonDataModel/cdm54.html#drug_era): two
exposures of a person to one ingredient belong to one era unless more than 30 days lie between the end of the one and
the start of the next (the persistence window), and what was left of an earlier supply does not prolong a later one.
"""

from __future__ import annotations

import pandas as pd

PERSISTENCE = pd.Timedelta(days=30)
DAY = pd.Timedelta(days=1)


def drug_eras(exposures: pd.DataFrame, persistence: pd.Timedelta = PERSISTENCE) -> pd.DataFrame:
    """`exposures`: patient_id, code (of the ingredient), start, stop. An exposure without stop lasts its day.

    -> one row an era, by patient, code and start: patient_id, code, start, stop (the latest of its exposures' stops),
    exposures (how many) and gap_days (days between its exposures that none of them covers).
    """
    days = exposures.assign(start=exposures["start"].dt.floor("D"), stop=exposures["stop"].dt.floor("D"))
    days["stop"] = days["stop"].fillna(days["start"])
    days = days.sort_values(["patient_id", "code", "start", "stop"], ignore_index=True)
    who = days.groupby(["patient_id", "code"], observed=True, sort=False)
    number = who.ngroup()
    covered = who["stop"].cummax()  # until when anything so far lasts
    before = covered.groupby(number).shift()
    gap = days["start"] - before
    era = (before.isna() | (gap > persistence)).cumsum()
    uncovered = (gap.where(gap <= persistence, pd.Timedelta(0)) / DAY).clip(lower=0).fillna(0).astype("int64")
    grouped = days.assign(stop=covered, gap_days=uncovered).groupby(era)
    return grouped.agg(
        patient_id=("patient_id", "first"),
        code=("code", "first"),
        start=("start", "first"),
        stop=("stop", "last"),
        exposures=("stop", "size"),
        gap_days=("gap_days", "sum"),
    ).reset_index(drop=True)

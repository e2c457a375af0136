"""eICU's unit stays, timed in minutes from each unit admission, in; a calendar of their own for each person out.

eICU tells the year of the hospital discharge, the time of day of the hospital admission, and, in minutes, everything
within a hospital stay. It does not tell the date, nor the order of one person's hospital stays of one year. So:

- A person's hospital stays follow one another by discharge year, age and number of the stay. The first one of a year
  begins on January 1st, at the time of day at which it truly did. The next one begins GAP_DAYS after the end of the
  last one, or on January 1st of its own year if that is later.
- The unit stays of a hospital stay stand where their minutes put them. So all distances of time within a hospital
  stay are true, and so is the time of day; dates and distances between hospital stays are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from recommender.ingest_log import IngestLog
from recommender.loaders.columns import per_distinct
from recommender.loaders.people import people
from recommender.loaders.stays import january, of_stay
from recommender.loaders.tabular import Export, Table, TableSpec, number, text
from recommender.records import RawPatients

STAYS = TableSpec(
    "patient",
    {
        "stay": text("patientunitstayid", filled=True),
        "patient_id": text("uniquepid", filled=True),
        "hospital_stay": text("patienthealthsystemstayid", required=False),
        "age": text("age"),
        "sex": text("gender"),
        "told": text("ethnicity", required=False),
        "site": text("hospitalid", required=False),
        "year": number("hospitaldischargeyear", unreadable="set aside"),
        "time": text("hospitaladmittime24", required=False),
        "admitted": number("hospitaladmitoffset", unreadable="set aside"),
        "discharged": number("hospitaldischargeoffset", unreadable="set aside"),
        "unit": text("unittype", required=False),
        "left": number("unitdischargeoffset", required=False, unreadable="set aside"),
    },
)
OVER_89 = "> 89"  # the oldest are not told apart
GAP_DAYS = 30  # longer than nearly all that is known from before an admission reaches back
YEARS = (1900, 2100)  # a discharge year outside is a slip; the stays of no known year stand in
USUAL_YEAR = 2015
MINUTE, DAY = pd.Timedelta(minutes=1), pd.Timedelta(days=1)
TIMED = ("ordered", "start", "stop")
FARTHEST = 10 * 366 * 24 * 60  # minutes from unit admission; the demo's farthest is one year
RACES = {
    "caucasian": "white",
    "african american": "black",
    "asian": "asian",
    "native american": "native",
}


@dataclass(frozen=True)
class Stays:
    """`frame`: index stay; row, patient_id, sex, told, site, age (years), unit (its type), start (of the unit stay),
    left (the unit), stop (discharge from hospital). In each person's order of time.
    """

    file: str
    frame: pd.DataFrame

    def timed(self, table: Table, log: IngestLog) -> Table:
        """`table` with the patient of its `stay`, and times in place of the minutes of TIMED."""
        table = table.assign(patient_id=of_stay(self.frame["patient_id"], table.frame["stay"]).astype("category"))
        reason = "the stay is not among the usable ones of the patient file"
        table = table.without(table.frame["patient_id"].isna(), log, "patientunitstayid", reason)
        admission = of_stay(self.frame["start"], table.frame["stay"])
        for column in [column for column in TIMED if column in table.frame]:
            table = table.assign(**{column: admission + minutes(believable(table, column, log))})
        return table

    def people(self, log: IngestLog) -> RawPatients:
        """Each person once, as the last stays tell."""
        stays = self.frame.assign(
            race=per_distinct(lambda told: RACES.get((told or "").lower()), self.frame["told"]),
            ethnicity=per_distinct(_ethnicity, self.frame["told"]),
            birth_date=(self.frame["start"] - years(self.frame["age"] + 0.5)).dt.floor("D"),
        )
        person = stays.groupby(stays["patient_id"].astype("str"))  # in order of the ids, whatever that of the rows
        last = person[["sex", "race", "ethnicity", "site"]].last().astype("category")
        frame = last.assign(
            row=person["row"].min(),
            birth_date=person["birth_date"].first(),
            as_of=person["stop"].max().fillna(person["start"].max()),
            site=last["site"].astype("str"),
        ).reset_index()
        log.count_kept(self.file, len(stays) - len(frame))
        return people(Table(self.file, frame.fillna({"site": ""}), frozenset()), log)


def read_stays(export: Export) -> Stays:
    """The unit stays on each person's calendar."""
    table, log = export.read(STAYS), export.log
    table = table.without(table.frame["stay"].duplicated(), log, "patientunitstayid", "the same stay as an earlier row")
    frame = table.frame
    age = per_distinct(lambda age: "90" if age == OVER_89 else age, frame["age"])
    years_old = pd.to_numeric(age.astype("str"), errors="coerce")
    years_old = years_old.where((years_old >= 0) & (years_old < 130))
    unread = frame["age"].notna() & years_old.isna()
    log.add(table.file, "age", f"neither years nor {OVER_89}", frame.loc[unread, "row"], "set aside")
    wrong = frame["year"].notna() & ~frame["year"].between(*YEARS)
    log.add(table.file, "hospitaldischargeyear", "not a likely year", frame.loc[wrong, "row"], "set aside")
    frame = frame.assign(
        stay=frame["stay"].astype("str"),
        age=years_old,
        year=frame["year"].mask(wrong).fillna(USUAL_YEAR).round(),
        admitted=believable(table, "admitted", log).fillna(0.0),
        discharged=believable(table, "discharged", log),
        left=believable(table, "left", log),
    )
    start = _hospital_admission(frame) - minutes(frame["admitted"])
    left, stop = (start + minutes(frame[offset]) for offset in ("left", "discharged"))
    placed = frame.assign(start=start, left=left, stop=stop)
    return Stays(table.file, placed.sort_values(["start", "stay"]).set_index("stay"))


def _hospital_admission(frame: pd.DataFrame) -> pd.Series:
    """When the hospital stay of each row began."""
    stay = frame.assign(
        person=frame["patient_id"].astype("str"),
        hospital_stay=frame["hospital_stay"]
        .astype("str")
        .where(frame["hospital_stay"].notna(), "unit " + frame["stay"]),
        minute=pd.to_numeric(per_distinct(_minute_of_day, frame["time"]).astype("str"), errors="coerce").fillna(0.0),
        days=np.ceil((frame["discharged"].fillna(0.0) - frame["admitted"]).clip(lower=0) / (24 * 60)) + GAP_DAYS,
    )
    person = ["person", "hospital_stay"]
    whole = stay.groupby(person).agg(
        year=("year", "min"), age=("age", "min"), minute=("minute", "min"), days=("days", "max")
    )
    whole = whole.assign(length=whole.index.get_level_values(1).str.len())  # so that stay 9 comes before stay 10
    whole = whole.sort_values(["person", "year", "age", "length", "hospital_stay"])
    # a stay begins at the later of January 1st and the end of the one before: begin = before + max(january - before)
    before = whole.groupby("person")["days"].cumsum() - whole["days"]
    first_day = (january(whole["year"]) - pd.Timestamp(0, tz="UTC")) / DAY
    begin = before + (first_day - before).groupby("person").cummax()
    begun = pd.Timestamp(0, tz="UTC").as_unit("s") + minutes(begin * 24 * 60 + whole["minute"])
    return pd.Series(begun.reindex(pd.MultiIndex.from_frame(stay[person])).array, index=frame.index)


def believable(table: Table, column: str, log: IngestLog) -> pd.Series:
    """The minutes of a column without what cannot be, which is counted."""
    far = table.frame[column].abs() > FARTHEST
    reason = "over ten years from the unit admission"
    log.add(table.file, column, reason, table.frame.loc[far, "row"], "set aside")
    return table.frame[column].mask(far)


def minutes(count: pd.Series) -> pd.Series:
    """As a length of time."""
    return pd.to_timedelta((count * 60).round(), unit="s").dt.as_unit("s")


def years(count: pd.Series) -> pd.Series:
    return minutes(count * 365.2425 * 24 * 60)


def _minute_of_day(clock: str | None) -> str | None:
    """18:30:00 -> 1110"""
    hour, _, rest = (clock or "").partition(":")
    minute = rest[:2]
    good = hour.isdecimal() and minute.isdecimal() and int(hour) < 24 and int(minute) < 60
    return str(int(hour) * 60 + int(minute)) if good else None


def _ethnicity(told: str | None) -> str | None:
    """eICU asks race and ethnicity in one question."""
    word = (told or "").lower()
    if word == "hispanic":
        return "hispanic"
    return "nonhispanic" if word in RACES else None

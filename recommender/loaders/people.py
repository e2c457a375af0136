"""A table of people as a source words it in, `RawPatients` in this engine's few words out."""

from __future__ import annotations

import pandas as pd

from recommender.ingest_log import IngestLog
from recommender.loaders.columns import per_distinct
from recommender.loaders.tabular import Table
from recommender.records import TIME, RawPatients

SPELLINGS = {
    "F": ("f", "female", "w", "woman"),
    "M": ("m", "male", "man"),
    "other": ("other", "o", "x", "diverse", "intersex", "nonbinary", "non-binary"),
    "unknown": ("unknown", "unk", "u"),
}
SEX = {spelling: sex for sex, spellings in SPELLINGS.items() for spelling in spellings}


def people(table: Table, log: IngestLog) -> RawPatients:
    """`table`: patient_id, sex, race, ethnicity, birth_date[, as_of]. A sex in no known spelling is set aside."""
    frame = table.frame
    sex = per_distinct(lambda text: SEX.get((text or "unknown").lower()), frame["sex"])
    log.add(
        table.file, "sex", "not a known spelling of a sex, taken as unknown", frame.loc[sex.isna(), "row"], "set aside"
    )
    words = {
        "patient_id": frame["patient_id"],
        "sex": per_distinct(lambda text: text or "unknown", sex),
        "race": per_distinct(_word, frame["race"]),
        "ethnicity": per_distinct(_word, frame["ethnicity"]),
    }
    described = frame.assign(**{name: words[name].astype("str") for name in words})
    return RawPatients(table.file, described, "own" if "as_of" in frame else "one")


def unlisted(file: str, ids: pd.Series, log: IngestLog) -> RawPatients:
    """The people that the events of `file` name, when an export lists none: nothing more is known of them."""
    file = f"{file} (patients)"
    log.count_read(file, len(ids))
    known = pd.DataFrame({"row": range(2, len(ids) + 2), "patient_id": ids.to_numpy()})
    known["birth_date"] = pd.Series(pd.NaT, index=known.index, dtype=TIME)
    return RawPatients(file, known.assign(sex="unknown", race="unknown", ethnicity="unknown"))


def _word(text: str | None) -> str:
    return (text or "unknown").lower()

"""Events whose patient, Medication and Encounter are keys in; the same with what those keys stand for out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from recommender.loaders.columns import per_distinct
from recommender.loaders.fhir_table import rejected

MOST_HOPS = 8  # of records that replace each other: a ring must end


@dataclass(frozen=True)
class Links:
    """What can be referred to. `aliases`: alias (`mark` of a type and another name of a resource), key (its id).

    `encounters`: id (`mark`), start, stop. `medications`: key, code, name.
    """

    aliases: pd.DataFrame
    encounters: pd.DataFrame
    medications: pd.DataFrame

    def ids(self, kind: str, keys: Iterable[str]) -> dict[str, str]:
        """The id that each of the keys of resources of type `kind` means."""
        found = {name: name for name in keys}
        for _ in range(MOST_HOPS):
            marks = {mark(kind, name) for name in found.values()}
            part = self.aliases[self.aliases["alias"].isin(marks)]
            target = dict(zip(part["alias"], part["key"], strict=True))
            if not target:
                break
            found = {name: target.get(mark(kind, now), now) for name, now in found.items()}
        return {name: now.removeprefix("urn:uuid:") for name, now in found.items()}


def mark(*name: object) -> int:
    """64 bits for a name, in this process: the chance that two of 15 million share theirs is 1 in 160,000."""
    return hash(name)


def resolved(frame: pd.DataFrame, links: Links) -> pd.DataFrame:
    """`frame` with patient_id; with what a Medication is that a row refers to and its Encounter's dates if needed."""
    people = links.ids("Patient", frame["patient"].cat.categories)
    frame = frame.assign(patient_id=per_distinct(lambda patient: patient and people[patient], frame["patient"]))
    return _dated(_medicated(frame, links), links)


def _medicated(frame: pd.DataFrame, links: Links) -> pd.DataFrame:
    if frame["medication"].isna().all():
        return frame
    ids = links.ids("Medication", frame["medication"].cat.categories)
    known = {
        row.key: (_or_none(row.code), _or_none(row.name))
        for row in links.medications[["key", "code", "name"]].itertuples(index=False, name="Known")
    }
    meant = {name: known.get(own, (None, None)) for name, own in ids.items()}
    columns = frame["medication"], frame["code"], frame["name"]
    frame = frame.assign(
        code=per_distinct(lambda medication, code, _: meant.get(medication, (None, None))[0] or code, *columns),
        name=per_distinct(lambda medication, _, name: meant.get(medication, (None, None))[1] or name, *columns),
    )
    nameless = frame["medication"].notna() & frame["code"].isna() & frame["name"].isna() & frame["reason"].isna()
    return rejected(
        frame,
        frame.index[nameless],
        "medicationReference",
        "its Medication is not in the export, or has no code and no name",
    )


def _dated(frame: pd.DataFrame, links: Links) -> pd.DataFrame:
    """What has no date happened during its Encounter; what has ended without saying when ended with it, or at once."""
    over = frame["over"] == 1
    asking = frame["encounter"].notna() & (frame["start"].isna() | (over & frame["stop"].isna()))
    start, stop = frame["start"], frame["stop"]
    if asking.any() and len(links.encounters):
        keys = frame.loc[asking, "encounter"]
        ids = links.ids("Encounter", [name for name in keys.unique() if ":" in name])
        marks = keys.map(lambda name: mark("Encounter", ids.get(name, name)))
        place = pd.Index(links.encounters["id"]).get_indexer(pd.Index(marks))
        hit = frame.index[asking.to_numpy()][place >= 0]
        during = links.encounters.iloc[place[place >= 0]]
        begun = pd.Series(during["start"].array, index=hit).reindex(frame.index)
        ended = pd.Series(during["stop"].array, index=hit).reindex(frame.index)
        start = start.fillna(begun)
        stop = stop.where(~(over & stop.isna() & (ended >= start)), ended)
    return frame.assign(start=start, stop=stop.where(~(over & stop.isna()), start))


def _or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None

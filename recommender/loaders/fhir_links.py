"""Events whose patient, Medication and Encounter are keys in; the same with what those keys stand for out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recommender.loaders.columns import per_distinct
from recommender.loaders.fhir_table import mark, rejected

MOST_HOPS = 8  # of records that replace each other: a ring must end
Coded = tuple[str | None, str | None]  # code, name


@dataclass(frozen=True)
class Links:
    """What can be referred to.

    `aliases`: the id that is meant, by alias (`mark` of a type and another name of a resource), each once.
    `encounters`: start and stop, by id (`mark`), ascending. `medications`: by key.
    """

    aliases: pd.Series
    encounters: pd.DataFrame
    medications: Mapping[str, Coded]

    def ids(self, kind: str, keys: Iterable[str]) -> dict[str, str]:
        """The id that each of the keys of resources of type `kind` means."""
        found = {name: name for name in keys}
        asked = list(found)
        for _ in range(MOST_HOPS):
            if not asked:
                break
            marks = np.array([mark(kind, found[name]) for name in asked])
            place = self.aliases.index.get_indexer(marks)
            asked = [name for name, known in zip(asked, place >= 0, strict=True) if known]
            found.update(zip(asked, self.aliases.array[place[place >= 0]], strict=True))
        return {name: now.removeprefix("urn:uuid:") for name, now in found.items()}


def resolved(frame: pd.DataFrame, links: Links) -> pd.DataFrame:
    """`frame` with patient_id; with what a Medication is that a row refers to and its Encounter's dates if needed."""
    people = links.ids("Patient", frame["patient"].cat.categories)
    frame = frame.assign(patient_id=per_distinct(lambda patient: patient and people[patient], frame["patient"]))
    return _dated(_medicated(frame, links), links)


def _medicated(frame: pd.DataFrame, links: Links) -> pd.DataFrame:
    if frame["medication"].isna().all():
        return frame
    ids = links.ids("Medication", frame["medication"].cat.categories)
    nothing: Coded = (None, None)
    meant = {name: links.medications.get(own, nothing) for name, own in ids.items()}
    columns = frame["medication"], frame["code"], frame["name"]
    frame = frame.assign(
        code=per_distinct(lambda medication, code, _: meant.get(medication, nothing)[0] or code, *columns),
        name=per_distinct(lambda medication, _, name: meant.get(medication, nothing)[1] or name, *columns),
    )
    nameless = frame["medication"].notna() & frame["code"].isna() & frame["name"].isna() & frame["reason"].isna()
    return rejected(
        frame, nameless, "medicationReference", "its Medication is not in the export, or has no code and no name"
    )


def _dated(frame: pd.DataFrame, links: Links) -> pd.DataFrame:
    """What has no date happened during its Encounter; what has ended without saying when ended with it, or at once."""
    over = frame["over"] == 1
    asking = frame["encounter"].notna() & (frame["start"].isna() | (over & frame["stop"].isna()))
    start, stop = frame["start"], frame["stop"]
    if asking.any() and len(links.encounters):
        keys = frame.loc[asking, "encounter"]
        ids = links.ids("Encounter", [name for name in keys.unique() if ":" in name])
        marks = np.array([mark("Encounter", ids.get(name, name)) for name in keys])
        known = links.encounters.index.to_numpy()
        place = np.searchsorted(known, marks).clip(max=len(known) - 1)
        there = known[place] == marks
        hit = frame.index[asking.to_numpy()][there]
        during = links.encounters.iloc[place[there]]
        begun = pd.Series(during["start"].array, index=hit).reindex(frame.index)
        ended = pd.Series(during["stop"].array, index=hit).reindex(frame.index)
        start = start.fillna(begun)
        stop = stop.where(~(over & stop.isna() & (ended >= start)), ended)
    return frame.assign(start=start, stop=stop.where(~(over & stop.isna()), start))

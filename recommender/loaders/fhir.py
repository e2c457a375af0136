"""FHIR R4 in, its people and events out: a bulk export's folder, a folder of Bundles, one Bundle, or one NDJSON file.

Two steps. Each file is read by itself (`fhir_read`) or taken from the shelf (`fhir_kept`); what its resources say of
others (whose they are, which Medication they mean, during which Encounter) and which version of one counts is settled
when all have been read. The rules are in docs/formats/fhir.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

from recommender.errors import InputError
from recommender.loaders.columns import per_distinct
from recommender.loaders.fhir_event import NO_DATE
from recommender.loaders.fhir_files import BROKEN, TOO_LONG, paths
from recommender.loaders.fhir_kept import Files
from recommender.loaders.fhir_links import Coded, Links, resolved
from recommender.loaders.fhir_read import WANTED
from recommender.loaders.fhir_table import TABLES, frame, table_of, texts, usable
from recommender.loaders.fhir_versions import Versions
from recommender.loaders.people import people
from recommender.loaders.synthea import TAG
from recommender.loaders.tabular import Export, Table
from recommender.records import RawEvents, RawPatients

Piece = list[tuple[int, pa.RecordBatch]]
"""Batches of one table, each with the index of its file."""
MOST_BATCHES = 1 << 12  # that are mapped at a time: a system allows 65,530


def load(export: Export) -> tuple[RawPatients, Iterator[RawEvents]]:
    """Read the file or folder that `export` names. Raises InputError."""
    joining = _Joining(export, Files(export, paths(export.folder)))
    return joining.patients(), joining.events()


class _Joining:
    """What all files say together. Held whole are people, Medications and the times of Encounters."""

    def __init__(self, export: Export, files: Files) -> None:
        """Raises InputError if the manifest counts more resources than are here: half an export must not be used."""
        self.log, self.rows, self.name = export.log, export.rows, export.folder.name
        self.files = files
        self.small = _whole(files)
        self._hold_to_promise()
        self.versions = Versions(files.batches, self.small["deleted"]["id"])

    def _hold_to_promise(self) -> None:
        counts = {name: Counter[str]() for name in ("found", "promised")}
        for name, counter in counts.items():
            for kind, count in self.small[name][["type", "count"]].itertuples(index=False):
                counter[kind] += count
        found = counts["found"]
        damaged = found[BROKEN] + found[TOO_LONG]  # these are told by line
        for kind, promised in sorted(counts["promised"].items()):
            if kind in WANTED and found[kind] + damaged < promised:
                message = f"the manifest counts {promised:,} {kind} resources, but only {found[kind]:,} are here"
                raise InputError(
                    f"{message}: download the export again, or remove a manifest that is out of date", file=self.name
                )

    def patients(self) -> RawPatients:
        """`RawPatients` has one account, so patients in several files are counted on from file to file."""
        frame = self.versions.checked(self.small["patients"])
        indices = frame["file"].unique()
        if not len(indices):
            raise InputError("no Patient resource is in this export, so nobody's history can be read", file=self.name)
        file = self.files.names[indices[0]]
        if len(indices) > 1:
            file = f"{file} to {self.files.names[indices[-1]]}"
            frame = frame.assign(row=range(1, len(frame) + 1))
        self.log.count_read(file, len(frame))
        self.log.add(file, "birthDate", NO_DATE, frame.loc[frame["birth_bad"] == 1, "row"], "set aside")
        return people(Table(file, usable(frame, file, self.log), frozenset()), self.log)

    def events(self) -> Iterator[RawEvents]:
        """One account a file; what a resource tells beyond its first value has one of its own, so that both balance."""
        links = Links(self._aliases(), self._encounters(), self._medications())
        for piece in self._pieces():
            frame = resolved(self.versions.checked(_frame("events", piece)), links)
            frame = frame.assign(name=per_distinct(lambda name: name and TAG.sub("", name), frame["name"]))
            for kind, events in frame.groupby("kind", observed=True):
                if kind == "observation":
                    events = events.assign(stop=events["start"])
                yield from self._accounted(str(kind), events)

    def _pieces(self) -> Iterator[Piece]:
        """The events, so many at a time; those of one file, unless there is one account for all."""
        held: Piece = []
        for place, batch in self.files.batches():
            if table_of(batch) != "events":
                continue
            full = len(held) == MOST_BATCHES or sum(len(each) for _, each in held) >= self.rows
            if held and (full or (held[-1][0] != place and not self.files.many)):
                yield held
                held = []
            held.append((place, batch))
        if held:
            yield held

    def _accounted(self, kind: str, frame: pd.DataFrame) -> Iterator[RawEvents]:
        for file, all_parts in self.files.accounts(frame, f"{kind} resources"):
            lost = all_parts[all_parts["lost"] > 0]
            self.log.add(file, "component", "no number beside others that are", lost["row"], "set aside")
            for further, part in all_parts.groupby(all_parts["part"] > 0):
                name = f"{file} (further values)" if further else file
                self.log.count_read(name, len(part))
                yield Table(name, usable(part, name, self.log), frozenset()).events(kind)

    def _aliases(self) -> pd.Series:
        aliases = self.small.pop("aliases").drop_duplicates("alias", keep="last")
        return aliases.set_index("alias")["key"]

    def _medications(self) -> dict[str, Coded]:
        """What is only looked up: kept, if it is usable."""
        found: dict[str, Coded] = {}
        for file, part in self.files.accounts(self.versions.checked(self.small.pop("medications")), "Medications"):
            self.log.count_read(file, len(part))
            kept = usable(part, file, self.log)
            self.log.count_kept(file, len(kept))
            words = kept[["key", "code", "name"]].astype("object")
            found |= {key: coded for key, *coded in words.where(words.notna(), None).itertuples(index=False)}
        return found

    def _encounters(self) -> pd.DataFrame:
        parts = [np.empty((0, 3), dtype=np.int64)]
        for place, batch in self.files.batches():
            if table_of(batch) == "events" and "care_resource" in batch["kind"].dictionary.to_pylist():
                columns = ("id", "start", "stop", "row")
                ids, start, stop, row = (batch[name].to_numpy(zero_copy_only=False) for name in columns)
                good = np.array(batch["reason"].is_null()) & (batch["kind"].to_pandas() == "care_resource").to_numpy()
                good &= self.versions.counts(ids, place, row)
                parts.append(np.column_stack([ids, start.astype(np.int64), stop.astype(np.int64)])[good])
        whole = np.concatenate(parts)
        whole = whole[whole[:, 0].argsort()]
        times = {
            name: pd.Series(whole[:, n].astype("M8[s]")).dt.tz_localize("UTC")
            for n, name in ((1, "start"), (2, "stop"))
        }
        return pd.DataFrame(times).set_index(whole[:, 0])


def _whole(files: Files) -> dict[str, pd.DataFrame]:
    """Every table but the events, with nothing left in the files."""
    held: dict[str, Piece] = {table: [] for table in TABLES if table != "events"}
    found: dict[str, list[pd.DataFrame]] = {table: [] for table in held}
    for place, batch in files.batches():
        if (table := table_of(batch)) in held:
            held[table].append((place, batch))
            if len(held[table]) == MOST_BATCHES:
                found[table].append(_frame(table, held[table]))
                held[table] = []
    whole = {
        table: pd.concat([*found[table], _frame(table, piece)], ignore_index=True) for table, piece in held.items()
    }
    return {table: frame.astype(dict.fromkeys(texts(table), "category")) for table, frame in whole.items()}


def _frame(table: str, piece: Piece) -> pd.DataFrame:
    """With the index of the file in each row."""
    file = np.repeat([place for place, _ in piece], [len(batch) for _, batch in piece]).astype(np.int64)
    return frame(table, [batch for _, batch in piece]).assign(file=file)

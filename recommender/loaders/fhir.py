"""FHIR R4 in, its people and events out: a bulk export's folder, a folder of Bundles, one Bundle, or one NDJSON file.

Two steps. Each resource is read by itself, as it comes; what it says of other resources (whose it is, which Medication
it means, during which Encounter) and which version of it counts is settled when all have been read. The rules are in
docs/formats/fhir.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from recommender.errors import InputError
from recommender.loaders.columns import per_distinct
from recommender.loaders.fhir_codes import ETHNICITIES, NOT_HISTORY, RACES
from recommender.loaders.fhir_elements import Json, identifier, key, moment, obj, objects, text
from recommender.loaders.fhir_event import KEPT, NO_DATE, refused
from recommender.loaders.fhir_files import BROKEN, TOO_LONG, Entry, Said, entries, paths
from recommender.loaders.fhir_links import Links, mark, resolved
from recommender.loaders.fhir_resources import READERS, medication
from recommender.loaders.fhir_table import MOST_FILES, PLACE, Growing, accounts, current, usable
from recommender.loaders.people import people
from recommender.loaders.synthea import TAG
from recommender.loaders.tabular import Export, Table
from recommender.records import RawEvents, RawPatients

WANTED = frozenset({"Patient", "Medication", *READERS})
REFERRED = frozenset({"Patient", "Encounter", "Medication"})  # what other resources are said to be of
KINDS = tuple(dict.fromkeys(kind for kind, _ in READERS.values()))
MERGED = "replaced by another record of the same person"
SOME = 1 << 14  # entries between two reports of progress
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-"
NOT_REJECTED = (None, None)


def load(export: Export) -> tuple[RawPatients, list[RawEvents]]:
    """Read the file or folder that `export` names. Raises InputError."""
    files = paths(export.folder)
    reading = _Reading(export, [path.name for path in files])
    for index, path in enumerate(files):
        reading.read(index, entries(path, WANTED, reading.said))
    reading.hold_to_promise()
    return reading.finished()


class _Reading:
    """The tables while they grow."""

    def __init__(self, export: Export, files: Sequence[str]) -> None:
        self.log, self.progress = export.log, export.progress
        self.name, self.files = export.folder.name, files
        self.said, self.found = Said(), Counter[str]()
        self.patients = Growing(
            **PLACE, patient_id="key", birth_date="time", birth_bad="int", sex="text", race="text", ethnicity="text"
        )
        self.aliases = Growing(alias="int", key="text")
        self.medications = Growing(**PLACE, key="key", code="text", name="text")
        self.events = {kind: Growing(**PLACE, **KEPT, part="int") for kind in KINDS}

    def read(self, index: int, found: Iterable[Entry]) -> None:
        """All entries of the file at `index`."""
        problems: dict[str, list[int]] = defaultdict(list)
        number = 0
        for number, entry in enumerate(found, start=1):
            if entry.problem is None:
                self._add(index, entry)
            else:
                problems[entry.problem].append(entry.row)
            if number % SOME == 0:
                self._tell(index, problems, SOME)
        self._tell(index, problems, number % SOME)

    def _tell(self, index: int, problems: dict[str, list[int]], number: int) -> None:
        """Account for the entries that are no resource of ours, and report `number` more entries as read."""
        many = len(self.files) > MOST_FILES
        file = f"other entries of {len(self.files):,} files (row: the file)" if many else self.files[index]
        for problem, rows in problems.items():
            self.log.count_read(file, len(rows))
            self.log.add(file, "resource", problem, [index + 1] * len(rows) if many else rows)
            self.found[problem] += len(rows)
        problems.clear()
        if self.progress:
            self.progress(number)

    def _add(self, index: int, entry: Entry) -> None:
        resource = entry.resource
        kind = resource["resourceType"]
        self.found[kind] += 1
        own = text(resource.get("id"))
        url = entry.full_url.lower() if entry.full_url and entry.full_url.startswith("urn:") else None
        if own is None and url:
            own = url.removeprefix("urn:uuid:")
        elif url and url != f"urn:uuid:{own}" and kind in REFERRED:
            self.aliases.add((mark(kind, url), own))
        identity = mark(kind, own) if own else mark(index, entry.row, url)
        place = (index, entry.row, identity, moment(obj(resource.get("meta")).get("lastUpdated")))
        if kind in READERS:
            table, read = READERS[kind]
            for part, event in enumerate(read(resource)):
                self.events[table].add((*place, *(event.rejected or NOT_REJECTED), *event[:-1], part))
            return
        if kind == "Medication":
            rejected = refused(resource, "status", NOT_HISTORY[kind]) or NOT_REJECTED
            self.medications.add((*place, *rejected, own, *medication(resource)))
        else:
            self._add_patient(place, own, resource)

    def _add_patient(self, place: tuple[Any, ...], own: str | None, resource: Json) -> None:
        for one in objects(resource.get("identifier")):
            if own and (name := identifier(one)):
                self.aliases.add((mark("Patient", name), own))
        merged = [link for link in objects(resource.get("link")) if link.get("type") == "replaced-by"]
        successor = key(merged[0].get("other"), "Patient") if merged else None
        if own and successor:
            self.aliases.add((mark("Patient", own), successor))
        birth = resource.get("birthDate")
        born = moment(birth)
        self.patients.add(
            (
                *(*place, *(("link", MERGED) if merged else NOT_REJECTED), own),
                *(born, birth is not None and born is None, text(resource.get("gender"))),
                *(_us_core(resource, "race", RACES), _us_core(resource, "ethnicity", ETHNICITIES)),
            )
        )

    def hold_to_promise(self) -> None:
        """Raise InputError if the manifest counts more resources than are here: half an export must not be used."""
        damaged = self.found[BROKEN] + self.found[TOO_LONG]  # these are told by line
        for kind, promised in sorted(self.said.promised.items()):
            if kind in WANTED and self.found[kind] + damaged < promised:
                message = f"the manifest counts {promised:,} {kind} resources, but only {self.found[kind]:,} are here"
                raise InputError(
                    f"{message}: download the export again, or remove a manifest that is out of date", file=self.name
                )

    def finished(self) -> tuple[RawPatients, list[RawEvents]]:
        deleted = {mark(*name.split("/")) for name in self.said.deleted}
        patients = self._patients(current(self.patients.frame(), deleted))
        encounters = current(self.events.pop("care_resource").frame(), deleted)
        links = Links(
            aliases=self.aliases.frame(),
            encounters=encounters.loc[encounters["reason"].isna(), ["id", "start", "stop"]],
            medications=self._kept(current(self.medications.frame(), deleted), "Medications"),
        )
        events = self._events("care_resource", encounters, links)
        for kind, table in self.events.items():
            events += self._events(kind, current(table.frame(), deleted), links)
        return patients, events

    def _patients(self, frame: pd.DataFrame) -> RawPatients:
        """`RawPatients` has one account, so patients in several files are counted on from file to file."""
        indices = frame["file"].unique()
        if not len(indices):
            raise InputError("no Patient resource is in this export, so nobody's history can be read", file=self.name)
        file = self.files[int(indices[0])]
        if len(indices) > 1:
            file = f"{file} to {self.files[int(indices[-1])]}"
            frame = frame.assign(row=range(1, len(frame) + 1))
        self.log.count_read(file, len(frame))
        self.log.add(file, "birthDate", NO_DATE, frame.loc[frame["birth_bad"] == 1, "row"], "set aside")
        return people(Table(file, usable(frame, file, self.log), frozenset()), self.log)

    def _kept(self, frame: pd.DataFrame, what: str) -> pd.DataFrame:
        """What is only looked up: kept, if it is usable."""
        parts = [frame.iloc[:0]]
        for file, part in accounts(frame, self.files, what):
            self.log.count_read(file, len(part))
            parts.append(usable(part, file, self.log))
            self.log.count_kept(file, len(parts[-1]))
        return pd.concat(parts)

    def _events(self, kind: str, frame: pd.DataFrame, links: Links) -> list[RawEvents]:
        """One account a file; what a resource tells beyond its first value has one of its own, so that both balance."""
        if frame.empty:
            return []
        frame = resolved(frame, links)
        if kind == "observation":
            frame = frame.assign(stop=frame["start"])
        frame = frame.assign(name=per_distinct(lambda name: name and TAG.sub("", name), frame["name"]))
        found = []
        for file, all_parts in accounts(frame, self.files, f"{kind} resources"):
            lost = all_parts[all_parts["lost"] > 0]
            self.log.add(file, "component", "no number beside others that are", lost["row"], "set aside")
            for further, part in all_parts.groupby(all_parts["part"] > 0):
                name = f"{file} (further values)" if further else file
                self.log.count_read(name, len(part))
                found.append(Table(name, usable(part, name, self.log), frozenset()).events(kind))
        return found


def _us_core(resource: Json, name: str, words: dict[str, str]) -> str | None:
    """The one OMB category of a US Core extension in our words; "other" for several, as in MIMIC."""
    told = set()
    for extension in objects(resource.get("extension")):
        if extension.get("url") == US_CORE + name:
            for inner in objects(extension.get("extension")):
                word = words.get(text(obj(inner.get("valueCoding")).get("code")) or "")
                told |= {word} if word and inner.get("url") == "ombCategory" else set()
    return "other" if len(told) > 1 else next(iter(told), None)

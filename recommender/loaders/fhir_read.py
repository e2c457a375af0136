"""A block of a FHIR file in; what its resources say, as Arrow tables, out.

Nothing but the block decides what is given, so it may be worked out in another process, and kept. Each resource is read
by itself; `fhir` settles what it says of others, and which version of it counts. The rules are in docs/formats/fhir.md.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, NamedTuple

import pyarrow as pa

from recommender.loaders.fhir_codes import ETHNICITIES, NOT_HISTORY, RACES
from recommender.loaders.fhir_elements import Json, identifier, key, moment, obj, objects, text
from recommender.loaders.fhir_event import refused
from recommender.loaders.fhir_files import Block, Entry, Said, entries
from recommender.loaders.fhir_resources import READERS, medication
from recommender.loaders.fhir_table import TABLES, mark, packed

WANTED = frozenset({"Patient", "Medication", *READERS})
REFERRED = frozenset({"Patient", "Encounter", "Medication"})  # what other resources are said to be of
MERGED = "replaced by another record of the same person"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-"
NOT_REJECTED = (None, None)
WORTH_PROCESSES = 64 << 20  # bytes that take longer to read than processes take to start
MOST_PROCESSES = 8  # one process deals out the lines and takes in the tables, so more would only wait


class Read(NamedTuple):
    """Of a block of `file`: how many entries it had, the rows of those that are no resource of ours, and its tables."""

    file: str
    entries: int
    problems: dict[str, list[int]]
    tables: list[pa.RecordBatch]


def read_all(blocks: Iterable[Block], size: int) -> Iterator[Read]:
    """`read` of each block, in order; where all are large (`size`, in bytes), worked out ahead on every processor."""
    workers = min(os.cpu_count() or 1, MOST_PROCESSES)
    if workers == 1 or size < WORTH_PROCESSES:
        yield from map(read, blocks)
        return
    coming: deque[Future[Read]] = deque()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for block in blocks:
            coming.append(pool.submit(read, block))
            if len(coming) > 2 * workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def read(block: Block) -> Read:
    """Raises InputError for a document that is no JSON."""
    tables = _Tables(block.file)
    said = Said()
    problems: dict[str, list[int]] = defaultdict(list)
    number = 0
    for number, entry in enumerate(entries(block, WANTED, said), start=1):
        if entry.problem is None:
            tables.add(entry, number)
        else:
            problems[entry.problem].append(entry.row)
            tables.found[entry.problem] += 1
    tables.rows["deleted"] += [(mark(*name.split("/")),) for name in said.deleted]
    tables.rows["promised"] += said.promised.items()
    tables.rows["found"] += tables.found.items()
    batches = [packed(name, rows) for name, rows in tables.rows.items() if rows]
    return Read(block.file, number, dict(problems), batches)


class _Tables:
    """The rows of a block's tables while they grow."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}
        self.found = Counter[str]()

    def add(self, entry: Entry, number: int) -> None:
        """`number`: of the entry in its block, as those on one line share its number."""
        resource = entry.resource
        kind = resource["resourceType"]
        self.found[kind] += 1
        own = text(resource.get("id"))
        url = entry.full_url.lower() if entry.full_url and entry.full_url.startswith("urn:") else None
        if own is None and url:
            own = url.removeprefix("urn:uuid:")
        elif url and url != f"urn:uuid:{own}" and kind in REFERRED:
            self.rows["aliases"].append((mark(kind, url), own))
        # without an id nothing can be a version of it, here or in another file
        identity = mark(kind, own) if own else mark(self.file, entry.row, number)
        place = (entry.row, identity, moment(obj(resource.get("meta")).get("lastUpdated")))
        if kind in READERS:
            table, reader = READERS[kind]
            for part, event in enumerate(reader(resource)):
                told = (*place, *(event.rejected or NOT_REJECTED), *event[:-1], part)
                self.rows["events"].append((table, *told))
        elif kind == "Medication":
            rejected = refused(resource, "status", NOT_HISTORY[kind]) or NOT_REJECTED
            self.rows["medications"].append((*place, *rejected, own, *medication(resource)))
        else:
            self._add_patient(place, own, resource)

    def _add_patient(self, place: tuple[Any, ...], own: str | None, resource: Json) -> None:
        aliases = self.rows["aliases"]
        for one in objects(resource.get("identifier")):
            if own and (name := identifier(one)):
                aliases.append((mark("Patient", name), own))
        merged = [link for link in objects(resource.get("link")) if link.get("type") == "replaced-by"]
        successor = key(merged[0].get("other"), "Patient") if merged else None
        if own and successor:
            aliases.append((mark("Patient", own), successor))
        birth = resource.get("birthDate")
        born = moment(birth)
        self.rows["patients"].append(
            (
                *(*place, *(("link", MERGED) if merged else NOT_REJECTED), own),
                *(born, birth is not None and born is None, text(resource.get("gender"))),
                *(_us_core(resource, "race", RACES), _us_core(resource, "ethnicity", ETHNICITIES)),
            )
        )


def _us_core(resource: Json, name: str, words: dict[str, str]) -> str | None:
    """The one OMB category of a US Core extension in our words; "other" for several, as in MIMIC."""
    told = set()
    for extension in objects(resource.get("extension")):
        if extension.get("url") == US_CORE + name:
            for inner in objects(extension.get("extension")):
                word = words.get(text(obj(inner.get("valueCoding")).get("code")) or "")
                told |= {word} if word and inner.get("url") == "ombCategory" else set()
    return "other" if len(told) > 1 else next(iter(told), None)

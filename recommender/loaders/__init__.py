"""The name of a source and its folder, zip or database in, `Records` out: whatever record system an export is from.

A source is one file of this package: a function from an `Export` to people and events in the source's own codes. Naming
drugs (the vocabulary), checking and indexing are the same for all and happen here and in `records.assemble`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from recommender.assembly import Assembly
from recommender.errors import InputError
from recommender.ingest_log import IngestLog
from recommender.loaders import csv_files, eicu, fhir, mimic, mimic3, omop, synthea
from recommender.loaders.ahead import ahead
from recommender.loaders.archive import is_zip, unpacked
from recommender.loaders.column_map import read_map
from recommender.loaders.database import connected, is_url
from recommender.loaders.measurements import standardise
from recommender.loaders.naming import identified, name_drugs
from recommender.loaders.shelf import Shelf
from recommender.loaders.tabular import PIECE_ROWS, Export, Progress, rows_in_work
from recommender.memory import LEAST_READING, MIB, READING, Memory
from recommender.records import THERAPIES, RawEvents, RawPatients, Records
from recommender.sealing import Seal
from recommender.vocabulary import DrugVocabulary

PARSING, COPIES = 320 * MIB, 5  # what parsing takes beside the rows in work, and how often these are there at a time
COMPILED = 44 * MIB  # of what parsing takes: the loops, which are there once people have been read
PERSON_BYTES = 512  # that a person takes while events are read, beside what the table of people takes
Loader = Callable[[Export], tuple[RawPatients, Iterable[RawEvents]]]
SOURCES: dict[str, Loader] = {
    "csv": csv_files.load,
    "eicu": eicu.load,
    "fhir": fhir.load,
    "mimic": mimic.load,
    "mimic3": mimic3.load,
    "omop": omop.load,
    "synthea": synthea.load,
}


def load(
    source: str,
    path: str | Path,
    *,
    vocabulary: DrugVocabulary | None,
    progress: Progress | None = None,
    columns: Path | None = None,
    cache: Path | None = None,
    seal: Seal | None = None,
    rows: int = PIECE_ROWS,
    memory: Memory | None = None,
) -> Records:
    """Read the export in `path`: a folder, a zip of one, or the URL of a database.

    `vocabulary` names the drugs; None leaves their codes as they are. `progress` is told the number of rows newly read.
    `columns`: a column map (see `column_map`), for source csv. `cache`: a folder where what is read of a file is kept
    until the file changes, and where events lie while they are worked on; without it they lie in memory. `seal`: it
    encrypts what is kept, and events lie in memory, as a file that is mapped cannot be encrypted. `rows`: of a large
    table, so many rows are worked on at a time. A large FHIR export starts processes, so a script that calls this
    needs `if __name__ == "__main__"`. Raises InputError when the export cannot be used,
    and NotEnoughMemory before any event is read where its people do not leave room for them; what
    becomes of each row of a usable one stands in `Records.log`.
    """
    if source not in SOURCES:
        raise InputError(f"no such source: the known ones are {', '.join(sorted(SOURCES))}")
    if columns is not None and source != "csv":
        raise InputError(f"a column map is for plain files (source csv), not for {source}", file=str(columns))
    if memory is not None:
        memory.needs("reading an export", PARSING + LEAST_READING)
        rows = rows_in_work(memory.in_work(LEAST_READING, READING, PARSING, COPIES))
    log = IngestLog()
    specs = {} if columns is None else read_map(columns)
    shelf = None if cache is None else Shelf(cache / _folder_of(source, path), seal)
    with _opened(path, log, progress, vocabulary) as opened:
        export = replace(opened, specs=specs, shelf=shelf, rows=rows)
        people, events = SOURCES[source](export)
        if memory is not None:
            of = len(people.frame)
            more = PARSING - COMPILED + LEAST_READING + of * PERSON_BYTES
            memory.needs(f"reading an export of {of:,} people", more)
        assembly = Assembly(people, log, None if seal else cache, rows, between=_between(memory, seal))
        for raw in ahead(iter(events)) if export.reads_ahead else events:
            assembly.add(standardised(raw, vocabulary, log))
    if shelf is not None:
        shelf.sweep()
    records = assembly.finish()
    if not records.concepts["kind"].isin(THERAPIES).any():  # visits alone teach nothing that could be suggested
        raise InputError(
            f"no usable treatment, so there is nothing to learn from{log.main_reason}", file=str(export.folder)
        )
    return records


def _between(memory: Memory | None, seal: Seal | None) -> Callable[[], object]:
    """What is done after each piece of work: where events may lie in memory only, it is seen whether more fit there."""
    if memory is None:
        return lambda: None
    if seal is None:
        return memory.keep
    return lambda: memory.needs("reading into memory, as RXREC_ENCRYPT_FILES asks for,", LEAST_READING)


def standardised(raw: RawEvents, vocabulary: DrugVocabulary | None, log: IngestLog) -> RawEvents:
    """Events with a code and a name each, drugs under the vocabulary's, measurements in one unit."""
    raw = identified(raw, log)
    if raw.kind == "observation":
        return standardise(raw, log)
    return name_drugs(raw, vocabulary, log) if raw.kind == "drug" and vocabulary is not None else raw


def _folder_of(source: str, path: str | Path) -> str:
    """Each export has a shelf of its own; where it is may be nobody's business."""
    where = str(path) if is_url(str(path)) else str(Path(path).resolve())
    return hashlib.sha256(f"{source}\n{where}".encode()).hexdigest()[:16]


@contextmanager
def _opened(
    path: str | Path, log: IngestLog, progress: Progress | None, vocabulary: DrugVocabulary | None
) -> Iterator[Export]:
    if is_url(str(path)):
        with connected(str(path), log, progress, vocabulary) as export:
            yield export
    elif is_zip(Path(path)):
        with unpacked(Path(path)) as folder:
            yield Export(folder, log, progress, vocabulary)
    else:
        yield Export(Path(path), log, progress, vocabulary)

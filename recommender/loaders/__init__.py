"""The name of a source and its folder in, `Records` out: whatever record system an export is from.

A source is one file of this package: a function from an `Export` to people and events in the source's own codes. Naming
drugs (the vocabulary), checking and indexing are the same for all and happen here and in `records.assemble`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recommender.errors import InputError
from recommender.ingest_log import IngestLog
from recommender.loaders import csv_files, mimic, synthea
from recommender.loaders.naming import identified, name_drugs
from recommender.loaders.tabular import Export, Progress
from recommender.records import RawEvents, RawPatients, Records, assemble
from recommender.vocabulary import DrugVocabulary

Loader = Callable[[Export], tuple[RawPatients, list[RawEvents]]]
SOURCES: dict[str, Loader] = {"csv": csv_files.load, "mimic": mimic.load, "synthea": synthea.load}


def load(source: str, path: Path, *, vocabulary: DrugVocabulary | None, progress: Progress | None = None) -> Records:
    """Read the export in folder `path`. `vocabulary` names the drugs; None leaves their codes as they are.

    `progress` is told the number of rows newly read. Raises InputError when the export cannot be used; what becomes of
    each row of a usable one stands in `Records.log`.
    """
    if source not in SOURCES:
        raise InputError(f"no such source: the known ones are {', '.join(sorted(SOURCES))}")
    log = IngestLog()
    people, events = SOURCES[source](Export(path, log, progress))
    events = [identified(raw, log) for raw in events]
    if vocabulary is not None:
        events = [name_drugs(raw, vocabulary, log) if raw.kind == "drug" else raw for raw in events]
    records = assemble(people, events, log)
    if records.treatments.empty:
        raise InputError(f"no usable treatment, so there is nothing to learn from{log.main_reason}", file=str(path))
    return records

"""The name of a source and its folder, zip or database in, `Records` out: whatever record system an export is from.

A source is one file of this package: a function from an `Export` to people and events in the source's own codes. Naming
drugs (the vocabulary), checking and indexing are the same for all and happen here and in `records.assemble`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from recommender.errors import InputError
from recommender.ingest_log import IngestLog
from recommender.loaders import csv_files, eicu, fhir, mimic, mimic3, omop, synthea
from recommender.loaders.archive import is_zip, unpacked
from recommender.loaders.column_map import MappedExport, read_map
from recommender.loaders.database import connected, is_url
from recommender.loaders.measurements import standardise
from recommender.loaders.naming import identified, name_drugs
from recommender.loaders.tabular import Export, Progress
from recommender.records import RawEvents, RawPatients, Records, assemble
from recommender.vocabulary import DrugVocabulary

Loader = Callable[[Export], tuple[RawPatients, list[RawEvents]]]
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
) -> Records:
    """Read the export in `path`: a folder, a zip of one, or the URL of a database.

    `vocabulary` names the drugs; None leaves their codes as they are. `progress` is told the number of rows newly read.
    `columns`: a column map (see `column_map`), for source csv. Raises InputError when the export cannot be used; what
    becomes of each row of a usable one stands in `Records.log`.
    """
    if source not in SOURCES:
        raise InputError(f"no such source: the known ones are {', '.join(sorted(SOURCES))}")
    if columns is not None and source != "csv":
        raise InputError(f"a column map is for plain files (source csv), not for {source}", file=str(columns))
    log = IngestLog()
    specs = {} if columns is None else read_map(columns)
    with _opened(path, log, progress, vocabulary) as export:
        if specs:
            export = MappedExport(**{part.name: getattr(export, part.name) for part in fields(export)}, specs=specs)
        people, events = SOURCES[source](export)
    events = [identified(raw, log) for raw in events]
    events = [standardise(raw, log) if raw.kind == "observation" else raw for raw in events]
    if vocabulary is not None:
        events = [name_drugs(raw, vocabulary, log) if raw.kind == "drug" else raw for raw in events]
    records = assemble(people, events, log)
    if records.treatments.empty:
        raise InputError(
            f"no usable treatment, so there is nothing to learn from{log.main_reason}", file=str(export.folder)
        )
    return records


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

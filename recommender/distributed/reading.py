"""The rows of some people's tables in, their `Records` out, under the concepts and clocks that all parts agree on.

A part goes through the same loader and the same `Assembly` as an export that is read at once. What has to be known of
all people before a row can be settled (whether people have clocks of their own, how a code is called, in which unit it
is usual) is asked of all parts and told to each.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa

from recommender.assembly import MISSING, AgreedClock, AgreedConcepts, Assembly, Settled, Times
from recommender.assembly import agreed_clock as clock_of
from recommender.assembly import agreed_concepts as concepts_of
from recommender.distributed.parts import Parts, Shared
from recommender.errors import InputError
from recommender.forgotten import Marked
from recommender.ingest_log import IngestLog
from recommender.loaders import SOURCES, csv_files, files, mimic, mimic3, standardised, synthea
from recommender.loaders.tabular import Export, TableSpec
from recommender.records import THERAPIES, Records
from recommender.vocabulary import DrugVocabulary

# sources whose tables name the patient in every row, so that one person's rows can be brought together
MODULES: dict[str, ModuleType] = {"csv": csv_files, "mimic": mimic, "mimic3": mimic3, "synthea": synthea}
PATIENT = "patient_id"
PEOPLE = "patients"  # the table of people, in all of these sources
ROWS = 1 << 20  # events of a part that are worked on at a time


def tables_of(source: str, specs: Mapping[str, TableSpec]) -> list[TableSpec]:
    """The tables that a source may have, as a site's column map names them. Raises InputError."""
    if source not in MODULES:
        raise InputError(f"source {source} cannot be read in parts: {', '.join(sorted(MODULES))} can")
    declared = {value.name: value for value in vars(MODULES[source]).values() if isinstance(value, TableSpec)}
    return [specs.get(name, spec) for name, spec in declared.items()]


def is_of_patients(spec: TableSpec) -> bool:
    """Or a table to look things up in, which every part needs whole."""
    return PATIENT in spec.columns


@dataclass(frozen=True)
class Rows:
    """Rows of one table. file: what to call where they are from; columns: by our names, text as Arrow strings; names:
    what the file calls them; malformed (n,) bool: not as many fields as the header has."""

    file: str
    columns: Mapping[str, pa.Array]
    names: Mapping[str, str]
    malformed: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=bool))


@dataclass(frozen=True)
class Gathered:
    """Some people's events, with which nothing has been settled yet."""

    number: int
    assembly: Assembly


@dataclass(frozen=True)
class Part:
    """Some people's `records`, under the concepts of all; `number`: which people, in the order of the export."""

    number: int
    records: Records


def gather(
    number: int,
    source: str,
    tables: Mapping[str, Rows],
    specs: Mapping[str, TableSpec],
    vocabulary: DrugVocabulary | None,
) -> Gathered:
    """`tables`: all rows of these people, by the table's name, and whole what is looked up in; each in the order of its
    file. A table that the export does not have is not there."""

    def opener(spec: TableSpec, malformed: files.Malformed) -> tuple[str, Iterator[files.Batch]] | None:
        if spec.name not in tables:
            return None
        rows = tables[spec.name]
        return rows.file, _batches(rows, malformed)

    log = IngestLog()
    export = Export(Path(source), log, vocabulary=vocabulary, opener=opener, specs=specs, rows=ROWS)
    people, events = SOURCES[source](export)
    assembly = Assembly(people, log, rows=ROWS, whole=False)
    for raw in events:
        assembly.add(standardised(raw, vocabulary, log))
    return Gathered(number, assembly)


def _batches(rows: Rows, malformed: files.Malformed) -> Iterator[files.Batch]:
    total = len(next(iter(rows.columns.values())))
    row = np.arange(2, total + 2)
    bad = rows.malformed if len(rows.malformed) else np.zeros(total, dtype=bool)
    malformed.rows.extend(row[bad].tolist())
    good = pa.array(~bad)
    columns = {name: values.filter(good) for name, values in rows.columns.items()}
    yield files.Batch(row[~bad], columns, dict(rows.names))


def settle(
    gathered: Parts[Gathered], forgotten: Marked, lookups: Collection[str]
) -> tuple[Parts[Part], pd.DataFrame, IngestLog]:
    """The records of all parts, the concepts that they share, and the account of every row. `lookups`: files of which
    each part has all rows.

    Raises InputError when nothing usable is left.
    """
    clock = gathered.share(clock_of(gathered.ask(_times)))
    agreed = concepts_of(gathered.ask(partial(_settled, clock)))
    parts = gathered.then(partial(_part, clock, gathered.share(agreed), gathered.share(forgotten)))
    accounts = parts.ask(_account)  # once: whatever is asked, a part is read from its disk to answer
    log = IngestLog()
    for place, (account, _) in enumerate(accounts):
        log.join(account, lookups if place else ())
    if agreed.latest == MISSING and not clock.value.own:
        raise InputError(f"no usable event, so there is nothing to learn from{log.main_reason}")
    if not agreed.concepts["kind"].isin(THERAPIES).any():
        raise InputError(f"no usable treatment, so there is nothing to learn from{log.main_reason}")
    if not any(people for _, people in accounts):
        raise InputError(f"no patient can be used{log.main_reason}")
    return parts, agreed.concepts, log


def _times(gathered: Gathered) -> Times:
    return gathered.assembly.times()


def _settled(clock: Shared[AgreedClock], gathered: Gathered) -> Settled:
    return gathered.assembly.settle(clock.value)


def _part(
    clock: Shared[AgreedClock], agreed: Shared[AgreedConcepts], forgotten: Shared[Marked], gathered: Gathered
) -> Part:
    gathered.assembly.settle(clock.value)
    return Part(gathered.number, forgotten.value.left_out(gathered.assembly.records(agreed.value)))


def _account(part: Part) -> tuple[IngestLog, int]:
    return part.records.log, part.records.n_patients

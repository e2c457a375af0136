"""A chart that a request brings, as `Records` of one person, in; the `Entry` that a night would have published out.

The row is built by the same code as the night's and brought to the columns of the release; so is the chart. What the
release does not know (a drug that nobody here had) counts for the safety rules, and for no score.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd

from recommender.assembly import assemble
from recommender.features import ColumnIndex, chart_rows
from recommender.ingest_log import IngestLog
from recommender.loaders import standardised
from recommender.moments import now
from recommender.offer import Desk
from recommender.records import TIME, RawEvents, RawPatients, Records
from recommender.safety.charts import Chart, Charts, Known, read_charts
from recommender.safety.verdict import Reading
from recommender.snapshot import Entry
from recommender.vocabulary import DrugVocabulary

PERSON = "person"  # stands for an id that nobody needs


@dataclass(frozen=True)
class Told:
    """One entry of a chart in a request. `code`: "rxnorm:6809", "icd10cm:E11.9", "loinc:2160-0", or "" where there is
    only a name. Times are aware; `start` None: since ever; `stop` None: it goes on. value, unit: of an observation.
    route: how a drug is given, in words, where the name does not tell it."""

    kind: str
    code: str
    name: str
    start: datetime | None = None
    stop: datetime | None = None
    value: float | None = None
    unit: str = ""
    route: str = ""


def records_of(
    entries: Sequence[Told],
    as_of: datetime,
    vocabulary: DrugVocabulary,
    *,
    birth_date: datetime | None = None,
    sex: str = "unknown",
) -> Records:
    """The entries as records of one person, read at `as_of`; `Records.log` tells of each entry that cannot be used, by
    its place from 1. What is told to begin later begins at `as_of`: two systems' clocks differ, and an order for
    tomorrow is to be screened today."""
    moment = pd.Timestamp(as_of).tz_convert("UTC").floor("s")
    log = IngestLog()
    person = {"row": [1], "patient_id": [PERSON], "sex": [sex], "race": ["unknown"], "ethnicity": ["unknown"]}
    born = pd.Series(pd.to_datetime([birth_date], utc=True)).astype(TIME)
    log.count_read("chart", 1)
    people = pd.DataFrame(person).assign(birth_date=born, site="", as_of=pd.Series([moment]).astype(TIME))
    raw = []
    for kind in dict.fromkeys(entry.kind for entry in entries):
        mine = [(number, entry) for number, entry in enumerate(entries, start=1) if entry.kind == kind]
        file = f"chart {kind}"
        log.count_read(file, len(mine))
        raw.append(standardised(RawEvents(file, kind, _frame(mine, moment)), vocabulary, log))
    return assemble(RawPatients("chart", people, clock="own"), raw, log)


def _frame(mine: Sequence[tuple[int, Told]], moment: pd.Timestamp) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "row": [number for number, _ in mine],
            "patient_id": PERSON,
            "code": pd.Categorical([entry.code or None for _, entry in mine]),
            "name": pd.Categorical([entry.name or None for _, entry in mine]),
            "start": pd.Series(pd.to_datetime([_begun(entry, moment) for _, entry in mine], utc=True)).astype(TIME),
            "stop": pd.Series(pd.to_datetime([entry.stop for _, entry in mine], utc=True)).astype(TIME),
        }
    )
    if mine[0][1].kind == "observation":
        values = [np.nan if entry.value is None else entry.value for _, entry in mine]
        frame = frame.assign(value=values, unit=pd.Categorical([entry.unit or None for _, entry in mine]))
    if mine[0][1].kind == "drug":
        frame = frame.assign(route=pd.Categorical([entry.route or None for _, entry in mine]))
    return frame


def _begun(entry: Told, moment: pd.Timestamp) -> datetime:
    if entry.start is None:  # no time told: it is there now
        return moment - pd.Timedelta(days=1)
    return min(entry.start, moment)


def chart_of(records: Records, observed: Collection[str], untold: Collection[str] = ()) -> tuple[Chart, Known]:
    """The chart of the only person of `records`, as safety rules look at it. observed: codes of observations that the
    rules ask for; untold: kinds (condition, allergy ...) of which the request says nothing at all, so that none of them
    on the chart does not mean that there is none."""
    charts = read_charts(records, observed)
    return charts.of(0), replace(charts.known, untold=frozenset(untold), local=frozenset())


def entry_of(desk: Desk, records: Records, untold: Collection[str] = ()) -> tuple[Entry, Reading]:
    """The entry of the only person of `records`, and the chart as it was read; `untold` as in `chart_of`."""
    return desk.live(*row_of(desk.release.index, records), *chart_of(records, desk.screen.observed, untold))


def with_added(desk: Desk, entry: Entry, added: Records, elapsed: int) -> tuple[Entry, Reading]:
    """A published entry and what is added to its chart, as a new entry: "what if". What both tell, the added tells
    last: a new value of a measurement stands for the old one. elapsed: days since the published chart was read."""
    columns, weights = row_of(desk.release.index, added)
    demographic = {ix for ix, column in enumerate(desk.release.index.columns) if column.kind in ("age", "sex")}
    row = dict(zip(entry.row_columns.tolist(), entry.row_weights.tolist(), strict=True))
    for column, weight in zip(columns.tolist(), weights.tolist(), strict=True):
        if column not in demographic:
            row[column] = max(weight, row.get(column, 0.0))
    merged = np.array(sorted(row), dtype=np.int32)
    chart, known = _joined(desk.release.known, entry.chart, read_charts(added, desk.screen.observed), elapsed)
    weight = np.array([row[column] for column in merged.tolist()], dtype=np.float32)
    return desk.live(merged, weight, chart, known, elapsed)


def _joined(known: Known, chart: Chart, added: Charts, elapsed: int) -> tuple[Chart, Known]:
    """One chart of both, over the concepts of both; what is added is as old at the screening as it is told to be."""
    facts = {known.concepts[ix]: at for at, ix in enumerate(chart.concept.tolist())}
    told = {concept: (int(chart.days[at]), float(chart.value[at])) for concept, at in facts.items()}
    new = added.of(0)
    place = {(concept.kind, concept.code): concept for concept in told}
    for at, ix in enumerate(new.concept.tolist()):
        concept = added.known.concepts[ix]
        days = int(new.days[at]) - (0 if concept.kind == "drug" else elapsed)
        told[place.get((concept.kind, concept.code), concept)] = (days, float(new.value[at]))
    concepts = sorted(told, key=lambda concept: (concept.kind, concept.code))
    ages, values = ([told[concept][part] for concept in concepts] for part in (0, 1))
    untold = known.untold - {concept.kind for concept in concepts}
    joined = replace(
        chart,
        concept=np.arange(len(concepts), dtype=np.int32),
        days=np.array(ages, dtype=np.int32),
        value=np.array(values, dtype=np.float32),
    )
    return joined, Known(tuple(concepts), untold)


def row_of(index: ColumnIndex, records: Records) -> tuple[np.ndarray, np.ndarray]:
    """The first person's row over the columns of a release: columns (k,) int32 ascending, weights (k,) float32."""
    rows, own, _ = chart_rows(records, now(records), min_patients=1)
    found = zip(rows[0].indices.tolist(), rows[0].data.tolist(), strict=True)
    told = ((index.place.get((own[ix].kind, own[ix].code)), weight) for ix, weight in found)
    row = sorted((place, weight) for place, weight in told if place is not None)
    return np.array([ix for ix, _ in row], dtype=np.int32), np.array([w for _, w in row], dtype=np.float32)

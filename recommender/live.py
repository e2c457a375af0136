"""A chart that a request brings, as `Records` of one person, in; the `Entry` that a night would have published out.

The row is built by the same code as the night's and brought to the columns of the release; so is the chart. What the
release does not know (a drug that nobody here had) counts for the safety rules, and for no score.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from recommender.features import rows_over
from recommender.matrix import ColumnIndex
from recommender.offer import Desk
from recommender.records import Records
from recommender.safety.charts import Chart, Charts, Known, read_charts
from recommender.safety.verdict import Reading
from recommender.snapshot import Entry
from recommender.told import Told, records_of

__all__ = ["Told", "chart_of", "entry_of", "records_of", "row_of", "with_added"]


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
    row = rows_over(index, records)[0].rows[0]
    return row.indices, row.data

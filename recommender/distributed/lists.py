"""A fitted model and parts of `Records` in; everybody's lists, and a version written into the store from them, out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from recommender.distributed.night import Reading, Today, added
from recommender.distributed.parts import Parts, Shared
from recommender.distributed.reading import Part
from recommender.errors import EngineError
from recommender.matrix import ColumnIndex
from recommender.models.base import Model
from recommender.pipeline import screened
from recommender.publication import Begun
from recommender.ranking import DEPTH, PER_KIND, SPARE, TopN, top_n
from recommender.records import THERAPIES
from recommender.safety.charts import Charts, Known, read_charts
from recommender.safety.screen import Screen
from recommender.settings import Settings
from recommender.snapshot import Release, Snapshot
from recommender.store import Store


@dataclass(frozen=True)
class Scored:
    """Some people's part of a snapshot."""

    number: int
    patient_ids: np.ndarray
    top: TopN
    rows: sparse.csr_matrix
    charts: Charts
    found: Mapping[str, Any]


def score(today: Today, fitted: Model, screen: Screen) -> Parts[Scored | None]:
    return today.parts.then(partial(_score, today.shared(fitted), today.parts.share(screen)))


def _score(reading: Shared[Reading], screen: Shared[Screen], part: Part) -> Scored | None:
    if not part.records.n_patients:
        return None
    told, rules = reading.value, screen.value
    matrix = told.matrix(part.records)
    top = top_n(told.model, matrix, DEPTH + SPARE, of=THERAPIES, per_kind=PER_KIND)
    charts = read_charts(part.records, rules.observed, told=told.told)
    top, found = screened(rules, charts, matrix.index, top)
    return Scored(part.number, matrix.patient_ids, top, matrix.rows, replace(charts, known=Known(())), found)


def found_in(parts: Parts[Scored | None], index: ColumnIndex) -> tuple[dict[str, Any], dict[str, int]]:
    """What the screen found, and the coverage, as `pipeline.screened` and `gate.coverage_of` tell them."""
    told = [one for one in parts.ask(_found) if one is not None]
    found = dict(told[0][0])
    for other, *_ in told[1:]:
        for name in ("lists", "drugs", "not_checked"):
            found[name] += other[name]
        found["by_severity"] = added(found["by_severity"], other["by_severity"])
    listed = np.unique(np.concatenate([columns for _, columns, _ in told]))
    coverage = {
        "suggestable": len(index.targets),
        "listed": len(listed),
        "patients_with_list": sum(with_list for *_, with_list in told),
    }
    return found, coverage


def _found(scored: Scored | None) -> tuple[Mapping[str, Any], np.ndarray, int] | None:
    if scored is None:
        return None
    return scored.found, np.unique(scored.top.columns), int((np.diff(scored.top.indptr) > 0).sum())


@dataclass(frozen=True)
class Address:
    """Where machines find the store. `url` may hold a password."""

    url: str
    settings: Settings


def write(parts: Parts[Scored | None], release: Release, begun: Begun, at: Address) -> None:
    """Put everybody's entries into a version that was begun. A part that is written twice leaves the same."""
    written = sum(parts.ask(partial(_write, parts.share((release, begun, at)))))
    if written != begun.of.patients:
        raise EngineError(f"{written:,} patients were written and {begun.of.patients:,} were to be: try again")


def _write(shared: Shared[tuple[Release, Begun, Address]], scored: Scored | None) -> int:
    if scored is None:
        return 0
    release, begun, at = shared.value
    charts = replace(scored.charts, known=release.known)
    with Store(at.url, at.settings) as store:
        store.write_part(begun, Snapshot(release, scored.patient_ids, scored.top, scored.rows, charts))
    return len(scored.patient_ids)

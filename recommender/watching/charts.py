"""A published entry and newer observations in, the entry with the chart as it is now out.

An observation counts until the nightly data cover it: they do where they were read after it was taken and hold a value
of the same measurement that is as new. One that no export brings (a scale at home) counts on, for KEPT_DAYS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from recommender.loaders.measurements import measurements
from recommender.matrix import Column
from recommender.observations import KEPT_DAYS, Observation, milliseconds
from recommender.safety.charts import OLDEST
from recommender.safety.screen import CREATININE, Screen
from recommender.snapshot import Entry, Release
from recommender.watching.bands import EGFR, latest, measure_of

DAY_MS = 86_400_000


def observing(release: Release, screen: Screen) -> Release:
    """The release whose charts may also hold what rules ask for and no patient of the export had: behind what it
    knows, so that what is published keeps its places."""
    known = release.known
    there = {column.code for column in known.concepts if column.kind == "observation"}
    table = measurements()
    more = tuple(
        Column(code, "observation", table[code].name if code in table else code, "")
        for code in sorted(screen.observed - there)
    )
    return replace(release, known=replace(known, concepts=(*known.concepts, *more)))


def data_as_of(release: Release) -> int:
    """Until when the nightly data tell, in milliseconds since 1970; 0 where the manifest does not say."""
    for name in ("as_of", "created"):
        try:
            told = datetime.fromisoformat(str(release.manifest[name]))
        except (KeyError, ValueError):
            continue
        return milliseconds(told if told.tzinfo else told.replace(tzinfo=UTC))
    return 0


def current(
    newest: Mapping[str, Observation], release: Release, screen: Screen, entry: Entry, now: int
) -> list[Observation]:
    """Those that still count beside this entry."""
    if not newest:
        return []
    until, names, found = data_as_of(release), measure_of(screen), []
    for code, one in newest.items():
        if one.taken < now - KEPT_DAYS * DAY_MS:
            continue
        age = None if one.taken > until else _age(release, screen, entry, names.get(code, code))
        if age is None or age > (until - one.taken) // DAY_MS:
            found.append(one)
    return found


def with_observations(
    entry: Entry, observations: Iterable[Observation], release: Release, screen: Screen, elapsed: int, now: int
) -> Entry:
    """The entry with these in place of older values of the same measurement. `release`: as `observing` gave it;
    elapsed: days since the charts were read. A newer creatinine also stands in place of an eGFR reported before it."""
    names = measure_of(screen)
    newest = latest({one.code: one for one in observations if one.code in names}, screen)
    if not newest:
        return entry
    chart, known = entry.chart, release.known
    creatinine, egfr = newest.get(CREATININE), newest.get(EGFR)
    derivable = chart.sex != "unknown" and np.isfinite(chart.age)
    gone = set(newest)
    if creatinine is not None and derivable and (egfr is None or egfr.taken < creatinine.taken):
        gone.add(EGFR)
        newest.pop(EGFR, None)
    facts = {
        ix: (days, value)
        for ix, days, value in zip(chart.concept.tolist(), chart.days.tolist(), chart.value.tolist(), strict=True)
        if known.concepts[ix].kind != "observation" or names.get(known.concepts[ix].code) not in gone
    }
    for one in newest.values():
        age = max(0, (now - one.taken) // DAY_MS)
        facts[known.place["observation", one.code]] = (min(OLDEST, age - elapsed), one.value)
    order = sorted(facts)
    joined = replace(
        chart,
        concept=np.array(order, dtype=np.int32),
        days=np.array([facts[ix][0] for ix in order], dtype=np.int32),
        value=np.array([facts[ix][1] for ix in order], dtype=np.float32),
    )
    return replace(entry, chart=joined)


def _age(release: Release, screen: Screen, entry: Entry, measure: str) -> int | None:
    """How old, in days, a chart's newest value of a measure was when the data were read; None where it has none."""
    names, concepts = measure_of(screen), release.known.concepts
    return min(
        (
            days
            for ix, days in zip(entry.chart.concept.tolist(), entry.chart.days.tolist(), strict=True)
            if concepts[ix].kind == "observation" and names.get(concepts[ix].code, concepts[ix].code) == measure
        ),
        default=None,
    )

"""A published version and today's `Records` in, the lists of those patients alone who have changed since out.

The model, what its columns are and how much stands behind each suggestion stay those of the version, so a patient of
whom nothing new is recorded keeps the list: it is what a whole night with that model would have made. "Nothing new" is
read from the store itself, entry by entry: the same entries of the row, their weights within WEIGHT_OFF (they fade: see
`features.py`), and the same chart, older by the days between, give or take one. What the version has no column for
waits for the next whole night to be learned from; on a chart, where rules look, it stands at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from recommender.blocks import Blocks
from recommender.examples import Rows, seen_by
from recommender.features import rows_over
from recommender.gate import inputs_of
from recommender.matrix import PatientMatrix
from recommender.packing import CRC_TABLE, Words
from recommender.part_lists import ChartsRead
from recommender.pipeline import counts, screened
from recommender.pseudonyms import encoded
from recommender.publication import Onto
from recommender.ranking import DEPTH, PER_KIND, SPARE, top_n
from recommender.records import THERAPIES, Records
from recommender.safety.charts import DAYS_PER_YEAR, OLDEST, WASHOUT_DAYS, Charts, Known, read_charts
from recommender.safety.screen import Screen
from recommender.snapshot import FORMAT, Release, Snapshot, seed
from recommender.store import Store
from recommender.unchanged import WEIGHTS, says_the_same

MOST_DAYS = 14  # after a version; a whole night is due by then, and every weight has faded too far to be kept
WEIGHT_OFF = 0.01


@dataclass(frozen=True)
class Update:
    """`changed`: the lists, rows and charts of who changed or is new, in a snapshot of their own."""

    changed: Snapshot
    onto: Onto


def why_not(store: Store, served: Release, records: Records, screen: Screen, made_from: Mapping[str, Any]) -> str:
    """Why a version cannot be updated to these records and must be made anew; "" where it can. `made_from`: what of
    its manifest must be as it is now."""
    for name, now in made_from.items():
        then = served.manifest.get(name)
        if then != now:
            return f"the served version was made with another {name} ({_told(then)}; now {_told(now)})"
    if served.manifest["safety"]["rules"]["version"] != screen.rules.version:
        return "the rules have changed since the served version was made"
    if served.given is None:
        return "the served version does not tell by which routes drugs are given, as a program of before made it"
    base, days = _base_as_of(served), _days(_base_as_of(served), records)
    if not 0 <= days <= MOST_DAYS:
        return (
            f"the data of version {served.base} end at {_minute(pd.Timestamp(base))}, these at "
            f"{_minute(records.as_of)}, {days} days later; 0 to {MOST_DAYS} can be bridged"
        )
    own = records.patients["as_of"].nunique() > 1
    if own and days:
        return "each patient's chart is read at a moment of its own, and these have moved on"
    return store.why_not_onto(served.base)


def _told(what: Any) -> str:
    return " ".join(map(str, what)) if isinstance(what, list) else str(what)


def _minute(moment: pd.Timestamp) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _base_as_of(served: Release) -> str:
    return str(served.manifest.get("update", {}).get("base_as_of", served.manifest["as_of"]))


def _days(as_of: str, records: Records) -> int:
    return round((records.as_of - pd.Timestamp(as_of)) / pd.Timedelta(days=1))


def make_update(
    records: Records,
    served: Release,
    version: str,
    provenance: Mapping[str, Any],
    screen: Screen,
    store: Store,
    blocks: Blocks = Blocks(),  # noqa: B008  (frozen)
) -> Update:
    """What of the patients of `served` has changed in `records`, against the version that it leans on or else itself.

    `provenance` joins the manifest, and stands for what is there. `blocks`: how many patients are read at a time.
    Raises what the store raises.
    """
    matrix, charts, unknown = _today(records, served, screen, blocks)
    days = _days(_base_as_of(served), records)
    changed, onto = _differing(store, served.base, matrix, charts, days)
    blocks.between()
    theirs, of_theirs = matrix.take(changed), charts.take(changed)
    top = top_n(served.model, theirs, DEPTH + SPARE, of=THERAPIES, per_kind=PER_KIND)
    top, found = screened(screen, of_theirs, served.index, top)
    counted = {"columns": len(served.index), "suggestable": len(served.index.targets)}
    manifest = {
        **served.manifest,
        **provenance,
        "as_of": records.as_of.isoformat(),
        "counts": counts(records) | counted,
        "inputs": inputs_of(records, blocks),
        "update": {
            "base": served.base,
            "base_as_of": _base_as_of(served),
            "days": days,
            "changed": len(changed) - onto.new,
            "new": onto.new,
            "gone": len(onto.gone),
            "columns_unknown": unknown,
            "safety": found,
        },
    }
    release = Release(version, manifest, served.index, served.model, charts.known, served.support, served.given)
    return Update(Snapshot(release, theirs.patient_ids, top, theirs.rows, of_theirs), onto)


def _today(records: Records, served: Release, screen: Screen, blocks: Blocks) -> tuple[PatientMatrix, Charts, int]:
    """Everybody's rows over the columns of `served`, and charts over its concepts and those that it lacks behind them;
    and how many treatments, conditions and allergies are told that have no column there."""
    seen, rows, read = seen_by(records, blocks), Rows(blocks), ChartsRead(records, screen, blocks)
    unknown: set[tuple[str, str]] = set()
    for _, part in blocks.of(records):
        brought, lacking = rows_over(served.index, part, seen)
        rows.append(brought.rows)
        unknown |= lacking
        read.of(part)
    ids = records.patients["patient_id"].to_numpy(dtype=object)
    matrix = PatientMatrix(rows.whole(), served.index, ids)
    return matrix, _over(served.known, read.whole(), blocks), len(unknown)


def _charts(records: Records, known: Known, screen: Screen) -> Charts:
    """Today's charts over the concepts of `known`, and those that it lacks behind them."""
    return _over(known, read_charts(records, screen.observed), Blocks())


def _over(known: Known, charts: Charts, blocks: Blocks) -> Charts:
    """The charts, in the same place, over the concepts of `known` and behind them those that it lacks."""
    new = [concept for concept in charts.known.concepts if (concept.kind, concept.code) not in known.place]
    both = Known((*known.concepts, *new), charts.known.untold, known.local)
    at = np.array([both.place[concept.kind, concept.code] for concept in charts.known.concepts], dtype=np.int32)
    for first, end in blocks.spans(len(charts)):
        part = slice(charts.indptr[first], charts.indptr[end])
        concept = at[charts.concept[part]]
        row = np.repeat(np.arange(end - first), np.diff(charts.indptr[first : end + 1]))
        order = np.argsort(row * np.int64(max(len(both.concepts), 1)) + concept, kind="stable")
        charts.concept[part], charts.days[part], charts.value[part] = (
            concept[order], charts.days[part][order], charts.value[part][order]
        )  # fmt: skip
    return replace(charts, known=both)


def _differing(store: Store, base: str, matrix: PatientMatrix, charts: Charts, days: int) -> tuple[np.ndarray, Onto]:
    """Positions (n,) of the patients whose entry in `base` says something else, or who are not in it."""
    pseudonyms = store.pseudonyms(base)
    names = pseudonyms.names(encoded(matrix.patient_ids))
    place = {name.tobytes(): ix for ix, name in enumerate(names)}
    same, there = np.zeros(len(names), dtype=bool), np.zeros(len(names), dtype=bool)
    gone: list[bytes] = []
    rows = matrix.rows
    for chunk in store.packed(base):
        if not chunk:
            continue
        who = np.array([place.get(name, -1) for name, _, _ in chunk], dtype=np.int64)
        entries = Words.of([value for _, value, _ in chunk])
        held = np.frombuffer(b"".join(name for name, _, _ in chunk), dtype=np.uint8).reshape(len(chunk), -1)
        alike = says_the_same(
            entries.data, entries.ptr, held, who, FORMAT, seed(base), CRC_TABLE, WEIGHTS, rows.indptr, rows.indices,
            rows.data, charts.indptr, charts.concept, charts.days, charts.value, charts.age, charts.sex,
            charts.known.drug, days, WASHOUT_DAYS, OLDEST, WEIGHT_OFF, 1 / DAYS_PER_YEAR,
        )  # fmt: skip
        same[who[alike]] = True
        there[who[who >= 0]] = True
        gone.extend(name for (name, _, _), ix in zip(chunk, who.tolist(), strict=True) if ix < 0)
    return np.flatnonzero(~same), Onto(base, tuple(gone), int((~there).sum()))

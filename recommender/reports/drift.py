"""Two published versions and the log of feedback in; how inputs, scores and acceptance have moved out.

A distribution is compared by its population stability index, as the gate does it (`gate.stability`): up to 0.1 it is
steady, up to 0.25 worth watching, beyond that another one (Siddiqi 2006), and never another one for what chance gives
in so few patients. No number of fewer than 11 patients goes into an index, and indices are told to the hundredth: who
knows the larger numbers could try out which small ones give it. Shares and counts of patients are told by the rules at
the top of `cells.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from recommender.features import AGE_BANDS
from recommender.feedback import FeedbackEvent, publishable, summarise
from recommender.gate import MAX_INDEX, MIN_CELL, stability
from recommender.records import THERAPIES
from recommender.reports.cells import Cell, about, feedback_told
from recommender.reports.patient_page import plain
from recommender.snapshot import Entry, Release
from recommender.support import in_tens

WATCH = 0.1
BINS = 10
MOST_MOVED = 15
BLOCKS = {"treatments": "treatments", "conditions": "conditions", "allergies": "allergies"}
SIZES = (
    1,
    2,
    3,
    5,
    9,
    17,
)  # lower edges: how many a patient has; half of a file that is missing moves no shares of codes
MOST_NEW = 5
State = Literal["steady", "watch", "changed"]
MISSING = {
    "age": "no age",
    "sex": "no sex",
    "conditions": "no condition",
    "treatments": "no treatment",
    "allergies": "no allergy on record",
    "measured": "no measurement that rules look at",
}


@dataclass(frozen=True)
class Seen:
    """What was counted of one version. codes: block -> (code of a column -> patients); sizes: block, or "measurements"
    -> (place among SIZES -> patients who have so many); scores: of the first suggestion and the tenth of each patient
    who has so many."""

    patients: int
    codes: Mapping[str, Mapping[str, int]]
    ages: Mapping[str, int]
    sexes: Mapping[str, int]
    first: Mapping[str, int]
    missing: Mapping[str, int]
    best: np.ndarray
    tenth: np.ndarray
    sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Index:
    """One distribution, to the hundredth. limit: the index from which on it is another one."""

    name: str
    index: float
    limit: float
    state: State


@dataclass(frozen=True)
class Moved:
    """A share of patients in both versions, in words and as told."""

    words: str
    now: Cell
    before: Cell


@dataclass(frozen=True)
class Drift:
    """patients: to the ten. new_codes, gone_codes: block -> how many the one version knows and the other does not;
    with_new: patients who have the most frequent new one; new_named: the most frequent ones. feedback: of suggestions
    of each version, as `feedback_told` tells it."""

    version: str
    before: str
    patients: int
    indices: tuple[Index, ...]
    new_codes: Mapping[str, int]
    gone_codes: Mapping[str, int]
    with_new: Cell
    new_named: tuple[Moved, ...]
    missing: tuple[Moved, ...]
    prevalence: tuple[Moved, ...]
    feedback: Mapping[str, Mapping[str, Any]]

    @property
    def changed(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.indices if one.state == "changed")


def seen(
    release: Release, entries: Iterable[tuple[str, Entry]], progress: Callable[[int], None] = lambda _: None
) -> Seen:
    """Some microseconds a patient; memory grows by two numbers each."""
    index = release.index
    block_of = {ix: b.name for b in index.blocks if b.name in BLOCKS for ix in range(b.start, b.stop)}
    having = np.zeros(len(index), dtype=np.int64)
    therapy = np.zeros(len(index), dtype=bool)
    therapy[index.targets_of(THERAPIES)] = True
    observed = np.array([concept.kind == "observation" for concept in release.known.concepts], dtype=bool)
    ages, sexes, first, missing = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    sizes = {name: Counter[str]() for name in (*BLOCKS, "measurements")}
    best, tenth, patients = [], [], 0
    for _, entry in entries:
        patients += 1
        having[entry.row_columns] += 1
        age = entry.chart.age
        band = "unknown" if np.isnan(age) else str(int(np.searchsorted(AGE_BANDS, age, side="right")))
        ages[band] += 1
        sexes[entry.chart.sex] += 1
        listed = therapy[entry.columns]
        columns, scores = entry.columns[listed], entry.scores[listed]
        first[index.columns[columns[0]].code if len(columns) else "none"] += 1
        best += scores[:1].tolist()
        tenth += scores[9:10].tolist()
        blocks = Counter(block_of.get(ix, "") for ix in entry.row_columns.tolist())
        missing["age"] += band == "unknown"
        missing["sex"] += entry.chart.sex == "unknown"
        measured = int(observed[entry.chart.concept].sum())
        missing["measured"] += not measured
        sizes["measurements"][_size(measured)] += 1
        for name in BLOCKS:
            missing[name] += name not in blocks
            sizes[name][_size(blocks[name])] += 1
        progress(1)
    codes: dict[str, dict[str, int]] = {name: {} for name in BLOCKS}
    for ix, name in block_of.items():
        if having[ix]:
            codes[name][f"{index.columns[ix].kind} {index.columns[ix].code}"] = int(having[ix])
    first_scores, tenth_scores = (np.array(values, dtype=np.float64) for values in (best, tenth))
    return Seen(patients, codes, ages, sexes, first, missing, first_scores, tenth_scores, sizes)


def _size(count: int) -> str:
    return str(bisect_right(SIZES, count))


def drift_of(release: Release, now: Seen, earlier: Release, then: Seen, events: Sequence[FeedbackEvent] = ()) -> Drift:
    new = {name: _only(now.codes[name], then.codes[name]) for name in BLOCKS}
    gone = {name: _only(then.codes[name], now.codes[name]) for name in BLOCKS}
    newest = {code: about(now.codes[name][code], now.patients) for name in BLOCKS for code in new[name]}
    with_new = max((now.codes[name][code] for name in BLOCKS for code in new[name]), default=0)
    names, nobody = _names(release), about(0, then.patients)
    named = [Moved(names.get(code, code), cell, nobody) for code, cell in newest.items() if not cell.hidden]
    return Drift(
        version=release.version,
        before=earlier.version,
        patients=in_tens(now.patients),
        indices=tuple(_indices(now, then)),
        new_codes={name: len(found) for name, found in new.items()},
        gone_codes={name: len(found) for name, found in gone.items()},
        with_new=about(with_new, now.patients),
        new_named=tuple(sorted(named, key=lambda one: (-one.now.number, one.words))[:MOST_NEW]),
        missing=tuple(
            Moved(words, about(now.missing[name], now.patients), about(then.missing[name], then.patients))
            for name, words in MISSING.items()
        ),
        prevalence=tuple(_moved(release, now, then)),
        feedback={
            one.version: feedback_told(publishable(summarise([e for e in events if e.version == one.version])))
            for one in (release, earlier)
        },
    )


def _only(mine: Mapping[str, int], others: Mapping[str, int]) -> set[str]:
    return mine.keys() - others.keys()


def _indices(now: Seen, then: Seen) -> list[Index]:
    of_codes = {name: (folded(now.codes[name]), folded(then.codes[name])) for name in BLOCKS}
    of_codes["first suggestion"] = folded(now.first), folded(then.first)
    pairs = {**of_codes, "age": _both(now.ages, then.ages), "sex": _both(now.sexes, then.sexes)}
    for name in now.sizes.keys() & then.sizes.keys():
        pairs[f"{name} a patient"] = _both(now.sizes[name], then.sizes[name])
    for name, mine, theirs in (
        ("score of the first suggestion", now.best, then.best),
        ("score of the tenth suggestion", now.tenth, then.tenth),
    ):
        if len(mine) and len(theirs):
            pairs[name] = binned(mine, theirs)
    found = stability(*({name: {"": 0, **pair[side]} for name, pair in pairs.items()} for side in (0, 1)))
    blunt = {name: {part: round(value, 2) for part, value in one.items()} for name, one in found.items()}
    return [Index(name, one["index"], one["limit"], _state(one)) for name, one in blunt.items()]


def folded(counts: Mapping[str, int]) -> dict[str, int]:
    """What fewer than 11 patients have, together under "": one by one, rare codes come and go by chance."""
    told = {code: count for code, count in counts.items() if count >= MIN_CELL}
    others = sum(counts.values()) - sum(told.values())
    return {**told, "": others if others >= MIN_CELL else 0}


def _both(now: Mapping[str, int], then: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """With all categories of either side but those of 1 to 10 patients in one of the two."""
    few = {code for side in (now, then) for code, count in side.items() if 0 < count < MIN_CELL}
    codes = sorted({*now, *then} - few)
    mine, theirs = ({code: side.get(code, 0) for code in codes} for side in (now, then))
    return mine, theirs


def binned(now: np.ndarray, then: np.ndarray) -> tuple[dict[str, int], dict[str, int]]:
    """How many of each lie between the tenths of `then`."""
    edges = np.unique(np.quantile(then, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = [np.bincount(np.searchsorted(edges, side, side="right"), minlength=len(edges) + 1) for side in (now, then)]
    mine, theirs = ({str(place): int(count) for place, count in enumerate(side)} for side in counts)
    return mine, theirs


def _state(one: Mapping[str, float]) -> State:
    if one["index"] > one["limit"]:
        return "changed"
    # what chance alone may give is not worth watching either
    return "watch" if one["index"] > max(WATCH, one["limit"] - MAX_INDEX + WATCH) else "steady"


def _names(release: Release) -> dict[str, str]:
    return {f"{column.kind} {column.code}": plain(column) for column in release.index.columns}


def _moved(release: Release, now: Seen, then: Seen) -> list[Moved]:
    """Treatments and conditions whose share of patients moved most, of those told in both versions."""
    names, found = _names(release), []
    for block in ("treatments", "conditions"):
        for code in now.codes[block].keys() & then.codes[block].keys():
            cells = about(now.codes[block][code], now.patients), about(then.codes[block][code], then.patients)
            if not any(cell.hidden for cell in cells) and cells[0].percent != cells[1].percent:
                found.append(Moved(names.get(code, code), *cells))
    found.sort(key=lambda one: (-abs((one.now.share or 0.0) - (one.before.share or 0.0)), one.words))
    return found[:MOST_MOVED]

"""An answer and the patient's row in, what the page shows out: names, dates, shares that add up after rounding."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.answers import Answer
from api.dates import age_in_words as age_in_words
from api.dates import date_in_words as date_in_words
from api.present_safety import ANY, ItemSafety, item_safety
from api.words import Words
from recommender.matrix import Column
from recommender.offered import Item, ReasonPart, plain_name
from recommender.snapshot import Entry, Release

AGE_BAND = re.compile(r"age:(\d+)(?:-(\d+)|\+)")
SAID_REASONS = 4  # parts said in the sentence; the others are summed as "the rest"
MOST_PARTS = 12  # shown one by one of the whole sum; a long chart has a hundred
SHORT_ID = 8
EXPECTED_BLOCKS = ("allergies", "conditions")  # of a whole chart, beside the treatments


@dataclass(frozen=True)
class Share:
    """One part of a score in words: `units` is its share in whole hundredths or thousandths, as displayed."""

    text: str
    code: str
    units: int
    shown: str


@dataclass(frozen=True)
class Suggestion:
    """One row of the list. The shares shown in `because`, `against` and `rest` add up to the score shown."""

    rank: int
    name: str
    code: str
    group: str
    kind: str
    kind_code: str
    score: str
    chance: str  # how many in a hundred began it, "" where that was not measured
    bar: float | None  # percent: the chance or, on a list without any, the share of the highest score
    because: tuple[Share, ...]
    against: tuple[Share, ...]
    rest: Share | None
    n_parts: int
    parts: tuple[Share, ...]  # in thousandths; the smaller ones are one last line
    fine_score: str
    safety: ItemSafety
    said_chance: str  # the same in a sentence


@dataclass(frozen=True)
class Term:
    """An entry of the chart: its name, and its code for those who want it."""

    name: str
    code: str


@dataclass(frozen=True)
class Measured:
    """A measurement that safety rules look at, and how old it is. code: of the measure, such as "egfr"."""

    code: str
    name: str
    value: str
    days: int
    age: str
    fresh: bool  # whether it still counts


@dataclass(frozen=True)
class Chart:
    """What this version knew of the patient: the row that the suggestions were computed from, in words.

    `absent`: blocks that hold nothing for any patient, because the export does not tell; empty must not read as none.
    """

    sex: str
    age: str
    allergies: tuple[Term, ...]
    conditions: tuple[Term, ...]
    drugs: tuple[Term, ...]
    others: tuple[Term, ...]
    places: tuple[Term, ...]
    absent: frozenset[str]
    measured: tuple[Measured, ...]


def chart(release: Release, entry: Entry, answer: Answer, words: Words, measured: tuple[Measured, ...] = ()) -> Chart:
    """Name every entry of the row; within a block the heaviest (current, most repeated) come first.

    What is told as current therapy is not told again among the drugs.
    """
    taken = {drug.code for drug in answer.current_therapy}
    by_block: dict[str, list[Column]] = {}
    for column_ix, _ in sorted(zip(entry.row_columns.tolist(), entry.row_weights.tolist(), strict=True), key=_heaviest):
        by_block.setdefault(release.index.block_of(column_ix), []).append(release.index.columns[column_ix])
    people = {column.kind: column for column in by_block.get("demographics", [])}
    treatments = by_block.get("treatments", [])
    sex, age = people.get("sex"), people.get("age")
    return Chart(
        sex=words.or_else(sex.code.replace(":", "."), sex.name) if sex else words("patient.no_sex"),
        age=_age_band(age.code, age.name, words) if age else words("patient.no_age"),
        allergies=_terms(by_block.get("allergies", [])),
        conditions=_terms(by_block.get("conditions", [])),
        drugs=_terms([c for c in treatments if c.kind == "drug" and c.code not in taken]),
        others=_terms([c for c in treatments if c.kind in ("procedure", "care_plan")]),
        places=_terms([c for c in treatments if c.kind == "care_resource"]),
        absent=frozenset(EXPECTED_BLOCKS) - {b.name for b in release.index.blocks if b.start < b.stop},
        measured=measured,
    )


def suggestions(answer: Answer, words: Words) -> tuple[Suggestion, ...]:
    """The answer's items as the page shows them."""
    # bars of two sorts do not stand on one list: where some are shares of patients, the others have none
    measured = any(item.probability is not None for item in answer.items)
    highest = 0.0 if measured else max((item.score for item in answer.items), default=0.0)
    return tuple(_suggestion(item, highest, words) for item in answer.items)


def _suggestion(item: Item, highest: float, words: Words) -> Suggestion:
    said, others = item.reasons[:SAID_REASONS], item.reasons[SAID_REASONS:]
    values = [r.contribution for r in said] + [math.fsum(r.contribution for r in others)]
    *units, rest = adding_up(values, item.score, 100)
    shares = [_share(reason, u, 2, words) for reason, u in zip(said, units, strict=True)]
    return Suggestion(
        rank=item.rank,
        name=plain_name(item.name) or item.code,
        code=item.code,
        group=item.group,
        kind=words.or_else(f"kind.{item.kind}", item.kind),
        kind_code=item.kind,
        score=_decimal(round(item.score * 100), 2, sign=False),
        chance="" if item.probability is None else _percent(item.probability),
        bar=_bar(item, highest),
        because=tuple(s for s in shares if s.units > 0),
        against=tuple(s for s in shares if s.units < 0),
        rest=Share(words("reasons.rest"), "", rest, _decimal(rest, 2)) if rest else None,
        n_parts=len(item.reasons),
        parts=_parts(item.reasons, words, item.score),
        fine_score=_decimal(round(item.score * 1000), 3, sign=False),
        safety=item_safety(item, words),
        said_chance="" if item.probability is None else words("list.chance.said", share=_in_hundred(item.probability)),
    )


def _in_hundred(share: float) -> str:
    return f"{max(1, round(100 * share))}" if share >= 0.005 else "<1"


def _percent(share: float) -> str:
    percent = round(100 * share)
    return "<1%" if percent == 0 else ">99%" if percent == 100 else f"{percent}%"


def _bar(item: Item, highest: float) -> float | None:
    if item.probability is not None:
        return round(100 * item.probability, 1)
    if not highest:
        return None
    return round(100 * item.score / highest, 1) if highest > 0 and item.score > 0 else 0.0


def _parts(reasons: Sequence[ReasonPart], words: Words, score: float) -> tuple[Share, ...]:
    units = adding_up([r.contribution for r in reasons], score, 1000)
    parts = [_share(reason, u, 3, words) for reason, u in zip(reasons, units, strict=True) if u][:MOST_PARTS]
    if len(parts) < len(reasons):
        left = sum(units) - sum(part.units for part in parts)
        parts.append(Share(words.count("reasons.tiny", len(reasons) - len(parts)), "", left, _decimal(left, 3)))
    return tuple(parts)


def _share(reason: ReasonPart, units: int, digits: int, words: Words) -> Share:
    name = plain_name(reason.name) or reason.code
    if reason.block == "demographics":
        name = _age_band(reason.code, words.or_else(reason.code.replace(":", "."), name), words)
    if reason.kind == "condition_group":
        name = ANY.sub("", name)
    text = words.or_else(f"reason.{reason.kind}", words.or_else(f"reason.{reason.block}", "{name}")).format(name=name)
    return Share(text, reason.code, units, _decimal(units, digits))


def _age_band(code: str, name: str, words: Words) -> str:
    """ "age:60-69" -> age 60–69; what is no band of years keeps its name."""
    band = AGE_BAND.fullmatch(code)
    if band is None:
        return name
    low, high = band.groups()
    return words("age.band", low=low, high=high) if high else words("age.over", low=low)


def adding_up(values: Sequence[float], total: float, per_unit: int) -> list[int]:
    """Round every value to whole units (1 / per_unit each) so that they add up to the rounded total.

    Largest remainders (Hamilton): each is rounded down, and the units then missing go to those that lost most, so
    none is off by a whole unit. `values` add up to `total` but for float rounding.
    """
    down = [math.floor(value * per_unit) for value in values]
    missing = round(total * per_unit) - sum(down)
    by_loss = sorted(range(len(values)), key=lambda i: down[i] - values[i] * per_unit)
    for i in by_loss[: max(0, missing)]:
        down[i] += 1
    for i in by_loss[len(by_loss) + min(0, missing) :]:  # the total was a hair below the sum
        down[i] -= 1
    return down


def _decimal(units: int, digits: int, *, sign: bool = True) -> str:
    """31 with 2 digits -> "+.31"; the minus is a real one, so that it lines up and is read out."""
    whole, part = divmod(abs(units), 10**digits)
    mark = "−" if units < 0 else "+" if sign else ""
    return f"{mark}{whole or ''}.{part:0{digits}d}"


def short_id(patient_id: str) -> str:
    return patient_id if len(patient_id) <= SHORT_ID + 4 else f"{patient_id[:SHORT_ID]}…"


def quality_in_words(manifest: Mapping[str, Any], words: Words) -> str:
    """The held-out figures as one sentence; says so when there are none."""
    quality = manifest.get("quality")
    if not isinstance(quality, Mapping) or not {"metric", "value"} <= quality.keys():
        return words("model.no_quality")
    shown = {key: _figure(value) for key, value in quality.items()}
    whole = {"low", "high", "patients"} <= quality.keys()
    sentence = words("model.quality" if whole else "model.quality.bare", **shown)
    return sentence + (words("model.baseline", **shown) if "baseline" in quality else "") + "."


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _heaviest(entry: tuple[int, float]) -> tuple[float, int]:
    return -entry[1], entry[0]


def _terms(columns: Sequence[Column]) -> tuple[Term, ...]:
    return tuple(Term(plain_name(column.name) or column.code, column.code) for column in columns)

"""In: the CSV tables beside this file; out: `Tables`, one frozen value with every rule the simulation follows.

A clinician edits the tables, never the code. Whatever names an unknown condition, drug, class or measurement is refused
here, so that a typing error cannot silently disarm a rule.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from data.synthetic.terms import NEW, Terms

HERE = Path(__file__).parent
KNOTS = np.array([10, 26, 42, 57, 72, 87], dtype=float)  # ages at which conditions.csv states a rate
Row = dict[str, str]


@dataclass(frozen=True)
class Condition:
    key: str
    code: str
    description: str
    course: str  # chronic | episode | stage
    rate: np.ndarray  # (6,) share of people (chronic) or episodes a year (episode) at KNOTS
    sex: tuple[float, float]  # multiplier for women, men
    days: float
    death: float
    risk: dict[str, float]
    needs: str
    ages: tuple[float, float]
    setting: str
    control: str
    season: str
    since: float
    department: tuple[str, str] | None  # code and description


@dataclass(frozen=True)
class Choice:
    """Weighted products a prescriber picks from."""

    products: np.ndarray  # (k,) int32, indices into Tables.products
    weights: np.ndarray  # (k,) float64


@dataclass(frozen=True)
class Line:
    """One decision: of the people with `condition`, `share` start one of `choice`."""

    condition: str
    line: str
    new: bool  # only for what began after the first visit
    when: tuple[str, ...]
    share: float
    delay: float
    days: float  # 0 = for good
    ages: tuple[float, float]
    choice: Choice


@dataclass(frozen=True)
class Avoid:
    when: tuple[str, ...]
    factor: float
    stop: bool


@dataclass(frozen=True)
class Switch:
    share: float
    days: float
    choice: Choice | None


@dataclass(frozen=True)
class Procedure:
    key: str
    kind: str
    setting: str
    condition: str
    new: bool  # only for what began after the first visit
    when: tuple[str, ...]
    ages: tuple[float, float]
    share: float
    delay: float
    every: float
    days: float  # nan = open-ended
    cost: float
    season: str
    group: str


@dataclass(frozen=True)
class Analyte:
    key: str
    base: float
    slope: float
    male: float
    spread: float
    noise: float
    low: float
    high: float
    decimals: int
    derived: str
    ages: tuple[float, float]
    conditions: dict[str, float]
    drugs: dict[str, float]
    measured: dict[str, float]


@dataclass(frozen=True)
class Tables:
    conditions: dict[str, Condition]
    drugs: list[Row]
    products: list[str]
    product_class: list[str]
    product_cost: np.ndarray  # (n_products,) dollars a month
    raised: np.ndarray  # (n_products,) bool, begun low and raised later
    once: np.ndarray  # (n_products,) bool, one order lasts the whole course
    strength_first: np.ndarray  # (n_products, 2 age groups) int32, first drug row of the product
    strength_cum: np.ndarray  # (n_products, 2, 5) cumulative shares of the strengths
    strength_count: np.ndarray  # (n_products, 2) int32
    lines: list[Line]
    avoid: dict[str, list[Avoid]]  # by product
    switches: dict[str, Switch]  # by class
    procedures: list[Procedure]
    procedure_rows: list[Row]
    allergies: list[Row]
    analytes: dict[str, Analyte]
    observation_rows: list[Row]
    groups: list[Row]


def read(name: str) -> list[Row]:
    """Rows of one table; lines that begin with # are its notes."""
    with (HERE / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def _ages(text: str) -> tuple[float, float]:
    low, _, high = text.partition("-")
    return (float(low or 0), float(high or 200))


def _pairs(text: str) -> dict[str, float]:
    return {key: float(value) for key, value in (item.rsplit(":", 1) for item in text.split())}


def _condition(row: Row, departments: dict[str, tuple[str, str]]) -> Condition:
    rate = np.array([float(row[f"p{int(a)}"] or 0) / 100 for a in KNOTS])
    ratio = float(row["male"] or 1)
    # Women and men average to the stated rate; a ratio of 0 or inf leaves the other sex with the whole of it.
    sex = (1.0, 0.0) if ratio == 0 else (0.0, 1.0) if math.isinf(ratio) else (2 / (1 + ratio), 2 * ratio / (1 + ratio))
    risks = row["risk"].split()
    return Condition(
        key=row["key"],
        code=row["code"],
        description=row["description"],
        course=row["course"],
        rate=rate,
        sex=sex,
        days=float(row["days"] or (0 if row["course"] == "chronic" else 10)),
        death=float(row["death"] or 1),
        risk=_pairs(" ".join(r for r in risks if not r.startswith("needs:"))),
        needs=next((r[6:] for r in risks if r.startswith("needs:")), ""),
        ages=_ages(row["ages"]),
        setting=row["setting"] or "ambulatory",
        control=row["control"],
        season=row["season"],
        since=float(row["since"] or 0),
        department=departments[row["department"]] if row["department"] else None,
    )


@cache
def load() -> Tables:
    """Every table, checked. Raises ValueError or KeyError that names what is unknown."""
    drugs, procedure_rows = read("drugs"), read("procedures")
    products = list(dict.fromkeys(row["product"] for row in drugs))
    index = {product: i for i, product in enumerate(products)}
    departments = {row["key"]: (row["code"], row["description"]) for row in read("departments")}
    conditions = {row["key"]: _condition(row, departments) for row in read("conditions")}
    observations, allergies = read("observations"), read("allergies")
    terms = Terms(
        conditions=set(conditions),
        analytes={row["key"] for row in observations},
        drugs={row["product"] for row in drugs} | {row["class"] for row in drugs},
        allergies={row["group"] for row in allergies},
    )

    def choice(text: str) -> Choice:
        pairs = _pairs(text)
        return Choice(np.array([index[p] for p in pairs], dtype=np.int32), np.array(list(pairs.values())))

    def condition(key: str) -> str:
        if key != "anyone" and key not in conditions:
            raise ValueError(f"data/synthetic: unknown condition {key!r}")
        return key

    first = np.zeros((len(products), 2), dtype=np.int32)
    count = np.zeros((len(products), 2), dtype=np.int32)
    cumulative = np.ones((len(products), 2, 5))
    for product, i in index.items():
        for group, age in enumerate(("child", "adult")):
            own = [j for j, row in enumerate(drugs) if row["product"] == product]
            fit = [j for j in own if drugs[j]["ages"] in ("", age)] or own
            shares = np.cumsum([float(drugs[j]["share"]) for j in fit])
            first[i, group], count[i, group] = fit[0], len(fit)
            cumulative[i, group, : len(fit)] = shares / shares[-1]
    of_product = {row["product"]: row for row in drugs}
    classes = [of_product[p]["class"] for p in products]
    avoid: dict[str, list[Avoid]] = {product: [] for product in products}
    for row in read("contraindications"):
        hit = [p for p, c in zip(products, classes, strict=True) if row["target"] in (p, c)]
        if not hit:
            raise ValueError(f"data/synthetic: contraindications.csv names no drug {row['target']!r}")
        for product in hit:
            avoid[product].append(Avoid(terms(row["when"]), float(row["factor"]), row["stop"] == "yes"))
    return Tables(
        conditions=conditions,
        drugs=drugs,
        products=products,
        product_class=classes,
        product_cost=np.array([float(of_product[p]["monthly_cost"]) for p in products]),
        raised=np.array([of_product[p]["dosing"] == "raised" for p in products]),
        once=np.array([of_product[p]["dosing"] == "once" for p in products]),
        strength_first=first,
        strength_cum=cumulative,
        strength_count=count,
        lines=[
            Line(
                condition=condition(row["condition"]),
                line=row["line"],
                new=NEW in row["when"].split(),
                when=terms(row["when"]),
                share=float(row["percent"]) / 100,
                delay=float(row["delay"] or 0),
                days=float(row["days"] or 0),
                ages=_ages(row["ages"]),
                choice=choice(row["choices"]),
            )
            for row in read("lines")
        ],
        avoid=avoid,
        switches={
            row["class"]: Switch(
                float(row["percent"]) / 100, float(row["days"]), choice(row["to"]) if row["to"] else None
            )
            for row in read("switches")
        },
        procedures=[
            Procedure(
                key=row["key"],
                kind=row["kind"],
                setting=row["setting"],
                condition=condition(row["condition"]),
                new=NEW in row["when"].split(),
                when=terms(row["when"]),
                ages=_ages(row["ages"]),
                share=float(row["percent"]) / 100,
                delay=float(row["delay"]),
                every=float(row["every"] or 0),
                days=float(row["days"] or "nan"),
                cost=float(row["cost"]),
                season=row["season"],
                group=row["group"],
            )
            for row in procedure_rows
        ],
        procedure_rows=procedure_rows,
        allergies=allergies,
        analytes={
            row["key"]: Analyte(
                key=row["key"],
                base=float(row["base"]),
                slope=float(row["slope"]),
                male=float(row["male"]),
                spread=float(row["spread"]),
                noise=float(row["noise"]),
                low=float(row["low"]),
                high=float(row["high"]),
                decimals=int(row["decimals"]),
                derived=row["derived"],
                ages=_ages(row["ages"]),
                conditions=_pairs(row["conditions"]),
                drugs=_pairs(row["drugs"]),
                measured=_pairs(row["measured"]),
            )
            for row in observations
        },
        observation_rows=observations,
        groups=read("groups"),
    )

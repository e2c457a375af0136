"""In: a `Block` and its patients' ids; out: patients.csv as an Arrow table, of people who plainly do not exist."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa

from data.synthetic import tables, text
from data.synthetic.block import Block

MARITAL = ("S", "M", "D", "W")


@cache
def _words() -> dict[str, list[tables.Row]]:
    found: dict[str, list[tables.Row]] = {}
    for row in tables.read("names"):
        words = [row] if row["kind"] == "city" else [row | {"value": word} for word in row["value"].split()]
        found.setdefault(row["kind"], []).extend(words)
    return found


def register(block: Block, ids: pa.StringArray, covered: np.ndarray, rng: np.random.Generator) -> pa.Table:
    """One row a patient, in Synthea's column order. `covered`: share of costs paid, by row of groups.csv."""
    p, illness, words, groups = block.chart.people, block.chart.illness, _words(), block.chart.tables.groups
    n = p.n
    age = (illness.exit - p.birth) / 365.25
    number = rng.integers(1, 999, (2, n)).astype(str)
    given = {sex: [row["value"] for row in words[sex]] for sex in ("female", "male")}
    both = given["female"] + given["male"]
    low = np.where(p.male, len(given["female"]), 0)
    high = np.where(p.male, len(both), len(given["female"]))
    first = text.join(text.pick(both, rng.integers(low, high)), pa.array(number[0]))
    family = [row["value"] for row in words["last"]]
    last = text.join(text.pick(family, rng.integers(0, len(family), n)), pa.array(number[1]))
    adult = age >= 20
    wed = np.where(adult, (rng.random(n)[:, None] > np.array([0.34, 0.8, 0.94])).sum(1), -1)
    wed = np.where((wed == 3) & (age < 55), 1, wed)
    prefix = np.where(age < 16, -1, np.where(p.male, 0, np.where((wed == 1) | (wed == 3), 1, 2)))
    towns = words["city"]
    street = text.join(
        pa.array(rng.integers(1, 999, n).astype(str)),
        " ",
        text.pick([row["value"] for row in words["street"]], rng.integers(0, len(words["street"]), n)),
        " ",
        text.pick([row["value"] for row in words["suffix"]], rng.integers(0, len(words["suffix"]), n)),
    )
    group = {name: text.pick([row["value"] for row in groups], which) for name, which in p.groups.items()}
    ssn = rng.integers(10, 99, n), rng.integers(1000, 9999, n)
    spent = np.round(np.exp(rng.normal(8.6, 0.9, n)) * (1 + age / 25), 2)
    share = covered[p.groups["payer"]]
    place = {key: text.pick([row[key] for row in towns], p.site) for key in ("value", "county", "fips", "zip")}
    near = {
        key: np.array([float(row[key]) for row in towns])[p.site] + rng.normal(0, 0.03, n) for key in ("lat", "lon")
    }
    return pa.table(
        {
            "Id": ids,
            "BIRTHDATE": text.dates(p.birth),
            "DEATHDATE": text.dates(illness.exit, illness.died),
            "SSN": text.join("999-", pa.array(ssn[0].astype(str)), "-", pa.array(ssn[1].astype(str))),
            "DRIVERS": text.nothing(n),
            "PASSPORT": text.nothing(n),
            "PREFIX": text.pick(["Mr.", "Mrs.", "Ms."], prefix),
            "FIRST": first,
            "LAST": last,
            "SUFFIX": text.nothing(n),
            "MAIDEN": text.nothing(n),
            "MARITAL": text.pick(list(MARITAL), wed),
            "RACE": group["race"],
            "ETHNICITY": group["ethnicity"],
            "GENDER": text.pick(["F", "M"], p.male.astype(int)),
            "BIRTHPLACE": text.join(place["value"], "  Massachusetts  US"),
            "ADDRESS": street,
            "CITY": place["value"],
            "STATE": text.pick(["Massachusetts"], np.zeros(n, int)),
            "COUNTY": place["county"],
            "FIPS": place["fips"],
            "ZIP": place["zip"],
            "LAT": np.round(near["lat"], 6),
            "LON": np.round(near["lon"], 6),
            "HEALTHCARE_EXPENSES": spent,
            "HEALTHCARE_COVERAGE": np.round(spent * share, 2),
            "INCOME": p.income,
        }
    )

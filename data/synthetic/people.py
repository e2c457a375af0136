"""In: a block's size and random generator; out: `People`, who the patients are before anything happens to them.

Columns are arrays over the block's patients. Days are int32 days since 1970-01-01.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from data.synthetic.tables import Row, Tables
from data.synthetic.visits import workday

END = int(np.datetime64("2026-11-01").astype(int))  # nothing happens on or after this day
OPENED = int(np.datetime64("2014-01-01").astype(int))  # the hospital's records begin here
NEVER = 2**30
SITES, PRESCRIBERS = 12, 72
NOBODY_TREATED = 0.009  # registered, seen, never treated: the cold start
# Hospital patients are older than the population: share of patients by age at the end of the data (or at death).
AGE_EDGES = np.array([0, 5, 12, 18, 30, 40, 50, 60, 70, 80, 90, 102], dtype=float)
AGE_SHARE = np.array([4.5, 5.5, 5, 12.5, 12.5, 13, 15, 15.5, 10.5, 5, 1])


@dataclass(frozen=True)
class People:
    n: int
    birth: np.ndarray  # (n,) int32 day
    male: np.ndarray  # (n,) bool
    entry: np.ndarray  # (n,) int32, first visit
    age_end: np.ndarray  # (n,) float64, at the end of the data if alive
    groups: dict[str, np.ndarray]  # attribute -> (n,) int32 row of groups.csv
    access: np.ndarray  # (n,) float64, relative chance of getting an indicated treatment
    costly: np.ndarray  # (n,) float64, the same for expensive drugs
    engaged: np.ndarray  # (n,) float64, how much the patient takes up
    frailty: np.ndarray  # (n,) float64, standard normal
    untreated: np.ndarray  # (n,) bool
    site: np.ndarray  # (n,) int32
    prescriber: np.ndarray  # (n,) int32
    income: np.ndarray  # (n,) int32 dollars a year


@dataclass(frozen=True)
class Practice:
    """Habits that differ between sites and prescribers, the same for every block of one seed."""

    site_share: np.ndarray  # (SITES,) float64
    habit: np.ndarray  # (PRESCRIBERS, n_products) float64, multiplies a product's weight


@cache
def practice(seed: int, n_products: int) -> Practice:
    rng = np.random.default_rng(np.random.SeedSequence((seed, 2**32 - 1)))
    share = 1 / np.arange(1, SITES + 1) ** 0.8
    site_habit = rng.normal(0, 0.45, (SITES, n_products))
    own_habit = rng.normal(0, 0.35, (PRESCRIBERS, n_products))
    habit = np.exp(site_habit[np.arange(PRESCRIBERS) % SITES] + own_habit)
    return Practice(share / share.sum(), habit)


def _pick(rng: np.random.Generator, rows: list[Row], start: int, age: np.ndarray) -> np.ndarray:
    """One row index for each person, by share, among those the person's age allows. -> (n,) int32"""
    allowed = np.empty((len(age), len(rows)))
    for j, row in enumerate(rows):
        low, _, high = row["ages"].partition("-")
        allowed[:, j] = float(row["share"]) * ((age >= float(low or 0)) & (age < float(high or 200) + 1))
    cumulative = allowed.cumsum(1)
    chosen = (rng.random(len(age))[:, None] * cumulative[:, -1:] > cumulative).sum(1)
    return (chosen + start).astype(np.int32)


def draw(rng: np.random.Generator, n: int, tables: Tables, seed: int) -> People:
    band = rng.choice(len(AGE_SHARE), n, p=AGE_SHARE / AGE_SHARE.sum())
    age = AGE_EDGES[band] + rng.random(n) * (AGE_EDGES[band + 1] - AGE_EDGES[band])
    birth = (END - 1 - age * 365.25).astype(np.int32)
    male = rng.random(n) < np.interp(age, [0, 18, 35, 60, 75, 90], [0.51, 0.47, 0.43, 0.47, 0.45, 0.34])
    # Most patients came in the last years; nobody before birth.
    since = np.clip(rng.gamma(2.2, 2.25, n) + 0.4, 0.4, 12.5)
    entry = np.maximum(END - (since * 365.25).astype(np.int32), np.maximum(birth + rng.integers(1, 20, n), OPENED))
    groups: dict[str, np.ndarray] = {}
    access, costly = np.ones(n), np.ones(n)
    start = 0
    for attribute in dict.fromkeys(row["attribute"] for row in tables.groups):
        rows = [row for row in tables.groups if row["attribute"] == attribute]
        groups[attribute] = _pick(rng, rows, start, age)
        start += len(rows)
        access *= np.array([float(row["access"]) for row in tables.groups])[groups[attribute]]
        costly *= np.array([float(row["costly"]) for row in tables.groups])[groups[attribute]]
    habits = practice(seed, len(tables.products))
    site = rng.choice(SITES, n, p=habits.site_share).astype(np.int32)
    income = np.exp(rng.normal(10.9, 0.65, n)) * np.where(access < 0.96, 0.7, 1.0)
    return People(
        n=n,
        birth=birth,
        male=male,
        entry=workday(np.minimum(entry, END - 5)),
        age_end=age,
        groups=groups,
        access=access,
        costly=costly,
        engaged=np.clip(rng.normal(0.95, 0.16, n), 0.3, 1.15),
        frailty=rng.normal(size=n),
        untreated=rng.random(n) < NOBODY_TREATED,
        site=site,
        prescriber=(site + SITES * rng.integers(0, PRESCRIBERS // SITES, n)).astype(np.int32),
        income=income.astype(np.int32),
    )

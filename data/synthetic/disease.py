"""In: `People` and the condition table; out: `Illness`, who has what since when, how the kidneys do, and who died.

Causes come before effects in conditions.csv, so one pass suffices. A stated rate is the average over people of that
age: risk factors move it from those without to those with them, by renormalising within age bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.synthetic.people import END, NEVER, People
from data.synthetic.tables import KNOTS, Condition, Tables

PREGNANCY = 280  # days; the one episode whose length hardly varies
GRID = np.arange(0, 111, dtype=float)  # ages
BANDS = np.array([18, 34, 50, 65, 80], dtype=float)
NOT_RECORDED = 0.04  # a chronic condition that is treated but never coded
SICKER = ([30, 55], [1.0, 1.3])  # by age, how much more chronic disease hospital patients have than the population
KIDNEY_AT_DIAGNOSIS = 57.0  # mL/min/1.73 m2, where stage 3 is first coded


@dataclass(frozen=True)
class Episodes:
    patient: np.ndarray  # (m,) int32
    start: np.ndarray  # (m,) int32 day
    stop: np.ndarray  # (m,) int32 day


@dataclass(frozen=True)
class Illness:
    onset: dict[str, np.ndarray]  # (n,) int32 day of onset, of the first episode for episodes, NEVER without
    episodes: dict[str, Episodes]
    recorded: dict[str, np.ndarray]  # (n,) bool, whether the chronic condition is ever coded
    egfr_base: np.ndarray  # (n,) float64, at age 40 without kidney disease
    egfr_loss: np.ndarray  # (n,) float64 a year, once kidney disease began
    exit: np.ndarray  # (n,) int32, day of death or END
    died: np.ndarray  # (n,) bool


def _curve(condition: Condition) -> np.ndarray:
    """The condition's rate at each age of GRID. -> (111,) float64"""
    curve = np.interp(GRID, np.r_[0, KNOTS, 100], np.r_[condition.rate[0] * 0.5, condition.rate, condition.rate[-1]])
    low, high = condition.ages
    allowed = (low <= GRID) & ((high >= GRID) | (condition.course != "episode"))
    return np.where(allowed, curve, 0.0)


def _multiplier(condition: Condition, people: People, onset: dict[str, np.ndarray], age: np.ndarray) -> np.ndarray:
    """How much likelier than the average of the age band each person is. -> (n,) float64"""
    risk = np.exp(0.15 * people.frailty)
    for cause, factor in condition.risk.items():
        risk = risk * np.where(onset[cause] < END, factor, 1.0)
    if condition.needs:
        risk = risk * (onset[condition.needs] < END)
    band = np.searchsorted(BANDS, age)
    size = np.bincount(band, minlength=len(BANDS) + 1)
    mean = np.bincount(band, risk, minlength=len(BANDS) + 1) / np.maximum(size, 1)
    return risk / np.maximum(mean, 0.02)[band] * np.where(people.male, condition.sex[1], condition.sex[0])


def egfr(base: np.ndarray, loss: np.ndarray, since: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Glomerular filtration rate `since` years after stage 3 began (negative: before). All (m,) -> (m,) float64

    A healthy kidney loses about 0.8 mL/min a year from 40 on;
    a diseased one passes 57 at diagnosis and loses at its own rate.
    """
    healthy = np.maximum(base - 0.8 * np.maximum(age - 40, 0), 62.0)
    before = np.minimum(healthy, KIDNEY_AT_DIAGNOSIS - 2.0 * since)
    sick = np.where(since < 0, before, KIDNEY_AT_DIAGNOSIS - loss * since)
    return np.where(since > -200, np.maximum(sick, 6.0), healthy)


def draw(rng: np.random.Generator, people: People, tables: Tables) -> Illness:
    n = people.n
    onset: dict[str, np.ndarray] = {}
    recorded: dict[str, np.ndarray] = {}
    episodes: dict[str, Episodes] = {}
    base = np.clip(rng.normal(100, 11, n), 76, 128)
    loss = np.exp(rng.normal(-0.4, 0.75, n))
    years = (END - people.entry) / 365.25
    for key, condition in tables.conditions.items():
        curve = _curve(condition)
        if condition.course == "chronic":
            at = np.interp(people.age_end, GRID, curve) * np.interp(people.age_end, *SICKER)
            chance = np.minimum(at * _multiplier(condition, people, onset, people.age_end), 0.97)
            # The age of onset follows from how prevalence grows with age up to the person's own.
            grown = np.maximum.accumulate(curve) + 1e-9 * GRID
            own = np.interp(people.age_end, GRID, grown)
            age = np.interp(rng.random(n) * own, grown, GRID) + rng.random(n)
            grew = np.minimum(age, people.age_end) * 365.25
            day = (people.birth + np.maximum(grew, 30)).astype(np.int32)
            if condition.needs:
                wait = rng.exponential(900, n).astype(np.int32)
                day = np.maximum(day, np.minimum(onset[condition.needs], END) + wait)
            onset[key] = np.where((rng.random(n) < chance) & (day < END - 1), day, NEVER).astype(np.int32)
            recorded[key] = rng.random(n) >= NOT_RECORDED
            if key == "ckd3":
                loss *= np.where(onset["t2dm"] < END, 1.6, 1.0)
        elif condition.course == "stage":
            reached = (KIDNEY_AT_DIAGNOSIS - condition.days) / np.maximum(loss, 1e-3) * 365.25
            day = np.minimum(onset["ckd3"] + np.minimum(reached, 60000), NEVER)
            onset[key] = np.where(day < END - 1, day, NEVER).astype(np.int32)
            recorded[key] = recorded["ckd3"]
        else:
            middle = np.maximum(people.age_end - years / 2, 0)
            rate = np.interp(middle, GRID, curve) * _multiplier(condition, people, onset, middle)
            count = np.minimum(rng.poisson(np.minimum(rate, 1.5) * years), 12)
            patient = np.repeat(np.arange(n, dtype=np.int32), count)
            start = (people.entry[patient] + rng.random(len(patient)) * years[patient] * 365.25).astype(np.int32)
            if condition.season == "winter":
                start = _wintry(rng, start, people.entry[patient])
            age = (start - people.birth[patient]) / 365.25
            keep = (age >= condition.ages[0]) & (age < condition.ages[1])
            keep &= start >= (condition.since - 1970) * 365.2425
            if condition.needs:
                keep &= start > onset[condition.needs][patient]
            episodes[key] = _space(patient[keep], start[keep], rng, condition.days)
            first = np.full(n, NEVER, dtype=np.int32)
            np.minimum.at(first, episodes[key].patient, episodes[key].start)
            onset[key] = first
    # Nobody is prediabetic once diabetic.
    onset["prediabetes"][onset["prediabetes"] >= onset["t2dm"]] = NEVER
    exit_, died = _deaths(rng, people, tables, onset)
    return Illness(onset, episodes, recorded, base, loss, exit_, died)


def _wintry(rng: np.random.Generator, start: np.ndarray, entry: np.ndarray) -> np.ndarray:
    """Moves two episodes of three to within weeks of the nearest 20 January. -> (m,) int32"""
    january = 19.0
    middle = january + np.round((start - january) / 365.2425) * 365.2425
    moved = middle + rng.normal(0, 38, len(start))
    moves = (rng.random(len(start)) < 0.67) & (moved >= entry) & (moved < END - 1)
    return np.where(moves, moved, start).astype(np.int32)


def _space(patient: np.ndarray, start: np.ndarray, rng: np.random.Generator, days: float) -> Episodes:
    """Orders episodes and drops one that begins before the last has ended (nobody is pregnant twice at once)."""
    order = np.lexsort((start, patient))
    patient, start = patient[order], start[order]
    gap = int(days * 1.6) + 14
    close = np.zeros(len(start), dtype=bool)
    close[1:] = (patient[1:] == patient[:-1]) & (start[1:] < start[:-1] + gap)
    patient, start = patient[~close], start[~close]
    low, high = (0.95, 1.02) if days == PREGNANCY else (0.6, 1.5)
    length = np.maximum(days * rng.uniform(low, high, len(start)), 1)
    return Episodes(patient, start, (start + length).astype(np.int32))


def _deaths(
    rng: np.random.Generator, people: People, tables: Tables, onset: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Day of death or END, and who died: Gompertz in age times what the person has. -> (n,) int32, (n,) bool"""
    ratio = np.exp(0.3 * people.frailty) * np.where(people.male, 1.25, 0.9)
    worst = np.full(people.n, people.entry)
    for key, condition in tables.conditions.items():
        if condition.death > 1 and condition.course != "episode":
            has = onset[key] < END
            ratio = ratio * np.where(has, condition.death**0.8, 1.0)
            worst = np.where(has & (condition.death > 1.8), np.maximum(worst, np.minimum(onset[key], END)), worst)
    ratio = np.minimum(ratio, 40)
    start_age = (worst - people.birth) / 365.25
    # Inverse of the Gompertz survival from start_age on: hazard a*exp(b*age) a year.
    a, b = 1.9e-5, 0.092
    draw = rng.exponential(1, people.n) / (a * ratio * np.exp(b * start_age)) * b
    years = np.log1p(draw) / b
    day = worst + np.maximum(years * 365.25, 30)
    died = day < END - 3
    return np.where(died, day, END).astype(np.int32), died

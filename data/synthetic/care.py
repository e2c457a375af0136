"""In: a `Chart`, visit days, the procedure rules; out: `Care`, procedures done, care plans opened, and `Allergies`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.synthetic.chart import Chart
from data.synthetic.people import END, NEVER
from data.synthetic.tables import Procedure
from data.synthetic.visits import Visits, workday

PLANNED = ("wellness", "ambulatory")  # settings that happen on a visit day


@dataclass(frozen=True)
class Care:
    patient: np.ndarray  # (m,) int32
    start: np.ndarray  # (m,) int32 day
    stop: np.ndarray  # (m,) int32 day, NEVER when still open
    rule: np.ndarray  # (m,) int32 row of procedures.csv


@dataclass(frozen=True)
class Allergies:
    patient: np.ndarray  # (m,) int32
    start: np.ndarray  # (m,) int32 day
    row: np.ndarray  # (m,) int32 row of allergies.csv


def allergies(chart: Chart, rng: np.random.Generator) -> Allergies:
    """Draws allergies and tells the chart of them; found at any age from 1 on."""
    people = chart.people
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for i, row in enumerate(chart.tables.allergies):
        ratio = float(row["female"])
        sex = np.where(people.male, 2 / (1 + ratio), 2 * ratio / (1 + ratio))
        # Labels gather over a life: half of the stated rate in children.
        gathered = [0, 0.4, 0.8, 1.25] if row["category"] == "medication" else [1, 1, 1, 1]
        grown = np.interp(people.age_end, [0, 1, 20, 60], gathered)
        has = rng.random(people.n) < float(row["percent"]) / 100 * sex * grown
        seen = chart.allergic.setdefault(row["group"], np.zeros(people.n, dtype=bool))
        seen |= has
        who = np.flatnonzero(has).astype(np.int32)
        # Known from the start: what is on the list at the first visit is what prescribers see.
        parts.append((who, people.entry[who], np.full(len(who), i, dtype=np.int32)))
    return Allergies(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def procedures(chart: Chart, visits: Visits, rng: np.random.Generator) -> Care:
    parts: list[tuple[np.ndarray, ...]] = []
    shared: dict[str, tuple[np.ndarray, float]] = {}
    for i, rule in enumerate(chart.tables.procedures):
        patient, first = _indicated(chart, visits, rule, rng, shared)
        if not len(patient):
            continue
        start = first
        if rule.every:
            left = chart.illness.exit[patient] - first
            count = np.clip(left / rule.every, 0, 60).astype(np.int32) + 1
            number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            patient, first = np.repeat(patient, count), np.repeat(first, count)
            start = (first + number * rule.every * rng.uniform(0.93, 1.12, len(first))).astype(np.int32)
            # Half of the planned repeats are kept: the reminder works once.
            keep = (number == 0) | (rng.random(len(start)) < (0.85 if rule.every < 100 else 0.5))
            patient, start = patient[keep], start[keep]
            if rule.setting in PLANNED:
                start = visits.snap(patient, start)
        if rule.season == "autumn":
            start = _autumn(start, rng)
        length = np.zeros(len(patient)) if rule.kind == "procedure" else np.full(len(patient), rule.days)
        stop = np.where(np.isnan(length), NEVER, start + np.nan_to_num(length) * rng.uniform(0.8, 1.3, len(patient)))
        keep = start < chart.illness.exit[patient]
        age = chart.age(patient, start)
        keep &= (age >= rule.ages[0]) & (age < rule.ages[1] + 1)
        keep[1:] &= (start[1:] > start[:-1]) | (patient[1:] != patient[:-1])  # two repeats on one visit are one
        parts.append((patient[keep], start[keep], stop[keep].astype(np.int32), np.full(keep.sum(), i, dtype=np.int32)))
    return Care(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _autumn(day: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moves days of January to August into the September to December of their year. -> (m,) int32"""
    year = day.astype("datetime64[D]").astype("datetime64[Y]").astype("datetime64[D]").astype(int)
    early = day - year < 243
    return workday(np.where(early, year + 243 + rng.integers(0, 115, len(day)), day))


def _indicated(
    chart: Chart, visits: Visits, rule: Procedure, rng: np.random.Generator, shared: dict[str, tuple[np.ndarray, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Who gets it, and on which day first. -> (m,) int32, (m,) int32"""
    people = chart.people
    spells = chart.illness.episodes.get(rule.condition)
    if spells is not None:
        patient = spells.patient
        near = rule.condition == "pregnancy"
        wait = rule.delay + rng.integers(-6, 8, len(patient)) if near else rng.exponential(rule.delay, len(patient))
        start = np.maximum(spells.start + wait, spells.start)
    else:
        since = people.entry if rule.condition == "anyone" else chart.illness.onset[rule.condition]
        wanted = (since < END) & ((since >= people.entry) | (not rule.new))
        patient = np.flatnonzero(wanted).astype(np.int32)
        start = np.maximum(since[patient] + rng.exponential(rule.delay, len(patient)), people.entry[patient])
        start = np.maximum(start, people.birth[patient] + rule.ages[0] * 365.25)
        if rule.setting in PLANNED:
            start = visits.snap(patient, start.astype(np.int32))
    start = start.astype(np.int32)
    if rule.group:  # rules of one group share a draw a candidate and take disjoint parts of it
        draw, below = shared.setdefault(rule.group, (rng.random(len(patient)), 0.0))
        take = (draw >= below) & (draw < below + rule.share)
        shared[rule.group] = (draw, below + rule.share)
    else:
        take = rng.random(len(patient)) < rule.share * people.access[patient] * people.engaged[patient]
    take &= (start < chart.illness.exit[patient]) & ~people.untreated[patient]
    patient, start = patient[take], start[take]
    keep = chart.all_hold(rule.when, patient, start)
    return patient[keep], start[keep]

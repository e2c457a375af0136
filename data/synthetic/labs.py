"""In: a finished `Chart` and the visit days; out: `Results`, vital signs and laboratory values that agree with both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.synthetic.chart import Chart
from data.synthetic.visits import Visits

MEASURED_VISITS = 0.2  # share of visits at which anything is measured at all

# Drawn together: one act of measuring.
WITH = {
    "weight": "bmi",
    "diastolic": "systolic",
    "hdl": "cholesterol",
    "ldl": "cholesterol",
    "triglycerides": "cholesterol",
}


@dataclass(frozen=True)
class Results:
    patient: np.ndarray  # (m,) int32
    day: np.ndarray  # (m,) int32
    row: np.ndarray  # (m,) int32 row of observations.csv
    value: np.ndarray  # (m,) float64, rounded to the analyte's decimals


def measure(chart: Chart, visits: Visits, rng: np.random.Generator) -> Results:
    people, ill = chart.people, chart.illness
    count = np.clip((ill.exit - people.entry) // visits.interval + 1, 1, 40)
    patient = np.repeat(np.arange(people.n, dtype=np.int32), count)
    number = (np.arange(len(patient)) - np.repeat(np.cumsum(count) - count, count)).astype(np.int32)
    keep = (rng.random(len(patient)) < MEASURED_VISITS) | ((number == 0) & (rng.random(len(patient)) < 0.5))
    patient, day = patient[keep], visits.day(patient[keep], number[keep])
    inside = day < ill.exit[patient]
    patient, day = patient[inside], day[inside]
    age = chart.age(patient, day)
    parts: list[tuple[np.ndarray, ...]] = []
    chosen: dict[str, np.ndarray] = {}
    for i, (key, analyte) in enumerate(chart.tables.analytes.items()):
        if key in WITH:
            take = chosen[WITH[key]]
        else:
            chance = np.zeros(len(patient))
            for term, probability in analyte.measured.items():
                holds = np.ones(len(patient), dtype=bool) if term == "anyone" else chart.holds(term, patient, day)
                chance = np.maximum(chance, holds * probability / 100)
            take = (rng.random(len(patient)) < chance) & (age >= analyte.ages[0]) & (age < analyte.ages[1])
            if key == "psa":
                take &= people.male[patient]
            chosen[key] = take
        who, when = patient[take], day[take]
        value = chart.level(key, who, when) * (1 + analyte.noise * rng.normal(size=len(who)))
        rounded = np.round(np.clip(value, analyte.low, analyte.high), analyte.decimals)
        parts.append((who, when, np.full(len(who), i, dtype=np.int32), rounded))
    return Results(*(np.concatenate(part) for part in zip(*parts, strict=True)))

"""In: seed, block number and size; out: `Block`, everything that happened to one block of patients, as integers.

A block depends on nothing but these three and the tables, so any number of processes may make them in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.synthetic import care, dirt, disease, labs, people, tables, visits
from data.synthetic.care import Allergies, Care
from data.synthetic.chart import Chart
from data.synthetic.people import END, NEVER
from data.synthetic.prescribing import Courses, Prescriber

BLOCK = 5_000  # patients simulated together
RENEWAL = 330  # days that one order of a long course covers at most
MISSED_RENEWAL = 0.08  # renewals that never happen, for a fully engaged patient
REASON_GIVEN = 0.82  # orders that name what they are for
SETTINGS = ("wellness", "ambulatory", "outpatient", "urgentcare", "emergency", "inpatient")  # the graver one wins


@dataclass(frozen=True)
class Diagnoses:
    patient: np.ndarray  # (m,) int32
    start: np.ndarray  # (m,) int32 day
    stop: np.ndarray  # (m,) int32 day, -1 while it lasts
    seen: np.ndarray  # (m,) int32 day of the encounter
    row: np.ndarray  # (m,) int32 row of conditions.csv


@dataclass(frozen=True)
class Block:
    number: int
    chart: Chart
    orders: dirt.Orders
    diagnoses: Diagnoses
    care: Care
    allergies: Allergies
    results: labs.Results
    rng: np.random.Generator  # for what is left to draw: costs, names, hours of the day


def simulate(seed: int, number: int, patients: int) -> Block:
    rng = np.random.default_rng(np.random.SeedSequence((seed, number)))
    rules = tables.load()
    folk = people.draw(rng, patients, rules, seed)
    illness = disease.draw(rng, folk, rules)
    burden = sum((day < END).astype(float) for key, day in illness.onset.items() if key not in illness.episodes)
    plan = visits.plan(rng, folk.entry, np.asarray(burden))
    chart = Chart(folk, illness, rules, rng)
    allergies = care.allergies(chart, rng)
    courses = Prescriber(chart, plan, people.practice(seed, len(rules.products)), rng).treat()
    return Block(
        number=number,
        chart=chart,
        orders=dirt.soil_orders(_orders(courses, chart, plan, rng), rng),
        diagnoses=_diagnoses(chart, plan, rng),
        care=care.procedures(chart, plan, rng),
        allergies=allergies,
        results=labs.measure(chart, plan, rng),
        rng=rng,
    )


def _orders(courses: Courses, chart: Chart, plan: visits.Visits, rng: np.random.Generator) -> dirt.Orders:
    """A long course is renewed more than once a year on a visit day: several rows, as in a real export."""
    exit_, died = chart.illness.exit, chart.illness.died
    last = np.minimum(courses.stop, exit_[courses.patient])
    count = np.where(courses.acute, 1, np.clip(-(-(last - courses.start) // RENEWAL), 1, 24))
    which = np.repeat(np.arange(len(count)), count)
    k = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    patient, stop = courses.patient[which], courses.stop[which]
    start = courses.start[which] + k * RENEWAL
    start = np.where(k > 0, plan.snap(patient, start), start).astype(np.int32)
    missed = MISSED_RENEWAL * (2 - chart.people.engaged[patient])
    keep = (start < last[which]) & ((k == 0) | (rng.random(len(k)) >= missed))
    which, patient, start, stop = which[keep], patient[keep], start[keep], stop[keep]
    order = np.lexsort((start, which))
    which, patient, start, stop = which[order], patient[order], start[order], stop[order]
    same = np.zeros(len(which), dtype=bool)
    same[1:] = (which[1:] == which[:-1]) & (start[1:] <= start[:-1])
    which, patient, start, stop = which[~same], patient[~same], start[~same], stop[~same]
    upcoming = np.full(len(which), NEVER)
    upcoming[:-1] = np.where(which[1:] == which[:-1], start[1:], NEVER)
    stop = np.minimum(np.minimum(stop, upcoming), np.where(died[patient], exit_[patient], NEVER))
    order = np.lexsort((start, patient))
    which, patient, start, stop = which[order], patient[order], start[order], stop[order]
    reason = np.where(rng.random(len(which)) < REASON_GIVEN, courses.reason[which], -1)
    return dirt.Orders(
        patient=patient,
        start=start,
        stop=np.where(stop >= END, -1, stop).astype(np.int32),
        seen=start,
        drug=courses.drug[which],
        reason=reason.astype(np.int32),
        acute=courses.acute[which],
        spelling=np.full(len(which), dirt.AS_IS, dtype=np.int32),
    )


def _diagnoses(chart: Chart, plan: visits.Visits, rng: np.random.Generator) -> Diagnoses:
    people_, ill = chart.people, chart.illness
    stage_after = {"ckd3": "ckd4", "ckd4": "ckd5", "prediabetes": "t2dm"}
    parts: list[tuple[np.ndarray, ...]] = []
    for i, (key, condition) in enumerate(chart.tables.conditions.items()):
        if key in ill.episodes:
            spell = ill.episodes[key]
            patient, start, stop, seen = spell.patient, spell.start, spell.stop, spell.start
        else:
            patient = np.flatnonzero((ill.onset[key] < ill.exit) & ill.recorded[key]).astype(np.int32)
            start = ill.onset[key][patient]
            urgent = condition.setting in ("inpatient", "emergency")
            seen = np.where(urgent & (start >= people_.entry[patient]), start, plan.snap(patient, start))
            # What began before the first visit keeps its date; what begins later is dated by the visit that finds it.
            start = np.where(start < people_.entry[patient], start, seen)
            after = stage_after.get(key)
            stop = ill.onset[after][patient] if after else np.full(len(patient), NEVER)
            found = np.where(stop < people_.entry[patient], stop, plan.snap(patient, np.minimum(stop, END)))
            stop = np.where(stop < NEVER, np.maximum(found, start + 1), NEVER)
        keep = seen < ill.exit[patient]
        over = np.where(stop < ill.exit[patient], stop, -1)
        parts.append((patient[keep], start[keep], over[keep], seen[keep], np.full(keep.sum(), i)))
    columns = [np.concatenate(part).astype(np.int32) for part in zip(*parts, strict=True)]
    order = np.lexsort((columns[1], columns[0]))
    return Diagnoses(*(column[order] for column in columns))

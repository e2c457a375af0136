"""In: a `Chart` and the lines of therapy; out: `Courses`, which drug each patient took from when to when, and why.

A line of lines.csv is offered to everyone it applies to, in file order; the chosen courses enter the chart before the
next line is looked at, so later lines see earlier drugs and their effect on pressure, sugar and lipids.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.synthetic.chart import Chart
from data.synthetic.people import END, NEVER, Practice
from data.synthetic.tables import Choice, Line
from data.synthetic.terms import COMPARISON
from data.synthetic.visits import Visits

OVERSIGHT = 0.01  # prescriptions written without looking at contraindications and allergies
DUPLICATE = 0.015  # a second course of a class already taken, by mistake
OFF_GUIDELINE = 0.04  # prescriptions that ignore the usual preferences
STOPS_A_YEAR = 0.045  # long courses given up without a recorded reason
EXPENSIVE = 150.0  # dollars a month from which coverage decides


@dataclass(frozen=True)
class Courses:
    patient: np.ndarray  # (m,) int32
    start: np.ndarray  # (m,) int32 day
    stop: np.ndarray  # (m,) int32 day, NEVER when still going on
    drug: np.ndarray  # (m,) int32 row of drugs.csv
    reason: np.ndarray  # (m,) int32 row of conditions.csv, -1 without
    acute: np.ndarray  # (m,) bool, one order and no renewals


class Prescriber:
    def __init__(self, chart: Chart, visits: Visits, habits: Practice, rng: np.random.Generator):
        self.chart, self.visits, self.habits, self.rng = chart, visits, habits, rng
        self.tables = chart.tables
        self.reasons = {key: i for i, key in enumerate(self.tables.conditions)}
        self.begun: dict[tuple[str, str], np.ndarray] = {}  # (condition, line) -> (n,) int32 day
        self.parts: list[Courses] = []

    def treat(self) -> Courses:
        for line in self.tables.lines:
            patient, start = self._candidates(line)
            if len(patient):
                self._start(line, patient, start)
        return Courses(*(np.concatenate([getattr(p, f) for p in self.parts]) for f in Courses.__dataclass_fields__))

    def _candidates(self, line: Line) -> tuple[np.ndarray, np.ndarray]:
        """Who comes up for this line, and when. -> (m,) int32 patients, (m,) int32 days"""
        chart, people, rng = self.chart, self.chart.people, self.rng
        spells = chart.illness.episodes.get(line.condition)
        if spells is not None:
            patient = spells.patient
            start = spells.start + rng.exponential(line.delay, len(patient)) if line.delay else spells.start
            alive = spells.stop if line.condition == "pregnancy" else NEVER
        else:
            if line.line.isdigit() and int(line.line) > 1:
                since = self.begun.get((line.condition, str(int(line.line) - 1)), np.full(people.n, NEVER))
            elif line.condition == "anyone":
                since = people.entry
            else:
                since = chart.illness.onset[line.condition]
            wanted = (since < END) & ((since >= people.entry) | (not line.new))
            patient = np.flatnonzero(wanted).astype(np.int32)
            wait = rng.exponential(line.delay, len(patient))
            start = np.maximum(since[patient] + wait, people.entry[patient])
            if line.condition != "anyone":
                start = np.maximum(start, people.birth[patient] + line.ages[0] * 365.25)
            start = self.visits.snap(patient, start.astype(np.int32))
            alive = NEVER
        start = np.asarray(start, dtype=np.int32)
        age = chart.age(patient, start)
        take = rng.random(len(patient)) < line.share * people.access[patient] * people.engaged[patient]
        take &= (start < chart.illness.exit[patient]) & (start < alive) & ~people.untreated[patient]
        take &= (age >= line.ages[0]) & (age < line.ages[1] + 1)
        patient, start = patient[take], start[take]
        keep = chart.all_hold(line.when, patient, start)
        return patient[keep], start[keep]

    def _choose(self, choice: Choice, patient: np.ndarray, day: np.ndarray) -> np.ndarray:
        """A product for each patient, -1 where nothing suitable remains. -> (m,) int32"""
        chart, rng, tables = self.chart, self.rng, self.tables
        m = len(patient)
        flat = np.where(rng.random(m) < OFF_GUIDELINE, 0.25, 1.0)
        weight = choice.weights[None, :] ** flat[:, None]  # (m, k)
        weight = weight * self.habits.habit[chart.people.prescriber[patient]][:, choice.products]
        dear = tables.product_cost[choice.products] > EXPENSIVE
        weight[:, dear] *= chart.people.costly[patient][:, None]
        before = weight.sum(1)
        careless = rng.random(m) < OVERSIGHT
        known: dict[tuple[str, ...], np.ndarray] = {}
        for j, product in enumerate(choice.products):
            for rule in tables.avoid[tables.products[product]]:
                if rule.when not in known:
                    overlooked = careless & (not rule.when[0].startswith("year"))
                    known[rule.when] = chart.all_hold(rule.when, patient, day) & ~overlooked
                weight[:, j] *= np.where(known[rule.when], rule.factor, 1.0)
        total = weight.sum(1)
        # With little left to choose from, prescribers more often give nothing at all.
        given = rng.random(m) < np.minimum(4 * total / before, 1.0)
        pick = (rng.random(m)[:, None] * total[:, None] > weight.cumsum(1)).sum(1)
        picked = choice.products[np.minimum(pick, len(choice.products) - 1)]
        return np.where(given & (total > 0), picked, -1).astype(np.int32)

    def _start(self, line: Line, patient: np.ndarray, start: np.ndarray) -> None:
        product = self._choose(line.choice, patient, start)
        keep = product >= 0
        patient, start, product = patient[keep], start[keep], product[keep]
        reason = self.reasons.get(line.condition, -1)
        kept = self._give(patient, start, product, line.days, reason, self._control(line))
        if line.condition not in self.chart.illness.episodes:
            begun = np.full(self.chart.people.n, NEVER, dtype=np.int32)
            begun[patient[kept]] = start[kept]
            self.begun[line.condition, line.line] = begun

    def _control(self, line: Line) -> str:
        return "" if line.condition == "anyone" else self.tables.conditions[line.condition].control

    def _give(
        self, patient: np.ndarray, start: np.ndarray, product: np.ndarray, days: float, reason: int, control: str
    ) -> np.ndarray:
        """Writes the courses, their side effects and dose steps. -> (m,) bool, which were really started"""
        chart, rng, tables = self.chart, self.rng, self.tables
        m = len(patient)
        length = np.where(days > 0, days * rng.uniform(0.75, 1.3, m), NEVER)
        if days == 0 or days > 90:
            length = np.minimum(length, rng.exponential(365.25 / STOPS_A_YEAR, m) + 30)
        stop = np.minimum(start + np.maximum(length, 1), NEVER).astype(np.int32)
        short = 0 < days <= 45
        acute = short | tables.once[product]
        kept = np.ones(m, dtype=bool)
        follow: list[tuple[np.ndarray, np.ndarray, Choice]] = []
        classes = np.array(tables.product_class)[product]
        for name in dict.fromkeys(classes):
            of = np.flatnonzero(classes == name)
            if not short:
                doubled = chart.on(name, patient[of], start[of], stop[of]) & (rng.random(len(of)) >= DUPLICATE)
                kept[of[doubled]] = False
            switch = tables.switches.get(name)
            if switch and not short:
                change = start[of] + 14 + rng.exponential(switch.days, len(of))
                hurt = (rng.random(len(of)) < switch.share) & kept[of] & (change < stop[of])
                stop[of[hurt]] = change[hurt].astype(np.int32)
                if switch.choice is not None:
                    follow.append((patient[of[hurt]], stop[of[hurt]], switch.choice))
        self._stop_when_harmful(patient, start, stop, product)
        kept &= (stop > start) & (start < chart.illness.exit[patient])
        drug, step = self._strength(patient, start, product, short)
        self._write(patient, start, stop, drug, step, product, reason, acute, kept, control)
        for who, day, choice in follow:
            instead = self._choose(choice, who, day)
            fine = instead >= 0
            if fine.any():
                self._follow_up(who[fine], day[fine], instead[fine], days, reason)
        return kept

    def _follow_up(self, patient: np.ndarray, day: np.ndarray, product: np.ndarray, days: float, reason: int) -> None:
        """The drug that replaces one given up for a side effect."""
        length = np.minimum(
            np.where(days > 0, days, NEVER), self.rng.exponential(365.25 / STOPS_A_YEAR, len(patient)) + 60
        )
        stop = (day + length).astype(np.int32)
        self._stop_when_harmful(patient, day, stop, product)
        drug, step = self._strength(patient, day, product, False)
        classes = np.array(self.tables.product_class)[product]
        kept = (day < self.chart.illness.exit[patient]) & (stop > day)
        for name in dict.fromkeys(classes):
            kept &= ~((classes == name) & self.chart.on(name, patient, day))
        self._write(patient, day, stop, drug, step, product, reason, np.zeros(len(patient), dtype=bool), kept, "")

    def _strength(
        self, patient: np.ndarray, day: np.ndarray, product: np.ndarray, short: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """The first strength given. -> (m,) int32 row of drugs.csv, (m,) int32 step above the lowest"""
        group = (self.chart.age(patient, day) >= 12).astype(int)
        # A long course begins low and is raised later; a short one is given at its usual strength.
        low = self.tables.raised[product] & (not short)
        draw = self.rng.random(len(patient)) ** np.where(low, 1.5, 1.0)
        step = (draw[:, None] > self.tables.strength_cum[product, group]).sum(1)
        step = np.minimum(step, self.tables.strength_count[product, group] - 1).astype(np.int32)
        return self.tables.strength_first[product, group] + step, step

    def _stop_when_harmful(self, patient: np.ndarray, start: np.ndarray, stop: np.ndarray, product: np.ndarray) -> None:
        """Shortens courses in place where a `stop` rule of contraindications.csv comes true after the start."""
        ill = self.chart.illness
        for one in np.unique(product):
            for rule in self.tables.avoid[self.tables.products[one]]:
                if not rule.stop:
                    continue
                of = np.flatnonzero(product == one)
                who = patient[of]
                term = rule.when[0].removeprefix("now:")
                compared = COMPARISON.match(term)
                if term in ill.episodes:
                    day = _next_spell(ill.episodes[term].patient, ill.episodes[term].start, who, start[of])
                elif compared and compared[1] == "year":
                    day = np.full(len(of), (float(compared[3]) - 1970) * 365.2425)
                elif compared:  # only eGFR falls for good
                    lost = (57.0 - float(compared[3])) / np.maximum(ill.egfr_loss[who], 1e-3) * 365.25
                    day = np.minimum(ill.onset["ckd3"][who] + np.minimum(lost, 60000), NEVER)
                else:
                    day = ill.onset[term][who]
                noticed = day + self.rng.exponential(30, len(of))
                late = (day > start[of]) & (noticed < stop[of]) & (self.rng.random(len(of)) >= OVERSIGHT)
                stop[of[late]] = noticed[late].astype(np.int32)

    def _write(
        self,
        patient: np.ndarray,
        start: np.ndarray,
        stop: np.ndarray,
        drug: np.ndarray,
        step: np.ndarray,
        product: np.ndarray,
        reason: int,
        acute: np.ndarray,
        kept: np.ndarray,
        control: str,
    ) -> None:
        chart, tables = self.chart, self.tables
        patient, start, stop, drug = patient[kept], start[kept], stop[kept], drug[kept]
        step, product, acute = step[kept], product[kept], acute[kept]
        potency = np.minimum(0.8 + 0.2 * step, 1.4).astype(np.float32)
        for one in np.unique(product):
            of = product == one
            names = [tables.products[one], tables.product_class[one]]
            chart.record(list(dict.fromkeys(names)), patient[of], start[of], stop[of], potency[of])
        group = (chart.age(patient, start) >= 12).astype(int)
        room = (step + 1 < tables.strength_count[product, group]) & ~acute & tables.raised[product]
        later = start + 60 + self.rng.exponential(160, len(patient)).astype(np.int32)
        chance = np.full(len(patient), 0.14)
        if control:
            chance = np.where(chart.holds(control, patient, later), 0.62, 0.06)
        raised = room & (self.rng.random(len(patient)) < chance) & (later < stop - 30)
        raised &= later < chart.illness.exit[patient]
        later = np.where(raised, self.visits.snap(patient, later), NEVER).astype(np.int32)
        raised &= later < stop
        why = np.full(len(patient), reason, dtype=np.int32)
        first = Courses(patient, start, np.where(raised, later, stop), drug, why, acute)
        second = Courses(patient[raised], later[raised], stop[raised], drug[raised] + 1, why[raised], acute[raised])
        self.parts += [first, second]


def _next_spell(owners: np.ndarray, starts: np.ndarray, patient: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Day of the patient's first spell after `day`, or NEVER; spells are sorted by patient, start. -> (m,) int32"""
    if not len(owners):
        return np.full(len(patient), NEVER)
    keys = owners.astype(np.int64) * NEVER + starts
    at = np.searchsorted(keys, patient.astype(np.int64) * NEVER + day, side="right")
    inside = np.minimum(at, len(owners) - 1)
    return np.where((at < len(owners)) & (owners[inside] == patient), starts[inside], NEVER)

"""In: people, illnesses and the courses given so far; out: answers to "what is true of these patients on these days?".

`Chart` is the one value that prescribing, procedures and laboratory share, so a lab result, a contraindication and the
next line of treatment can never disagree. Queries take patient (m,) int32 and day (m,) int32 and return (m,).
"""

from __future__ import annotations

import numpy as np

from data.synthetic.disease import Illness, egfr
from data.synthetic.people import END, NEVER, People
from data.synthetic.tables import Analyte, Tables
from data.synthetic.terms import COMPARISON

# Body and heart of a child, as a share of the adult's, by age.
HEIGHT_SHARE = ([0, 1, 2, 4, 6, 8, 10, 12, 14, 16, 18], [0.29, 0.44, 0.5, 0.6, 0.68, 0.75, 0.81, 0.88, 0.95, 0.985, 1])
BMI_SHARE = ([0, 1, 2, 5, 8, 12, 16, 20], [0.56, 0.69, 0.67, 0.63, 0.66, 0.75, 0.88, 1])
PULSE_SHARE = ([0, 1, 3, 6, 10, 16], [1.8, 1.6, 1.38, 1.22, 1.1, 1])
PRESSURE_SHARE = ([3, 6, 10, 14, 18], [0.83, 0.87, 0.92, 0.97, 1])
EFFECT_DELAY = 21  # days until a drug shows in a measurement


class Chart:
    def __init__(self, people: People, illness: Illness, tables: Tables, rng: np.random.Generator):
        self.people, self.illness, self.tables = people, illness, tables
        self.allergic: dict[str, np.ndarray] = {}  # group -> (n,) bool
        # One deviate a person and analyte: who runs high runs high every year.
        self.deviate = {key: rng.normal(size=people.n) for key in tables.analytes}
        # class or product -> [(start, stop, potency)], each (n,): one slot a decision
        self.courses: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}

    def age(self, patient: np.ndarray, day: np.ndarray) -> np.ndarray:
        return (day - self.people.birth[patient]) / 365.25

    def record(
        self, names: list[str], patient: np.ndarray, start: np.ndarray, stop: np.ndarray, potency: np.ndarray
    ) -> None:
        """Remembers one course a patient under each name (class and product)."""
        n = self.people.n
        begins, ends = np.full(n, NEVER, dtype=np.int32), np.full(n, -1, dtype=np.int32)
        strong = np.ones(n, dtype=np.float32)
        begins[patient], ends[patient], strong[patient] = start, stop, potency
        for name in names:
            self.courses.setdefault(name, []).append((begins, ends, strong))

    def on(self, name: str, patient: np.ndarray, day: np.ndarray, until: np.ndarray | None = None) -> np.ndarray:
        """Whether a course of the class or product runs on the day, or anywhere in [day, until)."""
        found = np.zeros(len(patient), dtype=bool)
        last = day + 1 if until is None else until
        for start, stop, _ in self.courses.get(name, ()):
            found |= (start[patient] < last) & (stop[patient] > day)
        return found

    def present(self, key: str, patient: np.ndarray, day: np.ndarray) -> np.ndarray:
        """Whether the condition is there on the day (an episode: still going on)."""
        if key not in self.illness.episodes:
            return self.illness.onset[key][patient] <= day
        spell = self.illness.episodes[key]
        if not len(spell.patient):
            return np.zeros(len(patient), dtype=bool)
        # Spells are sorted by patient and start: the last one begun by that day is the only one that can be running.
        keys = spell.patient.astype(np.int64) * NEVER + spell.start
        at = np.searchsorted(keys, patient.astype(np.int64) * NEVER + day, side="right") - 1
        at = np.maximum(at, 0)
        return (spell.patient[at] == patient) & (spell.start[at] <= day) & (spell.stop[at] > day)

    def holds(self, term: str, patient: np.ndarray, day: np.ndarray) -> np.ndarray:
        """One term of a `when` column (README.md states the grammar). -> (m,) bool"""
        if term.startswith("!"):
            return ~self.holds(term[1:], patient, day)
        kind, _, name = term.partition(":")
        if name:
            if kind == "on":
                return self.on(name, patient, day)
            if kind == "now":
                return self.present(name, patient, day)
            return self.allergic[name][patient]
        if term in ("male", "female"):
            return self.people.male[patient] == (term == "male")
        compared = COMPARISON.match(term)
        if not compared:
            return self.illness.onset[term][patient] <= day
        if compared[1] == "age":
            value = self.age(patient, day)
        elif compared[1] == "year":
            value = 1970 + day / 365.2425
        else:
            value = self.level(compared[1], patient, day)
        return value > float(compared[3]) if compared[2] == ">" else value < float(compared[3])

    def all_hold(self, terms: tuple[str, ...], patient: np.ndarray, day: np.ndarray) -> np.ndarray:
        found = np.ones(len(patient), dtype=bool)
        for term in terms:
            found &= self.holds(term, patient, day)
        return found

    def egfr(self, patient: np.ndarray, day: np.ndarray) -> np.ndarray:
        ill = self.illness
        onset = ill.onset["ckd3"][patient]
        since = np.where(onset < END, (day - onset) / 365.25, -1000.0)
        return egfr(ill.egfr_base[patient], ill.egfr_loss[patient], since, self.age(patient, day))

    def level(self, key: str, patient: np.ndarray, day: np.ndarray) -> np.ndarray:
        """The true level of an analyte, before reading error. -> (m,) float64 in the analyte's unit"""
        analyte, age = self.tables.analytes[key], self.age(patient, day)
        if analyte.derived == "kidney":
            filtration = self.egfr(patient, day)
            return filtration if key == "egfr" else creatinine(filtration, age, self.people.male[patient])
        if key == "weight":
            return self.level("bmi", patient, day) * (self.level("height", patient, day) / 100) ** 2
        if key == "cholesterol":
            parts = {name: self.level(name, patient, day) for name in ("ldl", "hdl", "triglycerides")}
            return parts["ldl"] + parts["hdl"] + np.minimum(parts["triglycerides"], 400) / 5
        value = self._untreated(analyte, patient, day, age)
        for name, factor in analyte.drugs.items():
            strength = np.zeros(len(patient))
            for start, stop, potency in self.courses.get(name, ()):
                active = (start[patient] + EFFECT_DELAY <= day) & (stop[patient] > day)
                strength = np.maximum(strength, np.where(active, potency[patient], 0))
            value = value * np.exp(np.log(factor) * strength)
        return value

    def _untreated(self, analyte: Analyte, patient: np.ndarray, day: np.ndarray, age: np.ndarray) -> np.ndarray:
        z = self.deviate[analyte.key][patient]
        value = analyte.base + analyte.slope * (np.clip(age, 18, 90) - 40) + analyte.spread * z
        value = value + np.where(self.people.male[patient], analyte.male, 0.0)
        for key, effect in analyte.conditions.items():
            # A disease is worse in some than in others: its effect varies with the person's deviate.
            value = value + np.where(self.present(key, patient, day), effect * (1 + 0.3 * z), 0.0)
        if analyte.key == "height":
            return value * np.interp(age, *HEIGHT_SHARE)
        if analyte.key == "bmi":
            return np.maximum(value, 15.5) * np.interp(age, *BMI_SHARE)
        if analyte.derived == "childhood":
            return value * np.interp(age, *PULSE_SHARE)
        if analyte.derived == "pressure":
            return value * np.interp(age, *PRESSURE_SHARE)
        return value


def creatinine(filtration: np.ndarray, age: np.ndarray, male: np.ndarray) -> np.ndarray:
    """Serum creatinine (mg/dL) that gives this eGFR: CKD-EPI 2021 (doi 10.1056/NEJMoa2102953) solved for creatinine."""
    kappa, alpha = np.where(male, 0.9, 0.7), np.where(male, -0.302, -0.241)
    at_one = 142 * 0.9938 ** np.maximum(age, 18) * np.where(male, 1.0, 1.012)
    ratio = np.maximum(filtration, 3) / at_one
    scaled = np.where(ratio < 1, ratio ** (1 / -1.2), ratio ** (1 / alpha))
    return kappa * scaled * np.interp(age, [0, 3, 12, 18], [0.4, 0.42, 0.72, 1.0])

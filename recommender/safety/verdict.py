"""One patient's chart in, what stands against a drug in words out: which rule, because of what, what is not checked.

The tiers are those of `kernel.py`; this finds the rules behind them. Nothing here decides anything anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from recommender.matrix import Column
from recommender.safety.charts import RUNS, SEXES, Chart, Charts
from recommender.safety.kernel import (
    CONTRAINDICATED,
    DRUG,
    HOLDS,
    NEVER,
    UNKNOWN,
    Facts,
    blank,
    judge_list,
    read_facts,
)
from recommender.safety.kinds import (
    AnyRule,
    ConditionRule,
    DuplicateRule,
    LabRule,
    PopulationRule,
)
from recommender.safety.screen import Read, Screen, Tiers, forbidden
from recommender.safety.tables import Candidates

Outcome = Literal["kept", "withheld", "not_checked"]
GapKind = Literal["drug", "kind", "therapy", "allergy", "condition", "person", "lab"]


@dataclass(frozen=True)
class Alert:
    """A rule that holds, and what of the chart makes it hold: a drug's or a record's name, "eGFR 38 mL/min, 12 days
    old"."""

    rule: AnyRule
    because: str


@dataclass(frozen=True)
class Gap:
    """What could not be checked: `about` what, and what would make it checkable (`mend`)."""

    kind: GapKind
    about: str
    mend: str


@dataclass(frozen=True)
class Verdict:
    """alerts: the strictest first, each rule once for each thing that makes it hold. gaps: of this drug only; what is
    not understood of the chart as a whole stands in `Reading.gaps`. rank: 0 nothing, 1 caution, 2 serious, 3
    contraindicated."""

    drug: Column
    rank: int
    unchecked: int
    alerts: tuple[Alert, ...]
    gaps: tuple[Gap, ...]

    @property
    def outcome(self) -> Outcome:
        if self.rank == CONTRAINDICATED:
            return "withheld"
        return "not_checked" if self.unchecked & DRUG else "kept"


class Reading:
    """One chart, read for screening. `elapsed`: days since it was read; values and conditions have aged by so much."""

    def __init__(self, screen: Screen, read: Read, chart: Chart, elapsed: int = 0) -> None:
        self._screen, self._read, self._chart, self._elapsed = screen, read, chart, elapsed
        charts = Charts.of_one(read.known, chart)
        derived, derived_days = screen.derived(read, charts)
        self._facts: Facts = blank(screen.arrays)
        self._missing = read_facts(
            screen.arrays, read.meanings, chart.concept, chart.days, chart.value, chart.age, SEXES.index(chart.sex),
            derived[0], derived_days[0], screen.derivable, screen.fresh_days, elapsed, self._facts,
        )  # fmt: skip
        self._now = np.flatnonzero(self._facts.running)
        self._lately = np.flatnonzero(self._facts.ended & ~self._facts.running)
        self._allergies = read.meanings.allergy[chart.concept[read.meanings.kind[chart.concept] == 2]]

    # --- candidates --------------------------------------------------------------------------------------------------

    def tiers(self, candidates: Candidates, listed: np.ndarray) -> Tiers:
        """What stands against each of some candidates: listed (n,), positions in `candidates`."""
        # of one type always: numba compiles for each, and a clinician would wait for the second
        found = Tiers(np.zeros(len(listed), dtype=np.uint8), np.zeros(len(listed), dtype=np.uint8))
        judge_list(
            self._screen.arrays, self._read.meanings, self._facts, self._missing, self._allergies, self._now,
            self._lately, candidates, listed.astype(np.int32, copy=False), found.rank, found.unchecked,
        )  # fmt: skip
        return found

    def verdict(self, drug: Column, tier: tuple[int, int] | None = None) -> Verdict:
        """All that stands against a drug that the patient is not known to take. tier: its (rank, unchecked), where
        `tiers` has told them of this chart already."""
        parts = self._parts(drug)
        if tier is None:
            own = self.tiers(self._screen.candidates([drug], self._read.known), np.zeros(1, dtype=np.int64))
            tier = int(own.rank[0]), int(own.unchecked[0])
        rank, unchecked = tier
        pairs = () if drug.code in self._read.known.local else self._against_therapy(parts)
        found = dict.fromkeys((*pairs, *self._against_patient(parts)))
        alerts = sorted(found, key=lambda alert: (-alert.rule.rank, alert.rule.id, alert.because))
        return Verdict(drug, rank, unchecked, tuple(alerts), tuple(self._gaps_of(drug, parts)))

    def therapy(self) -> tuple[Verdict, ...]:
        """What stands against what the patient takes already, drug by drug; each pair is told with its first drug."""
        drugs = [
            (one, tuple(sorted(set(self._parts(one)))))
            for one in map(self._concepts.__getitem__, self._facts_of["drug"])
        ]
        found = []
        for number, (drug, parts) in enumerate(drugs):
            alerts = dict.fromkeys(self._against_patient(parts))
            for other, others in drugs[number + 1 :]:
                alerts |= dict.fromkeys(self._between(parts, others, other.name, both=True))
            ranked = sorted(alerts, key=lambda alert: (-alert.rule.rank, alert.rule.id, alert.because))
            rank = max((alert.rule.rank for alert in ranked), default=0)
            gaps = tuple(self._gaps_of(drug, parts))
            found.append(Verdict(drug, rank, 0 if parts else DRUG, tuple(ranked), gaps))
        return tuple(found)

    # --- what of the whole chart is not checked ----------------------------------------------------------------------

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """What of the chart is not understood or not known, whatever the drug."""
        found = []
        vague, untold = self._read.meanings.vague, self._read.known.untold
        for ix in self._chart.concept[vague[self._chart.concept]].tolist():
            concept = self._concepts[ix]
            if concept.kind == "drug" and self._days(ix) >= 0:
                found.append(Gap("therapy", concept.name, "name it in the drug map (--drug-map)"))
            elif concept.kind == "allergy":
                found.append(Gap("allergy", concept.name, "record the allergy as a drug, a class or a code"))
            elif concept.kind == "condition":
                found.append(Gap("condition", concept.name, "code the condition in ICD-10-CM, ICD-9-CM or SNOMED CT"))
        if "allergy" in untold:
            found.append(Gap("allergy", "allergies", "this export holds no allergy of any patient: add allergies"))
        if "condition" in untold:
            found.append(
                Gap("condition", "conditions", "this export holds no condition of any patient: add conditions")
            )
        if self._chart.sex == "unknown":
            found.append(Gap("person", "sex", "record the sex"))
        if np.isnan(self._chart.age):
            found.append(Gap("person", "age", "record the date of birth"))
        return tuple(found)

    def codes(self, kind: str) -> list[str]:
        """Codes of what of a kind is on the chart; of drugs, of those that go on."""
        return [self._concepts[ix].code for ix in self._facts_of[kind]]

    def drugs_checked(self) -> tuple[int, int]:
        """How many of the drugs that the patient takes were understood, and how many there are."""
        drugs = self._facts_of["drug"]
        return sum(not self._read.meanings.vague[ix] for ix in drugs), len(drugs)

    # --- rules that hold ---------------------------------------------------------------------------------------------

    def _against_therapy(self, parts: Sequence[int]) -> Iterator[Alert]:
        arrays, facts = self._screen.arrays, self._facts
        new = [one for one in parts if not facts.running[one]]
        for ix in self._facts_of["drug"]:
            name, others = self._concepts[ix].name, self._parts(self._concepts[ix])
            yield from self._between(parts, others, name)
        for ix in self._facts_of["ended"]:
            days = self._days(ix)
            name = f"{self._concepts[ix].name} (ended {days} day{'s' if days > 1 else ''} ago)"
            over = [other for other in self._parts(self._concepts[ix]) if not facts.running[other]]
            for alert in self._interactions(parts, over, name):
                if alert.rule.rank == CONTRAINDICATED:
                    yield alert
        for number, rule in enumerate(self._screen.too_many):
            mine = [one for one in new if arrays.many[number, one]]
            already = [one for one in self._now.tolist() if arrays.many[number, one]]
            if mine and len(mine) + len(already) > rule.most:
                names = self._screen.rules.ingredients
                yield Alert(rule, ", ".join(sorted(names[self._ingredient_code(one)] for one in already)))

    def _between(self, parts: Sequence[int], others: Sequence[int], name: str, both: bool = False) -> Iterator[Alert]:
        """What two products do to each other; `both`: the first is taken already as well."""
        yield from self._interactions(parts, others, name)
        running = self._facts.running
        for one in parts:
            if one in others:
                yield from (
                    Alert(rule, name) for rule in self._screen.same if self._ingredient_code(one) not in rule.spared
                )
            if running[one] and not both:
                continue
            for other in others:
                if self._screen.arrays.dup[one, other] and not (both and (other in parts or one in others)):
                    for rule in self._duplicate_rules(one, other):
                        yield Alert(rule, name)

    def _interactions(self, parts: Sequence[int], others: Iterable[int], name: str) -> Iterator[Alert]:
        rules, code = self._screen.rules, self._ingredient_code
        inside = set(parts)
        for other in others:
            if other in inside:
                continue
            for one in parts:
                if self._screen.arrays.inter[one, other]:
                    for rule in rules.between(code(one), code(other)):
                        yield Alert(rule, name)

    def _duplicate_rules(self, one: int, other: int) -> Iterator[DuplicateRule]:
        a, b = self._ingredient_code(one), self._ingredient_code(other)
        for rule in self._screen.rules.duplicates:
            if rule.most == 1 and a in rule.drugs and b in rule.drugs and not rule.accepts(a, b):
                yield rule

    def _against_patient(self, parts: tuple[int, ...]) -> Iterator[Alert]:
        for ix in self._facts_of["allergy"]:
            meant = self._read.allergies[ix]
            if (
                meant is None
                or not self._read.meanings.allergy_rank[self._read.meanings.allergy[ix], list(parts)].any()
            ):
                continue
            for rule in self._screen.rules.allergies:
                if any(self._ingredient_code(one) in forbidden(rule, meant) for one in parts):
                    yield Alert(rule, self._concepts[ix].name)
        for number in self._screen.naming(parts):
            if number in self._holding:
                yield Alert(self._fact_rules[number], self._because(self._fact_rules[number]))

    def _because(self, rule: AnyRule) -> str:
        if isinstance(rule, ConditionRule):
            return ", ".join(self._conditions_of(rule.conditions, rule.days))
        if isinstance(rule, LabRule):
            return self._measured(rule)
        assert isinstance(rule, PopulationRule)  # noqa: S101  (there is no other kind of fact rule)
        told = []
        if rule.state:
            state = self._screen.rules.states[rule.state]
            told += self._conditions_of(state.conditions, state.days)
        if rule.sex:
            told.append({"F": "female", "M": "male"}[rule.sex])
        if rule.age_from is not None or rule.age_below is not None:
            told.append(f"age {int(self._chart.age)}")
        return ", ".join(told)

    def _measured(self, rule: LabRule) -> str:
        number = self._screen.number_of_measure[rule.measure]
        measure, days = self._screen.rules.measures[rule.measure], int(self._facts.value_days[number])
        old = "today" if days == 0 else "1 day old" if days == 1 else f"{days} days old"
        return f"{measure.name} {self._facts.value[number]:.3g}{plain_unit(measure.unit)}, {old}"

    def _conditions_of(self, terms: frozenset[str], days: int | None) -> list[str]:
        """Names of the chart's conditions that mean one of the terms and are new enough."""
        limit = NEVER if days is None else days
        return [
            self._concepts[ix].name
            for ix in self._facts_of["condition"]
            if not terms.isdisjoint(self._read.terms[ix]) and self._days(ix) + self._elapsed <= limit
        ]

    # --- what is not checked of a drug -------------------------------------------------------------------------------

    def _gaps_of(self, drug: Column, parts: tuple[int, ...]) -> Iterator[Gap]:
        if drug.kind != "drug":
            yield Gap("kind", drug.name, "the safety rules cover drugs only")
            return
        if not parts:
            yield Gap("drug", drug.name, "the vocabulary does not know this drug: name it in the drug map (--drug-map)")
            return
        labs: dict[str, int] = {}
        for number in self._screen.naming(parts):
            if number in self._unknown and isinstance(rule := self._fact_rules[number], LabRule):
                labs[rule.measure] = min(labs.get(rule.measure, rule.days), rule.days)
        for name, days in labs.items():
            measure = self._screen.rules.measures[name]
            number = self._screen.number_of_measure[name]
            if np.isnan(self._facts.value[number]):
                about = f"no {measure.name} on record"
            else:
                about = f"{measure.name} is {self._facts.value_days[number]} days old"
            yield Gap("lab", about, f"measure it: a value of the last {days} days counts")

    # --- looking things up -------------------------------------------------------------------------------------------

    @property
    def _concepts(self) -> tuple[Column, ...]:
        return self._read.known.concepts

    def _parts(self, drug: Column) -> tuple[int, ...]:
        return self._screen.ingredients(drug.code) if drug.kind == "drug" else ()

    @cached_property
    def _facts_of(self) -> dict[str, list[int]]:
        """Concepts of the chart by kind; drugs that go on as "drug", those that ended lately as "ended"."""
        found: dict[str, list[int]] = {"drug": [], "ended": [], "condition": [], "allergy": [], "observation": []}
        for ix, days in zip(self._chart.concept.tolist(), self._chart.days.tolist(), strict=True):
            kind = self._concepts[ix].kind
            if kind != "drug" or days == RUNS:
                found[kind].append(ix)
            elif days > RUNS:
                found["ended"].append(ix)
        return found

    def _days(self, concept: int) -> int:
        return int(self._chart.days[np.searchsorted(self._chart.concept, concept)])

    def _ingredient_code(self, number: int) -> str:
        return self._screen.rules.pairs.ingredients[number]

    @cached_property
    def _holding(self) -> frozenset[int]:
        """Fact rules that hold for this chart."""
        return frozenset(np.flatnonzero(self._facts.state == HOLDS).tolist())

    @cached_property
    def _unknown(self) -> frozenset[int]:
        """Fact rules of which nobody can tell whether they hold."""
        return frozenset(np.flatnonzero(self._facts.state == UNKNOWN).tolist())

    @property
    def _fact_rules(self) -> tuple[AnyRule, ...]:
        return self._screen.fact_rules


def plain_unit(ucum: str) -> str:
    """A UCUM unit as it is written for people, with a blank before it: "mL/min/{1.73_m2}" -> " mL/min/1.73 m²"."""
    if ucum.startswith("{"):  # {INR}: its name says it all
        return ""
    return " " + re.sub(r"[{}\[\]]", "", ucum).replace("_m2", " m²").replace("10*3", "10³")

"""What a safety rule is: one frozen value a row of the tables, its drugs resolved to codes of ingredients."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

Severity = Literal["contraindicated", "serious", "caution"]
RANK: dict[str, int] = {"contraindicated": 3, "serious": 2, "caution": 1}  # the higher, the stricter
SEVERITIES = tuple(RANK)

# What a pair of drugs does: a pair may have a rule for each. "unspecified" is for a site's own list, which tells none.
EFFECTS = (
    "bleeding", "clotting", "qt", "serotonin", "blood-pressure-rise", "hypotension", "bradycardia", "heart-failure",
    "sedation", "seizure", "hyperkalaemia", "hypokalaemia", "hyponatraemia", "hypoglycaemia", "kidney", "liver",
    "muscle", "marrow", "infection", "lactic-acidosis", "angioedema", "ergotism", "tendon", "hearing", "block",
    "precipitation", "anticholinergic", "gut", "movement", "skin", "level-rise", "level-fall", "loss-of-effect",
    "withdrawal", "hypercalcaemia", "methaemoglobin", "pressure-in-skull", "monitoring", "unspecified",
)  # fmt: skip
COMPARISONS = ("<", "<=", ">", ">=")
SEXES = ("", "F", "M")
# How a measure is worked out where nobody reported it, and what of a chart that takes besides age and sex
DERIVED_FROM: dict[str, tuple[str, ...]] = {
    "": (),
    "ckd-epi-2021": ("loinc:2160-0",),
    "cockcroft-gault": ("loinc:2160-0", "loinc:29463-7"),
}


@dataclass(frozen=True)
class Rule:
    """What every row carries. `origin`: "shipped", or "site" for a site's own folder; `file` and `row`: where from."""

    id: str
    severity: Severity
    message: str
    management: str
    source: str
    reviewed: date
    origin: str
    file: str
    row: int

    @property
    def rank(self) -> int:
        """3 contraindicated, 2 serious, 1 caution."""
        return RANK[self.severity]


@dataclass(frozen=True)
class InteractionRule(Rule):
    """Any drug of `left` with any other drug of `right`, in both orders."""

    effect: str  # one of EFFECTS
    mechanism: str
    left: frozenset[str]
    right: frozenset[str]


@dataclass(frozen=True)
class AllergyRule(Rule):
    """Holds for these drugs when an allergy record means `group`; "" is a record of the very ingredient."""

    group: str
    drugs: frozenset[str]


@dataclass(frozen=True)
class DuplicateRule(Rule):
    """More than `most` different drugs of `drugs` at once. `drugs` empty: the same ingredient in two products.

    `accepted`: pairs that are normal practice (one side, other side). `spared`: ingredients that may stand in two
    products at once (only where `drugs` is empty).
    """

    drugs: frozenset[str]
    most: int
    accepted: tuple[tuple[frozenset[str], frozenset[str]], ...]
    spared: frozenset[str]

    def accepts(self, one: str, other: str) -> bool:
        """Whether these two ingredients of `drugs` together are normal practice."""
        return any((one in a and other in b) or (one in b and other in a) for a, b in self.accepted)


@dataclass(frozen=True)
class ConditionRule(Rule):
    """These drugs in who has one of `conditions`, unless one of `unless` is recorded too.

    A condition is a group of condition_groups.csv or a code pattern ("icd10cm:E72.2", "snomed:..."). `days`: it counts
    when it began at most so many days before the chart is read; None: whenever it was recorded.
    """

    drugs: frozenset[str]
    conditions: frozenset[str]
    days: int | None
    unless: frozenset[str]


@dataclass(frozen=True)
class PopulationRule(Rule):
    """These drugs in people of a state, a sex and an age: age_from <= age in years < age_below. None: no bound."""

    drugs: frozenset[str]
    state: str  # id of patient_states.csv, or ""
    sex: str  # "F", "M" or ""
    age_from: float | None
    age_below: float | None


@dataclass(frozen=True)
class LabRule(Rule):
    """These drugs when the last value of `measure`, at most `days` old, compares so with `value`."""

    drugs: frozenset[str]
    measure: str  # id of measures.csv
    comparison: str  # one of COMPARISONS
    value: float  # in the measure's unit
    days: int


AnyRule = InteractionRule | AllergyRule | DuplicateRule | ConditionRule | PopulationRule | LabRule


@dataclass(frozen=True)
class AllergyGroup:
    """What allergy records mean.

    `kind`: "class" of drugs; "ingredient": the record names `drugs` themselves; "unspecified": a class so wide that the
    record must be cleared up (an opioid), which a record of one drug does not mean; "other": no drug; "none": no
    allergy.
    """

    id: str
    name: str
    kind: Literal["class", "ingredient", "unspecified", "other", "none"]
    drugs: frozenset[str]  # a record that names one of these means this group too; only of the first two kinds
    words: frozenset[str]  # keys of texts (see allergy.reduced)
    codes: frozenset[str]  # "snomed:91936005", "rxnorm:70618"


@dataclass(frozen=True)
class PatientState:
    """A state that conditions tell of: pregnant while one of `conditions` is at most `days` old and none of `ended_by`
    began on its day or later; None: whenever it was recorded."""

    id: str
    name: str
    conditions: frozenset[str]
    days: int | None
    ended_by: frozenset[str]


@dataclass(frozen=True)
class Measure:
    """A number of the chart: the newest value of any of `codes`, else worked out as `derived` says ("" : it is not)."""

    id: str
    name: str
    codes: tuple[str, ...]  # "loinc:98979-8", the preferred first
    unit: str
    derived: str  # a key of DERIVED_FROM
    days: int  # a value older than this is not checked, where a rule does not say otherwise

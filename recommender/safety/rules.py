"""A folder of rule tables (ours, and a site's own beside it) in, one frozen `Rules` out, or a refusal naming the row.

`Rules` is all that screening needs: every drug is resolved to codes of ingredients, every condition to groups or code
patterns, every lab to LOINC codes in one unit. What a table says is described in `data/safety/README.md`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from recommender.safety import reading
from recommender.safety.allergy import AllergyMeaning, meaning
from recommender.safety.conflicts import Cell, settled
from recommender.safety.kinds import (
    AllergyGroup,
    AllergyRule,
    AnyRule,
    ConditionRule,
    DuplicateRule,
    InteractionRule,
    LabRule,
    Measure,
    PatientState,
    PopulationRule,
)
from recommender.safety.pairs import PairTable, pair_table
from recommender.safety.table import Names, by_slug, mixed, numbered, pattern_matches, tables
from recommender.vocabulary import ConditionVocabulary, DrugVocabulary

FAMILIES: dict[str, type] = {
    "interactions": InteractionRule,
    "allergies": AllergyRule,
    "duplicates": DuplicateRule,
    "conditions": ConditionRule,
    "populations": PopulationRule,
    "labs": LabRule,
}


@dataclass(frozen=True)
class Rules:
    """Every rule that holds, checked and resolved. `version` changes with any cell of any table."""

    version: str  # sha256 of all tables, 16 hex digits
    ingredients: Mapping[str, str]  # code -> name of every ingredient that the rules know of
    products: Mapping[str, tuple[str, ...]]  # code of a named combination -> codes of its ingredients
    sets: Mapping[str, frozenset[str]]
    interactions: tuple[InteractionRule, ...]
    allergies: tuple[AllergyRule, ...]
    duplicates: tuple[DuplicateRule, ...]
    conditions: tuple[ConditionRule, ...]
    populations: tuple[PopulationRule, ...]
    labs: tuple[LabRule, ...]
    allergy_groups: Mapping[str, AllergyGroup]
    states: Mapping[str, PatientState]
    measures: Mapping[str, Measure]
    pairs: PairTable
    switched_off: tuple[str, ...] = ()
    counting: Mapping[str, Mapping[Cell, tuple[int, ...]]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(
        cls,
        folder: Path | None = None,
        *,
        site: Path | None = None,
        vocabulary: DrugVocabulary | None = None,
        conditions: ConditionVocabulary | None = None,
    ) -> Rules:
        """Read the shipped tables (or those of `folder`) and those of `site` beside them.

        Raises RulesMissing when a folder or table is absent, InputError naming file, row and field of a broken one.
        """
        vocabulary = vocabulary or DrugVocabulary.load()
        files = tables(folder, site)
        names = Names(vocabulary, conditions or ConditionVocabulary.load())
        reading.read_sets(files, names)
        groups, states = reading.read_groups(files, names), reading.read_states(files, names)
        measures = reading.read_measures(files)
        rules = reading.read_rules(files, names, groups, states, measures)
        family = {name: tuple(r for r in rules if isinstance(r, kind)) for name, kind in FAMILIES.items()}
        pairs = pair_table(family["interactions"], tuple(names.ingredients))  # type: ignore[arg-type]
        counting = {name: MappingProxyType(settled(family[name])) for name in FAMILIES if name != "interactions"}
        drugs = vocabulary.drugs.values()
        return cls(
            version=_version(files),
            ingredients=MappingProxyType(names.ingredients),
            products=MappingProxyType({d.code: d.ingredients for d in drugs if d.ingredients != (d.code,)}),
            sets=MappingProxyType(names.sets),
            allergy_groups=MappingProxyType(groups),
            states=MappingProxyType(states),
            measures=MappingProxyType(measures),
            pairs=pairs,
            switched_off=tuple(row["id"] for _, _, row in numbered(files[reading.OFF])),
            counting=MappingProxyType(counting),
            **family,  # type: ignore[arg-type]
        )

    # --- one rule, one drug ------------------------------------------------------------------------------------------

    @cached_property
    def by_id(self) -> Mapping[str, AnyRule]:
        """Every rule by its id."""
        return MappingProxyType({rule.id: rule for name in FAMILIES for rule in getattr(self, name)})

    def ingredients_of(self, drug: str) -> tuple[str, ...]:
        """Codes of the ingredients of a drug's code; () for a code that the vocabulary does not hold: not checked."""
        if drug in self.ingredients:
            return (drug,)
        if drug in self.products:
            return self.products[drug]
        return mixed(drug, self.ingredients, self._by_slug)

    @cached_property
    def _by_slug(self) -> dict[str, str]:
        return by_slug(self.ingredients)

    @cached_property
    def _place(self) -> dict[str, int]:
        return {code: k for k, code in enumerate(self.pairs.ingredients)}

    def interactions_of(self, ingredient: str) -> dict[str, tuple[str, ...]]:
        """Other ingredients that this one (a code) interacts with -> ids of the rules that count, strictest first."""
        place = self._place.get(ingredient)
        if place is None:
            return {}
        found: dict[str, tuple[str, ...]] = {}
        for entry in range(self.pairs.indptr[place], self.pairs.indptr[place + 1]):
            other = self.pairs.ingredients[self.pairs.other[entry]]
            found[other] = (*found.get(other, ()), self.interactions[self.pairs.rule[entry]].id)
        return found

    def between(self, one: str, other: str) -> tuple[InteractionRule, ...]:
        """The interaction rules that count for two ingredients (codes), strictest first; the order does not matter."""
        return tuple(self.by_id[name] for name in self.interactions_of(one).get(other, ()))  # type: ignore[misc]

    def rules_of(self, ingredient: str, family: str) -> tuple[AnyRule, ...]:
        """All rules of a family (a name of FAMILIES) that name this ingredient (a code), on either side."""

        def named(rule: AnyRule) -> bool:
            if isinstance(rule, InteractionRule):
                return ingredient in rule.left or ingredient in rule.right
            return ingredient in rule.drugs

        return tuple(rule for rule in getattr(self, family) if named(rule))

    # --- what a chart's words mean -----------------------------------------------------------------------------------

    def allergy(self, code: str, text: str, vocabulary: DrugVocabulary) -> AllergyMeaning | None:
        """What an allergy record means; None: not understood, so not checked."""
        return meaning(code, text, self.allergy_groups, self._signs, vocabulary)

    @cached_property
    def _signs(self) -> dict[str, str]:
        return {sign: group.id for group in self.allergy_groups.values() for sign in (*group.words, *group.codes)}

    @cached_property
    def condition_terms(self) -> tuple[str, ...]:
        """Every condition group and code pattern that a rule or state asks for, sorted."""
        asked: set[str] = set()
        for rule in self.conditions:
            asked |= rule.conditions | rule.unless
        for state in self.states.values():
            asked |= state.conditions | state.ended_by
        return tuple(sorted(asked))

    @cached_property
    def _patterns(self) -> tuple[str, ...]:
        return tuple(term for term in self.condition_terms if ":" in term)

    def terms_of(self, code: str, conditions: ConditionVocabulary) -> tuple[str, ...]:
        """Those of `condition_terms` that a coded condition ('icd10cm:E11.9') means; () for a code of no such group."""
        groups = set(conditions.groups(code))
        found = [term for term in self.condition_terms if term in groups]
        return (*found, *(term for term in self._patterns if pattern_matches(term, code)))

    # --- what the rules are ------------------------------------------------------------------------------------------

    @cached_property
    def counts(self) -> dict[str, int]:
        """Rules of each family, and single pairs of drugs that the interaction rules make."""
        return {**{name: len(getattr(self, name)) for name in FAMILIES}, "pairs": self.pairs.severity.nnz // 2}

    @property
    def severities(self) -> dict[str, dict[str, int]]:
        """Family -> severity -> number of rules."""
        return {name: dict(Counter(rule.severity for rule in getattr(self, name))) for name in FAMILIES}

    @cached_property
    def reviewed(self) -> tuple[date, date]:
        """The oldest and the newest day on which a rule was reviewed."""
        days = [rule.reviewed for rule in self.by_id.values()]
        return min(days), max(days)

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Ids of a site's rules that never count because a shipped one is stricter wherever they hold."""
        alive = {self.interactions[k].id for k in self.pairs.rule.tolist()}
        for name, cells in self.counting.items():
            alive |= {getattr(self, name)[k].id for positions in cells.values() for k in positions}
        return tuple(rule.id for rule in self.by_id.values() if rule.origin == "site" and rule.id not in alive)


def _version(files: reading.Files) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        for table in files[name]:
            digest.update(f"{name} {table.origin}\n".encode())
            for _, row in table:
                digest.update(repr(sorted(row.items())).encode())
    return digest.hexdigest()[:16]

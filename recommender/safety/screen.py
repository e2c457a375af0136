"""Charts and candidate drugs in, what stands against each out: the tiers of all patients at a time, or one in words.

Every candidate has one of three outcomes: `withheld` (a contraindication holds), `kept` (with warnings by tier, and
what could not be checked of it), `not_checked` (nobody knows what drug it is, or it is none).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from recommender.matrix import Column
from recommender.safety.allergy import AllergyMeaning
from recommender.safety.charts import KINDS, Charts, Known
from recommender.safety.kernel import ALLERGY, CONDITION, LAB, THERAPY, Meanings, screen_patients
from recommender.safety.kinds import AllergyRule, AnyRule
from recommender.safety.renal import ckd_epi_2021, cockcroft_gault
from recommender.safety.rules import DuplicateRule, Rules
from recommender.safety.tables import Candidates, RuleArrays, ragged, rule_arrays
from recommender.vocabulary import ConditionVocabulary, DrugVocabulary
from recommender.vocabulary.conditions import ICD

BLOCK_PATIENTS = 8_192  # screened at a time by one thread
UNTOLD = {"drug": THERAPY, "condition": CONDITION, "allergy": ALLERGY, "observation": LAB}
CREATININE, WEIGHT = "creatinine", "weight"  # ids of measures.csv from which others are worked out


@dataclass(frozen=True)
class Tiers:
    """What stands against each of some candidates (total,) uint8: rank 0 nothing, 1 caution, 2 serious, 3
    contraindicated; unchecked: bits of `kernel` (DRUG, THERAPY ...)."""

    rank: np.ndarray
    unchecked: np.ndarray


@dataclass(frozen=True)
class Read:
    """The concepts of charts as the rules understand them."""

    known: Known
    meanings: Meanings
    allergies: Mapping[int, AllergyMeaning | None]  # concept -> what the record means
    terms: Mapping[int, tuple[str, ...]]  # concept -> condition terms


@dataclass(frozen=True, eq=False)
class Screen:
    """Rules and vocabularies, ready to screen any chart. Cheap to share, costs about a second to make."""

    rules: Rules
    vocabulary: DrugVocabulary
    conditions: ConditionVocabulary

    @cached_property
    def fact_rules(self) -> tuple[AnyRule, ...]:
        """The rules that hold for a patient whatever the drug, in the order of the arrays."""
        return (*self.rules.conditions, *self.rules.populations, *self.rules.labs)

    @cached_property
    def arrays(self) -> RuleArrays:
        return rule_arrays(self.rules)

    @classmethod
    def load(cls, rules: str = "", vocabulary: str = "") -> Screen:
        """With the shipped rules and vocabularies; `rules`: a site's own folder beside them, `vocabulary`: an imported
        one. Raises RulesMissing, and InputError for a broken table."""
        drugs, conditions = DrugVocabulary.load(Path(vocabulary) if vocabulary else None), ConditionVocabulary.load()
        site = Path(rules) if rules else None
        return cls(Rules.load(site=site, vocabulary=drugs, conditions=conditions), drugs, conditions)

    @cached_property
    def place(self) -> dict[str, int]:
        """Code of an ingredient -> its number in the arrays."""
        return {code: ix for ix, code in enumerate(self.rules.pairs.ingredients)}

    # --- what codes mean ---------------------------------------------------------------------------------------------

    def ingredients(self, code: str) -> tuple[int, ...]:
        """Numbers of the ingredients of a drug's code; () where it is not known."""
        found = self._ingredients.get(code)
        if found is None:
            found = tuple(self.place[part] for part in self.rules.ingredients_of(code))
            if found:  # of what is not known there is no end
                self._ingredients[code] = found
        return found

    @cached_property
    def _ingredients(self) -> dict[str, tuple[int, ...]]:
        """Those that were asked for."""
        return {}

    def naming(self, parts: tuple[int, ...]) -> tuple[int, ...]:
        """Fact rules that name one of the ingredients, ascending."""
        found = self._naming.get(parts)
        if found is None:
            arrays = self.arrays
            each = [arrays.named[arrays.named_ptr[one] : arrays.named_ptr[one + 1]].tolist() for one in parts]
            found = self._naming[parts] = tuple(sorted(set().union(*each)))
        return found

    @cached_property
    def _naming(self) -> dict[tuple[int, ...], tuple[int, ...]]:
        """Those that were asked for."""
        return {}

    @cached_property
    def number_of_measure(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.rules.measures)}

    @cached_property
    def too_many(self) -> tuple[DuplicateRule, ...]:
        """The rules of how many drugs of a group may be taken together, in the order of the arrays."""
        return tuple(rule for rule in self.rules.duplicates if rule.drugs and rule.most > 1)

    @cached_property
    def same(self) -> tuple[DuplicateRule, ...]:
        """The rules of the same ingredient twice."""
        return tuple(rule for rule in self.rules.duplicates if not rule.drugs)

    def candidates(self, columns: Sequence[Column], known: Known) -> Candidates:
        """Columns as what may be suggested where charts tell what is `known`."""
        ptr, parts = ragged(self.ingredients(c.code) if c.kind == "drug" else () for c in columns)
        return Candidates(ptr, parts, np.array([c.code in known.local for c in columns], dtype=bool))

    def read(self, known: Known) -> Read:
        """What the concepts of charts mean."""
        allergies: dict[int, AllergyMeaning | None] = {}
        terms: dict[int, tuple[str, ...]] = {}
        measure: dict[int, str] = {}
        drugs: list[tuple[int, ...]] = []
        vague = np.zeros(len(known.concepts), dtype=bool)
        measure_of = {code: one.id for one in self.rules.measures.values() for code in one.codes}
        for ix, concept in enumerate(known.concepts):
            drugs.append(self.ingredients(concept.code) if concept.kind == "drug" else ())
            if concept.kind == "drug":
                vague[ix] = not drugs[-1]
            elif concept.kind == "condition":
                terms[ix] = self.rules.terms_of(concept.code, self.conditions)
                vague[ix] = not (terms[ix] or self._no_such_condition(concept.code))
            elif concept.kind == "allergy":
                meant = self.rules.allergy(concept.code, concept.name, self.vocabulary)
                allergies[ix] = meant
                vague[ix] = meant is None or not meant.complete
            elif concept.code in measure_of:
                measure[ix] = measure_of[concept.code]
        drug_ptr, drug = ragged(drugs)
        number = {name: ix for ix, name in enumerate(self.rules.condition_terms)}
        term_ptr, term = ragged([number[name] for name in terms.get(ix, ())] for ix in range(len(known.concepts)))
        rank, row = self._allergy_ranks(allergies, len(known.concepts))
        measures = self.number_of_measure
        meanings = Meanings(
            drug_ptr=drug_ptr,
            drug=drug,
            term_ptr=term_ptr,
            term=term,
            allergy=row,
            allergy_rank=rank,
            measure=np.array(
                [measures[measure[ix]] if ix in measure else -1 for ix in range(len(known.concepts))], dtype=np.int64
            ),
            vague=vague,
            kind=np.array([KINDS.index(concept.kind) for concept in known.concepts], dtype=np.int64),
            untold=sum(UNTOLD[kind] for kind in known.untold),
        )
        return Read(known, meanings, allergies, terms)

    def _no_such_condition(self, code: str) -> bool:
        """Whether a code that means no term of the rules is understood all the same: an ICD code is, by its
        beginning; a SNOMED CT code only if it is in some group."""
        system = code.partition(":")[0]
        return (system in ICD and bool(self.conditions.chapter(code))) or bool(self.conditions.groups(code))

    def _allergy_ranks(
        self, allergies: Mapping[int, AllergyMeaning | None], n_concepts: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(A, I) uint8: how strictly each distinct record speaks against each ingredient; (n_concepts,) its row."""
        rows: dict[AllergyMeaning, int] = {}
        row = np.full(n_concepts, -1, dtype=np.int64)
        for ix, meant in allergies.items():
            if meant is not None:
                row[ix] = rows.setdefault(meant, len(rows))
        rank = np.zeros((len(rows), len(self.place)), dtype=np.uint8)
        for meant, at in rows.items():
            for rule in self.rules.allergies:
                numbers = [self.place[code] for code in forbidden(rule, meant)]
                rank[at, numbers] = np.maximum(rank[at, numbers], rule.rank)
        # a record without a meaning points past the table's end otherwise: give it a row that speaks against nothing
        row[(row < 0) & np.isin(np.arange(n_concepts), list(allergies))] = len(rows)
        return np.vstack([rank, np.zeros((1, len(self.place)), dtype=np.uint8)]), row

    # --- all patients ------------------------------------------------------------------------------------------------

    def tiers(
        self,
        read: Read,
        charts: Charts,
        candidates: Sequence[Column],
        list_ptr: np.ndarray,
        listed: np.ndarray,
        elapsed: int = 0,
        family: str = "",
    ) -> Tiers:
        """What stands against every candidate of every patient: patient u's are listed[list_ptr[u]:list_ptr[u + 1]].

        list_ptr (n_patients + 1,), listed (total,): positions in `candidates`. elapsed: days since charts were read.
        family: by the rules of one family alone (a name of FAMILIES).
        """
        arrays, meanings = self.arrays, read.meanings
        if family:
            arrays, meanings = only(arrays, meanings, family)
        drugs = self.candidates(candidates, read.known)
        derived, derived_days = self.derived(read, charts)
        rank, unchecked = np.zeros(len(listed), dtype=np.uint8), np.zeros(len(listed), dtype=np.uint8)
        listed = listed.astype(np.int32, copy=False)  # whoever asks: another type would be compiled anew, for seconds

        def block(first: int) -> None:
            end = min(first + BLOCK_PATIENTS, len(charts))
            screen_patients(
                arrays, meanings, charts.indptr, charts.concept, charts.days, charts.value, charts.age, charts.sex,
                derived, derived_days, self.derivable, self.fresh_days, elapsed, drugs, list_ptr, listed, rank,
                unchecked, first, end,
            )  # fmt: skip

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(block, range(0, len(charts), BLOCK_PATIENTS)))
        return Tiers(rank, unchecked)

    @property
    def observed(self) -> frozenset[str]:
        """Codes of all observations that the rules ask for."""
        return frozenset(code for one in self.rules.measures.values() for code in one.codes)

    @cached_property
    def fresh_days(self) -> np.ndarray:  # (n_measures,) int64
        return np.array([one.days for one in self.rules.measures.values()], dtype=np.int64)

    @cached_property
    def derivable(self) -> np.ndarray:  # (n_derived,) int64
        """The measures that can be worked out of others."""
        return np.array([ix for ix, one in enumerate(self.rules.measures.values()) if one.derived], dtype=np.int64)

    def derived(self, read: Read, charts: Charts) -> tuple[np.ndarray, np.ndarray]:
        """The measures of `derivable`, (n_patients, n_derived) float32, NaN where they cannot be worked out; and how
        many days old the oldest of what they are made of is."""
        shape = (len(charts), len(self.derivable))
        value, days = np.full(shape, np.nan, dtype=np.float32), np.zeros(shape, dtype=np.int64)
        creatinine, creatinine_days = self._newest(read, charts, CREATININE)
        if np.isnan(creatinine).all():
            return value, days
        weight, weight_days = self._newest(read, charts, WEIGHT)
        female, age = charts.sex == 1, np.where(charts.sex > 0, charts.age, np.nan)
        measures = list(self.rules.measures.values())
        for number, measure in enumerate(self.derivable):
            if measures[measure].derived == "ckd-epi-2021":
                value[:, number], days[:, number] = ckd_epi_2021(creatinine, age, female), creatinine_days
            else:
                value[:, number] = cockcroft_gault(creatinine, age, weight, female)
                days[:, number] = np.maximum(creatinine_days, weight_days)
        return value, days

    def _newest(self, read: Read, charts: Charts, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """The newest value of a measure (n_patients,) float32, NaN where there is none, and its age in days."""
        value, days = np.full(len(charts), np.nan, dtype=np.float32), np.zeros(len(charts), dtype=np.int64)
        if measure not in self.number_of_measure:
            return value, days
        fact = np.flatnonzero(read.meanings.measure[charts.concept] == self.number_of_measure[measure])
        if not len(fact):
            return value, days
        row = np.searchsorted(charts.indptr, fact, side="right") - 1
        oldest_first = np.argsort(-charts.days[fact], kind="stable")
        fact, row = fact[oldest_first], row[oldest_first]
        value[row], days[row] = charts.value[fact], charts.days[fact]
        return value, days


def forbidden(rule: AllergyRule, meant: AllergyMeaning) -> frozenset[str]:
    """Codes of the ingredients that a rule forbids to who has an allergy record of this meaning."""
    if not rule.group:
        return meant.ingredients
    return rule.drugs if rule.group in meant.groups else frozenset()


def only(arrays: RuleArrays, meanings: Meanings, family: str) -> tuple[RuleArrays, Meanings]:
    """Rules of one family, the others without a voice."""
    first = {"conditions": 0, "populations": len(arrays.if_days)}
    first["labs"] = first["populations"] + len(arrays.people_state)
    ends = {"conditions": first["populations"], "populations": first["labs"], "labs": len(arrays.rank)}
    rank = np.zeros_like(arrays.rank)
    if family in first:
        part = slice(first[family], ends[family])
        rank[part] = arrays.rank[part]
    arrays = arrays._replace(rank=rank)
    if family != "interactions":
        arrays = arrays._replace(inter=np.zeros_like(arrays.inter))
    if family != "duplicates":
        silent = {name: np.zeros_like(getattr(arrays, name)) for name in ("dup", "same", "many_rank")}
        arrays = arrays._replace(**silent)
    if family != "allergies":
        meanings = meanings._replace(allergy_rank=np.zeros_like(meanings.allergy_rank))
    return arrays, meanings

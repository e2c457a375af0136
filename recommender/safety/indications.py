"""The table of labelled uses in; out: the diseases that a drug is labelled for, and which of a patient's they are.

`data/safety/indications.csv` says for which disease a drug has an FDA label. It stands beside a suggestion ("labelled
for type 2 diabetes", or that no labelled use is on file) and never makes one. What it does not name may still be
labelled: the table is ours, not FDA's.

A combination is labelled for what a row says of it (`sacubitril/valsartan`). Without a row it is labelled for what
**each** of its ingredients is: a local anaesthetic with epinephrine is no drug for shock.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType

from recommender.errors import RulesMissing
from recommender.safety.reading import read_sets
from recommender.safety.table import Names, RuleTable, by_slug, mixed, numbered, pattern_matches
from recommender.vocabulary import ConditionVocabulary, DrugVocabulary
from recommender.vocabulary.conditions import SYSTEMS, ConditionGroup
from recommender.vocabulary.tables import listed

FILE = "indications.csv"
SETS = "drug_sets.csv"
COLUMNS = ("drugs", "conditions", "source", "reviewed")
LONGEST_CODE = 7  # characters of an ICD code without its dot
CHARACTERS = 36  # that may stand in each place of it
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Indications:
    """Labelled uses. A term is the id of a condition group or a code pattern ('icd10cm:E85.4')."""

    named: Mapping[str, tuple[str, ...]]  # code of an ingredient or combination that rows name -> its terms
    names: Mapping[str, str]  # term -> name of its group, the most specific term first
    products: Mapping[str, tuple[str, ...]]  # code of a named combination -> codes of its ingredients
    ingredients: Mapping[str, str]  # code -> name of every ingredient that the vocabulary knows
    conditions: ConditionVocabulary = field(repr=False)
    _terms: dict[str, frozenset[str]] = field(default_factory=dict, repr=False, compare=False)  # by condition code

    @classmethod
    def load(
        cls,
        folder: Path | None = None,
        *,
        vocabulary: DrugVocabulary | None = None,
        conditions: ConditionVocabulary | None = None,
    ) -> Indications:
        """Read indications.csv (and the sets of drugs that it may name) of `folder`, the shipped ones by default.

        Raises RulesMissing when there is no such table, InputError naming file, row and field of a broken one.
        """
        root: Traversable = folder if folder is not None else importlib.resources.files("data.safety")
        for file in (FILE, SETS):
            if not (root / file).is_file():
                raise RulesMissing(f"no labelled indications: {root} has no {file}")
        vocabulary, conditions = vocabulary or DrugVocabulary.load(), conditions or ConditionVocabulary.load()
        names = Names(vocabulary, conditions)
        read_sets({SETS: [RuleTable(root, SETS, "shipped")]}, names)
        products = {drug.code: drug.ingredients for drug in vocabulary.drugs.values() if len(drug.ingredients) > 1}
        reader = _Reader(names, vocabulary, conditions)
        found: dict[str, dict[str, int]] = {}  # drug -> term -> the row that says it
        for table, number, row in numbered([RuleTable(root, FILE, "shipped", COLUMNS)]):
            reader.read(table, number, row, found)
        rank = {term: place for place, term in enumerate(reader.terms())}
        return cls(
            named=MappingProxyType({drug: tuple(sorted(terms, key=rank.__getitem__)) for drug, terms in found.items()}),
            names=MappingProxyType({term: reader.names[term] for term in rank}),
            products=MappingProxyType(products),
            ingredients=MappingProxyType(names.ingredients),
            conditions=conditions,
        )

    def of(self, drug_code: str) -> tuple[str, ...]:
        """Terms that a drug (code of an ingredient or combination) is labelled for, the most specific first.

        () when none is on file, as for an unknown drug and for what is no drug.
        """
        own = self.named.get(drug_code)
        if own is not None:
            return own
        each = [self.named.get(part, ()) for part in self._parts(drug_code)]
        return tuple(term for term in each[0] if all(term in terms for terms in each[1:])) if each else ()

    def labelled_for(self, drug_code: str, condition_codes: Iterable[str]) -> tuple[str, ...]:
        """Names of those of a patient's conditions ('icd10cm:E11.9') that a drug is labelled for.

        The most specific first, each once; () when there is none.
        """
        terms = self.of(drug_code)
        if not terms:
            return ()
        return self.shared(terms, self.terms_of(condition_codes))

    def terms_of(self, condition_codes: Iterable[str]) -> frozenset[str]:
        """Terms that hold for a patient of these conditions."""
        known, theirs = self._terms, set[str]()
        for code in condition_codes:
            found = known.get(code)
            theirs |= self._terms_of(code) if found is None else found
        return frozenset(theirs)

    def shared(self, terms: Iterable[str], theirs: Collection[str]) -> tuple[str, ...]:
        """Names of those of a drug's terms that are among a patient's, each once."""
        return tuple(dict.fromkeys(self.names[term] for term in terms if term in theirs))

    def drugs_for(self, term: str) -> tuple[str, ...]:
        """Codes of ingredients and named combinations labelled for a term; for a group, in any part of it that rows
        name by a code pattern too."""
        return self._drugs.get(term, ())

    @cached_property
    def _drugs(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, dict[str, None]] = {}
        groups = {group.name: group.id for group in self.conditions.all_groups}
        for drug in (*self.ingredients, *self.products):
            for term in self.of(drug):
                for name in (term, groups[self.names[term]]):
                    found.setdefault(name, {})[drug] = None
        return {term: tuple(drugs) for term, drugs in found.items()}

    def _terms_of(self, code: str) -> frozenset[str]:
        """Terms that hold for a patient's condition. Kept when the vocabulary knows the code: free text has no end."""
        groups = self.conditions.groups(code)
        if not groups and not self.conditions.chapter(code):
            return NOTHING
        patterns = (term for term in self._patterns if pattern_matches(term, code))
        found = self._terms[code] = frozenset(group for group in groups if group in self.names).union(patterns)
        return found

    @cached_property
    def _patterns(self) -> tuple[str, ...]:
        return tuple(term for term in self.names if ":" in term)

    def _parts(self, drug: str) -> tuple[str, ...]:
        """Codes of the ingredients of a combination; () when `drug` is none."""
        if drug in self.products:
            return self.products[drug]
        return mixed(drug, self.ingredients, self._by_slug)

    @cached_property
    def _by_slug(self) -> dict[str, str]:
        return by_slug(self.ingredients)


class _Reader:
    """Reads rows, and learns the name and the breadth of each term."""

    def __init__(self, names: Names, vocabulary: DrugVocabulary, conditions: ConditionVocabulary) -> None:
        self.names: dict[str, str] = {}  # term -> name
        self._words, self._conditions = names, conditions
        self._groups = {group.id: group for group in conditions.all_groups}
        self._place = {group.id: place for place, group in enumerate(conditions.all_groups)}
        named = [drug for drug in vocabulary.drugs.values() if len(drug.ingredients) > 1]
        self._products = {frozenset(drug.ingredients): drug.code for drug in named}
        self._by_class: dict[str, set[str]] = {}
        for drug in named:
            self._by_class.setdefault(drug.drug_class, set()).add(drug.code)
        for code in names.ingredients:  # a class of ingredients is what it is in the other tables
            self._by_class.pop(vocabulary.drugs[code].drug_class, None)

    def read(self, table: RuleTable, number: int, row: Mapping[str, str], found: dict[str, dict[str, int]]) -> None:
        """Adds what one row says to `found`."""
        table.day(number, row)
        if not row["source"]:
            raise table.wrong("must not be empty", number, "source")
        terms = self._words.conditions(table, number, "conditions", row["conditions"])
        if not terms:
            raise table.wrong("names no condition", number, "conditions")
        for term in terms:
            self.names.setdefault(term, self._name(table, number, term))
        for drug in sorted(self._drugs(table, number, row["drugs"])):
            known = found.setdefault(drug, {})
            for term in sorted(terms):
                if term in known:
                    raise table.wrong(f"row {known[term]} says {term!r} of {drug} already", number, "conditions")
                known[term] = number

    def _drugs(self, table: RuleTable, number: int, cell: str) -> frozenset[str]:
        """Codes of ingredients as in the other tables, and of named combinations: 'a/b', or a class of nothing else."""
        plain: list[str] = []
        found: set[str] = set()
        for part in listed(cell):
            codes = self._combinations(table, number, part.removeprefix("!"))
            if codes is None:
                plain.append(part)
            elif not part.startswith("!"):
                found |= codes
            elif codes <= found:
                found -= codes
            else:
                raise table.wrong(f"{part!r} takes out what is not in it", number, "drugs")
        if plain or not found:
            found |= self._words.drugs(table, number, "drugs", "|".join(plain))
        return frozenset(found)

    def _combinations(self, table: RuleTable, number: int, part: str) -> set[str] | None:
        if part.startswith("class:"):
            return self._by_class.get(part.removeprefix("class:"))
        if "/" not in part:
            return None
        ingredients = self._words.drugs(table, number, "drugs", part.replace("/", "|"))
        if ingredients not in self._products:
            raise table.wrong(f"combinations.csv has no {part!r}", number, "drugs")
        return {self._products[ingredients]}

    def _name(self, table: RuleTable, number: int, term: str) -> str:
        """A pattern is called as the most specific group that it lies in."""
        groups = (term,) if term in self._groups else self._conditions.groups(term.replace("?", "0"))
        if not groups:
            raise table.wrong(f"{term!r} lies in no condition group, so it has no name", number, "conditions")
        return self._groups[min(groups, key=self._breadth)].name

    def terms(self) -> list[str]:
        """All terms, the most specific first."""
        return sorted(self.names, key=self._breadth)

    def _breadth(self, term: str) -> tuple[int, int, str]:
        """How much of its coding system a term takes up, then its place in the table of groups."""
        group = self._groups.get(term)
        if group is not None:
            return _codes(group), self._place[term], term
        system, _, pattern = term.partition(":")
        return 0 if system == "snomed" else _size(pattern.replace(".", "")), -1, term


def _codes(group: ConditionGroup) -> int:
    """How many ICD-10-CM codes could lie in a group (ICD-9-CM, where it has none; 0 when it has only SNOMED CT)."""
    for system in reversed(SYSTEMS[:2]):
        if group.within[system]:
            return sum(map(_size, group.within[system])) - sum(map(_size, group.without[system]))
    return 0


def _size(pattern: str) -> int:
    return CHARACTERS ** (LONGEST_CODE - len(pattern) + pattern.count("?"))

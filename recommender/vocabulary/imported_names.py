"""An `RxNorm` in, the rows of ingredients.csv and combinations.csv out: our own and what RxNorm adds, no name twice."""

from __future__ import annotations

import importlib.resources
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from recommender.vocabulary.matcher import DrugVocabulary
from recommender.vocabulary.rxnorm import INGREDIENT, PRECISE, RxNorm
from recommender.vocabulary.tables import (
    CLASS_COLUMNS,
    COMBINATION_COLUMNS,
    INGREDIENT_COLUMNS,
    Table,
    Tables,
    listed,
)
from recommender.vocabulary.text import key

SHORTEST = 5  # letters of a new synonym or brand: short ones are abbreviations, which get mistaken for other drugs
Row = dict[str, str]


class Change(NamedTuple):
    """A line of the report."""

    what: str
    drug: str
    before: str
    after: str


class Names:
    """Rows of both tables, by the name of the drug; and which of them each ingredient of RxNorm is."""

    def __init__(self, release: RxNorm) -> None:
        self.release = release
        self.report: list[Change] = []
        self._tables = Tables.load()
        shipped = importlib.resources.files("data.vocabulary")
        rows = (row for _, row in Table(shipped, "ingredients.csv", INGREDIENT_COLUMNS))
        self.ingredients: dict[str, Row] = {row["name"]: row for row in rows}
        rows = (row for _, row in Table(shipped, "combinations.csv", COMBINATION_COLUMNS))
        self.combinations: dict[str, Row] = {
            drug.name: row for drug, row in zip(self._tables.combinations, rows, strict=True)
        }
        self._owner = {
            key(spelling): drug.name
            for drug in (*self._tables.ingredients, *self._tables.combinations)
            for spelling, _ in drug.terms
        }
        self._vocabulary = DrugVocabulary(self._tables)
        self._brands: dict[str, dict[str, str]] = defaultdict(dict)  # key -> drug -> brand
        self._current = {
            rxcui: tidy(concept.name)
            for rxcui, concept in release.concepts.items()
            if concept.tty == INGREDIENT and concept.current
        }
        self._ours: dict[str, str] = {}  # RxCUI of an ingredient -> name of ours
        self._doubted: set[str] = set()  # RxCUIs of ours that RxNorm does not confirm: nothing is concluded from them
        self._wordlike: set[str] = set()  # ingredients whose name is a word that changes no drug: water, inert
        self._correct_codes()
        self._add_ingredients()
        self._add_synonyms()

    def rows(self) -> list[Row]:
        return [*self.ingredients.values(), *self.combinations.values()]

    def of(self, ingredients: Iterable[str]) -> set[str]:
        """Our names of some RxCUIs of ingredients, without what is a word beside them; none where one is not ours."""
        told = [self._ours.get(rxcui) for rxcui in ingredients if rxcui not in self._wordlike]
        return {name for name in told if name} if None not in told else set()

    def singly(self, concepts: Iterable[str]) -> set[str]:
        """Our ingredients that one of these concepts is by itself: an ingredient, or a precise form of one."""
        found = (self.of(self.release.ingredients.get(rxcui, ())) for rxcui in concepts)
        return {name for names in found if len(names) == 1 for name in names}

    def curated_classes(self) -> tuple[dict[str, str], list[Row]]:
        """Class -> id of its group, and the rows of classes.csv."""
        shipped = importlib.resources.files("data.vocabulary")
        rows = [row for _, row in Table(shipped, "classes.csv", CLASS_COLUMNS)]
        return {row["name"]: row["parent"] for row in rows if row["parent"]}, rows

    # ---- ingredients

    def _correct_codes(self) -> None:
        by_name: dict[str, list[str]] = defaultdict(list)
        for rxcui, name in self._current.items():
            by_name[key(name)].append(rxcui)
        taken = {row["rxcui"] for row in self.ingredients.values()}
        for drug in self._tables.ingredients:
            row = self.ingredients[drug.name]
            before = row["rxcui"]
            spellings = {key(spelling) for spelling, how in drug.terms if how != "brand"}
            theirs = {key(name) for name in (self._current.get(before, ""), *self.release.synonyms.get(before, ()))}
            if before not in self._current or spellings.isdisjoint(theirs):
                same = {rxcui for name in filter(None, (row["name"], row["inn"])) for rxcui in by_name[key(name)]}
                if len(same) == 1 and not same & taken:
                    row["rxcui"] = same.pop()
                    taken.add(row["rxcui"])
                    self._tell("code corrected" if before else "code added", drug.name, before, row["rxcui"])
                else:
                    self._tell_doubt(drug.name, before)
                    self._doubted.add(before)
            if row["rxcui"] in self._current and row["rxcui"] not in self._doubted:
                self._ours[row["rxcui"]] = drug.name
        for drug in self._tables.ingredients:  # what a retired code was merged into is still that drug
            for rxcui in self.release.merged.get(self.ingredients[drug.name]["rxcui"], ()):
                if rxcui in self._current and rxcui not in self._ours:
                    self._ours[rxcui] = drug.name

    def _tell_doubt(self, name: str, rxcui: str) -> None:
        """Our code is none, or none of an ingredient that has our name: say why, for a person to look at."""
        concept = self.release.concepts.get(rxcui)
        if not rxcui:
            self._tell("has no code in RxNorm", name, "", "")
        elif rxcui in self.release.merged:
            self._tell("code was merged into another", name, rxcui, " ".join(sorted(self.release.merged[rxcui])))
        elif concept is None:
            self._tell("code is not in this release", name, rxcui, "")
        elif not concept.current:
            self._tell("code is obsolete", name, rxcui, "")
        elif concept.tty != INGREDIENT:
            self._tell(f"code is no ingredient but {concept.tty}", name, rxcui, tidy(concept.name))
        else:
            self._tell("code has another name in RxNorm", name, rxcui, tidy(concept.name))

    def _add_ingredients(self) -> None:
        for rxcui, name in sorted(self._current.items(), key=lambda item: int(item[0])):
            if rxcui in self._ours or rxcui in self._doubted:
                continue
            owner = self._meant(name)
            if owner in self.ingredients:  # ours under another code, or with a salt or a synonym in its name
                self._ours[rxcui] = owner
                self._tell("ingredient is one of ours by its name", owner, rxcui, name)
            elif self._vocabulary.only_words(name):
                self._wordlike.add(rxcui)
                self._tell("ingredient left out: its name is a word that may stand beside any", "", rxcui, name)
            elif owner is not None:
                self._tell("ingredient left out: its name means something else", owner, rxcui, name)
            else:
                self.ingredients[name] = dict.fromkeys(INGREDIENT_COLUMNS, "") | {"rxcui": rxcui, "name": name}
                self._owner[key(name)] = self._ours[rxcui] = name

    def _add_synonyms(self) -> None:
        """RxNorm's other names of an ingredient, and those of its precise ingredients ('metformin hydrochloride')."""
        meant: dict[str, dict[str, str]] = defaultdict(dict)  # key -> ingredient -> spelling
        for rxcui, concept in self.release.concepts.items():
            if concept.tty not in (INGREDIENT, PRECISE) or not concept.current:
                continue
            for owner in self.singly([rxcui]):
                for spelling in map(tidy, (concept.name, *self.release.synonyms.get(rxcui, ()))):
                    meant[key(spelling)].setdefault(owner, spelling)
        for owners in meant.values():
            ((owner, spelling), *others) = owners.items()
            if not others and self._is_new(spelling):
                self._add(self.ingredients[owner], "synonyms", spelling, owner)

    # ---- products

    def add_combination(self, drug: str, ingredients: Iterable[str]) -> None:
        """A row for a combination that the tables lack."""
        names = sorted(ingredients)
        terms = {key(drug), key(" / ".join(reversed(names)))}
        if any(self._owner.get(term, drug) != drug for term in terms):
            self._tell("combination left out: its name is that of another drug", drug, "", "")
            return
        self.combinations[drug] = dict.fromkeys(COMBINATION_COLUMNS, "") | {"ingredients": "|".join(names)}
        self._owner |= dict.fromkeys(terms, drug)

    def add_brand(self, brand: str, drug: str) -> None:
        """Note a brand of the drug of that name."""
        self._brands[key(brand)].setdefault(drug, brand)

    def write_brands(self) -> None:
        """Write the noted brands that mean one drug into its row, and report the others."""
        rows = self.ingredients | self.combinations
        for owners in self._brands.values():
            ((owner, brand), *others) = owners.items()
            ours = self._meant(brand)
            if ours is not None and {ours} != set(owners):
                self._tell("brand left out: ours means another drug", ours, brand, " | ".join(owners))
            elif others:
                self._tell("brand left out: it means several drugs", "", brand, " | ".join(owners))
            elif owner in rows and self._is_new(brand):
                self._add(rows[owner], "brands", brand, owner)

    # ---- common

    def _meant(self, spelling: str) -> str | None:
        """The drug that a spelling means already, "" where it means none (a flush, no word); None where it is new."""
        found = self._vocabulary.match(spelling)
        if found.status == "not_therapy" or not key(spelling):
            return ""
        return found.name if found.status == "mapped" and found.method != "fuzzy" else self._owner.get(key(spelling))

    def _is_new(self, spelling: str) -> bool:
        known = self._meant(spelling) is not None or self._vocabulary.only_words(spelling)
        return not known and len(key(spelling)) >= SHORTEST

    def _add(self, row: Row, column: str, spelling: str, owner: str) -> None:
        if "|" not in spelling:
            row[column] = "|".join([*listed(row[column]), spelling])
            self._owner[key(spelling)] = owner

    def _tell(self, what: str, drug: str, before: str, after: str) -> None:
        self.report.append(Change(what, drug, before, after))


def tidy(name: str) -> str:
    """One line with single spaces."""
    return " ".join(name.split())

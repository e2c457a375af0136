"""A folder of rule tables in, rows with their file and number out, and the drugs and conditions that a cell names.

A cell of drugs lists, separated by bars, names of ingredients (US or international), `class:<name of classes.csv>`,
`set:<id of drug_sets.csv>`; a part that begins with `!` is taken out again. An unknown word is an `InputError`.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from recommender.errors import InputError, RulesMissing
from recommender.safety.kinds import RANK
from recommender.vocabulary import ConditionVocabulary, DrugVocabulary
from recommender.vocabulary.conditions import ICD, snomed_check_digit_holds
from recommender.vocabulary.tables import Table, listed, slug
from recommender.vocabulary.text import key

OFF = "off.csv"
ENDING = ("message", "management", "source", "reviewed")  # the last columns of every table of rules
COLUMNS: dict[str, tuple[str, ...]] = {
    "drug_sets.csv": ("id", "name", "members", "source", "reviewed"),
    "interactions.csv": ("id", "severity", "left", "right", "effect", "mechanism", *ENDING),
    "allergy_groups.csv": ("id", "name", "kind", "drugs", "words", "codes", "source", "reviewed"),
    "allergies.csv": ("id", "severity", "group", "drugs", *ENDING),
    "duplicates.csv": ("id", "severity", "drugs", "most", "accepted", *ENDING),
    "conditions.csv": ("id", "severity", "drugs", "conditions", "days", "unless", *ENDING),
    "patient_states.csv": ("id", "name", "conditions", "days", "ended_by", "source", "reviewed"),
    "populations.csv": ("id", "severity", "drugs", "state", "sex", "age_from", "age_below", *ENDING),
    "measures.csv": ("id", "name", "loinc", "unit", "derived", "days", "source", "reviewed"),
    "labs.csv": ("id", "severity", "drugs", "measure", "comparison", "value", "days", *ENDING),
    OFF: ("id", "reason", "reviewed"),
}
SHIPPED = tuple(name for name in COLUMNS if name != OFF)
ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_ICD = re.compile(r"[0-9A-Z][0-9]{1,2}[0-9A-Z]?(?:\.[0-9A-Z?]{1,4})?")


class RuleTable(Table):
    """One table of rules. Unlike other tables it may have no column that is not known: a slip there disarms a rule."""

    def __init__(self, root: Traversable, file: str, origin: str, columns: tuple[str, ...] | None = None) -> None:
        """`columns`: of a table that is none of the rules' own (indications.csv)."""
        super().__init__(root, file, columns or COLUMNS[file])
        self.origin = origin
        unknown = [name for name in self._reader.fieldnames or () if name not in self._columns]
        if unknown:
            raise InputError(f"{unknown[0]!r} is no column of this table", file=file, row=1, field=unknown[0])
        self._rows = list(super().__iter__())

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        return iter(self._rows)

    def common(self, number: int, row: Mapping[str, str]) -> dict[str, Any]:
        """The fields of `Rule`, checked."""
        if row["severity"] not in RANK:
            raise self.wrong(f"{row['severity']!r} is none of {', '.join(RANK)}", number, "severity")
        for name in ("message", "management", "source"):
            if not row[name]:
                raise self.wrong("must not be empty", number, name)
        fields = {name: row[name] for name in ("severity", "message", "management", "source")}
        where = {"origin": self.origin, "file": self.file, "row": number}
        return {"id": row["id"], **fields, "reviewed": self.day(number, row), **where}

    def day(self, number: int, row: Mapping[str, str]) -> date:
        try:
            if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", row["reviewed"]):
                raise ValueError
            return date.fromisoformat(row["reviewed"])
        except ValueError:
            raise self.wrong(f"{row['reviewed']!r} is no date such as 2026-11-22", number, "reviewed") from None

    def number(
        self, number: int, row: Mapping[str, str], field: str, low: float = 0, high: float = 1e6
    ) -> float | None:
        """The cell as a number from low to high; None where it is empty."""
        if not row[field]:
            return None
        if not re.fullmatch(r"\d+(\.\d+)?", row[field]) or not low <= float(row[field]) <= high:
            raise self.wrong(f"{row[field]!r} is no number from {low:g} to {high:g}", number, field)
        return float(row[field])

    def days(self, number: int, row: Mapping[str, str]) -> int | None:
        found = self.number(number, row, "days", 1, 40_000)
        if found is not None and not found.is_integer():
            raise self.wrong(f"{row['days']!r} is no whole number of days", number, "days")
        return None if found is None else int(found)


class Names:
    """Words of cells -> codes. Sets are added as their rows are read, so a set may name the ones above it."""

    def __init__(self, vocabulary: DrugVocabulary, conditions: ConditionVocabulary) -> None:
        self.ingredients: dict[str, str] = {}  # code -> name, in the vocabulary's order
        self.sets: dict[str, frozenset[str]] = {}
        self._by_name: dict[str, str] = {}
        self._by_class: dict[str, set[str]] = {name: set() for name in vocabulary.classes}
        self._groups = {group.id for group in conditions.all_groups}
        for drug in vocabulary.drugs.values():
            if drug.ingredients != (drug.code,):
                continue
            self.ingredients[drug.code] = drug.name
            self._by_name.update({key(term): drug.code for term, how in drug.terms if how == "exact"})
            if drug.drug_class:
                self._by_class[drug.drug_class].add(drug.code)

    def drugs(self, table: RuleTable, number: int, field: str, cell: str) -> frozenset[str]:
        """Codes of the ingredients that a cell names. Raises InputError for an unknown word, or when none is left."""
        found: set[str] = set()
        for part in listed(cell):
            try:
                codes = self._named(part.removeprefix("!"))
            except KeyError as error:
                raise table.wrong(str(error.args[0]), number, field) from None
            if not part.startswith("!"):
                found |= codes
            elif codes <= found:
                found -= codes
            else:
                raise table.wrong(f"{part!r} takes out what is not in it", number, field)
        if not found:
            raise table.wrong("names no drug", number, field)
        return frozenset(found)

    def _named(self, part: str) -> frozenset[str]:
        kind, colon, name = part.partition(":")
        if not colon:
            if key(part) not in self._by_name:
                raise KeyError(f"the vocabulary has no ingredient {part!r} (a brand or combination is none)")
            return frozenset({self._by_name[key(part)]})
        if kind == "class":
            if not self._by_class.get(name):
                raise KeyError(f"classes.csv has no class {name!r} with ingredients")
            return frozenset(self._by_class[name])
        if kind == "set":
            if name not in self.sets:
                raise KeyError(f"drug_sets.csv has no set {name!r} (above this row)")
            return self.sets[name]
        raise KeyError(f"{part!r}: only class: and set: may stand before a colon")

    def conditions(self, table: RuleTable, number: int, field: str, cell: str) -> frozenset[str]:
        """Ids of groups, and code patterns. Raises InputError for what is none."""
        found = set()
        for part in listed(cell):
            system, colon, value = part.partition(":")
            good = part in self._groups if not colon else is_pattern(system, value)
            if not good:
                raise table.wrong(f"{part!r} is no condition group and no code pattern", number, field)
            if part in found:
                raise table.wrong(f"{part!r} stands there twice", number, field)
            found.add(part)
        return frozenset(found)


def is_pattern(system: str, value: str) -> bool:
    """'icd10cm', 'E72.2' -> True: the beginning of a code of a known system; a SNOMED CT code must be whole."""
    return snomed_check_digit_holds(value) if system == "snomed" else system in ICD and bool(_ICD.fullmatch(value))


def pattern_matches(pattern: str, code: str) -> bool:
    """Whether a coded condition ('icd10cm:E72.20') begins as a pattern says ('icd10cm:E72.2'); ? is any character."""
    system, _, wanted = pattern.partition(":")
    own, _, value = code.partition(":")
    if own != system:
        return False
    if system == "snomed":
        return value == wanted
    value, wanted = value.replace(".", "").upper(), wanted.replace(".", "")
    return len(value) >= len(wanted) and all(w in ("?", v) for w, v in zip(wanted, value, strict=False))


def tables(folder: Path | None, site: Path | None) -> dict[str, list[RuleTable]]:
    """Each table's files: the shipped one (or that of `folder`), then the site's own, if it has one.

    Raises RulesMissing when a folder or a shipped table is absent, InputError for a file of a site that is no table.
    """
    root: Traversable = folder if folder is not None else importlib.resources.files("data.safety")
    if not root.is_dir():
        raise RulesMissing(f"no safety rules: {root} is no folder")
    found: dict[str, list[RuleTable]] = {name: [] for name in COLUMNS}
    for name in SHIPPED:
        if not (root / name).is_file():
            raise RulesMissing(f"no safety rules: {root} has no {name}")
        found[name].append(RuleTable(root, name, "shipped"))
    if site is None:
        return found
    if not site.is_dir():
        raise RulesMissing(f"the site's own rules are not there: {site} is no folder")
    strange = sorted(path.name for path in site.iterdir() if path.suffix == ".csv" and path.name not in COLUMNS)
    if strange:
        raise InputError(f"is no table of rules; they are called {', '.join(COLUMNS)}", file=strange[0])
    own = [name for name in COLUMNS if (site / name).is_file()]
    if not own:
        raise InputError(f"{site} holds none of {', '.join(COLUMNS)}")
    for name in own:
        found[name].append(RuleTable(site, name, "site"))
    return found


def by_slug(ingredients: Mapping[str, str]) -> dict[str, str]:
    """How a mixture's code spells an ingredient -> its code; ingredients: code -> name."""
    return {slug(name): code for code, name in ingredients.items()}


def mixed(drug: str, ingredients: Mapping[str, str], slugs: Mapping[str, str]) -> tuple[str, ...]:
    """Codes of the ingredients of a mixture that no table names ('rxnorm:1191+2670', 'drug:a+b'); () for any other
    code, and where not all of them are known. slugs: as `by_slug` gives them."""
    system, _, value = drug.partition(":")
    parts = tuple(f"{system}:{part}" for part in value.split("+"))
    if system == "drug":
        parts = tuple(slugs.get(part, "") for part in value.split("+"))
    return parts if len(parts) > 1 and all(part in ingredients for part in parts) else ()


def numbered(files: Iterable[RuleTable]) -> Iterator[tuple[RuleTable, int, dict[str, str]]]:
    """All rows of some files, each with its file and number."""
    for table in files:
        for number, row in table:
            yield table, number, row

"""From the CSV tables of a vocabulary folder to checked, frozen rows; a broken table is an `InputError` with its line.

The shipped tables and the meaning of their columns are described in `data/vocabulary/README.md`.
"""

from __future__ import annotations

import csv
import importlib.resources
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from recommender.errors import InputError
from recommender.vocabulary.routes import ROUTE_ORDER
from recommender.vocabulary.text import key

ANY_DRUG = "*"  # in not_therapy.csv: the words alone decide, whatever the drug
WORD_KINDS = ("salt", "unit", "form", "container", "note", "connector", "vehicle")


@dataclass(frozen=True)
class Drug:
    """An ingredient, or a named combination of ingredients."""

    code: str  # "rxnorm:6809", "drug:sacubitril", "rxnorm:5487+29046"
    name: str
    drug_class: str  # a name of classes.csv; "" when the table gives none
    ingredients: tuple[str, ...]  # codes; its own code when it is an ingredient
    terms: tuple[tuple[str, str], ...]  # (spelling, "exact" for a US or international name | "synonym" | "brand")
    newer: bool = False  # an ingredient that the 2015 list of RxCUIs does not hold


@dataclass(frozen=True)
class Word:
    """A word or phrase that may stand beside a drug's name without changing which drug it is."""

    kind: str  # one of WORD_KINDS
    route_class: str  # one of ROUTE_ORDER; "" when it tells nothing of the route


@dataclass(frozen=True)
class NotTherapyRule:
    """Holds when every drug of a text is among `drugs` and one of `words` stands in it."""

    drugs: frozenset[str]  # codes; empty: no drug may be named; {ANY_DRUG}: any
    words: frozenset[str]  # keys
    reason: str


@dataclass(frozen=True)
class Tables:
    """All tables of a vocabulary folder."""

    classes: Mapping[str, str]  # class name -> name of its therapeutic group
    ingredients: tuple[Drug, ...]
    combinations: tuple[Drug, ...]
    words: Mapping[str, Word]  # by key
    not_therapy: tuple[NotTherapyRule, ...]
    lookalikes: frozenset[str]  # keys of real drug names of no ingredient here: never a misspelling of one

    @classmethod
    def load(cls, folder: Path | None = None) -> Tables:
        """Read the tables of `folder`, the shipped ones by default. Raises InputError with file, row and field."""
        root: Traversable = folder if folder is not None else importlib.resources.files("data.vocabulary")
        classes = _classes(Table(root, "classes.csv", CLASS_COLUMNS))
        ingredients = _ingredients(Table(root, "ingredients.csv", INGREDIENT_COLUMNS), classes)
        by_name = {drug.name: drug for drug in ingredients}
        combination_table = Table(root, "combinations.csv", COMBINATION_COLUMNS)
        rules_table = Table(root, "not_therapy.csv", ("drugs", "words", "reason"))
        words_table = Table(root, "words.csv", ("word", "kind", "route_class"))
        return cls(
            classes=classes,
            ingredients=ingredients,
            combinations=_combinations(combination_table, by_name, classes),
            words=_words(words_table),
            not_therapy=tuple(_rules(rules_table, by_name)),
            lookalikes=frozenset(key(row["name"]) for _, row in Table(root, "lookalikes.csv", ("name",))),
        )


CLASS_COLUMNS = ("id", "name", "parent")
INGREDIENT_COLUMNS = ("rxcui", "name", "inn", "tall_man", "drug_class", "brands", "synonyms", "newer")
COMBINATION_COLUMNS = ("ingredients", "drug_class", "brands", "synonyms")


class Table:
    """Rows of one CSV file with their numbers as a spreadsheet counts them (the header is row 1)."""

    def __init__(self, root: Traversable, file: str, columns: tuple[str, ...]) -> None:
        self.file = file
        try:
            text = (root / file).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise InputError("the vocabulary folder has no such readable table", file=file) from error
        except UnicodeDecodeError as error:
            raise InputError("not UTF-8: save it as UTF-8", file=file) from error
        reader = csv.DictReader(text.splitlines(), strict=True)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"has no column {missing[0]!r}", file=file, row=1, field=missing[0])
        self._reader, self._columns = reader, columns

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        try:
            for number, row in enumerate(self._reader, start=2):
                if None in row or None in row.values():
                    raise InputError("has not as many fields as the header", file=self.file, row=number)
                yield number, {column: row[column].strip() for column in self._columns}
        except csv.Error as error:
            raise InputError(f"not a CSV line: {error}", file=self.file) from error

    def wrong(self, message: str, row: int, field: str) -> InputError:
        return InputError(message, file=self.file, row=row, field=field)


def _classes(table: Table) -> dict[str, str]:
    """Two levels: a row without a parent is a therapeutic group, any other a class in one."""
    groups: dict[str, str] = {}
    classes: dict[str, str] = {}
    ids: set[str] = set()
    for number, row in table:
        if not row["name"] or row["name"] in classes:
            raise table.wrong("missing, or there twice", number, "name")
        if not row["id"] or row["id"] in ids:
            raise table.wrong("missing, or there twice", number, "id")
        ids.add(row["id"])
        if not row["parent"]:
            groups[row["id"]] = row["name"]
        elif row["parent"] not in groups:
            raise table.wrong(f"no group {row['parent']!r} above this row", number, "parent")
        else:
            classes[row["name"]] = groups[row["parent"]]
    return classes


def _ingredients(table: Table, classes: Mapping[str, str]) -> tuple[Drug, ...]:
    found: dict[str, Drug] = {}
    for number, row in table:
        if not key(row["name"]):
            raise table.wrong("missing", number, "name")
        if row["rxcui"] and not re.fullmatch(r"[1-9][0-9]{0,8}", row["rxcui"]):
            raise table.wrong(f"{row['rxcui']!r} is no RxCUI", number, "rxcui")
        if row["drug_class"] and row["drug_class"] not in classes:  # an imported ingredient may have none
            raise table.wrong(f"no class {row['drug_class']!r} in classes.csv", number, "drug_class")
        if row["newer"] not in ("", "yes"):
            raise table.wrong("must be 'yes' or empty", number, "newer")
        code = f"rxnorm:{row['rxcui']}" if row["rxcui"] else f"drug:{slug(row['name'])}"
        if code in found:
            raise table.wrong(f"{code} is already {found[code].name!r}", number, "rxcui")
        terms = [(row[column], "exact") for column in ("name", "inn", "tall_man") if row[column]]
        terms += [(term, "synonym") for term in listed(row["synonyms"])]
        terms += [(term, "brand") for term in listed(row["brands"])]
        found[code] = Drug(code, row["name"], row["drug_class"], (code,), tuple(terms), row["newer"] == "yes")
    return tuple(found.values())


def _combinations(table: Table, by_name: Mapping[str, Drug], classes: Mapping[str, str]) -> tuple[Drug, ...]:
    found: dict[str, Drug] = {}
    for number, row in table:
        names = listed(row["ingredients"])
        unknown = [name for name in names if name not in by_name]
        if unknown or len(set(names)) < 2:
            raise table.wrong(f"needs two or more names of ingredients.csv: {unknown}", number, "ingredients")
        if row["drug_class"] and row["drug_class"] not in classes:
            raise table.wrong(f"no class {row['drug_class']!r} in classes.csv", number, "drug_class")
        drug = combine([by_name[name] for name in names], row["drug_class"])
        if drug.code in found:
            raise table.wrong(f"{drug.name!r} is there twice", number, "ingredients")
        terms = [(drug.name, "exact"), (" / ".join(sorted(names, reverse=True)), "exact")]
        terms += [(term, "synonym") for term in listed(row["synonyms"])]
        terms += [(term, "brand") for term in listed(row["brands"])]
        found[drug.code] = Drug(drug.code, drug.name, drug.drug_class, drug.ingredients, tuple(terms))
    return tuple(found.values())


def combine(parts: list[Drug], drug_class: str = "") -> Drug:
    """The combination of some ingredients: its code and name do not depend on their order."""
    parts = sorted({part.code: part for part in parts}.values(), key=lambda part: part.name.casefold())
    codes = sorted((part.code for part in parts), key=_rxcui_order)
    if all(code.startswith("rxnorm:") for code in codes):
        code = "rxnorm:" + "+".join(code.removeprefix("rxnorm:") for code in codes)
    else:
        code = "drug:" + "+".join(slug(part.name) for part in parts)
    if not drug_class and len({part.drug_class for part in parts}) == 1:
        drug_class = parts[0].drug_class
    return Drug(code, " / ".join(part.name for part in parts), drug_class, tuple(codes), ())


def _rxcui_order(code: str) -> tuple[int, str]:
    number = code.removeprefix("rxnorm:")
    return (int(number) if number.isdigit() else 10**12, code)


def _words(table: Table) -> dict[str, Word]:
    words: dict[str, Word] = {}
    for number, row in table:
        word = key(row["word"])
        if not word or word in words:
            raise table.wrong("missing, or there twice", number, "word")
        if row["kind"] not in WORD_KINDS:
            raise table.wrong(f"{row['kind']!r} is none of {', '.join(WORD_KINDS)}", number, "kind")
        if row["route_class"] not in ("", *ROUTE_ORDER):
            raise table.wrong(f"{row['route_class']!r} is none of {', '.join(ROUTE_ORDER)}", number, "route_class")
        words[word] = Word(row["kind"], row["route_class"])
    return words


def _rules(table: Table, by_name: Mapping[str, Drug]) -> Iterator[NotTherapyRule]:
    for number, row in table:
        names = listed(row["drugs"])
        unknown = [name for name in names if name != ANY_DRUG and name not in by_name]
        if unknown:
            raise table.wrong(f"no ingredient {unknown[0]!r} in ingredients.csv", number, "drugs")
        words = frozenset(key(word) for word in listed(row["words"]))
        if not words or not row["reason"]:
            raise table.wrong("a rule needs words and a reason", number, "words" if row["reason"] else "reason")
        codes = frozenset(name if name == ANY_DRUG else by_name[name].code for name in names)
        yield NotTherapyRule(codes, words, row["reason"])


def listed(cell: str) -> list[str]:
    return [part.strip() for part in cell.split("|") if part.strip()]


def slug(name: str) -> str:
    return key(name).replace(" ", "-").replace(".", "-")


def site_rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Row number, source and target of each line of a site's own map."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for column in ("source", "target"):
                if column not in (reader.fieldnames or ()):
                    raise InputError(f"has no column {column!r}", file=path.name, row=1, field=column)
            for number, row in enumerate(reader, start=2):
                yield number, (row["source"] or "").strip(), (row["target"] or "").strip()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot be read: {error}", file=path.name) from error

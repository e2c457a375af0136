"""From a coded condition (ICD-9-CM, ICD-10-CM, SNOMED CT) to its clinical groups and chapter; none if unknown.

Three levels: the code itself, the groups that it belongs to (`type-2-diabetes`, `diabetes`), one chapter (`endocrine`).
The tables and how a site adds lines are described in `docs/formats/conditions.md`.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources.abc import Traversable
from itertools import product
from pathlib import Path

from recommender.vocabulary.tables import Table, listed

ICD = ("icd9cm", "icd10cm")
SYSTEMS = (*ICD, "snomed")
CHAPTERS_FILE = "condition_chapters.csv"
GROUPS_FILE = "condition_groups.csv"

# A category, then the rest after an optional dot. MIMIC writes no dot, others do: both name the same code.
_CODE = {
    "icd9cm": re.compile(r"([0-9]{3}|V[0-9]{2})\.?([0-9]{0,2})|(E[0-9]{3})\.?([0-9]?)"),
    "icd10cm": re.compile(r"([A-Z][0-9][0-9A-Z])\.?([0-9A-Z]{0,4})"),
}
_PATTERN = {
    "icd9cm": re.compile(r"(?:[0-9]{3}|V[0-9]{2})(?:\.[0-9?]{1,2})?|E[0-9]{3}(?:\.[0-9?])?"),
    "icd10cm": re.compile(r"[A-Z][0-9][0-9A-Z](?:\.[0-9A-Z?]{1,4})?"),
}
_CATEGORY = {"icd9cm": re.compile(r"[0-9]{3}|V[0-9]{2}|E[0-9]{3}"), "icd10cm": re.compile(r"[A-Z][0-9][0-9A-Z]")}
_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = "0123456789"


@dataclass(frozen=True)
class ConditionGroup:
    """A chapter or a clinical group. A pattern is a prefix of a code without its dot; `?` stands for one character."""

    id: str
    name: str
    chapter: str  # its own id for a chapter
    within: Mapping[str, tuple[str, ...]]  # system -> patterns (ICD) or codes (SNOMED CT)
    without: Mapping[str, tuple[str, ...]]  # system -> patterns that are taken out again


@dataclass(frozen=True)
class ConditionVocabulary:
    """Chapters and groups, in the order of their tables; every answer is in that order."""

    chapters: tuple[ConditionGroup, ...]
    all_groups: tuple[ConditionGroup, ...]
    _cache: dict[str, tuple[tuple[str, ...], str]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, folder: Path | None = None) -> ConditionVocabulary:
        """Read both tables of `folder`, the shipped ones by default. Raises InputError with file, row and field."""
        root: Traversable = folder if folder is not None else importlib.resources.files("data.vocabulary")
        chapters = tuple(_rows(Table(root, CHAPTERS_FILE, ("id", "name", *SYSTEMS)), None))
        known = {chapter.id: chapter for chapter in chapters}
        return cls(chapters, tuple(_rows(Table(root, GROUPS_FILE, ("id", "name", "chapter", *SYSTEMS)), known)))

    def groups(self, code: str) -> tuple[str, ...]:
        """'icd10cm:E11.22' -> ('type-2-diabetes', 'diabetes', ...); () for a code of no group or system known here."""
        return self._looked_up(code)[0]

    def chapter(self, code: str) -> str:
        """'icd10cm:E11.22' -> 'endocrine'; "" when unknown. A SNOMED CT code has the chapter of its first group."""
        return self._looked_up(code)[1]

    def name(self, group_or_chapter_id: str) -> str:
        """'type-2-diabetes' -> 'Type 2 diabetes'. Raises KeyError for an id that the tables do not hold."""
        return self._names[group_or_chapter_id].name

    @cached_property
    def _names(self) -> dict[str, ConditionGroup]:
        return {row.id: row for row in (*self.chapters, *self.all_groups)}

    @cached_property
    def _group_index(self) -> _Index:
        return _Index(self.all_groups)

    @cached_property
    def _chapter_index(self) -> _Index:
        return _Index(self.chapters)

    def _looked_up(self, code: str) -> tuple[tuple[str, ...], str]:
        known = self._cache.get(code)
        if known is not None:
            return known
        system, _, value = code.partition(":")
        parsed = _plain(system, value.strip().upper())
        if parsed is None:
            return (), ""
        groups = self._group_index.find(system, parsed)
        chapters = self._chapter_index.find(system, parsed)
        chapter = chapters[0] if chapters else self._names[groups[0]].chapter if groups and system == "snomed" else ""
        if groups or chapter:  # what is unknown is not kept: free text has no end, codes have
            self._cache[code] = (groups, chapter)
        return groups, chapter


class _Index:
    """Finds the rows whose patterns a code matches: one dictionary look-up a prefix and form of wildcards."""

    def __init__(self, rows: Iterable[ConditionGroup]) -> None:
        self._ids: list[str] = []
        self._within: dict[tuple[str, str], list[int]] = {}
        self._without: dict[tuple[str, str], list[int]] = {}
        self._forms: dict[tuple[str, int], set[tuple[int, ...]]] = {}  # system, length -> places of wildcards
        for number, row in enumerate(rows):
            self._ids.append(row.id)
            for into, patterns in ((self._within, row.within), (self._without, row.without)):
                for system, pattern in ((name, pattern) for name in patterns for pattern in patterns[name]):
                    into.setdefault((system, pattern), []).append(number)
                    holes = tuple(place for place, character in enumerate(pattern) if character == "?")
                    self._forms.setdefault((system, len(pattern)), set()).add(holes)

    def find(self, system: str, code: str) -> tuple[str, ...]:
        within: set[int] = set()
        without: set[int] = set()
        for pattern in self._patterns(system, code):
            within.update(self._within.get((system, pattern), ()))
            without.update(self._without.get((system, pattern), ()))
        return tuple(self._ids[number] for number in sorted(within - without))

    def _patterns(self, system: str, code: str) -> Iterator[str]:
        if system == "snomed":
            yield code
            return
        for length in range(3, len(code) + 1):
            for holes in self._forms.get((system, length), ()):
                prefix = list(code[:length])
                for hole in holes:
                    prefix[hole] = "?"
                yield "".join(prefix)


def _plain(system: str, value: str) -> str | None:
    """The code without its dot, None when it is none of its system: '250.00' -> '25000'."""
    if system == "snomed":
        return value if re.fullmatch(r"[0-9]{6,18}", value) else None
    match = _CODE[system].fullmatch(value) if system in _CODE else None
    return "".join(part for part in match.groups() if part) if match else None


def _rows(table: Table, chapters: Mapping[str, ConditionGroup] | None) -> Iterator[ConditionGroup]:
    """Rows of the group table, or of the chapter table when there are no `chapters` yet."""
    ids: set[str] = set(chapters or ())  # a group may not be called as a chapter: `name` knows both
    names: set[str] = set()
    for number, row in table:
        if not _ID.fullmatch(row["id"]) or row["id"] in ids:
            raise table.wrong(f"{row['id']!r} is no id of small letters and hyphens, or there twice", number, "id")
        if not row["name"] or row["name"] in names:
            raise table.wrong("missing, or there twice", number, "name")
        ids.add(row["id"])
        names.add(row["name"])
        chapter = row.get("chapter", row["id"])
        if chapters is not None and chapter not in chapters:
            raise table.wrong(f"no chapter {chapter!r} in {CHAPTERS_FILE}", number, "chapter")
        within: dict[str, tuple[str, ...]] = {}
        without: dict[str, tuple[str, ...]] = {}
        for system in SYSTEMS:
            patterns = listed(row[system])
            try:
                within[system] = tuple(_expanded(system, [part for part in patterns if not part.startswith("!")]))
                without[system] = tuple(_expanded(system, [part[1:] for part in patterns if part.startswith("!")]))
            except ValueError as error:
                raise table.wrong(str(error), number, system) from error
        if not any(within.values()):
            raise table.wrong("has no code of any system", number, SYSTEMS[0])
        yield ConditionGroup(row["id"], row["name"], chapter, within, without)


def _expanded(system: str, patterns: Iterable[str]) -> Iterator[str]:
    """Patterns without dots; 'E08-E13' is its categories one by one. Raises ValueError for what is no pattern."""
    for pattern in patterns:
        low, dash, high = pattern.partition("-")
        if system == "snomed":
            if not snomed_check_digit_holds(pattern):
                raise ValueError(f"{pattern!r} is no SNOMED CT code")
            yield pattern
        elif dash:
            category = _CATEGORY[system]
            if not category.fullmatch(low) or not category.fullmatch(high) or not low < high or len(low) != len(high):
                raise ValueError(f"{pattern!r} is no range of categories such as E08-E13")
            yield from (code for code in _categories(system, low[0], high[0]) if low <= code <= high)
        elif not _PATTERN[system].fullmatch(pattern):
            raise ValueError(f"{pattern!r} is no {system} category or prefix with its dot")
        else:
            yield pattern.replace(".", "")


def _categories(system: str, first: str, last: str) -> Iterator[str]:
    """All categories whose first character lies from `first` to `last`, in order."""
    starts = [start for start in _DIGITS + _LETTERS if first <= start <= last]
    tails = (_DIGITS, _DIGITS + _LETTERS)  # ICD-10-CM: C4A follows C49
    if system == "icd9cm":
        tails = (_DIGITS, _DIGITS)
        starts = [start + extra for start in starts for extra in (_DIGITS if start == "E" else ("",))]
    return ("".join(parts) for parts in product(starts, *tails))


_DIHEDRAL = (  # Verhoeff's check digit, as SNOMED CT uses it
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_PERMUTED = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def snomed_check_digit_holds(code: str) -> bool:
    """Whether `code` is 6 to 18 digits whose last is the right check digit: most slips of the finger are found."""
    if not re.fullmatch(r"[1-9][0-9]{5,17}", code):
        return False
    check = 0
    for place, digit in enumerate(reversed(code)):
        check = int(_DIHEDRAL[check][int(_PERMUTED[place % 8][int(digit)])])
    return check == 0

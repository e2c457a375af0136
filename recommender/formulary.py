"""A hospital's formulary (CSV: drug, tier, restriction[, status]) and the vocabulary in, the status of every drug out.

`drug` is a code ("rxnorm:6809") or a name in any spelling that the vocabulary knows; strengths and forms may stand with
it. Several lines may name one drug, as a list of products does: it is then as available as its best line. `status` is
"formulary", "restricted" or "non-formulary"; left out, it is restricted where there is a restriction. A drug without a
line is not on the formulary. What no line can be understood to mean is kept in `unknown`, never guessed.
"""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from recommender.errors import InputError
from recommender.vocabulary import DrugVocabulary

Status = Literal["formulary", "restricted", "non_formulary", "unknown"]
STATUSES: tuple[Status, ...] = ("formulary", "restricted", "non_formulary")  # the most available first
REQUIRED, COLUMNS = ("drug", "tier", "restriction"), ("drug", "tier", "restriction", "status")
LONGEST = 500  # characters of a cell


@dataclass(frozen=True)
class Listing:
    """What the formulary says of one drug. `rows`: of its lines, as a spreadsheet counts them."""

    status: Status
    tier: str
    restriction: str
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Unknown:
    """A line whose drug is not understood, and why."""

    row: int
    drug: str
    why: str


@dataclass(frozen=True)
class Formulary:
    """`version`: 16 hex digits of the file's SHA-256; "" where there is none, and nothing is said of any drug."""

    version: str = ""
    listings: Mapping[str, Listing] = field(default_factory=dict)  # by code
    unknown: tuple[Unknown, ...] = ()
    lines: int = 0

    @classmethod
    def load(cls, path: Path, vocabulary: DrugVocabulary) -> Self:
        """Raises InputError naming file, row and field of a cell that cannot be used."""
        by_code: dict[str, list[Listing]] = defaultdict(list)
        unknown, lines = [], 0
        for number, row in _rows(path):
            lines += 1
            match = vocabulary.match(row["drug"])
            if match.status == "not_therapy":
                unknown.append(Unknown(number, row["drug"], "is no therapy to the vocabulary"))
                continue
            if match.method == "fuzzy":
                unknown.append(Unknown(number, row["drug"], f"may be a misspelling of {match.name}"))
                continue
            if match.status == "unmapped":  # kept all the same: the hospital's own records may name it so, too
                unknown.append(Unknown(number, row["drug"], "is not in the vocabulary"))
            by_code[match.code].append(Listing(_status(path, number, row), row["tier"], row["restriction"], (number,)))
        listings = {code: _best(several) for code, several in by_code.items()}
        version = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        return cls(version, MappingProxyType(listings), tuple(unknown), lines)

    def __bool__(self) -> bool:
        """Whether there is a formulary at all."""
        return bool(self.version)

    def status(self, code: str, kind: str = "drug") -> Status:
        """Of a treatment; "unknown" without a formulary, and of what is no drug."""
        if not self or kind != "drug":
            return "unknown"
        listing = self.listings.get(code)
        return listing.status if listing else "non_formulary"

    def order_key(self, code: str, kind: str = "drug") -> int:
        """1 for what a list may move below the rest, 0 for all else: sort by it first, and stably."""
        return int(self.status(code, kind) == "non_formulary")


def _best(several: list[Listing]) -> Listing:
    status = min((one.status for one in several), key=STATUSES.index)
    best = [one for one in several if one.status == status]
    tier, restriction = (
        "; ".join(dict.fromkeys(text for one in best if (text := getattr(one, name))))
        for name in ("tier", "restriction")
    )
    return Listing(status, tier, restriction, tuple(row for one in several for row in one.rows))


def _status(path: Path, number: int, row: Mapping[str, str]) -> Status:
    told = row["status"].casefold().replace("-", "_").replace(" ", "_")
    if not told:
        return "restricted" if row["restriction"] else "formulary"
    for status in STATUSES:
        if told == status:
            return status
    message = "must be formulary, restricted, non-formulary, or empty"
    raise InputError(message, file=path.name, row=number, field="status")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("not UTF-8: save it as UTF-8", file=path.name) from None
    except OSError as error:
        raise InputError(
            f"the formulary cannot be read ({error.strerror}): see RXREC_FORMULARY", file=path.name
        ) from None
    first = text.partition("\n")[0]
    reader = csv.DictReader(
        text.splitlines(), delimiter=";" if first.count(";") > first.count(",") else ",", strict=True
    )
    names = [name.strip().casefold() for name in reader.fieldnames or ()]
    for column in REQUIRED:
        if column not in names:
            raise InputError(f"has no column {column!r}", file=path.name, row=1, field=column)
    for column in names:
        if column not in COLUMNS:  # a slip in "status" would put everything on the formulary
            raise InputError(f"is none of {', '.join(COLUMNS)}", file=path.name, row=1, field=column)
    reader.fieldnames = names
    number = 1
    try:
        for number, row in enumerate(reader, start=2):
            if None in row or None in row.values():
                raise InputError("has not as many fields as the header", file=path.name, row=number)
            cells = {name: " ".join(row.get(name, "").split()) for name in COLUMNS}
            if not cells["drug"]:
                raise InputError("must not be empty", file=path.name, row=number, field="drug")
            for name, cell in cells.items():
                if len(cell) > LONGEST:
                    message = f"is longer than {LONGEST} characters"
                    raise InputError(message, file=path.name, row=number, field=name)
            yield number, cells
    except csv.Error as error:
        raise InputError(f"not a CSV line: {error}", file=path.name, row=number + 1) from None

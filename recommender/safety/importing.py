"""A site's own list of pairs, or MED-RT's contraindications, in; tables of rules for the site's folder out.

What is written is read back at once: a folder that `Rules.load(site=...)` would refuse is not left behind.
"""

from __future__ import annotations

import csv
import importlib.resources
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recommender.errors import InputError
from recommender.safety.kinds import RANK
from recommender.safety.rules import Rules
from recommender.safety.table import COLUMNS
from recommender.vocabulary import ConditionVocabulary, DrugVocabulary
from recommender.vocabulary.medrt import DISEASES_SCHEMA
from recommender.vocabulary.tables import Table, listed, slug

SEVERITY_WORDS = {  # how lists of other systems say it
    **{name: name for name in RANK},
    "major": "serious",
    "severe": "serious",
    "high": "serious",
    "moderate": "caution",
    "medium": "caution",
}
PAIR_COLUMNS = ("drug_a", "drug_b", "severity")
MEDRT_TABLE = "medrt_conditions.csv"
STATE = "state:"


@dataclass(frozen=True)
class Imported:
    """What was written (rows by file), what was left out and why, and what of it nobody here knows."""

    written: Mapping[str, int]
    left_out: Mapping[str, int]
    unknown: Mapping[str, int]


def import_pairs(
    path: Path, output: Path, today: date, vocabulary: DrugVocabulary, *, skip_unknown: bool = False
) -> Imported:
    """A CSV with the columns drug_a, drug_b, severity and, if it likes, message; rules of the site's folder out.

    Drugs are named as in the site's own system. One that the vocabulary does not know, or that is a product of several
    ingredients, is an InputError with its row; with `skip_unknown` it is left out and counted.
    """
    left_out: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    rows: dict[tuple[str, str], list[str]] = {}
    for number, row in _pair_rows(path):
        severity = SEVERITY_WORDS.get(row["severity"].casefold())
        if severity is None:
            known = ", ".join(SEVERITY_WORDS)
            raise InputError(f"{row['severity']!r} is none of {known}", file=path.name, row=number, field="severity")
        names = []
        for field in ("drug_a", "drug_b"):
            match = vocabulary.match(row[field])
            if match.status == "mapped" and match.method != "fuzzy" and len(match.ingredients) == 1:
                names.append(match.name)
                continue
            if not skip_unknown:
                why = "is a product of several: name the ingredient" if len(match.ingredients) > 1 else "is not known"
                raise InputError(f"{row[field]!r} {why}", file=path.name, row=number, field=field)
            unknown[row[field]] += 1
        if len(names) < 2:
            left_out["a drug that is not known"] += 1
            continue
        one, other = sorted(names)
        if one == other:
            raise InputError(f"{one} with itself", file=path.name, row=number, field="drug_b")
        key = (one, other)
        if key in rows:
            if rows[key][1] != severity:
                raise InputError(f"{one} and {other} are there as {rows[key][1]} too", file=path.name, row=number)
            left_out["the same pair again"] += 1
            continue
        message = row.get("message") or f"{one} with {other}: {severity} by this site's own list."
        told = ["unspecified", "Not told by the site's list.", message, "As the site's own list says."]
        source = f"The site's own list, {path.name}"
        rows[key] = [f"site-{slug(one)}-{slug(other)}", severity, one, other, *told, source, today.isoformat()]
    _write(output, {"interactions.csv": list(rows.values())}, vocabulary)
    return Imported({"interactions.csv": len(rows)}, dict(left_out), dict(unknown))


def import_medrt(
    path: Path, output: Path, today: date, vocabulary: DrugVocabulary, *, severity: str = "serious"
) -> Imported:
    """The `medrt.parquet` of an imported vocabulary in; its CI_with for what we have a condition group for out.

    MED-RT does not follow labels as they change, so its rules are `severity`, not contraindicated, unless that is asked
    for. What the shipped rules say at least as strictly is left out.
    """
    if path.is_dir():
        path = path / "medrt.parquet"
    try:
        table = pq.read_table(path, schema=DISEASES_SCHEMA)
    except (OSError, pa.ArrowException) as error:
        raise InputError("is no medrt.parquet of `rxrec vocabulary import`", file=path.name) from error
    known = Rules.load(vocabulary=vocabulary)
    meant = _medrt_conditions(known)
    told = {(drug, term) for rule in known.conditions if rule.rank >= RANK[severity] for drug in rule.drugs
            for term in rule.conditions}  # fmt: skip
    told |= {(drug, STATE + rule.state) for rule in known.populations if rule.rank >= RANK[severity]
             for drug in rule.drugs}  # fmt: skip
    left_out: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    conditions: list[list[str]] = []
    populations: list[list[str]] = []
    for link in sorted(table.to_pylist(), key=lambda link: (link["ingredient"], link["disease"])):
        if link["relation"] != "CI_with":
            continue
        name, terms = known.ingredients.get(link["ingredient"]), meant.get(link["disease"].casefold())
        if name is None or terms is None:
            left_out["a drug that is not known" if name is None else "a disease without a condition group"] += 1
            unknown[link["ingredient"] if name is None else link["disease"]] += 1
            continue
        for term in terms:
            if (link["ingredient"], term) in told:
                left_out["known already"] += 1
                continue
            told.add((link["ingredient"], term))
            message = f"MED-RT lists {link['disease']} as a contraindication of {name}."
            ending = [message, "Check the label of the drug.", "MED-RT, CI_with", today.isoformat()]
            row_id = f"medrt-{slug(name)}-{slug(term.replace(':', ' '))}"
            if term.startswith(STATE):
                populations.append([row_id, severity, name, term.removeprefix(STATE), "", "", "", *ending])
            else:
                conditions.append([row_id, severity, name, term, "", "", *ending])
    found = {"conditions.csv": conditions, "populations.csv": populations}
    _write(output, {file: rows for file, rows in found.items() if rows}, vocabulary)
    return Imported({file: len(rows) for file, rows in found.items() if rows}, dict(left_out), dict(unknown))


def _medrt_conditions(known: Rules) -> dict[str, list[str]]:
    """Name of a disease, in small letters -> condition groups, patterns and states that it means here."""
    table = Table(importlib.resources.files("data.safety"), MEDRT_TABLE, ("disease", "conditions"))
    groups = {group.id for group in ConditionVocabulary.load().all_groups}
    meant: dict[str, list[str]] = {}
    for number, row in table:
        terms = listed(row["conditions"])
        for term in terms:
            good = term.removeprefix(STATE) in known.states if term.startswith(STATE) else term in groups or ":" in term
            if not good:
                raise table.wrong(f"{term!r} is no condition group and no state", number, "conditions")
        if not terms or row["disease"].casefold() in meant:
            raise table.wrong("missing, or there twice", number, "disease")
        meant[row["disease"].casefold()] = terms
    return meant


def _pair_rows(path: Path) -> Iterable[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for column in PAIR_COLUMNS:
                if column not in (reader.fieldnames or ()):
                    raise InputError(f"has no column {column!r}", file=path.name, row=1, field=column)
            for number, row in enumerate(reader, start=2):
                yield number, {str(name): (value or "").strip() for name, value in row.items() if name}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot be read: {error}", file=path.name) from error


def _write(output: Path, files: Mapping[str, Sequence[Sequence[str]]], vocabulary: DrugVocabulary) -> None:
    """Write tables into the site's folder, which may hold others already, and read it back."""
    if not any(files.values()):
        raise InputError("nothing to import: no row is left that the shipped rules do not know")
    for name in files:
        if (output / name).exists():
            raise InputError(f"is there already: give another folder, or join the two by hand ({output})", file=name)
    output.mkdir(parents=True, exist_ok=True)
    try:
        for name, rows in files.items():
            with (output / name).open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([COLUMNS[name], *rows])
        Rules.load(site=output, vocabulary=vocabulary)
    except BaseException:
        for name in files:
            (output / name).unlink(missing_ok=True)
        raise

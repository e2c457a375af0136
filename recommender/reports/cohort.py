"""A wish in words (conditions, ages, departments, a CSV of ids) and a release in, its patients one after another out.

What a version publishes of a patient is the chart that lists are computed from; so a ward or clinic is a care resource
on it: a department, specialty or kind of visit that the patient was with. Who of the staff saw a patient is not
published: a list of ids says it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rapidfuzz import process

from recommender.errors import InputError, UnknownPatient
from recommender.snapshot import Entry, Release
from recommender.store import Store

ID_COLUMNS = ("patient_id", "patient", "id", "subject_id", "person_id")
MOST_OFFERED = 3  # of names like the one that is not known


@dataclass(frozen=True)
class Cohort:
    """Patients with any of the conditions, and any of the departments, and of the ages [age_from, age_below), and of
    the sex; what is empty or None asks for nothing. conditions, departments: column_ix of the release."""

    conditions: frozenset[int] = frozenset()
    departments: frozenset[int] = frozenset()
    age_from: float | None = None
    age_below: float | None = None
    sex: str = ""
    ids: tuple[str, ...] | None = None
    words: str = "all patients"

    def holds(self, entry: Entry) -> bool:
        """A patient of unknown age is of no age band."""
        row = entry.row_columns.tolist()
        age = entry.chart.age
        return (
            (not self.conditions or not self.conditions.isdisjoint(row))
            and (not self.departments or not self.departments.isdisjoint(row))
            and (self.age_from is None or age >= self.age_from)
            and (self.age_below is None or age < self.age_below)
            and (not self.sex or entry.chart.sex == self.sex)
        )


def cohort_of(
    release: Release,
    *,
    conditions: Sequence[str] = (),
    departments: Sequence[str] = (),
    age_from: float | None = None,
    age_below: float | None = None,
    sex: str = "",
    ids: tuple[str, ...] | None = None,
) -> Cohort:
    """Conditions and departments by code or whole name, conditions also by clinical group, whatever the case.

    Raises InputError for one that the version does not have, with those like it.
    """
    told = [f"condition {name}" for name in conditions] + [f"department {name}" for name in departments]
    if age_from is not None or age_below is not None:
        told.append(f"age {'' if age_from is None else f'from {age_from:g}'}".rstrip())
        told[-1] += "" if age_below is None else f" below {age_below:g}"
    told += [{"F": "female", "M": "male"}[sex]] if sex else []
    told += ["of a list of ids"] if ids is not None else []
    return Cohort(
        _columns(release, conditions, ("condition", "condition_group"), "condition"),
        _columns(release, departments, ("care_resource",), "department"),
        age_from,
        age_below,
        sex,
        ids,
        ", ".join(told) or "all patients",
    )


def ids_of(path: Path) -> tuple[str, ...]:
    """Patient ids of a CSV: the column patient_id (or patient, id, subject_id, person_id), or the only column there is.
    Each once, in the file's order. Raises InputError."""
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except UnicodeDecodeError:
        raise InputError("not UTF-8: save it as UTF-8", file=path.name) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path.name) from None
    except csv.Error as error:
        raise InputError(f"not a CSV file: {error}", file=path.name) from None
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows:
        raise InputError("holds no patient id", file=path.name)
    header = [cell.strip().casefold() for cell in rows[0]]
    named = next((header.index(name) for name in ID_COLUMNS if name in header), None)
    if named is None and len(header) > 1:
        raise InputError(f"has no column {' or '.join(ID_COLUMNS)}", file=path.name, row=1)
    place, body = (0, rows) if named is None else (named, rows[1:])
    for number, row in enumerate(body, start=1 + len(rows) - len(body)):
        if len(row) <= place:
            raise InputError("has not as many fields as the header", file=path.name, row=number)
    found = tuple(dict.fromkeys(row[place].strip() for row in body if row[place].strip()))
    if not found:
        raise InputError("holds no patient id", file=path.name)
    return found


def members(store: Store, release: Release, cohort: Cohort, unknown: list[int]) -> Iterator[tuple[str, Entry]]:
    """The patients one after another; of ids, in the order of the list. `unknown` is given the places, from 1, of ids
    that the version does not know."""
    if cohort.ids is None:
        yield from ((name, entry) for name, entry in store.entries(release) if cohort.holds(entry))
        return
    for place, patient_id in enumerate(cohort.ids, start=1):
        try:
            entry = store.entry(release, patient_id)
        except UnknownPatient:
            unknown.append(place)
            continue
        if cohort.holds(entry):
            yield patient_id, entry


def _columns(release: Release, names: Sequence[str], kinds: Sequence[str], what: str) -> frozenset[int]:
    known: dict[str, list[int]] = {}
    for ix, column in enumerate(release.index.columns):
        if column.kind in kinds:
            for name in {column.code.casefold(), column.name.casefold()}:
                known.setdefault(name, []).append(ix)
    found: list[int] = []
    for name in names:
        mine = known.get(" ".join(name.split()).casefold())
        if mine is None:
            near = [one for one, _, _ in process.extract(name.casefold(), list(known), limit=MOST_OFFERED)]
            nearest = ", ".join(near) or "nothing"
            raise InputError(f"no patient of version {release.version} has the {what} {name!r}. Near it: {nearest}")
        found += mine
    return frozenset(found)

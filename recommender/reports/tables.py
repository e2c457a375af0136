"""Patient pages in, one after another; a CSV, an XLSX and an NDJSON file out, none of which is ever held whole."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import orjson
import xlsxwriter

from recommender.errors import EngineError
from recommender.offered import NotChecked, Warned
from recommender.reports.patient_page import PatientPage

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins so is run by spreadsheets, not shown
MOST_ROWS = 1_048_576  # of an XLSX sheet
MOST_CHARACTERS = 32_767  # of an XLSX cell
COLUMNS = {  # and how wide the XLSX column is
    "patient_id": 38, "age": 6, "sex": 8, "part": 16, "rank": 6, "code": 18, "name": 30, "kind": 12, "class": 24,
    "probability": 12, "labelled_for": 24, "formulary": 14, "severity": 16, "warnings": 60, "rules": 24,
    "not_checked": 40, "reasons": 60, "alternatives": 30,
}  # fmt: skip


@dataclass(frozen=True)
class About:
    """What stands at the head of every list. `rules`: version and newest review of the rules; `cohort`: in words."""

    version: str
    created: str
    data_as_of: str
    synthetic: bool
    rules: str
    cohort: str
    printed: str


class Writer(Protocol):
    """Takes pages one after another; `close` once, at the end."""

    def add(self, page: PatientPage) -> None: ...

    def close(self) -> None: ...


def rows_of(page: PatientPage) -> Iterator[dict[str, Any]]:
    """A row a suggestion, a withheld treatment, a drug taken now and a thing not checked; one at least."""
    who = {"patient_id": page.patient_id, "age": page.age, "sex": page.sex}
    for one in page.suggestions:
        yield who | {
            "part": "suggestion",
            "rank": one.rank,
            "code": one.code,
            "name": one.name,
            "kind": one.kind,
            "class": one.group,
            "probability": one.probability,
            "labelled_for": None if one.labelled_for is None else "; ".join(one.labelled_for),
            "formulary": "" if one.formulary == "unknown" else one.formulary,
            **_warnings(one.warnings),
            "not_checked": _gaps(one.not_checked),
            "reasons": "; ".join(f"{part.text} {part.share:+.3f}" for part in one.reasons),
        }
    if not page.suggestions:
        yield who | {"part": "no suggestion"}
    for held in page.withheld:
        beside = f"contraindicated beside {held.beside}" if held.beside else ""
        told = _warnings(held.warnings)
        told["warnings"] = "; ".join(text for text in (told["warnings"], beside) if text)
        yield who | {
            "part": "withheld",
            "code": held.code,
            "name": held.name,
            "kind": held.kind,
            **told,
            "severity": "contraindicated",
            "alternatives": "; ".join(held.alternatives),
        }
    for drug in page.therapy:
        yield who | {"part": "takes now", "code": drug.code, "name": drug.name, **_warnings(drug.warnings)}
    for gap in page.not_checked:
        yield who | {"part": "not checked", "name": gap.about, "not_checked": gap.mend}


class NdjsonWriter:
    """One JSON object a patient and line; the first line says what the list is of."""

    def __init__(self, path: Path, about: About) -> None:
        self._file = path.open("wb")
        self._file.write(orjson.dumps({"about": about}) + b"\n")

    def add(self, page: PatientPage) -> None:
        self._file.write(msgspec.json.encode(page) + b"\n")

    def close(self) -> None:
        self._file.close()


class CsvWriter:
    """UTF-8 with a mark at its start, by which spreadsheets know it; no cell of it is run as a formula."""

    def __init__(self, path: Path, about: About) -> None:
        self._file = path.open("w", encoding="utf-8-sig", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(["version", *COLUMNS])
        self._version = about.version

    def add(self, page: PatientPage) -> None:
        for row in rows_of(page):
            self._writer.writerow([self._version, *(plain_cell(row.get(name)) for name in COLUMNS)])

    def close(self) -> None:
        self._file.close()


class XlsxWriter:
    """A sheet of rows with a fixed header and a filter, and one that tells what it is of. Rows go to disk at once."""

    def __init__(self, path: Path, about: About) -> None:
        options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        self._book = xlsxwriter.Workbook(str(path), {**options, "tmpdir": str(path.parent)})
        self._sheet = self._book.add_worksheet("patients")
        head = self._book.add_format({"bold": True, "bottom": 1, "valign": "top"})
        self._wrapped = self._book.add_format({"text_wrap": True, "valign": "top"})
        self._share = self._book.add_format({"num_format": "0%", "valign": "top"})
        self._top = self._book.add_format({"valign": "top"})
        for place, (name, width) in enumerate(COLUMNS.items()):
            self._sheet.set_column(place, place, width)
            self._sheet.write_string(0, place, name, head)
        self._sheet.freeze_panes(1, 1)
        self._sheet.set_landscape()
        self._sheet.repeat_rows(0)
        self._sheet.fit_to_pages(1, 0)
        self._about, self._row, self._bold = about, 1, head

    def add(self, page: PatientPage) -> None:
        for row in rows_of(page):
            if self._row >= MOST_ROWS:
                raise EngineError("too many rows for a spreadsheet: ask for CSV, or for fewer patients")
            for place, name in enumerate(COLUMNS):
                self._write(place, name, row.get(name))
            self._row += 1

    def close(self) -> None:
        self._sheet.autofilter(0, 0, max(1, self._row - 1), len(COLUMNS) - 1)
        sheet = self._book.add_worksheet("about")
        sheet.set_column(0, 0, 16)
        sheet.set_column(1, 1, 80)
        for place, (name, text) in enumerate(in_words(self._about).items()):
            sheet.write_string(place, 0, name, self._bold)
            sheet.write_string(place, 1, text)
        self._book.close()

    def _write(self, place: int, name: str, value: Any) -> None:
        if value is None or value == "":
            return
        if isinstance(value, (int, float)):
            self._sheet.write_number(self._row, place, value, self._share if name == "probability" else self._top)
        else:
            wide = COLUMNS[name] >= 40
            self._sheet.write_string(
                self._row, place, str(value)[:MOST_CHARACTERS], self._wrapped if wide else self._top
            )


def in_words(about: About) -> dict[str, str]:
    """The head of a list, line by line."""
    return {
        "patients": about.cohort,
        "version": f"{about.version}, made {about.created}",
        "data as of": about.data_as_of,
        "rules": about.rules,
        "printed": about.printed,
        "patients are": "synthetic" if about.synthetic else "real",
        "meaning": "Supports, does not replace, clinical judgement. What was not checked is told on every page.",
    }


def _warnings(warnings: Sequence[Warned]) -> dict[str, str]:
    if not warnings:
        return {"severity": "", "warnings": "", "rules": ""}
    told = "; ".join(f"{one.severity}: {one.message} (because of {one.because}) {one.management}" for one in warnings)
    rules = "; ".join(dict.fromkeys(one.rule for one in warnings))
    return {"severity": warnings[0].severity, "warnings": told, "rules": rules}


def _gaps(gaps: Sequence[NotChecked]) -> str:
    return "; ".join(f"{gap.about}: {gap.mend}" for gap in gaps)


def plain_cell(value: Any) -> Any:
    """The value, marked as text where a spreadsheet would run it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


WRITERS: Mapping[str, type[NdjsonWriter] | type[CsvWriter] | type[XlsxWriter]] = {
    "ndjson": NdjsonWriter,
    "csv": CsvWriter,
    "xlsx": XlsxWriter,
}

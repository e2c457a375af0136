"""Patient pages in, one after another; HTML files out, of a bounded number of patients each, that print one a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from jinja2 import Environment, PackageLoader, StrictUndefined

from recommender.offered import NotChecked
from recommender.reports.cells import in_words
from recommender.reports.patient_page import Held, PatientPage, Suggested, Taken
from recommender.reports.tables import About

PER_FILE = 500  # patients: a browser opens some megabytes at once
MARK = "<!-- pages -->"
SEVERITY = {"contraindicated": "✕ withheld", "serious": "▲ serious", "caution": "△ caution"}
KINDS = {"procedure": "procedure", "care_plan": "care plan", "care_resource": "care resource"}
FORMULARY = {"formulary": "on the formulary", "restricted": "restricted", "non_formulary": "not on the formulary"}


def chance(one: Suggested) -> str:
    """How many in 100 of such suggestions began; "" where that was not measured."""
    if one.probability is None:
        return ""
    return "under 1 in 100" if one.probability < 0.01 else f"{100 * one.probability:.0f} in 100"


def beside_the_name(one: Suggested) -> str:
    """Class or kind, what the formulary says, what of the chart it is labelled for; for what is no drug, that nothing
    was checked."""
    labelled = "labelled for " + ", ".join(one.labelled_for) if one.labelled_for else ""
    kind = "" if one.kind == "drug" else f"{KINDS.get(one.kind, one.kind)}, not checked: the rules cover drugs only"
    return "; ".join(text for text in (kind or one.group, FORMULARY.get(one.formulary, ""), labelled) if text)


def because(one: Suggested) -> str:
    """The parts of the score, and about how many patients had it."""
    parts = " · ".join(f"{part.text} {part.share:+.3f}" for part in one.reasons)
    return f"because {parts}" + (f"; {one.evidence} patients here had it" if one.evidence else "")


def numbered(page: PatientPage) -> dict[str, tuple[int, str]]:
    """Rule -> its number on this page, in the order in which they stand on it, and its source."""
    lists: list[Sequence[Taken | Suggested | Held]] = [page.therapy, page.suggestions, page.withheld]
    rules = {warned.rule: warned.source for part in lists for one in part for warned in one.warnings}
    return {rule: (number, source) for number, (rule, source) in enumerate(rules.items(), start=1)}


def sources(rules: Mapping[str, tuple[int, str]]) -> str:
    """The legend of `numbered`."""
    return " · ".join(f"[{number}] {rule}: {source}" for rule, (number, source) in rules.items())


def gaps_of(one: Suggested) -> tuple[NotChecked, ...]:
    """What could not be checked of a drug; of what is no drug, `beside_the_name` says it."""
    return one.not_checked if one.kind == "drug" else ()


SAYS = {"severity": SEVERITY, "chance": chance, "beside": beside_the_name, "because": because, "gaps_of": gaps_of}


@cache
def templates() -> Environment:
    found = Environment(
        loader=PackageLoader("recommender.reports"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    found.globals["in_words"] = in_words
    return found


class HtmlWriter:
    """`patients-0001.html` and on, each whole by itself."""

    def __init__(self, folder: Path, about: About, per_file: int = PER_FILE) -> None:
        self._folder, self._about, self._per_file = folder, about, per_file
        self._page = templates().get_template("patient.html")
        self._frame = templates().get_template("patients.html")
        self._number, self._in_file = 0, 0
        self._file: IO[str] | None = None
        self._foot = ""

    def add(self, page: PatientPage) -> None:
        if self._file is None or self._in_file == self._per_file:
            self._begin()
        assert self._file is not None  # noqa: S101  (for the type checker)
        rules = numbered(page)
        self._file.write(self._page.render(SAYS, page=page, about=self._about, rules=rules, sources=sources(rules)))
        self._in_file += 1

    def close(self) -> None:
        if self._file is None:
            self._begin()  # a list of nobody says so
        self._end()

    def _begin(self) -> None:
        self._end()
        self._number += 1
        head, self._foot = self._frame.render(about=self._about, mark=MARK).split(MARK)
        self._file = (self._folder / f"patients-{self._number:04d}.html").open("w", encoding="utf-8")
        self._file.write(head)
        self._in_file = 0

    def _end(self) -> None:
        if self._file is not None:
            self._file.write("" if self._in_file else "<p>No patient of this version is in this list.</p>")
            self._file.write(self._foot)
            self._file.close()
            self._file = None

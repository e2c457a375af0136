"""A patient's chart as it is now in, what holds out: thresholds crossed, rules against drugs, suggestions withheld."""

from __future__ import annotations

import csv
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from recommender.errors import InputError
from recommender.loaders.measurements import measurements
from recommender.observations import Alarm, AlarmKind, Observation
from recommender.offer import Desk
from recommender.safety.kernel import CONTRAINDICATED
from recommender.safety.verdict import Alert, Reading
from recommender.snapshot import Entry

TABLE = "thresholds.csv"
FIRST = 20  # suggestions that count: as many as a page shows
SERIOUS = 2  # of alerts against what is taken: caution is no news
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Threshold:
    """A value of a measurement that is worth an event by itself; in the unit of the table of measurements."""

    id: str
    name: str
    codes: tuple[str, ...]
    comparison: str
    value: float
    severity: str
    message: str
    management: str
    source: str

    def holds(self, value: float) -> bool:
        return COMPARE[self.comparison](value, self.value)


@cache
def thresholds() -> tuple[Threshold, ...]:
    """The shipped table. Raises InputError naming row and field of a broken one."""
    text = files("data.monitoring").joinpath(TABLE).read_text(encoding="utf-8")
    found = []
    for number, row in enumerate(csv.DictReader(text.splitlines()), start=2):
        codes = tuple(f"loinc:{one}" for one in row["loinc"].split("|"))
        if not all(code in measurements() for code in codes):
            raise InputError("a code that the table of measurements lacks", file=TABLE, row=number, field="loinc")
        if row["comparison"] not in COMPARE or row["severity"] not in ("serious", "caution"):
            raise InputError("not a comparison or severity", file=TABLE, row=number, field="comparison, severity")
        told = (row[name] for name in ("severity", "message", "management", "source"))
        found.append(Threshold(row["id"], row["name"], codes, row["comparison"], float(row["value"]), *told))
    return tuple(found)


def crossed(newest: Mapping[str, Observation]) -> list[Alarm]:
    """The thresholds that the newest value of their measurement is beyond."""
    found = []
    for one in thresholds():
        of = [newest[code] for code in one.codes if code in newest]
        if of and one.holds((last := max(of, key=lambda each: each.order)).value):
            because = f"{one.name} {last.value:.3g} {last.unit}"
            found.append(
                Alarm("threshold", one.id, one.severity, "", "", one.message, one.management, because, one.source)
            )
    return found


def against_drugs(desk: Desk, entry: Entry, reading: Reading) -> list[Alarm]:
    """Serious and forbidding rules against what is taken, and those of the first suggestions that are forbidden.

    The first by score alone: whether one is withheld then depends on its own verdict, not on what became of others.
    """
    found = [
        _alarm("therapy", alert, verdict.drug.code, verdict.drug.name)
        for verdict in reading.therapy()
        for alert in verdict.alerts
        if alert.rule.rank >= SERIOUS
    ]
    first = entry.columns[:FIRST]
    tiers = reading.tiers(desk.candidates, first)
    for column_ix in first[tiers.rank == CONTRAINDICATED].tolist():
        column = desk.release.index.columns[column_ix]
        strictest = reading.verdict(column).alerts[0]
        found.append(_alarm("withheld", strictest, column.code, column.name))
    return found


def _alarm(kind: AlarmKind, alert: Alert, code: str, name: str) -> Alarm:
    rule = alert.rule
    return Alarm(
        kind,
        rule.id,
        rule.severity,
        code,
        name,
        rule.message,
        rule.management,
        alert.because,
        rule.source,
    )

"""FHIR's data types as parsed JSON in; text, seconds, codes and keys out.

What is not of the type that FHIR says is absent. So nothing here raises, whatever the JSON holds.
"""

from __future__ import annotations

import calendar
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from recommender.loaders.columns import FIRST_TIME, LAST_TIME, LONGEST_TEXT
from recommender.loaders.fhir_codes import NO_CODES, RANK, SYSTEMS, UCUM

Json = dict[str, Any]
Concept = tuple[str | None, str | None]
"""`system:code` and a name; either may be missing."""

NOTHING: Json = {}  # read only
REMEMBERED = 1 << 14
TIME = r"T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?"
MOMENT = re.compile(rf"[0-9]{{4}}(-[0-9]{{2}}(-[0-9]{{2}}({TIME})?)?)?")
FIRST, LAST = FIRST_TIME.astype(int).item(), LAST_TIME.astype(int).item()
DAY = 86_400
SECONDS = {
    **{"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3_600, "hour": 3_600, "d": DAY, "day": DAY},
    **{"wk": 7 * DAY, "week": 7 * DAY, "mo": 30.4375 * DAY, "month": 30.4375 * DAY},
    **{"a": 365.25 * DAY, "year": 365.25 * DAY},
}


def obj(value: Any) -> Json:
    return value if isinstance(value, dict) else NOTHING


def objects(value: Any) -> list[Json]:
    """The objects of a list; an object alone counts as a list of one."""
    if isinstance(value, list):
        return [item for item in value if isinstance(item, dict)]
    return [value] if isinstance(value, dict) else []


def text(value: Any) -> str | None:
    """In one line, without blanks around it; too long a text is no code, name or id, so it is absent."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        return None
    if not value.isprintable():
        value = " ".join("".join(char if char.isprintable() else " " for char in value).split())
    return value.strip() or None


def moment(value: Any) -> int | None:
    """The first second (since 1970) of a date, dateTime or instant of any precision; None for anything else."""
    return _moment(value) if isinstance(value, str) else None


@lru_cache(REMEMBERED)  # one visit dates many resources
def _moment(value: str) -> int | None:
    if not MOMENT.fullmatch(value):
        return None
    try:
        found = datetime.fromisoformat(value + "0000-01-01"[len(value) :])  # completes a year or a month
    except ValueError:
        return None
    seconds = math.floor((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    return seconds if FIRST <= seconds <= LAST else None


def first_moment(*values: Any) -> tuple[int | None, Any, bool]:
    """The first that can be read, as seconds and as it is; and whether none can be read though one is there."""
    bad = False
    for value in values:
        if value is not None:
            found = moment(value)
            if found is not None:
                return found, value, False
            bad = True
    return None, None, bad


def last_moment(value: Any, begun: Any, start: int | None) -> int | None:
    """When what ended at `value` ended: on the last day that it names, but not before it began (`begun`, at `start`).

    An end on 2021-03 and a beginning on 2021-03-31T10:00 fit: the end is then the beginning.
    """
    if not isinstance(value, str):
        return None
    end = value
    if len(value) == 4:
        end = f"{value}-12-31"
    elif len(value) == 7 and moment(value) is not None:
        end = f"{value}-{calendar.monthrange(int(value[:4]), int(value[5:]))[1]}"
    found = moment(end)
    within = found is not None and start is not None and found < start and len(value) <= 10
    return start if within and isinstance(begun, str) and begun.startswith(value) else found


def duration(value: Any) -> float | None:
    """Seconds of a Duration, in UCUM's or plain units of time; None for anything else."""
    value = obj(value)
    number, unit = amount(value.get("value")), (text(value.get("code")) or text(value.get("unit")) or "").lower()
    seconds = SECONDS.get(unit) or SECONDS.get(unit.removesuffix("s"))
    return None if number is None or seconds is None or number < 0 else number * seconds


def after(start: int, seconds: float) -> int:
    return int(min(start + seconds, LAST))


def amount(value: Any) -> float | None:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def unit_of(quantity: Json) -> str | None:
    """UCUM where the quantity has it, else the unit in words."""
    code = text(quantity.get("code"))
    return code if code and quantity.get("system") == UCUM else text(quantity.get("unit")) or code


def concept(value: Any) -> Concept:
    """A CodeableConcept's coding in the best known system, else in any; its display, else the text, else any display.

    A coding without a system identifies nothing, so it counts only where there is no name at all.
    """
    value = obj(value)
    best: tuple[int, str | None, str | None] = (len(RANK) + 1, None, None)
    bare = display = None
    for coding in objects(value.get("coding")):
        system, code, shown = coding.get("system"), text(coding.get("code")), text(coding.get("display"))
        if isinstance(system, str) and system.lower() in NO_CODES:
            continue
        display = display or shown
        if not code:
            continue
        prefix = prefix_of(system)
        if prefix is None:
            bare = bare or code
        elif (rank := RANK.get(prefix, len(RANK))) < best[0]:
            best = (rank, f"{prefix}:{code}", shown)
    name = best[2] or text(value.get("text")) or display
    return best[1] or (None if name else bare), name


def prefix_of(system: Any) -> str | None:
    """Our short word for a code system; its URI if we have none. SNOMED CT's may end with an edition."""
    return _prefix(system) if isinstance(system, str) and system else None


@lru_cache(REMEMBERED)
def _prefix(system: str) -> str | None:
    uri = system.rstrip("/").lower()
    known = SYSTEMS.get(uri)
    if known is None and uri.startswith("http://snomed.info/sct/"):
        known = "snomed"
    return known or text(system)


def first_concept(values: Iterable[Any]) -> Concept:
    """The first of several CodeableConcepts that has a code, else the first with a name."""
    found = [concept(value) for value in values]
    return next((one for one in found if one[0]), next((one for one in found if one[1]), (None, None)))


def status(value: Any) -> str:
    """A status given as a code, or as a CodeableConcept with one."""
    if isinstance(value, str):
        return value
    return next((code for coding in objects(obj(value).get("coding")) if (code := text(coding.get("code")))), "")


def key(reference: Any, kind: str) -> str | None:
    """What a Reference to a resource of type `kind` points at: its id, its `urn:...` or its `system|identifier`."""
    reference = obj(reference)
    target = text(reference.get("reference"))
    if target is None:
        return identifier(obj(reference.get("identifier")))
    if target.startswith("urn:"):
        return target.lower()
    if target.startswith(f"{kind}?identifier="):
        return target.partition("=")[2]
    parts = target.partition("/_history/")[0].split("/")
    return parts[-1] or None if len(parts) == 1 or parts[-2] == kind else None


def identifier(value: Json) -> str | None:
    system, code = text(value.get("system")), text(value.get("value"))
    return f"{system or ''}|{code}" if code else None

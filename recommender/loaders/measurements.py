"""Numeric observations as a loader read them in, each in its code's one unit and of a possible size out.

The table `data/vocabulary/measurements.csv` holds, for each LOINC code, the UCUM unit that everything later may rely
on, the range outside of which a value is a slip of the pen rather than an illness, and how other units convert:
`unit=factor` or `unit=factor+offset`, so that value in our unit = value x factor + offset. A code that is not in the
table passes unchanged.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import numpy as np

from recommender.errors import InputError
from recommender.event_kernel import measured
from recommender.ingest_log import IngestLog
from recommender.loaders.columns import chosen, constant, distinct
from recommender.records import RawEvents

TABLE = "measurements.csv"
CONVERSION = re.compile(r"(?P<unit>[^=]+)=(?P<factor>\d+(\.\d+)?)(?P<offset>[+-]\d+(\.\d+)?)?")


@dataclass(frozen=True)
class Measurement:
    """What one code measures. conversions: other unit -> (factor, offset); low and high in `unit`, both possible."""

    code: str
    name: str
    unit: str
    low: float
    high: float
    conversions: Mapping[str, tuple[float, float]]


@cache
def measurements() -> Mapping[str, Measurement]:
    """The shipped table by code (`loinc:...`). Raises InputError naming row and field of a broken one."""
    text = files("data.vocabulary").joinpath(TABLE).read_text(encoding="utf-8")
    found = [_measurement(number, row) for number, row in enumerate(csv.DictReader(text.splitlines()), start=2)]
    if len({measurement.code for measurement in found}) < len(found):
        raise InputError("a code stands in the table twice", file=TABLE, field="loinc")
    return MappingProxyType({measurement.code: measurement for measurement in found})


def _measurement(number: int, row: dict[str, str]) -> Measurement:
    conversions = {}
    for part in filter(None, row["conversions"].split(";")):
        match = CONVERSION.fullmatch(part)
        if not match:
            raise InputError("a conversion is unit=factor or unit=factor+offset", file=TABLE, row=number, field=part)
        conversions[_plain(match["unit"])] = (float(match["factor"]), float(match["offset"] or 0))
    try:
        low, high = float(row["low"]), float(row["high"])
    except ValueError:
        raise InputError("not a number", file=TABLE, row=number, field="low, high") from None
    if not low < high:
        raise InputError("low must be below high", file=TABLE, row=number, field="low, high")
    return Measurement(f"loinc:{row['loinc']}", row["name"], row["unit"], low, high, MappingProxyType(conversions))


NO_UNIT = "not a unit that this measurement can be converted from"
NO_VALUE = "not a possible value of this measurement"


def converted(code: str, unit: str, value: float) -> tuple[float, str, str]:
    """What `standardise` makes of one value: it in our unit, that unit, and what speaks against it ("" if nothing)."""
    factor, offset, low, high = _rule(code, unit)
    found = value * factor + offset
    why = NO_UNIT if math.isnan(factor) else "" if low <= found <= high else NO_VALUE
    return found, _unit(code, unit) or "", why


def standardise(raw: RawEvents, log: IngestLog) -> RawEvents:
    """`raw` (kind observation) with values of known codes in our unit; what cannot be is rejected and counted.

    A row without a unit is taken to be in ours: sources leave it out where there is no choice. Rejected: a unit that is
    none of the code's, and a value outside of the possible range, which is also how a wrong unit shows.
    """
    frame = raw.frame if "unit" in raw.frame else raw.frame.assign(unit=constant(None, len(raw.frame)))
    which, pairs = distinct(frame["code"], frame["unit"])
    factor, offset, low, high = np.array([_rule(*pair) for pair in pairs], dtype=np.float64).reshape(-1, 4).T.copy()
    value, impossible = measured(which, frame["value"].to_numpy(dtype=np.float64), factor, offset, low, high)
    unit = chosen([_unit(*pair) for pair in pairs], which, frame.index)
    unknown = np.isnan(factor)[which]
    log.add(raw.file, "unit", NO_UNIT, frame.loc[unknown, "row"])
    log.add(raw.file, "value", NO_VALUE, frame.loc[impossible, "row"])
    in_our_unit, bad = frame.assign(value=value, unit=unit), unknown | impossible
    return replace(raw, frame=in_our_unit[~bad] if bad.any() else in_our_unit)


def _unit(code: str | None, given: str | None) -> str | None:
    known = measurements().get(code or "")
    return known.unit if known else given


def _rule(code: str | None, unit: str | None) -> tuple[float, float, float, float]:
    """Factor, offset, low and high for values of this code in this unit; factor NaN where it cannot be converted."""
    measurement = measurements().get(code or "")
    if measurement is None:
        return 1.0, 0.0, -np.inf, np.inf
    given = _plain(unit or "")
    same = given in ("", _plain(measurement.unit))
    factor, offset = (1.0, 0.0) if same else measurement.conversions.get(given, (np.nan, 0.0))
    return factor, offset, measurement.low, measurement.high


def _plain(unit: str) -> str:
    """A unit as it is compared: without case, blanks or the ways of writing a power of ten."""
    return unit.strip().lower().replace(" ", "").replace("x10", "10").replace("10^", "10*").replace("µ", "u")

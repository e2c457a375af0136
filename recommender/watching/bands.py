"""The newest observations of a patient in, a text out that is the same as long as no rule can see a difference.

Between two values that rules or thresholds compare with, a measurement may move as it likes: nothing can change. Most
readings do, and so cost a look at this and no more.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from recommender.observations import Observation
from recommender.safety.screen import CREATININE, WEIGHT, Screen
from recommender.watching.alarms import thresholds

EGFR = "egfr"
EXACT = frozenset({CREATININE, WEIGHT, EGFR})  # of which others are worked out, or that give way to those


@lru_cache(maxsize=4)
def measure_of(screen: Screen) -> Mapping[str, str]:
    """Code of an observation -> id of the measure that rules know it by."""
    return {code: one.id for one in screen.rules.measures.values() for code in one.codes}


def latest(newest: Mapping[str, Observation], screen: Screen) -> dict[str, Observation]:
    """Of each measure (or code that no rule knows) the newest observation, whatever its code."""
    names, found = measure_of(screen), dict[str, Observation]()
    for code, one in newest.items():
        name = names.get(code, code)
        if name not in found or one.order > found[name].order:
            found[name] = one
    return found


def bands(newest: Mapping[str, Observation], screen: Screen) -> str:
    """Where each measurement lies between the values that it is compared with."""
    cuts, told = _cuts(screen), []
    for name, one in sorted(latest(newest, screen).items()):
        if name in EXACT:
            told.append(f"{name}={one.order}")
        elif name in cuts:
            value = float(np.float32(one.value))  # as rules see it
            told.append(f"{name}={bisect_left(cuts[name], value)}-{bisect_right(cuts[name], value)}")
    return " ".join(told)


@lru_cache(maxsize=4)
def _cuts(screen: Screen) -> Mapping[str, list[float]]:
    """Measure -> the values that it is compared with, ascending."""
    names, found = measure_of(screen), dict[str, set[float]]()
    for rule in screen.rules.labs:
        found.setdefault(rule.measure, set()).add(float(np.float32(rule.value)))
    for one in thresholds():
        for code in one.codes:
            found.setdefault(names.get(code, code), set()).add(float(np.float32(one.value)))
    return {name: sorted(values) for name, values in found.items()}

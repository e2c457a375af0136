"""Measured figures in, where each stands in a drawing out: the templates draw lines and points, and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SIDE = 320  # of the calibration plot's square, in its own units
STEPS = (0.05, 0.1, 0.2, 0.25, 0.5, 1.0)  # where an axis may end


@dataclass(frozen=True)
class Interval:
    """A figure from 0 to 1 with its interval: as text, and as percent of the scale."""

    value: str
    low: str
    high: str
    at: float
    start: float
    width: float


def interval(figure: Mapping[str, Any]) -> Interval:
    value, low, high = (float(figure[name]) for name in ("value", "low", "high"))
    at, start, end = (round(100 * min(1.0, max(0.0, one)), 1) for one in (value, low, high))
    return Interval(f"{value:.2f}", f"{low:.2f}", f"{high:.2f}", at, start, round(end - start, 1))


@dataclass(frozen=True)
class Point:
    """A bin of suggestions: what was predicted and what came true, in the square's units; and as text."""

    x: float
    y: float
    low: float
    high: float
    predicted: str
    observed: str
    interval: str
    pairs: str


@dataclass(frozen=True)
class Calibrated:
    """points: predicted against observed, where the version tells them; curve: else, how scores read as shares.

    top: where both axes of `points` end; ticks: (place, text) along an axis. curve: "x,y x,y ..." for a polyline.
    """

    points: tuple[Point, ...]
    ticks: tuple[tuple[float, str], ...]
    curve: str
    curve_ticks: tuple[tuple[float, str], ...]
    curve_rows: tuple[tuple[str, str], ...]
    error: str
    days: int
    depth: int
    side: int = SIDE


def calibration(chances: Mapping[str, Any]) -> Calibrated:
    """`chances` as the night publishes them; `reliability` in it are the bins of the cross-fitted curve."""
    bins = chances.get("reliability") or ()
    top = _end([float(one[name]) for one in bins for name in ("predicted", "high")])
    scores, shares = (list(map(float, chances["curve"][name])) for name in ("scores", "probabilities"))
    first, up = max(0.0, scores[0]), _end(shares)
    across = max(scores[-1] - first, 1e-9)
    places = [
        (SIDE * (s - first) / across, SIDE * (1 - p / up)) for s, p in zip(scores, shares, strict=True) if s >= first
    ]
    return Calibrated(
        points=tuple(_point(one, top) for one in bins),
        ticks=_ticks(top, percent=True),
        curve=" ".join(f"{x:.1f},{y:.1f}" for x, y in places),
        curve_ticks=_ticks(up, percent=True),
        curve_rows=_rows(scores, shares),
        error=f"{100 * float(chances.get('ece', math.nan)):.1f}",
        days=int(chances.get("days", 0)),
        depth=int(chances.get("depth", 0)),
    )


def _point(one: Mapping[str, Any], top: float) -> Point:
    predicted, observed, low, high = (float(one[name]) for name in ("predicted", "value", "low", "high"))

    def at(value: float) -> float:
        return round(SIDE * min(1.0, value / top), 1)

    return Point(
        x=at(predicted),
        y=SIDE - at(observed),
        low=SIDE - at(low),
        high=SIDE - at(high),
        predicted=f"{100 * predicted:.1f}%",
        observed=f"{100 * observed:.1f}%",
        interval=f"{100 * low:.1f}–{100 * high:.1f}%",
        pairs=f"{int(one.get('pairs', 0)):,}",
    )


def _end(values: Sequence[float]) -> float:
    """Where an axis ends that holds all the values."""
    return next((step for step in STEPS if step >= max(values, default=1.0)), 1.0)


def _ticks(top: float, *, percent: bool) -> tuple[tuple[float, str], ...]:
    return tuple((SIDE * part / 4, f"{100 * top * part / 4:g}%") for part in range(5))


def _rows(scores: Sequence[float], shares: Sequence[float]) -> tuple[tuple[str, str], ...]:
    """The curve in a few numbers: at ten steps of the score."""
    import numpy as np

    steps = np.linspace(max(0.0, scores[0]), scores[-1], 9)
    found = np.interp(steps, scores, shares)
    return tuple(
        (f"{score:.2f}", f"{100 * share:.0f}%") for score, share in zip(steps.tolist(), found.tolist(), strict=True)
    )

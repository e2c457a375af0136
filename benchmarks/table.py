"""Ways of doing one thing in, which take turns; lines of a table out: seconds, ratios, and whether what was to be
reached is."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

ROUNDS = 3
Ways = dict[str, Callable[[], object]]
"""The first is ours. One that returns a float tells its seconds itself."""


class Table:
    """Lines of results, printed as they come and kept for the file."""

    def __init__(self) -> None:
        self.lines = [
            "| step | patients or rows | way | s | a second | ours is faster by | to reach |",
            "|---|---:|---|---:|---:|---:|---|",
        ]

    def compare(
        self, step: str, count: int, ways: Ways, rounds: int = ROUNDS, reach: Mapping[str, float] | None = None
    ) -> None:
        """Run every way in turn, `rounds` times; the median of each, and its ratio to the first, ours. reach: by the
        beginning of a way's name, the least ratio to reach."""
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                began = time.perf_counter()
                told = way()
                seconds[name].append(told if isinstance(told, float) else time.perf_counter() - began)
        ours, *others = ways
        median = {name: statistics.median(taken) for name, taken in seconds.items()}
        self._line(step, count, ours, median[ours])
        for name in others:
            ratio = median[name] / median[ours]
            least = next((least for start, least in (reach or {}).items() if name.startswith(start)), None)
            met = "" if least is None else f"{least:g}x: {'met' if ratio >= least else 'missed'}"
            self._line(step, count, name, median[name], f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2f}x", met)

    def _line(self, step: str, count: int, name: str, seconds: float, ratio: str = "", met: str = "") -> None:
        taken = f"{seconds:.2f}" if seconds >= 1 else f"{seconds:.3f}"
        line = f"| {step} | {count:,} | {name} | {taken} | {count / seconds:,.0f} | {ratio} | {met} |"
        print(line, flush=True)
        self.lines.append(line)

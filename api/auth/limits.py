"""A caller in, whether they have asked too often out: counted in Redis for all server processes together.

A process takes some of a caller's requests of this minute at a time, so that not each of them asks Redis. No more than
the limit ever pass; what a process has taken and does not use (SHARE of the limit at most) is lost to the others until
the minute ends. While Redis does not answer, each process counts alone, so that what needs no Redis (checking drugs)
stays up, and limited.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from api.errors import TooMany
from recommender.access import Shared
from recommender.errors import StoreUnavailable

WINDOW_SECONDS = 60
MOST_COUNTED = 10_000  # callers that one process counts alone: more addresses than that share one count
SHARE, MOST_TAKEN = 1 / 50, 16  # what is taken at a time: of the limit, and requests


class Limits:
    """`shared` is asked for at each use: the store may not be open yet."""

    def __init__(self, shared: Callable[[], Shared]) -> None:
        self._shared = shared
        self._lock = threading.Lock()
        self._alone: tuple[int, dict[str, int]] = (0, {})
        self._taken: tuple[int, dict[str, int]] = (0, {})  # the minute, and what of it is left to each caller

    def count(self, who: str, most: int) -> None:
        """One more of `who` in this minute. Raises TooMany beyond `most`."""
        minute = int(time.time()) // WINDOW_SECONDS
        if self._had(minute, who):
            return
        step = max(1, min(MOST_TAKEN, int(most * SHARE)))
        try:
            count, seconds = self._shared().count(who, WINDOW_SECONDS, step)
        except StoreUnavailable:
            step, (count, seconds) = 1, self._count_alone(who)
        left = most - (count - step)
        if left < 1:
            raise TooMany(seconds)
        if step > 1:
            self._keep(minute, who, min(step, left) - 1)

    def _had(self, minute: int, who: str) -> bool:
        """Use one of those that were taken."""
        with self._lock:
            if self._taken[0] != minute:
                self._taken = (minute, {})
            left = self._taken[1].get(who, 0)
            if left:
                self._taken[1][who] = left - 1
            return left > 0

    def _keep(self, minute: int, who: str, more: int) -> None:
        with self._lock:
            if self._taken[0] == minute:
                self._taken[1][who] = self._taken[1].get(who, 0) + more

    def _count_alone(self, who: str) -> tuple[int, int]:
        window, left = divmod(int(time.time()), WINDOW_SECONDS)
        with self._lock:
            if self._alone[0] != window:
                self._alone = (window, {})
            counts = self._alone[1]
            who = who if who in counts or len(counts) < MOST_COUNTED else ""
            counts[who] = counts.get(who, 0) + 1
            return counts[who], WINDOW_SECONDS - left

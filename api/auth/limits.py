"""A caller in, whether they have asked too often out: counted in Redis for all server processes together.

While Redis does not answer, each process counts alone, so that what needs no Redis (checking drugs) stays up, and
limited.
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


class Limits:
    """`shared` is asked for at each use: the store may not be open yet."""

    def __init__(self, shared: Callable[[], Shared]) -> None:
        self._shared = shared
        self._lock = threading.Lock()
        self._alone: tuple[int, dict[str, int]] = (0, {})

    def count(self, who: str, most: int) -> None:
        """One more of `who` in this minute. Raises TooMany beyond `most`."""
        try:
            count, seconds = self._shared().count(who, WINDOW_SECONDS)
        except StoreUnavailable:
            count, seconds = self._count_alone(who)
        if count > most:
            raise TooMany(seconds)

    def _count_alone(self, who: str) -> tuple[int, int]:
        window, left = divmod(int(time.time()), WINDOW_SECONDS)
        with self._lock:
            if self._alone[0] != window:
                self._alone = (window, {})
            counts = self._alone[1]
            who = who if who in counts or len(counts) < MOST_COUNTED else ""
            counts[who] = counts.get(who, 0) + 1
            return counts[who], WINDOW_SECONDS - left

"""So many patients a second in, how long to wait before the next ones are sent out.

Who reads shares the processors and the Redis server with the night that publishes. At a pace, a version takes longer to
be there, and requests are answered nearly as quickly meanwhile.
"""

from __future__ import annotations

import threading
import time

LEAST = 100  # patients a second: a slower writer would lose its token (`publication.PROLONG_SECONDS`)


class Pace:
    """Shared by all writers of a version. rate: patients a second; 0: as fast as it goes."""

    def __init__(self, rate: int) -> None:
        self._rate, self._due, self._lock = rate, 0.0, threading.Lock()

    def wait(self, patients: int) -> None:
        """Until so many more may be sent."""
        if not self._rate:
            return
        with self._lock:
            now = time.monotonic()
            due = max(self._due, now)  # what was not sent in time is not made up for
            self._due = due + patients / self._rate
        time.sleep(due - now)

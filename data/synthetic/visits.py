"""In: who the patients are and how ill; out: `Visits`, the days on which each patient is seen anyway.

Chronic treatment, renewals and laboratory work fall on visit days, as in a real clinic: the sicker, the more often.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def workday(day: np.ndarray) -> np.ndarray:
    """The day itself, or the Monday after a weekend. (m,) int -> (m,) int32"""
    weekday = (day + 3) % 7  # 1970-01-01 was a Thursday
    return (day + np.where(weekday == 5, 2, np.where(weekday == 6, 1, 0))).astype(np.int32)


@dataclass(frozen=True)
class Visits:
    entry: np.ndarray  # (n,) int32 day of the first visit
    interval: np.ndarray  # (n,) int32 days between planned visits
    salt: np.ndarray  # (n,) uint64, makes each visit come some days late

    def day(self, patient: np.ndarray, number: np.ndarray) -> np.ndarray:
        """The day of the patient's visit of that number; never a weekend. -> (m,) int32"""
        interval = self.interval[patient]
        mixed = (self.salt[patient] + number.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        late = ((mixed >> np.uint64(40)) % np.maximum(interval // 4, 1).astype(np.uint64)).astype(np.int32)
        return workday(self.entry[patient] + number * interval + np.where(number > 0, late, 0))

    def snap(self, patient: np.ndarray, day: np.ndarray) -> np.ndarray:
        """The first visit on or after the day. -> (m,) int32"""
        number = -(-(np.maximum(day - self.entry[patient], 0)) // self.interval[patient])
        return self.day(patient, number.astype(np.int32))


def plan(rng: np.random.Generator, entry: np.ndarray, burden: np.ndarray) -> Visits:
    """`burden`: (n,) number of chronic conditions."""
    interval = np.clip(400 * np.exp(-0.15 * burden) * rng.uniform(0.8, 1.25, len(entry)), 75, 480)
    return Visits(entry, interval.astype(np.int32), rng.integers(0, 2**62, len(entry)).astype(np.uint64))

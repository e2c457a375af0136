"""One number measured of one patient, as it was sent, in; an `Observation` in our unit, or why it is set aside, out.

Also what is made of such numbers: an `Alarm` that holds for a patient, and an `Event` that tells of one.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Literal

from recommender.loaders.measurements import converted, measurements

KEPT_DAYS = 30  # a reading that no night took in counts for so long
AHEAD = timedelta(minutes=5)  # how far a device's clock may be before ours: a time to come would hide what follows
LONGEST_ID = 300
NO_ID = "its id is missing, too long or not printable"
NOT_KNOWN = "not a measurement that is known here: see data/vocabulary/measurements.csv"
NO_NUMBER = "not a number"
TO_COME = "its time lies in the future"
TOO_OLD = f"older than {KEPT_DAYS} days: the nightly data bring it"
MILLISECOND = timedelta(milliseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Change = Literal["raised", "ended"]
AlarmKind = Literal["threshold", "therapy", "withheld"]


@dataclass(frozen=True)
class Observation:
    """`code`: of the table of measurements, whose unit `value` has. taken: milliseconds since 1970. arrived: the same
    of when it was sent to us, 0 where that does not matter."""

    id: str
    patient_id: str
    code: str
    name: str
    value: float
    unit: str
    taken: int
    arrived: int = 0

    @cached_property
    def order(self) -> str:
        """Of two of one code, the one whose text is greater counts: the later, and of two at once always the same."""
        return f"{self.taken:015d}{hashlib.sha256(self.id.encode(errors='surrogatepass')).hexdigest()[:16]}"

    @property
    def digest(self) -> str:
        """The same for the same content, whenever it arrived."""
        content = (self.id, self.patient_id, self.code, repr(self.value), str(self.taken))
        return hashlib.sha256("\0".join(content).encode(errors="surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True)
class Alarm:
    """What holds for a patient as the chart is now. `key` is the same as long as it holds for the same reason.

    kind: a measurement beyond a threshold; a rule against a drug that is taken; a suggestion that is withheld. rule: of
    the thresholds or of the safety rules. drug, drug_name: "" for a threshold. because: what of the chart it is.
    """

    kind: AlarmKind
    rule: str
    severity: str
    drug: str
    drug_name: str
    message: str
    management: str
    because: str
    source: str

    @property
    def key(self) -> str:
        """A withheld suggestion is one alarm, whatever the rules that withhold it."""
        return f"{self.kind}|{self.drug}" if self.kind == "withheld" else f"{self.kind}|{self.rule}|{self.drug}"


@dataclass(frozen=True)
class Event:
    """An alarm that began to hold or ended, because of `observation` (the newest that was looked at). `id`: "" until it
    is stored. at: milliseconds since 1970; version: of the data that the chart comes from."""

    id: str
    patient_id: str
    change: Change
    alarm: Alarm
    observation: Observation
    at: int
    version: str


def understood(
    id_: str, patient_id: str, code: str, value: float, unit: str, taken: datetime, now: datetime
) -> Observation | str:
    """The observation, or why it is set aside. taken, now: aware."""
    if not 0 < len(id_) <= LONGEST_ID or not id_.isprintable():
        return NO_ID
    known = measurements().get(code)
    if known is None:
        return NOT_KNOWN
    if not math.isfinite(value):
        return NO_NUMBER
    found, of, why = converted(code, unit, value)
    if why:
        return why
    if taken > now + AHEAD:
        return TO_COME
    if taken < now - timedelta(days=KEPT_DAYS):
        return TOO_OLD
    return Observation(id_, patient_id, code, known.name, found, of, milliseconds(taken), milliseconds(now))


def milliseconds(time: datetime) -> int:
    return (time - EPOCH) // MILLISECOND


def time_of(milliseconds_: int) -> datetime:
    return EPOCH + milliseconds_ * MILLISECOND

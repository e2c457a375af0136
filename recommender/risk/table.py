"""What a risk is learned from and told of: one row an example, one column a feature, missing values as NaN."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from recommender.errors import EngineError, TrainingError

MIN_EVENTS = 20  # examples with the event, and without: fewer teach nothing that could be told apart from chance
NEVER = ("race", "ethnicity", "site", "hospital")  # columns that are never an input; fairness is measured by them
SPANS = ((365.25, "year"), (30.4375, "month"), (1.0, "day"))

NEARLY = 0.002  # 3,650 days are ten years


@dataclass(frozen=True)
class Feature:
    """One input. source: the column of a table or the code in records. `number`: its value; `yes`: 1 or 0; `level`: 1
    where the column says `level`, else 0."""

    name: str
    source: str
    kind: Literal["number", "yes", "level"]
    level: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Outcome:
    """What is foreseen. code: the column of a table, or a condition or group of conditions in records.

    horizon_days: within how many days from the moment of the row it begins; None: it is there at that moment, or the
    table does not say by when. Only a horizon may be told as one.
    """

    name: str
    code: str
    horizon_days: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def span(self) -> str:
        """'10 years', '30 days'; "" without a horizon."""
        parts = self.span_parts
        return f"{parts[0]} {parts[1]}{'s' if parts[0] > 1 else ''}" if parts else ""

    @property
    def span_parts(self) -> tuple[int, str] | None:
        """(10, 'year'); None without a horizon."""
        if self.horizon_days is None:
            return None
        for days, word in SPANS:
            count = round(self.horizon_days / days)
            if count and abs(count * days - self.horizon_days) <= max(1, NEARLY * self.horizon_days):
                return count, word
        return self.horizon_days, "day"


@dataclass(frozen=True)
class Inputs:
    """Rows to be told a risk of. ids (n,) str; values (n, n_features) float64 in the order of `features`."""

    features: tuple[Feature, ...]
    ids: np.ndarray
    values: np.ndarray

    def take(self, which: np.ndarray) -> Inputs:
        return replace(self, ids=self.ids[which], values=self.values[which])


@dataclass(frozen=True)
class RiskTable:
    """Examples to learn from. outcome (n,) bool; groups: attributes (n rows) that fairness is measured by, never an
    input; `said`: the question in words; `notes`: what was set aside; `as_of`: the age of the data, where it is told.
    """

    asked: Outcome
    inputs: Inputs
    outcome: np.ndarray
    groups: pd.DataFrame
    said: str
    notes: tuple[str, ...] = ()
    as_of: pd.Timestamp | None = None

    def __post_init__(self) -> None:
        if not len(self.outcome) == len(self.inputs.ids) == len(self.inputs.values) == len(self.groups):
            raise EngineError("a risk table needs one outcome and one row of groups for each example")

    def __len__(self) -> int:
        return len(self.outcome)

    @property
    def person(self) -> np.ndarray:
        return self.inputs.ids

    def take(self, which: np.ndarray) -> RiskTable:
        groups = self.groups.iloc[which].reset_index(drop=True)
        return replace(self, inputs=self.inputs.take(which), outcome=self.outcome[which], groups=groups)

    def learnable(self) -> RiskTable:
        """Itself. Raises TrainingError where too few had the event, or too few did not, or nothing is known."""
        events = int(self.outcome.sum())
        if min(events, len(self) - events) < MIN_EVENTS:
            raise TrainingError(
                f"{events:,} of {len(self):,} examples have the outcome {self.asked.name!r}: {MIN_EVENTS} with it and "
                f"{MIN_EVENTS} without it are needed"
            )
        if not self.inputs.features:
            raise TrainingError("no column is left to learn from")
        return self

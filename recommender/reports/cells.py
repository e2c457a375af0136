"""True counts of patients in, what may be told of them out: nothing from which a number below 11 can be worked out.

Two kinds of counts, and a rule for each:

- *parts of a whole that is known* (age bands, sexes, the statuses of a formulary): `partition`, by the rule that stands
  at the top of `recommender/feedback/summary.py`: small parts read "<11", and where there is one, a larger part or all
  of them read "hidden", so that subtraction leaves each small part anything from 1 to 10, also for who knows the whole;
- *counts that overlap* (who had a treatment, who is warned by a rule): `about`, in the steps that stand at the top of
  `recommender/support.py`. Where the number of patients who have any of them is told too (who sees a warning, who takes
  a drug that is not on the formulary), small ones are not listed at all: from "any of them" and the larger ones
  follows how many are left, and of how many things these are must not be known.

Whatever is told, the whole included, is told to the ten, and every share, rate, order and difference is worked out from
that, never from a true count. So reports of two versions, and two reports of one version, cannot be subtracted from
each other to less than ten patients either. What feedback tells is told to the ten here for the same reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recommender.feedback.summary import FEW, HIDDEN, Count, parts_told
from recommender.support import STEP, in_tens, least_told, steps

REST = "not listed"


@dataclass(frozen=True)
class Cell:
    """What is told of one count: `text` ("about 310", "<11", "hidden", "0") and the share of the whole, None where
    hidden; `number`: to draw and sort by, 0 where hidden."""

    text: str
    number: int
    share: float | None

    @property
    def hidden(self) -> bool:
        return self.share is None

    @property
    def percent(self) -> str:
        return "–" if self.share is None else f"{100 * self.share:.0f}%" if self.share >= 0.1 else f"{self.share:.1%}"


def partition(counts: Mapping[str, int], total: int) -> dict[str, Cell]:
    """Of parts that, with what is not listed, make up `total` patients; the order of the parts must not follow from
    their sizes."""
    left = total - sum(counts.values())
    if left < 0:
        raise ValueError("these are no parts of the whole: they add up to more")
    parts = {name: Count(count, count) for name, count in counts.items()}
    if left:
        parts[REST] = Count(left, left)
    told = parts_told(Count(total, total), parts)
    return {name: _to_the_ten(value, total) for name, value in told.items()}


def about(count: int, total: int) -> Cell:
    """Of `count` out of `total` patients, beside other counts that may overlap with it."""
    told = STEP * int(steps(np.array([count]), total)[0])
    if not told:
        return Cell(f"<{least_told(total)}", 0, None)
    return Cell(in_words(told), told, min(1.0, told / in_tens(total)))


def in_words(tens: int) -> str:
    """Of what `in_tens` gives."""
    return f"about {tens:,}" if tens else FEW


def feedback_told(told: Mapping[str, Any]) -> dict[str, Any]:
    """What `feedback.publishable` tells, its exact numbers to the ten: of one version, of all, since a day."""

    def blunt(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: blunt(one) for name, one in value.items()}
        return in_words(in_tens(value)) if isinstance(value, int) and value else value

    return {name: blunt(value) for name, value in told.items()}


def per_hundred(cell: Cell) -> str:
    """A rate per 100 patients, from what is told."""
    return "–" if cell.share is None else f"{100 * cell.share:.1f}"


def _to_the_ten(told: int | str, total: int) -> Cell:
    if isinstance(told, str):
        assert told in (FEW, HIDDEN)  # noqa: S101  (there is nothing else)
        return Cell(told, 0, None)
    if not told:
        return Cell("0", 0, 0.0)
    return Cell(in_words(in_tens(told)), in_tens(told), min(1.0, in_tens(told) / in_tens(total)))

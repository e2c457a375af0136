"""`Records` in, `Given` out: by which routes each drug was given here, and about to how many patients, to publish.

A route is told by the order where it has one, else by the form that the drug's name tells ('... oral tablet'); what
tells neither counts as NOT_KNOWN, and nothing is guessed from what the drug usually is. Counted are patients, of whom
any record tells a route; one with tablets and infusions counts under both.

What leaves this module are the steps of `support.py`, whose second argument holds here too: who had the drug but not by
this route is the difference of two steps. That a route is told at all says that somebody had the drug so: a hidden
number is 1 to 10, and of the ten numbers that a difference leaves open, "none" may fall away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from msgspec import Meta, Struct

from recommender.records import Records
from recommender.support import STEP, least_told, steps
from recommender.vocabulary.routes import INJECTED, INTO_WHAT, ROUTES

NOT_KNOWN = "not_known"  # of a patient: no record of the drug tells a route; as a wish: of nobody any does
COUNTED = (*ROUTES, NOT_KNOWN)
WIDER = {INJECTED: (INJECTED, *INTO_WHAT, "intradermal")}  # who asks for injected drugs means all of these


class ByRoute(Struct, frozen=True, gc=False):
    """A route by which patients here had a drug. `not_known`: no record of theirs tells a route of it."""

    route: Literal[COUNTED]  # type: ignore[valid-type]
    patients: Annotated[str, Meta(description='About how many patients: to the ten, or "<11"', examples=["310", "<11"])]


@dataclass(frozen=True)
class Given:
    """Of each drug (its code), the patients by each route of COUNTED by which anybody had it: in tens, 0 where hidden.

    The most usual route stands first, NOT_KNOWN last.
    """

    n_patients: int
    drugs: Mapping[str, Mapping[str, int]]

    def of(self, code: str) -> tuple[ByRoute, ...]:
        """The routes of a drug; () of what nobody had, and of what is no drug."""
        return self._told.get(code, ())

    def by(self, code: str, route: str) -> bool:
        """Whether any record tells that the drug was given so. `route`: one of COUNTED."""
        if route == NOT_KNOWN:
            return not self.drugs.get(code, {}).keys() - {NOT_KNOWN}
        return code in self._by.get(route, ())

    @cached_property
    def routes(self) -> tuple[str, ...]:
        """Those of COUNTED that any drug has."""
        return tuple(route for route in COUNTED if any(route in found for found in self.drugs.values()))

    @cached_property
    def _by(self) -> dict[str, frozenset[str]]:
        wider = {route: WIDER.get(route, (route,)) for route in ROUTES}
        return {
            route: frozenset(code for code, found in self.drugs.items() if not found.keys().isdisjoint(several))
            for route, several in wider.items()
        }

    @cached_property
    def _told(self) -> dict[str, tuple[ByRoute, ...]]:
        hidden = f"<{least_told(self.n_patients)}"
        return {
            code: tuple(ByRoute(route, str(STEP * tens) if tens else hidden) for route, tens in found.items())
            for code, found in self.drugs.items()
        }

    def as_dict(self) -> dict[str, Any]:
        return {"patients": self.n_patients, "drugs": self.drugs}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for what `as_dict` did not give."""
        drugs = {str(code): {str(r): int(n) for r, n in found.items()} for code, found in data["drugs"].items()}
        return cls(int(data["patients"]), drugs)


def no_counts(concepts: pd.DataFrame) -> np.ndarray:
    return np.zeros((len(concepts), len(COUNTED)), dtype=np.uint32)


def counts_in(records: Records) -> np.ndarray:  # (n_concepts, len(COUNTED)) uint32
    """Patients of each drug by each route, to be kept to ourselves; it adds up over groups of patients."""
    n = len(records.concepts)
    counts = no_counts(records.concepts)
    drug = (records.concepts["kind"] == "drug").to_numpy()
    patient, concept, routes = (records.treatments[c].to_numpy() for c in ("patient_ix", "concept_ix", "routes"))
    mine = np.flatnonzero(drug[concept])
    if not len(mine):
        return counts
    had = patient[mine].astype(np.int64) * n + concept[mine]
    order = np.argsort(had)
    had = had[order]
    first = np.flatnonzero(np.concatenate([[True], had[1:] != had[:-1]]))
    bits, of = np.bitwise_or.reduceat(routes[mine][order], first), had[first] % n
    for place in range(len(ROUTES)):
        counts[:, place] = np.bincount(of[bits >> np.uint32(place) & 1 > 0], minlength=n)
    counts[:, -1] = np.bincount(of[bits == 0], minlength=n)
    return counts


def told_of(counts: np.ndarray, concepts: pd.DataFrame, n_patients: int) -> Given:
    """What may be told of the counts of `counts_in`, added up over all patients."""
    tens = steps(counts, n_patients)
    code, drugs = concepts["code"].to_numpy(), {}
    for ix in np.flatnonzero(counts.any(axis=1)).tolist():
        there = np.flatnonzero(counts[ix, :-1])
        usual = there[np.argsort(-tens[ix, there].astype(np.int64), kind="stable")].tolist()
        usual += [len(ROUTES)] if counts[ix, -1] else []
        drugs[str(code[ix])] = {COUNTED[place]: int(tens[ix, place]) for place in usual}
    return Given(n_patients, drugs)

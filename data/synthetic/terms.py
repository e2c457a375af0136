"""In: a `when` cell of a table; out: its terms, each naming something that exists (grammar: README.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass

COMPARISON = re.compile(r"^(\w+)([<>])([\d.]+)$")
NEW = "new"  # concerns the list of candidates, not a day: only for what began after the first visit


@dataclass(frozen=True)
class Terms:
    """What terms may name."""

    conditions: set[str]
    analytes: set[str]
    drugs: set[str]  # products and classes
    allergies: set[str]

    def __call__(self, text: str) -> tuple[str, ...]:
        """The terms of a cell, without `new`. Raises ValueError on a term that nothing answers to."""
        terms = tuple(term for term in text.split() if term != NEW)
        for term in terms:
            if not self._known(term.removeprefix("!")):
                raise ValueError(f"data/synthetic: unknown term {term!r} in {text!r}")
        return terms

    def _known(self, term: str) -> bool:
        kind, _, name = term.partition(":")
        if name:
            return name in {"on": self.drugs, "allergy": self.allergies, "now": self.conditions}.get(kind, ())
        compared = COMPARISON.match(term)
        if compared:
            return compared[1] in self.analytes | {"age", "year"}
        return term in self.conditions | {"male", "female"}

"""A collection in parts, each on some machine, and what a night asks of it; in this process it is a list.

A part is a value that pickles. Steps are functions of one part, sent to where it is; what they need beside it is shared
once with all machines. A step may run again for a part (its machine was lost, or was slow), so it changes nothing but
what it gives, or what is the same when it is done twice.
"""

from __future__ import annotations

import copyreg
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import reduce
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
U = TypeVar("U")
V_co = TypeVar("V_co", covariant=True)


def _frozen(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


# rules and vocabularies hold mappings that nobody may change, which pickle does not know to take along
copyreg.pickle(MappingProxyType, lambda mapping: (_frozen, (dict(mapping),)))


class Shared(Protocol[V_co]):
    """A value that every machine has."""

    @property
    def value(self) -> V_co: ...


class Parts(ABC, Generic[T]):
    """In a fixed order: that of the people in the export."""

    @abstractmethod
    def share(self, value: U) -> Shared[U]:
        """Send a value to all machines, once."""

    @abstractmethod
    def then(self, step: Callable[[T], U]) -> Parts[U]:
        """What a step makes of each part, kept there."""

    @abstractmethod
    def ask(self, question: Callable[[T], U]) -> list[U]:
        """The answer of each part, in their order; small ones: they are all held here."""

    @abstractmethod
    def total(self, question: Callable[[T], U | None]) -> U:
        """The sum (`+`) of the answers, None passed over, of which a few are held here at a time."""

    @abstractmethod
    def drop(self) -> None:
        """Nothing will be asked of these parts any more."""


class LocalParts(Parts[T]):
    """Parts in this process, pickled as they would be to be sent: what is shown of them holds for any other."""

    def __init__(self, parts: Iterable[T]) -> None:
        self._parts = [pickle.dumps(part) for part in parts]

    def share(self, value: U) -> Shared[U]:
        return _Sent(pickle.dumps(value))

    def then(self, step: Callable[[T], U]) -> LocalParts[U]:
        return LocalParts(self.ask(step))

    def ask(self, question: Callable[[T], U]) -> list[U]:
        return [question(pickle.loads(part)) for part in self._parts]  # noqa: S301  (our own)

    def total(self, question: Callable[[T], U | None]) -> U:
        return summed(self.ask(question))

    def drop(self) -> None:
        self._parts.clear()


class _Sent(Generic[T]):
    def __init__(self, pickled: bytes) -> None:
        self._pickled = pickled

    @property
    def value(self) -> T:
        value: T = pickle.loads(self._pickled)  # noqa: S301  (our own)
        return value


def summed(answers: Iterable[Any]) -> Any:
    """Raises ValueError where every answer is None."""
    there = [answer for answer in answers if answer is not None]
    if not there:
        raise ValueError("no part has an answer")
    return reduce(lambda one, other: one + other, there)

"""What a version knows and the whole drug vocabulary in, one searchable list of treatments in a stable order out.

A drug that the hospital never gave is there too, and marked so. The order is by name, then code, and never changes
within a `fingerprint`; a page of any selection goes on where the one before ended (`Page.cursor`).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from rapidfuzz import fuzz, process

from recommender.errors import EngineError
from recommender.given import ByRoute, Given
from recommender.matrix import ColumnIndex
from recommender.safety import Rules
from recommender.support import Count, Support
from recommender.vocabulary import Drug, DrugVocabulary
from recommender.vocabulary.text import key

LIKENESS = 80  # percent of rapidfuzz's ratio: one slip in 5 letters, two in 10; below it lie other drugs' names
SHORTEST_GUESS = 4  # letters: shorter words are like too many names
BLOCK = "treatments"
Matched = Literal["code", "name", "brand", "synonym", "typo"]
_HOW: dict[str, Matched] = {"exact": "name", "synonym": "synonym", "brand": "brand"}


class BadCursor(EngineError):
    """A cursor that was not given for this selection of this version."""


@dataclass(frozen=True)
class Treatment:
    """One treatment. `column_ix`: its column in the version, -1 for a drug that the hospital's data do not hold.

    ingredients: codes, () where the vocabulary does not know the drug. suggestable: whether lists may hold it; beside a
    hidden count that would narrow it (some patients are needed to learn from), so it is not told of outside.
    patients: about how many had it, None where the version does not tell; routes: by which they did.
    """

    code: str
    kind: str
    name: str
    group: str  # its class
    chapter: str  # the therapeutic group of its class
    brands: tuple[str, ...]
    synonyms: tuple[str, ...]
    ingredients: tuple[str, ...]
    column_ix: int
    suggestable: bool
    patients: Count | None
    routes: tuple[ByRoute, ...] = ()

    @property
    def on_record(self) -> bool:
        return self.column_ix >= 0


@dataclass(frozen=True)
class Hit:
    """A treatment that was searched for, by which spelling it was found, and how. A "typo" is a guess."""

    treatment: Treatment
    matched: Matched | None  # None where nothing was searched for
    spelling: str


@dataclass(frozen=True)
class Page:
    """Some hits, how many there are in all, and the cursor of the next page ("" on the last one)."""

    hits: tuple[Hit, ...]
    total: int
    cursor: str


class Catalogue:
    """The treatments of one version, in order."""

    def __init__(
        self,
        version: str,
        index: ColumnIndex,
        vocabulary: DrugVocabulary,
        rules: Rules,
        support: Support | None = None,
        given: Given | None = None,
    ) -> None:
        """`rules` of the same vocabulary: they tell of what a drug is made."""
        self.version, self.support, self._vocabulary = version, support, vocabulary
        found = [*_of_version(index, vocabulary, rules, support, given)]
        known = {one.code for one in found if one.kind == "drug"}
        found += [_of_vocabulary(drug, vocabulary) for drug in vocabulary.drugs.values() if drug.code not in known]
        self.treatments = tuple(sorted(found, key=lambda one: (key(one.name), one.name, one.code, one.kind)))
        self.by_code: Mapping[str, Treatment] = {one.code: one for one in reversed(self.treatments)}
        self._place = {one: place for place, one in enumerate(self.treatments)}
        self._of_column = {one.column_ix: one for one in self.treatments if one.on_record}
        self._conditions = {c.code: ix for ix, c in enumerate(index.columns) if c.kind == "condition"}
        self._index = index

    @cached_property
    def fingerprint(self) -> str:
        """Changes with anything that the catalogue says."""
        digest = hashlib.sha256(self.version.encode())
        for one in self.treatments:
            digest.update(repr(one).encode())
        return digest.hexdigest()[:32]

    # --- looking up --------------------------------------------------------------------------------------------------

    def find(self, text: str) -> Treatment | None:
        """By code ('rxnorm:6809'), RxCUI ('6809', of a product too where the vocabulary was imported), or NDC."""
        code = f"rxnorm:{text}" if text.isascii() and text.isdigit() else text
        if code in self.by_code:
            return self.by_code[code]
        match = self._vocabulary.match(code) if re.fullmatch(r"(rxnorm|ndc):[0-9-]+", code) else None
        return self.by_code.get(match.code) if match and match.status == "mapped" else None

    def condition(self, code: str) -> int | None:
        """The column of a coded condition that the version knows."""
        return self._conditions.get(code)

    def condition_name(self, column_ix: int) -> str:
        return self._index.columns[column_ix].name

    def of_target(self, target_ix: int) -> Treatment:
        """The treatment of a target (its position among the targets)."""
        return self._of_column[int(self._index.targets[target_ix])]

    def classes(self, text: str) -> frozenset[str]:
        """Names of classes and therapeutic groups that are spelled so, whatever the case and punctuation."""
        return self._classes.get(key(text), frozenset())

    @cached_property
    def _classes(self) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for name in {name for one in self.treatments for name in (one.group, one.chapter) if name}:
            found[key(name)] = found.get(key(name), frozenset()) | {name}
        return found

    def alternatives(self, treatment: Treatment) -> tuple[Treatment, ...]:
        """The other drugs of its class, in order; () where its class is not known."""
        if treatment.kind != "drug" or not treatment.group:
            return ()
        return tuple(
            one
            for one in self.treatments
            if one.kind == "drug" and one.group == treatment.group and one.code != treatment.code
        )

    # --- searching ---------------------------------------------------------------------------------------------------

    def search(self, text: str = "", keep: Callable[[Treatment], bool] = lambda _: True) -> tuple[Hit, ...]:
        """Those that `keep`s, best match first: a code; then what begins with `text`: its name, another spelling, a
        later word of one. Only where nothing does, spellings at least LIKENESS like it."""
        if not text.strip():
            return tuple(Hit(one, None, "") for one in self.treatments if keep(one))
        coded = self.find(text.strip())
        if coded is not None:
            return (Hit(coded, "code", coded.code),) if keep(coded) else ()
        wanted = key(text)
        if not wanted:
            return ()
        best: dict[int, tuple[float, int, Hit]] = {}
        for rank, hit in self._beginning(wanted) or self._alike(wanted):
            place = self._place[hit.treatment]
            if keep(hit.treatment) and (place not in best or rank < best[place][0]):
                best[place] = (rank, place, hit)
        return tuple(hit for _, _, hit in sorted(best.values(), key=lambda found: found[:2]))

    def _beginning(self, wanted: str) -> list[tuple[float, Hit]]:
        found = []
        for spelled, spelling, how, treatment in self._spellings:
            if f" {wanted}" in f" {spelled}":
                rank = 2.0 if not spelled.startswith(wanted) else float(spelling != treatment.name)
                found.append((rank - 0.5 * (spelled == wanted), Hit(treatment, how, spelling)))
        return found

    def _alike(self, wanted: str) -> list[tuple[float, Hit]]:
        if len(wanted) < SHORTEST_GUESS:
            return []
        spelled = [entry[0] for entry in self._spellings]
        alike = process.extract(wanted, spelled, scorer=fuzz.ratio, score_cutoff=LIKENESS, limit=None)
        entries = [(100 - score, self._spellings[place]) for _, score, place in alike]
        return [(rank, Hit(one, "typo", spelling)) for rank, (_, spelling, _, one) in entries]

    @cached_property
    def _spellings(self) -> tuple[tuple[str, str, Matched, Treatment], ...]:
        """(key, spelling, how it names the treatment, the treatment) of every spelling."""
        found = []
        for one in self.treatments:
            found.append((key(one.name), one.name, _HOW["exact"], one))
            drug = self._vocabulary.drugs.get(one.code)
            found += [(key(spelling), spelling, _HOW[how], one) for spelling, how in drug.terms] if drug else []
        return tuple(entry for entry in dict.fromkeys(found) if entry[0])

    # --- pages -------------------------------------------------------------------------------------------------------

    def page(self, hits: Sequence[Hit], limit: int, cursor: str = "", query: Iterable[str] = ()) -> Page:
        """At most `limit` of the hits, from the beginning or from a cursor on. Raises BadCursor.

        `query`: all that the hits depend on beside this catalogue. A cursor holds for it and this fingerprint only, so
        pages never mix two versions: a client that is told so begins again.
        """
        bound = hashlib.sha256("\0".join((self.fingerprint, *query)).encode()).digest()[:8]
        start = 0
        if cursor:
            raw = _decoded(cursor)
            start = int.from_bytes(raw[:4], "big")
            if len(raw) != 12 or raw[4:] != bound or not 0 < start < len(hits):
                raise BadCursor("the cursor belongs to another version or another query: begin again without it")
        end = start + limit
        following = base64.urlsafe_b64encode(end.to_bytes(4, "big") + bound).decode() if end < len(hits) else ""
        return Page(tuple(hits[start:end]), len(hits), following)


def _decoded(cursor: str) -> bytes:
    return base64.urlsafe_b64decode(cursor) if re.fullmatch(r"[A-Za-z0-9_-]{16}", cursor) else b""


def _of_version(
    index: ColumnIndex, vocabulary: DrugVocabulary, rules: Rules, support: Support | None, given: Given | None
) -> Iterable[Treatment]:
    targets = set(index.targets.tolist())
    counted = set(support.columns.tolist()) if support else set()
    block = index.block(BLOCK)
    for ix in range(block.start, block.stop):
        column = index.columns[ix]
        drug = vocabulary.drugs.get(column.code) if column.kind == "drug" else None
        brands, synonyms = _spelled(drug)
        group = column.group or (drug.drug_class if drug else "")
        yield Treatment(
            code=column.code,
            kind=column.kind,
            name=column.name or column.code,
            group=group,
            chapter=vocabulary.classes.get(group, ""),
            brands=brands,
            synonyms=synonyms,
            ingredients=rules.ingredients_of(column.code) if column.kind == "drug" else (),
            column_ix=ix,
            suggestable=ix in targets,
            patients=support.of_column(ix) if support and ix in counted else None,
            routes=given.of(column.code) if given and column.kind == "drug" else (),
        )


def _of_vocabulary(drug: Drug, vocabulary: DrugVocabulary) -> Treatment:
    brands, synonyms = _spelled(drug)
    return Treatment(
        code=drug.code,
        kind="drug",
        name=drug.name,
        group=drug.drug_class,
        chapter=vocabulary.classes.get(drug.drug_class, ""),
        brands=brands,
        synonyms=synonyms,
        ingredients=drug.ingredients,
        column_ix=-1,
        suggestable=False,
        patients=None,
    )


def _spelled(drug: Drug | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Brands, and other names, of a drug of the vocabulary."""
    if drug is None:
        return (), ()
    brands = tuple(spelling for spelling, how in drug.terms if how == "brand")
    others = tuple(spelling for spelling, how in drug.terms if how != "brand" and key(spelling) != key(drug.name))
    return brands, others

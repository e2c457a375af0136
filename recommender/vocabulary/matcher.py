"""From a drug name as a hospital writes it to a `DrugMatch`: which drug, class and route, and how it was found.

A name is mapped only when **every** word of it is explained: as a drug, or as a word of `words.csv` (salt, unit, form,
container, note). One word that nobody knows leaves the whole name unmapped: a wrong drug is the worst outcome.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from recommender.errors import InputError
from recommender.vocabulary.codes import METHODS, Codes
from recommender.vocabulary.routes import first_route
from recommender.vocabulary.tables import ANY_DRUG, Drug, Tables, Word, combine, site_rows
from recommender.vocabulary.text import Token, key, tokens

CACHE_SIZE = 1 << 17  # distinct (text, route) pairs; an export has some thousands
LONGEST_TEXT = 500  # characters; what is longer is no drug name, and is not searched
PHRASE_TOKENS = 14  # no spelling of the tables has more tokens

# Fluids in which other drugs are given: beside another drug they are its vehicle, not a second drug.
VEHICLE_CLASSES = ("Crystalloid fluid, saline", "Crystalloid fluid, balanced", "Dextrose fluid or glucose")
HARD_MARKS = ("/", "+", "&")  # what follows is another component, not the salt of the one before
CODE_METHODS = frozenset({"rxcui", *METHODS.values()})  # of a match by a code, whatever the name beside it says
NOT_THERAPY = "not therapy"  # what a site's map file writes in place of a drug
_BRACKETS = re.compile(r"\[[^\]]*\]")  # RxNorm puts the brand of a clinical drug there
_REGISTRATION = re.compile(r"(nda|anda|bla)\d+")  # 'NDA020503 200 ACTUAT albuterol ...'
_CODE = re.compile(r"(rxnorm:\d+(\+\d+)*|drug:[a-z0-9+-]+)")


@dataclass(frozen=True)
class DrugMatch:
    """What one drug name means."""

    status: Literal["mapped", "not_therapy", "unmapped"]
    code: str  # "rxnorm:6809", "rxnorm:5487+29046", "drug:sacubitril"; unmapped "text:<normalised>"; not therapy ""
    name: str  # "metformin", "hydrochlorothiazide / lisinopril"; else the source's own text, tidied
    drug_class: str  # "" when unknown
    route_class: str  # one of `routes.ROUTE_ORDER`; "" if not told
    # "rxcui", "rxnorm product", "ndc", "exact", "synonym", "brand", "parsed", "fuzzy", "rule:<reason>", "none"
    method: str
    ingredients: tuple[str, ...]  # codes; one for a single drug


@dataclass(frozen=True)
class _Hit:
    """A drug found in a text. `joined`: a mark or word that joins two drugs of a product stands before it."""

    drug: Drug
    how: str
    joined: bool


@dataclass(frozen=True)
class _Reading:
    """A text taken apart: its drugs, the keys of its other known words, what nobody knows, and the routes it tells."""

    hits: tuple[_Hit, ...]
    words: frozenset[str]
    unknown: tuple[str, ...]
    routes: frozenset[str]
    plain: bool  # nothing but one drug's name


class DrugVocabulary:
    """Matches drug names against the tables. Pure and deterministic; answers are cached by text."""

    def __init__(self, tables: Tables, site_map: Mapping[str, str] | None = None, codes: Codes | None = None) -> None:
        """`site_map`: a site's own spelling or code -> a name or code of the tables, or "not therapy: <reason>".

        `codes`: of products, where the vocabulary was imported from RxNorm.
        """
        self.classes: Mapping[str, str] = tables.classes  # class name -> therapeutic group
        self.drugs: Mapping[str, Drug] = {drug.code: drug for drug in (*tables.ingredients, *tables.combinations)}
        self._codes = codes
        self._by_ingredients = {frozenset(drug.ingredients): drug for drug in self.drugs.values()}
        self._rules, self._lookalikes = tables.not_therapy, tables.lookalikes
        rule_words = {word for rule in self._rules for word in rule.words}
        self._words = {word: Word("note", "") for word in rule_words} | dict(tables.words)
        self._terms = _terms(self.drugs.values())
        names = (term for term, (_, how) in self._terms.items() if how == "exact")
        self._misspellable = tuple(term for term in names if term.isalpha() and term not in self._words)
        self._match = lru_cache(maxsize=CACHE_SIZE)(self._find)
        self._site: dict[str, DrugMatch] = {}
        self._site = {key(text): self._site_target(text, target) for text, target in (site_map or {}).items()}

    def __getstate__(self) -> dict[str, Any]:
        """What it knows, to be sent to another process; what it has looked up stays here."""
        return {name: value for name, value in vars(self).items() if name != "_match"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._match = lru_cache(maxsize=CACHE_SIZE)(self._find)

    @classmethod
    def load(cls, folder: Path | None = None, site_map: Path | None = None) -> DrugVocabulary:
        """The shipped tables, or those of `folder` with its codes of products.

        `site_map` is a CSV with the columns source and target. Raises InputError naming file, row and field when a
        table or the map is broken.
        """
        tables = Tables.load(folder)
        drugs = {drug.code for drug in (*tables.ingredients, *tables.combinations)}
        codes = Codes.load(folder, drugs) if folder is not None else None
        vocabulary = cls(tables, codes=codes)
        if site_map is None:
            return vocabulary
        entries: dict[str, str] = {}
        for number, source, target in site_rows(site_map):
            try:
                vocabulary._site_target(source, target)
            except InputError as error:
                raise InputError(str(error), file=site_map.name, row=number, field="target") from error
            entries[source] = target
        return cls(tables, entries, codes)

    def match(self, text: str, *, route: str = "") -> DrugMatch:
        """What `text` means; `route` is the source's own word for the route ("PO", "inhalation"), if it has one."""
        return self._match(text, route)

    def of_site(self, text: str) -> bool:
        """Whether the site's own map decides what `text` means."""
        return bool(self._site) and key(text) in self._site

    def only_words(self, text: str) -> bool:
        """Whether `text` has words and all of them may stand beside any drug without changing it: 'oral tablet'."""
        reading = self._read(tokens(text))
        return bool(reading.words) and not reading.hits and not reading.unknown

    def nearest(self, text: str, limit: int = 3) -> list[tuple[str, float]]:
        """Names most like `text`, best first, with a likeness from 0 to 1: guesses for a person to check."""
        found = [token.text for token in tokens(text[:LONGEST_TEXT])]
        telling = [word for word in found if word not in self._words and not word[0].isdigit()]
        wanted = " ".join(telling or found)
        best: dict[str, float] = {}
        for term, score, _ in process.extract(wanted, self._terms.keys(), scorer=fuzz.ratio, limit=limit * 8):
            name = self._terms[term][0].name
            best[name] = max(best.get(name, 0.0), round(score / 100, 3))
        return sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]

    # --- one text ----------------------------------------------------------------------------------------------------

    def _find(self, text: str, route: str) -> DrugMatch:
        site = self._site.get(key(text)) if self._site else None
        if site is not None:
            return replace(site, route_class=site.route_class or self._route_class(route))
        code = _CODE.fullmatch(text.strip())
        if code and code.group() in self.drugs:
            return self._mapped(self.drugs[code.group()], "rxcui", self._route_class(route))
        coded = self._codes.find(text) if self._codes else None
        if coded:
            return self._mapped(self.drugs[coded[0]], coded[1], self._route_class(route))
        if len(text) <= LONGEST_TEXT:
            # a name in brackets is a brand that may be unknown here; what stands before it is the drug
            for candidate in dict.fromkeys((text, _BRACKETS.sub(" ", text))):
                found = self._decide(self._read(tokens(candidate)), text, route)
                if found is not None:
                    return found
        return self._unmapped(text, route)

    def _decide(self, reading: _Reading, text: str, route: str) -> DrugMatch | None:
        if reading.unknown:
            return None
        route_class = self._route_class(route) or first_route(reading.routes)
        named = frozenset(code for hit in reading.hits for code in hit.drug.ingredients)
        for rule in self._rules:
            allowed = rule.drugs == {ANY_DRUG} or (named <= rule.drugs and bool(named) == bool(rule.drugs))
            if allowed and not rule.words.isdisjoint(reading.words):
                name = " ".join(text.split())
                return DrugMatch("not_therapy", "", name, "", route_class, f"rule:{rule.reason}", ())
        drug = self._one_drug(reading.hits)
        if drug is None:
            return None
        hows = {hit.how for hit in reading.hits}
        method = "fuzzy" if "fuzzy" in hows else hows.pop() if reading.plain else "parsed"
        return self._mapped(drug, method, route_class)

    def product(self, ingredients: Iterable[str]) -> Drug | None:
        """The one drug that some ingredients (codes) are together: the tables' own if they have it, else a mixture.

        Without fluids beside other drugs, and without a general word beside the exact one. None when there are none.
        """
        parts = [self.drugs[code] for code in sorted(ingredients)]
        # 'insulin (Humalog)', 'calcium (calcium carbonate)': the general word beside the exact one
        exact = [part for part in parts if not any(other.name.startswith(f"{part.name} ") for other in parts)]
        active = [part for part in exact if part.drug_class not in VEHICLE_CLASSES]
        for rest in (parts, exact, active):
            named = self._by_ingredients.get(frozenset(part.code for part in rest))
            if named is not None:
                return named
        rest = active or exact
        return combine(rest) if rest else None

    def _one_drug(self, hits: tuple[_Hit, ...]) -> Drug | None:
        """The one drug or product that all hits name together; None when they are no such thing."""
        drug = self.product({code for hit in hits for code in hit.drug.ingredients})
        if drug is None or drug.code in self.drugs:
            return drug
        # No product of the tables: a mixture only when each part is joined to the one before ('a / b', 'a with b')
        wanted, seen = set(drug.ingredients), set[str]()
        for hit in hits:
            new = wanted.intersection(hit.drug.ingredients) - seen
            if new and seen and not hit.joined:
                return None
            seen |= new
        return drug

    # --- words -------------------------------------------------------------------------------------------------------

    def _read(self, found: list[Token]) -> _Reading:
        hits: list[_Hit] = []
        words: set[str] = set()
        unknown: list[str] = []
        routes: set[str] = set()
        pending, adjacent = False, False  # a connector waits for what it connects; the last word was a drug or its salt
        position = 0
        while position < len(found):
            token = found[position]
            salt_of = "" if not hits or token.mark in HARD_MARKS else "next" if adjacent else "some"
            size, term, word = self._longest(found, position, salt_of)
            if term is None and word is None:
                guess = self._misspelling(token.text)
                term = None if guess is None else (guess, "fuzzy")
            if term is not None:
                drug, how = term
                hits.append(_Hit(drug, how, bool(token.mark) or pending))
                pending = False
                adjacent = True
            elif word is not None:
                words.add(" ".join(token.text for token in found[position : position + size]))
                routes.add(word.route_class)
                pending = (pending or word.kind == "connector") and word.kind in ("connector", "unit", "salt")
                adjacent = adjacent and word.kind == "salt"
            else:
                adjacent = False
                if not token.is_number and not _REGISTRATION.fullmatch(token.text):
                    unknown.append(token.text)
            position += size
        if pending and found[-1].text != "and":
            unknown.append(found[-1].text)  # 'lisinopril with': what it is given with was cut off
        return _Reading(tuple(hits), frozenset(words), tuple(unknown), frozenset(routes), len(hits) == 1 and not words)

    def _longest(
        self, found: list[Token], position: int, salt_of: str
    ) -> tuple[int, tuple[Drug, str] | None, Word | None]:
        """The longest spelling of the tables that starts here: a drug before a word, but a salt after its drug.

        `salt_of`: which drug a salt may belong to: the one "next" to it, "some" one before it, or none (""). 'Calcium'
        is a drug itself, so a salt only next to one ('atorvastatin calcium', but 'vitamin D 400 unit calcium 600 mg').
        """
        for size in range(min(PHRASE_TOKENS, len(found) - position), 0, -1):
            phrase = " ".join(token.text for token in found[position : position + size])
            term, word = self._terms.get(phrase), self._words.get(phrase)
            if word is not None and word.kind == "salt":
                if salt_of == "next" or (salt_of == "some" and term is None):
                    return size, None, word
            elif word is not None and term is None:
                return size, None, word
            if term is not None:
                return size, term, None
        return 1, None, None

    def _misspelling(self, word: str) -> Drug | None:
        """The one drug whose US or international name `word` misspells.

        At most 1 slip (a letter too many, missing, wrong, or two swapped) in 7 to 9 letters, 2 in 10 or more; the first
        letter right, no other drug as near, `word` itself no drug's name. Brands are too short and too alike to guess.
        """
        if len(word) < 7 or not word.isalpha() or word in self._lookalikes or word in self._words:
            return None
        most = 1 if len(word) < 10 else 2
        found = process.extract(word, self._misspellable, scorer=OSA.distance, score_cutoff=most, limit=None)
        near = [(distance, self._terms[term][0]) for term, distance, _ in found if term[0] == word[0]]
        least = min((distance for distance, _ in near), default=0)
        nearest = {drug.code: drug for distance, drug in near if distance == least}
        return nearest.popitem()[1] if len(nearest) == 1 else None

    def _route_class(self, route: str) -> str:
        return first_route(self._read(tokens(route[:LONGEST_TEXT])).routes) if route else ""

    # --- answers -----------------------------------------------------------------------------------------------------

    def _mapped(self, drug: Drug, method: str, route_class: str) -> DrugMatch:
        return DrugMatch("mapped", drug.code, drug.name, drug.drug_class, route_class, method, drug.ingredients)

    def _unmapped(self, text: str, route: str) -> DrugMatch:
        name = " ".join(text.split())
        code = f"text:{key(text) or name.casefold()}"
        return DrugMatch("unmapped", code, name, "", self._route_class(route) or self._route_class(text), "none", ())

    def _site_target(self, source: str, target: str) -> DrugMatch:
        if not key(source):
            raise InputError("the spelling or code to map is empty")
        if target.casefold().startswith(NOT_THERAPY):
            reason = target[len(NOT_THERAPY) :].strip(" :") or "site map"
            return DrugMatch("not_therapy", "", " ".join(source.split()), "", "", f"rule:{reason}", ())
        found = self._find(target, "")
        if found.status != "mapped" or found.method == "fuzzy":
            raise InputError(f"{target!r} is no drug of the vocabulary: give a name or code of its tables")
        return replace(found, method="rule:site map")


def _terms(drugs: Iterable[Drug]) -> dict[str, tuple[Drug, str]]:
    """Every spelling, and the same without its gaps ('klor con', 'klorcon') where no other drug is spelled so."""
    terms: dict[str, tuple[Drug, str]] = {}
    for drug in drugs:
        for spelling, how in drug.terms:
            owner = terms.setdefault(key(spelling), (drug, how))[0]
            if owner is not drug:
                file = "ingredients.csv" if len(drug.ingredients) == 1 else "combinations.csv"
                raise InputError(f"{spelling!r} names both {owner.name!r} and {drug.name!r}", file=file, field=how)
    for term, (drug, how) in list(terms.items()):
        if " " in term and len(term) > 6:
            terms.setdefault(term.replace(" ", ""), (drug, "synonym" if how == "exact" else how))
    return terms

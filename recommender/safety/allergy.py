"""An allergy record's code and text in, what it means out: ingredients, groups, or that nobody knows what it means.

What is not understood is None, never "no allergy": the caller must say that it was not checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from recommender.safety.kinds import AllergyGroup
from recommender.vocabulary import DrugVocabulary
from recommender.vocabulary.text import key

# Words that say that it is an allergy, a class or a form, not to what
NOISE = frozenset(
    ("allergy", "allergies", "allergic", "allergen", "hypersensitivity", "intolerance", "intolerant", "sensitivity",
     "adverse", "reaction", "reactions", "drug", "drugs", "class", "agent", "agents", "antibiotic", "antibiotics",
     "substance", "finding", "disorder", "related", "medication", "medications", "product", "products", "any", "all",
     "type", "history", "hx", "to", "of", "the", "a", "an")
)  # fmt: skip
_SEPARATORS = re.compile(r"[,;/&+]|\band\b", re.IGNORECASE)


@dataclass(frozen=True)
class AllergyMeaning:
    """`ingredients`: codes that the record names. `groups`: ids of all groups that it means, theirs included.

    `complete`: False when a part of the text was not understood ("penicillin, blue pill"): that part is not checked.
    """

    ingredients: frozenset[str]
    groups: frozenset[str]
    complete: bool = True


def reduced(text: str) -> str:
    """The words of a text that tell what the allergy is to, without plural endings: 'SULFA drugs' -> 'sulfa'."""
    return " ".join(_singular(word) for word in key(text).split() if word not in NOISE)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def meaning(
    code: str, text: str, groups: Mapping[str, AllergyGroup], signs: Mapping[str, str], vocabulary: DrugVocabulary
) -> AllergyMeaning | None:
    """What a record means; None when it is not understood. `signs`: a word or code of a group -> the group's id."""
    whole = _one(code, text, groups, signs, vocabulary)
    if whole is not None:
        return whole
    parts = [part for part in _SEPARATORS.split(text) if part.strip()]
    found = [_one("", part, groups, signs, vocabulary) for part in parts]
    known = [part for part in found if part is not None]
    if not known:
        return None
    ingredients = frozenset[str]().union(*(part.ingredients for part in known))
    meant = frozenset[str]().union(*(part.groups for part in known))
    return AllergyMeaning(ingredients, meant, len(known) == len(parts))


def _one(
    code: str, text: str, groups: Mapping[str, AllergyGroup], signs: Mapping[str, str], vocabulary: DrugVocabulary
) -> AllergyMeaning | None:
    ingredients: set[str] = set()
    found = signs.get(code.strip()) or signs.get(reduced(text))
    if found is None:
        matches = (vocabulary.match(spoken) for spoken in (code, text, reduced(text)) if spoken)
        match = next((match for match in matches if match.status == "mapped"), None)
        if match is None:
            return None
        ingredients.update(match.ingredients)
    elif groups[found].kind == "ingredient":
        ingredients.update(groups[found].drugs)
    meant = {group.id for group in groups.values() if not ingredients.isdisjoint(group.drugs)}
    return AllergyMeaning(frozenset(ingredients), frozenset(meant | ({found} if found else set())))

"""A list of drugs, by code or name, and the rules in; what any two do to each other, and what is unchecked, out.

Only certain names are checked: a misspelling, even an obvious one, is told as a guess and left to the caller. A
product's ingredients do not interact with each other; those of two products do. Order does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations

from recommender.safety import AnyRule, DuplicateRule, Rules
from recommender.vocabulary import DrugVocabulary

LIKELY = 0.8  # likeness from which a known name is offered as what an unknown one may mean


@dataclass(frozen=True)
class Checked:
    """A drug of the list that was understood. `given`: in the caller's words; `place`: in the caller's list."""

    place: int
    given: str
    code: str
    name: str
    ingredients: tuple[str, ...]  # codes


@dataclass(frozen=True)
class NotChecked:
    """One that was not. `guesses`: (code, name) of what it may mean, for a person to confirm."""

    place: int
    given: str
    why: str
    guesses: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Finding:
    """A rule that holds between two drugs (or, of a duplicate rule that allows for two, more) of the list."""

    rule: AnyRule  # an InteractionRule or a DuplicateRule
    drugs: tuple[Checked, ...]


@dataclass(frozen=True)
class InteractionCheck:
    """The strictest findings first. `reviewed`: the newest day on which a rule was reviewed."""

    checked: tuple[Checked, ...]
    not_checked: tuple[NotChecked, ...]
    findings: tuple[Finding, ...]
    rules: str
    reviewed: date

    @property
    def complete(self) -> bool:
        """Whether each drug was compared with every other one."""
        return not self.not_checked and len(self.checked) > 1

    @property
    def statement(self) -> str:
        """What was found among how many, in words that never say more than was checked."""
        n, total = len(self.checked), len(self.checked) + len(self.not_checked)
        by = f"rules of {self.reviewed}, version {self.rules}"
        if n < 2:
            return f"Nothing was compared: {n} of {total} drugs understood, and a comparison takes two ({by})."
        found = len(self.findings)
        told = f"{found} warning{'s' if found > 1 else ''}" if found else "No interaction or duplicate therapy found"
        left = total - n
        rest = f" {left} could NOT be checked." if left else ""
        return f"{told} among {n} of {total} drugs checked, {by}.{rest}"


def check(given: Sequence[str], rules: Rules, vocabulary: DrugVocabulary) -> InteractionCheck:
    """200 drugs, 19,900 pairs: some tens of milliseconds."""
    read = [_understood(place, text, rules, vocabulary) for place, text in enumerate(given)]
    checked = tuple(one for one in read if isinstance(one, Checked))
    partners = {code: rules.interactions_of(code) for one in checked for code in one.ingredients}
    classes = {code: [rule for rule in rules.duplicates if rule.most == 1 and code in rule.drugs] for code in partners}
    same: list[DuplicateRule] = [rule for rule in rules.duplicates if not rule.drugs]
    findings: dict[Finding, None] = {}
    for one, other in combinations(checked, 2):
        for a in one.ingredients:
            if a in other.ingredients:
                twice = [rule for rule in same if a not in rule.spared]
                findings |= dict.fromkeys(Finding(rule, (one, other)) for rule in twice)
                continue
            for b in other.ingredients:
                if b in one.ingredients:  # then a and b stand together in a product, which is meant
                    continue
                between = [rules.by_id[name] for name in partners[a].get(b, ())]
                held = [*between, *_of_a_class(classes[a], a, b)]
                findings |= dict.fromkeys(Finding(rule, (one, other)) for rule in held)
    findings |= dict.fromkeys(_too_many(rules, checked))
    ranked = sorted(findings, key=lambda f: (-f.rule.rank, [one.place for one in f.drugs], f.rule.id))
    not_checked = tuple(one for one in read if isinstance(one, NotChecked))
    return InteractionCheck(checked, not_checked, tuple(ranked), rules.version, rules.reviewed[1])


def _of_a_class(mine: Sequence[DuplicateRule], a: str, b: str) -> list[DuplicateRule]:
    """Rules against two drugs of a class that hold for these ingredients, of which `mine` name the first."""
    return [rule for rule in mine if b in rule.drugs and not rule.accepts(a, b)]


def _too_many(rules: Rules, checked: Sequence[Checked]) -> list[Finding]:
    """Rules that allow for two or more drugs of a class, where there are more."""
    found = []
    for rule in rules.duplicates:
        if rule.drugs and rule.most > 1:
            drugs = tuple(one for one in checked if not rule.drugs.isdisjoint(one.ingredients))
            ingredients = {code for one in drugs for code in one.ingredients if code in rule.drugs}
            if len(ingredients) > rule.most and len(drugs) > 1:
                found.append(Finding(rule, drugs))
    return found


def _understood(place: int, given: str, rules: Rules, vocabulary: DrugVocabulary) -> Checked | NotChecked:
    text = given.strip()
    match = vocabulary.match(text)
    parts = rules.ingredients_of(text)  # also of a mixture that no table names
    if parts and match.status != "mapped":
        name = " / ".join(rules.ingredients[code] for code in parts)
        return Checked(place, given, text, name, parts)
    if match.status == "not_therapy":
        return NotChecked(place, given, "the vocabulary takes it for no therapy (a flush, say, or a device)", ())
    if match.status == "unmapped":
        near = [name for name, likeness in vocabulary.nearest(text) if likeness >= LIKELY] if text else []
        guesses = tuple((found.code, found.name) for found in map(vocabulary.match, near) if found.status == "mapped")
        return NotChecked(place, given, "the vocabulary does not know it", guesses)
    if match.method == "fuzzy":
        why = "it looks misspelt, and a guess is not checked: send the code if the guess is right"
        return NotChecked(place, given, why, ((match.code, match.name),))
    if not all(code in rules.ingredients for code in match.ingredients):
        return NotChecked(place, given, "the rules do not know one of its ingredients", ())
    return Checked(place, given, match.code, match.name, match.ingredients)

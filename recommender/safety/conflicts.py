"""Rules in, for each thing that they may hold for the rules that count; contradictions and idle rules are refused.

Several rules may reach one thing: a pair of drugs by an effect, a drug and a condition, a drug and a range of a lab.
Which of them counts: **the stricter**; of equally strict ones the site's own, then the one that holds for more (eGFR
< 45 before < 30), then the one that names the drug rather than a set. Nothing milder ever hides something stricter: to
allow what a shipped rule forbids, a site switches that rule off by its id. Refused, among rules of one origin: two that
say the same of the same thing as exactly ("duplicate"), two that say it with another severity ("contradiction"), and a
rule that never counts because a stricter or wider one always does ("never counts").
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations

from recommender.errors import InputError
from recommender.safety.kinds import (
    AllergyRule,
    AnyRule,
    ConditionRule,
    DuplicateRule,
    InteractionRule,
    LabRule,
    PopulationRule,
    Rule,
)

Cell = Hashable


def cells(rule: AnyRule) -> Iterator[Cell]:
    """All single things that a rule may hold for."""
    if isinstance(rule, InteractionRule):
        seen = {(min(a, b), max(a, b)) for a in rule.left for b in rule.right if a != b}
        yield from ((*pair, rule.effect) for pair in seen)
    elif isinstance(rule, AllergyRule):
        yield from ((rule.group, drug) for drug in rule.drugs or ("",))
    elif isinstance(rule, DuplicateRule):
        yield rule.drugs
    elif isinstance(rule, ConditionRule):
        yield from ((drug, condition) for drug in rule.drugs for condition in rule.conditions)
    elif isinstance(rule, PopulationRule):
        yield from ((drug, rule.state) for drug in rule.drugs)
    else:
        yield from ((drug, rule.measure, rule.comparison[0]) for drug in rule.drugs)


def covers(one: AnyRule, other: AnyRule) -> bool:
    """Whether, in a cell of both, `one` holds whenever `other` does."""
    if isinstance(one, ConditionRule) and isinstance(other, ConditionRule):
        longer = one.days is None or (other.days is not None and one.days >= other.days)
        return longer and one.unless <= other.unless
    if isinstance(one, PopulationRule) and isinstance(other, PopulationRule):
        ages = (one.age_from or 0) <= (other.age_from or 0) and (one.age_below or 999) >= (other.age_below or 999)
        return one.sex in ("", other.sex) and ages
    if isinstance(one, LabRule) and isinstance(other, LabRule):
        sign = 1 if one.comparison[0] == "<" else -1
        reach, own = sign * one.value, sign * other.value
        wide = reach > own or (reach == own and (len(one.comparison) == 2 or len(other.comparison) == 1))
        return wide and one.days >= other.days
    if isinstance(one, DuplicateRule) and isinstance(other, DuplicateRule):
        return one.most <= other.most
    return True


def exactness(rule: AnyRule) -> int:
    """How many sides of a rule name one drug alone."""
    if isinstance(rule, InteractionRule):
        return (len(rule.left) == 1) + (len(rule.right) == 1)
    return int(len(rule.drugs) == 1)


def settled(rules: Sequence[AnyRule]) -> dict[Cell, tuple[int, ...]]:
    """For each cell the positions of the rules that count, strictest first.

    `rules` are of one family. Raises InputError for duplicates, contradictions and rules that never count.
    """
    reached: dict[Cell, list[int]] = {}
    for position, rule in enumerate(rules):
        for cell in cells(rule):
            reached.setdefault(cell, []).append(position)
    alive: set[int] = set()
    hidden_by: dict[int, Rule] = {}
    counting: dict[Cell, tuple[int, ...]] = {}
    for cell, positions in reached.items():
        for one, other in combinations(positions, 2):
            _refuse_equal(rules[one], rules[other])
        left = []
        for position in positions:
            stronger = [p for p in positions if p != position and _hides(rules[p], rules[position])]
            own = [p for p in stronger if rules[p].origin == rules[position].origin]
            if own:
                hidden_by.setdefault(position, rules[own[0]])
            else:
                alive.add(position)
            if not stronger:
                left.append(position)
        counting[cell] = tuple(sorted(left, key=lambda p: (-rules[p].rank, p)))
    for position, stronger_rule in hidden_by.items():
        if position not in alive:
            rule = rules[position]
            message = f"rule {rule.id!r} never counts: {stronger_rule.id!r} always holds where it does"
            raise InputError(message, file=rule.file, row=rule.row, field="id")
    return counting


def _refuse_equal(one: AnyRule, other: AnyRule) -> None:
    if one.origin != other.origin or exactness(one) != exactness(other):
        return
    if not (covers(one, other) and covers(other, one)):
        return
    what = "says the same as" if one.severity == other.severity else "contradicts"
    message = f"rule {other.id!r} {what} {one.id!r} (row {one.row} of {one.file}) on the same drugs"
    raise InputError(message, file=other.file, row=other.row, field="severity" if what == "contradicts" else "id")


def _hides(one: AnyRule, other: AnyRule) -> bool:
    """Whether `other` need not be told where `one` holds too."""
    if not covers(one, other):
        return False
    if one.rank != other.rank:
        return one.rank > other.rank
    if one.origin != other.origin:
        return one.origin == "site"
    if not covers(other, one):
        return True
    return exactness(one) > exactness(other)

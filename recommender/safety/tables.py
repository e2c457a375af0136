"""`Rules` in, the same as plain arrays over ingredients out, for the compiled loops of `kernel.py`.

Every array is over one numbering of ingredients (the vocabulary's order). The rules that hold for a patient whatever
the drug (conditions, populations, labs) are numbered together as facts, in this order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from recommender.safety.kinds import COMPARISONS, SEXES, ConditionRule, DuplicateRule, LabRule, PopulationRule
from recommender.safety.rules import Rules

ALWAYS = 10**6  # days; more than any chart reaches back


class RuleArrays(NamedTuple):
    """I ingredients, F fact rules (C conditions, P populations, L labs), S states, T condition terms, N measures.

    inter, dup (I, I) uint8: the strictest rank of a pair; same (I,) uint8: of the same ingredient twice; many (M, I)
    bool, many_most and many_rank (M,): rules for more than two. named_ptr (I + 1,), named: the fact rules that name an
    ingredient. rank (F,) uint8. The ragged lists (`_ptr` and values) are of condition terms.
    """

    inter: np.ndarray
    dup: np.ndarray
    same: np.ndarray
    many: np.ndarray
    many_most: np.ndarray
    many_rank: np.ndarray
    named_ptr: np.ndarray
    named: np.ndarray
    rank: np.ndarray
    if_ptr: np.ndarray  # (C + 1,)
    if_term: np.ndarray
    if_days: np.ndarray  # (C,)
    unless_ptr: np.ndarray  # (C + 1,)
    unless_term: np.ndarray
    state_ptr: np.ndarray  # (S + 1,)
    state_term: np.ndarray
    state_days: np.ndarray  # (S,)
    ended_ptr: np.ndarray  # (S + 1,)
    ended_term: np.ndarray
    people_state: np.ndarray  # (P,) -1: none
    people_sex: np.ndarray  # (P,) 0: either, 1: F, 2: M
    people_from: np.ndarray  # (P,) float32 years
    people_below: np.ndarray  # (P,) float32 years
    people_aged: np.ndarray  # (P,) bool: whether it asks for the age
    lab_measure: np.ndarray  # (L,)
    lab_sign: np.ndarray  # (L,) position in COMPARISONS
    lab_value: np.ndarray  # (L,) float32
    lab_days: np.ndarray  # (L,)
    n_terms: int
    n_measures: int


class Candidates(NamedTuple):
    """Drugs that may be suggested: the ingredients of each, ptr (n + 1,) and parts, none of what is no drug or not
    known; local (n,) bool: given on the skin, in the eye or in the ear, so that nothing interacts with it."""

    ptr: np.ndarray
    parts: np.ndarray
    local: np.ndarray


def ragged(lists: Iterable[Iterable[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Lists one after another: (n + 1,) int64 where each begins, and their values int32."""
    made = [sorted(one) for one in lists]
    ptr = np.concatenate([[0], np.cumsum([len(one) for one in made])]).astype(np.int64)
    return ptr, np.array([value for one in made for value in one], dtype=np.int32)


def rule_arrays(rules: Rules) -> RuleArrays:
    place = {code: ix for ix, code in enumerate(rules.pairs.ingredients)}
    term = {name: ix for ix, name in enumerate(rules.condition_terms)}
    state = {name: ix for ix, name in enumerate(rules.states)}
    measure = {name: ix for ix, name in enumerate(rules.measures)}
    # in the order of Screen.fact_rules
    facts: tuple[ConditionRule | PopulationRule | LabRule, ...]
    facts = (*rules.conditions, *rules.populations, *rules.labs)
    named: list[list[int]] = [[] for _ in place]
    for number, rule in enumerate(facts):
        for code in rule.drugs:
            named[place[code]].append(number)

    def terms(of: Iterable[Iterable[str]]) -> tuple[np.ndarray, np.ndarray]:
        return ragged([term[name] for name in names] for names in of)

    named_ptr, named_rules = ragged(named)
    if_ptr, if_term = terms(rule.conditions for rule in rules.conditions)
    unless_ptr, unless_term = terms(rule.unless for rule in rules.conditions)
    state_ptr, state_term = terms(one.conditions for one in rules.states.values())
    ended_ptr, ended_term = terms(one.ended_by for one in rules.states.values())
    same, dup, many = _duplicates(rules.duplicates, place)
    people = rules.populations
    aged = [(p.age_from is not None, p.age_below is not None) for p in people]
    return RuleArrays(
        inter=rules.pairs.severity.toarray(),
        dup=dup,
        same=same,
        many=np.array([[code in rule.drugs for code in place] for rule in many], dtype=bool).reshape(-1, len(place)),
        many_most=np.array([rule.most for rule in many], dtype=np.int64),
        many_rank=np.array([rule.rank for rule in many], dtype=np.uint8),
        named_ptr=named_ptr,
        named=named_rules,
        rank=np.array([rule.rank for rule in facts], dtype=np.uint8),
        if_ptr=if_ptr,
        if_term=if_term,
        if_days=_days([rule.days for rule in rules.conditions]),
        unless_ptr=unless_ptr,
        unless_term=unless_term,
        state_ptr=state_ptr,
        state_term=state_term,
        state_days=_days([one.days for one in rules.states.values()]),
        ended_ptr=ended_ptr,
        ended_term=ended_term,
        people_state=np.array([state.get(p.state, -1) for p in people], dtype=np.int64),
        people_sex=np.array([SEXES.index(p.sex) for p in people], dtype=np.int64),
        people_from=np.array([-1 if p.age_from is None else p.age_from for p in people], dtype=np.float32),
        people_below=np.array([np.inf if p.age_below is None else p.age_below for p in people], dtype=np.float32),
        people_aged=np.array([any(bounds) for bounds in aged], dtype=bool),
        lab_measure=np.array([measure[rule.measure] for rule in rules.labs], dtype=np.int64),
        lab_sign=np.array([COMPARISONS.index(rule.comparison) for rule in rules.labs], dtype=np.int64),
        lab_value=np.array([rule.value for rule in rules.labs], dtype=np.float32),
        lab_days=_days([rule.days for rule in rules.labs]),
        n_terms=len(term),
        n_measures=len(measure),
    )


def _days(of: Sequence[int | None]) -> np.ndarray:
    return np.array([ALWAYS if days is None else days for days in of], dtype=np.int64)


def _duplicates(
    rules: Sequence[DuplicateRule], place: dict[str, int]
) -> tuple[np.ndarray, np.ndarray, list[DuplicateRule]]:
    """Ranks of the same ingredient twice (I,) and of two of a class (I, I); and the rules that take more than two."""
    same, dup = np.zeros(len(place), dtype=np.uint8), np.zeros((len(place), len(place)), dtype=np.uint8)
    many = []
    for rule in rules:
        if not rule.drugs:
            spared = {place[code] for code in rule.spared}
            mine = np.array([ix not in spared for ix in range(len(place))])
            same[mine] = np.maximum(same[mine], rule.rank)
        elif rule.most > 1:
            many.append(rule)
        else:
            drugs = np.array(sorted(place[code] for code in rule.drugs))
            block = np.full((len(drugs), len(drugs)), rule.rank, dtype=np.uint8)
            np.fill_diagonal(block, 0)
            for one, other in rule.accepted:
                a, b = (np.isin(drugs, [place[code] for code in side]) for side in (one, other))
                block[np.ix_(a, b)] = 0
                block[np.ix_(b, a)] = 0
            dup[np.ix_(drugs, drugs)] = np.maximum(dup[np.ix_(drugs, drugs)], block)
    return same, dup, many

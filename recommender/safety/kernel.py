"""Charts, candidate drugs and rules as arrays in; for each candidate the strictest rank, and what was not checked, out.

The whole semantics of screening in loops that numba compiles: `verdict.py` says the same of one patient in words, and a
test holds both to a third reading.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from recommender.safety.tables import Candidates, RuleArrays

NEVER = 10**7  # days since a condition that was never recorded
NO, HOLDS, UNKNOWN = 0, 1, 2  # whether a fact rule holds for a patient
CONTRAINDICATED = 3

# What of a candidate's screening could not be done
DRUG, THERAPY, ALLERGY, CONDITION, PERSON, LAB = 1, 2, 4, 8, 16, 32


class Meanings(NamedTuple):
    """What the concepts of charts mean to the rules; K concepts, A distinct allergy records.

    drug_ptr (K + 1,), drug: the ingredients of each; term_ptr (K + 1,), term: the condition terms; allergy (K,): a row
    of allergy_rank (A, I) uint8, or -1; measure (K,): or -1. vague (K,) bool: what it means is not, or not wholly,
    understood. kind (K,): 0 drug, 1 condition, 2 allergy, 3 observation. untold: THERAPY | ALLERGY | CONDITION | LAB
    where an export tells nothing of the kind.
    """

    drug_ptr: np.ndarray
    drug: np.ndarray
    term_ptr: np.ndarray
    term: np.ndarray
    allergy: np.ndarray
    allergy_rank: np.ndarray
    measure: np.ndarray
    vague: np.ndarray
    kind: np.ndarray
    untold: int


class Facts(NamedTuple):
    """What holds for one patient, filled anew for each.

    running, ended (I,) bool: ingredients that go on, and that ended lately; newest (T,) int64 days; value (N,) float32
    and value_days (N,) int64; state (F,) uint8.
    """

    running: np.ndarray
    ended: np.ndarray
    newest: np.ndarray
    value: np.ndarray
    value_days: np.ndarray
    state: np.ndarray


@numba.njit(cache=True, nogil=True)
def blank(rules: RuleArrays) -> Facts:
    n = len(rules.same)
    return Facts(
        np.zeros(n, np.bool_),
        np.zeros(n, np.bool_),
        np.full(rules.n_terms, NEVER),
        np.full(rules.n_measures, np.nan, np.float32),
        np.zeros(rules.n_measures, np.int64),
        np.zeros(len(rules.rank), np.uint8),
    )


@numba.njit(cache=True, nogil=True)
def _compares(sign: int, value: float, limit: float) -> bool:
    if sign == 0:
        return value < limit
    if sign == 1:
        return value <= limit
    if sign == 2:
        return value > limit
    return value >= limit


@numba.njit(cache=True, nogil=True)
def read_facts(
    rules: RuleArrays,
    known: Meanings,
    concept: np.ndarray,
    days: np.ndarray,
    value: np.ndarray,
    age: float,
    sex: int,
    derived: np.ndarray,
    derived_days: np.ndarray,
    derivable: np.ndarray,
    fresh_days: np.ndarray,
    elapsed: int,
    facts: Facts,
) -> int:
    """Fill `facts` with one patient's; what of the chart is not understood, as bits.

    derived, derived_days (D,): what can be worked out of each measure in `derivable`, NaN where it cannot; a measured
    value that is older than `fresh_days` (N,) gives way to it. elapsed: days since the chart was read.
    """
    facts.running[:] = False
    facts.ended[:] = False
    facts.newest[:] = NEVER
    facts.value[:] = np.nan
    missing = known.untold
    for k in range(len(concept)):
        c = concept[k]
        kind = known.kind[c]
        if kind == 0:
            if days[k] < 0:
                continue  # on the skin, in the eye
            if known.vague[c]:
                missing |= THERAPY
            for a in range(known.drug_ptr[c], known.drug_ptr[c + 1]):
                if days[k] == 0:
                    facts.running[known.drug[a]] = True
                else:
                    facts.ended[known.drug[a]] = True
        elif kind == 1:
            if known.vague[c]:
                missing |= CONDITION
            for a in range(known.term_ptr[c], known.term_ptr[c + 1]):
                term = known.term[a]
                facts.newest[term] = min(facts.newest[term], days[k] + elapsed)
        elif kind == 2:
            if known.vague[c]:
                missing |= ALLERGY
        else:
            m = known.measure[c]
            if m >= 0 and (np.isnan(facts.value[m]) or days[k] + elapsed < facts.value_days[m]):
                facts.value[m] = value[k]
                facts.value_days[m] = days[k] + elapsed
    for d in range(len(derivable)):
        m, derived_age = derivable[d], derived_days[d] + elapsed
        stale = facts.value_days[m] > fresh_days[m] and derived_age < facts.value_days[m]
        if not np.isnan(derived[d]) and (np.isnan(facts.value[m]) or stale):
            facts.value[m] = derived[d]
            facts.value_days[m] = derived_age
    _judge(rules, facts, age, sex, (missing & CONDITION) != 0)
    return missing


@numba.njit(cache=True, nogil=True)
def _judge(rules: RuleArrays, facts: Facts, age: float, sex: int, vague: bool) -> None:
    """Which fact rules hold. `vague`: not all conditions of the chart are understood, so what is absent is unknown."""
    absent = UNKNOWN if vague else NO
    n_conditions = len(rules.if_days)
    for r in range(n_conditions):
        state = absent
        for a in range(rules.if_ptr[r], rules.if_ptr[r + 1]):
            if facts.newest[rules.if_term[a]] <= rules.if_days[r]:
                state = HOLDS
        for a in range(rules.unless_ptr[r], rules.unless_ptr[r + 1]):
            if state == HOLDS and facts.newest[rules.unless_term[a]] < NEVER:
                state = NO
        facts.state[r] = state
    n_people = len(rules.people_state)
    for p in range(n_people):
        state = HOLDS
        s = rules.people_state[p]
        if s >= 0:
            state = absent
            newest = NEVER
            for a in range(rules.state_ptr[s], rules.state_ptr[s + 1]):
                newest = min(newest, facts.newest[rules.state_term[a]])
            if newest <= rules.state_days[s]:
                state = HOLDS
                for a in range(rules.ended_ptr[s], rules.ended_ptr[s + 1]):
                    if facts.newest[rules.ended_term[a]] <= newest:
                        state = NO
        if rules.people_sex[p] != 0:
            if sex == 0 and state == HOLDS:
                state = UNKNOWN
            elif sex != 0 and rules.people_sex[p] != sex:
                state = NO
        if rules.people_aged[p]:
            if np.isnan(age):
                state = UNKNOWN if state != NO else NO
            elif not rules.people_from[p] <= age < rules.people_below[p]:
                state = NO
        facts.state[n_conditions + p] = state
    for r in range(len(rules.lab_measure)):
        m = rules.lab_measure[r]
        state = UNKNOWN
        if not np.isnan(facts.value[m]) and facts.value_days[m] <= rules.lab_days[r]:
            state = HOLDS if _compares(rules.lab_sign[r], facts.value[m], rules.lab_value[r]) else NO
        facts.state[n_conditions + n_people + r] = state


@numba.njit(cache=True, nogil=True)
def _judge_pairs(rules: RuleArrays, facts: Facts, now: np.ndarray, lately: np.ndarray, parts: np.ndarray) -> int:
    """The strictest rank of what other drugs have against one: interactions, and therapy twice."""
    rank = 0
    for one in parts:
        if facts.running[one]:
            rank = max(rank, rules.same[one])
        for other in now:
            if not facts.running[one]:
                rank = max(rank, rules.dup[one, other])
            if rules.inter[one, other] > rank and not _holds(parts, other):
                rank = rules.inter[one, other]
        for other in lately:
            if rules.inter[one, other] == CONTRAINDICATED and not _holds(parts, other):
                rank = CONTRAINDICATED
    for m in range(len(rules.many_most)):
        count, new = 0, False
        for other in now:
            count += rules.many[m, other]
        for one in parts:
            if rules.many[m, one] and not facts.running[one]:
                new = True
                count += 1
        if new and count > rules.many_most[m]:
            rank = max(rank, rules.many_rank[m])
    return rank


@numba.njit(cache=True, nogil=True)
def judge_drug(
    rules: RuleArrays,
    known: Meanings,
    facts: Facts,
    missing: int,
    allergies: np.ndarray,
    now: np.ndarray,
    lately: np.ndarray,
    parts: np.ndarray,
    local: bool,
) -> tuple[int, int]:
    """The strictest rank of all that stands against a drug of these ingredients, and what was not checked of it.

    now, lately: the ingredients that go on, and those that ended lately; allergies: rows of allergy_rank; parts: the
    drug's ingredients, none where it is not known; local: see `Candidates`.
    """
    if not len(parts):
        return 0, DRUG
    rank, unchecked = 0, missing & ALLERGY
    if not local:
        rank, unchecked = _judge_pairs(rules, facts, now, lately, parts), missing & (THERAPY | ALLERGY)
    for one in parts:
        for row in allergies:
            rank = max(rank, known.allergy_rank[row, one])
        for a in range(rules.named_ptr[one], rules.named_ptr[one + 1]):
            fact = rules.named[a]
            state = facts.state[fact]
            if state == HOLDS:
                rank = max(rank, rules.rank[fact])
            elif state == UNKNOWN:
                n_conditions, n_people = len(rules.if_days), len(rules.people_state)
                if fact < n_conditions:
                    unchecked |= CONDITION
                elif fact < n_conditions + n_people:
                    told_by_state = rules.people_state[fact - n_conditions] >= 0 and missing & CONDITION
                    unchecked |= CONDITION if told_by_state else PERSON
                else:
                    unchecked |= LAB
    return rank, unchecked


@numba.njit(cache=True, nogil=True)
def _holds(parts: np.ndarray, one: int) -> bool:
    for part in parts:  # noqa: SIM110  (numba has no any() over a generator)
        if part == one:
            return True
    return False


@numba.njit(cache=True, nogil=True)
def judge_list(
    rules: RuleArrays,
    known: Meanings,
    facts: Facts,
    missing: int,
    allergies: np.ndarray,
    now: np.ndarray,
    lately: np.ndarray,
    candidates: Candidates,
    listed: np.ndarray,
    rank: np.ndarray,
    unchecked: np.ndarray,
) -> None:
    """Fill rank and unchecked (n,) uint8 of what is listed (n,), positions in `candidates`."""
    for k in range(len(listed)):
        c = listed[k]
        parts = candidates.parts[candidates.ptr[c] : candidates.ptr[c + 1]]
        rank[k], unchecked[k] = judge_drug(
            rules, known, facts, missing, allergies, now, lately, parts, candidates.local[c]
        )


@numba.njit(cache=True, nogil=True)
def screen_patients(
    rules: RuleArrays,
    known: Meanings,
    indptr: np.ndarray,
    concept: np.ndarray,
    days: np.ndarray,
    value: np.ndarray,
    age: np.ndarray,
    sex: np.ndarray,
    derived: np.ndarray,
    derived_days: np.ndarray,
    derivable: np.ndarray,
    fresh_days: np.ndarray,
    elapsed: int,
    candidates: Candidates,
    list_ptr: np.ndarray,
    listed: np.ndarray,
    rank: np.ndarray,
    unchecked: np.ndarray,
    first: int,
    end: int,
) -> None:
    """Fill rank and unchecked (total,) uint8 of the candidates of the patients from `first` to `end`.

    Patient u's are listed[list_ptr[u]:list_ptr[u + 1]], positions in `candidates`.
    """
    facts = blank(rules)
    for u in range(first, end):
        aged, of_sex = np.float64(age[u]), sex[u] + 0  # float64, int64, as one chart gives them: compiled once for both
        mine = slice(indptr[u], indptr[u + 1])
        chart = concept[mine]
        missing = read_facts(
            rules, known, chart, days[mine], value[mine], aged, of_sex, derived[u], derived_days[u], derivable,
            fresh_days, elapsed, facts,
        )  # fmt: skip
        now, lately = np.flatnonzero(facts.running), np.flatnonzero(facts.ended & ~facts.running)
        allergies = known.allergy[chart[known.kind[chart] == 2]]
        part = slice(list_ptr[u], list_ptr[u + 1])
        judge_list(
            rules, known, facts, missing, allergies, now, lately, candidates, listed[part], rank[part], unchecked[part]
        )

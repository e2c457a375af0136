"""The patient vignettes: the screen says what each expects, and what a slow, plain reading of the rules says.

`safety_vignettes.csv` is written for the screening engine: a chart, a candidate drug, what is to become of it and which
rule says so. `judge` below is no engine but the meaning of the tables in loops: the engine must agree with it rule by
rule, in its compiled form and in words.
Columns: drugs | conditions `code@days ago` | allergies | observations `code=value@days ago` | age | sex | candidate.
`expected`: withheld (contraindicated), warned (serious), noted (caution), kept (no rule holds, and `rule` was checked),
not-checked (`rule`, or a kind of rule, could not be checked).
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from recommender.matrix import Column
from recommender.safety import FAMILIES, Rules
from recommender.safety.charts import OLDEST, RUNS, Charts, Known
from recommender.safety.charts import Chart as SafetyChart
from recommender.safety.kernel import ALLERGY, LAB, THERAPY
from recommender.safety.renal import ckd_epi_2021, cockcroft_gault
from recommender.safety.screen import Screen
from recommender.safety.verdict import Reading
from recommender.vocabulary import ConditionVocabulary, DrugVocabulary

FILE = Path(__file__).parent / "safety_vignettes.csv"
ROWS = list(csv.DictReader(FILE.read_text(encoding="utf-8").splitlines()))
OUTCOMES = {"withheld": "contraindicated", "warned": "serious", "noted": "caution"}
COMPARE = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@pytest.fixture(scope="module")
def vocabulary() -> DrugVocabulary:
    return DrugVocabulary.load()


@pytest.fixture(scope="module")
def conditions() -> ConditionVocabulary:
    return ConditionVocabulary.load()


@pytest.fixture(scope="module")
def rules(vocabulary: DrugVocabulary, conditions: ConditionVocabulary) -> Rules:
    return Rules.load(vocabulary=vocabulary, conditions=conditions)


def parts(cell: str, mark: str) -> list[str]:
    return [part.strip() for part in cell.split(mark) if part.strip()]


@dataclass
class Chart:
    """`drugs`: ingredients of each product; None where it is not known."""

    drugs: list[tuple[str, ...] | None]
    terms: dict[str, int]  # condition term -> days ago, the newest
    allergies: list
    values: dict[str, tuple[float, int]]  # LOINC code -> value, days ago
    age: float | None
    sex: str


def read_chart(row: dict[str, str], rules: Rules, vocabulary: DrugVocabulary, conditions: ConditionVocabulary) -> Chart:
    drugs: list[tuple[str, ...] | None] = []
    for name in parts(row["drugs"], "|"):
        match = vocabulary.match(name)
        drugs.append(match.ingredients if match.status == "mapped" else None)
    terms: dict[str, int] = {}
    for condition in parts(row["conditions"], ";"):
        code, days = condition.rsplit("@", 1)
        found = rules.terms_of(code, conditions)
        assert found or conditions.groups(code), f"{code} means nothing to any rule"
        for term in found:
            terms[term] = min(int(days), terms.get(term, 10**6))
    values = {}
    for seen in parts(row["observations"], ";"):
        code, rest = seen.split("=")
        value, days = rest.split("@")
        values[code] = (float(value), int(days))
    said = [name if ":" in name else f"text:{name}" for name in parts(row["allergies"], "|")]
    allergies = [rules.allergy(code, code.removeprefix("text:"), vocabulary) for code in said]
    return Chart(drugs, terms, allergies, values, float(row["age"]) if row["age"] else None, row["sex"])


def value_of(measure, chart: Chart) -> tuple[float, int] | None:
    for code in measure.codes:
        if code in chart.values:
            return chart.values[code]
    creatinine, weight = chart.values.get("loinc:2160-0"), chart.values.get("loinc:29463-7")
    if measure.derived == "ckd-epi-2021" and creatinine and chart.age:
        return float(ckd_epi_2021(creatinine[0], chart.age, chart.sex == "F")), creatinine[1]
    if measure.derived == "cockcroft-gault" and creatinine and weight and chart.age:
        clearance = cockcroft_gault(creatinine[0], chart.age, weight[0], chart.sex == "F")
        return float(clearance), max(creatinine[1], weight[1])
    return None


def in_state(state, chart: Chart) -> bool:
    limit = state.days if state.days is not None else 10**6
    tells = [chart.terms[term] for term in state.conditions if chart.terms.get(term, 10**7) <= limit]
    return bool(tells) and not any(chart.terms.get(term, 10**7) <= min(tells) for term in state.ended_by)


def judge(rules: Rules, chart: Chart, candidate: tuple[str, ...]) -> tuple[set[str], set[str]]:
    """Ids of the rules that hold, and of the rules (or families) that could not be checked."""
    holds: set[str] = set()
    unchecked: set[str] = set()
    taken = [drug for drug in chart.drugs if drug is not None]
    if len(taken) < len(chart.drugs):
        unchecked |= {"interactions", "duplicates"}
    now = {ingredient for drug in taken for ingredient in drug}
    holds |= {rule.id for one in candidate for other in now - set(candidate) for rule in rules.between(one, other)}
    for rule in rules.duplicates:
        new = [one for one in candidate if one in rule.drugs and one not in now]
        if not rule.drugs:
            fires = any(one in now and one not in rule.spared for one in candidate)
        elif rule.most == 1:
            fires = any(not rule.accepts(one, other) for one in new for other in now & rule.drugs)
        else:
            fires = bool(new) and len((now | set(candidate)) & rule.drugs) > rule.most
        holds |= {rule.id} if fires else set()
    for meaning in chart.allergies:
        if meaning is None or not meaning.complete:
            unchecked.add("allergy")
        if meaning is None:
            continue
        for rule in rules.allergies:
            named = meaning.ingredients if not rule.group else rule.drugs if rule.group in meaning.groups else ()
            holds |= {rule.id} if any(one in named for one in candidate) else set()
    for rule in rules.conditions:
        limit = rule.days if rule.days is not None else 10**6
        here = any(chart.terms.get(term, 10**7) <= limit for term in rule.conditions)
        if here and not any(term in chart.terms for term in rule.unless) and rule.drugs & set(candidate):
            holds.add(rule.id)
    for rule in rules.populations:
        if not rule.drugs & set(candidate) or (rule.sex and rule.sex != chart.sex):
            continue
        if rule.state and not in_state(rules.states[rule.state], chart):
            continue
        if rule.age_from is None and rule.age_below is None:
            holds.add(rule.id)
        elif chart.age is None:
            unchecked.add(rule.id)
        elif (rule.age_from or 0) <= chart.age < (rule.age_below or 999):
            holds.add(rule.id)
    for rule in rules.labs:
        if not rule.drugs & set(candidate):
            continue
        seen = value_of(rules.measures[rule.measure], chart)
        if seen is None or seen[1] > rule.days:
            unchecked.add(rule.id)
        elif COMPARE[rule.comparison](seen[0], rule.value):
            holds.add(rule.id)
    return holds, unchecked


def test_there_are_enough_of_every_family_both_firing_and_silent(rules: Rules) -> None:
    assert len(ROWS) >= 120
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    family = {rule.id: name for name in FAMILIES for rule in getattr(rules, name)}
    fired = Counter(family[row["rule"]] for row in ROWS if row["expected"] in OUTCOMES)
    silent = Counter(family[row["rule"]] for row in ROWS if row["expected"] == "kept")
    for name in FAMILIES:
        assert fired[name] >= 8, name
        assert silent[name] >= 5, name
    assert sum(row["expected"] == "not-checked" for row in ROWS) >= 8


@pytest.fixture(scope="module")
def screen(rules: Rules, vocabulary: DrugVocabulary, conditions: ConditionVocabulary) -> Screen:
    return Screen(rules, vocabulary, conditions)


def chart_of(row: dict[str, str], vocabulary: DrugVocabulary) -> tuple[Known, SafetyChart]:
    """The row as a chart that the engine screens."""
    facts: dict[tuple[str, str], tuple[str, int, float]] = {}
    for name in parts(row["drugs"], "|"):
        match = vocabulary.match(name)
        facts["drug", match.code] = (match.name, RUNS, np.nan)
    for condition in parts(row["conditions"], ";"):
        code, days = condition.rsplit("@", 1)
        facts["condition", code] = (code, min(int(days), OLDEST), np.nan)
    for name in parts(row["allergies"], "|"):
        facts["allergy", name if ":" in name else f"text:{name}"] = (name.removeprefix("text:"), 0, np.nan)
    for seen in parts(row["observations"], ";"):
        code, rest = seen.split("=")
        value, days = rest.split("@")
        facts["observation", code] = (code, int(days), float(value))
    known = Known(tuple(Column(code, kind, name, "") for (kind, code), (name, _, _) in facts.items()))
    days, value = ([fact[part] for fact in facts.values()] for part in (1, 2))
    age = float(row["age"]) if row["age"] else float("nan")
    concept = np.arange(len(facts), dtype=np.int32)
    return known, SafetyChart(concept, np.array(days, np.int32), np.array(value, np.float32), age, row["sex"])


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_a_vignette_names_what_exists_and_the_screen_says_what_it_expects(
    row: dict[str, str],
    rules: Rules,
    vocabulary: DrugVocabulary,
    conditions: ConditionVocabulary,
    screen: Screen,
) -> None:
    assert row["expected"] in (*OUTCOMES, "kept", "not-checked") and row["source"]
    assert row["sex"] in ("F", "M")
    match = vocabulary.match(row["candidate"])
    assert match.status == "mapped" and match.method != "fuzzy", row["candidate"]
    for drug in parts(row["drugs"], "|"):
        assert drug.startswith("text:") == (vocabulary.match(drug).status != "mapped"), drug
    assert row["rule"] in rules.by_id or (
        row["expected"] == "not-checked" and row["rule"] in ("interactions", "allergy")
    )
    holds, unchecked = judge(rules, read_chart(row, rules, vocabulary, conditions), match.ingredients)
    known, chart = chart_of(row, vocabulary)
    candidate = Column(match.code, "drug", match.name, match.drug_class)
    read = screen.read(known)
    reading = Reading(screen, read, chart)
    found = reading.verdict(candidate)
    # the engine and the plain reading of the tables above agree on every rule
    assert {alert.rule.id for alert in found.alerts} == holds
    assert found.rank == max((alert.rule.rank for alert in found.alerts), default=0)
    tiers = screen.tiers(read, Charts.of_one(known, chart), [candidate], np.array([0, 1]), np.array([0]))
    assert (tiers.rank[0], tiers.unchecked[0]) == (found.rank, found.unchecked)
    assert bool(found.unchecked & LAB) == any(rule.id in unchecked for rule in rules.labs)
    assert bool(found.unchecked & ALLERGY) == ("allergy" in unchecked)
    assert bool(found.unchecked & THERAPY) == ("interactions" in unchecked)
    assert bool(found.unchecked & LAB) == any(gap.kind == "lab" for gap in found.gaps)
    assert bool(found.unchecked & (ALLERGY | THERAPY)) <= any(
        gap.kind in ("allergy", "therapy") for gap in reading.gaps
    )
    if row["expected"] == "kept":
        assert found.outcome == "kept" and not found.alerts
        assert row["rule"] not in unchecked
    elif row["expected"] == "not-checked":
        assert row["rule"] in unchecked and found.unchecked
        assert not found.alerts
    else:
        strictest = found.alerts[0].rule
        assert row["rule"] in holds
        assert strictest.severity == OUTCOMES[row["expected"]] == rules.by_id[row["rule"]].severity
        assert (found.outcome == "withheld") == (row["expected"] == "withheld")
        because = next(alert.because for alert in found.alerts if alert.rule.id == row["rule"])
        assert because

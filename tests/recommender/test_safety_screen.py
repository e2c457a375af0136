"""The screen: every pair of ingredients against its rules, charts by hand, and what must hold whatever the chart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.matrix import Column
from recommender.moments import Moments
from recommender.safety import FAMILIES
from recommender.safety.charts import RUNS, RUNS_LOCALLY, SEXES, Chart, Charts, Known, read_charts
from recommender.safety.kernel import CONTRAINDICATED, DRUG
from recommender.safety.screen import Screen
from recommender.safety.sets import WEIGHTS, greedy, in_order
from recommender.safety.tables import ragged
from recommender.safety.verdict import Reading

SCREEN = Screen.load()
RULES = SCREEN.rules
CODES = RULES.pairs.ingredients


def drug(code: str, name: str = "") -> Column:
    return Column(code, "drug", name or RULES.ingredients.get(code, code), "")


def named(name: str) -> Column:
    match = SCREEN.vocabulary.match(name)
    assert match.status == "mapped"
    return drug(match.code, match.name)


def chart_of(*facts: tuple[Column, int] | tuple[Column, int, float], age: float = 50.0, sex: str = "M") -> Charts:
    """A chart of (concept, days) or (concept, days, value), over concepts of its own."""
    known = Known(tuple(fact[0] for fact in facts))
    values = [fact[2] if len(fact) == 3 else np.nan for fact in facts]
    days = np.array([fact[1] for fact in facts], dtype=np.int32)
    concept = np.arange(len(facts), dtype=np.int32)
    return Charts.of_one(known, Chart(concept, days, np.array(values, dtype=np.float32), age, sex))


def reading(charts: Charts, elapsed: int = 0) -> Reading:
    return Reading(SCREEN, SCREEN.read(charts.known), charts.of(0), elapsed)


def told(charts: Charts, candidate: Column, elapsed: int = 0) -> dict[str, str]:
    """Rule -> because."""
    return {alert.rule.id: alert.because for alert in reading(charts, elapsed).verdict(candidate).alerts}


# --- pairs -----------------------------------------------------------------------------------------------------------


def one_drug_each(taken: list[Column]) -> Charts:
    n = len(taken)
    known = Known(tuple(taken))
    nothing = np.full(n, np.nan, dtype=np.float32)
    ages, sexes = np.full(n, 50, dtype=np.float32), np.full(n, 2, dtype=np.uint8)
    days = np.full(n, RUNS, dtype=np.int32)
    return Charts(known, np.arange(n + 1), np.arange(n, dtype=np.int32), days, nothing, ages, sexes)


def interactions_of_each(taken: list[Column], candidates: list[Column]) -> np.ndarray:
    """(n_taken, n_candidates): the strictest interaction of each candidate with each drug that is taken."""
    charts = one_drug_each(taken)
    list_ptr = np.arange(len(taken) + 1) * len(candidates)
    listed = np.tile(np.arange(len(candidates)), len(taken))
    tiers = SCREEN.tiers(SCREEN.read(charts.known), charts, candidates, list_ptr, listed, family="interactions")
    return tiers.rank.reshape(len(taken), len(candidates))


@pytest.fixture(scope="module")
def pairs_by_hand() -> np.ndarray:
    """(I, I): the strictest rule of each pair of ingredients, by loops over the rules as they are written."""
    place = {code: ix for ix, code in enumerate(CODES)}
    rank = np.zeros((len(CODES), len(CODES)), dtype=np.uint8)
    for rule in RULES.interactions:
        left, right = (np.array([place[code] for code in sorted(side)]) for side in (rule.left, rule.right))
        for a, b in ((left, right), (right, left)):
            rank[np.ix_(a, b)] = np.maximum(rank[np.ix_(a, b)], rule.rank)
    np.fill_diagonal(rank, 0)
    return rank


def test_every_pair_of_ingredients_is_told_in_both_orders_and_no_other(pairs_by_hand: np.ndarray) -> None:
    every = [drug(code) for code in CODES]
    assert np.array_equal(interactions_of_each(every, every), pairs_by_hand)
    onc = [rule for rule in RULES.interactions if rule.id.startswith("onc-")]
    assert len({rule.id[:6] for rule in onc}) == 15
    place = {code: ix for ix, code in enumerate(CODES)}
    members = [(rule, place[a], place[b]) for rule in onc for a in rule.left for b in rule.right if a != b]
    assert len(members) > 1_000
    assert all(pairs_by_hand[a, b] >= rule.rank and pairs_by_hand[b, a] >= rule.rank for rule, a, b in members)


def test_every_pair_is_told_inside_combinations_too(pairs_by_hand: np.ndarray) -> None:
    products = {code: [CODES.index(part) for part in parts] for code, parts in RULES.products.items()}
    found = interactions_of_each([drug(code) for code in CODES], [drug(code) for code in products])
    back = interactions_of_each([drug(code) for code in products], [drug(code) for code in CODES])
    for column, parts in enumerate(products.values()):
        expected = pairs_by_hand[:, parts].max(axis=1)
        expected[parts] = 0  # what both hold does not interact with itself
        assert np.array_equal(found[:, column], expected)
        assert np.array_equal(np.delete(back[column], parts), np.delete(expected, parts))


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES.interactions if rule.id.startswith("onc-")], ids=lambda r: r.id
)
def test_an_onc_pair_names_its_rule_and_the_other_drug(rule) -> None:
    for one, other in [(a, b) for a in sorted(rule.left)[:4] for b in sorted(rule.right)[:4] if a != b]:
        for taken, candidate in ((one, other), (other, one)):
            because = told(chart_of((drug(taken), RUNS)), drug(candidate))
            stricter = [RULES.by_id[name] for name in because if RULES.by_id[name].rank >= rule.rank]
            assert rule.id in because or any(getattr(r, "effect", "") == rule.effect for r in stricter)
            assert RULES.ingredients[taken] in because.values()


# --- charts by hand --------------------------------------------------------------------------------------------------


def test_a_chart_as_it_stands_at_a_moment(tiny_records) -> None:
    charts = read_charts(tiny_records, {"loinc:33914-3"})
    names = [(c.kind, c.name) for c in charts.known.concepts]
    assert names == sorted(names, key=lambda one: one[0])  # by kind, observations last: the published format needs it
    told_of = {patient: {names[ix][1] for ix in charts.of(patient).concept.tolist()} for patient in range(6)}
    assert told_of[0] == {"hypertension", "diabetes", "lisinopril", "simvastatin", "metformin", "eGFR"}
    assert told_of[2] == {"allergy to penicillin", "diabetes", "simvastatin", "metformin"}
    assert told_of[4] == {"amoxicillin"}  # warfarin ended three years ago
    assert told_of[5] == set()
    first = charts.of(0)
    assert first.value[-1] == 55.0 and first.days[-1] == 1827  # from 2020-01-01 to 2025-01-01
    assert first.age == pytest.approx(74.5, abs=0.01) and first.sex == "F"
    assert charts.known.untold == frozenset()


def moment_charts(tiny_records, drugs: pd.DataFrame, day: str) -> dict[str, int]:
    """Name -> days, of the first patient's drugs at a moment."""
    records = dataclasses.replace(tiny_records, treatments=drugs)
    at = int(pd.Timestamp(day, tz="UTC").timestamp())
    moments = Moments(
        *(np.array([x], dtype=d) for x, d in ((0, np.int32), (at, np.int64), (at, np.int64), (0, np.int32)))
    )
    chart = read_charts(records, (), moments)
    mine = chart.of(0)
    return {
        chart.known.concepts[ix].name: int(days)
        for ix, days in zip(mine.concept, mine.days, strict=True)
        if chart.known.concepts[ix].kind == "drug"
    }


def test_drugs_run_end_wash_out_and_stay_on_the_skin(tiny_records) -> None:
    concept = {name: ix for ix, name in enumerate(tiny_records.concepts["name"])}
    rows = [
        ("warfarin", "2024-01-01", "2024-03-01", False),
        ("metformin", "2024-01-01", None, False),
        ("simvastatin", "2024-02-01", "2024-02-10", False),
        ("simvastatin", "2024-02-20", "2024-02-24", False),
        ("amoxicillin", "2024-01-01", None, True),
        ("lisinopril", "2024-03-20", None, False),
    ]
    frame = pd.DataFrame(
        {
            "patient_ix": np.zeros(len(rows), dtype=np.int32),
            "concept_ix": np.array([concept[name] for name, *_ in rows], dtype=np.int32),
            "start": pd.to_datetime([start for _, start, *_ in rows], utc=True).astype("datetime64[s, UTC]"),
            "stop": pd.to_datetime([stop for _, _, stop, _ in rows], utc=True).astype("datetime64[s, UTC]"),
            "reported": False,
            "local": [local for *_, local in rows],
            "routes": np.zeros(len(rows), dtype=np.uint32),
        }
    )
    assert moment_charts(tiny_records, frame, "2024-02-25") == {
        "warfarin": RUNS, "metformin": RUNS, "simvastatin": 1, "amoxicillin": RUNS_LOCALLY,
    }  # fmt: skip
    assert moment_charts(tiny_records, frame, "2024-03-15") == {
        "metformin": RUNS, "amoxicillin": RUNS_LOCALLY,
    }  # fmt: skip  # warfarin ended 14 days ago, simvastatin 20
    assert moment_charts(tiny_records, frame, "2024-03-14")["warfarin"] == 13
    both = pd.concat([frame, frame[frame["local"]].assign(local=False)], ignore_index=True)
    assert moment_charts(tiny_records, both, "2024-03-15")["amoxicillin"] == RUNS  # in the body as well


def test_a_drug_that_ended_lately_still_forbids_what_is_contraindicated_with_it() -> None:
    phenelzine, sertraline = named("phenelzine"), named("sertraline")
    assert (
        told(chart_of((phenelzine, 13)), sertraline)["onc-04-antidepressant-maoi"] == "phenelzine (ended 13 days ago)"
    )
    assert told(chart_of((named("warfarin"), 3)), named("ibuprofen")) == {}  # serious, while it goes on
    assert "anticoagulant-nsaid" in told(chart_of((named("warfarin"), RUNS)), named("ibuprofen"))


def test_what_is_on_the_skin_does_not_interact() -> None:
    neomycin, furosemide = named("neomycin"), named("furosemide")
    charts = chart_of((furosemide, RUNS), (Column("text:neomycin", "allergy", "neomycin", ""), 0))
    allergy = {"allergy-itself", "allergy-aminoglycoside"}
    assert allergy < set(told(charts, neomycin))  # an aminoglycoside beside a loop diuretic
    here = dataclasses.replace(charts, known=dataclasses.replace(charts.known, local=frozenset({neomycin.code})))
    assert set(told(here, neomycin)) == allergy  # here it is an ointment: that it may not touch still counts
    assert tiers_of(here)[0].tolist() == tiers_of(charts)[0].tolist()  # the others are as before
    assert told(chart_of((named("ketoconazole"), RUNS_LOCALLY)), named("simvastatin")) == {}
    assert told(chart_of((named("ketoconazole"), RUNS)), named("simvastatin"))


LOINC = {"egfr": "loinc:98979-8", "creatinine": "loinc:2160-0", "weight": "loinc:29463-7", "potassium": "loinc:2823-3"}


def lab(name: str, days: int, value: float) -> tuple[Column, int, float]:
    return Column(LOINC[name], "observation", name, ""), days, value


def test_an_old_value_gives_way_to_a_newer_one_that_can_be_worked_out() -> None:
    metformin = named("metformin")
    reported = lab("egfr", 400, 90.0)
    assert told(chart_of(reported), metformin) == {}
    assert any(gap.about.endswith("400 days old") for gap in reading(chart_of(reported)).verdict(metformin).gaps)
    # a man of 50 with 3.5 mg/dL: 142 x (3.5/0.9)^-1.2 x 0.9938^50 = 20.4
    both = chart_of(reported, lab("creatinine", 5, 3.5))
    assert told(both, metformin)["egfr-metformin-30"] == (
        "Estimated glomerular filtration rate 20.4 mL/min/1.73 m², 5 days old"
    )
    fresh = chart_of(lab("egfr", 100, 90.0), lab("creatinine", 5, 3.5))  # what was reported counts while it is fresh
    assert "egfr-metformin-30" not in told(fresh, metformin)
    assert "egfr-metformin-30" in told(fresh, metformin, elapsed=81)  # 181 days old by now
    unknown_sex = chart_of(lab("creatinine", 5, 3.5), sex="unknown")
    assert told(unknown_sex, metformin) == {}
    assert any(gap.kind == "lab" for gap in reading(unknown_sex).verdict(metformin).gaps)


def test_a_limit_is_a_limit_to_the_last_digit() -> None:
    spironolactone = named("spironolactone")
    rule = next(
        r for r in RULES.labs if r.measure == "potassium" and CODES[SCREEN.place[spironolactone.code]] in r.drugs
    )
    inside = np.nextafter(np.float32(rule.value), np.float32(-np.inf if rule.comparison[0] == "<" else np.inf))
    at = chart_of(lab("potassium", 1, rule.value))
    assert (rule.id in told(at, spironolactone)) == (len(rule.comparison) == 2)
    assert rule.id in told(chart_of(lab("potassium", 1, float(inside))), spironolactone)
    assert rule.id not in told(chart_of(lab("potassium", rule.days + 1, float(inside))), spironolactone)


def test_therapy_that_is_there_already_is_told_once_a_pair() -> None:
    charts = chart_of((named("warfarin"), RUNS), (named("ibuprofen"), RUNS), (named("metformin"), RUNS))
    found = {verdict.drug.name: [alert.rule.id for alert in verdict.alerts] for verdict in reading(charts).therapy()}
    assert found["warfarin"].count("anticoagulant-nsaid") == 1
    assert found["ibuprofen"] == found["metformin"] == []
    assert reading(charts).drugs_checked() == (3, 3)


def test_a_combination_and_its_ingredient_are_a_duplicate_told_once() -> None:
    charts = chart_of((named("acetaminophen"), RUNS), (named("acetaminophen/hydrocodone"), RUNS))
    (first, second) = reading(charts).therapy()
    assert [alert.rule.id for alert in first.alerts] == ["dup-same-ingredient"] and not second.alerts


def test_what_the_chart_leaves_open_is_said() -> None:
    unknown = Column("text:wonder pill", "drug", "wonder pill", "")
    charts = chart_of(
        (Column("text:blue stuff", "allergy", "blue stuff", ""), 0),
        (Column("text:feels odd", "condition", "feels odd", ""), 3),
        (unknown, RUNS),
        (drug(CODES[0]), RUNS),
        age=float("nan"),
        sex="unknown",
    )
    charts = dataclasses.replace(charts, known=dataclasses.replace(charts.known, untold=frozenset({"observation"})))
    gaps = {(gap.kind, gap.about) for gap in reading(charts).gaps}
    assert gaps == {
        ("allergy", "blue stuff"), ("condition", "feels odd"), ("therapy", "wonder pill"), ("person", "age"),
        ("person", "sex"),
    }  # fmt: skip
    assert reading(charts).drugs_checked() == (1, 2)
    told_nothing = chart_of()
    told_nothing = dataclasses.replace(told_nothing, known=Known((), frozenset({"allergy", "condition"})))
    assert {gap.about for gap in reading(told_nothing).gaps} == {"allergies", "conditions"}


# --- whatever the chart ----------------------------------------------------------------------------------------------

DRUGS = [named(name) for name in (
    "warfarin", "ibuprofen", "simvastatin", "clarithromycin", "metformin", "lisinopril", "spironolactone", "sertraline",
    "phenelzine", "amoxicillin", "aspirin", "sulfamethoxazole/trimethoprim", "lorazepam", "oxycodone", "methotrexate",
    "propranolol", "digoxin", "amiodarone", "valproate", "levothyroxine",
)] + [drug("text:unknown thing")]  # fmt: skip
CONDITIONS = [Column(code, "condition", code, "") for code in (
    "icd10cm:N18.5", "icd10cm:J45.909", "icd10cm:I50.22", "icd10cm:Z33.1", "icd10cm:K25.4", "icd9cm:4280",
    "snomed:44054006", "icd10cm:K74.60", "icd10cm:I44.2", "icd10cm:Z95.0", "text:something else", "icd10cm:O80",
)]  # fmt: skip
ALLERGIES = [Column(f"text:{name}", "allergy", name, "") for name in (
    "penicillin", "sulfa drugs", "NSAIDs", "ACE inhibitors", "aspirin", "latex", "no known allergies", "mystery",
)]  # fmt: skip
LABS = [Column(code, "observation", code, "") for code in LOINC.values()]
BAD = [*CONDITIONS, *ALLERGIES]


@st.composite
def facts(draw: st.DrawFn) -> list[tuple[Column, int, float]]:
    found = [(one, draw(st.sampled_from([RUNS, RUNS, RUNS_LOCALLY, 5])), np.nan) for one in draw(_some(DRUGS))]
    found += [(one, draw(st.integers(0, 400)), np.nan) for one in draw(_some(CONDITIONS))]
    found += [(one, 0, np.nan) for one in draw(_some(ALLERGIES))]
    found += [
        (one, draw(st.integers(0, 400)), draw(st.sampled_from([0.5, 2.9, 5.6, 40.0, 90.0])))
        for one in draw(_some(LABS))
    ]
    return found


def _some(of: list[Column]) -> st.SearchStrategy[list[Column]]:
    return st.lists(st.sampled_from(of), max_size=6, unique=True)


PEOPLE = st.tuples(st.floats(0, 100) | st.just(float("nan")), st.sampled_from(SEXES))


def tiers_of(charts: Charts, family: str = "") -> np.ndarray:
    every = np.arange(len(DRUGS))
    found = SCREEN.tiers(SCREEN.read(charts.known), charts, DRUGS, np.array([0, len(DRUGS)]), every, family=family)
    return np.stack([found.rank, found.unchecked])


@settings(deadline=None, max_examples=150)
@given(facts(), PEOPLE, st.sets(st.sampled_from([one.code for one in DRUGS]), max_size=4))
def test_the_compiled_tiers_are_those_of_the_rules_that_are_named(chart, person, local) -> None:
    charts = chart_of(*chart, age=person[0], sex=person[1])
    charts = dataclasses.replace(charts, known=dataclasses.replace(charts.known, local=frozenset(local)))
    rank, unchecked = tiers_of(charts)
    mine = reading(charts)
    for place, candidate in enumerate(DRUGS):
        verdict = mine.verdict(candidate)
        assert verdict.rank == rank[place] == max((alert.rule.rank for alert in verdict.alerts), default=0)
        assert verdict.unchecked == unchecked[place]
        assert verdict.outcome == (
            "withheld"
            if rank[place] == CONTRAINDICATED
            else "kept"
            if SCREEN.ingredients(candidate.code)
            else "not_checked"
        )
        assert len({(alert.rule.id, alert.because) for alert in verdict.alerts}) == len(verdict.alerts)
        assert all(alert.because for alert in verdict.alerts)
    families = np.stack([tiers_of(charts, family)[0] for family in FAMILIES])
    assert np.array_equal(families.max(axis=0), rank)


@settings(deadline=None, max_examples=100)
@given(facts(), PEOPLE, st.randoms(use_true_random=False))
def test_the_order_of_a_chart_changes_nothing(chart, person, random) -> None:
    mixed = list(chart)
    random.shuffle(mixed)
    one, other = (tiers_of(chart_of(*rows, age=person[0], sex=person[1])) for rows in (chart, mixed))
    assert np.array_equal(one, other)


@settings(deadline=None, max_examples=100)
@given(facts(), PEOPLE, st.sampled_from(BAD), st.integers(0, 400))
def test_an_allergy_or_a_condition_more_never_frees_a_drug(chart, person, more, days) -> None:
    if any(fact[0] == more for fact in chart):
        return
    lifted = {"icd10cm:Z95.0", "icd10cm:O80"}  # a pacemaker and a birth do lift rules
    if more.code in lifted:
        return
    before = tiers_of(chart_of(*chart, age=person[0], sex=person[1]))[0]
    after = tiers_of(
        chart_of(*chart, (more, 0 if more.kind == "allergy" else days, np.nan), age=person[0], sex=person[1])
    )[0]
    assert (after >= before).all()


@settings(deadline=None, max_examples=50)
@given(facts(), st.text("abcdefgh ", min_size=1, max_size=20))
def test_a_drug_that_nobody_knows_is_not_checked(chart, text) -> None:
    verdict = reading(chart_of(*chart)).verdict(drug(f"text:{text}", text))
    assert verdict.outcome == "not_checked" and verdict.unchecked & DRUG
    assert [gap.kind for gap in verdict.gaps] == ["drug"]
    procedure = reading(chart_of(*chart)).verdict(Column("snomed:1", "procedure", "X-ray", ""))
    assert (procedure.outcome, [gap.kind for gap in procedure.gaps]) == ("not_checked", ["kind"])


# --- within a list ---------------------------------------------------------------------------------------------------


def order(names: list[str], scores: list[float], ranks: list[int], n: int, cost: float) -> tuple[list[str], list[str]]:
    ptr, parts = ragged(SCREEN.ingredients(named(name).code) for name in names)
    found = in_order(SCREEN.arrays, np.array(scores), np.array(ranks, np.uint8), ptr, parts, n, cost)
    return [names[ix] for ix in found.order], [names[ix] for ix in found.apart]


def test_a_warning_and_an_interaction_move_a_drug_down_as_stated() -> None:
    names = ["warfarin", "ibuprofen", "metformin", "omeprazole"]
    # benefits on the list's own scale: 1, 0.75, 0.5, 0; warfarin and ibuprofen interact (serious, weight 0.5)
    assert WEIGHTS.tolist() == [0.0, 0.1, 0.5, 1.0]
    scores = [5.0, 4.0, 3.0, 1.0]
    assert order(names, scores, [0] * 4, 4, 0.0) == (names, [])
    assert order(names, scores, [0] * 4, 4, 0.4)[0] == names  # ibuprofen 0.75 - 0.2 = 0.55 stays before metformin
    assert order(names, scores, [0] * 4, 4, 0.6)[0] == ["warfarin", "metformin", "ibuprofen", "omeprazole"]  # 0.45
    assert order(names, scores, [2, 0, 0, 0], 4, 0.6)[0][:2] == ["ibuprofen", "metformin"]  # warfarin 1 - 0.3 = 0.7


def test_some_come_last_whatever_their_score() -> None:
    names = ["omeprazole", "metformin", "ibuprofen"]
    ptr, parts = ragged(SCREEN.ingredients(named(name).code) for name in names)
    last = np.array([True, False, False])
    found = in_order(SCREEN.arrays, np.array([3.0, 2.0, 1.0]), np.zeros(3, np.uint8), ptr, parts, 3, 0.2, last)
    assert found.order.tolist() == [1, 2, 0]


def test_what_is_contraindicated_with_an_item_before_it_is_left_out() -> None:
    found = order(["simvastatin", "clarithromycin", "metformin"], [3.0, 2.0, 1.0], [0, 0, 0], 3, 0.0)
    assert found == (["simvastatin", "metformin"], ["clarithromycin"])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(range(len(DRUGS))), st.floats(-1, 1, width=32), st.integers(0, 2)), max_size=15),
    st.floats(0, 3),
    st.integers(1, 15),
)
def test_lists_are_prefixes_without_contraindicated_pairs(candidates, cost, n) -> None:
    candidates = sorted(candidates, key=lambda one: -one[1])
    ptr, parts = ragged(SCREEN.ingredients(DRUGS[ix].code) for ix, _, _ in candidates)
    scores, ranks = (np.array([one[part] for one in candidates]) for part in (1, 2))
    last = np.zeros(len(candidates), dtype=bool)
    arguments = (SCREEN.arrays.inter, scores.astype(np.float64), ranks.astype(np.uint8), last, ptr, parts)
    found, apart = greedy(*arguments, n, cost, WEIGHTS)
    whole, _ = greedy(*arguments, len(candidates) or 1, cost, WEIGHTS)
    assert found.tolist() == whole[: len(found)].tolist()
    assert len(set(found.tolist()) | set(apart.tolist())) == len(found) + len(apart)
    for a in found:
        for b in found:
            one, other = (SCREEN.ingredients(DRUGS[candidates[x][0]].code) for x in (a, b))
            shared = set(one) & set(other)
            assert not any(SCREEN.arrays.inter[x, y] == 3 for x in set(one) - shared for y in set(other) - shared)
    if cost == 0 and not len(apart):
        assert scores[found].tolist() == sorted(scores.tolist(), reverse=True)[: len(found)]

"""Reports laid beside each other: of one version, of two nights, and of feedback; no small number may follow from them.

The attacker knows every rule by which numbers are told, all rules of the book, and everything that is told.
"""

from __future__ import annotations

import dataclasses
import json
import math
import random
import re
from collections import Counter
from itertools import product

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from recommender.catalogue import Catalogue
from recommender.feedback.summary import FEW
from recommender.formulary import Formulary
from recommender.reports.card import card_of
from recommender.reports.card_page import as_dict
from recommender.reports.cells import about, feedback_told, partition
from recommender.reports.drift import Seen, drift_of
from recommender.reports.pharmacy import pharmacy_of
from recommender.reports.quality import quality_report
from recommender.reports.tally import Tally

NOBODY = {"events": 0, "outcomes": {}, "rules": []}
MANY = 30  # rules of each severity that nobody of a small example is warned by; the book has hundreds


def possible(text: str, most: int) -> tuple[int, int]:
    """From which to which number a cell may stand for, by the words that are told alone."""
    if text == FEW:
        return 0, 10
    if text in ("hidden", "–"):
        return 0, most
    number = int(text.removeprefix("about ").replace(",", ""))
    return (0, 0) if number == 0 else (11, 24) if number == 20 else (number - 5, min(most, number + 14))


def limits(any_of: tuple[int, int], parts: list[tuple[int, int]], target: int) -> tuple[int, int]:
    """How few and how many the part `target` can be, by integer programming: "any of them" is no less than each part
    and no more than all of them together. Variables: the parts, then "any of them"."""
    n = len(parts)
    rows = [[*np.eye(n)[part], -1.0] for part in range(n)] + [[*([-1.0] * n), 1.0]]
    low, high = zip(*parts, any_of, strict=True)
    found = []
    for sign in (1, -1):
        wanted = sign * np.eye(n + 1)[target]
        solved = milp(
            wanted,
            constraints=LinearConstraint(np.array(rows), -np.inf, 0),
            bounds=Bounds(low, high),
            integrality=np.ones(n + 1),
        )
        assert solved.success, "what is told contradicts itself"
        found.append(round(sign * solved.fun))
    return found[0], found[1]


def test_the_attack_finds_what_rows_of_few_would_betray():
    """Were rules of few listed: 24 and 44 patients of their own, 10 of a third, 78 in all: the third has 7 at least."""
    cells = [about(count, 400) for count in (24, 44, 10)]
    told = [possible(cell.text, 400) for cell in cells]
    assert [cell.text for cell in cells] == ["about 20", "about 40", "<11"]
    assert limits((75, 84), [(11, 24), (35, 44), told[2]], 2) == (7, 10)


def tallied(rules, who: list[set[int]], patients: int) -> Tally:
    """Rule number k warns the patients who[k], all of severity serious."""
    warned = {rules[k].id: len(them) for k, them in enumerate(who) if them}
    anyone = len(set().union(*who))
    alerts = {"serious": sum(map(len, who))}
    by_id = {rule.id: rule for rule in rules}
    return Tally(
        10,
        patients=patients,
        with_list=patients,
        warned=warned,
        alerts=alerts,
        alerted={"serious": anyone},
        rules=by_id,
    )


def test_no_rule_of_few_follows_from_all_warned_and_the_other_rules(hospital):
    rules = [rule for rule in hospital.desk.screen.rules.by_id.values() if rule.severity == "serious"][:6]
    draw = random.Random(1)
    attacked = 0
    for trial in range(60):
        patients = draw.choice([60, 100, 200, 400])
        sizes = [draw.choice([24, 34, 44]) if trial % 2 else draw.randint(11, 50) for _ in range(draw.randint(1, 3))]
        small, begin, who = draw.randint(1, 10), 0, []
        for size in [*sizes, small]:  # apart from each other as far as there is room: the worst case
            who.append({place % patients for place in range(begin, begin + size)})
            begin += size
        told = quality_report("v", {}, None, tallied(rules, who, patients), NOBODY)
        listed = {line.rule: line.patients.text for line in told.rules}
        assert rules[len(sizes)].id not in listed
        texts = [listed.get(rules[k].id, FEW) for k in range(len(sizes) + 1)] + [FEW] * MANY
        (serious,) = (line for line in told.burden if line.severity == "serious")
        cells = [possible(text, patients) for text in texts]
        assert limits(possible(serious.patients.text, patients), cells, len(sizes)) == (0, 10)
        attacked += 1
    assert attacked == 60


def test_no_drug_of_few_follows_from_who_takes_any_that_is_not_on_the_formulary(hospital, tmp_path):
    screen, release = hospital.desk.screen, hospital.desk.release
    (tmp_path / "formulary.csv").write_text("drug,tier,restriction\nmetformin,1,\n")
    formulary = Formulary.load(tmp_path / "formulary.csv", screen.vocabulary)
    drugs = [column.code for column in release.index.columns if column.kind == "drug"]
    other = [code for code in drugs if formulary.status(code) == "non_formulary"][:4]
    taken = dict(zip(other, (24, 44, 34, 9), strict=True))
    found = Tally(10, patients=400, taken=taken, status_taken={"non_formulary": sum(taken.values())})
    catalogue = Catalogue(release.version, release.index, screen.vocabulary, screen.rules)
    told = pharmacy_of(release, found, catalogue, formulary)
    assert {line.code for line in told.not_on} == set(other[:3])
    texts = {line.code: line.taken.text for line in told.not_on}
    cells = [possible(texts.get(code, FEW), 400) for code in other] + [(0, 10)] * MANY
    assert limits(possible(told.use["non_formulary"][0].text, 400), cells, 3) == (0, 10)


def test_no_index_of_drift_tells_two_small_numbers(hospital):
    """About 200 women and 190 men were told, 180 and 210 on the night before, and that a few are unknown: the index is
    tried for all that may be."""
    release, none, unknown = hospital.desk.release, np.zeros(0), (1, 4, 7, 10)

    def index(women: int, few: int, women_then: int, few_then: int) -> tuple:
        sides = []
        for sexes in ({"F": women, "M": 190, "unknown": few}, {"F": women_then, "M": 205, "unknown": few_then}):
            n, codes = sum(sexes.values()), {name: {} for name in ("treatments", "conditions", "allergies")}
            sides.append(Seen(n, codes, {"5": n}, sexes, {}, Counter(), none, none))
        told = drift_of(release, sides[0], release, sides[1])
        return next((one.index, one.limit, one.state) for one in told.indices if one.name == "sex")

    exact = set()
    for women, women_then in product((196, 204), (176, 184)):
        assert len({index(women, few, women_then, few_then) for few, few_then in product(unknown, unknown)}) == 1
        for few, few_then in product(unknown, unknown):
            p, q = ([n / sum(side) for n in side] for side in ((women, 190, few), (women_then, 205, few_then)))
            exact.add(round(sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True)), 9))
    assert len(exact) == 64  # to its last digits, each of the tables would have an index of its own


def test_two_nights_of_a_few_patients_more_look_the_same(hospital):
    """Three women are new: cards, reports and what stands about feedback tell the same on both nights."""
    manifest = hospital.desk.release.manifest

    def night(more: int) -> str:
        counts = {**manifest["counts"], "patients": 398 + more, "allergies_events": 120 + more}
        inputs = {**manifest["inputs"], "sex": {"F": 210 + more, "M": 188, "": 0}, "race": {}, "age": {}}
        changed = {**manifest, "counts": counts, "inputs": inputs}
        found = Tally(10, patients=398 + more, with_list=396 + more, with_withheld=30 + more)
        report = quality_report("v", changed, ("u", manifest), found, feedback_of(50 + more))
        return json.dumps([as_dict(card_of("v", changed)), dataclasses.asdict(report)], default=str)

    assert night(0) == night(3)
    assert night(0) != night(20)


def feedback_of(events: int) -> dict:
    return {"events": events, "undone": 0, "outcomes": {"accepted": events, "rejected": "<11"}, "rules": []}


def test_feedback_of_a_third_version_does_not_follow_from_all_and_the_two_others():
    """All of 97 answers less the 50 and 40 of two versions would leave the 7 of a third one."""
    everything, one, other = (feedback_told(feedback_of(n))["events"] for n in (97, 50, 40))
    (low, high), *parts = (possible(text, 10_000) for text in (everything, one, other))
    high -= 10  # `possible` leaves room for what is told of nearly all: here is no whole
    assert low - sum(part[1] - 10 for part in parts) <= 1
    assert high - sum(part[0] for part in parts) >= 10
    assert feedback_told(feedback_of(0))["events"] == 0
    assert feedback_told(feedback_of(50))["outcomes"] == {"accepted": "about 50", "rejected": "<11"}


def test_patients_without_a_list_do_not_follow_from_what_stands_beside_them():
    """397 of 400 have a list: neither the report's changes nor the gate's measurements tell it."""
    manifest = {
        "counts": {"patients": 400},
        "coverage": {"patients_with_list": 397, "listed": 30, "suggestable": 40},
        "gate": {
            "compared_with": "u",
            "passed": True,
            "reasons": [],
            "coverage": {"new": {"patients_with_list": 397}},
            "population_stability": {"sex": {"index": 0.0123456789, "limit": 0.25}},
        },
    }
    found = Tally(10, patients=400, with_list=397)
    told = json.dumps(dataclasses.asdict(quality_report("v", manifest, ("u", manifest), found, NOBODY)))
    assert "397" not in told and "0.0123" not in told
    assert partition({"with": 397, "without": 3}, 400)["with"].text == "hidden"


def test_nothing_that_the_commands_write_is_nearer_than_the_ten(hospital, tmp_path):
    """Every number of patients in every file of every report, of the real version."""
    for name in ("card", "quality", "pharmacy", "drift", "history"):
        hospital.asked("report", name, "--out", tmp_path / name)
    seen = 0
    for file in tmp_path.rglob("*.json"):
        for key, value in leaves(json.loads(file.read_text())):
            if key == "patients" and value not in ("", FEW, "hidden", "0"):
                number = int(str(value).removeprefix("about ").replace(",", ""))
                assert number >= 20 and number % 10 == 0, (file.name, value)
                seen += 1
        assert not re.search(r"population_stability|patients_with_list", file.read_text()), file.name
    assert seen > 30
    for file in tmp_path.rglob("*.html"):
        for number in re.findall(r"([\d,]+) (?:synthetic )?patients", re.sub(r"<[^>]+>", " ", file.read_text())):
            count = int(number.replace(",", ""))
            assert count == 11 or count % 10 == 0, (file.name, number)  # "fewer than 11 patients"


def leaves(told, key=""):
    if isinstance(told, dict):
        for name, value in told.items():
            yield from leaves(value, name)
    elif isinstance(told, list):
        for value in told:
            yield from leaves(value, key)
    else:
        yield key, told

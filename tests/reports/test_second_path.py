"""The figures of quality on the card, anew, in plain loops over the records: visits, lists, NDCG, groups, chances.

Shared with the first path are the records (which have tests of their own), the draw of who is tested, the order of
columns by which ties are broken, and the scores of the model that is judged; of the one to compare with not even those.
"""

from __future__ import annotations

import bisect
import math
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest

from recommender.evaluation.calibrate import calibrate
from recommender.evaluation.compare import evaluate
from recommender.evaluation.split import folds_of
from recommender.evaluation.trial import Trial, make_trial
from recommender.loaders import load
from recommender.models import MODELS
from recommender.reports.card import card_of

THERAPIES = ("drug", "procedure", "care_plan")
HOUR, DAY = 3_600, 86_400


@dataclass
class Visit:
    """Of one person: when, how far what follows counts, what is on the chart by then, and what begins."""

    person: int
    when: int
    until: int
    chart: set
    begins: set


@dataclass
class Second:
    """visits in order of person and time; tested: positions of those judged; model, popular: of each, `lists_of`."""

    records: object
    trial: Trial
    names: list
    visits: list[Visit]
    tested: list[int]
    model: dict[int, list]
    popular: dict[int, list]


def visits_of(records) -> list[Visit]:
    kinds, codes = (records.concepts[name].tolist() for name in ("kind", "code"))
    stays, events = defaultdict(list), defaultdict(list)
    table = records.treatments
    columns = zip(
        table["patient_ix"], table["concept_ix"], table["start"], table["stop"], table["reported"], strict=True
    )
    for person, concept, start, stop, reported in columns:
        began = int(start.timestamp())
        if kinds[concept] == "care_resource":
            stays[person].append((began, began if stop != stop else int(stop.timestamp())))
        elif kinds[concept] in THERAPIES:
            events[person].append((began, (kinds[concept], codes[concept]), reported))
    found = []
    for person in sorted(stays):
        merged = []
        for start, stop in sorted(stays[person], key=lambda stay: stay[0]):
            if merged and start <= merged[-1][1] + 6 * HOUR:
                merged[-1][1] = max(merged[-1][1], stop)
            else:
                merged.append([start, stop])
        for place, (when, _) in enumerate(merged):
            until = when + 30 * DAY
            if place + 1 < len(merged):
                until = min(until, merged[place + 1][0])
            chart = {name for start, name, _ in events[person] if start < when}
            begins = {name for start, name, told in events[person] if when <= start < until and not told}
            found.append(Visit(int(person), when, until, chart, begins - chart))
    return found


def lists_of(evaluation, model: str, names: list) -> dict[int, list]:
    """Of each held-out visit the ten best, [(name, score)], ties by the order of the columns."""
    judged, found = evaluation.judged[model], {}
    for positions, scores in ((evaluation.tested, judged.scores), (evaluation.idle, judged.idle_scores)):
        for position, row in zip(positions.tolist(), scores.tolist(), strict=True):
            ranked = sorted((-score, place) for place, score in enumerate(row) if score != -math.inf)
            found[position] = [(names[place], -score) for score, place in ranked[:10]]
    return found


@pytest.fixture(scope="module")
def second(hospital) -> Second:
    folder, screen = hospital.settings.workdir / "sample4", hospital.desk.screen
    records = load("synthea", folder, vocabulary=screen.vocabulary)
    trial = make_trial(records, "started", THERAPIES)
    fold = folds_of(trial.person)[0]
    chosen = hospital.desk.release.manifest["chosen"]["model"]
    judged = evaluate([MODELS[chosen["name"]](**chosen["parameters"])], trial, [fold])
    columns = [trial.taught.index.columns[ix] for ix in trial.taught.index.targets.tolist()]
    names, visits = [(column.kind, column.code) for column in columns], visits_of(records)
    assert [visit.person for visit in visits] == trial.person.tolist()
    model = lists_of(judged, chosen["name"], names)
    # the model to compare with: the share of visits that could begin a treatment at which it began, five more below
    began, had = defaultdict(int), defaultdict(int)
    for position in fold.train.tolist():
        for name in visits[position].begins:
            began[name] += 1
        for name in visits[position].chart:
            had[name] += 1
    share = {name: np.float32(began[name] / (len(fold.train) - had[name] + 5)) for name in names}
    usual = sorted((-share[name], place) for place, name in enumerate(names) if began[name] + had[name] >= 3)
    test = fold.test.tolist()
    tested = [position for position in test if visits[position].begins]
    popular = {
        position: [(names[p], -s) for s, p in usual if names[p] not in visits[position].chart][:10]
        for position in tested
    }
    return Second(records, trial, names, visits, tested, model, popular)


def ndcg(names: list, begins: set) -> float:
    gained = sum(1 / math.log2(place + 2) for place, name in enumerate(names) if name in begins)
    return gained / sum(1 / math.log2(place + 2) for place in range(min(10, len(begins))))


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def drawn(values: dict[int, float], person_of, times: int = 400) -> list[float]:
    """Means over persons who are drawn again, all examples of each together."""
    by_person = defaultdict(list)
    for position, value in values.items():
        by_person[person_of(position)].append(value)
    persons, draw, found = sorted(by_person), random.Random(7), []
    for _ in range(times):
        found.append(mean(value for person in draw.choices(persons, k=len(persons)) for value in by_person[person]))
    return sorted(found)


def test_quality_with_its_interval_and_what_it_is_compared_with(hospital, second):
    quality = hospital.desk.release.manifest["quality"]
    for lists, told in ((second.model, quality), (second.popular, quality["baseline"])):
        values = {p: ndcg([name for name, _ in lists[p]], second.visits[p].begins) for p in second.tested}
        assert mean(values.values()) == pytest.approx(told["value"], abs=1e-6)
        ends = drawn(values, lambda p: second.visits[p].person)
        assert ends[10] == pytest.approx(told["low"], abs=0.012)
        assert ends[-10] == pytest.approx(told["high"], abs=0.012)
    people = {second.visits[position].person for position in second.tested}
    assert quality["patients"] == 10 * ((len(people) + 5) // 10)
    first = next(one for one in card_of("v", hospital.desk.release.manifest).attributes if one.figures).figures
    assert [figure.value for figure in first] == [quality["value"], quality["baseline"]["value"]]
    assert {figure.patients for figure in first} == {f"about {quality['patients']}"}


def test_groups_and_how_far_they_stay_behind(hospital, second):
    patients = second.records.patients
    born, sexes, races = (patients[name].tolist() for name in ("birth_date", "sex", "race"))

    def band(visit: Visit) -> str:
        if born[visit.person] != born[visit.person]:
            return "unknown"
        years = (visit.when - born[visit.person].timestamp()) / (365.2425 * DAY)
        edges = (18, 40, 65, 80)
        return ("under 18", "18 to 39", "40 to 64", "65 to 79", "80 or older")[bisect.bisect_right(edges, years)]

    of = {
        "sex": lambda visit: {"F": "female", "M": "male"}.get(sexes[visit.person], "unknown"),
        "age": band,
        "race": lambda visit: races[visit.person] or "unknown",
    }
    told = hospital.desk.release.manifest["quality"]["groups"]
    assert {row["attribute"] for row in told} >= {"sex", "age", "race"}
    for attribute, group_of in of.items():
        members = defaultdict(dict)
        for p in second.tested:
            value = ndcg([name for name, _ in second.model[p]], second.visits[p].begins)
            members[str(group_of(second.visits[p]))][p] = value
        people = {group: {second.visits[p].person for p in them} for group, them in members.items()}
        values = {group: mean(them.values()) for group, them in members.items() if len(people[group]) >= 20}
        rows = {row["group"]: row for row in told if row["attribute"] == attribute}
        assert rows.keys() == values.keys()
        best = max(values, key=values.__getitem__)
        for group, row in rows.items():
            assert row["value"] == pytest.approx(values[group], abs=1e-6)
            assert row["patients"] == max(20, 10 * ((len(people[group]) + 5) // 10))
            ends = drawn(members[group], lambda p: second.visits[p].person)
            assert ends[10] == pytest.approx(row["low"], abs=0.03)
            assert ends[-10] == pytest.approx(row["high"], abs=0.03)
            if group == best:
                assert row["gap"] is None
                continue
            assert row["gap"] == pytest.approx(values[best] - values[group], abs=1e-6)
            # wider than the interval of this one pair, which is all that holds where there are two groups
            half = (row["gap_high"] - row["gap_low"]) / 2
            spread = [(e[-10] - e[10]) / 2 for e in (ends, drawn(members[best], lambda p: second.visits[p].person))]
            assert 0.75 * math.hypot(*spread) < half < 2 * math.hypot(*spread)


# --- how often suggestions come true ----------------------------------------------------------------------------------


def rising(pairs: list[tuple[float, bool]]) -> tuple[list[float], list[float]]:
    """Pool adjacent violators (Ayer 1955): scores and the rising shares nearest to what was seen."""
    by_score = defaultdict(list)
    for score, seen in pairs:
        by_score[score].append(seen)
    blocks = []  # sum, count, scores
    for score in sorted(by_score):
        blocks.append([sum(by_score[score]), len(by_score[score]), [score]])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            total, count, scores = blocks.pop()
            blocks[-1] = [blocks[-1][0] + total, blocks[-1][1] + count, blocks[-1][2] + scores]
    return (
        [score for _, _, scores in blocks for score in scores],
        [total / count for total, count, scores in blocks for _ in scores],
    )


@pytest.mark.slow  # scikit-learn alone takes seconds to import
def test_the_curve_of_chances_its_error_and_its_reliability(hospital, second):
    """By half of the patients: a fifth of this hospital are too few to be asked how often suggestions come true."""
    chosen = hospital.desk.release.manifest["chosen"]["model"]
    model = MODELS[chosen["name"]](**chosen["parameters"])
    judged = evaluate([model], second.trial, folds_of(second.trial.person, 2)[:1])
    chances = calibrate(judged, model.name)
    assert (chances.method, chances.depth) == ("isotonic", 10)
    pairs = [
        (score, name in second.visits[position].begins, second.visits[position].person)
        for position, listed in lists_of(judged, model.name, second.names).items()
        for name, score in listed
    ]
    scores, shares = rising([(score, seen) for score, seen, _ in pairs])
    told = np.interp(scores, chances.calibration.scores, chances.calibration.probabilities)
    assert told == pytest.approx(shares, abs=1e-6)
    # each half of the persons is judged by the curve of the other half
    half = {person: place % 2 for place, person in enumerate(sorted({person for *_, person in pairs}))}
    curves = [rising([(score, seen) for score, seen, who in pairs if half[who] != side]) for side in (0, 1)]
    judged = sorted(
        ((float(np.interp(score, *curves[half[who]])), seen) for score, seen, who in pairs), key=lambda one: one[0]
    )
    bins = defaultdict(list)  # ten of one size; those of the same promise stay with the first of them
    first = {}
    for place, (promised, seen) in enumerate(judged):
        bins[first.setdefault(round(promised, 12), place * 10 // len(judged))].append((promised, seen))
    error = sum(abs(sum(promised - seen for promised, seen in one)) for one in bins.values()) / len(judged)
    told = chances.methods.set_index("method").loc["isotonic"]
    assert told["ece"] == pytest.approx(error, abs=1e-6)
    assert told["observed"] == pytest.approx(mean(seen for _, seen in judged))
    shown = chances.reliability[["predicted", "value", "pairs"]].to_numpy().tolist()
    mine = [[mean(p for p, _ in bins[b]), mean(s for _, s in bins[b]), len(bins[b])] for b in sorted(bins)]
    assert shown == [pytest.approx(one, abs=1e-6) for one in mine]


def test_dates_counts_and_what_can_be_suggested_are_those_of_the_records(hospital, second):
    manifest, records = hospital.desk.release.manifest, second.records
    card = {one.asked.key: one for one in card_of("v", manifest).attributes}
    today = [int(when.timestamp()) for when in records.patients["as_of"]]
    having = defaultdict(set)
    kinds, codes = (records.concepts[name].tolist() for name in ("kind", "code"))
    for person, concept, start in zip(
        records.treatments["patient_ix"], records.treatments["concept_ix"], records.treatments["start"], strict=True
    ):
        if int(start.timestamp()) <= today[person]:
            having[kinds[concept], codes[concept]].add(person)
    suggestable = sum(len(people) >= 3 for people in having.values())
    text = card["criteria"].text
    assert f" {suggestable} can be." in text
    for table in ("treatments", "conditions", "allergies"):
        count = 10 * ((len(getattr(records, table)) + 5) // 10)
        assert f"about {count:,} {table}" in text
    assert "about 400 synthetic patients" in text
    last = max(datetime.fromtimestamp(when, UTC) for when in today)
    assert f"up to {last:%Y-%m-%d}" in text

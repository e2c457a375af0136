"""The pharmacy's and the quality officer's report: every figure recounted from what the API answers."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections import Counter
from datetime import UTC, datetime
from html import unescape

import pytest

from recommender.catalogue import Catalogue
from recommender.feedback import FeedbackEvent, FeedbackLog
from recommender.formulary import Formulary
from recommender.reports.cells import about
from recommender.reports.pharmacy import pharmacy_of
from recommender.reports.quality import quality_report
from recommender.reports.tally import tally
from recommender.safety import DuplicateRule, InteractionRule

N = 10
FORMULARY = "drug,tier,restriction\nmetformin,1,\nlisinopril,1,\nibuprofen,1,\natorvastatin,2,cardiology\n"
NOBODY = {"events": 0, "outcomes": {}, "rules": []}


@pytest.fixture(scope="session")
def answers(hospital):
    """The second path: what the API answers for every patient."""
    client = hospital.client
    return [client.get(f"/v1/patients/{name}/recommendations?n={N}").json for name in hospital.entries]


@pytest.fixture(scope="session")
def formulary(hospital, tmp_path_factory):
    path = tmp_path_factory.mktemp("formulary") / "formulary.csv"
    path.write_text(FORMULARY)
    return path, Formulary.load(path, hospital.desk.screen.vocabulary)


@pytest.fixture(scope="session")
def found(hospital, formulary):
    return tally(hospital.desk, hospital.entries.items(), N, formulary=formulary[1])


def patients_with(answers, of) -> Counter:
    return Counter(name for answer in answers for name in set(of(answer)))


def warned(items):
    return [warning["rule"] for item in items for warning in item["warnings"]]


def test_the_tally_is_what_the_answers_add_up_to(answers, found):
    assert found.patients == len(answers) == 400
    assert found.with_list == sum(bool(answer["items"]) for answer in answers)
    assert found.with_withheld == sum(bool(answer["withheld"]) for answer in answers)
    assert found.withheld == sum(len(answer["withheld"]) for answer in answers)
    assert found.with_gaps == sum(bool(answer["not_checked"]) for answer in answers)
    assert found.drugs_taken == sum(answer["safety"]["drugs_on_chart"] for answer in answers)
    assert found.drugs_understood == sum(answer["safety"]["drugs_understood"] for answer in answers)
    assert found.taken == patients_with(answers, lambda a: [drug["code"] for drug in a["current_therapy"]])
    assert found.suggested == patients_with(
        answers, lambda a: [item["code"] for item in a["items"] if item["kind"] == "drug"]
    )
    assert found.therapy == patients_with(answers, lambda a: warned(a["current_therapy"]))
    assert found.warned == patients_with(answers, lambda a: warned(a["items"]))
    severities = [warning["severity"] for a in answers for item in a["items"] for warning in item["warnings"]]
    assert +Counter(found.alerts) == Counter(severities)
    assert found.alerted["serious"] == sum(
        any(w["severity"] == "serious" for item in a["items"] for w in item["warnings"]) for a in answers
    )


@pytest.fixture(scope="session")
def pharmacy(hospital, found, formulary):
    screen, release = hospital.desk.screen, hospital.desk.release
    catalogue = Catalogue(release.version, release.index, screen.vocabulary, screen.rules)
    return pharmacy_of(release, found, catalogue, formulary[1])


def test_rules_within_therapy_are_told_by_kind_and_in_steps(hospital, answers, pharmacy):
    counted = patients_with(answers, lambda a: warned(a["current_therapy"]))
    rules = hospital.desk.screen.rules.by_id
    assert counted
    for lines, kind in ((pharmacy.interactions, InteractionRule), (pharmacy.duplicates, DuplicateRule)):
        assert {line.rule for line in lines} == {name for name in counted if isinstance(rules[name], kind)}
        for line in lines:
            assert line.patients == about(counted[line.rule], 400)
            assert line.patients.hidden == (counted[line.rule] < 11)


def test_formulary_use_is_counted_by_patients(hospital, answers, pharmacy, formulary):
    status = formulary[1].status
    for name, cells in pharmacy.use.items():
        take = sum(any(status(drug["code"]) == name for drug in a["current_therapy"]) for a in answers)
        have = sum(any(i["kind"] == "drug" and status(i["code"]) == name for i in a["items"]) for a in answers)
        assert cells == (about(take, 400), about(have, 400))
    naproxen = next(line for line in pharmacy.not_on if line.name == "naproxen")
    assert naproxen.alternatives == ("ibuprofen",)


def test_treatments_by_condition_are_counted_from_the_charts(hospital, pharmacy):
    """The second path: rows of the matrix, counted one by one."""
    index = hospital.desk.release.index
    assert len(pharmacy.conditions) > 5
    for line in pharmacy.conditions:
        condition = index.place["condition", line.code]
        having = [entry for entry in hospital.entries.values() if condition in entry.row_columns]
        assert abs(int(line.patients) - len(having)) <= 10
        for name, patients, share in line.treatments:
            columns = [ix for ix, c in enumerate(index.columns) if c.kind == "drug" and c.name == name]
            both = sum(columns[0] in entry.row_columns for entry in having)
            assert abs(int(patients) - both) <= 10
            assert share == pytest.approx(min(1.0, int(patients) / int(line.patients)))
    names, shares = pharmacy.together.names, pharmacy.together.shares
    drugs = {c.name: ix for ix, c in enumerate(index.columns) if c.kind == "drug"}
    had = {name: {p for p, e in hospital.entries.items() if drugs[name] in e.row_columns} for name in names}
    for row, name in enumerate(names):
        for column, other in enumerate(names):
            both = len(had[name] & had[other])
            if shares[row][column] is None:
                assert both < 11
            elif row != column:
                assert shares[row][column] == pytest.approx(both / len(had[name]), abs=0.25)


def test_nothing_small_leaves_the_pharmacy_report(hospital, tmp_path, formulary):
    out = tmp_path / "pharmacy"
    hospital.asked("report", "pharmacy", "--out", out, RXREC_FORMULARY=str(formulary[0]))
    numbers = {int(n.replace(",", "")) for n in re.findall(r"about ([\d,]+)", (out / "pharmacy.html").read_text())}
    assert numbers
    assert all(number >= 20 and number % 10 == 0 for number in numbers)
    told = json.loads((out / "pharmacy.json").read_text())
    page = unescape((out / "pharmacy.html").read_text())
    for line in [*told["interactions"], *told["duplicates"]]:
        assert line["rule"] in page
    assert {file.name for file in out.iterdir()} >= {"pharmacy.html", "interactions.csv", "not_on_formulary.csv"}
    with (out / "interactions.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["rule"] for row in csv.DictReader(file)] == [line["rule"] for line in told["interactions"]]


def test_without_a_formulary_nothing_is_said_of_it(hospital, found):
    screen, release = hospital.desk.screen, hospital.desk.release
    told = pharmacy_of(release, found, Catalogue("v", release.index, screen.vocabulary, screen.rules), Formulary())
    assert (told.formulary, told.use, told.not_on) == ("", {}, ())


# --- the quality officer ----------------------------------------------------------------------------------------------


def test_burden_and_coverage_follow_from_the_answers(hospital, answers, found):
    told = quality_report("v", hospital.desk.release.manifest, None, found, NOBODY)
    alerts = Counter(w["severity"] for a in answers for item in a["items"] for w in item["warnings"])
    for line in told.burden:
        assert float(line.per_hundred) == pytest.approx(100 * alerts[line.severity] / 400, abs=1.25 + 0.05)
    counted = patients_with(answers, lambda a: warned(a["items"]))
    for line in told.rules:
        assert line.patients == about(counted[line.rule], 400)
        assert line.per_hundred == ("–" if counted[line.rule] < 11 else f"{line.patients.number / 4:.1f}")
    assert told.withheld == about(sum(bool(answer["withheld"]) for answer in answers), 400)


def test_changes_are_differences_of_the_two_manifests(hospital, found):
    now = hospital.desk.release.manifest
    versions = [one.version for one in hospital.store.versions()]
    before = hospital.store.release(versions[1])
    told = quality_report(versions[0], now, (before.version, before.manifest), found, NOBODY)
    by_words = {change.words: change for change in told.changes}
    events = by_words["treatment events"]
    mine, theirs = (10 * ((m["counts"]["treatments_events"] + 5) // 10) for m in (now, before.manifest))
    assert (events.now, events.by) == (f"about {mine:,}", f"{mine - theirs:+,}")
    listed = by_words["treatments that stand in a list"]
    assert listed.by == f"{now['coverage']['listed'] - before.manifest['coverage']['listed']:+,}".replace("+0", "0")
    assert by_words["NDCG@10 (95% interval)"].now.startswith(f"{now['quality']['value']:.3f} (")


def test_a_few_patients_more_are_not_told_by_subtraction(hospital, found):
    now = {"counts": {"patients": 401, "allergies_events": 8}, "coverage": {"patients_with_list": 380}}
    then = {"counts": {"patients": 397, "allergies_events": 14}, "coverage": {"patients_with_list": 369}}
    told = quality_report("b", now, ("a", then), found, NOBODY)
    assert [(change.words, change.now, change.before, change.by) for change in told.changes] == [
        ("patients", "about 400", "about 400", "0"),
        ("allergy events", "<11", "about 20", ""),
    ]


def test_lists_of_few_are_hidden_with_their_complement(found, hospital):
    few = dataclasses.replace(found, with_list=found.patients - 3)
    told = quality_report("v", {}, None, few, NOBODY)
    assert {name: cell.text for name, cell in told.lists.items()} == {"with suggestions": "hidden", "with none": "<11"}


def test_overrides_stand_beside_their_rule(hospital, found, tmp_path):
    rule = max(found.warned, key=found.warned.__getitem__)
    log = FeedbackLog(hospital.settings.workdir)
    assert log.events() == []
    code = hospital.desk.release.index.columns[0].code
    when = datetime(2026, 11, 2, tzinfo=UTC)
    for number, name in enumerate([*hospital.entries][:30]):
        outcome = "overridden" if number < 28 else "accepted"
        log.append(
            FeedbackEvent(
                *(f"e{number}", name, code, "drug", outcome, hospital.desk.release.version, when, "api"),
                reason="will-monitor" if outcome == "overridden" else "",
                rule_ids=(rule,),
            )
        )
    try:
        out = tmp_path / "quality"
        told = hospital.asked("report", "quality", "--out", out, "--since", "2026-11-01")
        assert told["patients"] == 400
        written = json.loads((out / "quality.json").read_text())
        line = next(line for line in written["rules"] if line["rule"] == rule)
        assert (line["events"], line["overridden"]) == ("20 or more", "90% or more")
        assert written["feedback"]["always_overridden"] == [rule]
        assert rule in (out / "quality.html").read_text()
        later = hospital.asked("report", "quality", "--out", tmp_path / "later", "--since", "2026-11-03")
        assert later["before"] == told["before"] != ""
        assert json.loads((tmp_path / "later" / "quality.json").read_text())["feedback"]["events"] == 0
    finally:
        for file in hospital.settings.workdir.glob("feedback.sqlite3*"):
            file.unlink()


def test_a_log_that_cannot_be_read_is_said_in_words(hospital, tmp_path):
    file = hospital.settings.workdir / "feedback.sqlite3"
    file.write_text("no log")
    try:
        hospital.asked("report", "quality", "--out", tmp_path / "quality")
        assert "was not read" in (tmp_path / "quality" / "quality.html").read_text()
    finally:
        file.unlink()

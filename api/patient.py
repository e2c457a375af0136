"""A patient's form in, all that the patient's page shows out: the answer, the chart, and what was not checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from flask import url_for
from werkzeug.datastructures import MultiDict

from api import pages_feedback, present_safety
from api.answers import DEFAULT_N, Answer, answer_of, longest
from api.dates import date_in_words
from api.frame import words
from api.present import Chart, Measured, Term, chart, suggestions
from api.recommendations import checked_kinds, checked_n
from api.reviews import reviews
from api.risks import risks
from api.serving import serving
from api.whatif import Added
from api.words import EN, Words
from recommender.offer import Desk
from recommender.offered import elapsed_days
from recommender.safety.renal import ckd_epi_2021
from recommender.safety.screen import CREATININE
from recommender.safety.verdict import plain_unit
from recommender.snapshot import Entry

LENGTHS = (10, 20)  # what a page can hold within its weight, however long the charts
EGFR = "egfr"
MEASURED = (EGFR, CREATININE, "potassium", "sodium", "inr", "haemoglobin", "platelets", "alt", "qtc", "heart-rate")


def shown(patient_id: str, form: MultiDict[str, str]) -> dict[str, Any]:
    """The values of `patient.html`. Raises UnknownPatient and what reading the store raises; BadParameter for a list
    that cannot be had."""
    following = _following()  # before the chart is read, so that nothing falls between
    desk, entry = serving().patient(patient_id)
    elapsed = elapsed_days(desk.release)
    kinds = checked_kinds(form.getlist("kind"))
    n = checked_n(form.get("n", str(DEFAULT_N)), longest(desk.release, kinds))
    found = answer_of(desk, entry, desk.reading(entry.chart, elapsed=elapsed), patient_id, n, kinds)
    return {**values(desk, entry, found, n, elapsed), "following": following}


def _following() -> str:
    """The last event there is, from which the page reads on; "" where nobody watches, so that there will be none."""
    return serving().events().last() if serving().readings().is_watched() else ""


def values(
    desk: Desk, entry: Entry, answer: Answer, n: int, elapsed: int, added: Sequence[Added] = ()
) -> dict[str, Any]:
    """What the templates show of an answer to a list of length n. `entry`: as published; `added`: to its chart."""
    t, release = words(), desk.release
    kind = answer.kinds[0] if len(answer.kinds) == 1 else ""
    fields = [("patient_id", answer.patient_id), ("n", str(n)), ("kind", kind)]
    return {
        "desk": desk,
        "changes": None,
        "added": added,
        "refused": (),
        "room": "patients",
        "answer": answer,
        "review": reviews().of(desk, entry, t),
        "risks": risks().of(answer.patient_id, t),
        "chart": _with(chart(release, entry, answer, t, measured(desk, entry, elapsed, t)), added, t),
        "suggestions": suggestions(answer, t),
        "therapy": present_safety.therapy(answer, t, date_in_words(answer.safety.rules_reviewed, t)),
        "withheld": present_safety.withheld(answer, t),
        "gaps": present_safety.gaps_of(answer, t),
        "empty": _empty(answer, t),
        "n": n,
        "lengths": [length for length in LENGTHS if length <= longest(release, answer.kinds)],
        "kind": kind,
        "kinds": release.index.target_kinds,
        "told": pages_feedback.told_of(answer.patient_id, t),
        "codes": pages_feedback.CODES,
        "answerable": pages_feedback.answerable,
        "again": {"action": url_for("pages.patient"), "fields": fields},
    }


def measured(desk: Desk, entry: Entry, elapsed: int, t: Words) -> tuple[Measured, ...]:
    """The measurements that clinicians look for first, of those that rules ask for; eGFR also from creatinine."""
    rules, facts = desk.screen.rules, entry.chart
    of_code = {code: one for one in rules.measures.values() for code in one.codes}
    newest: dict[str, tuple[int, float]] = {}
    for ix, days, value in zip(facts.concept.tolist(), facts.days.tolist(), facts.value.tolist(), strict=True):
        one = of_code.get(desk.release.known.concepts[ix].code)
        if one is not None and (one.id not in newest or days < newest[one.id][0]):
            newest[one.id] = (days, value)
    derived = EGFR not in newest and CREATININE in newest and facts.sex != "unknown"
    if derived:
        days, creatinine = newest[CREATININE]
        worked_out = float(ckd_epi_2021(creatinine, facts.age, facts.sex == "F"))
        if np.isfinite(worked_out):
            newest[EGFR] = (days, worked_out)
    found = []
    for name in MEASURED:
        if name in newest:
            one, (days, value) = rules.measures[name], newest[name]
            age = days + elapsed
            shown_name = t(f"measure.{name}") + (t("measure.derived") if name == EGFR and derived else "")
            in_words = t("data.age.0") if age == 0 else t.count("data.age", age)
            found.append(
                Measured(name, shown_name, f"{value:.3g}{plain_unit(one.unit)}", age, in_words, age <= one.days)
            )
    return tuple(found)


def _with(shown: Chart, added: Sequence[Added], t: Words) -> Chart:
    """The chart with what was added to it and is no column of the version."""
    for one in added:
        if one.value is not None:
            egfr = Measured(EGFR, t(f"measure.{EGFR}"), f"{one.value:g} mL/min/1.73 m²", 0, t("data.age.0"), True)
            shown = replace(shown, measured=(egfr, *(old for old in shown.measured if old.code != EGFR)))
        elif one.kind in ("condition", "allergy"):
            known = shown.conditions if one.kind == "condition" else shown.allergies
            if one.code in {term.code for term in known}:
                continue
            more = (Term(one.name, one.code), *known)
            shown = replace(shown, conditions=more) if one.kind == "condition" else replace(shown, allergies=more)
    return shown


def _empty(answer: Answer, t: Words) -> str:
    """Why the list is empty, in the reader's language."""
    key = next((key for key, text in EN.items() if key.startswith("empty.") and text == answer.message), "")
    return t(key) if key else answer.message or ""

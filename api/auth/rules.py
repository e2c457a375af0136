"""Nothing in; which roles may use which route out: the one table, without which a route is closed to everyone.

A clinician sees patients and all that the pharmacy sees; pharmacy sees drugs and no patient; report sees what is told
of the whole (the model, the counts, the documents); admin sees that too and no patient: keys are made on the server
itself, with `rxrec keys`. A test fails for a route that has no rule here, and for a rule whose route is gone.
"""

from __future__ import annotations

from dataclasses import dataclass

CLINICIAN, PHARMACY, REPORT, ADMIN = "clinician", "pharmacy", "report", "admin"


@dataclass(frozen=True)
class Rule:
    """`roles` that may; `anyone`: no sign-in needed, and `why`. `chart`: the request may bring a chart, which is
    audited as such. `done`: what is done to a patient's record, for the audit log. `by_itself`: a page asks again and
    again without anybody there, so that it keeps no sign-in alive."""

    roles: frozenset[str] = frozenset()
    anyone: bool = False
    why: str = ""
    chart: bool = False
    done: str = "read"
    by_itself: bool = False


def _open(why: str) -> Rule:
    return Rule(anyone=True, why=why)


PATIENTS = Rule(frozenset({CLINICIAN}))
CHARTS = Rule(frozenset({CLINICIAN}), chart=True)
ANSWERS = Rule(frozenset({CLINICIAN}), done="create")
DRUGS = Rule(frozenset({CLINICIAN, PHARMACY}))
WHOLE = Rule(frozenset({CLINICIAN, PHARMACY, REPORT, ADMIN}))

# role -> the page that it begins with
HOME = {CLINICIAN: "pages.start", PHARMACY: "pages.drugs.browse", REPORT: "pages.model.show", ADMIN: "pages.model.show"}
# endpoint -> rule
RULES: dict[str, Rule] = {
    # for programs, about patients
    "recommendations.of_patient": PATIENTS,
    "live.of_chart": CHARTS,
    "live.of_many": PATIENTS,
    "feedback.store": ANSWERS,
    "observations.take": ANSWERS,
    "events.of_all": PATIENTS,
    "fhir_knowledge.issues": PATIENTS,
    # pages, about patients
    "pages.start": PATIENTS,
    "pages.no_patient": PATIENTS,
    "pages.patient": PATIENTS,
    "pages.feedback.answer": ANSWERS,
    "pages.whatif.show": PATIENTS,
    "pages.whatif.names": PATIENTS,
    "pages.events.of_page": Rule(frozenset({CLINICIAN}), by_itself=True),
    # a record system, while a chart opens or drugs are ordered
    "cds_hooks.discovery": _open("the specification has clients read the list of services before they have a token"),
    "cds_hooks.treatment_suggestions": CHARTS,
    "cds_hooks.order_select_check": CHARTS,
    "cds_hooks.order_sign_check": CHARTS,
    "cds_hooks.feedback": ANSWERS,
    # drugs, and what was done with them by how many: no patient
    "feedback.reasons": WHOLE,
    "pharmacy.treatments": DRUGS,
    "pharmacy.treatment": DRUGS,
    "pharmacy.alternatives": DRUGS,
    "pharmacy.co_prescribed": DRUGS,
    "pharmacy.of_condition": DRUGS,
    "pharmacy.interactions": DRUGS,
    "pharmacy.formulary": DRUGS,
    "fhir_knowledge.metadata": _open("SMART has clients read what a server can do before they have a token"),
    "fhir_knowledge.read": DRUGS,
    "fhir_knowledge.search": DRUGS,
    "pages.drugs.browse": DRUGS,
    "pages.drugs.drug": DRUGS,
    "pages.interactions.checked": DRUGS,
    "pages.interactions.form": DRUGS,
    "pages.model.show": WHOLE,
    "about.model": WHOLE,
    "about.versions": WHOLE,
    "metrics.metrics": WHOLE,
    "openapi.openapi": WHOLE,
    "openapi.docs": WHOLE,
    # without sign-in
    "static": _open("style, script and icon of the sign-in page; nothing of an installation"),
    "ops.live": _open("a probe has no key, and it tells only that the process answers"),
    "ops.ready": _open("a probe has no key, and it tells only the name of the version"),
    "signin.form": _open("the way in"),
    "signin.enter": _open("the way in"),
    "signin.leave": _open("the way out must not need the way in"),
    "backend.token": _open("the way in for programs, which prove themselves with a signed assertion"),
    "backend.configuration": _open("SMART clients read here where the token endpoint is, before they have a token"),
}


def may(role: str, endpoint: str) -> bool:
    """Whether a role may use a route; a route without a rule is nobody's."""
    rule = RULES.get(endpoint)
    return rule is not None and (rule.anyone or role in rule.roles)

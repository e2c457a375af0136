"""Nothing in, the 31 source attributes of predictive decision support that a model card must speak of, out.

45 CFR 170.315(b)(11)(iv)(B), "HTI-1" (89 FR 1192, 9 Jan 2024), in our own short words and in the rule's order.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Asked:
    """One attribute: a name for programs, where the rule asks for it, the section of the card, and what it asks."""

    key: str
    cite: str
    section: str
    asks: str


_RULE = (
    ("Details and output", (
        ("developer", "Name and contact of the developer"),
        ("funding", "Who paid for the development"),
        ("output_value", "What value the output gives"),
        ("output_type", "Whether it is a prediction, classification, recommendation, evaluation or analysis"),
    )),
    ("Purpose", (
        ("intended_use", "Intended use"),
        ("intended_population", "Intended patients"),
        ("intended_users", "Intended users"),
        ("decision_role", "Its part in the decision: informs, augments or replaces"),
    )),
    ("Out-of-scope use", (
        ("out_of_scope", "Tasks, situations and patients it is not for"),
        ("known_risks", "Known risks, unsuitable settings and uses, and limits"),
    )),
    ("Development and inputs", (
        ("criteria", "Who and what was included in and excluded from the training data"),
        ("demographic_inputs", "Which demographic, social and health-status variables are inputs"),
        ("representativeness", "How the training data represent those groups"),
        ("relevance", "How the training data fit the place of use"),
    )),
    ("Fairness in development", (
        ("fairness_approach", "How it was sought that the output be fair"),
        ("bias_approach", "How bias was managed, reduced or eliminated"),
    )),
    ("External validation: process", (
        ("external_source", "Data other than those of development on which it was judged"),
        ("external_tester", "Who judged it"),
        ("external_representativeness", "How those data represent groups"),
        ("external_process", "How it was judged"),
    )),
    ("Measures of performance", (
        ("validity_same", "Validity in test data of the same source"),
        ("fairness_same", "Fairness in test data of the same source"),
        ("validity_external", "Validity in data of another source"),
        ("fairness_external", "Fairness in data of another source"),
        ("outcomes", "Evaluations of its use on outcomes of patients, with references"),
    )),
    ("Maintenance", (
        ("validity_monitoring", "How, and how often, validity is monitored"),
        ("validity_local", "Validity in local data"),
        ("fairness_monitoring", "How, and how often, fairness is monitored"),
        ("fairness_local", "Fairness in local data"),
    )),
    ("Updates", (
        ("update", "How, and how often, it is updated"),
        ("correction", "How often performance is corrected when risks are found"),
    )),
)  # fmt: skip
_STEPS = ("i", "ii", "iii", "iv", "v")

ASKED = tuple(
    Asked(key, f"(b)(11)(iv)(B)({number})({_STEPS[place]})", section, asks)
    for number, (section, attributes) in enumerate(_RULE, start=1)
    for place, (key, asks) in enumerate(attributes)
)

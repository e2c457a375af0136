"""Rules of safe prescribing: read, checked and resolved into one value, `Rules.load()`, that screening works with."""

from recommender.safety.allergy import AllergyMeaning
from recommender.safety.kinds import (
    SEVERITIES,
    AllergyRule,
    AnyRule,
    ConditionRule,
    DuplicateRule,
    InteractionRule,
    LabRule,
    PopulationRule,
    Rule,
)
from recommender.safety.pairs import PairTable
from recommender.safety.rules import FAMILIES, Rules

__all__ = [
    "FAMILIES",
    "SEVERITIES",
    "AllergyMeaning",
    "AllergyRule",
    "AnyRule",
    "ConditionRule",
    "DuplicateRule",
    "InteractionRule",
    "LabRule",
    "PairTable",
    "PopulationRule",
    "Rule",
    "Rules",
]

"""An OMOP row's concepts and its source value in, a code (`system:code`) and a name out.

Which concept counts: for drugs and measurements the standard one (all sites share it), for conditions and procedures
the source's own (nothing is lost on the way to a standard concept), each where its vocabulary is one of `SYSTEMS`, else
the other one. An export may come with a cut CONCEPT table; what a source value is can then be told in the few cases
below, and nothing is guessed beyond them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from recommender.loaders.mimic_codes import diagnosis_code, procedure_code

Coded = tuple[str | None, str | None]
"""Code and name, None where there is none."""


class Concept(NamedTuple):
    name: str | None
    vocabulary: str | None
    code: str | None


Concepts = Mapping[str, Concept]
"""By concept_id."""

SYSTEMS = {
    "SNOMED": "snomed",
    "RxNorm": "rxnorm",
    "LOINC": "loinc",
    "NDC": "ndc",
    "ICD10CM": "icd10cm",
    "ICD9CM": "icd9cm",
    "ICD10PCS": "icd10pcs",
    "ICD9Proc": "icd9pcs",
    "ICD10": "icd10",
    "CPT4": "cpt4",
    "HCPCS": "hcpcs",
    "CVX": "cvx",
    "ATC": "atc",
}
ICD9CM_IDS = range(44_819_000, 44_838_000)  # where OMOP keeps the concepts of ICD-9-CM
ICD9CM_SHAPE = re.compile(r"(\d{3}|V\d\d)\.?\d{0,2}|E\d{3}\.?\d?")
ICD10CM_SHAPE = re.compile(r"[A-TV-Z]\d[0-9A-Z](\.?[0-9A-Z]{1,4})?")
ICD10PCS_SHAPE = re.compile(r"[0-9A-HJ-NP-Z]{7}")  # the letters I and O are not used
NDC_SHAPE = re.compile(r"\d{11}|\d{5}-\d{4}-\d{2}")
WORDS = re.compile(r"[^\W\d_]{3}.* \S")  # a name, rather than a code such as ASA81

# OMOP's three concepts for an allergy whose cause stands in value_as_concept_id, and what kind of thing it is
ALLERGY_TO = {"439224": "medication", "4188027": "food", "40772948": None}
# OMOP's concepts for kinds of visit, by name: an export may come without them
VISITS = {
    "9201": "Inpatient Visit",
    "9202": "Outpatient Visit",
    "9203": "Emergency Room Visit",
    "262": "Emergency Room and Inpatient Visit",
    "581385": "Observation Room",
    "8870": "Emergency Room - Hospital",
    "8883": "Ambulatory Surgical Center",
    "38004207": "Ambulatory Clinic / Center",
}
ALLERGY_NAME = re.compile(
    r"(drug |food |environmental )?(allergy|allergic|intolerance|hypersensitivity|adverse reaction"
    r"|propensity to adverse reactions?) (status )?to .+"
    r"|(?!no |not |family|suspected|risk |absen)(.+ )?allergy( disposition| status)?",
    re.IGNORECASE,
)


def drug(standard: str | None, source: str | None, value: str | None, concepts: Concepts) -> Coded:
    known = _known((standard, source), concepts)
    if known is not None:
        return known
    named = _name((standard, source), concepts)
    if named is None and value and NDC_SHAPE.fullmatch(value):
        return f"ndc:{value.replace('-', '')}", value
    # a local concept's name is someone's reading of the words that the hospital prescribed in
    return _plain(standard, source), value if value and WORDS.search(value) else named or value


def measurement(standard: str | None, source: str | None, value: str | None, concepts: Concepts) -> Coded:
    return _known((standard, source), concepts) or _other(standard, source, value, concepts)


def condition(standard: str | None, source: str | None, value: str | None, concepts: Concepts) -> Coded:
    known = _known((source,), concepts)
    if known is None and source not in concepts:
        code = _icd(source, value or "")
        known = None if code is None else (code, value)
    return known or _known((standard,), concepts) or _other(standard, source, value, concepts)


def procedure(standard: str | None, source: str | None, value: str | None, concepts: Concepts) -> Coded:
    known = _known((source,), concepts)
    if known is None and source and source not in concepts and ICD10PCS_SHAPE.fullmatch(value or ""):
        known = procedure_code(value or "", "10"), value
    return known or _known((standard,), concepts) or _other(standard, source, value, concepts)


def visit(standard: str | None, source: str | None, value: str | None, concepts: Concepts) -> Coded:
    """A source concept of no known vocabulary is how the stay came about (urgent, elective), not where it was."""
    name = VISITS.get(standard or "") or _name((standard, source), concepts) or value
    return _known((source,), concepts) or (_plain(standard, source), name)


def unit(concept: str | None, value: str | None, concepts: Concepts) -> str | None:
    """UCUM where the concept is known, else as the source writes it."""
    known = concepts.get(concept or "")
    return known.code if known is not None and known.vocabulary == "UCUM" else value


def is_allergy(concept_id: str, concepts: Concepts) -> bool:
    return concept_id in ALLERGY_TO or ALLERGY_NAME.fullmatch(_name((concept_id,), concepts) or "") is not None


def _known(candidates: tuple[str | None, ...], concepts: Concepts) -> tuple[str, str | None] | None:
    """The first candidate whose vocabulary is one of `SYSTEMS`."""
    for concept_id in candidates:
        concept = concepts.get(concept_id or "")
        if concept is not None and concept.code and concept.vocabulary in SYSTEMS:
            system = SYSTEMS[concept.vocabulary]
            plain = concept.code.replace(".", "")
            if system in ("icd9cm", "icd10cm"):
                return diagnosis_code(plain, "9" if system == "icd9cm" else "10"), concept.name
            if system == "icd9pcs":
                return procedure_code(plain, "9"), concept.name
            return f"{system}:{concept.code}", concept.name
    return None


def _other(standard: str | None, source: str | None, value: str | None, concepts: Concepts) -> Coded:
    return _plain(standard, source), _name((source, standard), concepts) or value


def _name(candidates: tuple[str | None, ...], concepts: Concepts) -> str | None:
    known = (concepts.get(concept_id or "") for concept_id in candidates)
    return next((concept.name for concept in known if concept is not None and concept.name), None)


def _plain(standard: str | None, source: str | None) -> str | None:
    concept_id = standard or source
    return concept_id and f"omop:{concept_id}"


def _icd(source: str | None, value: str) -> str | None:
    """What a diagnosis is coded in whose source concept is in no CONCEPT table: its id and its shape must agree.

    Without an id, only ICD-10-CM with its dot is unmistakable: E88.09 and E880.9 differ by it alone.
    """
    if source is not None and source.lstrip("-").isdigit() and int(source) in ICD9CM_IDS:
        return diagnosis_code(value.replace(".", ""), "9") if ICD9CM_SHAPE.fullmatch(value) else None
    if ICD10CM_SHAPE.fullmatch(value) and (source is not None or value[3:4] == "."):
        return diagnosis_code(value.replace(".", ""), "10")
    return None

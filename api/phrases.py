"""A short English sentence of the engine in, the same in the reader's language out; what is not known stays English.

The engine says what could not be checked, and because of what a rule holds, in sentences of a few shapes. They are
taken apart here, so that the words of another language stand with its other words.
"""

from __future__ import annotations

import re

from api.words import Words

# shape -> the key of its words; what a shape names (a drug, a measurement) is kept as it is
SHAPES = {
    re.compile(pattern): key
    for pattern, key in (
        (r"no (?P<name>.+) on record", "phrase.no_value"),
        (r"(?P<name>.+) is (?P<n>\d+) days old", "phrase.old_value"),
        (r"measure it: a value of the last (?P<n>\d+) days counts", "phrase.measure"),
        (r"name it in the drug map \(--drug-map\)", "phrase.drug_map"),
        (
            r"the vocabulary does not know this drug: name it in the drug map \(--drug-map\)",
            "phrase.drug_unknown",
        ),
        (r"the safety rules cover drugs only", "phrase.drugs_only"),
        (r"record the allergy as a drug, a class or a code", "phrase.code_allergy"),
        (r"code the condition in ICD-10-CM, ICD-9-CM or SNOMED CT", "phrase.code_condition"),
        (r"this export holds no allergy of any patient: add allergies", "phrase.add_allergies"),
        (r"this export holds no condition of any patient: add conditions", "phrase.add_conditions"),
        (r"record the sex", "phrase.record_sex"),
        (r"record the date of birth", "phrase.record_birth"),
        (r"allergies", "phrase.allergies"),
        (r"conditions", "phrase.conditions"),
        (r"sex", "phrase.sex"),
        (r"age", "phrase.age"),
        (r"age (?P<n>\d+)", "phrase.age_years"),
        (r"female", "sex.F"),
        (r"male", "sex.M"),
        (r"(?P<name>.+) \(ended (?P<n>\d+) days? ago\)", "phrase.ended"),
        (r"(?P<name>.+), today", "phrase.value_today"),
        (r"(?P<name>.+), (?P<n>\d+) days? old", "phrase.value_days"),
    )
}


def said(text: str, t: Words) -> str:
    """A sentence, or several parts with commas between them ("Pregnancy, age 31")."""
    for shape, key in SHAPES.items():
        found = shape.fullmatch(text)
        if found:
            return t(key, **found.groupdict())
    parts = text.split(", ")
    return t("list.comma").join(said(part, t) for part in parts) if len(parts) > 1 else text

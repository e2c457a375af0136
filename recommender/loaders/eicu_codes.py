"""eICU's own words in - paths, cells of several ICD codes, names with units - codes and readable names out."""

from __future__ import annotations

import re

ICD9 = re.compile(r"\d{3}(\.\d{1,2})?|[Vv]\d{2}(\.\d{1,2})?|[Ee]\d{3}(\.\d)?")
ICD10 = re.compile(r"[A-UW-Za-uw-z]\d\w(\.\w{1,4})?")  # ICD-10's V, accidents in traffic, is taken for ICD-9's V
UNIT = re.compile(r"( IVF Infused)?\s*\([^()]*\)\s*$")
PAST_CONDITION = "/Organ Systems/"
ADMISSION_DIAGNOSIS = "|All Diagnosis|"
NO_ALLERGY = frozenset({"none", "nka", "nkda", "no known allergies", "no known drug allergies"})


def icd_codes(cell: str | None) -> list[str]:
    """'518.81, J96.00' -> ['icd10cm:J96.00'], '584.9' -> ['icd9cm:584.9'], '' -> [].

    The cell holds the same in both classifications, so ICD-9 is used only where there is no ICD-10.
    """
    parts = [part.strip().upper() for part in (cell or "").split(",")]
    nines = [f"icd9cm:{part}" for part in parts if ICD9.fullmatch(part)]
    tens = [f"icd10cm:{part}" for part in parts if ICD10.fullmatch(part) and not ICD9.fullmatch(part)]
    return list(dict.fromkeys(tens or nines))


def last_parts(path: str | None) -> str | None:
    """'a|b|c' -> 'c'; of a path of four or more parts the last two: 'x|insulin|sliding scale' -> 'insulin: sliding
    scale'."""
    parts = [" ".join(part.split()) for part in (path or "").split("|")]
    return ": ".join(parts[2:][-2:] or parts[-1:]) or None


def treatment_group(path: str | None) -> str | None:
    """The second part of a path: 'pulmonary|medications|bronchodilator' -> 'medications'."""
    return (path or "").split("|")[1:2][0].strip() if "|" in (path or "") else None


def history_code(path: str | None) -> str | None:
    """None for what is no condition but tells how the history was taken."""
    _, found, condition = (path or "").partition(PAST_CONDITION)
    return f"eicu:history/{condition}" if found and condition else None


def history_name(path: str | None) -> str | None:
    """'.../Cancer/Cancer-Primary Site/breast' -> 'Cancer-Primary Site: breast'; a part said again is left out."""
    parts = [" ".join(part.split()) for part in (path or "").split("/")]
    last, parent = parts[-1], parts[-2] if len(parts) > 1 else ""
    return last if not parent or parent.lower() in last.lower() else f"{parent}: {last}"


def admission_code(path: str | None) -> str | None:
    """None for an answer about the admission that is no diagnosis."""
    _, found, diagnosis = (path or "").partition(ADMISSION_DIAGNOSIS)
    return f"eicu:admission/{diagnosis}" if found and diagnosis else None


def hicl(number: str | None) -> str | None:
    """First Databank's number of an ingredient list; 0 stands for none."""
    return f"hicl:{number}" if number and number != "0" else None


def infusion_name(text: str | None) -> str | None:
    """'Norepinephrine (mcg/min)' -> 'Norepinephrine'"""
    return UNIT.sub("", text or "") or text

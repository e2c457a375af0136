"""How much of real prescribing is understood, and whether it is understood rightly."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from recommender.vocabulary import DrugVocabulary

VOCABULARY = DrugVocabulary.load()
HAND_CHECKED = Path(__file__).parents[1] / "fixtures" / "vocabulary" / "hand_checked_200.csv"

# Every distinct text of the sources that is set aside as no therapy, read one by one: none of them treats a patient.
# Flushes and locks keep a catheter open, MBP / ADV / EXCEL bags and bacteriostatic saline carry another drug.
NOT_THERAPY = {
    "mimic MAIN": {
        "Sodium Chloride 0.9%  Flush", "Heparin Flush (10 units/ml)", "Heparin Flush (100 units/ml)",
        "Heparin Flush (1000 units/mL)", "Heparin Dwell (1000 Units/mL)", "Heparin (CRRT Machine Priming)",
    },
    "mimic BASE": {
        "Bag", "Vial", "Syringe", "Soln", "Soln.", "SW", "Sterile Water", "Syringe (SW)", "Syringe (Chemo)",
        "Syringe (0.9% Sodium Chloride)", "0.9% Sodium Chloride (Mini Bag Plus)", "5% Dextrose (EXCEL BAG)",
        "0.9% NaCl (EXCEL/ViaFLO BAG)", "Yellow CADD Cassette", "Blue CADD Cassette", "Insulin Syringe U-500",
    },
    "eicu": {
        "NaCl 0.9% MBP", "NaCl 0.9% ADV", "SALINE FLUSH", "NORMAL SALINE FLUSH", "SODIUM CHLORIDE FLUSH",
        "Sodium Chloride 0.9% FLUSH", "sodium chloride 0.9% flush 10 mL", "sodium chloride 0.9 % flush 10 mL",
        "sodium chloride 0.9 % flush peripheral lok 3 mL", "saline lock 0.9 % flush 10 mL",
        "sodium cl 0.9% FLUSH 1ea/10ml", "SODIUM CHLORIDE FLUSH 0.9 % IV SOLN 10 ML PREFILL SYRINGE",
        "SODIUM CHLORIDE 0.9 % SYRINGE : 10 ML SYRINGE", "SODIUM CHLORIDE 0.9 % SYRINGE 10 ML SYRINGE",
        "SODIUM CHLORIDE 0.9 % INJ SYRINGE", "Sodium Chloride 0.9% Syringe SSO", "HEPARIN  FLUSH 10 UNIT/ML",
        "HEPARIN SODIUM LOCK FLUSH 10 UNIT/ML IV SOLN", "5 ML SYRINGE : HEPARIN SODIUM LOCK FLUSH 10 UNIT/ML IV SOLN",
        "SODIUM CHLORIDE BACTERIOSTATIC 0.9 % INJ SOLN",
    },
    "synthea": set(),
    "fhir": set(),
}  # fmt: skip


@pytest.fixture(scope="module")
def names(real_data: Path) -> dict[str, Counter[str]]:
    """Rows by drug name, of each source."""
    read = {"dtype": str, "keep_default_na": False}
    mimic = pd.read_csv(real_data / "mimic_iv_demo" / "hosp" / "prescriptions.csv.gz", **read)
    eicu = pd.read_csv(real_data / "eicu_demo" / "medication.csv.gz", **read)
    synthea = pd.read_csv(real_data / "synthea_ne_111" / "medications.csv", **read)
    with (real_data / "fhir_bulk_13" / "MedicationRequest.000.ndjson").open(encoding="utf-8") as lines:
        fhir = [json.loads(line)["medicationCodeableConcept"]["text"] for line in lines]
    return {
        "mimic MAIN": Counter(mimic.drug[mimic.drug_type == "MAIN"]),
        "mimic BASE": Counter(mimic.drug[mimic.drug_type == "BASE"]),
        "eicu": Counter(eicu.drugname[eicu.drugname != ""]),
        "synthea": Counter(synthea.DESCRIPTION),
        "fhir": Counter(fhir),
    }


@pytest.mark.real_data
@pytest.mark.xdist_group("drug names")
@pytest.mark.parametrize(
    ("source", "rows", "mapped", "not_therapy"),
    [
        # rows of the source; least share mapped; share no therapy: 790 of 14,391 and 859 of 44,943 rows
        ("mimic MAIN", 14391, 0.944, 0.0549),
        ("eicu", 44943, 0.978, 0.0191),
        ("synthea", 6124, 0.999, 0.0),
        ("fhir", 1745, 0.999, 0.0),
    ],
)
def test_coverage(names: dict[str, Counter[str]], source: str, rows: int, mapped: float, not_therapy: float) -> None:
    shares = Counter[str]()
    for text, count in names[source].items():
        shares[VOCABULARY.match(text).status] += count / rows
    assert sum(names[source].values()) == rows
    assert shares["mapped"] >= mapped
    assert shares["not_therapy"] == pytest.approx(not_therapy, abs=0.0001)
    assert shares["mapped"] + shares["not_therapy"] >= (0.99 if source in ("synthea", "fhir") else 0.95)


@pytest.mark.real_data
@pytest.mark.xdist_group("drug names")
@pytest.mark.parametrize("source", list(NOT_THERAPY))
def test_what_is_set_aside_was_read_one_by_one(names: dict[str, Counter[str]], source: str) -> None:
    found = {text for text in names[source] if VOCABULARY.match(text).status == "not_therapy"}
    assert found == NOT_THERAPY[source]


@pytest.mark.real_data
@pytest.mark.xdist_group("drug names")
def test_nothing_real_is_guessed_from_a_misspelling(names: dict[str, Counter[str]]) -> None:
    """None of the 2,105 names needs it: the tables know their spellings."""
    assert [text for counts in names.values() for text in counts if VOCABULARY.match(text).method == "fuzzy"] == []


def test_two_hundred_hand_checked_names() -> None:
    """200 of the 2,072 mapped distinct names of MIMIC MAIN, eICU, Synthea and FHIR, drawn by random.Random(20250101)
    from their sorted list. The drug beside each was filled in by the program, then read and confirmed line by line."""
    with HAND_CHECKED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = [row["text"] for row in rows if VOCABULARY.match(row["text"]).name != row["ingredient"]]
    assert len(rows) == 200
    assert len(wrong) <= 2, wrong

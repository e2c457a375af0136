"""The open data sets in, records out; every number checked against a plain count with pandas."""

import pandas as pd
import pytest

from recommender.given import COUNTED, counts_in
from recommender.loaders import load
from recommender.vocabulary import DrugVocabulary

pytestmark = pytest.mark.real_data


def table(folder, name: str) -> pd.DataFrame:
    return pd.read_csv(next(folder.glob(f"{name}.csv*")), dtype=str)


def test_mimic_iv_demo(real_data):
    folder = real_data / "mimic_iv_demo"
    records = load("mimic", folder, vocabulary=None)
    hosp = folder / "hosp"

    orders = table(hosp, "prescriptions")
    stays = table(hosp, "admissions").set_index("hadm_id")["dischtime"]
    therapy = orders[orders["drug_type"] != "BASE"]
    end = therapy["stoptime"].fillna(therapy["hadm_id"].map(stays))
    reversed_ = end < therapy["starttime"]  # ISO times compare as text
    distinct = therapy.assign(end=end)[~reversed_].drop_duplicates(["subject_id", "drug", "starttime", "end"])
    procedures = table(hosp, "procedures_icd")
    done = procedures.drop_duplicates(["subject_id", "chartdate", "icd_code", "icd_version"])
    assert records.n_patients == len(table(hosp, "patients")) == 100
    kinds = records.concepts["kind"].iloc[records.treatments["concept_ix"]].value_counts()
    assert (kinds["drug"], kinds["procedure"]) == (len(distinct), len(done))
    counts = {(f.file.split(".")[0], f.field): f.count for f in records.log.findings if f.outcome == "rejected"}
    assert counts["prescriptions", "drug_type"] == (orders["drug_type"] == "BASE").sum() == 3677
    assert counts["prescriptions", "stop"] == reversed_.sum() == 607
    assert counts["prescriptions", "row"] == len(therapy) - reversed_.sum() - len(distinct)
    assert counts["procedures_icd", "row"] == len(procedures) - len(done)

    diagnoses = table(hosp, "diagnoses_icd")
    assert len(records.conditions) == len(diagnoses) == 4506  # each known at discharge, none of them before
    starts = records.conditions["start"].dt.strftime("%Y-%m-%d %H:%M:%S")
    assert sorted(starts) == sorted(diagnoses["hadm_id"].map(stays))

    labs = table(hosp, "labevents")
    creatinine = labs[(labs["itemid"] == "50912") & labs["valuenum"].notna()]
    ix = records.concepts.index[records.concepts["code"] == "loinc:2160-0"][0]
    mine = records.observations[records.observations["concept_ix"] == ix]
    assert len(mine) == len(creatinine.drop_duplicates(["subject_id", "charttime", "valuenum"]))
    assert mine["value"].median() == pytest.approx(creatinine["valuenum"].astype(float).median())
    assert (records.patients["as_of"].dt.year > 2100).all()


def test_mimic_iv_demo_with_the_vocabulary(real_data):
    log = load("mimic", real_data / "mimic_iv_demo", vocabulary=DrugVocabulary.load()).log
    file = "prescriptions.csv.gz"
    not_therapy = sum(f.count for f in log.findings if f.reason.startswith("not therapy") and f.field == "name")
    assert sum(log.mapped.values()) + not_therapy == 14_410  # MAIN and ADDITIVE
    assert log.mapped.get("none", 0) == sum(log.unmapped.values()) < 0.05 * 14_410
    assert log.read[file] == 18_087


def test_routes_of_the_mimic_iv_demo(real_data):
    """Patients of some drugs by the orders' own words, counted with pandas."""
    folder = real_data / "mimic_iv_demo"
    records = load("mimic", folder, vocabulary=DrugVocabulary.load())
    counts = dict(zip(records.concepts["code"], counts_in(records), strict=True))
    orders, stays = table(folder / "hosp", "prescriptions"), table(folder / "hosp", "admissions").set_index("hadm_id")
    end = orders["stoptime"].fillna(orders["hadm_id"].map(stays["dischtime"]))
    orders = orders[(orders["drug_type"] != "BASE") & ~(end < orders["starttime"])]
    words = {"oral": ["PO", "PO/NG", "ORAL"], "intravenous": ["IV", "IV DRIP", "IV BOLUS"]}
    for code, name, route, expected in (
        ("rxnorm:11289", "warfarin", "oral", 23),
        ("rxnorm:11124", "vancomycin", "oral", 11),
        ("rxnorm:11124", "vancomycin", "intravenous", 49),
    ):
        mine = orders["drug"].str.contains(name, case=False) & orders["route"].isin(words[route])
        found = int(counts[code][COUNTED.index(route)])
        assert found == orders.loc[mine, "subject_id"].nunique() == expected, (name, route)
    assert int(counts["rxnorm:11289"].sum()) == 23  # every order of warfarin tells its route, and it is this one


def test_synthea_ne_111(real_data):
    folder = real_data / "synthea_ne_111"
    records = load("synthea", folder, vocabulary=DrugVocabulary.load())
    drugs = table(folder, "medications")
    reversed_ = drugs["STOP"] < drugs["START"]
    kinds = records.concepts["kind"].iloc[records.treatments["concept_ix"]].value_counts()
    assert records.n_patients == len(table(folder, "patients")) == 111
    assert kinds["drug"] == len(drugs) - reversed_.sum() == 6122
    assert kinds["procedure"] == len(table(folder, "procedures")) == 11_742
    assert kinds["care_plan"] == len(table(folder, "careplans")) == 387
    assert len(records.conditions) == len(table(folder, "conditions")) == 4428
    assert len(records.allergies) == len(table(folder, "allergies")) == 90
    assert [(f.file, f.field, f.count) for f in records.log.findings] == [("medications.csv", "stop", 2)]
    assert records.log.absent == ["observations"]
    assert sum(records.log.mapped.values()) == 6124
    assert "none" not in records.log.mapped

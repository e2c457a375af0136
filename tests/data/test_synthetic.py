"""The synthetic hospital: same seed same bytes, Synthea's layout, real codes, nothing a clinician would laugh at.

Numbers on the right-hand side are stated by hand from the tables' documented rates, not read back from a run.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from data.synthetic import tables, write_hospital, writer
from data.synthetic.dirt import RATES
from data.synthetic.prescribing import OVERSIGHT
from recommender.errors import InputError

pytestmark = pytest.mark.xdist_group("synthetic")  # one worker makes the shared hospital once

END = pd.Timestamp("2026-11-01")
PATIENTS = 3_500
T2DM, HYPERTENSION, PREGNANCY, ASTHMA = "44054006", "59621000", "72892002", "195967001"
LDL, A1C, EGFR = "18262-6", "4548-4", "33914-3"
COLUMNS = {
    "patients": "Id,BIRTHDATE,DEATHDATE,SSN,DRIVERS,PASSPORT,PREFIX,FIRST,LAST,SUFFIX,MAIDEN,MARITAL,RACE,ETHNICITY,"
    "GENDER,BIRTHPLACE,ADDRESS,CITY,STATE,COUNTY,FIPS,ZIP,LAT,LON,HEALTHCARE_EXPENSES,HEALTHCARE_COVERAGE,INCOME",
    "encounters": "Id,START,STOP,PATIENT,ORGANIZATION,PROVIDER,PAYER,ENCOUNTERCLASS,CODE,DESCRIPTION,"
    "BASE_ENCOUNTER_COST,TOTAL_CLAIM_COST,PAYER_COVERAGE,REASONCODE,REASONDESCRIPTION",
    "medications": "START,STOP,PATIENT,PAYER,ENCOUNTER,CODE,DESCRIPTION,BASE_COST,PAYER_COVERAGE,DISPENSES,TOTALCOST,"
    "REASONCODE,REASONDESCRIPTION",
    "conditions": "START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION",
    "allergies": "START,STOP,PATIENT,ENCOUNTER,CODE,SYSTEM,DESCRIPTION,TYPE,CATEGORY,REACTION1,DESCRIPTION1,SEVERITY1,"
    "REACTION2,DESCRIPTION2,SEVERITY2",
    "procedures": "START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION,BASE_COST,REASONCODE,REASONDESCRIPTION",
    "careplans": "Id,START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION,REASONCODE,REASONDESCRIPTION",
    "observations": "DATE,PATIENT,ENCOUNTER,CATEGORY,CODE,DESCRIPTION,VALUE,UNITS,TYPE",
}
TREATMENTS = ("medications", "procedures", "careplans")
Hospital = dict[str, pd.DataFrame]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """4,000 patients as text, with `age` at the end of life or data, and each drug's product and class."""
    folder = tmp_path_factory.mktemp("synthetic") / "hospital"
    write_hospital(folder, patients=PATIENTS, seed=7, processes=1)
    found = {name: pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False) for name in COLUMNS}
    people = found["patients"]
    left = pd.to_datetime(people.DEATHDATE.replace("", "2026-11-01"))
    people["age"] = (left - pd.to_datetime(people.BIRTHDATE)).dt.days / 365.25
    drugs = pd.DataFrame(tables.read("drugs"))[["rxcui", "product", "class"]]
    found["medications"] = found["medications"].merge(drugs, left_on="CODE", right_on="rxcui", how="left")
    found["observations"]["value"] = found["observations"].VALUE.astype(float)
    return found


def having(hospital: Hospital, code: str) -> set[str]:
    return set(hospital["conditions"].query("CODE == @code").PATIENT)


# --- same seed, same bytes ------------------------------------------------------------------------------------------


def test_bytes_depend_on_seed_and_size_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BLOCK", 150)  # three blocks, so that two processes have something to share
    done: list[int] = []
    rows = write_hospital(tmp_path / "one", patients=400, seed=3, processes=1, progress=done.append)
    write_hospital(tmp_path / "two", patients=400, seed=3, processes=2)
    write_hospital(tmp_path / "other", patients=400, seed=4, processes=1)
    assert done == [150, 150, 100]
    assert rows["patients"] == 400
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    one, other = digests(tmp_path / "one"), digests(tmp_path / "other")
    assert all(one[f"{name}.csv"] != other[f"{name}.csv"] for name in COLUMNS)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_parquet_holds_the_same_cells_in_one_row_group_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BLOCK", 100)
    rows = write_hospital(tmp_path / "csv", patients=200, seed=1, processes=1)
    assert write_hospital(tmp_path / "parquet", patients=200, seed=1, fmt="parquet", processes=1) == rows
    for name, header in COLUMNS.items():
        file = pyarrow.parquet.ParquetFile(tmp_path / "parquet" / f"{name}.parquet")
        assert file.num_row_groups == 2
        assert file.schema_arrow.names == header.split(",")
        text = pd.read_csv(tmp_path / "csv" / f"{name}.csv", dtype=str)
        cells = file.read().to_pandas()
        numbers = [c for c in cells if pd.api.types.is_numeric_dtype(cells[c])]
        np.testing.assert_allclose(cells[numbers].astype(float), text[numbers].astype(float))
        rest = [c for c in cells if c not in numbers]
        assert cells[rest].fillna("").astype(str).equals(text[rest].fillna("").astype(str))


@pytest.mark.parametrize("patients", [1, 2, 5])
def test_a_very_small_hospital_is_a_hospital(tmp_path: Path, patients: int) -> None:
    assert write_hospital(tmp_path / "h", patients=patients, processes=1)["patients"] == patients


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a sample"):
        write_hospital(out, patients=5)
    assert [path.name for path in out.iterdir()] == ["chapter.txt"]


def test_a_previous_sample_is_replaced_and_a_failed_run_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "h"
    write_hospital(out, patients=5, seed=1, processes=1)
    before = digests(out)

    def fail(k: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_hospital(out, patients=5, seed=2, processes=1, progress=fail)
    assert digests(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["h"]
    write_hospital(out, patients=5, seed=2, processes=1)
    assert digests(out) != before


def test_no_patients_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one"):
        write_hospital(tmp_path / "h", patients=0)


# --- layout and integrity -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COLUMNS)
def test_header_is_syntheas(hospital: Hospital, name: str) -> None:
    own = [c for c in hospital[name].columns if c not in {"age", "rxcui", "product", "class", "value"}]
    assert ",".join(own) == COLUMNS[name]


def test_every_row_belongs_to_a_patient_and_to_an_encounter_of_that_patient(hospital: Hospital) -> None:
    owner = hospital["encounters"].set_index("Id").PATIENT
    people = set(hospital["patients"].Id)
    assert owner.index.is_unique
    assert set(owner) == people
    for name in ("medications", "conditions", "allergies", "procedures", "careplans", "observations"):
        rows = hospital[name]
        assert (owner.reindex(rows.ENCOUNTER).to_numpy() == rows.PATIENT.to_numpy()).all(), name


def test_nothing_happens_outside_life_or_after_the_data_end(hospital: Hospital) -> None:
    people = hospital["patients"].set_index("Id")
    born = pd.to_datetime(people.BIRTHDATE)
    gone = pd.to_datetime(people.DEATHDATE.replace("", None)) + pd.Timedelta(days=1)
    for name, column in itertools.product(COLUMNS, ("START", "STOP", "DATE")):
        rows = hospital[name]
        if column not in rows or name == "patients":
            continue
        rows = rows[rows[column] != ""]
        if column == "STOP":
            rows = rows[rows.STOP >= rows.START]  # stop before start is dirt, tested below
        when = pd.to_datetime(rows[column], utc=True).dt.tz_localize(None).to_numpy()
        assert (when >= born.reindex(rows.PATIENT).to_numpy()).all(), (name, column)
        assert (when < END.to_numpy()).all(), (name, column)
        last = gone.reindex(rows.PATIENT).to_numpy()
        assert (np.isnat(last) | (when <= last)).all(), (name, column)


def test_tables_are_as_large_as_promised() -> None:
    rules = tables.load()
    assert len({c.code for c in rules.conditions.values()}) >= 60
    assert len({d["rxcui"] for d in rules.drugs}) == len(rules.drugs) >= 250
    assert len({row["code"] for row in rules.procedure_rows}) >= 40
    assert sum(d["source"] == "newer" for d in rules.drugs) <= 10


def test_an_unknown_word_in_a_rule_is_refused() -> None:
    known = tables.Terms(conditions={"gout"}, analytes={"ldl"}, drugs={"statin"}, allergies={"latex"})
    assert known("new gout !on:statin ldl>70 age<18") == ("gout", "!on:statin", "ldl>70", "age<18")
    for typo in ("gouty", "on:statins", "allergy:peanut", "ldll>70", "after:gout"):
        with pytest.raises(ValueError, match="unknown term"):
            known(typo)


@pytest.mark.real_data
def test_drug_codes_and_names_are_rxnorms(real_data: Path) -> None:
    listed: dict[str, set[str]] = {}
    with gzip.open(real_data / "vocabulary" / "RXNORM_bioportal_2015.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            listed.setdefault(row["Class ID"].rpartition("/")[2], set()).add(row["Preferred Label"])
    with (real_data / "synthea_ne_111" / "medications.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            listed.setdefault(row["CODE"], set()).add(row["DESCRIPTION"])
    wrong = [
        (drug["rxcui"], drug["name"])
        for drug in tables.read("drugs")
        if drug["source"] != "newer" and drug["name"] not in listed.get(drug["rxcui"], ())
    ]
    assert wrong == []


@pytest.mark.real_data
def test_snomed_codes_that_synthea_uses_mean_what_synthea_says(real_data: Path) -> None:
    listed: dict[str, set[str]] = {}
    for name in ("conditions", "procedures", "careplans"):
        with (real_data / "synthea_ne_111" / f"{name}.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                listed.setdefault(row["CODE"], set()).add(row["DESCRIPTION"].split(" (")[0].lower())
    own = [*tables.read("conditions"), *tables.read("procedures")]
    shared = [row for row in own if row["code"] in listed]
    assert len(shared) >= 60
    assert [r["description"] for r in shared if r["description"].split(" (")[0].lower() not in listed[r["code"]]] == []


# --- what a clinician would check -----------------------------------------------------------------------------------


def test_people_are_seen_by_the_department_of_their_disease(hospital: Hospital) -> None:
    department = {c.code: c.department for c in tables.load().conditions.values()}
    visits = hospital["encounters"]
    planned = visits[visits.ENCOUNTERCLASS.isin(["ambulatory", "outpatient", "inpatient"])]
    seen = planned.CODE.isin({code for code, _ in filter(None, department.values())})
    assert 0.1 < seen.mean() < 0.5
    for code, reason, is_seen in zip(planned.CODE, planned.REASONCODE, seen, strict=True):
        wanted = department.get(reason)
        assert is_seen == (wanted is not None)
        assert wanted is None or code == wanted[0]


def test_diabetes_grows_with_age(hospital: Hospital) -> None:
    people = hospital["patients"]
    ill = people.Id.isin(having(hospital, T2DM))
    share = ill.groupby(pd.cut(people.age, [0, 18, 40, 60, 110])).mean().to_numpy()
    assert share[0] < 0.01
    assert (np.diff(share) > 0).all()
    assert 0.12 < share[3] < 0.32  # about one in four or five of the old


def test_a1c_of_diabetics_is_higher_by_more_than_a_point(hospital: Hospital) -> None:
    values = hospital["observations"].query("CODE == @A1C")
    ill = values.PATIENT.isin(having(hospital, T2DM))
    assert values[ill].value.median() - values[~ill].value.median() > 1.0


def test_metformin_is_not_started_in_kidney_failure(hospital: Hospital) -> None:
    low = hospital["observations"].query("CODE == @EGFR and 3 <= value < 27")  # 27: reading error is 5%
    when = low.groupby("PATIENT").DATE.min()
    drug = hospital["medications"].query("`class` == 'biguanide' and START != ''")
    first = drug.groupby(["PATIENT", "product"]).START.min().reset_index()
    after = first[first.PATIENT.isin(when.index)]
    started = (after.START.to_numpy() > when.reindex(after.PATIENT).to_numpy()).sum()
    assert len(when) > 20
    assert started <= 3 * OVERSIGHT * len(when) + 1


def test_penicillin_allergy_is_respected(hospital: Hospital) -> None:
    allergic = set(hospital["allergies"].query("CODE in ('7984', '723')").PATIENT)
    antibiotic = hospital["medications"][
        hospital["medications"]["class"].isin(
            ["penicillin", "macrolide", "cephalosporin", "tetracycline", "lincosamide"]
        )
    ]
    penicillin = antibiotic["class"] == "penicillin"
    theirs = antibiotic.PATIENT.isin(allergic)
    assert theirs.sum() > 100
    assert penicillin[theirs].mean() < 3 * OVERSIGHT
    assert penicillin[~theirs].mean() > 0.3


def test_asthmatics_get_no_non_selective_beta_blocker(hospital: Hospital) -> None:
    drugs = hospital["medications"]
    ill = having(hospital, ASTHMA)
    hit = drugs[(drugs["class"] == "beta_blocker_nonselective") & drugs.PATIENT.isin(ill)].PATIENT.nunique()
    assert hit <= 3 * OVERSIGHT * len(ill)  # those begun before the asthma included


def test_pregnancy_and_prostate_know_the_sex(hospital: Hospital) -> None:
    sex = hospital["patients"].set_index("Id").GENDER
    assert set(sex.reindex(list(having(hospital, PREGNANCY)))) == {"F"}
    assert set(sex.reindex(list(having(hospital, "266569009")))) == {"M"}
    pill = hospital["medications"][hospital["medications"]["class"] == "oral_contraceptive"]
    assert set(sex.reindex(pill.PATIENT)) == {"F"}


def test_statins_lower_ldl_in_the_same_patient(hospital: Hospital) -> None:
    statins = hospital["medications"].query("`class` == 'statin' and START != ''")
    still_on = set(statins[statins.STOP == ""].PATIENT)
    begun = statins[statins.PATIENT.isin(still_on)].groupby("PATIENT").START.min()
    ldl = hospital["observations"].query("CODE == @LDL and 20 < value < 330")
    ldl = ldl[ldl.PATIENT.isin(still_on)]
    before = ldl.DATE.to_numpy() < begun.reindex(ldl.PATIENT).to_numpy()
    change = ldl[~before].groupby("PATIENT").value.mean() - ldl[before].groupby("PATIENT").value.mean()
    assert change.notna().sum() > 15
    assert change.median() < -20


def test_a_drug_is_not_given_before_it_exists(hospital: Hospital) -> None:
    drugs = hospital["medications"]
    first = drugs[drugs.START != ""].groupby("product").START.min()
    assert first["semaglutide"] >= "2017-12"
    assert first.get("sacubitril_valsartan", "2016") >= "2015-07"
    assert hospital["conditions"].query("CODE == '840539006'").START.min() >= "2020-02"  # COVID-19


# --- volume and dirt ------------------------------------------------------------------------------------------------


def test_volume(hospital: Hospital) -> None:
    owners = pd.concat([hospital[name].PATIENT for name in TREATMENTS])
    each = owners.value_counts().reindex(hospital["patients"].Id, fill_value=0)
    assert 12 <= each.mean() <= 18
    assert 0.015 <= (each == 0).mean() <= 0.06  # the cold start
    assert each.quantile(0.99) > 4 * each.mean()  # a heavy tail
    assert 8 <= len(hospital["observations"]) / PATIENTS <= 16
    popular = hospital["medications"].drop_duplicates(["PATIENT", "CODE"]).CODE.value_counts()
    assert popular.iloc[0] > 10 * popular.iloc[200]  # a few drugs for many, many drugs for a few


def test_groups_differ_a_little(hospital: Hospital) -> None:
    people = hospital["patients"]
    assert 0.66 < (people.RACE == "white").mean() < 0.78
    assert 0.14 < (people.ETHNICITY == "hispanic").mean() < 0.22
    payer = hospital["encounters"].groupby("PATIENT").PAYER.first().reindex(people.Id).to_numpy()
    uninsured = payer == "b1c428d6-4f07-31e0-90f0-68ffa6ff8c76"
    assert 0.02 < uninsured.mean() < 0.12
    treated = people.Id.isin(hospital["medications"].query("`class` == 'statin'").PATIENT).to_numpy()
    need = people.Id.isin(having(hospital, "55822004")).to_numpy()
    assert treated[need & uninsured].mean() < treated[need & ~uninsured].mean()


def test_dirt_is_there_and_rare(hospital: Hospital) -> None:
    drugs, lab = hospital["medications"], hospital["observations"]
    dated = drugs[(drugs.START != "") & (drugs.STOP != "")]
    names = {row["name"].replace(",", " ") for row in tables.read("drugs")}
    coded = drugs[drugs.CODE != ""]
    bounds = {row["code"]: (float(row["low"]), float(row["high"])) for row in tables.read("observations")}
    low, high = (lab.CODE.map(lambda code, side=side: bounds[code][side]) for side in (0, 1))
    rates = {
        "free_text": (drugs.CODE == "").mean(),
        "missing_date": (drugs.START == "").mean(),
        "stop_before_start": (dated.STOP < dated.START).mean(),
        "odd_case": (~coded.DESCRIPTION.isin(names)).mean(),
        "duplicate": drugs.duplicated().mean(),
        "implausible": ((lab.value < low) | (lab.value > high)).mean(),
    }
    assert rates.keys() == RATES.keys()
    for name, rate in rates.items():
        # A slipped decimal point may land inside the plausible range, and half of the odd cases stay odd for sure.
        assert RATES[name] / 2.5 < rate < RATES[name] * 1.8, name
        assert 0.0005 < rate < 0.008, name

"""eICU exports: a folder of a few rows with every quirk, worked out by hand, and the demo counted anew with pandas."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loaders_sources import events, findings, names, same

from recommender.errors import InputError
from recommender.ingest_log import IngestLog
from recommender.loaders import eicu_codes, load
from recommender.loaders.eicu_clock import read_stays
from recommender.loaders.tabular import Export
from recommender.vocabulary import DrugVocabulary

FIXTURE = Path(__file__).parents[1] / "fixtures" / "eicu"


@pytest.fixture(scope="module")
def vocabulary() -> DrugVocabulary:
    return DrugVocabulary.load()


# --- drugs -----------------------------------------------------------------------------------------------------------


def test_drugs(vocabulary):
    """Unit stays 11 to 13 began at 2015-01-01 23:44, 2015-01-03 13:14, 2015-02-02 11:00, and 21 at 2014-01-01 06:30."""
    records = load("eicu", FIXTURE, vocabulary=vocabulary)
    unknown, disputed = (vocabulary.match(code).code for code in ("hicl:9999", "hicl:18084"))
    assert [event for event in events(records, "treatments") if event[1] == "drug"] == [
        # ordered 5 minutes after admission, begun 60 after it: known from the order on; ends with the hospital stay
        ("002-1", "drug", "rxnorm:11289", "2015-01-01T23:49:00", "2015-01-03T19:20:00"),
        ("002-1", "drug", "rxnorm:11289", "2015-01-02T01:58:00", "2015-01-03T09:04:00"),  # minutes 134 to 2000
        ("002-1", "drug", "rxnorm:1191", "2015-01-03T13:24:00", "2015-01-03T19:20:00"),
        ("002-1", "drug", "rxnorm:29046", "2015-01-02T00:15:00", ""),  # a home drug, noted at minute 31
        ("002-1", "drug", "rxnorm:3443", "2015-01-01T20:36:00", "2015-01-02T02:35:00"),  # begun before the admission
        ("002-1", "drug", "rxnorm:6470", "2015-02-02T11:00:00", "2015-02-02T12:00:00"),
        ("002-1", "drug", "rxnorm:86009", "2015-02-02T11:00:00", "2015-02-02T12:00:00"),
        ("002-1", "drug", disputed, "2015-02-02T11:00:00", "2015-02-02T12:00:00"),
        ("002-1", "drug", unknown, "2015-01-03T13:24:00", "2015-01-03T14:14:00"),
        ("002-2", "drug", "rxnorm:29046", "2014-01-01T06:00:00", "2014-01-01T16:30:00"),  # named by the home drugs
        ("002-2", "drug", "rxnorm:7512", "2014-01-01T06:30:00", "2014-01-01T08:30:00"),  # until the rate of 0
        ("002-2", "drug", "rxnorm:7512", "2014-01-01T09:30:00", "2014-01-01T09:30:00"),
        ("002-2", "drug", "rxnorm:7512", "2014-01-02T15:50:00", "2014-01-02T15:50:00"),  # after more than a day
        ("002-2", "drug", "rxnorm:8782", "2014-01-01T07:30:00", "2014-01-01T07:30:00"),
        ("002-4", "drug", "rxnorm:6470", "2015-01-01", "2015-01-01T01:00:00"),
    ]
    assert names(records)[unknown] == "hicl:9999"
    assert records.log.unmapped == {"hicl:9999": 1, "hicl:18084": 1}
    assert findings(records.log, "medication.csv") == {
        (
            "drugname",
            "missing: taken from the other rows with its drughiclseqno, of which 90% or more agree",
            "set aside",
        ): (4, 16),
        ("drugordercancelled", "the order was cancelled", "rejected"): (5,),
        ("drugstopoffset", "stop is before start", "rejected"): (6,),
        ("drugstopoffset", "after the hospital discharge: the order ends with it", "set aside"): (7,),
        ("code", "neither a code nor a name", "rejected"): (8,),
        (
            "drugname",
            "missing, and the other rows with its drughiclseqno name no drug or do not agree: known by that number",
            "set aside",
        ): (9, 12),
        ("patientunitstayid", "the stay is not among the usable ones of the patient file", "rejected"): (13,),
        ("name", "not therapy: saline flush or lock", "rejected"): (14,),
        ("start", "over ten years from the unit admission", "set aside"): (15,),
        ("stop", "over ten years from the unit admission", "set aside"): (15,),
        ("start", "date missing", "rejected"): (15,),
        ("row", "repeats an earlier row (same patient, code, times and value)", "rejected"): (18,),
    }
    assert findings(records.log, "infusionDrug.csv") == {
        ("drugrate", "rate 0: nothing was given", "rejected"): (4, 9),
        ("drugrate", "not a number", "set aside"): (7,),
        ("drugname", "missing", "rejected"): (8,),
    }
    assert (records.log.read["infusionDrug.csv"], records.log.kept["infusionDrug.csv"]) == (8, 5)  # in 4 courses


def test_without_a_vocabulary_codes_stay_and_are_named_like_most_of_their_rows():
    records = load("eicu", FIXTURE, vocabulary=None)
    drugs = {event[2] for event in events(records, "treatments") if event[1] == "drug"}
    assert drugs == {
        "hicl:2812", "hicl:182", "hicl:1820", "hicl:9999", "hicl:18084", "hicl:8255", "hicl:132", "hicl:1620",
        "eicu:norepinephrine", "eicu:propofol",
    }  # fmt: skip
    assert names(records)["hicl:2812"] == "WARFARIN SODIUM 5 MG PO TABS"
    assert names(records)["eicu:norepinephrine"] == "Norepinephrine"
    assert records.log.mapped == {}


@pytest.mark.parametrize(("named", "learned"), [(9, True), (8, False)])
def test_a_code_is_learned_when_nine_in_ten_rows_agree(tmp_path, vocabulary, named, learned):
    """In whatever words: dose and form do not matter, and what is no therapy or unknown does not count."""
    shutil.copy(FIXTURE / "patient.csv", tmp_path)
    spelled = ["ASPIRIN EC 81 MG PO TBEC", "aspirin", "Aspirin 325 mg tablet"] * 3
    told = [*spelled[:named], "LORazepam", "SALINE FLUSH", "SALINE FLUSH", "frobnicol", ""]
    rows = [f"11,{minute},{minute},0,{name},7" for minute, name in enumerate(told)]
    header = "patientunitstayid,drugorderoffset,drugstartoffset,drugstopoffset,drugname,drughiclseqno"
    (tmp_path / "medication.csv").write_text("\n".join([header, *rows]))
    records = load("eicu", tmp_path, vocabulary=vocabulary)
    last = f"2015-01-01T23:{44 + len(told) - 1}:00"
    found = {event[2] for event in events(records, "treatments") if event[3] == last}
    assert found == {"rxnorm:1191" if learned else vocabulary.match("hicl:7").code}
    assert len(records.log.absent) == 7


# --- procedures, conditions, allergies -------------------------------------------------------------------------------


def test_procedures():
    records = load("eicu", FIXTURE, vocabulary=None)
    ventilation = "eicu:treatment/pulmonary|ventilation and oxygenation|mechanical ventilation"
    insulin = "eicu:treatment/endocrine|glucose metabolism|insulin|sliding scale administration"
    assert [event for event in events(records, "treatments") if event[1] == "procedure"] == [
        ("002-1", "procedure", ventilation, "2015-01-01T23:34:00", "2015-01-01T23:34:00"),
        ("002-2", "procedure", insulin, "2014-01-01T06:40:00", "2014-01-01T06:40:00"),
    ]
    assert names(records)[ventilation] == "mechanical ventilation"
    assert names(records)[insulin] == "insulin: sliding scale administration"
    groups = records.concepts.set_index("code")["group"]
    assert groups[ventilation] == "ventilation and oxygenation"


def test_conditions_are_known_when_they_were_entered():
    records = load("eicu", FIXTURE, vocabulary=None)
    sepsis = "eicu:admission/Non-operative|Diagnosis|Cardiovascular|Sepsis, pulmonary"
    pressure = "eicu:history/Cardiovascular (R)/Hypertension Requiring Treatment/hypertension requiring treatment"
    cancer = "eicu:history/Hematology/Oncology (R)/Cancer/Cancer-Primary Site/breast"
    diabetes = "eicu:diagnosis/endocrine|glucose metabolism|diabetes mellitus"
    assert [(event[0], event[2], event[3]) for event in events(records, "conditions")] == [
        ("002-1", sepsis, "2015-01-02T00:20:00"),
        ("002-1", pressure, "2015-01-01T23:47:00"),
        ("002-1", "icd10cm:J96.00", "2015-01-01T23:49:00"),
        ("002-1", "icd10cm:N17", "2015-01-01T23:50:00"),  # two conditions in one cell
        ("002-1", "icd10cm:R65.20", "2015-01-01T23:50:00"),
        ("002-2", diabetes, "2014-01-01T06:38:00"),
        ("002-2", cancer, "2014-01-01T06:33:00"),
        ("002-2", "eicu:history/Pulmonary/COPD/COPD  - severe", "2014-01-01T06:34:00"),
        ("002-2", "icd9cm:584.9", "2014-01-01T06:37:00"),
        ("002-2", "icd9cm:E980.2", "2014-01-01T06:39:00"),
    ]
    told = names(records)
    assert [told[code] for code in (sepsis, pressure, cancer, diabetes)] == [
        "Sepsis, pulmonary",
        "hypertension requiring treatment",
        "Cancer-Primary Site: breast",
        "diabetes mellitus",
    ]
    assert told["eicu:history/Pulmonary/COPD/COPD  - severe"] == "COPD - severe"
    assert findings(records.log, "pastHistory.csv") == {
        ("pasthistorypath", "no condition: it tells how the history was taken", "rejected"): (2,)
    }
    assert findings(records.log, "admissionDx.csv") == {
        ("admitdxpath", "no diagnosis: an answer about the admission", "rejected"): (3,)
    }
    assert findings(records.log, "diagnosis.csv") == {("diagnosisoffset", "not a number", "rejected"): (7,)}
    assert records.log.read["diagnosis.csv (code 2)"] == 1


@pytest.mark.parametrize(
    ("cell", "codes"),
    [
        ("518.81, J96.00", ["icd10cm:J96.00"]),
        ("038.9, 584.9, R65.20, N17", ["icd10cm:R65.20", "icd10cm:N17"]),
        ("276.1, E87.0, E87.1", ["icd10cm:E87.0", "icd10cm:E87.1"]),  # ICD-10's E has two figures before the dot,
        ("E980.2", ["icd9cm:E980.2"]),  # ICD-9's has three
        ("V08", ["icd9cm:V08"]),
        ("486, 486, J18.9", ["icd10cm:J18.9"]),
        (" 584.9 ", ["icd9cm:584.9"]),
        ("31.1", []),  # a procedure's
        ("", []),
        (None, []),
    ],
)
def test_icd_codes_of_a_cell(cell, codes):
    assert eicu_codes.icd_codes(cell) == codes


def test_allergies(vocabulary):
    assert events(load("eicu", FIXTURE, vocabulary=vocabulary), "allergies") == [
        ("002-1", "allergy", "drug:penicillin", "2015-01-01T23:52:00", ""),
        ("002-1", "allergy", "rxnorm:2670", "2015-01-01T23:52:00", ""),
        ("002-2", "allergy", "hicl:21670", "1923-07-03", ""),  # its time cannot be read: since birth
        ("002-2", "allergy", "text:see cerner", "2014-01-01T06:38:00", ""),
    ]
    records = load("eicu", FIXTURE, vocabulary=None)
    assert [event[2] for event in events(records, "allergies")] == [
        "hicl:1721", "text:penicillin", "hicl:21670", "text:see cerner",
    ]  # fmt: skip
    assert names(records)["hicl:1721"] == "CODEINE PHOSPHATE"
    assert list(records.concepts.loc[records.concepts["kind"] == "allergy", "group"]) == ["medication"] * 2 + [""] * 2
    assert findings(records.log, "allergy.csv") == {
        ("allergyname", "says that there is no allergy", "rejected"): (5,),
        ("allergyenteredoffset", "not a number", "set aside"): (6,),
        ("start", "date missing", "set aside"): (6,),
    }


# --- people and their clocks -----------------------------------------------------------------------------------------


def test_people():
    records = load("eicu", FIXTURE, vocabulary=None)
    people = records.patients.set_index("patient_id")
    assert list(people.index) == ["002-1", "002-2", "002-3", "002-4"]
    assert list(people["sex"]) == ["F", "M", "unknown", "M"]
    assert list(people["race"]) == ["white", "unknown", "unknown", "asian"]
    assert list(people["ethnicity"]) == ["nonhispanic", "hispanic", "unknown", "nonhispanic"]
    assert list(people["site"]) == ["60", "59", "", "61"]  # the hospital of the last stay
    # half a year before the birthday that the age tells: 87 years in January 2015, over 89 (90) in January 2014
    assert list(people["birth_date"].dt.strftime("%Y-%m-%d").fillna("")) == ["1927-07-04", "1923-07-03", "", ""]
    assert list(people["as_of"].dt.strftime("%Y-%m-%d %H:%M")) == [
        "2015-02-03 10:00",  # the last discharge
        "2014-01-03 06:30",
        "2014-01-02 00:00",
        "2015-01-01 00:00",  # the last event: no discharge is known, nor a year
    ]
    assert findings(records.log, "patient.csv") == {
        ("patientunitstayid", "the same stay as an earlier row", "rejected"): (7,),
        ("age", "neither years nor > 89", "set aside"): (8,),
        ("hospitaldischargeyear", "not a likely year", "set aside"): (8,),
        ("admitted", "over ten years from the unit admission", "set aside"): (8,),
        ("uniquepid", "missing", "rejected"): (9,),
    }


STAY = st.fixed_dictionaries(
    {
        "uniquepid": st.sampled_from(["a", "b"]),
        "patienthealthsystemstayid": st.integers(1, 4).map(str),
        "hospitaldischargeyear": st.sampled_from(["2014", "2015", ""]),
        "hospitaladmitoffset": st.integers(-5000, 3000).map(str),
        "hospitaldischargeoffset": st.integers(0, 100_000).map(str),
    }
)


@given(st.lists(STAY, min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_clock(stays, random):
    """Exact within a hospital stay, in order and apart between those of one person, whatever the order of the rows."""
    given_ = pd.DataFrame(stays).assign(age="50", gender="Male", ethnicity="", hospitaladmittime24="12:30:00")
    given_["patienthealthsystemstayid"] += given_["uniquepid"]  # a stay is one person's, in one year
    given_["hospitaldischargeyear"] = given_.groupby("patienthealthsystemstayid")["hospitaldischargeyear"].transform(
        "first"
    )
    given_["patientunitstayid"] = [str(number) for number in range(len(given_))]

    def placed(rows: pd.DataFrame) -> pd.DataFrame:
        with tempfile.TemporaryDirectory() as folder:
            rows.to_csv(Path(folder) / "patient.csv", index=False)
            return read_stays(Export(Path(folder), IngestLog())).frame.sort_index()

    clock = placed(given_)
    again = placed(given_.iloc[random.sample(range(len(given_)), len(given_))])
    pd.testing.assert_frame_equal(clock[["start", "stop"]], again[["start", "stop"]])
    offsets = given_.set_index("patientunitstayid").sort_index()
    minutes = pd.to_timedelta(offsets["hospitaladmitoffset"].astype(int), unit="min")
    begun = clock["start"] + minutes
    assert set(begun.dt.strftime("%H:%M")) == {"12:30"}
    hospital = offsets["patienthealthsystemstayid"]
    assert (begun.groupby(hospital).nunique() == 1).all()
    lasted = pd.DataFrame({"person": offsets["uniquepid"], "begun": begun, "over": clock["stop"], "hospital": hospital})
    whole = (
        lasted.groupby(["person", "hospital"]).agg(begun=("begun", "first"), over=("over", "max")).sort_values("begun")
    )
    for _, person in whole.groupby("person"):
        assert (person["begun"].iloc[1:].to_numpy() > person["over"].iloc[:-1].to_numpy()).all()
    told = offsets["hospitaldischargeyear"] != ""
    assert (begun.dt.year[told] >= offsets["hospitaldischargeyear"][told].astype(int)).all()


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_case_of_file_and_column_names_does_not_matter(tmp_path):
    for file in FIXTURE.iterdir():
        header, rows = file.read_text().split("\n", 1)
        (tmp_path / file.name.upper()).write_text(header.upper() + "\n" + rows)
    same(load("eicu", tmp_path, vocabulary=None), load("eicu", FIXTURE, vocabulary=None))


@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_arbitrary_cells(data, vocabulary):
    """A file of the fixture gets some of its cells exchanged for others of the same file, or for odd ones."""
    odd = st.sampled_from(["", "-1", "1e300", "nan", "99999999999999999999", "x|y", "/", "|", "> 89", "24:60:00", ","])
    with tempfile.TemporaryDirectory() as folder:
        for file in FIXTURE.iterdir():
            shutil.copy(file, folder)
        file = Path(folder) / data.draw(st.sampled_from(sorted(file.name for file in FIXTURE.iterdir())))
        rows = pd.read_csv(file, dtype=str)
        place = st.tuples(st.integers(0, len(rows) - 1), st.integers(0, rows.shape[1] - 1))
        for one, cell in data.draw(st.lists(st.tuples(place, place | odd), max_size=8)):
            rows.iloc[one] = rows.iloc[cell] if isinstance(cell, tuple) else cell
        rows.to_csv(file, index=False)
        with contextlib.suppress(InputError):
            load("eicu", Path(folder), vocabulary=vocabulary).log.check()


# --- the demo, counted anew ------------------------------------------------------------------------------------------


class Demo:
    """The demo's tables as pandas reads them; offsets as minutes from the admission to the hospital."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stays = self.read("patient").set_index("patientunitstayid")
        self.admitted = self.stays["hospitaladmitoffset"].astype(int)

    def read(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / f"{name}.csv.gz", dtype=str, keep_default_na=False)

    def minutes(self, table: pd.DataFrame, column: str) -> pd.Series:
        return table[column].astype(float) - table["patientunitstayid"].map(self.admitted)

    def key(self, table: pd.DataFrame) -> pd.Series:
        return table["patientunitstayid"].map(self.stays["patienthealthsystemstayid"])

    def distinct(self, table: pd.DataFrame, offset: str, *columns: str | pd.Series) -> int:
        """Events: rows that differ in hospital stay, minute or `columns`."""
        frame = pd.DataFrame({"stay": self.key(table), "minute": self.minutes(table, offset)})
        for number, column in enumerate(columns):
            frame[number] = table[column] if isinstance(column, str) else column
        return len(frame.drop_duplicates())


@pytest.fixture(scope="module")
def demo(real_data: Path) -> Demo:
    return Demo(real_data / "eicu_demo")


@pytest.mark.real_data
@pytest.mark.xdist_group("eicu demo")
def test_the_demo(demo):
    records = load("eicu", demo.folder, vocabulary=None)
    log = records.log
    kinds = records.concepts["kind"].iloc[records.treatments["concept_ix"]].to_numpy()
    assert records.n_patients == demo.stays["uniquepid"].nunique() == 1841
    assert (records.patients["site"] != "").all()
    assert records.patients["site"].nunique() == demo.stays["hospitalid"].nunique() == 186

    orders = demo.read("medication")
    start, stop = orders["drugstartoffset"].astype(int), orders["drugstopoffset"].astype(int)
    stands = orders["drugordercancelled"] == "No"
    reversed_ = (stop < start) & (stop != 0)
    code = orders["drughiclseqno"].where(~orders["drughiclseqno"].isin(["", "0"]), orders["drugname"])
    usable = orders[stands & ~reversed_ & (code != "")]
    discharge = orders["patientunitstayid"].map(demo.stays["hospitaldischargeoffset"].astype(int))
    known = pd.concat([start, orders["drugorderoffset"].astype(int)], axis=1).min(axis=1)
    end = stop.where((stop != 0) & (stop < discharge), discharge)
    orders["known"], orders["end"] = known, end.where(end >= known, known)
    end = demo.minutes(orders, "end")
    drugs = demo.distinct(orders.loc[usable.index].assign(known=known), "known", code, end)
    infusions = demo.read("infusionDrug")
    off = (pd.to_numeric(infusions["drugrate"], errors="coerce") == 0).sum()
    home = demo.read("admissionDrug")
    medication = "medication.csv.gz"
    assert (~stands).sum() == 2636
    assert log.read[medication] == len(orders) == 75_604
    assert log.kept[medication] == drugs == 64_215
    assert log.kept["admissionDrug.csv.gz"] == demo.distinct(home, "drugenteredoffset", "drughiclseqno")
    assert log.kept["infusionDrug.csv.gz"] == len(infusions) - off == 35_246

    care = demo.read("treatment")
    assert (kinds == "procedure").sum() == demo.distinct(care, "treatmentoffset", "treatmentstring") == 37_692

    diagnoses, past, admission = demo.read("diagnosis"), demo.read("pastHistory"), demo.read("admissionDx")
    codes = diagnoses["icd9code"].map(eicu_codes.icd_codes)
    codes = codes.where(codes.str.len() > 0, diagnoses["diagnosisstring"].map(lambda path: [path]))
    each = diagnoses.assign(code=codes).explode("code")
    each = each.reset_index(drop=True)
    past = past[past["pasthistorypath"].str.contains("/Organ Systems/")]
    admission = admission[admission["admitdxpath"].str.contains("|All Diagnosis|", regex=False)]
    assert len(records.conditions) == 35_201
    assert len(records.conditions) == (
        demo.distinct(each, "diagnosisoffset", "code")
        + demo.distinct(past, "pasthistoryenteredoffset", "pasthistorypath")
        + demo.distinct(admission, "admitdxenteredoffset", "admitdxpath")
    )
    allergies = demo.read("allergy")
    said = allergies[allergies["allergyname"].str.lower() != "none"]
    by = said["drughiclseqno"].where(said["drughiclseqno"] != "", said["allergyname"].str.lower())
    assert len(records.allergies) == demo.distinct(said, "allergyenteredoffset", by)


@pytest.mark.real_data
@pytest.mark.xdist_group("eicu demo")
def test_unit_stays_of_the_demo_begin_at_their_time_of_day(demo):
    clock = read_stays(Export(demo.folder, IngestLog())).frame
    told = demo.stays["unitadmittime24"].reindex(clock.index).str[:5]  # which eICU tells to the minute
    assert (clock["start"].dt.strftime("%H:%M") == told).all()
    begun = clock["start"] + pd.to_timedelta(demo.admitted.reindex(clock.index), unit="min")
    assert (begun.groupby(clock["hospital_stay"].astype("str")).nunique() == 1).all()


@pytest.mark.real_data
@pytest.mark.xdist_group("eicu demo")
def test_coverage_of_the_demo(demo, vocabulary):
    """Of the orders with a name or a code that others tell the name of: a drug, no therapy, or not known."""
    orders = demo.read("medication")
    tables = [orders, demo.read("admissionDrug"), demo.read("allergy")]
    named = pd.concat([table[["drughiclseqno", "drugname"]] for table in tables])
    named = named[(named["drugname"] != "") & ~named["drughiclseqno"].isin(["", "0"])]
    meaning = {name: vocabulary.match(name) for name in pd.concat([named["drugname"], orders["drugname"]]).unique()}
    drug = named["drugname"].map(lambda name: meaning[name].code if meaning[name].status == "mapped" else None)
    agreement = drug.groupby(named["drughiclseqno"]).value_counts(normalize=True).groupby(level=0).max()
    learnable = set(agreement.index[agreement >= 0.9])
    told = drug.notna() & named["drughiclseqno"].isin(learnable)  # the codes, tested on the rows that have a name
    usual = drug[told].groupby(named["drughiclseqno"][told]).agg(lambda drugs: drugs.mode()[0])
    assert (drug[told] != named["drughiclseqno"][told].map(usual)).mean() < 0.001
    nameless = orders["drugname"] == ""
    learned = (nameless & orders["drughiclseqno"].isin(learnable)).sum()
    status = orders.loc[~nameless, "drugname"].map(lambda name: meaning[name].status).value_counts()
    assert (len(orders), (~nameless).sum(), learned) == (75_604, 44_943, 25_164)
    assert status.to_dict() == {"mapped": 43_987, "not_therapy": 859, "unmapped": 97}
    assert (status["mapped"] + learned) / (status.sum() + learned) > 0.98  # 69,151 of 70,107
    log = load("eicu", demo.folder, vocabulary=vocabulary).log
    counts = [f.count for f in log.findings if f.file == "medication.csv.gz" and f.field == "drugname"]
    assert counts == [learned, 3_849]  # the others of the 29,013 rows with a code alone
    assert log.mapped["none"] == sum(log.unmapped.values())

"""FHIR folders of a few resources: their tables worked out by hand; files, versions, deletions."""

import gzip
import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from recommender.errors import InputError
from recommender.loaders import fhir, fhir_files, fhir_kept, fhir_read, load
from recommender.records import SCHEMA, Records
from recommender.vocabulary import DrugVocabulary

FIXTURES = Path(__file__).parents[1] / "fixtures" / "fhir"
NO_DATE = "not a date or time of FHIR such as 2021, 2021-03-05 or 2021-03-05T06:07:08Z"
MISTAKE = "recorded by mistake (entered-in-error)"
PATIENTS = "Patient.000.ndjson to Patient.001.ndjson.gz"


def events(records: Records, table: str) -> list[tuple]:
    """(patient id, code, start, stop[, value]) of each event, in order; dates as text, '' for none."""
    frame = getattr(records, table)

    def text(times: pd.Series) -> list[str]:
        return [("" if pd.isna(t) else t.isoformat().removesuffix("+00:00").removesuffix("T00:00:00")) for t in times]

    ids = records.patients["patient_id"].iloc[frame["patient_ix"]]
    codes = records.concepts["code"].iloc[frame["concept_ix"]]
    columns = [ids, codes, text(frame["start"]), text(frame["stop"])]
    if table == "observations":
        columns.append(frame["value"])
    return sorted(zip(*columns, strict=True))


def export(folder: Path, **files: list) -> Path:
    """A folder with the NDJSON files given by type; `Patient` is p1 if not given."""
    files = {"Patient": [{"resourceType": "Patient", "id": "p1"}], **files}
    for name, lines in files.items():
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        (folder / f"{name}.ndjson").write_text(text)
    return folder


def order(**more) -> dict:
    return {
        "resourceType": "MedicationRequest",
        "id": "r1",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {"text": "aspirin"},
        "subject": {"reference": "Patient/p1"},
        "authoredOn": "2020-01-01",
    } | more


# --- a bulk export ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bulk() -> Records:
    return load("fhir", FIXTURES / "bulk", vocabulary=None)


def test_treatments(bulk):
    metformin, lisinopril = "rxnorm:860975", "rxnorm:314076"
    assert events(bulk, "treatments") == [
        ("p1", "cvx:208", "2021-04-01", "2021-04-01"),  # Immunization: at once
        ("p1", metformin, "2020-05-01T06:00:00", ""),  # 08:00 at +02:00; active
        ("p1", metformin, "2020-05-01T10:30:00", "2020-05-01T12:00:00"),  # stopped, no end: with its encounter
        ("p1", metformin, "2020-06-01", "2020-06-01"),  # completed, no end, no encounter: at once
        ("p1", "snomed:698360004", "2019-01-01", ""),
        ("p1", "snomed:71388002", "2020-01-01T10:00:00", "2020-01-01T11:00:00"),
        ("p1", "text:aspirin 81 mg", "2020-07-01", ""),  # of p4, merged into p1; contained Medication; 2020-07
        ("p1", "text:warfarin 5 mg", "2020-05-01T10:00:00", ""),  # no date: its encounter's
        ("p2", lisinopril, "2020-03-31T10:00:00", "2020-03-31T10:00:00"),  # by identifier; ends in 2020-03
        ("p2", metformin, "2020-08-01", "2020-09-01"),  # stopped when it was written, long before the planned end
        ("p2", "snomed:265764009", "2020-01-01", ""),  # dialysis in progress
        ("p2", "text:aspirin 81 mg", "2020-01-01", "2020-03-31"),  # 30 days and two repeats: 90 days
        ("p2", "text:lisinopril / hydrochlorothiazide", "2020-01-01", "2020-12-31"),  # a Medication of two; lapses 2020
        ("p2", "text:lisinopril 10 mg tablets", "2020-04-01T12:00:00", "2020-04-29T12:00:00"),  # 28 days dispensed
        ("p2", "text:walk more", "2019-01-01", "2019-02-01"),
        ("p3", metformin, "2020-02-02T08:04:05", "2020-02-02T08:04:05"),  # given once, 03:04:05.678 at -05:00
        ("p3", metformin, "2020-02-03", ""),  # an infusion in progress
        ("p3", "text:ginkgo", "2018-02-03", "2018-02-03"),
        ("p3", "text:ginkgo", "2019-01-01", ""),
    ]


def test_conditions_allergies_and_observations(bulk):
    assert events(bulk, "conditions") == [
        ("p1", "icd10cm:J06.9", "2015-01-01", "2015-01-09"),  # resolved when it was recorded, nobody says when
        ("p1", "snomed:44054006", "2010-01-01", ""),  # SNOMED before ICD-10-CM
        ("p1", "text:back pain", "2011-01-01", "2011-02-28"),  # onset at the age of 60, but a date of record
        ("p2", "text:gout", "2012-01-01", ""),  # provisional
    ]
    assert events(bulk, "allergies") == [
        ("p1", "rxnorm:7984", "2000-01-01", ""),
        ("p1", "text:peanut", "1950-03-01", ""),  # no date that can be read: since birth
        ("p2", "rxnorm:1191", "1999-01-01", ""),  # the substance of a reaction
    ]
    assert events(bulk, "observations") == [
        ("p1", "loinc:2160-0", "2020-01-01T10:00:00", "2020-01-01T10:00:00", 1.1),
        ("p1", "loinc:8462-4", "2020-01-02", "2020-01-02", 80.0),
        ("p1", "loinc:8480-6", "2020-01-02", "2020-01-02", 120.0),
    ]
    names = dict(zip(bulk.concepts["code"], bulk.concepts["name"], strict=True))
    assert names["snomed:44054006"] == "Diabetes mellitus type 2"
    assert names["cvx:208"] == "COVID-19 vaccine"


def test_patients(bulk):
    people = bulk.patients.set_index("patient_id")
    assert list(people.index) == ["p1", "p2", "p3"]
    assert list(people["sex"]) == ["F", "M", "other"]
    assert list(people["race"]) == ["white", "other", "unknown"]
    assert list(people["ethnicity"]) == ["nonhispanic", "unknown", "unknown"]
    assert [str(day.date()) for day in people["birth_date"].dropna()] == ["1950-03-01", "1960-01-01"]


def test_every_rejection_has_its_reason(bulk):
    found = {(f.file.partition(".")[0], f.field, f.reason): f.first_rows for f in bulk.log.findings}
    request = "MedicationRequest"
    assert {key: rows for key, rows in found.items() if key[0] != "Patient"} == {
        (request, "status", "the order was withdrawn before anything was given (cancelled)"): (4,),
        (request, "intent", "an intention, not an order (plan)"): (5,),
        (request, "doNotPerform", "an order not to give it"): (6,),
        (request, "patient_id", "patient id not in the patients file"): (9,),  # a patient who was deleted
        (request, "resource", "not a line of JSON"): (10,),
        (request, "id", "a later version of the same resource is in the export"): (11,),
        (request, "id", "deleted since, as the export itself says"): (13,),
        (request, "medicationReference", "its Medication is not in the export, or has no code and no name"): (14,),
        (request, "authoredOn", NO_DATE): (15,),
        (request, "subject", "the subject is not a patient"): (16,),
        (request, "status", MISTAKE): (19,),
        (request, "status", "the order was never made (draft)"): (20,),
        (request, "code", "neither a code nor a name"): (21,),
        (request, "row", "repeats an earlier row (same patient, code, times and value)"): (23,),  # in another zone
        ("AllergyIntolerance", "start", "date missing"): (2,),
        ("AllergyIntolerance", "clinicalStatus", "the allergy is no longer there (resolved)"): (3,),
        ("AllergyIntolerance", "verificationStatus", "ruled out (refuted)"): (4,),
        ("AllergyIntolerance", "code", "states that no allergy is known"): (5,),
        ("CarePlan", "intent", "a suggestion, not an order (proposal)"): (3,),
        ("Condition", "onset", NO_DATE): (4,),
        ("Condition", "verificationStatus", "ruled out (refuted)"): (5,),
        ("Encounter", "code", "neither a code nor a name"): (1,),  # it still dates what happened during it
        ("Encounter", "status", MISTAKE): (2,),
        ("Immunization", "status", "not given (not-done)"): (2,),
        ("MedicationAdministration", "status", "not given (not-done)"): (2,),
        ("MedicationDispense", "status", "not handed out (declined)"): (2,),
        ("MedicationStatement", "status", "not taken (not-taken)"): (3,),
        ("Observation", "component", "no number beside others that are"): (2,),
        ("Observation", "valueQuantity", "a bound such as <5, not a measured value"): (3,),
        ("Observation", "value", "not a number"): (4,),
        ("Observation", "status", "no result yet (registered)"): (5,),
        ("Observation", "value", "missing"): (6,),
        ("Organization", "resource", "a type of resource that is not read"): (1,),
        ("Procedure", "status", "not done (not-done)"): (2,),
        ("Procedure", "performed", NO_DATE): (4,),
    }
    assert [(f.field, f.reason, f.first_rows) for f in bulk.log.findings if f.file == PATIENTS] == [
        ("birthDate", NO_DATE, (3,)),
        ("id", "deleted since, as the export itself says", (5,)),
        ("link", "replaced by another record of the same person", (4,)),
    ]


def test_drugs_by_the_vocabulary():
    records = load("fhir", FIXTURES / "bulk", vocabulary=DrugVocabulary.load())
    drugs = records.concepts[records.concepts["kind"] == "drug"]
    assert set(drugs["code"]) == {
        "rxnorm:6809",
        "rxnorm:29046",
        "rxnorm:5487+29046",
        "rxnorm:1191",
        "rxnorm:11289",
        "drug:covid-19-vaccine",
        "rxnorm:236809",
    }


# --- other forms of an export ----------------------------------------------------------------------------------------


def test_bundles_whose_resources_refer_to_each_other_by_urn():
    records = load("fhir", FIXTURES / "bundles", vocabulary=None)
    assert events(records, "treatments") == [
        # the Medication comes after the order and has an id of its own; the order ends with its encounter
        ("0000000a-0000-4000-8000-000000000000", "rxnorm:314076", "2020-01-01T09:10:00", "2020-01-01T09:30:00"),
        ("own-id", "text:aspirin", "2020-02-02", ""),
    ]
    assert {(f.file, f.reason): f.first_rows for f in records.log.findings} == {
        ("a.json", "neither a code nor a name"): (2,),  # the encounter
        ("a.json", "a type of resource that is not read"): (5,),
        ("a.json", "an entry of a Bundle without a resource"): (6,),
        ("a.json", "no FHIR resource (it has no resourceType)"): (7,),
    }


@pytest.mark.parametrize("name", ["b.json", "b.json.gz", "b.ndjson", "b.txt"])
def test_one_file(tmp_path, name):
    content = (FIXTURES / "bundles" / "b.json").read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    records = load("fhir", tmp_path / name, vocabulary=None)
    assert events(records, "treatments") == [("own-id", "text:aspirin", "2020-02-02", "")]


def test_the_folder_that_synthea_writes(tmp_path):
    shutil.copytree(FIXTURES / "bundles", tmp_path / "fhir")
    assert load("fhir", tmp_path, vocabulary=None).n_patients == 2


def test_many_files_share_one_account(tmp_path):
    """Then a finding's row says which file."""
    people = [{"resourceType": "Patient", "id": f"p{n}"} for n in range(fhir_kept.MOST_FILES + 1)]
    for n, person in enumerate(people):
        mine = order(id=f"r{n}", subject={"reference": f"Patient/p{n}"}, status="draft" if n == 4 else "active")
        bundle = {"resourceType": "Bundle", "entry": [{"resource": person}, {"resource": mine}, {}]}
        (tmp_path / f"{n:03}.json").write_text(json.dumps(bundle))
    log = load("fhir", tmp_path, vocabulary=None).log
    assert log.read == {
        "other entries of 65 files (row: the file)": 65,
        "000.json to 064.json": 65,
        "drug resources of 65 files (row: the file)": 65,
    }
    assert [(f.field, f.first_rows) for f in log.findings] == [("resource", (1, 2, 3, 4, 5)), ("status", (5,))]


def test_a_resource_written_again_counts_as_last_written(tmp_path):
    """Whatever the order of the files; a version recorded by mistake takes the earlier ones with it."""
    earlier, later = (
        {"meta": {"lastUpdated": "2020-02-01T00:00:00Z"}},
        {"meta": {"lastUpdated": "2020-03-01T00:00:00Z"}},
    )
    new = [order(**later, authoredOn="2020-01-02"), order(id="r2", status="entered-in-error", **later)]
    old = [order(**earlier), order(id="r2", **earlier)]
    panel = {
        "resourceType": "Observation",
        "id": "r1",  # ids are those of a type
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2020-01-01",
        "component": [{"code": {"text": c}, "valueQuantity": {"value": 1}} for c in "abc"],
    }
    shorter = panel | {"component": panel["component"][:2]}
    records = load("fhir", export(tmp_path, A=new, B=old, C=[panel, shorter]), vocabulary=None)
    assert events(records, "treatments") == [("p1", "text:aspirin", "2020-01-02", "")]
    assert [e[1] for e in events(records, "observations")] == ["text:a", "text:b"]
    assert records.log.rejected("B.ndjson") == 2
    assert records.log.rejected("C.ndjson (further values)") == 2


def test_resources_without_an_id(tmp_path):
    """A Bundle's name for it stands in; without one, nothing can refer to it, and it is no version of another."""
    uuid = "0000000a-0000-4000-8000-00000000000A"
    entries = [
        {"fullUrl": f"urn:uuid:{uuid}", "resource": {"resourceType": "Patient"}},
        {"resource": {"resourceType": "Patient"}},
        {"resource": {"resourceType": "Encounter"}},
        {"resource": {"resourceType": "Encounter"}},
    ]
    mine = order(id=None, status="stopped", encounter={"reference": "Encounter/e"})
    mine["subject"] = {"reference": f"urn:uuid:{uuid}"}
    entries += [{"resource": mine}, {"resource": mine | {"authoredOn": "2020-01-02"}}]
    (tmp_path / "a.json").write_text(json.dumps({"resourceType": "Bundle", "entry": entries}))
    records = load("fhir", tmp_path, vocabulary=None)
    assert [e[0] for e in events(records, "treatments")] == [uuid.lower()] * 2
    assert [(f.field, f.reason, f.first_rows) for f in records.log.findings] == [
        ("code", "neither a code nor a name", (3, 4)),
        ("patient_id", "patient id missing", (2,)),
    ]


def test_many_lines_are_read_in_blocks_and_reported_as_they_come(tmp_path, monkeypatch):
    orders = [order(id=f"r{n}", authoredOn=f"2020-01-{n + 1:02}") for n in range(10)]
    monkeypatch.setattr(fhir_files, "BLOCK", 4 * len(json.dumps(orders[0])))
    monkeypatch.setattr(fhir, "MOST_BATCHES", 2)
    told: list[int] = []
    folder = export(tmp_path, MedicationRequest=[*orders, "{", {"resourceType": "Claim"}])
    records = load("fhir", folder, vocabulary=None, progress=told.append)
    assert told == [4, 4, 4, 1]
    assert len(records.treatments) == 10
    assert [(f.reason, f.first_rows) for f in records.log.findings] == [
        ("a type of resource that is not read", (12,)),
        ("not a line of JSON", (11,)),
    ]


def test_what_processes_read_is_the_same(tmp_path, monkeypatch):
    plain = load("fhir", FIXTURES / "bulk", vocabulary=None)
    monkeypatch.setattr(fhir_read, "WORTH_PROCESSES", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for_each = load("fhir", FIXTURES / "bulk", vocabulary=None)
    for name in SCHEMA:
        pd.testing.assert_frame_equal(getattr(plain, name), getattr(for_each, name))
    assert plain.log == for_each.log
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json: this is not JSON"):
        load("fhir", tmp_path, vocabulary=None)


def test_half_a_download_is_refused(tmp_path):
    shutil.copytree(FIXTURES / "bulk", tmp_path / "export")
    (tmp_path / "export" / "Condition.000.ndjson").unlink()
    with pytest.raises(InputError, match="the manifest counts 6 Condition resources, but only 0 are here"):
        load("fhir", tmp_path / "export", vocabulary=None)

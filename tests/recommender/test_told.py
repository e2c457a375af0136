"""A chart in a request becomes the records that the same entries of an export would become, table for table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.assembly import assemble
from recommender.ingest_log import IngestLog
from recommender.loaders import standardised
from recommender.records import TIME, RawEvents, RawPatients, Records
from recommender.told import PERSON, Told, records_of
from recommender.vocabulary import DrugVocabulary

NOW = datetime(2026, 11, 1, 12, 30, 15, 250_000, tzinfo=UTC)
VOCABULARY = DrugVocabulary.load()


def as_an_export(
    entries: Sequence[Told],
    as_of: datetime,
    vocabulary: DrugVocabulary,
    *,
    birth_date: datetime | None = None,
    sex: str = "unknown",
) -> Records:
    """The same by the code that reads exports."""
    moment = pd.Timestamp(as_of).tz_convert("UTC").floor("s")
    log = IngestLog()
    person = {"row": [1], "patient_id": [PERSON], "sex": [sex], "race": ["unknown"], "ethnicity": ["unknown"]}
    born = pd.Series(pd.to_datetime([birth_date], utc=True)).astype(TIME)
    log.count_read("chart", 1)
    people = pd.DataFrame(person).assign(birth_date=born, site="", as_of=pd.Series([moment]).astype(TIME))
    raw = []
    for kind in dict.fromkeys(entry.kind for entry in entries):
        mine = [(number, entry) for number, entry in enumerate(entries, start=1) if entry.kind == kind]
        file = f"chart {kind}"
        log.count_read(file, len(mine))
        raw.append(standardised(RawEvents(file, kind, _frame(mine, moment)), vocabulary, log))
    return assemble(RawPatients("chart", people, clock="own"), raw, log)


def _frame(mine: Sequence[tuple[int, Told]], moment: pd.Timestamp) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "row": [number for number, _ in mine],
            "patient_id": PERSON,
            "code": pd.Categorical([entry.code or None for _, entry in mine]),
            "name": pd.Categorical([entry.name or None for _, entry in mine]),
            "start": pd.Series(pd.to_datetime([_begun(entry, moment) for _, entry in mine], utc=True)).astype(TIME),
            "stop": pd.Series(pd.to_datetime([entry.stop for _, entry in mine], utc=True)).astype(TIME),
        }
    )
    if mine[0][1].kind == "observation":
        values = [np.nan if entry.value is None else entry.value for _, entry in mine]
        frame = frame.assign(value=values, unit=pd.Categorical([entry.unit or None for _, entry in mine]))
    if mine[0][1].kind == "drug":
        frame = frame.assign(route=pd.Categorical([entry.route or None for _, entry in mine]))
    return frame


def _begun(entry: Told, moment: pd.Timestamp) -> datetime:
    if entry.start is None:  # no time told: it is there now
        return moment - pd.Timedelta(days=1)
    return min(entry.start, moment)


def same(entries: Sequence[Told], **person: object) -> Records:
    quick = records_of(entries, NOW, VOCABULARY, **person)  # type: ignore[arg-type]
    slow = as_an_export(entries, NOW, VOCABULARY, **person)  # type: ignore[arg-type]
    for table in ("patients", "concepts", "treatments", "conditions", "allergies", "observations"):
        pd.testing.assert_frame_equal(getattr(quick, table), getattr(slow, table))
    assert quick.log.findings == slow.log.findings
    quick.log.check()
    return quick


def at(days: float) -> datetime:
    return NOW - timedelta(days=days)


CODES = {
    "drug": [
        ("", "Metformin 500 MG Oral Tablet"), ("rxnorm:6809", ""), ("rxnorm:6809", "METFORMIN"),
        ("", "sodium chloride flush"), ("ndc:0000", "zzyzx"), ("rxnorm:99999999", ""),
        ("", "lisinopril / hydrochlorothiazide"), ("", "timolol eye drops"),
    ],
    "condition": [
        ("icd10cm:E11.9", ""), ("icd10cm:E11.9", "Type 2"), ("", "sore throat"), ("snomed:44054006", "diabetes"),
    ],
    "allergy": [("", "penicillin"), ("snomed:91936005", "allergy")],
    "observation": [("loinc:2160-0", "creatinine"), ("loinc:98979-8", ""), ("loinc:1-1", "unheard of"), ("", "mood")],
}  # fmt: skip
BORN = st.sampled_from([None, at(25_000), at(400)])
UNITS = ["", "umol/L", "mg/dL", "furlong", "mL/min"]


@st.composite
def entries(draw: st.DrawFn) -> Told:
    kind = draw(st.sampled_from(sorted(CODES)))
    code, name = draw(st.sampled_from(CODES[kind]))
    days = st.none() | st.sampled_from([-400.0, -0.5, 0.0, 1e-5, 1.0, 30.0, 30.0, 900.0, 30_000.0])
    start, stop = draw(days), draw(days)
    told = Told(kind, code, name, None if start is None else at(start), None if stop is None else at(stop))
    if kind == "observation":
        value = draw(st.none() | st.sampled_from([1.0, 80.0, -1.0, 1e9]))
        return Told(kind, code, name, told.start, told.start, value, draw(st.sampled_from(UNITS)))
    route = draw(st.sampled_from(["", "ophthalmic", "oral"])) if kind == "drug" else ""
    return Told(kind, code, name, told.start, told.stop, route=route)


@given(st.lists(entries(), max_size=14), BORN, st.sampled_from(["F", "unknown"]))
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
def test_any_entries_become_what_an_export_s_would(told: list[Told], born: datetime | None, sex: str) -> None:
    same(told, birth_date=born, sex=sex)


def test_no_entry_at_all() -> None:
    records = same([])
    assert not len(records.treatments) and records.patients["as_of"].tolist() == [pd.Timestamp(NOW).floor("s")]


@pytest.mark.parametrize(
    ("told", "left"),
    [
        (Told("drug", "rxnorm:6809", "", at(10), at(20)), 0),  # it ended before it began
        (Told("allergy", "", "penicillin", at(10), at(20)), 1),  # an allergy is never lost to a date
        (Told("condition", "icd10cm:E11.9", "", at(20_000)), 0),  # years before birth
        (Told("allergy", "", "penicillin", at(20_000)), 1),
    ],
)
def test_dates_that_cannot_be(told: Told, left: int) -> None:
    records = same([told], birth_date=at(10_000), sex="F")
    assert len(records.treatments) + len(records.conditions) + len(records.allergies) == left


def test_an_entry_with_neither_code_nor_name_is_accounted_for() -> None:
    assert records_of([Told("drug", "", "")], NOW, VOCABULARY).log.rejected("chart drug") == 1


def test_it_is_quick() -> None:
    """A hundred entries in well under a tenth of a second, on a machine that has other things to do."""
    many = [Told("drug", "", f"Metformin {dose} MG Oral Tablet", at(dose)) for dose in range(1, 101)]
    records_of(many, NOW, VOCABULARY)
    took = []
    for _ in range(5):
        began = datetime.now(UTC)
        records_of(many, NOW, VOCABULARY)
        took.append((datetime.now(UTC) - began).total_seconds())
    assert np.min(took) < 0.1

"""Units converted by hand-worked numbers, impossible values set aside, everything else untouched."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.ingest_log import IngestLog
from recommender.loaders.measurements import measurements, standardise
from recommender.records import RawEvents


def standardised(rows):
    """rows of (code, value, unit) -> the values and units that are kept by row number, and the findings."""
    frame = pd.DataFrame(rows, columns=["code", "value", "unit"]).assign(row=range(2, len(rows) + 2))
    frame = frame.astype({"code": "category", "unit": "category", "value": "float64"})
    log = IngestLog()
    out = standardise(RawEvents("labs.csv", "observation", frame), log).frame
    found = {f.field: (f.count, f.first_rows) for f in log.findings}
    return {row: (value, unit) for row, value, unit in zip(out["row"], out["value"], out["unit"], strict=True)}, found


@pytest.mark.parametrize(
    ("code", "value", "unit", "expected"),
    [
        ("2160-0", 88.4, "umol/L", 1.0),  # creatinine: 113.12 g/mol
        ("2160-0", 88.4, "µmol/L", 1.0),
        ("2345-7", 5.5, "mmol/L", 99.1),  # glucose: 180.16 g/mol
        ("4548-4", 53, "mmol/mol", 7.0),  # HbA1c, IFCC to NGSP: 0.09148 x 53 + 2.152
        ("2093-3", 5.0, "mmol/L", 193.4),
        ("2571-8", 2.0, "mmol/L", 177.1),
        ("718-7", 135, "g/L", 13.5),
        ("777-3", 250, "10^9/L", 250.0),
        ("777-3", 250_000, "/uL", 250.0),
        ("2823-3", 4.1, "mEq/L", 4.1),
        ("8480-6", 16, "kPa", 120.0),
        ("8310-5", 98.6, "[degF]", 37.0),
        ("29463-7", 154, "lb", 69.9),
        ("8302-2", 1.75, "m", 175.0),
        ("1975-2", 17.1, "umol/L", 1.0),
        ("8634-8", 0.42, "s", 420.0),
        ("6301-6", 2.5, None, 2.5),  # no unit: taken to be ours
        ("39156-5", 27.5, "KG/M2", 27.5),
    ],
)
def test_conversions(code, value, unit, expected):
    kept, found = standardised([(f"loinc:{code}", value, unit)])
    assert kept[2][0] == pytest.approx(expected, abs=0.06)
    assert kept[2][1] == measurements()[f"loinc:{code}"].unit
    assert not found


def test_what_cannot_be_is_rejected_with_its_row():
    kept, found = standardised(
        [
            ("loinc:2823-3", 4.1, "mmol/L"),
            ("loinc:2823-3", 41.0, "mmol/L"),  # a slipped decimal point
            ("loinc:2345-7", 100, "furlong"),
            ("loinc:39156-5", -3, "kg/m2"),
            ("local:mood", 1e9, "smiles"),  # not in the table: passes as it is
        ]
    )
    assert kept == {2: (4.1, "mmol/L"), 6: (1e9, "smiles")}
    assert found == {"value": (2, (3, 5)), "unit": (1, (4,))}


def test_the_bounds_are_possible():
    low, high = measurements()["loinc:39156-5"].low, measurements()["loinc:39156-5"].high
    kept, _ = standardised([("loinc:39156-5", low, "kg/m2"), ("loinc:39156-5", high, "kg/m2")])
    assert len(kept) == 2


def test_an_empty_file_stays_empty():
    assert standardised([]) == ({}, {})


@pytest.mark.parametrize("code", sorted(measurements()))
def test_every_conversion_of_the_table_lands_inside_its_range(code):
    """The middle of the range, taken back through each conversion, comes out where it began."""
    measurement = measurements()[code]
    middle = math.sqrt(measurement.low * measurement.high)
    for unit, (factor, offset) in measurement.conversions.items():
        kept, found = standardised([(code, (middle - offset) / factor, unit)])
        assert kept[2][0] == pytest.approx(middle)
        assert not found


@given(
    st.lists(
        st.tuples(st.sampled_from(["loinc:2823-3", "x"]), st.floats(), st.text(max_size=5) | st.none()), max_size=20
    )
)
def test_nothing_is_lost(rows):
    kept, found = standardised(rows)
    assert len(kept) + sum(count for count, _ in found.values()) == len(rows)

"""A hospital by the hour, to work out by hand what was known and what followed."""

from collections.abc import Callable

import pandas as pd
import pytest

from recommender.assembly import assemble
from recommender.ingest_log import IngestLog
from recommender.records import TIME, RawEvents, RawPatients, Records

OPENED = pd.Timestamp("2025-01-01", tz="UTC")


@pytest.fixture(scope="session")
def hospital() -> Callable[..., Records]:
    """`hospital([(kind, patient, code, start, stop), ...])`: hours since OPENED; stop None: still going on.

    A code with a trailing "?" was only reported; each drug is a class of its own. `people`: patient
    -> what is known of them beside the defaults. Every chart is read at the end of the year.
    """

    def hours(values):
        times = [None if value is None else OPENED + pd.Timedelta(hours=value) for value in values]
        return pd.Series(times, dtype=TIME)

    def build(events, people=None):
        log = IngestLog()
        names = sorted({event[1] for event in events} | set(people or {}))
        unknown = {"birth_date": None, "sex": "unknown", "race": "unknown", "ethnicity": "unknown", "site": ""}
        patients = pd.DataFrame([{**unknown, **(people or {}).get(name, {})} for name in names])
        patients = patients.assign(
            row=range(2, 2 + len(names)),
            patient_id=names,
            birth_date=pd.Series(pd.to_datetime(patients["birth_date"], utc=True), dtype=TIME),
            as_of=pd.Series([pd.Timestamp("2025-12-31", tz="UTC")] * len(names), dtype=TIME),
        )
        log.count_read("patients", len(names))
        raw = []
        for kind in dict.fromkeys(event[0] for event in events):
            rows = [event for event in events if event[0] == kind]
            log.count_read(kind, len(rows))
            frame = pd.DataFrame(
                {
                    "row": range(2, 2 + len(rows)),
                    "patient_id": [row[1] for row in rows],
                    "code": [row[2].rstrip("?") for row in rows],
                    "name": [row[2].rstrip("?") for row in rows],
                    "start": hours(row[3] for row in rows),
                    "stop": hours(row[4] for row in rows),
                    "group": [f"class of {row[2].rstrip('?')}" if kind == "drug" else "" for row in rows],
                    "reported": [row[2].endswith("?") for row in rows],
                }
            )
            raw.append(RawEvents(kind, kind, frame))
        return assemble(RawPatients("patients", patients, clock="own"), raw, log)

    return build

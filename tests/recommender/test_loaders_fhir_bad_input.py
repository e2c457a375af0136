"""Whatever the bytes of a FHIR export: an InputError, or records in which every resource is accounted for."""

import contextlib
import gzip
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.errors import InputError
from recommender.ingest_log import IngestLog
from recommender.loaders import fhir_files, load
from recommender.records import Records

FIXTURES = Path(__file__).parents[1] / "fixtures" / "fhir"
SECRET = "Zaphod"
PATIENT = b'{"resourceType": "Patient", "id": "p1"}\n'
ORDER = json.dumps(
    {
        "resourceType": "MedicationRequest",
        "status": "active",
        "medicationCodeableConcept": {"text": "aspirin"},
        "subject": {"reference": "Patient/p1"},
        "authoredOn": "2020-01-01",
    }
).encode()
REAL = {path.name: path.read_bytes() for folder in ("bulk", "bundles") for path in (FIXTURES / folder).iterdir()}
RESOURCES = [
    json.loads(line)
    for name, data in REAL.items()
    if name[0].isupper() and "json" in name[-6:]
    for line in (gzip.decompress(data) if name.endswith("gz") else data).splitlines()
    if line.endswith(b"}")
]


def read(folder: Path, name: str, content: bytes) -> Records:
    (folder / name).write_bytes(content)
    return load("fhir", folder, vocabulary=None)


def findings(log: IngestLog) -> list[tuple]:
    return [(f.field, f.reason, f.count, f.first_rows) for f in log.findings]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"resourceType": "Observation", "status": "' + SECRET.encode(), "not a line of JSON"),
        (b'{"resourceType": "Observation", "value": NaN}', "not a line of JSON"),
        (b'{"resourceType": "Observation", "value": 1e999}', "not a line of JSON"),
        (b'{"resourceType": "Observation", "text": "\xff\xfe"}', "not a line of JSON"),
        (b'{"resourceType": "Observation", "text": "\\ud800"}', "not a line of JSON"),
        (b"[" * 100_000, "not a line of JSON"),
        (b'{"a": ' * 100_000, "not a line of JSON"),
        (b"\0" * 64, "not a line of JSON"),
        (b"7", "no FHIR resource (it has no resourceType)"),
        (b'"Patient"', "no FHIR resource (it has no resourceType)"),
        (b"{}", "no FHIR resource (it has no resourceType)"),
        (b'{"resourceType": ["Patient"]}', "no FHIR resource (it has no resourceType)"),
        (b'{"resourceType": "Bundle", "entry": [7]}', "an entry of a Bundle without a resource"),
        (b'{"resourceType": "Bundle", "entry": [{"resource": 7}]}', "no FHIR resource (it has no resourceType)"),
        (b'{"resourceType": "ExplanationOfBenefit", broken', "a type of resource that is not read"),
    ],
)
def test_a_bad_line_is_counted_and_the_next_one_read(tmp_path, line, reason):
    records = read(tmp_path, "all.ndjson", b"\xef\xbb\xbf" + PATIENT + line + b"\r\n\n" + ORDER)
    assert findings(records.log) == [("resource", reason, 1, (2,))]
    assert len(records.treatments) == 1
    assert SECRET not in str(records.log.findings)


def test_a_line_too_long_to_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(fhir_files, "LONGEST_LINE", 1000)
    long = b'{"resourceType": "Observation", "note": "' + b"x" * 5000 + b'"}\n'
    records = read(tmp_path, "all.ndjson", PATIENT + long + ORDER + b"\n")
    assert findings(records.log) == [("resource", fhir_files.TOO_LONG, 1, (2,))]
    monkeypatch.setattr(fhir_files, "NO_LINE", 4000)
    with pytest.raises(InputError, match=r"^all.ndjson, row 2: a line longer than 1 GB"):
        load("fhir", tmp_path, vocabulary=None)


def test_a_gzip_of_nothing_but_zeros_is_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(fhir_files, "NO_LINE", 1 << 25)
    with pytest.raises(InputError, match="a line longer than 1 GB"):
        read(tmp_path, "bomb.ndjson.gz", gzip.compress(b"\0" * (3 << 25)))
    (tmp_path / "bomb.ndjson.gz").unlink()
    monkeypatch.setattr(fhir_files, "LARGEST_DOCUMENT", 1 << 20)
    with pytest.raises(InputError, match=r"^bomb.json.gz: a JSON document larger than 1 MB"):
        read(tmp_path, "bomb.json.gz", gzip.compress(b"\0" * (3 << 25)))


@pytest.mark.parametrize("name", ["all.ndjson.gz", "all.json.gz"])
def test_a_gzip_cut_off_or_damaged(tmp_path, name):
    whole = gzip.compress(PATIENT + ORDER * 50)
    for content in (whole[:-20], whole[:40] + b"\xff" * 20 + whole[60:], whole[:3]):
        with pytest.raises(InputError, match="cut off or damaged"):
            read(tmp_path, name, content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"resourceType": "Bundle", "entry": [', "a.json: this is not JSON, or it is damaged"),
        ("a.json", PATIENT + ORDER, "NDJSON must be named .ndjson"),
        ("a.json", b"", "this is not JSON"),
        ("a.ndjson", b"", "no Patient resource is in this export"),
        ("a.ndjson", PATIENT, "no usable event"),
        ("a.csv", b"", "no FHIR file in this folder"),
        ("log.ndjson", PATIENT + ORDER, "no FHIR file in this folder"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, name, content)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        load("fhir", tmp_path / "none", vocabulary=None)


def test_records_that_replace_each_other_in_a_ring(tmp_path):
    ring = [
        {"resourceType": "Patient", "id": a, "link": [{"type": "replaced-by", "other": {"reference": f"Patient/{b}"}}]}
        for a, b in ("xy", "yx")
    ]
    lines = b"".join(json.dumps(person).encode() + b"\n" for person in ring)
    stray = ORDER.replace(b"Patient/p1", b"Patient/x")
    log = read(tmp_path, "all.ndjson", PATIENT + lines + stray + b"\n" + ORDER).log
    assert log.rejected("all.ndjson") == 3


# --- fuzz ------------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["", "Patient/p1", "2020", "9999-12", "0001-01-01T00:00:00+14:00", "urn:uuid:x", "d", "#in", "\0"]
    ),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["value", "coding", "start", "end", "code", "reference", "repeat", "system", "unit"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A resource of the fixtures with something else in some places."""
    resource = json.loads(json.dumps(draw(st.sampled_from(RESOURCES))))
    for _ in range(draw(st.integers(1, 3))):
        place = resource
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            step = draw(st.sampled_from(keys))
            if isinstance(place[step], dict | list) and draw(st.booleans()):
                place = place[step]
                continue
            place[step] = draw(JSON)
            break
    return json.dumps(resource).encode()


def balanced(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(InputError):
        read(Path(folder), name, content).log.check()


@given(st.lists(mutated(), max_size=30))
@settings(max_examples=15, deadline=None)
def test_wrong_types_anywhere(lines):
    content = PATIENT + ORDER + b"\n" + b"\n".join(lines)
    with tempfile.TemporaryDirectory() as folder:
        records = read(Path(folder), "all.ndjson", content)  # p1 and the order stay usable, so nothing is raised
    assert sum(records.log.read.values()) >= len(lines) + 2
    records.log.check()


@given(st.sampled_from(sorted(REAL)), st.data())
@settings(max_examples=25, deadline=None)
def test_damaged_files(name, data):
    content = bytearray(REAL[name][: data.draw(st.integers(0, len(REAL[name])))])
    for place, byte in data.draw(st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4)):
        if content:
            content[place % len(content)] = byte
    balanced(name, bytes(content))


@given(st.binary(max_size=200), st.sampled_from(["a.json", "a.ndjson", "a.ndjson.gz", "a.json.gz"]))
@settings(max_examples=25, deadline=None)
def test_arbitrary_bytes(content, name):
    balanced(name, content)
    balanced(name, gzip.compress(PATIENT + ORDER + b"\n" + content))

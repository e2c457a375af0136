"""MED-RT's XML as a site downloads it; the file in tests/fixtures is made by hand, its classes and links invented."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.errors import InputError
from recommender.vocabulary import DrugVocabulary
from recommender.vocabulary.importing import import_vocabulary
from recommender.vocabulary.medrt import DiseaseLink, MedRt

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILE = FIXTURES / "medrt" / "Core_MEDRT_2026.01.01_XML.xml"


@pytest.fixture(scope="module")
def medrt() -> MedRt:
    return MedRt.read(FILE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("import") / "vocabulary"
    import_vocabulary(FIXTURES / "rxnorm", FILE, output)
    return output


def test_classes_of_the_kinds_that_are_used(medrt: MedRt) -> None:
    """Not the alphabet's bins (HC), nor a class that is retired."""
    assert medrt.names == {
        "N0000000011": "Example Antibody [EPC]",
        "N0000000012": "Invented Receptor Blockers [MoA]",
        "N0000000013": "Decreased & Slowed Inventing [PE]",
        "N0000000015": "Rare Example [EPC]",
    }
    assert medrt.kinds["N0000000011"] == "EPC"


def test_members_are_ingredients_of_a_class(medrt: MedRt) -> None:
    assert medrt.members == {
        "N0000000011": ["9000001", "1665684"],
        "N0000000012": ["9000001", "9000002"],
        "N0000000013": ["9000002"],
        "N0000000015": [],
    }


def test_diseases(medrt: MedRt) -> None:
    assert medrt.diseases == [
        DiseaseLink("235743", "may_treat", "Diabetes Mellitus, Type 2", "mesh:M0006147"),
        DiseaseLink("6809", "CI_with", "Acidosis", "mesh:M0000197"),
        DiseaseLink("9000001", "CI_with", "Current Non-smoker", "med-rt:N0000000099"),
        DiseaseLink("5550001", "CI_with", "Acidosis", "mesh:M0000197"),
    ]


def test_an_ingredient_without_a_class_gets_one_and_no_other_does(folder: Path) -> None:
    vocabulary = DrugVocabulary.load(folder)
    assert vocabulary.match("examplumab").drug_class == "Example Antibody [EPC]"  # EPC before MoA
    assert vocabulary.match("inventolol").drug_class == "Invented Receptor Blockers [MoA]"
    assert vocabulary.match("evolocumab").drug_class == "PCSK9 inhibitor"  # ours
    # the group of evolocumab, which is in that class; no ingredient of ours is in the other
    assert vocabulary.classes["Example Antibody [EPC]"] == "Cardiovascular"
    assert vocabulary.classes["Invented Receptor Blockers [MoA]"] == "Other class of MED-RT"
    with (folder / "classes.csv").open(encoding="utf-8", newline="") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    assert ids[-3:] == ["medrt-n0000000011", "medrt", "medrt-n0000000012"]


def test_links_to_diseases_are_under_our_codes(folder: Path) -> None:
    """The precise ingredient (235743) is its ingredient; what RxNorm does not hold (5550001) is left out."""
    rows = pq.read_table(folder / "medrt.parquet").to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("rxnorm:6809", "CI_with", "Acidosis", "mesh:M0000197"),
        ("rxnorm:6809", "may_treat", "Diabetes Mellitus, Type 2", "mesh:M0006147"),
        ("rxnorm:9000001", "CI_with", "Current Non-smoker", "med-rt:N0000000099"),
    ]
    assert list(rows[0]) == ["ingredient", "relation", "disease", "disease_code"]


def test_without_medrt_there_is_no_class_and_no_such_file(tmp_path: Path) -> None:
    import_vocabulary(FIXTURES / "rxnorm", None, tmp_path / "vocabulary")
    assert DrugVocabulary.load(tmp_path / "vocabulary").match("examplumab").drug_class == ""
    assert not (tmp_path / "vocabulary" / "medrt.parquet").exists()


def test_a_zip_or_a_folder_of_it_is_read_too(tmp_path: Path, medrt: MedRt) -> None:
    with zipfile.ZipFile(tmp_path / "Core_MEDRT_XML.zip", "w") as archive:
        archive.write(FILE, FILE.name)
        archive.writestr("MED-RT_Schema_v1.xsd", "")
    assert MedRt.read(tmp_path / "Core_MEDRT_XML.zip") == medrt
    assert MedRt.read(FILE.parent) == medrt


XML = FILE.read_text(encoding="utf-8")
HEAD = '<?xml version="1.0"?>\n'
LAUGHS = (
    HEAD
    + '<!DOCTYPE t [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>\n<terminology><concept>&b;</concept></terminology>'
)
OUTSIDE = HEAD + '<!DOCTYPE t [\n<!ENTITY x SYSTEM "file:///etc/passwd">]>\n<terminology>&x;</terminology>'


@pytest.mark.parametrize(
    ("text", "row", "field", "words"),
    [
        ("", 1, "", "no element found"),
        ("not XML", 1, "", "no XML"),
        (XML[:5000], None, "", "damaged"),
        (XML.replace("UTF-8", "klingon", 1)[:5000], None, "", "damaged"),  # its claim is not believed
        (HEAD + "<rss><concept/></rss>", 2, "", "outermost element"),
        (HEAD + "<terminology/>", None, "", "no classes or no associations"),
        (LAUGHS, 2, "", "declares an entity"),
        (OUTSIDE, 3, "", "declares an entity"),
        (HEAD + "<terminology>" + "<a>" * 100, 2, "", "too deep"),
        (HEAD + "<terminology><concept><name>" + "x" * 20_000, 2, "", "over 10,000 characters"),
        (XML.replace("<code>N0000000011</code>", "", 1), 39, "code", "no <code>"),
        (XML.replace("<to_code>M0000197</to_code>", "<to_code> </to_code>", 1), None, "to_code", "no <to_code>"),
    ],
)
def test_what_is_not_medrt_is_refused(tmp_path: Path, text: str, row: int | None, field: str, words: str) -> None:
    path = tmp_path / FILE.name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words) as error:
        MedRt.read(path)
    assert (error.value.file, error.value.field) == (FILE.name, field)
    assert row is None or error.value.row == row


def test_a_file_of_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.xml").write_text(XML, encoding="utf-8")
    with pytest.raises(InputError, match="no file"):
        MedRt.read(tmp_path / "notes.xml")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.integers(0, len(XML.encode())), st.booleans())
def test_no_bytes_break_it(tmp_path: Path, data: bytes, at: int, whole: bool) -> None:
    original = b"" if whole else XML.encode()
    path = tmp_path / FILE.name
    path.write_bytes(original[:at] + data + original[at:])
    try:
        MedRt.read(path)
    except InputError as error:
        assert error.file == FILE.name

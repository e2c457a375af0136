"""Lists of patients: the same as the API answers with, in five formats, whole or not at all, no cell run."""

from __future__ import annotations

import csv
import dataclasses
import html
import json
import re
import shutil
import subprocess
import zipfile
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from recommender.errors import EngineError, InputError
from recommender.matrix import Column
from recommender.reports import pages_html
from recommender.reports.cohort import Cohort, cohort_of, ids_of, members
from recommender.reports.folder import new_folder
from recommender.reports.lists import about_of, write_lists
from recommender.reports.pages_html import HtmlWriter
from recommender.reports.pages_pdf import PdfWriter
from recommender.reports.patient_page import page_of, plain
from recommender.reports.tables import About, CsvWriter, XlsxWriter, rows_of

ABOUT = About("v1", "2025-01-02", "2025-01-01", True, "rules r1", "all patients", "2025-01-02 08:00 UTC")


@pytest.fixture(scope="session")
def pages(hospital):
    """A page of every third patient, and all those with something withheld."""
    found = [page_of(hospital.desk, name, entry, 10) for name, entry in hospital.entries.items()]
    return [page for ix, page in enumerate(found) if ix % 3 == 0 or page.withheld]


def text_of(pdf: Path, *options: str) -> str:
    if shutil.which("pdftotext") is None:
        pytest.fail("pdftotext is not on PATH: install poppler-utils")
    done = subprocess.run(["pdftotext", "-layout", *options, str(pdf), "-"], capture_output=True, check=True)
    return done.stdout.decode()


# --- the figures, by a second path: the API ---------------------------------------------------------------------------


def test_a_page_says_what_the_api_answers(hospital, pages):
    assert sum(bool(page.withheld) for page in pages) > 5
    for page in pages:
        answer = hospital.client.get(f"/v1/patients/{page.patient_id}/recommendations?n=10").json
        assert [one.code for one in page.suggestions] == [item["code"] for item in answer["items"]]
        for one, item in zip(page.suggestions, answer["items"], strict=True):
            assert one.probability == pytest.approx(item["probability"], abs=1e-9)
            assert [w.rule for w in one.warnings] == [w["rule"] for w in item["warnings"]]
            assert [w.because for w in one.warnings] == [w["because"] for w in item["warnings"]]
            assert one.labelled_for == (None if item["labelled_for"] is None else tuple(item["labelled_for"]))
            assert one.evidence == item["evidence"]["patients"]
            assert sum(part.share for part in one.reasons) == pytest.approx(item["score"], abs=1e-5)
            largest = [reason["contribution"] for reason in item["reasons"]][:3]
            assert [part.share for part in one.reasons[:3]] == pytest.approx(largest)
        assert [(held.code, held.beside or None) for held in page.withheld] == [
            (item["code"], item["beside"]) for item in answer["withheld"]
        ]
        assert [len(held.alternatives) for held in page.withheld] == [
            len(item["alternatives"]) for item in answer["withheld"]
        ]
        assert [gap.about for gap in page.not_checked] == [gap["about"] for gap in answer["not_checked"]]
        assert [drug.code for drug in page.therapy] == [drug["code"] for drug in answer["current_therapy"]]


def test_every_patient_stands_in_the_list_once(hospital, tmp_path, read_lines):
    told = hospital.asked("report", "patients", "--out", tmp_path / "all", "--format", "ndjson", "--format", "csv")
    lines = read_lines(tmp_path / "all" / "patients.ndjson")
    assert lines[0]["about"]["version"] == hospital.desk.release.version
    assert sorted(line["patient_id"] for line in lines[1:]) == sorted(hospital.entries)
    assert told["patients"] == 400
    assert told["with_withheld"] == sum(bool(line["withheld"]) for line in lines[1:])
    with (tmp_path / "all" / "patients.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["patient_id"] for row in rows} == set(hospital.entries)
    by_part = {part: sum(row["part"] == part for row in rows) for part in ("suggestion", "withheld", "takes now")}
    assert by_part == {
        "suggestion": sum(len(line["suggestions"]) for line in lines[1:]),
        "withheld": sum(len(line["withheld"]) for line in lines[1:]),
        "takes now": sum(len(line["therapy"]) for line in lines[1:]),
    }
    assert (tmp_path / "all").stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in (tmp_path / "all").iterdir())


# --- who is on it -----------------------------------------------------------------------------------------------------


def test_cohorts_hold_who_they_say(hospital):
    release, entries = hospital.desk.release, hospital.entries
    columns = release.index.columns
    condition = next(c for c in columns if c.kind == "condition" and "iabetes" in c.name)
    department = next(c for c in columns if c.kind == "care_resource" and c.name == "Cardiology")

    def found(**wish):
        return {name for name, _ in members(hospital.store, release, cohort_of(release, **wish), [])}

    def having(column):
        ix = columns.index(column)
        return {name for name, entry in entries.items() if ix in entry.row_columns}

    assert having(condition)
    assert found(conditions=[condition.name.upper()]) == found(conditions=[condition.code]) == having(condition)
    assert found(departments=["cardiology"]) == having(department)
    assert found(conditions=[condition.code], departments=["cardiology"]) == having(condition) & having(department)
    ages = {name: entry.chart.age for name, entry in entries.items()}
    assert found(age_from=65, age_below=80) == {name for name, age in ages.items() if 65 <= age < 80}
    assert found(sex="F") == {name for name, entry in entries.items() if entry.chart.sex == "F"}
    assert cohort_of(release, age_from=65, sex="M").words == "age from 65, male"


def test_an_unknown_age_is_of_no_age_band(hospital):
    entry = next(iter(hospital.entries.values()))
    nobody = dataclasses.replace(entry, chart=dataclasses.replace(entry.chart, age=float("nan")))
    assert not Cohort(age_from=0.0).holds(nobody)
    assert not Cohort(age_below=200.0).holds(nobody)
    assert Cohort().holds(nobody)


def test_a_condition_that_nobody_has_is_an_error_that_offers_others(hospital):
    with pytest.raises(InputError, match=r"has the condition 'hypertenson'\. Near it: .*hypertension"):
        cohort_of(hospital.desk.release, conditions=["hypertenson"])


def test_a_list_of_ids_keeps_its_order_and_tells_the_unknown_by_their_place(hospital, tmp_path, read_lines):
    ids = [*hospital.entries][:5]
    wanted = [ids[3], "nobody-known", ids[0], ids[3]]
    (tmp_path / "ward.csv").write_text("bed,patient_id\n" + "".join(f"{n},{i}\n" for n, i in enumerate(wanted)))
    out = tmp_path / "ward"
    told = hospital.asked("report", "patients", "--out", out, "--ids", tmp_path / "ward.csv", "--format", "ndjson")
    assert [line["patient_id"] for line in read_lines(out / "patients.ndjson")[1:]] == [ids[3], ids[0]]
    assert told["unknown"] == [2]
    assert "nobody-known" not in json.dumps(told)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("patient_id\na\nb\n", ("a", "b")),
        ("a\nb\n\n", ("a", "b")),
        ("\ufeffPatient_ID,bed\na,1\n", ("a",)),
        ("x,y\n1,2\n", "has no column patient_id"),
        ("patient_id\n", "holds no patient id"),
        ("", "holds no patient id"),
        ("bed,patient_id\n1\n", "row 2"),
    ],
)
def test_ids_are_read_or_refused(tmp_path, text, found):
    path = tmp_path / "ids.csv"
    path.write_text(text)
    if isinstance(found, tuple):
        assert ids_of(path) == found
        return
    with pytest.raises(InputError, match=found):
        ids_of(path)


def test_nobody_is_said_in_words(hospital, tmp_path):
    out = tmp_path / "nobody"
    listed = write_lists(out, hospital.store, hospital.desk, Cohort(age_from=150), ("html", "pdf", "csv", "xlsx"), 5)
    assert listed.patients == 0
    assert "No patient of this version" in (out / "patients-0001.html").read_text()
    assert "No patient of this version" in text_of(out / "patients-0001.pdf")


def test_a_folder_that_holds_something_is_left_alone(hospital, tmp_path):
    (tmp_path / "mine").write_text("mine")
    for out in (tmp_path, tmp_path / "mine"):
        result = hospital.rxrec("report", "patients", "--out", out, "--format", "csv")
        assert result.exit_code in (1, 2)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_list_that_fails_leaves_nothing(tmp_path):
    def fail() -> None:
        with new_folder(tmp_path / "out") as folder:
            (folder / "half").write_text("half")
            raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        fail()
    assert list(tmp_path.iterdir()) == []


# --- the formats ------------------------------------------------------------------------------------------------------


def awkward(page, name: str):
    """The page with a name in every place that a chart can bring one to."""
    first = dataclasses.replace(page.suggestions[0], name=name, labelled_for=(name,))
    return dataclasses.replace(page, conditions=(name,), suggestions=(first, *page.suggestions[1:]), patient_id=name)


EVIL = "<script>hacked = 1</script><img src=x onerror=alert(1)>\"'&"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)


def test_html_escapes_names_and_stands_in_files_of_a_bounded_size(pages, tmp_path):
    writer = HtmlWriter(tmp_path, ABOUT, per_file=4)
    for page in pages[:9]:
        writer.add(awkward(page, EVIL))
    writer.close()
    files = sorted(tmp_path.glob("*.html"))
    assert [file.read_text().count('<section class="patient">') for file in files] == [4, 4, 1]
    tags = Tags()
    tags.feed(files[0].read_text())
    assert not tags.seen & {"script", "img"}
    assert "&lt;script&gt;" in files[0].read_text()


def test_html_says_all_of_a_page(pages, tmp_path):
    page = next(page for page in pages if page.withheld and any(one.warnings for one in page.suggestions))
    writer = HtmlWriter(tmp_path, ABOUT)
    writer.add(page)
    writer.close()
    text = html.unescape((tmp_path / "patients-0001.html").read_text())
    for one in page.suggestions:
        assert one.name in text
        assert all(warned.message in text and warned.because in text for warned in one.warnings)
        assert all(part.text in text for part in one.reasons)
    for held in page.withheld:
        assert held.name in text
        assert all(warned.management in text for warned in held.warnings)
    assert_sources(page, text)


def assert_sources(page, text):
    """Each rule of the page has a number behind its warning, and under that number its source."""
    squeezed = re.sub(r"\s+", "", text)
    warnings = [w for part in (page.therapy, page.suggestions, page.withheld) for one in part for w in one.warnings]
    rules = list(dict.fromkeys(warned.rule for warned in warnings))
    assert warnings
    for warned in warnings:
        number = 1 + rules.index(warned.rule)
        assert re.sub(r"\s+", "", f"{warned.management}[{number}]") in re.sub(r"<[^>]*>", "", squeezed)
        assert re.sub(r"\s+", "", f"[{number}] {warned.rule}: {warned.source}") in squeezed


def test_pdf_names_the_source_of_each_warning_and_how_many_had_it(pages, tmp_path):
    page = max(pages, key=lambda page: sum(len(one.warnings) for one in page.suggestions) + len(page.withheld))
    writer = PdfWriter(tmp_path, ABOUT)
    writer.add(page)
    writer.close()
    text = text_of(tmp_path / "patients-0001.pdf")
    assert_sources(page, text.replace("\f", ""))
    squeezed = re.sub(r"\s+", "", text)
    assert all(f"{one.evidence}patientsherehadit" in squeezed for one in page.suggestions)


def test_pdf_says_all_of_a_page_and_begins_each_patient_on_a_new_one(pages, tmp_path):
    writer = PdfWriter(tmp_path, ABOUT, per_file=5)
    for page in pages[:7]:
        writer.add(page)
    writer.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["patients-0001.pdf", "patients-0002.pdf"]
    text = text_of(tmp_path / "patients-0001.pdf")
    sheets = [sheet for sheet in text.split("\f") if sheet.strip()]
    first = [sheet for sheet in sheets if "· page" not in sheet.splitlines()[0]]
    assert [sheet.split()[0] for sheet in first] == [page.patient_id for page in pages[:5]]
    squeezed = re.sub(r"\s+", "", text)
    for page in pages[:5]:
        for one in page.suggestions:
            assert re.sub(r"\s+", "", one.name) in squeezed
            assert all(re.sub(r"\s+", "", warned.message) in squeezed for warned in one.warnings)


def test_pdf_draws_chinese_and_counts_what_it_cannot(pages, tmp_path):
    writer = PdfWriter(tmp_path, ABOUT)
    writer.add(awkward(pages[0], "2型糖尿病，伴有慢性肾脏病"))
    assert writer.unknown == 0
    writer.add(awkward(pages[0], "\U0001f9ea in a name"))
    writer.close()
    assert writer.unknown > 0
    assert "2型糖尿病" in text_of(tmp_path / "patients-0001.pdf")


def test_pdf_lines_are_no_wider_than_asked_and_lose_nothing(tmp_path):
    writer = PdfWriter(tmp_path, ABOUT)
    for text in ("a" * 300, "metoprolol succinate " * 20, "高血压病史十年，" * 20, "mixed 二甲双胍 500 mg twice", ""):
        lines = list(writer.lines(text, 120.0, 8.0))
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert all(writer._measured(line, 8.0) <= 120.5 for line in lines)


def test_a_font_that_is_none_is_an_error(tmp_path):
    (tmp_path / "font.ttf").write_text("no font")
    with pytest.raises(EngineError, match="no TrueType font"):
        PdfWriter(tmp_path, ABOUT, font=tmp_path / "font.ttf")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_no_cell_is_run_as_a_formula(pages, tmp_path, name):
    for writer in (CsvWriter(tmp_path / "p.csv", ABOUT), XlsxWriter(tmp_path / "p.xlsx", ABOUT)):
        writer.add(awkward(pages[0], name))
        writer.close()
    with (tmp_path / "p.csv").open(encoding="utf-8-sig", newline="") as file:
        assert all(row["patient_id"].startswith("'") for row in csv.DictReader(file))
    with zipfile.ZipFile(tmp_path / "p.xlsx") as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet


def test_xlsx_holds_the_rows_of_the_csv(pages, tmp_path):
    writer = XlsxWriter(tmp_path / "p.xlsx", ABOUT)
    for page in pages[:5]:
        writer.add(page)
    writer.close()
    with zipfile.ZipFile(tmp_path / "p.xlsx") as book:
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    space = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
    rows = sheet.findall(".//m:row", space)
    assert len(rows) == 1 + sum(len(list(rows_of(page))) for page in pages[:5])


def test_the_head_names_version_rules_and_cohort(hospital):
    about = about_of(hospital.desk, Cohort(words="cardiology"), datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    assert (about.version, about.cohort, about.printed) == (
        hospital.desk.release.version,
        "cardiology",
        "2026-01-02 03:04 UTC",
    )
    assert hospital.desk.screen.rules.version in about.rules
    assert about.synthetic


def test_words_of_a_probability():
    @dataclasses.dataclass
    class One:
        probability: float | None

    assert [pages_html.chance(One(p)) for p in (None, 0.0, 0.009, 0.01, 0.344)] == [
        *("", "under 1 in 100", "under 1 in 100", "1 in 100", "34 in 100")
    ]


def test_a_name_keeps_its_tail_unless_it_is_a_tag():
    assert plain(Column("x", "condition", "Gout (disorder)", "")) == "Gout"
    assert plain(Column("x", "drug", "insulin (human)", "")) == "insulin (human)"
    assert plain(Column("snomed:1", "condition", "", "")) == "snomed:1"

"""`rxrec vocabulary import`, and an export read with what it wrote: from a site's downloads to a row that is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jobs.__main__ import main

FIXTURES = Path(__file__).parents[1] / "fixtures"


def rxrec(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def run_import(output: Path, *words: object) -> Result:
    return rxrec(*words, "vocabulary", "import", "--rxnorm", FIXTURES / "rxnorm", "--output", output)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("vocabulary") / "site"
    assert run_import(output).exit_code == 0
    return output


def ingest(tmp_path: Path, treatments: str, *words: object) -> dict:
    (tmp_path / "treatments.csv").write_text(treatments)
    result = rxrec("--json", "--workdir", tmp_path, "ingest", "--source", "csv", "--input", tmp_path, *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_row_known_only_by_a_products_code_is_mapped(tmp_path: Path, folder: Path) -> None:
    rows = (
        "patient_id,code,name\n"
        "p1,rxnorm:860975,\n"  # a clinical drug, no name at all
        "p2,ndc:0093-7214-01,HOUSE TABLET 7\n"  # a name that nobody else knows
        "p3,rxnorm:9000033,METFORMIN TAB\n"  # an obsolete code and a name that agree
        "p4,rxnorm:9000035,metformin\n"  # a code that is not understood: by its name
        "p5,rxnorm:9000043,sodium chloride flush\n"  # what the name says is no therapy
        "p6,ndc:99999-9999-99,HOUSE TABLET 8\n"
    )
    quality = ingest(tmp_path, rows, "--vocabulary", folder)
    assert quality["drug_names"]["rows_by_method"] == {"rxnorm product": 2, "ndc": 1, "exact": 1, "none": 1}
    assert quality["most_given"]["drug"][0] == {
        "code": "rxnorm:6809",
        "name": "metformin",
        "patients": 4,
        "events": 4,
    }
    assert [finding["reason"] for finding in quality["findings"] if "therapy" in finding["reason"]] == [
        "not therapy: saline flush or lock"
    ]
    # without the import only the names are known
    quality = ingest(tmp_path, rows)
    assert quality["drug_names"]["rows_by_method"] == {"exact": 1, "parsed": 1, "none": 3}


def test_a_sites_map_goes_before_the_codes(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "map.csv").write_text("source,target\nHOUSE TABLET 7,furosemide\n")
    rows = "patient_id,code,name\np1,ndc:0093-7214-01,HOUSE TABLET 7\n"
    quality = ingest(tmp_path, rows, "--vocabulary", folder, "--drug-map", tmp_path / "map.csv")
    assert quality["most_given"]["drug"][0]["name"] == "furosemide"


def test_what_was_done_is_told(tmp_path: Path) -> None:
    told = run_import(tmp_path / "a")
    assert told.exit_code == 0
    assert "1,875 ingredients, 252 combinations" in told.stdout
    assert "code corrected: 2" in told.stdout
    assert str(tmp_path / "a" / "report.csv") in told.stdout
    assert run_import(tmp_path / "b", "--quiet").output == ""
    data = json.loads(run_import(tmp_path / "c", "--json").stdout)
    assert data["output"] == str(tmp_path / "c")
    assert (data["counts"]["NDCs"], data["counts"]["ingredients without a class"]) == (5, 2)
    assert data["reported"]["code added"] == 1


def test_an_import_replaces_an_import_and_nothing_else(tmp_path: Path) -> None:
    output = tmp_path / "site"
    assert run_import(output).exit_code == 0
    (output / "combinations.csv").write_text("left over")
    assert run_import(output).exit_code == 0
    assert (output / "combinations.csv").read_text().startswith("ingredients,")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    result = run_import(mine)
    assert (result.exit_code, [file.name for file in mine.iterdir()]) == (3, ["thesis.txt"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mine", "site"]  # and leaves no working folder


def test_a_failed_import_leaves_what_was_there(tmp_path: Path) -> None:
    output = tmp_path / "site"
    assert run_import(output).exit_code == 0
    before = (output / "ingredients.csv").read_bytes()
    result = rxrec("vocabulary", "import", "--rxnorm", tmp_path, "--output", output)
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1].startswith("rxrec: ")
    assert (output / "ingredients.csv").read_bytes() == before


def test_a_vocabulary_folder_that_is_none_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "treatments.csv").write_text("patient_id,code\np1,a\n")
    result = rxrec("ingest", "--source", "csv", "--input", tmp_path, "--vocabulary", tmp_path / "nowhere")
    assert result.exit_code == 3
    assert "classes.csv" in result.stderr


def test_every_option_explains_itself() -> None:
    help_text = rxrec("vocabulary", "import", "--help").stdout
    for word in ("--rxnorm", "--medrt", "--output", "RxNorm_full_MMDDYYYY.zip", "Core_MEDRT_XML.zip"):
        assert word in help_text

"""`rxrec rules check`, `show` and `import`, as a pharmacist meets them: words, JSON, exit codes, and files written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from jobs.__main__ import main
from recommender.vocabulary.medrt import DISEASES_SCHEMA


def rxrec(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def answer(*words: object) -> dict:
    result = rxrec("--json", *words)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def site(tmp_path: Path, file: str, text: str) -> Path:
    folder = tmp_path / "site"
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(text)
    return folder


class TestCheck:
    def test_the_shipped_rules_are_whole_and_counted(self) -> None:
        found = answer("rules", "check")
        assert found["counts"]["interactions"] > 165 and found["counts"]["conditions"] >= 60
        assert sum(found["severities"]["labs"].values()) == found["counts"]["labs"]
        assert found["switched_off"] == found["without_effect"] == []
        text = rxrec("rules", "check").stdout
        assert f"rules {found['version']}" in text and "no fault found" in text

    def test_a_sites_rules_are_counted_with_ours(self, tmp_path: Path) -> None:
        folder = site(tmp_path, "off.csv", "id,reason,reviewed\nanticoagulant-nsaid,Our committee,2026-11-22\n")
        before, after = answer("rules", "check"), answer("rules", "check", "--rules", folder)
        assert after["switched_off"] == ["anticoagulant-nsaid"]
        assert after["counts"]["interactions"] == before["counts"]["interactions"] - 1
        assert after["version"] != before["version"]

    def test_a_slip_is_named_with_its_place(self, tmp_path: Path) -> None:
        folder = site(tmp_path, "off.csv", "id,reason,reviewed\nanticoagulant-nsaids,Our committee,2026-11-22\n")
        result = rxrec("rules", "check", "--rules", folder)
        assert result.exit_code == 3
        assert "off.csv, row 2, field id" in result.stderr

    def test_no_rules_is_an_error_of_its_own(self, tmp_path: Path) -> None:
        result = rxrec("--json", "rules", "check", "--rules", tmp_path / "nowhere")
        assert result.exit_code == 10
        assert json.loads(result.stdout)["error"] == "RulesMissing"


class TestShow:
    def test_what_is_known_of_a_drug_in_any_spelling(self) -> None:
        found = answer("rules", "show", "COUMADIN 5 MG TAB")
        assert found["drug"] == "warfarin"
        (warfarin,) = found["ingredients"]
        nsaid = next(rule for rule in warfarin["interactions"] if rule["id"] == "anticoagulant-nsaid")
        assert nsaid["severity"] == "serious" and "ibuprofen" in nsaid["with"] and nsaid["source"]
        assert {rule["id"] for rule in warfarin["populations"]} >= {"pregnancy-warfarin"}
        ranks = [rule["severity"] for rule in warfarin["interactions"]]
        assert ranks == sorted(ranks, key=["contraindicated", "serious", "caution"].index)

    def test_each_part_of_a_product(self) -> None:
        found = answer("rules", "show", "hydrochlorothiazide / lisinopril")
        assert [part["name"] for part in found["ingredients"]] == ["hydrochlorothiazide", "lisinopril"]
        assert "-- lisinopril" in rxrec("rules", "show", "hydrochlorothiazide / lisinopril").stdout

    def test_a_sites_rule_is_shown(self, tmp_path: Path) -> None:
        row = "x-1,serious,docusate,senna,gut,Why.,Told here.,Do this.,Our list,2026-11-22"
        columns = "id,severity,left,right,effect,mechanism,message,management,source,reviewed"
        folder = site(tmp_path, "interactions.csv", f"{columns}\n{row}\n")
        assert "Told here." in rxrec("rules", "show", "senna", "--rules", folder).stdout

    def test_an_unknown_drug_has_neighbours(self) -> None:
        result = rxrec("rules", "show", "warfin blue")
        assert result.exit_code == 3 and "Near it: warfarin" in result.stderr


class TestImportPairs:
    def run(self, tmp_path: Path, rows: str, *words: object) -> Result:
        (tmp_path / "list.csv").write_text(rows)
        command = ["rules", "import", "--pairs", tmp_path / "list.csv", "--output", tmp_path / "out"]
        return rxrec("--json", *command, *words)

    def test_a_list_becomes_rules_that_are_read_beside_ours(self, tmp_path: Path) -> None:
        rows = (
            "drug_a,drug_b,severity,message\n"
            "Senokot,DOCUSATE SODIUM 100 MG CAP,Major,Our own words.\n"
            "docusate,senna,serious,again\n"
            "warfarin,ibuprofen,moderate,\n"
        )
        result = self.run(tmp_path, rows)
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert found["written"] == {"interactions.csv": 2} and found["left_out"] == {"the same pair again": 1}
        written = list(csv.DictReader((tmp_path / "out" / "interactions.csv").read_text().splitlines()))
        assert [(row["id"], row["severity"], row["message"]) for row in written] == [
            ("site-docusate-senna", "serious", "Our own words."),
            ("site-ibuprofen-warfarin", "caution", "ibuprofen with warfarin: caution by this site's own list."),
        ]
        checked = answer("rules", "check", "--rules", tmp_path / "out")
        assert checked["without_effect"] == []  # its effect is not told, so it stands beside ours
        assert "Our own words." in rxrec("rules", "show", "docusate", "--rules", tmp_path / "out").stdout

    @pytest.mark.parametrize(
        ("rows", "says"),
        [
            ("drug_a,drug_b\nwarfarin,senna\n", "no column 'severity'"),
            ("drug_a,drug_b,severity\nwarfarinx yz,senna,serious\n", "row 2, field drug_a"),
            ("drug_a,drug_b,severity\nwarfarin,Bactrim,serious\n", "name the ingredient"),
            ("drug_a,drug_b,severity\nwarfarin,senna,bad\n", "row 2, field severity"),
            ("drug_a,drug_b,severity\nwarfarin,Coumadin,serious\n", "with itself"),
            ("drug_a,drug_b,severity\nwarfarin,senna,major\nsenna,warfarin,moderate\n", "row 3"),
            ("drug_a,drug_b,severity\n", "nothing to import"),
        ],
    )
    def test_a_broken_list_writes_nothing(self, tmp_path: Path, rows: str, says: str) -> None:
        result = self.run(tmp_path, rows)
        assert result.exit_code == 3 and says in json.loads(result.stdout)["message"]
        assert not (tmp_path / "out" / "interactions.csv").exists()

    def test_unknown_drugs_may_be_left_out_and_are_counted(self, tmp_path: Path) -> None:
        rows = "drug_a,drug_b,severity\nxqzzol,senna,serious\nwarfarin,senna,serious\n"
        found = json.loads(self.run(tmp_path, rows, "--skip-unknown").stdout)
        assert found["written"] == {"interactions.csv": 1} and found["unknown"] == {"xqzzol": 1}

    def test_no_table_is_overwritten(self, tmp_path: Path) -> None:
        rows = "drug_a,drug_b,severity\nwarfarin,senna,serious\n"
        assert self.run(tmp_path, rows).exit_code == 0
        assert "is there already" in json.loads(self.run(tmp_path, rows).stdout)["message"]

    def test_one_source_at_a_time(self, tmp_path: Path) -> None:
        assert rxrec("rules", "import", "--output", tmp_path).exit_code == 2


class TestImportMedRt:
    def parquet(self, tmp_path: Path, rows: list[tuple[str, str, str, str]]) -> Path:
        path = tmp_path / "medrt.parquet"
        columns = [list(column) for column in zip(*rows, strict=True)]
        pq.write_table(pa.table(columns, schema=DISEASES_SCHEMA), path)
        return path

    def test_contraindications_become_rules(self, tmp_path: Path) -> None:
        path = self.parquet(
            tmp_path,
            [
                ("rxnorm:6809", "CI_with", "Acidosis", "mesh:M1"),  # metformin: shipped as contraindicated
                ("rxnorm:6809", "CI_with", "Sepsis", "mesh:M2"),
                ("rxnorm:6809", "CI_with", "Seizures", "mesh:M3"),
                ("rxnorm:6809", "CI_with", "Epilepsy", "mesh:M4"),  # the same group as Seizures
                ("rxnorm:6809", "CI_with", "Pregnancy", "mesh:M5"),
                ("rxnorm:6809", "CI_with", "Invented Disease", "mesh:M6"),
                ("rxnorm:6809", "may_treat", "Diabetes Mellitus, Type 2", "mesh:M7"),
                ("rxnorm:1", "CI_with", "Sepsis", "mesh:M2"),
            ],
        )
        found = answer("rules", "import", "--medrt", path, "--output", tmp_path / "out")
        assert found["written"] == {"conditions.csv": 2, "populations.csv": 1}
        assert found["left_out"] == {
            "known already": 2,
            "a disease without a condition group": 1,
            "a drug that is not known": 1,
        }
        assert found["unknown"] == {"Invented Disease": 1, "rxnorm:1": 1}
        written = list(csv.DictReader((tmp_path / "out" / "conditions.csv").read_text().splitlines()))
        assert [(row["drugs"], row["conditions"], row["severity"]) for row in written] == [
            ("metformin", "epilepsy", "serious"),
            ("metformin", "sepsis", "serious"),
        ]
        shown = answer("rules", "show", "metformin", "--rules", tmp_path / "out")
        assert {rule["id"] for rule in shown["ingredients"][0]["populations"]} >= {"medrt-metformin-state-pregnant"}

    def test_what_is_no_medrt_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "medrt.parquet").write_text("no")
        result = rxrec("rules", "import", "--medrt", tmp_path / "medrt.parquet", "--output", tmp_path / "out")
        assert result.exit_code == 3 and "medrt.parquet" in result.stderr

"""Each command as a person or a scheduler meets it: words, JSON, exit codes."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from jobs.__main__ import main
from recommender.settings import Settings
from recommender.store import open_store

PATIENTS = "patient_id,birth_date,sex\n" + "".join(f"p{i},19{50 + i}-01-01,{'FM'[i % 2]}\n" for i in range(8))
TREATMENTS = "patient_id,code,name,start\n" + "".join(
    f"p{i},{code},{name},2024-0{1 + i}-01\n"
    for i in range(8)
    for code, name in (("a", "alpha"), ("b", "beta"), ("c", "gamma"))[: 1 + i % 3]
)


ENDS = ("html", "json")
TABLES = ("conditions", "duplicates", "interactions", "not_on_formulary")


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "patients.csv").write_text(PATIENTS)
    (folder / "treatments.csv").write_text(TREATMENTS)
    return folder


@pytest.fixture
def rxrec(settings: Settings):
    """Run the command line on the test's own installation; gives the result with exit code, stdout and stderr."""
    environment = {"REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(settings.workdir)}

    def run(*words: object):
        return CliRunner().invoke(main, [str(word) for word in words], env=environment, catch_exceptions=False)

    return run


def nightly(export: Path) -> list[object]:
    return ["nightly", "--source", "csv", "--input", export, "--vocabulary", "none"]


class TestNightly:
    def test_an_export_becomes_a_served_version(self, rxrec, export, settings):
        result = rxrec("--json", *nightly(export))
        assert result.exit_code == 0
        summary = json.loads(result.stdout)
        # a: 8 patients, b: 5 (i % 3 >= 1), c: 2, which is too few to be suggested
        assert summary["counts"]["treatments_events"] == 8 + 5 + 2
        assert summary["counts"]["suggestable"] == 2
        with open_store(settings) as store:
            assert store.current() == summary["version"]
            release = store.release(summary["version"])
            entry = store.entry(release, "p0")  # had alpha alone, so beta is what is left
        assert [release.index.columns[c].code for c in entry.columns] == ["b"]

    def test_one_kind_can_be_published(self, rxrec, export, settings):
        visits = "".join(f"p{i},{'e' if i % 2 else 'w'},visit,2024-01-01,care_resource\n" for i in range(8))
        rows = TREATMENTS.replace("\n", ",\n").replace("start,", "start,kind", 1)
        (export / "treatments.csv").write_text(rows + visits)
        for asked, kinds in (([], ("drug", "care_resource")), (["--kind", "care_resource"], ("care_resource",))):
            summary = json.loads(rxrec("--json", *nightly(export), *asked).stdout)
            assert summary["counts"]["distinct_care_resources"] == 2
            with open_store(settings) as store:
                assert store.release(summary["version"]).index.target_kinds == kinds

    def test_the_run_is_kept_for_its_owner_only(self, rxrec, export):
        run = Path(json.loads(rxrec("--json", *nightly(export)).stdout)["run"])
        assert {f.relative_to(run).as_posix() for f in run.rglob("*") if f.is_file()} == {
            *(f"reports/{name}/{name}.{end}" for name in ("card", "quality", "pharmacy", "history") for end in ENDS),
            "reports/quality/rules.csv",
            *(f"reports/pharmacy/{name}.csv" for name in TABLES),
            "gate.json",
            "ingest.json",
            "run.json",
            "release/chart",
            "release/columns",
            "release/given",
            "release/manifest",
            "release/model/weights",
            *(f"release/support/{name}" for name in ("columns", "counts", "patients", "targets", "totals")),
        }
        assert all(f.stat().st_mode & 0o077 == 0 for f in [run, *run.rglob("*")])
        assert json.loads((run / "ingest.json").read_text())["files"]["patients.csv"]["kept"] == 8

    def test_rejections_are_told(self, rxrec, export):
        (export / "treatments.csv").write_text(TREATMENTS + "p0,a,alpha,no date\n")
        result = rxrec(*nightly(export))
        assert result.exit_code == 0
        assert "treatments.csv" in result.stderr
        assert "1 rejected (rows 17)" in result.stderr
        assert "screened by rules" in result.stdout

    def test_quiet_says_nothing(self, rxrec, export):
        result = rxrec("--quiet", *nightly(export))
        assert (result.exit_code, result.output) == (0, "")

    @pytest.mark.parametrize(
        ("breaking", "code", "words"),
        [
            (lambda e: (e / "treatments.csv").unlink(), 3, "treatments.csv"),
            (lambda e: (e / "treatments.csv").write_bytes(b""), 3, "treatments.csv"),
            (lambda e: (e / "treatments.csv").write_bytes(b"patient_id,code\np0,\xff\xfe\n"), 3, "treatments.csv"),
            (lambda e: (e / "treatments.csv").write_text("patient_id;code\np0;a\n"), 3, "treatments.csv"),
            (lambda e: (e / "treatments.csv").write_text("patient_id,code,start\np0,a,2024-01-01\n"), 8, "3 or more"),
        ],
        ids=["missing", "empty", "not UTF-8", "wrong delimiter", "too little"],
    )
    def test_a_failed_run_leaves_the_served_version(self, rxrec, export, settings, breaking, code, words):
        version = json.loads(rxrec("--json", *nightly(export)).stdout)["version"]
        breaking(export)
        result = rxrec(*nightly(export))
        assert result.exit_code == code
        assert result.stderr.splitlines()[-1].startswith("rxrec: ")
        assert words in result.stderr
        assert "Traceback" not in result.output
        with open_store(settings) as store:
            assert store.current() == version
            assert [v.version for v in store.versions()] == [version]

    def test_a_store_that_is_down_is_found_out_first(self, export, tmp_path):
        environment = {"REDIS_URL": "redis://127.0.0.1:1/0", "RXREC_WORKDIR": str(tmp_path)}
        result = CliRunner().invoke(main, ["--json", *map(str, nightly(export))], env=environment)
        assert result.exit_code == 4
        assert json.loads(result.stdout)["error"] == "StoreUnavailable"
        assert not (tmp_path / "runs").exists()


class TestDrugNames:
    def ingest(self, rxrec, export, tmp_path, *words):
        result = rxrec("--json", "--workdir", tmp_path, "ingest", "--input", export, *words)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def test_a_sites_own_map_names_its_drugs(self, rxrec, export, tmp_path):
        names = self.ingest(rxrec, export, tmp_path)["drug_names"]
        assert (names["rows_by_method"], names["unmapped_names"]) == ({"none": 15}, 3)  # alpha, beta, gamma
        (tmp_path / "map.csv").write_text("source,target\nalpha,metformin\n")
        quality = self.ingest(rxrec, export, tmp_path, "--drug-map", tmp_path / "map.csv")
        assert quality["drug_names"]["unmapped_names"] == 2
        assert quality["most_given"]["drug"][0] == {
            "code": "rxnorm:6809",
            "name": "metformin",
            "patients": 8,
            "events": 8,
        }

    def test_a_line_for_a_code_goes_before_the_name_beside_it(self, rxrec, tmp_path):
        (tmp_path / "export").mkdir()
        rows = "".join(f"p{n},4711,lisinopril 10 mg\np{n},4712,heparin\n" for n in range(3))
        (tmp_path / "export" / "treatments.csv").write_text(f"patient_id,code,name\n{rows}")
        (tmp_path / "map.csv").write_text("source,target\n4711,rxnorm:6809\n4712,not therapy: catheter lock\n")
        quality = self.ingest(rxrec, tmp_path / "export", tmp_path, "--drug-map", tmp_path / "map.csv")
        assert [drug["name"] for drug in quality["most_given"]["drug"]] == ["metformin"]
        assert [f["reason"] for f in quality["findings"] if f["outcome"] == "rejected"] == [
            "not therapy: catheter lock"
        ]

    def test_a_map_without_the_vocabulary_is_wrong_usage(self, rxrec, export, tmp_path):
        words = ["ingest", "--input", export, "--vocabulary", "none", "--drug-map", tmp_path / "map.csv"]
        assert rxrec(*words).exit_code == 2

    def test_a_map_that_is_not_there_is_an_error_in_words(self, rxrec, export, tmp_path):
        result = rxrec("ingest", "--input", export, "--drug-map", tmp_path / "map.csv")
        assert result.exit_code == 3
        assert "map.csv" in result.stderr


class TestVersions:
    def test_nothing_published(self, rxrec):
        assert rxrec("versions").stdout == "nothing has been published yet\n"
        assert rxrec("rollback").exit_code == 6

    def test_going_back_one_version(self, rxrec, export):
        first, second = (json.loads(rxrec("--json", *nightly(export)).stdout)["version"] for _ in range(2))
        assert rxrec("rollback").stdout == f"version {first} is being served again\n"
        listed = json.loads(rxrec("--json", "versions").stdout)["versions"]
        assert {v["version"]: v["served"] for v in listed} == {first: True, second: False}


def test_evaluate_prints_both_models(rxrec, export):
    result = rxrec("evaluate", "--source", "csv", "--input", export, "--vocabulary", "none", "--seed", 1)
    assert result.exit_code == 0
    assert "linear" in result.stdout
    assert "popularity" in result.stdout


def test_evaluate_asks_for_kinds(rxrec, export):
    words = ["evaluate", "--source", "csv", "--input", export, "--vocabulary", "none", "--seed", 1]
    assert "treatments (drug, procedure, care_plan)" in rxrec(*words).stdout
    assert "treatments (drug)" in rxrec(*words, "--kind", "drug").stdout
    assert rxrec(*words, "--kind", "procedure").exit_code == 8  # the hospital has drugs only


def test_wrong_usage_is_exit_code_2(rxrec):
    assert rxrec("nightly", "--source", "stone tablets", "--input", ".").exit_code == 2


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_and_option_explains_itself(name):
    command = main.commands[name]
    assert command.help
    for option in command.params:
        if isinstance(option, click.Argument):  # click gives an argument no help of its own: the command's tells of it
            assert command.help and option.name in ("patient",)
            continue
        assert option.help or isinstance(option.type, click.Choice), f"{name} {option.name}"


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_stands_in_the_readme(name):
    assert f"rxrec {name}" in (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize("value", ["0", "-1", "many", "²"])
def test_a_bad_setting_is_an_error_in_words(rxrec, value):
    result = CliRunner().invoke(main, ["versions"], env={"RXREC_KEEP_VERSIONS": value})
    assert result.exit_code == 1
    assert "RXREC_KEEP_VERSIONS" in result.stderr

"""`rxrec evaluate --report`: the tables, the JSON and the page, looked at in a real browser."""

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from data.synthetic import write_hospital
from jobs.__main__ import main
from jobs.evaluation_report import FEW, safety_without_few, without_few, without_few_groups


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    write_hospital(folder / "sample", patients=300, seed=3)
    words = ["--workdir", str(folder), "evaluate", "--source", "synthea", "--input", str(folder / "sample")]
    words += ["--model", "directed", "--model", "popularity", "--protocol", "next-visit", "--folds", "2"]
    result = CliRunner().invoke(main, [*words, "--report", "judged"], catch_exceptions=False)
    assert result.exit_code == 0
    return folder / "judged", result


def test_every_file_is_there_for_its_owner_only(report):
    folder, result = report
    tables = ["by_length", "by_rarity", "by_repeat", "by_group", "largest_gaps", "reliability"]
    tables += ["reliability_by_rarity", "calibration_methods", "safety"]
    names = {"evaluation.json", "evaluation.html", "figures.parquet", *(f"{name}.csv" for name in tables)}
    assert {file.name for file in folder.iterdir()} == names
    assert all(file.stat().st_mode & 0o077 == 0 for file in (folder, *folder.iterdir()))
    assert f"report: {folder / 'evaluation.html'}" in result.stdout


def test_the_json_the_tables_and_the_figures_agree(report):
    folder, _ = report
    told = json.loads((folder / "evaluation.json").read_text())
    figures = pd.read_parquet(folder / "figures.parquet")
    assert list(figures) == ["example", "person", "model", "metric", "value"]
    assert figures["person"].nunique() == told["patients"]
    assert figures["example"].nunique() == told["tested"]
    means = figures.groupby(["model", "metric"])["value"].mean()
    for model in ("directed", "popularity"):
        assert means[model]["ndcg"] == pytest.approx(told["models"][model]["ndcg"]["value"])
    lengths = pd.read_csv(folder / "by_length.csv").set_index(["model", "k", "metric"])["value"]
    assert lengths["directed", 10, "recall"] == pytest.approx(told["models"]["directed"]["recall"]["value"])
    assert told["by"] == "patient"
    assert told["first"] == "directed"
    assert {row["attribute"] for row in told["by_group"]} >= {"sex", "age", "visit"}


def test_no_patient_and_no_few_patients_stand_in_it(report):
    folder, _ = report
    patients = pd.read_csv(folder.parent / "sample" / "patients.csv")["Id"]
    text = "".join(file.read_text() for file in folder.iterdir() if file.suffix != ".parquet")
    assert not any(patient in text for patient in patients)
    counts = [row["patients"] for rows in json.loads((folder / "evaluation.json").read_text()).values()
              if isinstance(rows, list) for row in rows if "patients" in row]  # fmt: skip
    assert min(count for count in counts if count is not None) >= FEW
    assert None in counts


def test_the_page_holds_the_figures_and_stands_alone(report, chromium):
    folder, _ = report
    told = json.loads((folder / "evaluation.json").read_text())
    with chromium.new_page(viewport={"width": 360, "height": 800}) as page:
        requests, errors = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: errors.append(message.text))
        page.goto((folder / "evaluation.html").as_uri())
        text = page.inner_text("body")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("svg[role=img]").count() == 2
        assert all(page.locator("svg[role=img] > title").all_text_contents())
        assert page.locator("svg:not([role=img]):not([aria-hidden=true])").count() == 0
    assert len(requests) == 1  # the page itself
    assert not errors
    for name, figures in told["models"].items():
        assert name in text
        assert f"{figures['ndcg']['value']:.3f}" in text
    for heading in (
        "What was asked",
        "Repeats and new starts",
        "Groups of patients",
        "Whether the lists are safe",
        "What the figures do not say",
    ):
        assert heading in text
    assert "NaN" not in text
    assert "nan" not in text.split()


def test_the_screen_is_told_apart_from_what_was_given(report):
    folder, _ = report
    told = json.loads((folder / "evaluation.json").read_text())
    rows = {(row["length"], row["list"]): row for row in told["safety"]}
    assert rows["10", "screened, cost 0"]["contraindicated"] == 0
    assert rows["10", "unscreened"]["contraindicated"] > 0
    assert ("as begun", "truly begun") in rows and ("10", "truly begun") not in rows
    assert rows["10", "unscreened"]["ndcg_gain_value"] == 0
    few = safety_without_few(
        pd.DataFrame(
            {
                "length": "10", "list": ["a", "b", "c"], "drugs": 10.0, "contraindicated": [0.0, 5.0, 5.5],
                "serious": 100.0, "pairs contraindicated": 0.0, "pairs serious": 0.0,
                "ndcg": None, "ndcg gain": None, "recall gain": None,
            }
        ), 200,
    )  # fmt: skip
    # 0, 10 and 11 events in 200 lists
    assert few["contraindicated"].isna().tolist() == [False, True, False]


def test_by_calendar_and_by_hospital(report):
    folder, _ = report
    words = ["--json", "evaluate", "--source", "synthea", "--input", str(folder.parent / "sample")]
    words += ["--model", "popularity", "--protocol", "started"]

    def run(*more):
        return CliRunner().invoke(main, [*words, *more], catch_exceptions=False)

    calendar = json.loads(run("--by", "calendar", "--cutoff", "2022-01-01").stdout)
    assert calendar["by"] == "calendar"
    assert calendar["folds"] == 1
    assert calendar["tested"] < json.loads(run().stdout)["tested"]
    assert "groups cannot be split" in run("--by", "hospital").stdout  # the sample is one hospital
    assert run("--by", "calendar").exit_code == 2
    assert run("--cutoff", "2022-01-01").exit_code == 2


def test_counts_that_would_follow_from_the_total_are_left_out_too():
    table = pd.DataFrame(
        {
            "metric": "ndcg",
            "attribute": ["race"] * 3 + ["sex"] * 3,
            "group": ["a", "b", "c", "F", "M", "other"],
            "patients": [5, 40, 100, 50, 60, 70],
            "examples": [5, 40, 100, 50, 60, 70],
        }
    )
    found = without_few_groups(table)
    # 5 alone would be the total less the others, so 40 goes as well
    assert found["patients"].isna().tolist() == [True, True, False, False, False, False]
    assert found["examples"].isna().tolist() == found["patients"].isna().tolist()


def test_no_group_at_all_is_no_row():
    columns = ["metric", "attribute", "group", "examples", "patients"]
    assert without_few_groups(pd.DataFrame(columns=columns)).empty


def test_rows_of_few_patients_lose_their_counts_and_figures():
    table = pd.DataFrame({"trained": ["under 10", "10 to 99"], "patients": [FEW - 1, FEW], "found": [3, 4]})
    table = table.assign(value=[0.3, 0.4], low=[0.1, 0.2], high=[0.5, 0.6])
    found = without_few(table)
    assert found.drop(columns="trained").isna().all(axis=1).tolist() == [True, False]
    assert np.array_equal(found["trained"], table["trained"])

"""`rxrec ingest`: the summary, the JSON and the page, looked at in a real browser; nothing is published."""

import json

import pytest
from click.testing import CliRunner

from data.synthetic import write_hospital
from jobs.__main__ import main


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ingest")
    write_hospital(folder / "sample", patients=300, seed=3)
    text = (folder / "sample" / "medications.csv").read_text().replace("Simvastatin", "<b>Simvostatinum</b>", 1)
    (folder / "sample" / "medications.csv").write_text(text)
    words = ["--workdir", str(folder), "ingest", "--source", "synthea", "--input", str(folder / "sample")]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0
    return folder, result


def test_the_summary_and_the_files_agree(report):
    folder, result = report
    quality = json.loads((folder / "data-quality" / "data_quality.json").read_text())
    read = sum(file["read"] for file in quality["files"].values())
    assert f"{read:,} rows read" in result.stdout
    assert quality["patients"]["count"] == 300
    assert str(folder / "data-quality" / "data_quality.html") in result.stdout
    assert not (folder / "redis-data").exists()  # no store was opened


def test_it_is_for_its_owner_only(report):
    folder, _ = report
    files = [folder / "data-quality", *(folder / "data-quality").iterdir()]
    assert len(files) == 3
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)


def test_the_page_holds_the_figures_and_stands_alone(report, chromium):
    folder, _ = report
    quality = json.loads((folder / "data-quality" / "data_quality.json").read_text())
    with chromium.new_page(viewport={"width": 360, "height": 800}) as page:
        requests, errors = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: errors.append(message.text))
        page.goto((folder / "data-quality" / "data_quality.html").as_uri())
        text = page.inner_text("body")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("b").count() == 0  # a name from the data stays text
    assert len(requests) == 1  # the page itself
    assert not errors
    for file, rows in quality["files"].items():
        assert file in text
        assert f"{rows['read']:,}" in text
    for finding in quality["findings"]:
        assert finding["reason"] in text
    assert "simvostatinum" in text.lower()

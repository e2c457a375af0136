"""`rxrec fit`: what it writes, and that a night goes by it."""

import json

import pytest
from click.testing import CliRunner

from data.synthetic import write_hospital
from jobs.__main__ import main
from recommender.selection import BUDGET


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hospital") / "sample"
    write_hospital(folder, patients=500, seed=9)
    return folder


@pytest.fixture
def rxrec(settings, sample):
    environment = {"REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(settings.workdir)}

    def run(*words):
        return CliRunner().invoke(main, [*words, "--input", str(sample)], env=environment, catch_exceptions=False)

    return run


def test_a_night_uses_what_was_selected(rxrec, settings):
    result = rxrec("--json", "fit", "--model", "directed", "--balance", "race")
    assert result.exit_code == 0, result.output
    file = settings.workdir / "selected_model.json"
    selected = json.loads(file.read_text())
    tried = selected["validation"]["tried"]
    assert len(tried) == BUDGET
    best = max(tried, key=lambda one: round(one["ndcg"]["value"], 3))
    assert best["parameters"].items() <= selected["parameters"].items()
    assert selected["test"]["low"] > selected["test"]["baseline"]["high"]
    assert selected["test"]["gain"]["low"] > 0
    assert selected["test_without_balance"]["patients"] == selected["test"]["patients"]
    assert selected["data"]["patients"] == 500
    assert json.loads(result.stdout)["test"] == selected["test"]

    night = json.loads(rxrec("--json", "nightly").stdout)
    chosen = {"name": "directed", "parameters": selected["parameters"], "balance": "race"}
    assert night["chosen"] == {"model": chosen, "why": f"selected by `rxrec fit` on {selected['created']}"}
    assert night["quality"]["value"] == pytest.approx(selected["test"]["value"])  # the same patients, by the seed


def test_it_says_what_it_chose_in_words(rxrec, settings):
    result = rxrec("fit", "--model", "conditional", "--kind", "drug")
    assert result.exit_code == 0, result.output
    assert "conditional on " in result.stdout
    assert "largest gap: " in result.stdout
    assert f"written to {settings.workdir / 'selected_model.json'}" in result.stdout


def test_a_spoilt_file_stops_the_night(rxrec, settings):
    (settings.workdir / "selected_model.json").write_text("{}")
    result = rxrec("nightly")
    assert result.exit_code == 3
    assert "selected_model.json: names no model of this version" in result.stderr

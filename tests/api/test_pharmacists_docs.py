"""docs/pharmacists.md does what it says: its examples run against a server, its answer and its formulary are real."""

import csv
import json
import re
import sys

from api.types import MOST_DRUGS, TreatmentQuery
from recommender.formulary import Formulary
from recommender.vocabulary import DrugVocabulary
from tests.api.documented import DOCS, blocks

TEXT = (DOCS / "pharmacists.md").read_text()


def test_the_check(run):
    found = json.loads(run("bash", "-euc", blocks(TEXT, "bash")[0]))
    (written,) = map(json.loads, blocks(TEXT, "json"))
    shown = written.pop("findings")
    # the version changes with every rule: the page shows one that was
    version = written["rules"].pop("version")
    assert found["rules"].pop("version") and re.fullmatch(r"[0-9a-f]{16}", version)
    assert re.sub("[0-9a-f]{16}", "", found["statement"]) == re.sub("[0-9a-f]{16}", "", written.pop("statement"))
    assert found["findings"][: len(shown)] == shown
    assert {name: found[name] for name in written} == written
    assert [one["guesses"][0]["name"] for one in found["not_checked"]] == ["clarithromycin"]
    assert str(MOST_DRUGS) in TEXT

    (python,) = blocks(TEXT, "python")
    printed = run(sys.executable, "-c", python)
    assert "3 of 4 drugs checked" in printed
    assert "serious warfarin + ibuprofen - Avoid" in printed
    assert "NOT CHECKED: clarithromycn - " in printed and "['clarithromycin']" in printed


def test_the_other_examples(run, tmp_path):
    _, find, export, one_drug, fhir = blocks(TEXT, "bash")
    assert json.loads(run("bash", "-euc", find))["items"][0]["name"] == "metformin"
    assert run("bash", "-euc", export) == "304\n"
    with (tmp_path / "treatments.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) > 2000
    answers = [json.loads(run("bash", "-euc", line)) for line in one_drug.splitlines()]
    assert [answer["name"] for answer in answers] == ["warfarin", "simvastatin", "metformin", "diabetes"]
    bundle = json.loads(run("bash", "-euc", fhir))
    assert bundle["resourceType"] == "Bundle" and len(bundle["entry"]) == 2


def test_the_formulary(tmp_path):
    (text,) = blocks(TEXT, "csv")
    (tmp_path / "formulary.csv").write_text(text)
    formulary = Formulary.load(tmp_path / "formulary.csv", DrugVocabulary.load())
    assert not formulary.unknown
    codes = ("rxnorm:6809", "rxnorm:29046", "rxnorm:11289", "rxnorm:83367")
    assert [formulary.status(code) for code in codes] == ["formulary", "formulary", "restricted", "non_formulary"]


def test_every_parameter_is_named():
    names = {"class" if name == "class_" else name for name in TreatmentQuery.__struct_fields__}
    table = TEXT[TEXT.index("| Parameter of") : TEXT.index("The order is stable")]
    assert names == set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", table, re.M)[2:])))

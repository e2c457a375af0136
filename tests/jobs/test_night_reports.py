"""What a night writes once its version is served: what was asked for; where a report cannot be written, why."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from data.synthetic import write_hospital
from jobs import night_reports
from jobs.__main__ import main
from jobs.night_reports import Wanted
from recommender.errors import InputError
from recommender.store import open_store


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hospital") / "sample"
    write_hospital(folder, patients=60, seed=5)
    return folder


@pytest.fixture
def night(settings, sample):
    """`night("--reports", "card")`: the result, what was printed as JSON, and the events of the run."""
    environment = {"REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(settings.workdir)}
    watched = settings.workdir / "events.jsonl"

    def run(*words):
        asked = ["--json", "nightly", "--input", sample, "--gate", "off", "--events", watched, *words]
        result = CliRunner().invoke(main, [str(word) for word in asked], env=environment, catch_exceptions=False)
        events = [json.loads(line) for line in watched.read_text().splitlines()]
        return result, json.loads(result.stdout), events

    return run


def written(told) -> set[str]:
    folder = Path(told["run"]) / "reports"
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_two_nights_write_every_report_and_the_lists_asked_for(night, sample, tmp_path):
    wish = {"old": {"age_from": 60, "formats": ["ndjson"], "n": 3}, "ward": {"ids": str(tmp_path / "ward.csv")}}
    (tmp_path / "lists.json").write_text(json.dumps(wish))
    patients = (sample / "patients.csv").read_text().splitlines()
    (tmp_path / "ward.csv").write_text("patient_id\n" + patients[1].split(",")[0] + "\n")
    (tmp_path / "site.json").write_text('{"developer": "The hospital\'s own."}')
    result, told, events = night("--lists", tmp_path / "lists.json", "--site", tmp_path / "site.json")
    assert (result.exit_code, told["reports"]["left_out"]) == (0, {"drift": "this is the first version"})
    found = written(told)
    assert {"card/card.html", "quality/quality.html", "pharmacy/pharmacy.html", "history/history.json"} <= found
    assert {"lists/old/patients.ndjson", "lists/ward/patients-0001.pdf"} <= found
    assert not any(name.startswith("drift") for name in found)
    assert "The hospital's own." in (Path(told["run"]) / "reports" / "card" / "card.json").read_text()
    lines = (Path(told["run"]) / "reports" / "lists" / "old" / "patients.ndjson").read_text().splitlines()[1:]
    assert lines and all(json.loads(line)["age"] >= 60 for line in lines)
    assert all(len(json.loads(line)["suggestions"]) <= 3 for line in lines)
    assert all(file.stat().st_mode & 0o077 == 0 for file in Path(told["run"]).rglob("*"))
    reported = [(event["report"], event["state"]) for event in events if event["event"] == "report"]
    assert reported[:4] == [("card", "done"), ("quality", "done"), ("pharmacy", "done"), ("drift", "left out")]
    assert "reports" in told["seconds"]
    result, told, _ = night("--reports", "drift,history")
    assert {name.split("/")[0] for name in written(told)} == {"drift", "history"}
    assert "rxrec_drift_index" in (Path(told["run"]) / "reports" / "drift" / "drift.prom").read_text()


def test_a_report_that_fails_undoes_nothing_and_is_told(night, settings, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("of PATIENT-77")

    monkeypatch.setattr(night_reports, "pharmacy_folder", fail)
    (tmp_path / "lists.json").write_text('{"ward": {"ids": "/no/such/ward.csv"}}')
    result, told, events = night("--reports", "pharmacy,history", "--lists", tmp_path / "lists.json")
    assert result.exit_code == 14
    assert told["reports"]["failed"].keys() == {"pharmacy", "lists/ward"}
    assert told["reports"]["failed"]["pharmacy"].startswith("ValueError in test_night_reports.py, line ")
    assert "cannot be read" in told["reports"]["failed"]["lists/ward"]
    assert "PATIENT-77" not in result.output + json.dumps(events)
    assert {name.split("/")[0] for name in written(told)} == {"history"}
    assert events[-1]["event"] == "run"
    assert (events[-1]["state"], events[-1]["exit_code"]) == ("done", 14)
    with open_store(settings) as store:
        assert store.current() == told["version"]


def test_what_looks_at_every_patient_is_left_out_of_a_large_hospital_unless_it_is_named(night, monkeypatch):
    monkeypatch.setattr(night_reports, "MOST_WALKED", 10)
    _, told, _ = night()
    assert told["reports"]["folders"].keys() == {"card", "history"}
    assert told["reports"]["left_out"].keys() == {"quality", "pharmacy", "drift"}
    assert "ask for it by name" in told["reports"]["left_out"]["pharmacy"]
    _, told, _ = night("--reports", "pharmacy")
    assert told["reports"]["folders"].keys() == {"pharmacy"}


def test_a_person_is_told_on_stderr_which_reports_failed(settings, sample, monkeypatch):
    monkeypatch.setattr(night_reports, "history_folder", lambda *_: {}["absent"])
    environment = {"REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(settings.workdir)}
    words = ["--quiet", "nightly", "--input", str(sample), "--reports", "history"]
    result = CliRunner().invoke(main, words, env=environment)
    assert result.exit_code == 14
    assert result.stdout == ""
    assert "is being served, but reports could not be written: history: KeyError in" in result.stderr


@pytest.mark.parametrize(
    ("reports", "lists", "why"),
    [
        ("card,stars", None, "stars: none of card"),
        ("card", {"../up": {}}, "must be named with letters"),
        ("card", {"a": {"age": 3}}, "no other keys than"),
        ("card", {"a": {"conditions": "asthma"}}, "list of texts as 'conditions'"),
        ("card", {"a": {"age_from": "old"}}, "a number as 'age_from'"),
        ("card", {"a": {"formats": ["docx"]}}, "formats of html"),
        ("card", {"a": {"sex": "X"}}, "'F' or 'M'"),
        ("card", {"a": {"n": 0}}, "from 1 to 50"),
        ("card", [1], "one JSON object"),
    ],
)
def test_a_wish_that_no_night_could_grant_is_refused_before_it_begins(tmp_path, reports, lists, why):
    file = tmp_path / "lists.json"
    file.write_text(json.dumps(lists))
    with pytest.raises(InputError, match=why):
        Wanted.of(reports, file if lists is not None else None, None)


def test_a_key_of_the_site_that_is_none_is_refused_before_the_night(tmp_path):
    (tmp_path / "site.json").write_text('{"fundings": "x"}')
    with pytest.raises(InputError, match="fundings: none of"):
        Wanted.of("none", None, tmp_path / "site.json")
    assert Wanted.of("none", None, None) == Wanted((), {}, None)

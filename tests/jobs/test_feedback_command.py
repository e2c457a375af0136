"""`rxrec feedback`, and a night that learns from it: words, files, exit codes."""

import csv
import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from data.synthetic import write_hospital
from jobs.__main__ import main
from jobs.feedback import in_words
from recommender.feedback import FILE, FeedbackEvent, FeedbackLog, publishable, summarise
from recommender.loaders import load
from recommender.moments import moments_of_visits, usual_hours
from recommender.store import open_store

DAY = datetime(2025, 3, 1, tzinfo=UTC)


def event(number, outcome="accepted", reason="", **changes):
    usual = {
        "event_id": f"e{number}",
        "patient_id": f"PAT-{number}",
        "code": "rxnorm:36567",
        "kind": "drug",
        "outcome": outcome,
        "version": "v1",
        "occurred": DAY + timedelta(hours=number),
        "channel": "page",
        "reason": reason,
    }
    return FeedbackEvent(**usual | changes)


@pytest.fixture
def log(tmp_path):
    return FeedbackLog(tmp_path)


@pytest.fixture
def rxrec(tmp_path):
    """Without a Redis: these commands need none."""
    environment = {"REDIS_URL": "redis://127.0.0.1:1/0", "RXREC_WORKDIR": str(tmp_path)}
    return lambda *words: CliRunner().invoke(main, [str(w) for w in words], env=environment, catch_exceptions=False)


class TestSummary:
    def test_nothing_said_yet(self, rxrec, tmp_path):
        result = rxrec("feedback", "summary")
        assert result.exit_code == 0
        assert result.stdout.splitlines()[0] == "0 events, 0 taken back"
        assert list(tmp_path.iterdir()) == []

    def test_words(self, rxrec, log):
        log.append_many([event(n) for n in range(30)])
        log.append_many(event(n, "overridden", "will-monitor", rule_ids=("onc-1",)) for n in range(100, 140))
        log.append(event(200, "rejected", "patient-declines", rule_ids=("onc-1", "onc-2")))
        assert rxrec("feedback", "summary").stdout.splitlines() == [
            "71 events, 0 taken back",
            "  30 accepted, <11 rejected, (hidden) overridden",
            "reasons of 41:",
            "  (hidden)  Will monitor",
            "       <11  Patient declines",
            "treatments:",
            "  rxnorm:36567: 50 or more, 25% to 50% accepted",
            "rules, where a warning was shown:",
            "  onc-1: 20 or more, 90% or more overridden",
            "always overridden, review: onc-1",
        ]
        data = json.loads(rxrec("--json", "feedback", "summary").stdout)
        assert (data["events"], data["outcomes"]["rejected"], data["always_overridden"]) == (71, "<11", ["onc-1"])

    def test_since(self, rxrec, log):
        log.append_many([event(n) for n in range(72)])
        assert json.loads(rxrec("--json", "feedback", "summary", "--since", "2025-03-02").stdout)["events"] == 48
        late = json.loads(rxrec("--json", "feedback", "summary", "--since", "2025-04-01").stdout)
        assert (late["since"], late["events"]) == ("2025-04-01", 0)
        assert rxrec("feedback", "summary", "--since", "yesterday").exit_code == 2

    def test_no_patient_and_no_small_number_is_printed(self, rxrec, log):
        log.append_many(event(n, "rejected", "other", comment=f"QQ47 {n}", rule_ids=("onc-9",)) for n in range(10))
        for words in (["feedback", "summary"], ["--json", "feedback", "summary"]):
            said = rxrec(*words).stdout
            assert "PAT-" not in said and "QQ47" not in said and "onc-9" not in said and "10" not in said
        assert "<11 events" in said or '"<11"' in said

    def test_a_damaged_log_has_an_exit_code_of_its_own(self, rxrec, tmp_path):
        (tmp_path / FILE).write_bytes(b"no log")
        result = rxrec("feedback", "summary")
        assert result.exit_code == 11
        assert "put a backup in its place" in result.stderr
        assert rxrec("feedback", "export", "--out", tmp_path / "all.csv").exit_code == 11
        assert not (tmp_path / "all.csv").exists()
        assert (tmp_path / FILE).read_bytes() == b"no log"


class TestExport:
    def test_json_lines_come_back_as_they_were(self, rxrec, log, tmp_path):
        events = [event(1), event(2, "rejected", "other", comment='=1+1,"\né', rule_ids=("a", "b"), rank=2)]
        log.append_many(events)
        result = rxrec("feedback", "export", "--out", tmp_path / "all.jsonl")
        assert result.stdout == f"2 events written to {tmp_path / 'all.jsonl'}\n"
        lines = (tmp_path / "all.jsonl").read_text().splitlines()
        assert [FeedbackEvent.from_dict(json.loads(line)) for line in lines] == events
        assert (tmp_path / "all.jsonl").stat().st_mode & 0o777 == 0o600

    def test_csv_runs_nothing_in_a_spreadsheet(self, rxrec, log, tmp_path):
        log.append_many([event(1), event(2, "rejected", "other", comment='=1+1,"\né', rule_ids=("a", "b"), rank=2)])
        assert rxrec("feedback", "export", "--out", tmp_path / "all.csv", "--since", "2025-03-01").exit_code == 0
        with (tmp_path / "all.csv").open(newline="", encoding="utf-8") as stream:
            first, second = csv.DictReader(stream)
        assert (first["event_id"], first["occurred"], first["rank"]) == ("e1", "2025-03-01T01:00:00+00:00", "")
        assert (second["comment"], second["rule_ids"], second["rank"]) == ("'=1+1,\"\né", "a|b", "2")

    def test_another_ending_and_a_place_that_is_none(self, rxrec, tmp_path):
        assert rxrec("feedback", "export", "--out", tmp_path / "all.xlsx").exit_code == 2
        result = rxrec("feedback", "export", "--out", tmp_path / "nowhere" / "all.csv")
        assert (result.exit_code, "cannot be written" in result.stderr) == (1, True)


def test_a_hidden_sum_in_words():
    told = publishable(summarise([event(1), *(event(n, "rejected", "not-indicated") for n in range(10, 30))]))
    assert in_words(told).splitlines()[:3] == [
        "(hidden) events, 0 taken back",
        "  <11 accepted, 20 rejected, 0 overridden",
        "reasons of 20:",
    ]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hospital") / "sample"
    write_hospital(folder, patients=400, seed=3)
    return folder


class TestNight:
    @pytest.fixture
    def night(self, settings, sample):
        environment = {"REDIS_URL": settings.redis_url, "RXREC_WORKDIR": str(settings.workdir)}

        def run(*words):
            words = ["--json", "nightly", "--input", str(sample), "--reports", "none", "--model", "directed", *words]
            return CliRunner().invoke(main, words, env=environment, catch_exceptions=False)

        return run

    def served(self, settings):
        with open_store(settings) as store:
            return store.release(store.current())

    def test_accepted_suggestions_are_learned_where_that_is_asked_for(self, night, settings, sample):
        summary = json.loads(night().stdout)
        assert (summary["feedback"]["used"], summary["feedback"]["events"]) == ("off", 0)
        first = self.served(settings)
        # one drug, accepted at the first moment of each of 120 patients
        records = load("synthea", sample, vocabulary=None)
        moments = moments_of_visits(records, usual_hours(records))
        drug = next(first.index.columns[ix] for ix in first.index.targets if first.index.columns[ix].kind == "drug")
        ids, events, seen = records.patients["patient_id"].to_numpy(), [], set()
        for patient_ix, known in zip(moments.patient_ix, moments.known_until, strict=True):
            if patient_ix not in seen and len(seen) < 120:
                seen.add(patient_ix)
                at = datetime.fromtimestamp(int(known), UTC)
                who = {"patient_id": ids[patient_ix], "code": drug.code, "occurred": at}
                events.append(event(len(seen), **who))
        FeedbackLog(settings.workdir).append_many(events)

        off = json.loads(night().stdout)
        assert off["gate"]["gain"] is None  # the same setting as served: nothing to compare
        assert off["feedback"]["events"] == 120
        assert self.served(settings).model.weights.tobytes() == first.model.weights.tobytes()

        result = night("--feedback", "labels", "--gate", "warn")
        assert result.exit_code == 0, result.output
        gain = json.loads(result.stdout)["gate"]["gain"]
        assert gain["low"] <= gain["value"] < 0  # judged by what was begun, which these clicks have nothing to do with
        release = self.served(settings)
        assert release.manifest["feedback"]["used"] == "labels"
        assert release.manifest["feedback"]["outcomes"] == {"accepted": 120, "rejected": 0, "overridden": 0}
        assert ids[0] not in json.dumps(release.manifest["feedback"])
        target = int(release.index.target_of_column[release.index.columns.index(drug)])
        change = release.model.weights - first.model.weights
        assert abs(change[:, target]).sum() > 0.5 * abs(first.model.weights[:, target]).sum()
        baseline = release.index.block("baseline").start
        assert change[baseline, target] > 0  # more common than the orders say

        assert night("--feedback", "weights", "--gate", "warn").exit_code == 0
        weighted = self.served(settings)
        assert weighted.manifest["feedback"]["used"] == "weights"
        assert weighted.model.weights.tobytes() not in (first.model.weights.tobytes(), release.model.weights.tobytes())

    def test_a_log_that_cannot_be_read_stops_a_night_that_is_to_learn_from_it_and_no_other(self, night, settings):
        (settings.workdir / FILE).write_bytes(b"no log")
        refused = night("--feedback", "labels")
        assert refused.exit_code == 11
        assert json.loads(refused.stdout)["error"] == "FeedbackUnavailable"
        summary = json.loads(night().stdout)
        assert summary["feedback"]["used"] == "off"
        assert "put a backup in its place" in summary["feedback"]["not_read"]

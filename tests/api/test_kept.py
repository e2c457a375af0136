"""An answer is given again only while nothing that it is made from has changed, and in a bounded space."""

import dataclasses
import gzip
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from api import create_app, options
from api.kept import Kept
from jobs.__main__ import main
from recommender import offered
from recommender.offer import Desk
from recommender.store import open_store

ROUTE = "/v1/patients/PAT-2/recommendations"
NOBODY = Path("nobody-was-forgotten")


@pytest.fixture
def made(monkeypatch):
    """How often an answer was made since the last time that it was asked."""
    counted = []
    make = options.answered
    monkeypatch.setattr(options, "answered", lambda *told: counted.append(told) or make(*told))

    def since():
        found = len(counted)
        counted.clear()
        return found

    return since


def test_the_same_answer_is_made_once_and_is_the_same_to_the_byte(client, published, made):
    first = client.get(ROUTE)
    assert made() == 1
    again = client.get(ROUTE)
    assert made() == 0
    assert (again.data, again.headers["ETag"]) == (first.data, first.headers["ETag"])
    packed = client.get(ROUTE, headers={"Accept-Encoding": "gzip"})
    assert made() == 0 and packed.headers["Content-Encoding"] == "gzip" and "Accept-Encoding" in packed.headers["Vary"]
    assert gzip.decompress(packed.data) == first.data
    assert client.get(ROUTE, headers={"Accept-Encoding": "gzip"}).data == packed.data
    assert client.head(ROUTE).headers["Content-Length"] == str(len(first.data))


def test_a_batch_and_a_single_answer_are_the_same(client, published, made):
    first = client.get(ROUTE)
    batch = client.post("/v1/recommendations/batch", json={"patient_ids": ["PAT-2", "PAT-1", "PAT-2"]})
    assert made() == 2  # PAT-2, then PAT-1
    assert batch.json["answers"][0] == batch.json["answers"][2] == first.json
    lines = client.post(
        "/v1/recommendations/batch", json={"patient_ids": ["PAT-1"]}, headers={"Accept": "application/x-ndjson"}
    )
    assert made() == 0
    assert orjson.loads(lines.data) == {"position": 0, "answer": batch.json["answers"][1]}


@pytest.mark.parametrize("query", ["n=2", "kind=drug", "route=systemic", "exclude=x", "explain=false"])
def test_whatever_else_is_asked_for_is_made_anew(client, published, made, query):
    whole = client.get(ROUTE)
    assert made() == 1
    other = client.get(f"{ROUTE}?{query}")
    assert made() == 1 and other.headers["ETag"] != whole.headers["ETag"]
    assert client.get(ROUTE).data == whole.data and made() == 0


def test_another_version_is_answered_from_itself(client, store, published, made, tiny_snapshot, with_manifest):
    client.get(ROUTE)
    store.publish(with_manifest(tiny_snapshot("v2")))
    store.activate("v2")
    made()
    assert client.get(ROUTE).json["version"] == "v2" and made() == 1
    store.rollback()
    assert client.get(ROUTE).json["version"] == "v1" and made() == 1  # what was kept of v1 went with it


def test_a_day_later_everything_is_screened_again(client, published, made, monkeypatch):
    now = [datetime(2025, 1, 2, 3, tzinfo=UTC)]

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return now[0]

    monkeypatch.setattr(offered, "datetime", Clock)
    tag = client.get(ROUTE).headers["ETag"]
    now[0] += timedelta(hours=23)
    assert made() == 1 and client.get(ROUTE).headers["ETag"] == tag and made() == 0
    now[0] += timedelta(minutes=11)  # the version is of 02:10
    assert client.get(ROUTE).headers["ETag"] != tag and made() == 1


def test_other_rules_screen_everything_again(settings, store, published, made, tmp_path):
    """Rules are read when a process starts: they are part of the ETag, so nothing of before is given."""
    before = create_app(settings, store).test_client().get(ROUTE)
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "off.csv").write_text("id,reason,reviewed\nallergy-penicillin,a test,2026-11-22\n")
    told = dataclasses.replace(settings, rules=str(rules))
    after = create_app(told, store).test_client().get(ROUTE)
    assert made() == 2 and after.headers["ETag"] != before.headers["ETag"]
    assert after.json["safety"]["rules_version"] != before.json["safety"]["rules_version"]


def test_the_formulary_as_it_is_now(settings, store, published, made, tmp_path):
    file = tmp_path / "formulary.csv"
    file.write_text("drug,tier,restriction\nwarfarin,1,\n")
    client = create_app(dataclasses.replace(settings, formulary=str(file)), store).test_client()

    def status():
        return {item["name"]: item["formulary"] for item in client.get(ROUTE).json["items"]}

    first = status()
    assert first["warfarin"] == "formulary" and first["simvastatin"] == "non_formulary"
    assert status() == first and made() == 1
    file.write_text("drug,tier,restriction\nsimvastatin,1,\n")
    assert status()["simvastatin"] == "formulary" and made() == 1
    file.write_text("drug,tier\nsimvastatin,1\n")
    assert client.get(ROUTE).status_code == 503


def test_a_formulary_that_changes_while_an_answer_is_made_is_not_kept_under_the_old_name(
    settings, store, published, monkeypatch, tmp_path
):
    file = tmp_path / "formulary.csv"
    old, new = "drug,tier,restriction\nwarfarin,1,\n", "drug,tier,restriction\nsimvastatin,1,\n"
    file.write_text(old)
    client = create_app(dataclasses.replace(settings, formulary=str(file)), store).test_client()
    offer = Desk.offer

    def meanwhile(*told):
        file.write_text(new)
        return offer(*told)

    monkeypatch.setattr(Desk, "offer", meanwhile)
    client.get(ROUTE)
    monkeypatch.setattr(Desk, "offer", offer)
    file.write_text(old)
    names = {item["name"]: item["formulary"] for item in client.get(ROUTE).json["items"]}
    assert names["warfarin"] == "formulary"


def test_an_entry_that_was_altered_is_refused_though_its_answer_is_kept(client, published, store):
    assert client.get(ROUTE).status_code == 200
    keys = store._client.keys("rxrec:v1:p:*")
    for key in keys:
        for field, value in store._client.hgetall(key).items():
            store._client.hset(key, field, value[:12] + bytes([value[12] ^ 1]) + value[13:])
    assert client.get(ROUTE).json["type"] == "/problems/store-corrupt"


def test_a_forgotten_patient_is_unknown_though_their_answer_was_kept(settings, store, published, made):
    client = create_app(settings, store).test_client()
    tag = client.get(ROUTE).headers["ETag"]
    assert client.get(ROUTE).status_code == 200 and made() == 1
    environment = {"RXREC_WORKDIR": str(settings.workdir), "REDIS_URL": settings.redis_url}
    done = CliRunner().invoke(main, ["forget", "-", "--yes"], env=environment, input="PAT-2\n")
    assert done.exit_code == 0, done.output
    assert client.get(ROUTE).json["type"] == "/problems/unknown-patient"
    assert client.get(ROUTE, headers={"If-None-Match": f'W/"{tag}"'}).status_code == 404
    batch = client.post("/v1/recommendations/batch", json={"patient_ids": ["PAT-2"]})
    assert batch.json["answers"] == [] and made() == 0
    kept = client.application.extensions["rxrec_kept"]
    other = client.get("/v1/patients/PAT-1/recommendations")
    assert list(kept._bodies.values()) == [other.data]  # nothing of theirs is left in memory


def test_feedback_changes_no_answer_before_the_next_fit(client, published, made):
    first = client.get(ROUTE).data
    event = {
        "event_id": "e1", "patient_id": "PAT-2", "code": "rxnorm:36567", "kind": "drug", "outcome": "accepted",
        "version": "v1",
    }  # fmt: skip
    assert client.post("/v1/feedback", json=event).status_code == 201
    made()
    app = client.application
    app.extensions["rxrec_kept"] = Kept(0, NOBODY)  # made anew, it says the same
    assert client.get(ROUTE).data == first and made() == 1


def test_without_memory_for_it_every_answer_is_made(settings, store, published, made):
    client = create_app(dataclasses.replace(settings, answer_memory=0), store).test_client()
    assert client.get(ROUTE).data == client.get(ROUTE).data and made() == 2


# --- the space -------------------------------------------------------------------------------------------------------


def test_the_space_is_bounded_and_those_asked_for_longest_ago_leave():
    kept, of = Kept(100, NOBODY), ("v1", 0)
    for name in "abc":
        kept.body(of, name, lambda name=name: name.encode() * 40)
    assert kept.size == 80  # c took the place of a
    assert kept.body(of, "b", lambda: b"made") == b"b" * 40
    kept.body(of, "d", lambda: b"d" * 40)  # in place of c: b was asked for since
    assert kept.body(of, "b", lambda: b"made") == b"b" * 40
    assert kept.body(of, "c", lambda: b"made") == b"made"
    assert kept.body(of, "huge", lambda: b"x" * 101) == b"x" * 101 and kept.body(of, "huge", lambda: b"y") == b"y"
    assert kept.size <= 100


def test_another_version_or_day_empties_it_and_one_of_before_is_not_put_back():
    kept = Kept(100, NOBODY)

    def overtaken():
        kept.body(("v2", 0), "b", lambda: b"2")
        return b"1"

    assert kept.body(("v1", 0), "a", overtaken) == b"1"  # v2 came while it was made
    assert kept.size == 1 and kept.body(("v2", 0), "b", lambda: b"made") == b"2"
    assert kept.body(("v2", 1), "b", lambda: b"made") == b"made" and kept.size == 4


def test_what_fails_is_not_kept_and_fails_no_other():
    kept, of = Kept(100, NOBODY), ("v1", 0)
    with pytest.raises(ZeroDivisionError):
        kept.body(of, "a", lambda: 1 // 0)
    assert kept.body(of, "a", lambda: b"made") == b"made"
    assert kept.body(of, "b", lambda: b"wrong", lambda: False) == b"wrong"
    assert kept.body(of, "b", lambda: b"right") == b"right"


def test_eight_threads_find_their_own():
    kept, wrong = Kept(2_000, NOBODY), []

    def ask(number):
        for turn in range(400):
            name = f"{(number * 7 + turn) % 50:02d}"
            if kept.body(("v", turn // 100), name, lambda name=name: name.encode() * 30) != name.encode() * 30:
                wrong.append(name)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and kept.size == sum(map(len, kept._bodies.values())) <= 2_000


def test_with_two_processes_an_etag_of_one_holds_for_the_other(settings, published):
    with open_store(settings) as one, open_store(settings) as other:
        tags = {create_app(settings, store).test_client().get(ROUTE).headers["ETag"] for store in (one, other)}
    assert len(tags) == 1

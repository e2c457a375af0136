"""What becomes of cards: stored once, under what the card was about, in the same log as all other feedback."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cds_tokens import About, Sealer
from recommender.feedback import FeedbackLog
from tests.api.cds import AMOXICILLIN, NOTHING, PENICILLIN, SIGN, VIEW, bundle, call, draft, whole

WHEN = "2026-11-20T10:00:00Z"


@pytest.fixture
def cards(client, published):
    """`cards(service, ...)`: those that something can be reported of."""

    def asked(service, *told, **context):
        found = whole(client.post(f"/cds-services/{service}", json=call(service, *told, **context)).json)["cards"]
        return [card for card in found if "uuid" in card]

    return asked


@pytest.fixture
def report(client):
    return lambda service, *told: client.post(f"/cds-services/{service}/feedback", json={"feedback": list(told)})


@pytest.fixture
def events(settings):
    return lambda: FeedbackLog(settings.workdir).events()


def alert(cards):
    (card,) = cards(SIGN, {**NOTHING, "allergies": bundle(PENICILLIN)}, draft("a", AMOXICILLIN))
    return card


def overridden(card, **more):
    return {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": WHEN, **more}


def accepted(card, *suggestions):
    taken = [{"id": one["uuid"]} for one in suggestions]
    return {"card": card["uuid"], "outcome": "accepted", "outcomeTimestamp": WHEN, "acceptedSuggestions": taken}


def test_a_suggestion_that_is_accepted(cards, report, events):
    card = cards(VIEW, None, patient="PAT-2")[0]
    response = report(VIEW, accepted(card, *card["suggestions"]))
    assert (response.status_code, response.json) == (200, {"stored": 1, "already": 0, "unknown": []})
    (event,) = events()
    assert (event.patient_id, event.code, event.kind, event.outcome) == ("PAT-2", "rxnorm:36567", "drug", "accepted")
    assert (event.version, event.rank, event.channel, event.reason) == ("v1", 1, "cds-hooks", "")
    assert event.occurred.isoformat() == "2026-11-20T10:00:00+00:00"


def test_a_warning_that_is_overridden_with_a_coded_reason(cards, report, events):
    card = alert(cards)
    reason = card["overrideReasons"][1]
    assert (
        report(SIGN, overridden(card, overrideReason={"reason": reason, "userComment": "had it\u0000 in May"})).json[
            "stored"
        ]
        == 1
    )
    (event,) = events()
    assert (event.outcome, event.reason, event.comment) == ("overridden", "tolerated-before", "had it in May")
    assert event.rule_ids == ("allergy-penicillin",) and event.code == "rxnorm:723"
    assert event.patient_id == "p1"  # whom no version knows: feedback is kept all the same


@pytest.mark.parametrize(
    ("told", "comment"),
    [
        ({}, "No reason was given."),
        ({"overrideReason": None}, "No reason was given."),
        ({"overrideReason": {"userComment": " busy "}}, "busy"),
        ({"overrideReason": {"reason": {"code": "theirs", "system": "urn:x", "display": "Theirs"}}}, "Theirs"),
        ({"overrideReason": {"reason": {"code": "other", "display": "Other"}}}, "Other"),
        ({"overrideReason": {"reason": {"code": "other"}, "userComment": "x" * 3_000}}, "x" * 1_000),
    ],
)
def test_a_reason_that_is_not_ours_is_kept_in_words(cards, report, events, told, comment):
    assert report(SIGN, overridden(alert(cards), **told)).json["stored"] == 1
    (event,) = events()
    assert (event.reason, event.comment) == ("other", comment)


def test_a_card_is_stored_once_however_often_it_is_reported(cards, report, events):
    card = cards(VIEW, None, patient="PAT-2")[0]
    told = accepted(card, *card["suggestions"])
    assert report(VIEW, told, told).json == {"stored": 1, "already": 1, "unknown": []}
    assert report(VIEW, {**told, "outcomeTimestamp": "2026-11-21T00:00:00Z"}).json["already"] == 1
    assert len(events()) == 1
    assert report(VIEW, overridden(card)).json["stored"] == 1  # another outcome is another event
    again = cards(VIEW, None, patient="PAT-2")[0]
    assert again["uuid"] == card["uuid"]  # the same call, answered again


def test_another_call_is_another_card(client, published):
    body = call(VIEW, None, patient="PAT-2")
    uuids = set()
    for _ in range(3):
        body["hookInstance"] = str(uuid.uuid4())
        uuids.add(client.post(f"/cds-services/{VIEW}", json=body).json["cards"][0]["uuid"])
    assert len(uuids) == 3


def test_what_this_installation_did_not_make_is_named_and_nothing_else_fails(cards, report, events):
    first, second = cards(VIEW, None, patient="PAT-2")[:2]
    forged = {**overridden(first), "card": first["uuid"][:-2] + ("AA" if first["uuid"][-2:] != "AA" else "BB")}
    other = {"uuid": Sealer(b"k" * 32).seal(About(VIEW, "c", "PAT-2", "rxnorm:1", "drug", "v1"))}
    response = report(
        VIEW, forged, overridden(other), overridden(first), accepted(first, {"uuid": "nonsense"}), overridden(second)
    )
    assert response.json == {"stored": 2, "already": 0, "unknown": [0, 1, 3]}
    assert report(SIGN, overridden(first)).json["unknown"] == [0]  # a card of another service
    assert {event.code for event in events()} == {"rxnorm:36567", events()[1].code}


@pytest.mark.parametrize(
    ("change", "parameter"),
    [
        ({"outcome": "ignored"}, "feedback[0].outcome"),
        ({"outcome": "accepted"}, "feedback[0].acceptedSuggestions"),
        ({"outcome": "accepted", "acceptedSuggestions": []}, "feedback[0].acceptedSuggestions"),
        ({"outcomeTimestamp": "yesterday"}, "feedback[0].outcomeTimestamp"),
        ({"outcomeTimestamp": "2999-01-01T00:00:00Z"}, "feedback[0].outcomeTimestamp"),
        ({"card": ""}, "feedback[0].card"),
    ],
)
def test_what_is_malformed_is_named_and_nothing_is_stored(cards, report, events, change, parameter):
    card = cards(VIEW, None, patient="PAT-2")[0]
    response = report(VIEW, {**overridden(card), **change}, overridden(card))
    assert (response.status_code, response.json["parameter"]) == (400, parameter)
    assert events() == []


def test_unknown_service_and_empty_reports(client, published, report):
    assert report("nope", {}).status_code == 404
    assert report(VIEW).status_code == 400
    assert client.post(f"/cds-services/{VIEW}/feedback", json={}).json["parameter"] == "feedback"


def test_cards_go_on_without_a_uuid_where_no_key_can_be_kept(client, published, settings, monkeypatch):
    (settings.workdir / "cds-hooks.key").write_bytes(b"too short")
    cards = whole(client.post(f"/cds-services/{VIEW}", json=call(VIEW, None, patient="PAT-2")).json)["cards"]
    assert cards and all("uuid" not in card for card in cards)


# --- the seal --------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


@given(TEXT, TEXT, TEXT, st.lists(TEXT, max_size=8), st.none() | st.integers(1, 100))
def test_what_is_sealed_is_opened_and_by_nobody_else(patient, code, version, rules, rank):
    about = About(VIEW, "0-c", patient, code, "drug", version, tuple(rules), rank)
    sealed = Sealer(b"a" * 32).seal(about)
    assert Sealer(b"a" * 32).open(sealed) == about
    assert Sealer(b"b" * 32).open(sealed) is None and Sealer(b"a" * 32).open(sealed + "=") is None


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda raw: raw.hex()))
def test_no_other_text_opens(text):
    assert Sealer(b"a" * 32).open(text) is None


def test_every_changed_mark_is_noticed():
    sealed = Sealer(b"a" * 32).seal(About(VIEW, "c", "PAT-1", "rxnorm:1", "drug", "v1"))
    for place in range(len(sealed)):
        changed = "A" if sealed[place] != "A" else "B"
        assert Sealer(b"a" * 32).open(sealed[:place] + changed + sealed[place + 1 :]) is None


def test_the_key_is_drawn_once_for_all_processes(tmp_path):
    first = Sealer.of(tmp_path)
    assert first is not None and first == Sealer.of(tmp_path)
    assert Sealer.of(tmp_path / "other") != first
    assert Sealer.of(tmp_path / "cds-hooks.key") is None  # where no folder can be

"""The contract of POST /v1/recommendations/batch: as one patient's route answers, and who is unknown fails nobody."""

import json

import pytest

ROUTE = "/v1/recommendations/batch"


@pytest.fixture
def ask(client, published):
    return lambda body, **how: client.post(ROUTE, json=body, **how)


def test_each_answer_is_that_of_the_patient_s_own_route(ask, client):
    ids = ["PAT-2", "PAT-4", "PAT-2", "PAT-6"]
    body = ask({"patient_ids": ids}).json
    assert body["version"] == "v1" and body["problems"] == []
    assert body["answers"] == [client.get(f"/v1/patients/{one}/recommendations").json for one in ids]


def test_options_hold_for_all(ask, client):
    body = ask({"patient_ids": ["PAT-2", "PAT-4"], "n": 1, "exclude": ["rxnorm:36567"], "explain": False}).json
    query = "n=1&exclude=rxnorm:36567&explain=false"
    assert body["answers"] == [client.get(f"/v1/patients/{p}/recommendations?{query}").json for p in ("PAT-2", "PAT-4")]
    assert ask({"patient_ids": ["PAT-2"]}, query_string={"n": 1}).json["answers"][0]["items"][1:] == []


def test_who_is_unknown_is_named_by_position(ask):
    response = ask({"patient_ids": ["PAT-2", "SECRET", "PAT-4", "\u0000"]})
    assert response.status_code == 200
    assert [one["patient_id"] for one in response.json["answers"]] == ["PAT-2", "PAT-4"]
    unknown = {"type": "/problems/unknown-patient", "title": "Unknown patient"}
    assert response.json["problems"] == [{"position": 1, **unknown}, {"position": 3, **unknown}]
    assert "SECRET" not in response.text


def test_line_by_line(ask):
    ids = ["PAT-2", "NOBODY", "PAT-4"]
    response = ask({"patient_ids": ids}, headers={"Accept": "application/x-ndjson"})
    assert response.content_type == "application/x-ndjson" and response.vary.as_set() >= {"accept"}
    lines = [json.loads(line) for line in response.text.splitlines()]
    whole = ask({"patient_ids": ids}).json
    assert [line["position"] for line in lines] == [0, 1, 2]
    assert [line["answer"] for line in lines if "answer" in line] == whole["answers"]
    assert [line for line in lines if "type" in line] == whole["problems"]


def test_line_by_line_with_a_class(ask):
    how = {"headers": {"Accept": "application/x-ndjson"}}
    response = ask({"patient_ids": ["PAT-4", "PAT-5"], "class": "Biguanide"}, **how)
    assert [json.loads(line)["answer"]["items"][0]["name"] for line in response.text.splitlines()] == ["metformin"] * 2
    refused = ask({"patient_ids": ["PAT-4"], "class": "no such class"}, **how)
    assert (refused.status_code, refused.json["parameter"]) == (400, "class")


def test_a_thousand_are_taken_and_no_more(ask):
    body = ask({"patient_ids": ["PAT-1", "PAT-2"] * 500, "n": 1}).json
    assert len(body["answers"]) == 1_000
    response = ask({"patient_ids": ["PAT-1"] * 1_001})
    assert (response.status_code, response.json["parameter"]) == (400, "patient_ids")


@pytest.mark.parametrize("body", [{}, {"patient_ids": []}, {"patient_ids": [1]}, {"patient_ids": [""]}, []])
def test_what_is_no_batch_is_refused(ask, body):
    assert ask(body).status_code == 400


def test_a_damaged_entry_fails_nobody_else(ask, store, client):
    for key in store._client.scan_iter("*:p:*"):
        for field, value in store._client.hgetall(key).items():
            if field == store.pseudonyms("v1").name("PAT-4"):
                store._client.hset(key, field, value[:-1] + b"x")
    body = ask({"patient_ids": ["PAT-2", "PAT-4"]}).json
    assert [one["patient_id"] for one in body["answers"]] == ["PAT-2"]
    assert [(one["position"], one["type"]) for one in body["problems"]] == [(1, "/problems/store-corrupt")]


def test_nothing_published_fails_all(client):
    assert client.post(ROUTE, json={"patient_ids": ["PAT-2"]}).status_code == 503

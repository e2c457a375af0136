"""The contract of GET /v1/patients/{id}/recommendations, on a real Redis."""

import dataclasses
import math

import pytest
import redis

from api import create_app
from recommender.safety import Rules
from recommender.support import count_support

RULES = Rules.load()
ROUTE = "/v1/patients/PAT-2/recommendations"


def problem(response):
    assert response.content_type == "application/problem+json"
    body = response.json
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["X-Request-ID"]
    assert body["title"] and body["detail"]
    return body


def test_answer_says_what_when_and_why(client, published):
    body = client.get(ROUTE).json
    assert body["patient_id"] == "PAT-2"
    assert body["version"] == "v1"
    assert body["created"] == "2025-01-02T02:10:00+00:00"
    assert body["data_as_of"] == "2025-01-01T00:00:00+00:00"
    assert body["synthetic"] is False
    assert body["message"] is None
    assert body["safety"]["checked"] is True
    assert (body["safety"]["drugs_understood"], body["safety"]["drugs_on_chart"]) == (2, 2)
    assert body["safety"]["rules"] > 1_000 and body["safety"]["rules_reviewed"] in body["safety"]["statement"]
    assert [drug["name"] for drug in body["current_therapy"]] == ["lisinopril", "metformin"]
    # PAT-2 has metformin and lisinopril; PAT-1, who has both, and PAT-3 have simvastatin
    first = body["items"][0]
    assert (first["rank"], first["code"], first["name"], first["kind"]) == (1, "rxnorm:36567", "simvastatin", "drug")
    assert [item["rank"] for item in body["items"]] == [1, 2, 3]
    assert set(first["reasons"][0]) == {"code", "name", "kind", "block", "contribution"}
    sizes = [abs(reason["contribution"]) for reason in first["reasons"]]
    assert sizes == sorted(sizes, reverse=True)
    for item in body["items"]:
        assert math.fsum(r["contribution"] for r in item["reasons"]) == pytest.approx(item["score"], abs=1e-5)


def test_n_is_the_length(client, published):
    assert len(client.get(f"{ROUTE}?n=1").json["items"]) == 1
    assert len(client.get(f"{ROUTE}?n=50").json["items"]) == 3  # no more treatments than that


@pytest.mark.parametrize("n", ["0", "-1", "51", "1.5", "ten", "", "²", "9" * 400, "1e1", " 5"])
def test_bad_n_is_named(client, published, n):
    response = client.get(ROUTE, query_string={"n": n})
    body = problem(response)
    assert (response.status_code, body["type"], body["parameter"]) == (400, "/problems/bad-parameter", "n")
    assert "1 to 50" in body["detail"]


def test_longest_list_is_the_published_depth(client, store, tiny_snapshot, with_manifest):
    store.publish(with_manifest(tiny_snapshot("v1", n=2), depth=2))
    store.activate("v1")
    assert client.get(f"{ROUTE}?n=2").status_code == 200
    assert "1 to 2" in problem(client.get(f"{ROUTE}?n=3"))["detail"]


@pytest.fixture
def ask(client, store, ward):
    """`ask("kind=drug")`: the answer for a patient of the ward, who can be suggested something of every kind."""
    store.publish(ward("v1"))
    store.activate("v1")
    return lambda query: client.get(f"/v1/patients/LONG/recommendations?{query}")


def test_therapies_are_the_default(ask):
    body = ask("n=50").json
    assert body["kinds"] == ["drug", "procedure", "care_plan"]
    assert {item["kind"] for item in body["items"]} == {"drug", "procedure", "care_plan"}
    assert body == ask("n=50&kind=care_plan&kind=drug,procedure").json  # in any order and either form


@pytest.mark.parametrize("kinds", [["drug"], ["procedure"], ["care_resource"], ["drug", "care_resource"]])
def test_kinds_can_be_asked_for(ask, kinds):
    body = ask("n=20&" + "&".join(f"kind={kind}" for kind in kinds)).json
    assert body["kinds"] == kinds
    assert {item["kind"] for item in body["items"]} == set(kinds)
    assert [item["rank"] for item in body["items"]] == list(range(1, len(body["items"]) + 1))
    # the ward's drugs are made up: nobody knows them, so no warning moves any of them
    assert {item["outcome"] for item in body["items"]} == {"not_checked"}
    scores = [item["score"] for item in body["items"]]
    assert scores == sorted(scores, reverse=True)
    assert [item["score_rank"] for item in body["items"]] == [item["rank"] for item in body["items"]]
    if kinds == ["drug"]:
        every = [item["code"] for item in ask("n=50").json["items"] if item["kind"] == "drug"]
        assert [item["code"] for item in body["items"]] == every[:20]


@pytest.mark.parametrize("name", ["excludes", "N", "limit", "kind[]"])
def test_an_option_that_nobody_knows_is_refused_not_ignored(client, published, name):
    response = client.get(ROUTE, query_string={name: "rxnorm:36567"})
    assert (response.status_code, problem(response)["parameter"]) == (400, "query")
    assert response.json["detail"] == "the query may hold n, kind, class, route, exclude, explain only"
    assert name not in response.json["detail"].split()
    chart = client.post("/v1/recommendations", query_string={name: "1"}, json={"conditions": []})
    assert chart.status_code == 400


@pytest.mark.parametrize("kind", ["device", "drug,device", "Drug", "drug procedure", "\0"])
def test_unknown_kinds_are_told_the_known_ones(client, published, kind):
    response = client.get(ROUTE, query_string={"kind": kind})
    body = problem(response)
    assert (response.status_code, body["parameter"]) == (400, "kind")
    assert body["detail"] == "kind must be one or more of drug, procedure, care_plan, care_resource"


def test_longest_list_of_other_kinds_is_what_was_published_of_each(ask):
    assert ask("kind=drug&n=20").status_code == 200
    assert "1 to 20" in problem(ask("kind=drug&n=21"))["detail"]
    assert "1 to 20" in problem(ask("kind=drug,procedure,care_plan,care_resource&n=21"))["detail"]


def test_a_kind_that_is_not_suggested_says_so(client, published):
    body = client.get(f"{ROUTE}?kind=care_resource").json  # the tiny hospital has drugs only
    assert (body["items"], body["kinds"]) == ([], ["care_resource"])
    assert "no treatment of the kind" in body["message"]


def test_unknown_patient(client, published):
    response = client.get("/v1/patients/NOBODY-QQ47/recommendations")
    assert response.status_code == 404
    assert problem(response)["type"] == "/problems/unknown-patient"
    assert b"NOBODY" not in response.data


@pytest.mark.parametrize("patient_id", ["a/b", "%00", "%FF", "..%2F..", "ü", "x" * 3000, "PAT-2%20", "a//b"])
def test_odd_ids_are_unknown_and_are_not_repeated(client, published, patient_id):
    response = client.get(f"/v1/patients/{patient_id}/recommendations")
    assert (response.status_code, problem(response)["type"]) == (404, "/problems/unknown-patient")


def test_an_id_may_hold_a_slash(client, store, tiny_snapshot, with_manifest):
    snapshot = with_manifest(tiny_snapshot("v1"))
    ids = snapshot.patient_ids.copy()
    ids[0] = "ward 3/bed 1"
    store.publish(dataclasses.replace(snapshot, patient_ids=ids))
    store.activate("v1")
    assert client.get("/v1/patients/ward%203%2Fbed%201/recommendations").json["patient_id"] == "ward 3/bed 1"


def test_nothing_published(client):
    response = client.get(ROUTE)
    assert response.status_code == 503
    assert problem(response)["type"] == "/problems/nothing-published"
    assert "rxrec nightly" in response.json["detail"]


def test_empty_list_says_why(client, store, ward):
    store.publish(ward("v1"))
    store.activate("v1")
    body = client.get("/v1/patients/EMPTY/recommendations").json
    assert body["items"] == []
    assert "already on this patient" in body["message"]


def test_list_without_scores_says_why(client, store, tiny_snapshot, with_manifest):
    store.publish(with_manifest(tiny_snapshot("v1", n=0)))
    store.activate("v1")
    assert "could score no treatment" in client.get(ROUTE).json["message"]


def test_etag(client, published, store, tiny_snapshot, with_manifest):
    first = client.get(ROUTE)
    tag = first.headers["ETag"]
    again = client.get(ROUTE, headers={"If-None-Match": tag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    assert client.get(ROUTE, headers={"If-None-Match": '"other", ' + tag}).status_code == 304
    assert client.get(ROUTE, headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.get(f"{ROUTE}?n=1").headers["ETag"] != tag
    assert client.get(f"{ROUTE}?kind=drug").headers["ETag"] != tag
    assert client.get("/v1/patients/PAT-1/recommendations").headers["ETag"] != tag
    store.publish(with_manifest(tiny_snapshot("v2")))
    store.activate("v2")
    assert client.get(ROUTE, headers={"If-None-Match": tag}).status_code == 200


def test_no_cache_keeps_patient_data(client, published):
    for response in (client.get(ROUTE), client.post("/patient", data={"patient_id": "PAT-2"}), client.get("/")):
        assert response.headers["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize("safety", [None, {}, {"checked": True, "statement": "all safe"}, "safe", {"checked": False}])
def test_a_manifest_cannot_make_it_read_as_safe(client, store, tiny_snapshot, with_manifest, safety):
    store.publish(with_manifest(tiny_snapshot("v1"), safety=safety))
    store.activate("v1")
    said = client.get(ROUTE).json["safety"]  # by the rules that were applied just now, not by what was stored
    assert "all safe" not in said["statement"]
    assert said["rules_version"] == RULES.version


# PAT-3: metformin, simvastatin, diabetes, allergic to penicillin; PAT-5: warfarin, until three years ago, amoxicillin


def test_an_allergy_withholds_and_says_why_and_what_instead(client, published):
    body = client.get("/v1/patients/PAT-3/recommendations").json
    assert "amoxicillin" not in [item["name"] for item in body["items"]]
    (withheld,) = body["withheld"]
    (rule,) = [warned for warned in withheld["warnings"] if warned["rule"] == "allergy-penicillin"]
    assert (withheld["name"], rule["severity"], rule["because"]) == (
        "amoxicillin", "contraindicated", "allergy to penicillin",
    )  # fmt: skip
    assert rule["source"] and rule["management"] and rule["reviewed"] == "2026-11-22"
    assert withheld["beside"] is None
    assert withheld["alternatives"] == []  # the tiny hospital has no other antibiotic


def test_a_current_drug_warns_of_what_it_does_not_go_with(client, published):
    body = client.get("/v1/patients/PAT-3/recommendations").json
    (warfarin,) = [item for item in body["items"] if item["name"] == "warfarin"]
    rules = {warned["rule"]: warned["because"] for warned in warfarin["warnings"]}
    assert rules == {rule.id: "simvastatin" for rule in RULES.between("rxnorm:11289", "rxnorm:36567")}
    assert rules


def test_what_is_missing_is_said_with_what_would_mend_it(client, published):
    body = client.get("/v1/patients/PAT-2/recommendations").json
    (warfarin,) = [item for item in body["items"] if item["name"] == "warfarin"]
    inr = next(gap for gap in warfarin["not_checked"] if "INR" in gap["about"])
    assert inr == {"kind": "lab", "about": "no INR on record", "mend": "measure it: a value of the last 3 days counts"}
    assert body["not_checked"] == []  # both of his drugs were understood, his age and sex are known


def test_the_formulary_is_told_and_can_come_first(settings, store, published, tmp_path):
    (tmp_path / "formulary.csv").write_text(
        "drug,tier,restriction\nwarfarin,1,\namoxicillin,2,infectious diseases only\n"
    )
    told = dataclasses.replace(settings, formulary=str(tmp_path / "formulary.csv"))
    items = create_app(told, store).test_client().get(ROUTE).json["items"]
    status = {item["name"]: item["formulary"] for item in items}
    assert status == {"simvastatin": "non_formulary", "warfarin": "formulary", "amoxicillin": "restricted"}
    assert items[0]["name"] == "simvastatin"
    first = create_app(dataclasses.replace(told, formulary_first=True), store).test_client()
    answer = first.get(ROUTE)
    assert [item["name"] for item in answer.json["items"]] == [
        *(item["name"] for item in items[1:]), "simvastatin",
    ]  # fmt: skip
    (tmp_path / "formulary.csv").write_text("drug,tier,restriction\nsimvastatin,1,\n")  # read again when it changed
    changed = first.get(ROUTE, headers={"If-None-Match": answer.headers["ETag"]})
    assert changed.json["items"][0]["name"] == "simvastatin"
    (tmp_path / "formulary.csv").write_text("drug,tier\nsimvastatin,1\n")
    assert problem(first.get(ROUTE))["type"] == "/problems/formulary-broken"


def test_small_numbers_of_patients_are_hidden(client, store, tiny_snapshot, tiny_matrix, with_manifest):
    snapshot = with_manifest(tiny_snapshot("v1"))
    counted = dataclasses.replace(snapshot.release, support=count_support(tiny_matrix))
    store.publish(dataclasses.replace(snapshot, release=counted))
    store.activate("v1")
    first = client.get(ROUTE).json["items"][0]
    assert first["evidence"] == {"patients": "<11", "sharing": "<11", "shared": "diabetes"}


def test_without_rules_no_list_is_served(settings, store, published, tmp_path):
    app = create_app(dataclasses.replace(settings, rules=str(tmp_path / "nowhere")), store).test_client()
    response = app.get(ROUTE)
    assert (response.status_code, problem(response)["type"]) == (503, "/problems/rules-missing")
    assert app.get("/health/ready").status_code == 503
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "interactions.csv").write_text("id,severity\nx,y\n")
    broken = create_app(dataclasses.replace(settings, rules=str(tmp_path / "broken")), store).test_client()
    assert problem(broken.get(ROUTE))["type"] == "/problems/rules-missing"


def test_altered_entry_is_refused(client, published, redis_url):
    with redis.Redis.from_url(redis_url) as raw:
        for key in raw.scan_iter(match="rxrec:v1:p:*"):
            for field, value in raw.hgetall(key).items():
                raw.hset(key, field, value[:12] + bytes([value[12] ^ 1]) + value[13:])
    response = client.get(ROUTE)
    assert response.status_code == 500
    assert problem(response)["type"] == "/problems/store-corrupt"
    assert "rxrec nightly" in response.json["detail"]


def test_altered_model_is_refused(client, published, redis_url):
    with redis.Redis.from_url(redis_url) as raw:
        raw.hset("rxrec:v1:assets", "columns", raw.hget("rxrec:v1:assets", "columns").replace(b"warfarin", b"warfarim"))
    assert problem(client.get(ROUTE))["type"] == "/problems/store-corrupt"


def test_pointer_to_a_version_that_is_not_there(client, published, redis_url):
    with redis.Redis.from_url(redis_url) as raw:
        raw.set("rxrec:current", "v0")
    assert problem(client.get(ROUTE))["type"] == "/problems/store-corrupt"


def test_other_paths_and_methods(client, published):
    missing = client.get("/v1/patients/PAT-2")
    assert (missing.status_code, problem(missing)["type"]) == (404, "/problems/not-found")
    wrong = client.post(ROUTE)
    assert (wrong.status_code, problem(wrong)["type"]) == (405, "about:blank")

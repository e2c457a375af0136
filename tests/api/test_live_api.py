"""The contract of POST /v1/recommendations: a chart in the request, its source, and what it does not tell."""

import dataclasses
import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from api import create_app
from recommender.settings import Settings
from recommender.support import count_support

ROUTE = "/v1/recommendations"
PAT_2 = {  # of tests/conftest.py, as old as he was when his chart was read
    "patient": {"age": 69.5, "sex": "male"},
    "drugs": [
        {"code": "rxnorm:6809", "name": "metformin", "start": "2020-01-01"},
        {"code": "rxnorm:29046", "name": "lisinopril", "start": "2020-01-01"},
    ],
    "conditions": [{"code": "snomed:44054006"}, {"code": "snomed:38341003"}],
    "allergies": [],
    "observations": [],
}


@pytest.fixture
def ask(client, published):
    return lambda chart, query="": client.post(f"{ROUTE}?{query}", json=chart)


def about(body):
    return {(gap["kind"], gap["about"]) for gap in body["not_checked"]}


def names(body):
    return [item["name"] for item in body["items"]]


def test_a_chart_that_is_sent_gives_what_the_published_chart_gives(ask, client):
    sent, published = ask(PAT_2).json, client.get("/v1/patients/PAT-2/recommendations").json
    assert (sent["source"], published["source"]) == ("live", "published list")
    assert sent["items"] == published["items"]
    assert sent["current_therapy"] == published["current_therapy"]
    assert sent["patient_id"] == ""


def test_names_alone_are_understood(ask):
    chart = {"drugs": [{"name": "Metformin 500 MG Oral Tablet"}, {"name": "lisinopril"}], "allergies": []}
    body = ask(chart).json
    assert [drug["code"] for drug in body["current_therapy"]] == ["rxnorm:29046", "rxnorm:6809"]
    assert body["safety"]["drugs_understood"] == body["safety"]["drugs_on_chart"] == 2


@pytest.mark.parametrize("nothing", [{}, {"allergies": None, "drugs": None, "conditions": None}])
def test_not_told_is_not_none(ask, nothing):
    gaps = about(ask(nothing).json)
    expected = {("therapy", "current drugs"), ("condition", "conditions"), ("allergy", "allergies")}
    assert expected <= gaps and {("person", "age"), ("person", "sex")} <= gaps


def test_an_empty_list_is_none(ask):
    gaps = about(ask({"drugs": [], "conditions": [], "allergies": [], "patient": {"age": 50, "sex": "female"}}).json)
    assert gaps == set()


def test_an_allergy_that_is_sent_withholds(ask):
    body = ask({**PAT_2, "allergies": [{"name": "penicillin"}]}, "n=50").json
    assert "amoxicillin" not in names(body)
    (withheld,) = [one for one in body["withheld"] if one["name"] == "amoxicillin"]
    assert withheld["warnings"][0]["rule"] == "allergy-penicillin"
    assert "amoxicillin" in names(ask(PAT_2, "n=50").json)


def test_a_value_counts_as_old_as_it_is(ask):
    today = datetime.now(UTC)

    def gaps(day):
        creatinine = {"code": "loinc:2160-0", "value": 80, "unit": "umol/L", "date": day.isoformat()}
        body = ask({"patient": {"age": 60, "sex": "female"}, "observations": [creatinine], "n": 50}).json
        (metformin,) = [item for item in body["items"] if item["name"] == "metformin"]
        return [gap["about"] for gap in metformin["not_checked"] if "filtration" in gap["about"]]

    assert gaps(today - timedelta(days=10)) == []
    assert re.search(r"is 900 days old", gaps(today - timedelta(days=900))[0])


def test_what_cannot_be_used_is_told(ask):
    chart = {
        "drugs": [{"name": "zzyzx elixir"}],
        "observations": [{"code": "loinc:2160-0", "value": 1, "unit": "furlong"}],
        "allergies": [{"name": "something red"}],
    }
    told = {gap["about"]: gap["mend"] for gap in ask(chart).json["not_checked"]}
    assert "zzyzx elixir" in told and "something red" in told
    assert told["loinc:2160-0"] == "not a unit that this measurement can be converted from"


@pytest.mark.parametrize(
    ("chart", "parameter"),
    [
        ({"drugs": [{"code": ""}]}, "drugs[0]"),
        ({"drugs": [{"name": "a"}, {"name": "\u0000 "}]}, "drugs[1]"),
        ({"drugs": [{"name": "a", "start": "yesterday"}]}, "drugs[0].start"),
        ({"observations": [{"code": "loinc:2160-0", "value": 1, "date": "2999-01-01"}]}, "observations[0].date"),
        ({"observations": [{"code": "loinc:2160-0"}]}, "observations[0].value"),
        ({"patient": {"age": 200}}, "patient.age"),
        ({"patient": {"age": 20, "birth_date": "2000"}}, "patient.age"),
        ({"patient": {"birth_date": "2999"}}, "patient.birth_date"),
        ({"patient": {"sex": "F"}}, "patient.sex"),
        ({"allergy": []}, "body"),
        ({"n": 0}, "n"),
        ({"n": 51}, "n"),
        ({"kind": "drug"}, "kind"),
        ({"class": "no such class at all"}, "class"),
        ({"exclude": [""]}, "exclude[0]"),
        ([], "body"),
        ({"resourceType": "Patient"}, "resourceType"),
        ({"resourceType": "Bundle", "type": "history"}, "type"),
    ],
)
def test_what_is_wrong_is_named_and_not_repeated(ask, chart, parameter):
    response = ask(chart)
    assert (response.status_code, response.json["parameter"]) == (400, parameter)
    assert "yesterday" not in response.text and "no such class" not in response.text


def test_options_may_stand_in_the_body_or_in_the_query_but_not_twice(ask):
    assert ask({**PAT_2, "n": 1}).json["items"] == ask(PAT_2, "n=1").json["items"]
    assert ask({**PAT_2, "kind": ["procedure"]}).json["kinds"] == ["procedure"]
    response = ask({**PAT_2, "n": 1}, "n=1")
    assert (response.status_code, response.json["parameter"]) == (400, "n")


def test_size_depth_and_form_of_a_body(client, published):
    assert client.post(ROUTE, data="{}").status_code == 415
    assert client.post(ROUTE, data="{", content_type="application/json").json["parameter"] == "body"
    deep = json.dumps({"resourceType": "Bundle", "entry": []}).replace("[]", "[" * 70 + "]" * 70)
    assert "deep" in client.post(ROUTE, data=deep, content_type="application/fhir+json").json["detail"]
    large = json.dumps({"drugs": [{"name": "x" * 400}] * 1_000} | {"conditions": [{"name": "y" * 400}] * 1_000})
    assert client.post(ROUTE, data=large, content_type="application/json").status_code == 200  # 0.8 MB
    assert client.post(ROUTE, data=" " * 2_200_000, content_type="application/json").status_code == 413
    assert client.post("/v1/feedback", data=" " * 300_000, content_type="application/json").status_code == 413


# --- class, exclude, explain -----------------------------------------------------------------------------------------


def test_class_and_exclude_and_explain(ask, client):
    every = client.get("/v1/patients/PAT-4/recommendations").json
    assert {"metformin", "simvastatin"} <= set(names(every))
    statin = {"class": "hmg-coa REDUCTASE inhibitor (statin)"}
    one = client.get("/v1/patients/PAT-4/recommendations", query_string=statin).json
    assert names(one) == ["simvastatin"]
    assert one["items"][0]["score"] == next(i["score"] for i in every["items"] if i["name"] == "simvastatin")
    left = client.get("/v1/patients/PAT-4/recommendations?exclude=rxnorm:36567,rxnorm:723").json
    assert names(left) == [name for name in names(every) if name not in ("simvastatin", "amoxicillin")]
    bare = client.get("/v1/patients/PAT-4/recommendations?explain=false").json
    assert names(bare) == names(every) and all(item["reasons"] == [] for item in bare["items"])
    none = client.get("/v1/patients/PAT-4/recommendations", query_string={**statin, "exclude": "rxnorm:36567"})
    assert (none.status_code, none.json["items"]) == (200, [])
    assert none.json["message"] == "Nothing that was asked for (class, route, exclude) can be suggested."


def test_drugs_can_be_asked_for_by_where_they_act(client, store, tiny_snapshot, with_manifest):
    snapshot = with_manifest(tiny_snapshot("v1"))
    known = dataclasses.replace(snapshot.release.known, local=frozenset({"rxnorm:723"}))
    charts = dataclasses.replace(snapshot.charts, known=known)
    release = dataclasses.replace(snapshot.release, known=known)
    store.publish(dataclasses.replace(snapshot, release=release, charts=charts))
    store.activate("v1")
    every = client.get("/v1/patients/PAT-4/recommendations").json
    local, systemic = (client.get(f"/v1/patients/PAT-4/recommendations?route={r}").json for r in ("local", "systemic"))
    assert names(local) == ["amoxicillin"]
    assert names(systemic) == [name for name in names(every) if name != "amoxicillin"]
    sent = client.post("/v1/recommendations", json={**PAT_2, "route": "local"}).json
    assert names(sent) == ["amoxicillin"]


def test_excluded_drugs_are_no_alternatives_either(ask):
    chart = {**PAT_2, "allergies": [{"name": "penicillin"}], "exclude": ["rxnorm:723"]}
    body = ask(chart, "n=50").json
    assert "amoxicillin" not in names(body) and not body["withheld"]


def test_an_etag_holds_for_what_was_asked(client, published):
    route = "/v1/patients/PAT-4/recommendations"
    queries = ["", "?explain=false", "?exclude=rxnorm:723", "?exclude=rxnorm:36567", "?class=Biguanide", "?n=2"]
    tags = [client.get(route + query).headers.get("ETag") for query in queries]
    assert len(set(tags)) == len(tags) and all(tags)
    tag = tags[1]
    assert client.get(route + "?explain=false", headers={"If-None-Match": tag}).status_code == 304
    assert client.get(route, headers={"If-None-Match": tag}).status_code == 200
    swapped = [client.get(f"{route}?exclude={codes}").headers["ETag"] for codes in ("a,b", "b,a")]
    assert swapped[0] == swapped[1]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("class=", "class"),
        ("class=a&class=b", "class"),
        ("route=skin", "route"),
        ("route=local&route=local", "route"),
        ("explain=no", "explain"),
        ("exclude=" + "x" * 201, "exclude"),
    ],
)
def test_bad_options_are_named(client, published, query, parameter):
    response = client.get(f"/v1/patients/PAT-4/recommendations?{query}")
    assert (response.status_code, response.json["parameter"]) == (400, parameter)


# --- the chain -------------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(client, store, tiny_snapshot, tiny_matrix, with_manifest):
    """The tiny hospital with counts: (column, target) -> patients, in tens."""
    snapshot = with_manifest(tiny_snapshot("v1"))
    support = count_support(tiny_matrix)
    index = tiny_matrix.index
    totals, counts = support.totals.copy(), support.counts.copy()
    code = {ix: index.columns[ix].code for ix in range(len(index))}
    shown = {"rxnorm:6809": 30, "rxnorm:29046": 40, "rxnorm:36567": 20, "rxnorm:11289": 90, "rxnorm:723": 90}
    shown |= {"snomed:44054006": 30, "snomed:38341003": 40}
    for place, ix in enumerate(support.columns.tolist()):
        totals[place] = shown[code[ix]] // 10
        for target, target_ix in enumerate(support.targets.tolist()):
            together = {"snomed:44054006": {"rxnorm:6809": 30, "rxnorm:36567": 20, "rxnorm:29046": 20}}
            counts[place, target] = together.get(code[ix], {}).get(code[target_ix], 0) // 10
    support = dataclasses.replace(support, totals=totals, counts=counts, n_patients=200)
    store.publish(dataclasses.replace(snapshot, release=dataclasses.replace(snapshot.release, support=support)))
    store.activate("v1")
    return lambda chart: client.post(ROUTE, json=chart).json


def test_what_the_model_knows_is_answered_live(counted):
    assert counted({"conditions": [{"code": "snomed:44054006"}]})["source"] == "live"
    assert counted({"patient": {"age": 70, "sex": "female"}})["source"] == "live"


def test_a_condition_that_shares_a_group_with_a_counted_one_leads(counted):
    body = counted({"conditions": [{"code": "icd10cm:E11.9", "name": "Type 2 diabetes"}], "patient": {"age": 70}})
    assert body["source"] == "leading condition"
    # 30 of the patients with diabetes had metformin, 20 each lisinopril and simvastatin: ties to the lower column
    assert [(item["name"], item["score"]) for item in body["items"]] == [
        ("metformin", 30.0), ("lisinopril", 20.0), ("simvastatin", 20.0)
    ]  # fmt: skip
    first = body["items"][0]
    assert first["reasons"] == [
        {
            "code": "snomed:44054006",
            "name": "diabetes",
            "kind": "condition",
            "block": "conditions",
            "contribution": 30.0,
        }
    ]
    assert first["evidence"] == {"patients": "30", "sharing": "30", "shared": "diabetes"}
    assert first["probability"] is None


def test_a_chart_of_which_nothing_is_known_gets_what_most_had(counted):
    body = counted({"conditions": [{"name": "a rare complaint"}]})
    assert body["source"] == "popularity"
    assert [(item["name"], item["score"]) for item in sorted(body["items"], key=lambda item: item["score_rank"])] == [
        ("warfarin", 90.0), ("amoxicillin", 90.0), ("lisinopril", 40.0), ("metformin", 30.0), ("simvastatin", 20.0)
    ]  # fmt: skip
    assert body["items"][0]["reasons"][0]["code"] == "baseline"
    assert ("condition", "a rare complaint") in about(body)


@pytest.mark.parametrize("condition", ["icd10cm:E11.9", "icd10cm:Z99.9"])
def test_what_it_falls_back_to_is_screened_all_the_same(counted, condition):
    kidneys = {"code": "loinc:98979-8", "value": 12}
    body = counted(
        {"conditions": [{"code": condition}], "observations": [kidneys], "allergies": [{"name": "penicillin"}]}
    )
    assert body["source"] != "live"
    assert not {"metformin", "amoxicillin"} & set(names(body))
    withheld = {one["name"]: one["warnings"][0]["rule"] for one in body["withheld"]}
    assert withheld["metformin"] == "egfr-metformin-30"


def test_class_and_exclude_hold_for_every_source(counted):
    body = counted({"conditions": [{"code": "icd10cm:E11.9"}], "exclude": ["rxnorm:6809"]})
    assert (body["source"], names(body)) == ("leading condition", ["lisinopril", "simvastatin"])


# --- three answers ---------------------------------------------------------------------------------------------------


def test_unknown_patient_nothing_safe_and_store_down_are_three_answers(client, published, tmp_path):
    unknown = client.get("/v1/patients/NOBODY/recommendations")
    assert (unknown.status_code, unknown.json["type"]) == (404, "/problems/unknown-patient")
    kidneys = [{"code": "loinc:98979-8", "value": 12}]
    nothing = client.post(ROUTE, json={**PAT_2, "drugs": [], "observations": kidneys, "class": "Biguanide", "n": 5})
    down = create_app(Settings(workdir=tmp_path, redis_url="redis://127.0.0.1:1/0")).test_client()
    for answer in (down.post(ROUTE, json=PAT_2), down.get("/v1/patients/PAT-2/recommendations")):
        assert (answer.status_code, answer.json["type"]) == (503, "/problems/store-unavailable")
        assert answer.headers["Retry-After"]
    assert nothing.status_code == 200
    assert nothing.json["items"] == [] and nothing.json["message"]
    assert [one["name"] for one in nothing.json["withheld"]] == ["metformin"]


def test_nothing_published_is_another(client):
    assert client.post(ROUTE, json=PAT_2).json["type"] == "/problems/nothing-published"


def test_nothing_of_a_chart_is_stored_or_logged(ask, store, settings, capfd):
    before = sorted(path for path in settings.workdir.rglob("*"))
    ask({**PAT_2, "conditions": [{"name": "SECRET COMPLAINT"}]})
    ask({"drugs": [{"name": "SECRET DRUG", "start": "nonsense"}]})
    out, err = capfd.readouterr()
    assert "SECRET" not in out + err and "metformin" not in out + err
    assert sorted(path for path in settings.workdir.rglob("*")) == before

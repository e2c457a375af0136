"""What a pharmacy system gets: every drug found, every pair checked, and what is not known said, on a real Redis."""

import csv
import dataclasses
import gzip
import io
import json
import os

import numpy as np
import pytest
import redis
from scipy import sparse

from api import create_app
from recommender.formulary import Formulary
from recommender.matrix import PatientMatrix
from recommender.safety import Rules
from recommender.settings import Settings
from recommender.support import count_support

METFORMIN, SIMVASTATIN, DIABETES = "rxnorm:6809", "rxnorm:36567", "snomed:44054006"
FORMULARY = "drug,tier,restriction\nmetformin,1,\nwarfarin,2,haematology only\natorvastatin 20 mg,1,\nmouthwash X,1,\n"


def problem(response, status, slug):
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    assert response.json["type"] == f"/problems/{slug}"
    assert response.json["request_id"] == response.headers["X-Request-ID"]
    return response.json


@pytest.fixture
def tenfold(store, tiny_snapshot, tiny_matrix, with_manifest):
    """The tiny hospital being served, with counts as if each of its patients were ten."""
    rows = sparse.vstack([tiny_matrix.rows] * 10, format="csr")
    counts = count_support(PatientMatrix(rows, tiny_matrix.index, np.arange(60).astype(str)))
    snapshot = with_manifest(tiny_snapshot("v1"))
    store.publish(dataclasses.replace(snapshot, release=dataclasses.replace(snapshot.release, support=counts)))
    store.activate("v1")


@pytest.fixture
def formulary(tmp_path, settings, store, tenfold):
    """A client of a server with a formulary, and its file."""
    path = tmp_path / "formulary.csv"
    path.write_text(FORMULARY)
    return create_app(dataclasses.replace(settings, formulary=str(path)), store).test_client(), path


def names(response):
    assert response.status_code == 200, response.text
    return [item["name"] for item in response.json["items"]]


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "first", "matched"),
    [
        ({"q": "metf"}, "metformin", "name"),
        ({"q": "Zocor"}, "simvastatin", "brand"),
        ({"q": "warfrin"}, "warfarin", "typo"),
        ({"rxcui": "11289"}, "warfarin", None),
        ({"q": "11289"}, "warfarin", "code"),
        ({"class": "biguanide"}, "metformin", None),
        ({"class": "Endocrine and metabolic", "on_record": "true"}, "metformin", None),
    ],
)
def test_found_by_prefix_typo_rxcui_and_class(client, tenfold, query, first, matched):
    body = client.get("/v1/treatments", query_string=query).json
    assert (body["items"][0]["name"], body["items"][0]["matched"]) == (first, matched)
    assert body["version"] == "v1" and body["total"] >= 1


def test_a_line_says_what_the_hospital_and_the_vocabulary_know(client, tenfold):
    (line,) = client.get(f"/v1/treatments?rxcui={METFORMIN[7:]}").json["items"]
    assert line == {
        "code": METFORMIN,
        "kind": "drug",
        "name": "metformin",
        "class": "Biguanide",
        "therapeutic_group": "Endocrine and metabolic",
        "brands": ["Glucophage", "Glucophage XR", "Fortamet", "Glumetza", "Riomet"],
        "on_record": True,
        "patients": "30",
        "routes": [],
        "formulary": None,
        "matched": None,
        "spelling": "",
    }
    never_given = client.get("/v1/treatments?q=sirolimus").json["items"][0]
    assert (never_given["on_record"], never_given["patients"]) == (False, None)


def test_small_numbers_are_hidden(client, tenfold):
    assert client.get("/v1/treatments?q=amoxicillin").json["items"][0]["patients"] == "<11"  # ten patients


def test_pages_follow_each_other(client, tenfold):
    query, seen = {"q": "in", "limit": 40}, []
    while True:
        body = client.get("/v1/treatments", query_string=query).json
        seen += [item["code"] for item in body["items"]]
        if not body["next"]:
            break
        query["cursor"] = body["next"]
    assert len(seen) == len(set(seen)) == body["total"] > 80
    whole = client.get("/v1/treatments?q=in&format=ndjson").text.splitlines()
    assert [json.loads(line)["code"] for line in whole] == seen


def test_a_cursor_of_another_query_or_version_is_refused(client, tenfold, store, tiny_snapshot, with_manifest):
    cursor = client.get("/v1/treatments?q=in&limit=10").json["next"]
    assert client.get(f"/v1/treatments?q=in&limit=20&cursor={cursor}").status_code == 200  # the length may change
    for query in (f"q=on&cursor={cursor}", f"q=in&kind=drug&cursor={cursor}", "q=in&cursor=x"):
        assert problem(client.get(f"/v1/treatments?{query}"), 400, "bad-parameter")["parameter"] == "cursor"
    store.publish(with_manifest(tiny_snapshot("v2")))
    store.activate("v2")
    told = problem(client.get(f"/v1/treatments?q=in&cursor={cursor}"), 400, "bad-parameter")
    assert "begin again without it" in told["detail"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"), ("limit=501", "limit"), ("limit=QQ47", "limit"), ("kind=QQ47", "kind"),
        ("formulary=QQ47", "formulary"), ("QQ47=1", "query"), ("formulry=restricted", "query"), ("rxcui=QQ47", "rxcui"),
        ("on_record=QQ47", "on_record"), ("q=a&q=b", "q"), ("q=" + "x" * 201, "q"), ("format=QQ47", "format"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_and_not_repeated(client, tenfold, query, parameter):
    response = client.get(f"/v1/treatments?{query}")
    assert problem(response, 400, "bad-parameter")["parameter"] == parameter
    assert "QQ47" not in response.text and "`" not in response.json["detail"]


def test_nothing_found_says_so(client, tenfold):
    body = client.get("/v1/treatments?q=xyzzy").json
    assert (body["total"], body["items"], body["next"]) == (0, [], None)
    assert "80%" in body["message"]


def test_export_as_csv_and_ndjson(client, tenfold):
    total = client.get("/v1/treatments").json["total"]
    response = client.get("/v1/treatments", headers={"Accept": "text/csv"})
    assert response.mimetype == "text/csv" and response.is_streamed
    assert "treatments.csv" in response.headers["Content-Disposition"] and "Accept" in response.headers["Vary"]
    rows = list(csv.DictReader(io.StringIO(response.text)))
    lines = client.get("/v1/treatments?format=ndjson")
    assert lines.mimetype == "application/x-ndjson"
    parsed = [json.loads(line) for line in lines.text.splitlines()]
    assert len(rows) == len(parsed) == total > 2000
    assert [row["code"] for row in rows] == [line["code"] for line in parsed]
    metformin = next(row for row in rows if row["code"] == METFORMIN)
    assert (metformin["on_record"], metformin["patients"], metformin["brands"].split("|")[0]) == (
        "yes",
        "30",
        "Glucophage",
    )


def test_a_name_cannot_be_a_formula(client, store, ward):
    snapshot = ward("v1")
    columns = tuple(
        dataclasses.replace(column, name="=HYPERLINK(1)" if column.code == "rx:3" else column.name)
        for column in snapshot.release.index.columns
    )
    index = dataclasses.replace(snapshot.release.index, columns=columns)
    store.publish(dataclasses.replace(snapshot, release=dataclasses.replace(snapshot.release, index=index)))
    store.activate("v1")
    rows = csv.DictReader(io.StringIO(client.get("/v1/treatments?format=csv&on_record=true").text))
    assert "'=HYPERLINK(1)" in [row["name"] for row in rows]


def test_etags(client, tenfold, store, tiny_snapshot, with_manifest):
    paths = ("/v1/treatments?q=met", "/v1/treatments?format=csv", f"/v1/treatments/{METFORMIN}", "/openapi.json")
    paths += (f"/v1/conditions/{DIABETES}/treatments", f"/v1/treatments/{METFORMIN}/co-prescribed", "/v1/formulary")
    paths += (f"/v1/treatments/{SIMVASTATIN}/alternatives", "/fhir/MedicationKnowledge?code=6809", "/fhir/metadata")
    paths += ("/fhir/MedicationKnowledge/rxnorm-6809",)
    tags = [client.get(path).headers["ETag"] for path in paths]
    assert len(set(tags)) == len(tags)
    for path, tag in zip(paths, tags, strict=True):
        again = client.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    store.publish(with_manifest(tiny_snapshot("v2")))
    store.activate("v2")
    for path, tag in zip(paths[:3], tags, strict=False):
        assert client.get(path, headers={"If-None-Match": tag}).status_code == 200


def test_compression(client, tenfold):
    plain = client.get("/v1/treatments?q=in")
    packed = client.get("/v1/treatments?q=in", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip" and "Accept-Encoding" in packed.headers["Vary"]
    assert gzip.decompress(packed.data) == plain.data and len(packed.data) < len(plain.data) / 3
    assert int(packed.headers["Content-Length"]) == len(packed.data)
    streamed = client.get("/v1/treatments?format=csv", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(streamed.data) == client.get("/v1/treatments?format=csv").data
    assert "Content-Encoding" not in client.get("/v1/formulary", headers={"Accept-Encoding": "gzip"}).headers  # small
    for refused in ("gzip;q=0", "br"):
        assert "Content-Encoding" not in client.get("/v1/treatments", headers={"Accept-Encoding": refused}).headers
    assert "Content-Encoding" not in client.get("/", headers={"Accept-Encoding": "gzip"}).headers  # a page


# --- one treatment ---------------------------------------------------------------------------------------------------


def test_a_drug_with_its_interactions(client, tenfold):
    body = client.get("/v1/treatments/rxnorm:11289").json
    assert (body["name"], body["class"], body["patients"]) == ("warfarin", "Vitamin K antagonist", "20")
    assert body["ingredients"] == [{"code": "rxnorm:11289", "name": "warfarin"}]
    found = body["interactions"]
    assert found["checked"] and str(len(found["items"])) in found["statement"]
    nsaid = next(item for item in found["items"] if item["rule"] == "anticoagulant-nsaid")
    assert nsaid["severity"] == "serious" and nsaid["mechanism"] and nsaid["management"] and nsaid["source"]
    assert {"code": "rxnorm:5640", "name": "ibuprofen"} in nsaid["with"]
    severities = [item["severity"] for item in found["items"]]
    assert severities == sorted(severities, key=["contraindicated", "serious", "caution"].index)


def test_labelled_uses(client, tenfold):
    uses = client.get(f"/v1/treatments/{METFORMIN}").json["indications"]
    assert any("diabetes" in one["name"].casefold() for one in uses["items"]) and "may still be" in uses["statement"]


def test_a_combination_interacts_with_others_not_within_itself(client, tenfold):
    body = client.get("/v1/treatments/rxnorm:5487+29046").json
    assert [one["name"] for one in body["ingredients"]] == ["hydrochlorothiazide", "lisinopril"]
    partners = {one["name"] for item in body["interactions"]["items"] for one in item["with"]}
    assert "lithium" in partners and not partners & {"hydrochlorothiazide", "lisinopril"}


def test_a_drug_that_nobody_knows_is_not_said_to_be_safe(client, store, ward):
    store.publish(ward("v1"))
    store.activate("v1")
    drug, procedure = (client.get(f"/v1/treatments/{code}").json["interactions"] for code in ("rx:5", "rx:51"))
    assert (drug["checked"], drug["items"]) == (False, []) and "NOT CHECKED" in drug["statement"]
    assert not procedure["checked"] and "drugs only" in procedure["statement"]
    assert "not to say" in client.get("/v1/treatments/rx:5").json["indications"]["statement"]


@pytest.mark.parametrize("rest", ["", "/alternatives", "/co-prescribed"])
def test_unknown_treatment(client, tenfold, rest):
    response = client.get(f"/v1/treatments/rxnorm:QQ47{rest}")
    problem(response, 404, "unknown-treatment")
    assert "QQ47" not in response.text


def test_alternatives(client, formulary, tenfold):
    assert names(client.get(f"/v1/treatments/{SIMVASTATIN}/alternatives"))[:2] == ["atorvastatin", "fluvastatin"]
    client, _ = formulary
    body = client.get(f"/v1/treatments/{SIMVASTATIN}/alternatives?limit=2").json
    assert [(item["name"], item["formulary"]["status"]) for item in body["items"]] == [
        ("atorvastatin", "formulary"),
        ("fluvastatin", "non_formulary"),
    ]
    assert "no statement" in body["statement"]
    assert client.get("/v1/treatments/rxnorm:5487+29046/alternatives").json["items"]
    alone = client.get("/v1/treatments/rxnorm:6809/alternatives").json
    assert (alone["items"], alone["statement"]) == ([], "No other drug of its class is known.")


def test_co_prescribed(client, tenfold):
    body = client.get(f"/v1/treatments/{METFORMIN}/co-prescribed").json
    # of 30 who had metformin 20 had lisinopril and 20 simvastatin, as 30 and 20 of all 60; 0 the two others
    assert [(i["name"], i["patients"], i["share"], i["share_overall"]) for i in body["items"]] == [
        ("lisinopril", "20", 0.67, 0.5),
        ("simvastatin", "20", 0.67, 0.33),
    ]
    assert (body["patients"], body["hidden"], body["message"]) == ("30", 2, None)
    none = client.get("/v1/treatments/rxnorm:723/co-prescribed").json
    assert (none["patients"], none["items"], none["hidden"]) == ("<11", [], 4) and "fewer than 11" in none["message"]
    assert "no patient" in client.get("/v1/treatments/rxnorm:83367/co-prescribed").json["message"]


def test_of_a_condition(client, tenfold):
    body = client.get(f"/v1/conditions/{DIABETES}/treatments").json
    assert (body["name"], body["patients"]) == ("diabetes", "30")
    assert [(item["name"], item["patients"]) for item in body["items"]] == [
        ("metformin", "30"),
        ("lisinopril", "20"),
        ("simvastatin", "20"),
    ]
    assert [item["labelled"] for item in body["items"]] == [True, False, False]
    assert client.get(f"/v1/conditions/{DIABETES}/treatments?kind=procedure").json["items"] == []
    problem(client.get("/v1/conditions/snomed:QQ47/treatments"), 404, "unknown-condition")


def test_a_version_without_counts_says_so(client, published):
    body = client.get(f"/v1/treatments/{METFORMIN}/co-prescribed").json
    assert (body["items"], body["patients"]) == ([], None) and "without counts" in body["message"]


# --- interactions ----------------------------------------------------------------------------------------------------


def check(client, *drugs):
    response = client.post("/v1/interactions/check", json={"drugs": list(drugs)})
    assert response.status_code == 200, response.text
    return response.json


def test_pairs_with_all_that_a_pharmacist_needs(client):
    body = check(client, "warfarin", "rxnorm:5640", "Zocor 20 mg", "clarithromycin")
    assert body["complete"] and body["not_checked"] == []
    assert body["statement"].startswith("4 warnings among 4 of 4 drugs checked, rules of 20")
    assert body["rules"]["version"] in body["statement"]
    first = body["findings"][0]
    assert (first["severity"], first["kind"]) == ("contraindicated", "interaction")
    assert [drug["name"] for drug in first["drugs"]] == ["simvastatin", "clarithromycin"] and first["places"] == [2, 3]
    for finding in body["findings"]:
        assert finding["mechanism"] and finding["management"] and finding["source"] and finding["reviewed"]


def test_what_is_not_understood_is_never_passed_over(client):
    body = check(client, "warfarin", "simvastatn", "home brew", "metformin", "saline flush", "  ")
    assert [(one["place"], [g["name"] for g in one["guesses"]]) for one in body["not_checked"]] == [
        (1, ["simvastatin"]),
        (2, []),
        (4, []),
        (5, []),
    ]
    assert not body["complete"] and not body["findings"]
    assert "among 2 of 6 drugs checked" in body["statement"] and "4 could NOT be checked" in body["statement"]
    assert "misspelt" in body["not_checked"][0]["why"]


@pytest.mark.parametrize("drugs", [["warfarin"], ["home brew"], ["home brew", "warfarin"], ["a", "b", "c"]])
def test_with_fewer_than_two_understood_nothing_was_compared(client, drugs):
    body = check(client, *drugs)
    assert not body["complete"] and body["statement"].startswith("Nothing was compared")


def test_nothing_found_says_among_how_many(client):
    body = check(client, "metformin", "amoxicillin")
    assert body["complete"] and body["findings"] == []
    assert body["statement"].startswith(
        "No interaction or duplicate therapy found among 2 of 2 drugs checked, rules of"
    )


def test_duplicates_and_combinations(client):
    both = check(client, "hydrochlorothiazide / lisinopril", "lisinopril")
    assert [finding["rule"] for finding in both["findings"]] == ["dup-same-ingredient"]
    classes = check(client, "lisinopril", "enalapril", "insulin glargine", "insulin lispro")
    pairs = [[d["name"] for d in f["drugs"]] for f in classes["findings"] if f["kind"] == "duplicate"]
    assert pairs == [["lisinopril", "enalapril"]]  # basal and bolus insulin are normal practice
    assert check(client, "hydrochlorothiazide / lisinopril")["findings"] == []  # nothing within a product


def test_more_than_a_rule_allows_for_is_one_finding_of_them_all(client):
    rules = Rules.load()
    rule = next(rule for rule in rules.duplicates if rule.most == 2)
    drugs = sorted(rule.drugs)[:3]
    found = [f for f in check(client, *drugs)["findings"] if f["rule"] == rule.id]
    assert [f["places"] for f in found] == [[0, 1, 2]]
    assert not [f for f in check(client, *drugs[:2])["findings"] if f["rule"] == rule.id]


def test_order_does_not_matter_and_each_pair_is_that_of_the_rules(client):
    rules = Rules.load()
    drugs = ["rxnorm:11289", "rxnorm:5640", "rxnorm:36567", "rxnorm:21212", "rxnorm:703", "rxnorm:29046"]

    def found(order):
        body = check(client, *order)
        return {
            (f["rule"], *sorted(d["code"] for d in f["drugs"])) for f in body["findings"] if f["kind"] == "interaction"
        }

    expected = {(rule.id, *sorted((a, b))) for a in drugs for b in drugs if a < b for rule in rules.between(a, b)}
    assert found(drugs) == found(drugs[::-1]) == expected


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ({}, "drugs"), ({"drugs": []}, "drugs"), ({"drugs": "QQ47"}, "drugs"), ({"drugs": [1]}, "drugs[0]"),
        ({"drugs": ["a", ""]}, "drugs[1]"), ({"drugs": ["x" * 201]}, "drugs[0]"), ({"drugs": ["a"] * 201}, "drugs"),
        ({"drugs": ["a"], "QQ47": 1}, "body"), ([], "body"), ("QQ47", "body"),
    ],
)  # fmt: skip
def test_a_bad_list_is_refused(client, body, parameter):
    response = client.post("/v1/interactions/check", json=body)
    assert problem(response, 400, "bad-parameter")["parameter"] == parameter
    assert "QQ47" not in response.text


def test_other_bodies(client):
    post = client.post
    assert post("/v1/interactions/check", data="drugs=a").status_code == 415
    for broken in (b"{", b"\xff", b'{"drugs": ["\xff"]}', b'{"drugs": ["a"]} x', b"null", b""):
        response = post("/v1/interactions/check", data=broken, content_type="application/json")
        assert problem(response, 400, "bad-parameter")["parameter"] == "body"
    large = post("/v1/interactions/check", data=b" " * 300_000, content_type="application/json")
    assert large.status_code == 413
    assert (
        len(check(client, *["x" * 199 + str(n % 10) for n in range(200)])["not_checked"]) == 200
    )  # beyond a form's size


def test_interactions_are_checked_while_the_store_is_down(start_redis, tmp_path):
    server = start_redis()
    server.process.kill()
    server.process.wait()
    client = create_app(Settings(workdir=tmp_path, redis_url=server.url)).test_client()
    assert check(client, "warfarin", "ibuprofen")["findings"]
    problem(client.get("/v1/treatments"), 503, "store-unavailable")


def test_without_rules_nothing_is_checked(settings, store, tmp_path, tenfold):
    gone = create_app(dataclasses.replace(settings, rules=str(tmp_path / "none")), store).test_client()
    broken = tmp_path / "rules"
    broken.mkdir()
    (broken / "off.csv").write_text("id,reason,reviewed\nno-such-rule,x,2026-01-01\n")
    bad = create_app(dataclasses.replace(settings, rules=str(broken)), store).test_client()
    for ask in (
        lambda client: client.post("/v1/interactions/check", json={"drugs": ["warfarin", "ibuprofen"]}),
        lambda client: client.get("/v1/treatments"),
    ):
        problem(ask(gone), 503, "rules-missing")
        problem(ask(bad), 503, "rules-missing")


# --- formulary -------------------------------------------------------------------------------------------------------


def test_lists_show_and_filter_by_the_formulary(formulary):
    client, _ = formulary
    assert names(client.get("/v1/treatments?formulary=formulary")) == ["atorvastatin", "metformin"]
    (restricted,) = client.get("/v1/treatments?formulary=restricted").json["items"]
    assert restricted["formulary"] == {"status": "restricted", "tier": "2", "restriction": "haematology only"}
    body = client.get("/v1/treatments?formulary=non_formulary&on_record=true").json
    assert [item["name"] for item in body["items"]] == ["amoxicillin", "lisinopril", "simvastatin"]
    assert body["formulary_version"]
    (row,) = csv.DictReader(io.StringIO(client.get("/v1/treatments?format=csv&rxcui=11289").text))
    assert (row["formulary_status"], row["tier"], row["restriction"]) == ("restricted", "2", "haematology only")


def test_what_was_read_of_it(formulary):
    client, _ = formulary
    body = client.get("/v1/formulary").json
    assert body["imported"] and (body["lines"], body["drugs"]) == (4, 4)
    assert body["counts"] == {"formulary": 3, "restricted": 1, "non_formulary": 0}
    assert body["not_understood"] == [{"row": 5, "drug": "mouthwash X", "why": "is not in the vocabulary"}]


def test_a_new_file_is_read_at_once_and_a_broken_one_is_not_passed_over(formulary):
    client, path = formulary
    tag = client.get("/v1/treatments?q=metf").headers["ETag"]
    path.write_text("drug,tier,restriction\nlisinopril,1,\n")
    os.utime(path, ns=(1, 1))
    assert names(client.get("/v1/treatments?formulary=formulary")) == ["lisinopril"]
    assert client.get("/v1/treatments?q=metf", headers={"If-None-Match": tag}).status_code == 200
    path.write_text("drug,tier\nlisinopril,1\n")
    problem(client.get("/v1/treatments"), 503, "formulary-broken")
    path.unlink()
    problem(client.get("/v1/formulary"), 503, "formulary-broken")
    assert client.post("/v1/interactions/check", json={"drugs": ["warfarin", "ibuprofen"]}).status_code == 200


def test_without_a_formulary(client, tenfold):
    body = client.get("/v1/treatments?formulary=formulary").json
    assert body["items"] == [] and "No formulary" in body["message"]
    assert client.get("/v1/formulary").json["imported"] is False
    assert Formulary().order_key(METFORMIN) == 0


# --- FHIR ------------------------------------------------------------------------------------------------------------


def test_fhir_read_and_search(formulary):
    client, _ = formulary
    one = client.get("/fhir/MedicationKnowledge/rxnorm-11289")
    assert one.mimetype == "application/fhir+json"
    body = one.json
    assert (body["resourceType"], body["id"], body["status"]) == ("MedicationKnowledge", "rxnorm-11289", "active")
    assert body["code"]["coding"][0] == {
        "system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "11289", "display": "warfarin"
    }  # fmt: skip
    classes = {c["type"]["text"]: c["classification"][0]["text"] for c in body["medicineClassification"]}
    assert classes["Therapeutic class"] == "Vitamin K antagonist"
    assert (classes["Formulary status"], classes["Formulary restriction"]) == ("restricted", "haematology only")
    rxnorm = "http://www.nlm.nih.gov/research/umls/rxnorm"
    for query in ("code=11289", f"code={rxnorm}|11289", "code=urn:rxrec:code|rxnorm:11289", "_id=rxnorm-11289"):
        bundle = client.get(f"/fhir/MedicationKnowledge?{query}&_format=json").json
        assert (bundle["type"], bundle["total"], bundle["entry"][0]["resource"]) == ("searchset", 1, body)
    other = client.get("/fhir/MedicationKnowledge?code=http://snomed.info/sct|11289").json
    assert other["total"] == 0 and "entry" not in other


def test_fhir_pages_and_filters(client, tenfold):
    def follow(query):
        url, found = f"/fhir/MedicationKnowledge?{query}", []
        while url:
            bundle = client.get(url).json
            found += [entry["resource"]["id"] for entry in bundle["entry"]]
            url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
        assert len(found) == len(set(found)) == bundle["total"]
        return found

    statins = follow("classification=HMG-CoA reductase inhibitor (statin)&_count=3")
    assert "rxnorm-36567" in statins and len(statins) > 5
    assert "rxnorm-5487.29046" in follow("ingredient-code=29046&_count=2")
    assert follow("code:text=lisin&_count=1")[0] == "rxnorm-29046"
    assert (
        client.get("/fhir/MedicationKnowledge/rxnorm-5487.29046").json["ingredient"][1]["itemCodeableConcept"]["text"]
        == "lisinopril"
    )
    assert client.get("/fhir/MedicationKnowledge?code:text=warfrin").json["total"] == 0  # no guesses
    empty = client.get("/fhir/MedicationKnowledge?_count=0").json
    assert empty["total"] > 2000 and "entry" not in empty


def test_fhir_errors_are_operation_outcomes(client, tenfold, redis_url):
    def outcome(path, status, code):
        response = client.get(path)
        assert (response.status_code, response.mimetype) == (status, "application/fhir+json")
        assert response.json["resourceType"] == "OperationOutcome" and response.json["issue"][0]["code"] == code
        assert "QQ47" not in response.text
        return response

    outcome("/fhir/MedicationKnowledge/QQ47", 404, "not-found")
    outcome("/fhir/MedicationKnowledge?manufacturer=QQ47", 400, "invalid")
    assert outcome("/fhir/MedicationKnowledge?cursor=QQ47", 400, "invalid").json["issue"][0]["expression"] == ["cursor"]
    with redis.Redis.from_url(redis_url) as raw:
        raw.delete("rxrec:current")
    assert outcome("/fhir/MedicationKnowledge", 503, "transient").headers["Retry-After"]
    assert client.get("/fhir/metadata").json["rest"][0]["resource"][0]["type"] == "MedicationKnowledge"
    assert client.get("/fhir/Patient").status_code == 404


def test_nothing_of_a_request_is_logged(client, tenfold, capsys):
    client.get("/v1/treatments?q=QQ47")
    client.get("/v1/treatments/QQ47")
    check(client, "QQ47", "warfarin")
    captured = capsys.readouterr()
    assert "QQ47" not in captured.out + captured.err and "/v1/treatments/<path:code>" in captured.out

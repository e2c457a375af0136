"""Readings that are sent: taken in, set aside by name, audited; the list sees them; events reach programs and pages."""

import dataclasses
import re
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from api import create_app
from recommender.audit import AuditLog
from recommender.audit.events import patient_of
from recommender.stream import Events, Readings
from tests.api import auth
from tests.recommender.watching import CREATININE, place, watcher

NOW = datetime.now(UTC)
SEND, LIST = "/v1/observations", "/v1/patients/PAT-4/recommendations"
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"


@pytest.fixture
def published(store, tiny_snapshot, with_manifest):
    """The tiny hospital as it was read six hours ago."""
    night = (NOW - timedelta(hours=6)).isoformat()
    store.publish(with_manifest(tiny_snapshot("v1"), created=night, as_of=night))
    store.activate("v1")


@pytest.fixture
def watching(settings, store, published):
    """`watching()`: all that waits is dealt with."""
    one = watcher(store, Readings(place(settings)), quiet_minutes=0)

    def run():
        while one.turn(block_ms=None):
            pass

    return run


def sent(id_="a", patient_id="PAT-4", value=6.0, unit="mg/dL", code=CREATININE, minutes=10, **more):
    taken = (NOW - timedelta(minutes=minutes)).isoformat()
    return {"id": id_, "patient_id": patient_id, "code": code, "value": value, "unit": unit, "taken": taken, **more}


def quantity(value, unit="mg/dL"):
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def fhir(id_="o1", patient="Patient/PAT-4", code="2160-0", value=6.0, minutes=10, **more):
    return {
        "resourceType": "Observation", "id": id_, "status": "final", "subject": {"reference": patient},
        "code": {"coding": [{"system": LOINC, "code": code}]}, "valueQuantity": quantity(value),
        "effectiveDateTime": (NOW - timedelta(minutes=minutes)).isoformat(), **more,
    }  # fmt: skip


# --- sending ---------------------------------------------------------------------------------------------------------


def test_one_several_and_again(client, published):
    first = client.post(SEND, json=sent())
    assert (first.status_code, first.json) == (202, {"accepted": 1, "already": 0, "set_aside": []})
    again = client.post(SEND, json={"observations": [sent(), sent("b")]})
    assert (again.status_code, again.json) == (202, {"accepted": 1, "already": 1, "set_aside": []})
    assert client.post(SEND, json=sent()).status_code == 200


def test_what_cannot_be_used_is_named_and_the_rest_is_taken_in(client, published):
    rows = [
        sent("ok"), sent("wild", value=9000.0), sent("furlongs", unit="furlong"), sent("who", patient_id="NOBODY"),
        sent("later", minutes=-60), sent("what", code="loinc:1-1"), sent("ok", value=1.0),
    ]  # fmt: skip
    answer = client.post(SEND, json={"observations": rows}).json
    assert answer["accepted"] == 1
    assert [(one["position"], one["id"], one["reason"]) for one in answer["set_aside"]] == [
        (1, "wild", "value"), (2, "furlongs", "unit"), (3, "who", "unknown-patient"), (4, "later", "time"),
        (5, "what", "not-known"), (6, "ok", "conflict"),
    ]  # fmt: skip
    assert "not a possible value" in answer["set_aside"][0]["detail"]


def test_fhir_one_and_a_bundle_a_blood_pressure_is_two(client, published, settings):
    parts = [
        {"code": {"coding": [{"system": LOINC, "code": code}]}, "valueQuantity": quantity(value, "mm[Hg]")}
        for code, value in (("8480-6", 150), ("8462-4", 95))
    ]
    pressure = fhir("bp", code="85354-9", component=parts)
    del pressure["valueQuantity"]
    wrong = fhir("mistake", status="entered-in-error")
    bare = fhir("bound", valueQuantity={**quantity(5), "comparator": "<"})
    bundle = {"resourceType": "Bundle", "entry": [{"resource": one} for one in (fhir(), pressure, wrong, bare)]}
    answer = client.post(SEND, json=bundle).json
    assert answer["accepted"] == 3
    assert [(one["position"], one["id"], one["reason"]) for one in answer["set_aside"]] == [
        (2, "mistake", "not-read"), (3, "bound", "not-read"),
    ]  # fmt: skip
    assert client.post(SEND, json=fhir()).json["already"] == 1
    waiting = Readings(place(settings))
    waiting.begin()
    found = [one.observation for one in waiting.take("test", 10, None)]
    assert [(one.id, one.code, one.value, one.patient_id) for one in found] == [
        ("o1", CREATININE, 6.0, "PAT-4"),
        ("bp#loinc:8480-6", "loinc:8480-6", 150.0, "PAT-4"),
        ("bp#loinc:8462-4", "loinc:8462-4", 95.0, "PAT-4"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"observations": []}, {"observations": [sent()] * 1001}, sent(value="6"), sent(taken="2026-01-01"),
        sent(extra=1), {"resourceType": "Patient"}, {"resourceType": "Bundle", "entry": []},
        {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient"}}]},
    ],
)  # fmt: skip
def test_what_is_no_reading_is_refused_whole(client, published, body):
    answer = client.post(SEND, json=body)
    assert answer.status_code == 400 and b"PAT-4" not in answer.data


def test_with_too_many_waiting_the_sender_is_told_to_come_again(client, published, monkeypatch):
    monkeypatch.setattr(Readings.add, "__defaults__", (0,))
    answer = client.post(SEND, json=sent())
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")


# --- the list as it is now -------------------------------------------------------------------------------------------


def names(answer, part):
    return [one["code"] for one in answer[part]]


def test_the_list_is_screened_against_the_chart_as_it_is_now(client, watching):
    before = client.get(LIST)
    assert "rxnorm:6809" in names(before.json, "items")
    client.post(SEND, json=sent())
    assert names(client.get(LIST).json, "withheld") == []  # `rxrec watch` has not looked yet
    watching()
    after = client.get(LIST, headers={"If-None-Match": before.headers["ETag"]})
    assert "rxnorm:6809" in names(after.json, "withheld") and after.headers["ETag"] != before.headers["ETag"]
    (withheld,) = [one for one in after.json["withheld"] if one["code"] == "rxnorm:6809"]
    assert re.search(r"filtration rate 10\.1 mL/min/1.73 m², today", withheld["warnings"][0]["because"])
    batch = client.post("/v1/recommendations/batch", json={"patient_ids": ["PAT-5", "PAT-4"]}).json
    assert "rxnorm:6809" in names(batch["answers"][1], "withheld")
    assert "rxnorm:6809" in names(batch["answers"][0], "items")
    page = client.post("/patient", data={"patient_id": "PAT-4"}).text
    assert re.search(r"creatinine <span class=\"num\">6 mg/dL</span>, today", page)


# --- events ----------------------------------------------------------------------------------------------------------


def blocks(text):
    found = [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.split("\n\n") if block]
    return [one for one in found if "data" in one], found


def test_events_are_read_on_from_the_last_one(client, watching):
    client.post(SEND, json=sent())
    watching()
    answer = client.get("/v1/events")
    assert answer.mimetype == "text/event-stream"
    told, every = blocks(answer.text)
    assert every[0] == {"retry": "3000"}
    (data,) = [orjson.loads(one["data"]) for one in told if "withheld" in one["data"]]
    assert (data["patient_id"], data["change"], data["kind"]) == ("PAT-4", "raised", "withheld")
    assert (data["drug"]["code"], data["severity"]) == ("rxnorm:6809", "contraindicated")
    assert data["rule"] == "egfr-metformin-30"
    issue = data["issue"]
    assert (issue["resourceType"], issue["severity"], issue["status"]) == ("DetectedIssue", "high", "final")
    assert issue["implicated"][0]["identifier"]["value"] == "6809" and issue["patient"]["reference"] == "Patient/PAT-4"
    last = told[-1]["id"]
    assert blocks(client.get("/v1/events", headers={"Last-Event-ID": last}).text)[0] == []
    assert blocks(client.get(f"/v1/events?after={last}&wait=1").text)[1][-1] == {"id": last}
    bundle = client.get("/fhir/DetectedIssue?patient=Patient/PAT-4").json
    assert bundle["total"] == len(told) and bundle["entry"][0]["resource"]["id"] == last
    assert client.get("/fhir/DetectedIssue?patient=NOBODY").json == {
        "resourceType": "Bundle", "type": "searchset", "total": 0,
    }  # fmt: skip


def test_a_page_is_told_of_its_own_patient_alone(client, watching):
    client.post("/patient", data={"patient_id": "PAT-4"})
    token = client.get_cookie("rxrec_form").value
    client.post(SEND, json={"observations": [sent(), sent("b", "PAT-1")]})
    watching()
    form = {"patient_id": "PAT-4", "after": "0", "token": token}
    told, _ = blocks(client.post("/patient/events", data=form).text)
    assert {orjson.loads(one["data"])["title"] for one in told} == {"Contraindicated: Suggestion newly withheld"}
    assert client.post("/patient/events", data={**form, "token": "0" * 32}).status_code == 400
    chinese = client.post("/patient/events", data=form, headers={"Accept-Language": "zh-CN"}).text
    assert "有建议现改为暂不列出" in chinese


# --- who may, and what is written down -------------------------------------------------------------------------------


@pytest.fixture
def locked_settings(settings):
    return dataclasses.replace(settings, auth="on", audit="on", base_url=auth.BASE)


@pytest.fixture
def locked(locked_settings, store, published):
    return create_app(locked_settings, store).test_client()


def test_each_access_is_in_the_audit_log_and_no_content_in_the_servers_log(
    locked, locked_settings, store, capsys, settings
):
    key = auth.bearer(auth.keys(settings.workdir)["clinician"])
    log = AuditLog(settings.workdir, settings.workdir / "site.key")

    def written():
        return [(patient_of(e), e["action"], e["outcome"]) for e in (body["event"] for _, body in log.lines())]

    body = {"observations": [sent(), sent("b", "PAT-1"), sent("c", "NOBODY")]}
    assert locked.post(SEND, json=body, headers=key, base_url=auth.BASE).json["accepted"] == 2
    assert written() == [("NOBODY", "C", "4"), ("PAT-1", "C", "0"), ("PAT-4", "C", "0")]
    assert locked.get("/v1/events", headers=key, base_url=auth.BASE).text.endswith("id: 0\n\n")
    assert len(written()) == 3  # nothing of anybody was given
    one = watcher(store, Readings(place(settings)))
    one.turn(block_ms=None)
    locked.get("/v1/events", headers=key, base_url=auth.BASE)
    assert set(written()[3:]) == {("PAT-1", "R", "0"), ("PAT-4", "R", "0")}
    logged = capsys.readouterr()
    assert not re.search("PAT-|6\\.0|2160-0", logged.out + logged.err)


def test_a_panel_sees_its_own_patients_alone(locked, settings, store):
    file = auth.KeyFile(settings.workdir / "keys.json")
    key = auth.bearer(file.make("Ward", "clinician", 30, ["PAT-1"])[1])
    body = {"observations": [sent(), sent("b", "PAT-1")]}
    answer = locked.post(SEND, json=body, headers=key, base_url=auth.BASE).json
    assert answer["accepted"] == 1 and answer["set_aside"][0]["reason"] == "unknown-patient"
    every = auth.bearer(file.make("All", "clinician", 30)[1])
    locked.post(SEND, json=sent("c"), headers=every, base_url=auth.BASE)
    watcher(store, Readings(place(settings))).turn(block_ms=None)
    told, _ = blocks(locked.get("/v1/events", headers=key, base_url=auth.BASE).text)
    assert {orjson.loads(one["data"])["patient_id"] for one in told} == {"PAT-1"}
    assert (
        Events(place(settings)).last()
        == blocks(locked.get("/v1/events", headers=key, base_url=auth.BASE).text)[1][-1]["id"]
    )  # others' are behind it too
    assert locked.get("/fhir/DetectedIssue?patient=PAT-4", headers=key, base_url=auth.BASE).json["total"] == 0

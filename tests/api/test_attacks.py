"""What someone sends who means harm: too much, too deep, and what would break out of a page, a card or a log."""

import dataclasses
import time

import orjson
import pytest

from api import create_app
from tests.api import auth
from tests.api.conftest import EVIL_NAME
from tests.api.test_auth import ROUTES

TAKES_JSON = sorted(
    {path for endpoint, method, path in ROUTES if method == "POST" and path.startswith(("/v1/", "/cds-"))}
)
DEEP = b'{"drugs":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.fixture
def locked(settings, store, published):
    keys = auth.keys(settings.workdir)
    auth.trust(settings.workdir)
    on = dataclasses.replace(settings, auth="on", audit="off", rate_limit=10_000, base_url=auth.BASE)
    client = create_app(on, store).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {keys['clinician']}"
    return client


BAD_JSON = (DEEP, b"[" * 50_000, b'{"a":' * 20_000, b"\xff\xfe", b'{"a":NaN}', b"null", b"[]", b'"x"', b"1e999999", b"")


@pytest.mark.parametrize("path", TAKES_JSON)
def test_no_json_is_a_fault_of_ours_or_slow(locked, path):
    for body in BAD_JSON:
        began = time.perf_counter()
        answer = locked.post(path, data=body, content_type="application/json")
        assert 400 <= answer.status_code < 500, (body[:20], answer.status_code, answer.text)
        assert time.perf_counter() - began < 5
        assert answer.json["type"] and len(answer.data) < 2_000


def test_more_than_a_route_takes_is_refused_before_it_is_read(locked):
    for path in TAKES_JSON:
        answer = locked.post(path, data=b" " * (3 * 1024 * 1024), content_type="application/json")
        assert answer.status_code == 413, path


def test_nothing_is_parsed_for_who_is_not_signed_in(locked):
    del locked.environ_base["HTTP_AUTHORIZATION"]
    for path in TAKES_JSON:
        assert locked.post(path, data=DEEP, content_type="application/json").status_code == 401


@pytest.mark.parametrize(
    "name", ["X-Request-ID", "Accept-Language", "If-None-Match", "Accept", "Origin", "Cookie", "Host"]
)
def test_no_header_is_a_fault_of_ours_or_comes_back(locked, name, capsys):
    for value in ["a\tb", "x" * 8_000, "{}<script>", "ü'\"--", ";;;=,,", "[::1", "a:b:c"]:
        answer = locked.get("/v1/patients/PAT-2/recommendations", headers={name: value})
        assert answer.status_code < 500
        assert value not in str(answer.headers) and value not in answer.text
        for line in capsys.readouterr().out.splitlines():
            assert orjson.loads(line)["event"] in ("request", "failure") and value not in line


NO_IDS = (
    "%00",
    "..%2f..%2fetc%2fpasswd",
    "%0d%0aSet-Cookie:%20a=b",
    "%ed%a0%80",
    "%ff",
    "a" * 3_000,
    "*",
    "{x}",
    "'--",
)


def test_no_patient_id_is_more_than_an_id(locked):
    for patient_id in NO_IDS:
        answer = locked.get(f"/v1/patients/{patient_id}/recommendations")
        assert answer.status_code in (404, 400)
        assert "Set-Cookie" not in answer.headers and "root:" not in answer.text
        assert patient_id[:20] not in answer.json["detail"]


def test_a_name_that_would_break_out_of_a_card_or_page_does_not(settings, store, ward):
    store.publish(ward("ward-1"))
    store.activate("ward-1")
    client = create_app(settings, store).test_client()
    call = {"hook": "patient-view", "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
            "context": {"userId": "Practitioner/1", "patientId": "LONG"}}  # fmt: skip
    cards = client.post("/cds-services/treatment-suggestions", json=call)
    assert cards.status_code == 200 and cards.json["cards"]
    for card in cards.json["cards"]:  # the one member that clients show as HTML
        assert "<script" not in card.get("detail", "") and "<img" not in card.get("detail", "")
    page = client.post("/patient", data={"patient_id": "LONG"})
    assert page.status_code == 200 and "<script>window" not in page.text and "<img src=x" not in page.text
    assert EVIL_NAME not in page.text and "&lt;script&gt;" in page.text


def test_the_policy_lets_no_script_of_elsewhere_or_inline_run_on_any_page(locked):
    for endpoint, method, path in ROUTES:
        if method != "GET" or not (endpoint.startswith(("pages.", "signin.")) or endpoint == "openapi.docs"):
            continue
        with locked.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy, endpoint
            assert "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy
            assert " onclick=" not in answer.text and " onerror=" not in answer.text and "<style" not in answer.text

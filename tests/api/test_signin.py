"""The pages' way in and out, whose session nobody else can use; and how often one may ask."""

import dataclasses
import re

import pytest

from api import create_app
from api.auth import guard, signin
from api.auth.rules import RULES
from recommender.access import KeyFile, Shared
from tests.api import auth
from tests.api.test_auth import ROUTES

SAME = {"Sec-Fetch-Site": "same-origin"}
HTML = {"Accept": "text/html"}
PATIENT = "/v1/patients/PAT-2/recommendations"


@pytest.fixture
def keys(settings):
    return auth.keys(settings.workdir)


@pytest.fixture
def app(settings, store, published, keys, monkeypatch):
    monkeypatch.setattr(guard, "FAILURES", 100_000)
    monkeypatch.setattr(signin, "TRIES", 100_000)
    return create_app(dataclasses.replace(settings, auth="on", audit="off", base_url=auth.BASE), store)


@pytest.fixture
def browser(app):
    """A client that a page is open in: it has the form's cookie."""
    return app.test_client()


def opened(client, path, **how):
    return client.get(path, base_url=auth.BASE, headers={**HTML, **how.pop("headers", {})}, **how)


def sent(client, path, data, **headers):
    return client.post(path, base_url=auth.BASE, data=data, headers={**HTML, **SAME, **headers})


def token(client):
    return re.search(r'name="token" value="([^"]+)"', opened(client, "/sign-in").text)[1]


def sign_in(client, key):
    return sent(client, "/sign-in", {"token": token(client), "key": key})


def cookie(response):
    return next(c for c in response.headers.getlist("Set-Cookie") if "rxrec_session" in c)


def test_a_person_is_led_to_the_form_and_with_a_key_to_the_page(browser, keys):
    away = opened(browser, "/")
    assert (away.status_code, away.headers["Location"]) == (303, "/sign-in")
    assert opened(browser, "/sign-in").status_code == 200
    came = sign_in(browser, keys["clinician"])
    assert (came.status_code, came.headers["Location"]) == (303, "/")
    held = cookie(came)
    for mark in ("__Host-rxrec_session=", "Secure", "HttpOnly", "SameSite=Strict", "Path=/"):
        assert mark in held
    assert "Domain" not in held and keys["clinician"] not in held
    page = opened(browser, "/")
    assert page.status_code == 200 and "Signed in as Test clinician" in page.text
    assert "Open demonstration" not in page.text
    assert "Strict-Transport-Security" in page.headers
    assert sent(browser, "/patient", {"patient_id": "PAT-2"}).status_code == 200


@pytest.mark.parametrize(("role", "home"), [("pharmacy", "/drugs"), ("report", "/model"), ("admin", "/model")])
def test_each_role_begins_where_it_may_and_sees_only_its_rooms(browser, keys, role, home):
    came = sign_in(browser, keys[role])
    assert came.headers["Location"] == home
    page = opened(browser, home)
    assert page.status_code == 200
    assert opened(browser, "/").status_code == 403
    assert sent(browser, "/patient", {"patient_id": "PAT-2"}).status_code == 403
    assert 'href="/"' not in page.text.partition("<nav")[2].partition("</nav>")[0]


@pytest.mark.parametrize(
    "key", ["", "x", "rxk_" + "0" * 12 + "_" + "a" * 43, "x" * 9000, "<script>alert(1)</script>", "\x00"]
)
def test_any_other_key_opens_nothing_and_is_not_repeated(browser, keys, key):
    came = sign_in(browser, key)
    assert came.status_code == 401 and "That key opens nothing here" in came.text
    assert not any("rxrec_session" in one for one in came.headers.getlist("Set-Cookie"))
    assert len(key) < 2 or key not in came.text
    assert opened(browser, "/").status_code == 303


def test_a_form_of_another_site_signs_nobody_in_and_does_nothing(browser, keys):
    good = {"token": token(browser), "key": keys["clinician"]}
    assert sent(browser, "/sign-in", {**good, "token": "0" * 32}).status_code == 400
    assert sent(browser, "/sign-in", {"key": keys["clinician"]}).status_code == 400
    assert sent(browser, "/sign-in", good, **{"Sec-Fetch-Site": "cross-site"}).status_code == 400
    sign_in(browser, keys["clinician"])
    for headers in (
        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"},
    ):  # fmt: skip
        assert sent(browser, "/patient", {"patient_id": "PAT-2"}, **headers).status_code == 303
        forged = browser.post("/v1/feedback", base_url=auth.BASE, json={}, headers=headers)
        assert forged.status_code == 401
        assert sent(browser, "/sign-out", {}, **headers).status_code == 400
    older = {"headers": {"Origin": "https://evil.example.org", **HTML}, "base_url": auth.BASE}
    assert browser.post("/patient", data={"patient_id": "PAT-2"}, **older).status_code == 303
    older["headers"]["Origin"] = auth.BASE
    assert browser.post("/patient", data={"patient_id": "PAT-2"}, **older).status_code == 200
    older["headers"]["Origin"] = "null"  # what a form sends under our Referrer-Policy: its token then counts
    assert browser.post("/patient", data={"patient_id": "PAT-2"}, **older).status_code == 303
    with_token = {"patient_id": "PAT-2", "token": token(browser)}
    assert browser.post("/patient", data=with_token, **older).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_no_route_that_changes_something_takes_a_session_from_elsewhere(browser, keys, site):
    sign_in(browser, keys["clinician"])
    posts = [(endpoint, path) for endpoint, method, path in ROUTES if method not in ("GET", "HEAD")]
    assert len(posts) > 10
    for endpoint, path in posts:
        if not RULES[endpoint].anyone:
            answer = browser.post(path, base_url=auth.BASE, json={}, headers={"Sec-Fetch-Site": site, **HTML})
            assert answer.status_code in (401, 303), endpoint


def test_signed_out_is_out_also_for_who_kept_the_cookie(app, browser, keys):
    came = sign_in(browser, keys["clinician"])
    value = cookie(came).partition("=")[2].partition(";")[0]
    assert sent(browser, "/sign-out", {"token": token(browser)}).headers["Location"] == "/sign-in"
    assert opened(browser, "/").status_code == 303
    thief = app.test_client()
    thief.set_cookie("__Host-rxrec_session", value, domain="rxrec.example.org", secure=True)
    assert opened(thief, "/").status_code == 303


def test_a_session_cannot_be_laid_in_a_browser_beforehand(browser, keys):
    browser.set_cookie("__Host-rxrec_session", "chosen-by-another", domain="rxrec.example.org", secure=True)
    came = sign_in(browser, keys["clinician"])
    assert "chosen-by-another" not in cookie(came)


def test_it_ends_when_idle_when_its_key_is_revoked_and_after_hours(
    app, browser, keys, settings, redis_url, monkeypatch
):
    value = cookie(sign_in(browser, keys["clinician"])).partition("=")[2].partition(";")[0]
    shared = Shared(redis_url, "rxrec")
    (key,) = shared._client.keys("rxrec:access:session:*")
    assert value.encode() not in key and 0 < shared._client.ttl(key) <= 15 * 60
    shared._client.expire(key, 100)
    assert opened(browser, "/").status_code == 200
    assert shared._client.ttl(key) > 100  # used: the time begins anew
    shared._client.delete(key)  # what Redis does when it has run out
    assert opened(browser, "/").status_code == 303
    sign_in(browser, keys["clinician"])
    monkeypatch.setattr("api.auth.bearer.SESSION_HOURS", 0)
    assert opened(browser, "/").status_code == 303
    monkeypatch.setattr("api.auth.bearer.SESSION_HOURS", 12)
    sign_in(browser, keys["clinician"])
    KeyFile(settings.workdir / "keys.json").revoke(keys["clinician"].split("_")[1])
    assert opened(browser, "/").status_code == 303
    shared.close()


def test_a_wrong_key_in_a_header_is_not_mended_by_a_cookie(browser, keys):
    sign_in(browser, keys["clinician"])
    assert browser.get(PATIENT, base_url=auth.BASE, headers=SAME).status_code == 200
    assert browser.get(PATIENT, base_url=auth.BASE, headers={**SAME, **auth.bearer("rxk_x")}).status_code == 401


def test_tries_are_counted(settings, store, published, keys):
    app = create_app(dataclasses.replace(settings, auth="on", audit="off", base_url=auth.BASE), store)
    browser = app.test_client()
    form = {"token": token(browser), "key": "wrong"}
    statuses = [sent(browser, "/sign-in", form).status_code for _ in range(signin.TRIES + 3)]
    assert statuses == [401] * signin.TRIES + [429] * 3
    good = {**form, "key": keys["clinician"]}
    assert sent(browser, "/sign-in", good).status_code == 429


@pytest.mark.parametrize("redis", ["up", "down"])
def test_who_asks_too_often_is_told_to_wait_and_others_are_not(settings, store, published, keys, redis):
    limited = dataclasses.replace(settings, auth="on", audit="off", rate_limit=5)
    if redis == "down":
        limited = dataclasses.replace(limited, redis_url="redis://127.0.0.1:1/0")
    client = create_app(limited, store if redis == "up" else None).test_client()
    body = {"json": {"drugs": ["warfarin"]}}
    mine, theirs = auth.bearer(keys["clinician"]), auth.bearer(keys["pharmacy"])
    answers = [client.post("/v1/interactions/check", headers=mine, **body) for _ in range(8)]
    assert [answer.status_code for answer in answers].count(200) in (5, 8 - 3, 6)
    assert answers[-1].status_code == 429 and 1 <= int(answers[-1].headers["Retry-After"]) <= 61
    assert answers[-1].json["type"] == "/problems/too-many-requests"
    assert client.post("/v1/interactions/check", headers=theirs, **body).status_code == 200


def test_wrong_keys_are_counted_by_address(settings, store, published, keys):
    client = create_app(dataclasses.replace(settings, auth="on", audit="off"), store).test_client()
    wrong = auth.bearer("rxk_" + "0" * 12 + "_" + "a" * 43)
    statuses = [client.get(PATIENT, headers=wrong).status_code for _ in range(guard.FAILURES + 2)]
    assert statuses[0] == 401 and statuses[-1] == 429
    assert client.get(PATIENT, headers=auth.bearer(keys["clinician"])).status_code == 200  # who knows one gets in

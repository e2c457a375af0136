"""Who may: every route by every role and every bad credential, keys, panels, tokens, and the open demonstration."""

import dataclasses
import re
import time
from pathlib import Path

import orjson
import pytest

from api import create_app
from api.auth import guard, tokens
from api.auth.rules import RULES
from api.serving import NOBODY
from recommender.access import ROLES, KeyFile
from recommender.settings import Settings
from tests.api import auth

BARE = create_app(Settings(workdir=Path("nowhere")))
HERE = {"base_url": auth.BASE}
FILLED = {"patient_id": "PAT-2", "code": "rxnorm:6809", "id": "rxnorm-6809", "service": "order-sign-check"}
PATIENT = "/v1/patients/PAT-2/recommendations"
INTERACTIONS = "/v1/interactions/check"


def routes():
    """(endpoint, method, path) of every route, with path parameters filled in."""
    for rule in BARE.url_map.iter_rules():
        for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
            path = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: FILLED.get(found[1], "page.css"), rule.rule)
            yield rule.endpoint, method, path


ROUTES = sorted(set(routes()))


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(guard, "FAILURES", 100_000)


@pytest.fixture
def locked_settings(settings):
    auth.trust(settings.workdir)
    return dataclasses.replace(settings, auth="on", audit="off", base_url=auth.BASE, rate_limit=100_000)


@pytest.fixture
def keys(locked_settings):
    return auth.keys(locked_settings.workdir)


@pytest.fixture
def locked(locked_settings, store, published, keys):
    return create_app(locked_settings, store).test_client()


# --- the table -------------------------------------------------------------------------------------------------------


def test_every_route_has_a_rule_and_every_rule_a_route():
    """Fails when you add a route: say in api/auth/rules.py which roles may use it."""
    endpoints = {rule.endpoint for rule in BARE.url_map.iter_rules()}
    assert sorted(endpoints - set(RULES)) == [], "routes without a rule in api/auth/rules.py"
    assert sorted(set(RULES) - endpoints) == [], "rules whose route is gone"


def test_every_rule_names_roles_or_says_why_it_needs_none():
    for endpoint, rule in RULES.items():
        assert rule.roles <= set(ROLES), endpoint
        assert bool(rule.roles) != rule.anyone, endpoint
        assert not rule.anyone or len(rule.why) > 5, endpoint


def test_what_is_open_without_sign_in_is_this_and_nothing_else():
    assert {endpoint for endpoint, rule in RULES.items() if rule.anyone} == {
        "static", "ops.live", "ops.ready", "signin.form", "signin.enter", "signin.leave", "backend.token",
        "backend.configuration", "cds_hooks.discovery", "fhir_knowledge.metadata",
    }  # fmt: skip


def test_a_route_without_a_rule_is_closed(locked_settings, store, published, keys):
    app = create_app(locked_settings, store)
    app.add_url_rule("/v1/new", "new", lambda: "open")
    client = app.test_client()
    assert client.get("/v1/new").status_code == 401
    for key in keys.values():
        assert client.get("/v1/new", headers=auth.bearer(key)).status_code == 403


# --- the matrix ------------------------------------------------------------------------------------------------------

BAD = {
    "nothing": lambda good, role: {},
    "an empty header": lambda good, role: {"Authorization": ""},
    "another scheme": lambda good, role: {"Authorization": "Basic YTpi"},
    "no key of ours": lambda good, role: auth.bearer("rxk_" + "0" * 12 + "_" + "a" * 43),
    "forged": lambda good, role: auth.bearer(auth.forged(good())),
    "alg=none": lambda good, role: auth.bearer(auth.unsigned(good())),
    "a public key as a secret": lambda good, role: auth.bearer(auth.symmetric(good())),
    "expired": lambda good, role: auth.bearer(good(iat=int(time.time()) - 900, exp=int(time.time()) - 300)),
    "not yet valid": lambda good, role: auth.bearer(good(nbf=int(time.time()) + 300)),
    "another audience": lambda good, role: auth.bearer(good(aud="https://elsewhere.example.org")),
    "no audience": lambda good, role: auth.bearer(good(aud=None)),
    "no end": lambda good, role: auth.bearer(good(exp=None)),
    "another issuer": lambda good, role: auth.bearer(good(iss="https://evil.example.org")),
    "another's key": lambda good, role: auth.bearer(good(key=auth.STRANGER)),
    "an unknown key": lambda good, role: auth.bearer(good(kid="none-of-ours")),
    "a symmetric key": lambda good, role: auth.bearer(good(key="k" * 48, alg="HS384", kid="oct")),
    "an access token of ours that is none": lambda good, role: auth.bearer("rxt_" + "a" * 43),
}


def good_of(role, path):
    """A function that makes a good token for a route, changed where wished."""
    if path.startswith("/cds-services"):
        return lambda **changes: auth.of_ehr(path, **changes)
    return lambda **changes: auth.of_person(role, **changes)


def asked(client, method, path, headers):
    return client.open(path, method=method, headers={"Accept": "application/json", **headers}, base_url=auth.BASE)


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_credential_opens_no_route(locked, bad):
    for endpoint, method, path in ROUTES:
        if RULES[endpoint].anyone:
            continue
        # what is no token says nothing of a role
        for role in ROLES if bad in ("forged", "alg=none", "expired", "another audience") else ROLES[:1]:
            response = asked(locked, method, path, BAD[bad](good_of(role, path), role))
            assert response.status_code == 401, (endpoint, role)
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert b"PAT-2" not in response.data and (len(response.data) < 600 or not path.startswith("/v1/"))


@pytest.mark.parametrize("role", ROLES)
def test_an_expired_and_a_revoked_key_open_no_route(locked, locked_settings, role):
    file = KeyFile(locked_settings.workdir / "keys.json")
    revoked, of_revoked = file.make("revoked", role, 30)
    file.revoke(revoked.id)
    _, of_expired = file.make("expired", role, 30)
    told = orjson.loads(file.file.read_bytes())
    told["keys"][-1]["expires"] = "2020-01-01T00:00:00+00:00"
    file.file.write_bytes(orjson.dumps(told))
    for endpoint, method, path in ROUTES:
        if not RULES[endpoint].anyone:
            for key in (of_revoked, of_expired):
                assert asked(locked, method, path, auth.bearer(key)).status_code == 401, endpoint


def test_no_other_method_goes_round_the_guard(locked):
    """HEAD runs a route, OPTIONS none; what is no route's method is answered before any."""
    for endpoint, _, path in ROUTES:
        if not RULES[endpoint].anyone:
            statuses = {method: asked(locked, method, path, {}).status_code for method in ("HEAD", "PUT", "X-NEW")}
            assert set(statuses.values()) <= {401, 405}, (endpoint, statuses)
            with locked.open(path, method="OPTIONS", base_url=auth.BASE) as answer:
                assert not answer.data, endpoint


def test_a_replayed_token_opens_no_service(locked):
    services = [path for _, method, path in ROUTES if method == "POST" and path.startswith("/cds-services")]
    assert len(services) >= 3
    for path in services:
        token = auth.bearer(auth.of_ehr(path))
        assert asked(locked, "POST", path, token).status_code not in (401, 403)
        for again in services:
            assert asked(locked, "POST", again, token).status_code == 401


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("how", ["key", "token"])
def test_a_good_credential_opens_what_its_role_may_and_nothing_else(locked, keys, role, how):
    for endpoint, method, path in ROUTES:
        rule = RULES[endpoint]
        if rule.anyone:
            continue
        credential = keys[role] if how == "key" else good_of(role, path)()
        status = asked(locked, method, path, auth.bearer(credential)).status_code
        if path.startswith("/cds-services") and how == "token":
            assert status not in (401, 403), endpoint  # a record system's token stands for its clinician
        elif role in rule.roles:
            assert status not in (401, 403), (endpoint, role, status)
        else:
            assert status == 403, (endpoint, role, status)


def test_open_routes_need_nothing(locked):
    for endpoint, method, path in ROUTES:
        if RULES[endpoint].anyone and endpoint != "backend.token":
            with locked.open(path, method=method, base_url=auth.BASE) as response:
                assert response.status_code not in (401, 403), endpoint


def test_a_cds_hooks_token_is_for_one_call_to_one_address(locked):
    path = "/cds-services/order-sign-check"
    token = auth.of_ehr(path)
    assert asked(locked, "POST", path, auth.bearer(token)).status_code != 401
    assert asked(locked, "POST", path, auth.bearer(token)).status_code == 401  # replayed
    for changes in (
        {"aud": auth.BASE + "/cds-services/order-select-check"}, {"aud": auth.BASE}, {"jti": None}, {"jti": 7},
        {"jti": "x" * 1000}, {"tenant": "another"}, {"exp": int(time.time()) + 3600}, {"iat": None},
        {"header": {"jku": "https://evil.example.org/jwks"}}, {"header": {"crit": ["exp"]}}, {"iss": auth.ISS},
    ):  # fmt: skip
        assert asked(locked, "POST", path, auth.bearer(auth.of_ehr(path, **changes))).status_code == 401, changes
    assert asked(locked, "GET", PATIENT, auth.bearer(auth.of_ehr(PATIENT))).status_code == 401  # for services alone
    rs384 = auth.of_ehr(path, key=auth.RSA_KEY, alg="RS384", kid="rsa")
    assert asked(locked, "POST", path, auth.bearer(rs384)).status_code != 401
    rs256 = auth.of_ehr(path, key=auth.RSA_KEY, alg="RS256", kid="rsa")
    assert asked(locked, "POST", path, auth.bearer(rs256)).status_code == 401


def test_without_redis_a_token_of_one_call_is_refused_because_nobody_can_say_whether_it_was_used(locked_settings, keys):
    gone = dataclasses.replace(locked_settings, redis_url="redis://127.0.0.1:1/0")
    path = "/cds-services/order-sign-check"
    client = create_app(gone).test_client()
    assert asked(client, "POST", path, auth.bearer(auth.of_ehr(path))).status_code == 503
    # a key needs no Redis, nor does checking drugs
    answer = client.post(INTERACTIONS, json={"drugs": ["warfarin"]}, headers=auth.bearer(keys["pharmacy"]))
    assert answer.status_code == 200


@pytest.mark.parametrize("groups", [[], ["visitors"], None, 7, {"doctors": 1}, ["DOCTORS"]])
def test_a_token_without_a_role_that_we_know_may_nothing(locked, groups):
    token = auth.of_person("clinician", groups=groups)
    assert asked(locked, "GET", PATIENT, auth.bearer(token)).status_code in (401, 403)


# --- SMART Backend Services ------------------------------------------------------------------------------------------


def test_a_backend_client_gets_a_token_for_its_assertion_once(locked, locked_settings):
    where = locked.get("/.well-known/smart-configuration").json
    assert where["token_endpoint"] == f"{auth.BASE}/oauth/token"
    form = auth.assertion()
    answer = locked.post("/oauth/token", data=form, base_url=auth.BASE)
    assert answer.status_code == 200 and "no-store" in answer.headers["Cache-Control"]
    assert answer.json["token_type"] == "bearer" and answer.json["expires_in"] == 300
    token = auth.bearer(answer.json["access_token"])
    assert asked(locked, "GET", "/v1/formulary", token).status_code == 200
    assert asked(locked, "GET", PATIENT, token).status_code == 403  # its role is pharmacy
    again = locked.post("/oauth/token", data=form, base_url=auth.BASE)
    assert (again.status_code, again.json) == (401, {"error": "invalid_client"})
    told = orjson.loads((locked_settings.workdir / "trust.json").read_bytes())
    (locked_settings.workdir / "trust.json").write_bytes(orjson.dumps({**told, "backend": []}))
    assert asked(locked, "GET", "/v1/formulary", token).status_code == 401  # taken out: its tokens end


NOW = int(time.time())


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://elsewhere"}, {"exp": NOW - 300}, {"exp": NOW + 4000}, {"sub": "another"}, {"iss": "another"},
        {"jti": None}, {"alg": "RS256"}, {"key": auth.EC_KEY, "alg": "ES384", "kid": "rsa"},
        {"key": auth.STRANGER, "alg": "ES384", "kid": "ec"}, {"kid": "another"}, {"iss": "nobody", "sub": "nobody"},
    ],
)  # fmt: skip
def test_any_other_assertion_gets_nothing_and_no_reason(locked, changes):
    answer = locked.post("/oauth/token", data=auth.assertion(**changes), base_url=auth.BASE)
    assert (answer.status_code, answer.json) == (401, {"error": "invalid_client"})


@pytest.mark.parametrize("made", [auth.unsigned, auth.forged, auth.symmetric, lambda _: "x.y.z", lambda _: ""])
def test_a_made_up_assertion_gets_nothing(locked, made):
    form = auth.assertion()
    form["client_assertion"] = made(form["client_assertion"])
    assert locked.post("/oauth/token", data=form, base_url=auth.BASE).status_code == 401


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"client_assertion_type": "x"}, "invalid_request"),
        ({"scope": "system/Patient.write"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
    ],
)
def test_a_form_that_is_wrong_is_told_as_the_standard_says(locked, changes, error):
    answer = locked.post("/oauth/token", data={**auth.assertion(), **changes}, base_url=auth.BASE)
    assert (answer.status_code, answer.json) == (400, {"error": error})


# --- keys and panels -------------------------------------------------------------------------------------------------


def test_an_expired_and_a_revoked_key_open_nothing_at_once(locked, locked_settings, keys):
    file = KeyFile(locked_settings.workdir / "keys.json")
    assert asked(locked, "GET", PATIENT, auth.bearer(keys["clinician"])).status_code == 200
    file.revoke(keys["clinician"].split("_")[1])
    assert asked(locked, "GET", PATIENT, auth.bearer(keys["clinician"])).status_code == 401
    _, text = file.make("old", "clinician", 30)
    told = orjson.loads(file.file.read_bytes())
    told["keys"][-1]["expires"] = "2020-01-01T00:00:00+00:00"
    file.file.write_bytes(orjson.dumps(told))
    assert asked(locked, "GET", PATIENT, auth.bearer(text)).status_code == 401


def test_a_rotated_key_works_beside_the_new_one_for_its_overlap(locked, locked_settings, keys):
    file = KeyFile(locked_settings.workdir / "keys.json")
    id_ = keys["clinician"].split("_")[1]
    _, new = file.rotate(id_, 30, overlap_hours=1)
    for key in (keys["clinician"], new):
        assert asked(locked, "GET", PATIENT, auth.bearer(key)).status_code == 200
    _, newer = file.rotate(new.split("_")[1], 30, overlap_hours=0)
    assert asked(locked, "GET", PATIENT, auth.bearer(new)).status_code == 401
    assert asked(locked, "GET", PATIENT, auth.bearer(newer)).status_code == 200


def test_keys_are_kept_as_hashes_for_their_owner_only(locked_settings, keys):
    file = locked_settings.workdir / "keys.json"
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert all(key.split("_", 2)[2] not in text for key in keys.values())


def test_keys_that_everyone_may_read_let_nobody_in(locked, locked_settings, keys):
    (locked_settings.workdir / "keys.json").chmod(0o644)
    assert asked(locked, "GET", PATIENT, auth.bearer(keys["clinician"])).status_code == 500


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"format":2,"keys":[]}', b'{"format":1,"keys":[{"id":"a"}]}'])
def test_keys_that_are_damaged_let_nobody_in(locked, locked_settings, keys, content):
    (locked_settings.workdir / "keys.json").write_bytes(content)
    assert asked(locked, "GET", PATIENT, auth.bearer(keys["clinician"])).status_code == 500


def test_a_patient_outside_the_panel_is_answered_like_one_whom_nobody_knows(locked, locked_settings):
    _, key = KeyFile(locked_settings.workdir / "keys.json").make("ward 3", "clinician", 30, ["PAT-1", "PAT-3"])
    headers = auth.bearer(key)

    def seen(patient_id):
        answer = asked(locked, "GET", f"/v1/patients/{patient_id}/recommendations", headers)
        answer.json.pop("request_id", None)
        return answer.status_code, {k: v for k, v in answer.json.items() if k != "request_id"}

    assert seen("PAT-1")[0] == 200
    assert seen("PAT-2") == seen("NOBODY") and seen("PAT-2")[0] == 404
    batch = locked.post("/v1/recommendations/batch", json={"patient_ids": ["PAT-1", "PAT-2", "NO"]}, headers=headers)
    assert [one["patient_id"] for one in batch.json["answers"]] == ["PAT-1"]
    assert [one["type"] for one in batch.json["problems"]] == ["/problems/unknown-patient"] * 2
    event = {
        "event_id": "e1", "patient_id": "PAT-2", "code": "rxnorm:36567", "kind": "drug", "outcome": "accepted",
        "version": "v1",
    }  # fmt: skip
    assert locked.post("/v1/feedback", json=event, headers=headers).status_code == 404
    undo = {**event, "event_id": "e2", "outcome": "undone", "undoes": "e1"}
    assert locked.post("/v1/feedback", json=undo, headers=headers).status_code == 404


def test_the_data_of_a_patient_outside_the_panel_are_not_even_looked_for(locked, locked_settings, store, monkeypatch):
    """So that the time of the answer tells as little as its words whether there is such a patient."""
    looked_for = []
    reads = type(store)
    entry, current = reads.entry, reads.current_entry
    monkeypatch.setattr(reads, "entry", lambda *told: looked_for.append(told[2]) or entry(*told))
    monkeypatch.setattr(reads, "current_entry", lambda *told: looked_for.append(told[2]) or current(*told))
    _, key = KeyFile(locked_settings.workdir / "keys.json").make("ward 3", "clinician", 30, ["PAT-1"])
    headers = auth.bearer(key)
    for patient_id in ("PAT-2", "NOBODY"):
        assert asked(locked, "GET", f"/v1/patients/{patient_id}/recommendations", headers).status_code == 404
    assert len(looked_for) >= 2
    locked.post("/v1/recommendations/batch", json={"patient_ids": ["PAT-1", "PAT-2", "NOBODY"]}, headers=headers)
    assert len(set(looked_for)) == 2 and set(looked_for) - {"PAT-1"} == {NOBODY}


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_a_token_of_an_unknown_issuer_is_checked_as_one_of_a_known_one(locked, monkeypatch, algorithm):
    """A signature is checked with a key of the same kind, so the time tells nobody whom we believe."""
    checked = []
    decode = tokens.jwt.decode

    def noting(token, key=None, *args, **more):
        if key is not None:
            checked.append((type(key).__name__, more["algorithms"]))
        return decode(token, key, *args, **more) if key is not None else decode(token, *args, **more)

    monkeypatch.setattr(tokens.jwt, "decode", noting)
    key, kid = (auth.RSA_KEY, "rsa") if algorithm == "RS384" else (auth.EC_KEY, "ec")
    for changes in ({"aud": "https://elsewhere"}, {"iss": "nobody", "sub": "nobody"}):
        form = auth.assertion(key=key, alg=algorithm, kid=kid, **changes)
        assert locked.post("/oauth/token", data=form, base_url=auth.BASE).status_code == 401
    assert len(checked) == 2 and checked[0] == checked[1] and checked[0][1] == [algorithm]


def test_an_unknown_key_takes_as_long_as_a_wrong_one(locked, keys):
    """Both are one hash and one comparison: neither tells whether a key's id is one of ours."""
    known = "_".join(keys["clinician"].split("_")[:2]) + "_" + "a" * 43
    unknown = "rxk_" + "f" * 12 + "_" + "a" * 43

    times = ([], [])
    for _ in range(60):  # by turns, so that both meet the same load
        for key, of in zip((known, unknown), times, strict=True):
            began = time.perf_counter()
            assert asked(locked, "GET", PATIENT, auth.bearer(key)).status_code == 401
            of.append(time.perf_counter() - began)
    first, second = (sorted(of)[len(of) // 4] for of in times)
    assert abs(first - second) < max(first, second) * 0.5
    answers = [asked(locked, "GET", PATIENT, auth.bearer(key)).json for key in (known, unknown)]
    assert answers[0]["detail"] == answers[1]["detail"]


# --- the open demonstration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "127.8.8.8"])
def test_the_open_demonstration_answers_this_machine_and_says_what_it_is(client, published, host):
    assert client.get(PATIENT, base_url=f"http://{host}").status_code == 200
    page = client.get("/", base_url=f"http://{host}")
    assert "Open demonstration" in page.text
    assert "Open demonstration" in client.post("/patient", data={"patient_id": "PAT-2"}).text


@pytest.mark.parametrize(
    "host", ["rxrec.example.org", "192.168.1.5", "localhost.evil.org", "127.0.0.1.nip.io", "0.0.0.0"]
)
def test_another_name_is_refused_so_that_no_page_elsewhere_can_point_its_name_here(client, published, host):
    for path in (PATIENT, "/", "/v1/treatments"):
        response = client.get(path, base_url=f"http://{host}")
        assert response.status_code == 403 and "PAT-2" not in response.text


@pytest.mark.parametrize(
    "how",
    [
        {"headers": {"X-Forwarded-For": "10.0.0.7"}}, {"headers": {"Forwarded": "for=10.0.0.7"}},
        {"environ_base": {"REMOTE_ADDR": "10.0.0.7"}},
    ],
)  # fmt: skip
def test_from_elsewhere_it_is_refused(client, published, how):
    assert client.get(PATIENT, **how).status_code == 403


def test_bound_to_an_address_that_others_reach_it_is_refused(client, published):
    class Socket:
        def getsockname(self):
            return ("0.0.0.0", 8000)

    assert client.get(PATIENT, environ_base={"gunicorn.socket": Socket()}).status_code == 403


def test_a_file_of_keys_turns_sign_in_on(settings, store, published):
    auth.keys(settings.workdir)
    client = create_app(settings, store).test_client()
    assert client.get(PATIENT).status_code == 401
    assert (settings.workdir / "audit").exists() is False

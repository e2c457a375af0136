"""Sign-in in a real Chromium: in, a patient, out, by keyboard; and nothing of it in the server's log or metrics."""

import dataclasses

import pytest

from api import create_app
from recommender.audit import AuditLog
from recommender.store import open_store
from tests.api import auth
from tests.api.browsing import sideways, violations

PRIVATE = ("7f3c0000", "EMPTY", "LONG", "treatment 7", "condition 3", "Test clinician", "rxk_", "onerror")


@pytest.fixture
def locked_ward(settings, ward, serve):
    keys = auth.keys(settings.workdir)
    with open_store(settings) as store:
        store.publish(ward("ward-1"))
        store.activate("ward-1")
        server = serve(create_app(dataclasses.replace(settings, auth="on", audit="on"), store))
        yield server, keys


def test_in_a_patient_and_out(chromium, locked_ward, settings, capsys):
    server, keys = locked_ward
    context = chromium.new_context()
    page = context.new_page()
    page.goto(server.url)
    assert page.url.endswith("/sign-in")
    assert violations(page) == [] and sideways(page) == {}
    page.fill("#key", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#notice")
    page.fill("#key", keys["clinician"])
    page.keyboard.press("Enter")
    page.wait_for_selector("[name=patient_id]")
    (held,) = (one for one in context.cookies() if one["name"] == "rxrec_session")
    assert held["httpOnly"] and held["sameSite"] == "Strict"
    assert keys["clinician"] not in page.content() and page.evaluate("document.cookie") == ""
    page.fill("[name=patient_id]", "LONG")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Suggest")
    assert "LONG" not in page.url and "Signed in as Test clinician" in page.content()
    assert violations(page) == [] and sideways(page) == {}
    page.click("text=Sign out")
    page.wait_for_url("**/sign-in")
    page.goto(server.url)
    assert page.url.endswith("/sign-in")
    # another site's page cannot use the session, nor read what it would get
    page.fill("#key", keys["clinician"])
    page.keyboard.press("Enter")
    page.wait_for_selector("[name=patient_id]")
    page.goto(f"data:text/html,<form method=post action={server.url}/patient><input name=patient_id value=LONG></form>")
    page.evaluate("document.forms[0].submit()")
    page.wait_for_url("**/sign-in")
    context.close()
    captured = capsys.readouterr()
    assert captured.out.count('"event":"request"') > 8
    for private in PRIVATE:
        assert private not in captured.out + captured.err
    seen = [event["outcome"] for event in AuditLog(settings.workdir, settings.workdir / "site.key").of_patient("LONG")]
    assert seen and set(seen) == {"0"}

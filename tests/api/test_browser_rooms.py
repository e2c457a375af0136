"""The model's and the pharmacist's pages, languages and accessibility, in a real Chromium."""

import re

import pytest
from playwright.sync_api import expect

from tests.api.browsing import search, sideways, unfold, violations

LISTED = "warfarin 5 mg\nibuprofen\nsimvastatine\nclarithromycin"
FIRST = "7f3c0000-0000-4000-8000-000000000000"


def test_what_the_model_is_and_where_it_is_weak(tab, clinic_server):
    page = tab(clinic_server)
    page.get_by_role("link", name="Model", exact=True).click()
    expect(page.get_by_role("row", name="this model 0.47 0.45–0.49")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("female 300 .* 0.10 behind the best"))).to_be_visible()
    expect(page.get_by_text("The lists are clearly less good for: Sex: female.")).to_be_visible()
    expect(page.get_by_role("img", name="The share of suggestions that were begun")).to_be_visible()
    expect(page.get_by_text("off by 0.1 percentage points")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("clinic-1 · being served"))).to_be_visible()
    expect(page.get_by_text("Nothing has been accepted or refused yet.")).to_be_visible()


def test_a_drug_is_found_by_brand_by_class_and_by_a_slip(tab, clinic_server):
    page = tab(clinic_server)
    page.get_by_role("link", name="Drugs", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Drugs")
    page.wait_for_load_state()  # the keys are heard from then on
    page.keyboard.press("/")
    page.keyboard.type("glucophage")
    page.keyboard.press("Enter")
    expect(page.locator(".lines .drug")).to_contain_text("metformin (Glucophage)")
    page.get_by_label("Name, brand or code").fill("metfromin")
    page.keyboard.press("Enter")
    expect(page.locator(".drug .guess").first).to_have_text("a guess")
    page.get_by_label("Name, brand or code").fill("qqqqqq")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="No drug found")).to_be_visible()
    page.goto("/drugs")
    page.locator(".tree summary", has_text="Cardiovascular").click()
    page.locator(".tree").get_by_role("link", name="ACE inhibitor", exact=True).click()
    expect(page.locator(".lines")).to_contain_text("lisinopril")
    page.get_by_label("given here only").check()
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".lines .drug")).to_have_count(1)
    page.get_by_role("link", name="lisinopril", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("lisinopril")
    expect(page.locator(".lines")).to_contain_text("enalapril")
    expect(page.locator(".rules").first).to_be_visible()


def test_a_list_is_checked_and_what_is_not_certain_is_asked(tab, clinic_server):
    page = tab(clinic_server)
    page.get_by_role("link", name="Interactions", exact=True).click()
    expect(page.get_by_text("Enter two drugs or more.")).to_be_visible()
    page.get_by_label("Drugs, one a line").fill(LISTED)
    page.get_by_role("button", name="Check").click()
    expect(page.locator(".findings [role=status]")).to_have_text(
        re.compile(r"^\d+ warnings among 3 of 4 drugs checked, rules of 22 Nov 2026. 1 could not be checked.$")
    )
    expect(page.locator(".unchecked")).to_contain_text("simvastatine")
    page.get_by_role("button", name="simvastatin", exact=True).click()
    expect(page.locator(".findings [role=status]")).to_contain_text("among 4 of 4 drugs checked")
    expect(page.locator(".rules .contraindicated")).to_contain_text("simvastatin")
    page.get_by_label("Drugs, one a line").fill("metformin\namoxicillin")
    page.get_by_role("button", name="Check").click()
    expect(page.locator(".findings [role=status]")).to_have_text(
        "No interaction or duplicate therapy found among 2 of 2 drugs checked, rules of 22 Nov 2026."
    )
    assert page.url.endswith("/interactions")


def test_the_language_is_the_browsers_until_it_is_chosen(tab, clinic_server):
    page = tab(clinic_server, language="zh-CN")
    expect(page.get_by_role("heading", level=1)).to_have_text("查找患者")
    search(page, "PAT-3")
    expect(page.locator(".withheld-item")).to_contain_text("暂不列出")
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    page.get_by_role("button", name="English").click()  # the patient stays
    expect(page.get_by_role("heading", level=1)).to_contain_text("Patient PAT-3")
    page.goto("/model")
    expect(page.locator("html")).to_have_attribute("lang", "en")  # and so does the language
    page.get_by_role("button", name="简体中文").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("依据什么建成，弱在哪里")
    assert "PAT-3" not in page.url


# looking takes the browser nearly a minute of processor time: each theme and each language are looked at in whole every
# time, and the two other pairs of them by make test-slow
@pytest.mark.parametrize(
    ("dark", "language"),
    [
        pytest.param(False, "en-GB", id="light-en"),
        pytest.param(True, "zh-CN", id="dark-zh"),
        pytest.param(False, "zh-CN", id="light-zh", marks=pytest.mark.slow),
        pytest.param(True, "en-GB", id="dark-en", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing(tab, clinic_server, ward_server, dark, language):
    found = {}
    page = tab(clinic_server, dark=dark, language=language, forgiven=(404,))

    def look(name):
        # the tree of drugs stands on four pages and is the longest part of each: it is judged open on one of them
        unfold(page, *(() if name == "/drugs" else (".tree",)))
        found[name] = violations(page)

    look("start")
    for patient_id in ("PAT-1", "PAT-3", "PAT-6", "NOBODY"):
        search(page, patient_id)
        look(patient_id)
    search(page, "PAT-2")
    page.locator("#if-drug").fill("ibuprofen")
    page.locator("#if-egfr").fill("x")
    page.locator("#if-allergy").fill("qq")
    page.locator(".adding .primary").click()
    expect(page.locator(".what-changed")).to_be_visible()
    look("what if")
    for path in (
        "/model",
        "/drugs",
        "/drugs?q=metfromin",
        "/drugs?q=qqqqqq",
        "/drugs/rxnorm:11289",
        "/interactions",
        "/no",
    ):
        page.goto(path)
        look(path)
    page.goto("/interactions")
    page.locator("#drugs").fill(LISTED)
    with page.expect_navigation():  # judged before its style sheet is there, every button is too small
        page.locator(".list-of-drugs .primary").click()
    look("checked")
    page.set_viewport_size({"width": 360, "height": 800})
    look("checked on a phone")
    page = tab(ward_server, dark=dark, language=language)
    for patient_id in (FIRST, "LONG", "EMPTY"):
        search(page, patient_id)
        look(patient_id)
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"], ids=["en", "zh"])
def test_no_room_scrolls_sideways(tab, clinic_server, language):
    page = tab(clinic_server, language=language)
    for path in ("/model", "/drugs", "/drugs/rxnorm:11289", "/interactions"):
        page.goto(path)
        unfold(page)
        assert sideways(page) == {}, path
    search_page = tab(clinic_server, language=language)
    search(search_page, "PAT-3")
    unfold(search_page)
    assert sideways(search_page) == {}

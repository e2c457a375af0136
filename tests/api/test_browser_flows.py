"""What a clinician does on the patient's page, in a real Chromium: answering, asking "what if"; by mouse and by key."""

import re

import pytest
from playwright.sync_api import expect

from tests.api.browsing import search


def row(page, name):
    return page.locator(".suggestion", has=page.get_by_role("heading", name=name, exact=True))


@pytest.fixture(params=[True, False], ids=["script", "plain"])
def scripted(request):
    """With our scripts, and as plain forms without them."""
    return request.param


# --- what is warned of, withheld and not checked ---------------------------------------------------------------------


def test_the_withheld_with_rule_source_and_what_to_do(tab, clinic_server):
    page = tab(clinic_server)
    search(page, "PAT-3")
    expect(row(page, "amoxicillin")).to_have_count(0)
    held = page.locator(".withheld-item")
    expect(held).to_have_count(1)
    expect(held.locator(".tier").first).to_have_text("Withheld")
    expect(held).to_contain_text("Allergy to a penicillin")
    expect(held).to_contain_text("Because of: allergy to penicillin.")
    held.locator(".source summary").first.click()
    expect(held).to_contain_text("FDA class labelling of penicillins")
    expect(held).to_contain_text("Reviewed 22 Nov 2026. Rule allergy-penicillin.")


def test_a_warning_has_an_icon_a_word_and_a_colour(tab, clinic_server):
    page = tab(clinic_server)
    search(page, "PAT-1")
    warning = row(page, "warfarin").locator(".warning")
    expect(warning).to_have_class(re.compile("caution"))
    expect(warning.locator("svg")).to_have_count(1)
    expect(warning.locator(".tier")).to_have_text("Caution")
    expect(warning).to_contain_text("Because of: simvastatin.")


def test_not_checked_says_what_would_make_it_checkable(tab, clinic_server):
    page = tab(clinic_server)
    search(page, "PAT-1")
    expect(row(page, "warfarin").locator(".gaps")).to_contain_text("Not checked: INR: none on record")
    page.get_by_role("link", name="3 things could not be checked").click()
    box = page.locator("#unchecked")
    expect(box).to_be_focused()
    expect(box).to_contain_text("INR: none on record — measure it: a value of the last 3 days counts")
    expect(box).to_contain_text("Concerns warfarin")
    expect(row(page, "amoxicillin")).to_contain_text("Checked: no rule speaks against it.")


def test_silence_is_earned(tab, clinic_server):
    page = tab(clinic_server)
    search(page, "PAT-1")
    expect(page.locator(".therapy .sentence")).to_have_text(
        "No interaction found among 3 of 3 drugs checked, rules of 22 Nov 2026."
    )
    search(page, "PAT-6")
    expect(page.locator(".therapy .sentence")).to_have_text(
        "No current drug on record, so there is nothing to check together."
    )


# --- answers ---------------------------------------------------------------------------------------------------------


def test_accept_and_undo(tab, clinic_server, scripted):
    page = tab(clinic_server, java_script_enabled=scripted)
    search(page, "PAT-2")
    row(page, "simvastatin").get_by_role("button", name="Accept: simvastatin").click()
    said = row(page, "simvastatin").locator(".said")
    expect(said).to_contain_text("Accepted")
    search(page, "PAT-2")  # it is stored, not only shown
    expect(said).to_contain_text("Accepted")
    row(page, "simvastatin").get_by_role("button", name="Undo: Accepted, simvastatin").click()
    expect(row(page, "simvastatin").get_by_role("button", name="Accept: simvastatin")).to_be_visible()
    assert "PAT-2" not in page.url


def test_not_for_this_patient_takes_one_coded_reason(tab, clinic_server, scripted):
    page = tab(clinic_server, java_script_enabled=scripted)
    search(page, "PAT-4")
    item = row(page, "metformin")
    item.locator("summary", has_text="Not for this patient").click()
    item.get_by_role("button", name="Patient declines").click()
    expect(item.locator(".said")).to_contain_text("Not for this patient: Patient declines")
    item.get_by_role("button", name=re.compile("^Undo")).click()
    expect(item.get_by_role("button", name="Accept: metformin")).to_be_visible()


def test_other_needs_words(tab, clinic_server):
    page = tab(clinic_server, forgiven=(400,))
    search(page, "PAT-4")
    item = row(page, "amoxicillin")
    item.locator("summary", has_text="Not for this patient").click()
    item.get_by_role("button", name="Store").click()
    expect(item.get_by_role("alert")).to_have_text("Say in a few words what the other reason is.")
    item.locator("summary", has_text="Not for this patient").click()
    item.get_by_label("Other, in a few words").fill("already tried elsewhere")
    item.get_by_role("button", name="Store").click()
    expect(item.locator(".said")).to_contain_text("already tried elsewhere")
    item.get_by_role("button", name=re.compile("^Undo")).click()


def test_enter_in_a_reason_accepts_nothing(tab, clinic_server):
    page = tab(clinic_server)
    search(page, "PAT-4")
    item = row(page, "simvastatin")
    item.locator("summary", has_text="Not for this patient").click()
    item.get_by_label("Other, in a few words").fill("hm")
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    expect(page.locator(".said")).to_have_count(0)


def test_what_is_withheld_can_be_used_with_a_reason(tab, clinic_server, scripted):
    page = tab(clinic_server, java_script_enabled=scripted)
    search(page, "PAT-3")
    held = page.locator(".withheld-item")
    held.locator("summary", has_text="Use it all the same").click()
    held.get_by_role("button", name="Tolerated before").click()
    expect(held.locator(".said")).to_contain_text("Used despite the warning: Tolerated before")
    held.get_by_role("button", name=re.compile("^Undo")).click()
    expect(held.locator(".said")).to_have_count(0)


def test_answers_by_keyboard(tab, clinic_server):
    page = tab(clinic_server)
    search(page, "PAT-6")
    page.keyboard.press("j")
    first = page.locator(".suggestion").first
    expect(first).to_be_focused()
    page.keyboard.press("a")
    expect(first.locator(".said")).to_contain_text("Accepted")
    expect(first.get_by_role("button", name=re.compile("^Undo"))).to_be_focused()
    page.keyboard.press("Enter")
    expect(first.locator("[data-accept]")).to_be_focused()
    page.keyboard.press("r")
    expect(first.get_by_role("button", name="Not indicated")).to_be_focused()
    page.keyboard.press("Enter")
    expect(first.locator(".said")).to_contain_text("Not indicated")
    page.keyboard.press("Enter")


# --- what if ---------------------------------------------------------------------------------------------------------


def test_what_if_the_kidneys_fail(tab, clinic_server, scripted):
    page = tab(clinic_server, java_script_enabled=scripted)
    search(page, "PAT-5")
    expect(row(page, "metformin")).to_have_count(1)
    page.get_by_label("eGFR").fill("25")
    page.get_by_role("button", name="Try it").click()
    changed = page.locator(".what-changed")
    expect(changed).to_contain_text("1 withheld: metformin (Estimated glomerular filtration rate 25 mL/min/1.73 m²")
    expect(changed).to_contain_text("Only the safety rules look at eGFR 25")
    expect(row(page, "metformin")).to_have_count(0)
    expect(page.locator(".withheld-item")).to_contain_text("metformin")
    expect(page.locator(".chart")).to_contain_text("eGFR 25 mL/min/1.73 m², today")
    expect(page.locator(".answers")).to_have_count(0)  # nothing is answered on a chart that is not there
    page.get_by_role("button", name="Back to the chart as it is").click()
    expect(row(page, "metformin")).to_have_count(1)
    expect(page.locator(".what-changed")).to_have_count(0)
    assert "PAT-5" not in page.url


def test_what_if_says_what_moved_and_why(tab, clinic_server):
    page = tab(clinic_server)
    search(page, "PAT-5")
    page.get_by_label("Condition", exact=True).fill("hypertension")
    page.keyboard.press("Enter")
    expect(page.locator(".what-changed")).to_contain_text("1 moved up; 1 moved down.")
    expect(row(page, "lisinopril").locator(".moved")).to_have_text(re.compile(r"^up 1: hypertension \+\.\d\d$"))
    expect(page.get_by_label("Condition", exact=True)).to_be_focused()
    page.get_by_role("button", name="Take out hypertension").click()
    expect(page.locator(".what-changed")).to_have_count(0)


def test_what_if_an_allergy_and_a_drug_at_once(tab, clinic_server, scripted):
    page = tab(clinic_server, java_script_enabled=scripted)
    search(page, "PAT-2")
    page.get_by_label("Allergy").fill("penicillins")
    page.get_by_label("Drug taken").fill("advil")  # a brand
    page.get_by_role("button", name="Try it").click()
    changed = page.locator(".what-changed")
    expect(changed).to_contain_text("1 withheld: amoxicillin (Penicillins)")
    expect(changed).to_contain_text("1 with a new warning: warfarin (ibuprofen)")
    expect(row(page, "warfarin").locator(".warning.serious")).to_have_count(1)
    expect(page.locator(".therapy .names")).to_contain_text("ibuprofen")


def test_what_if_guesses_nothing(tab, clinic_server, scripted):
    page = tab(clinic_server, java_script_enabled=scripted)
    search(page, "PAT-2")
    page.get_by_label("Drug taken").fill("ibuprofan")
    page.get_by_label("eGFR").fill("999")
    page.get_by_role("button", name="Try it").click()
    problems = page.locator(".adding .problem")
    expect(problems).to_have_count(2)
    expect(problems.first).to_contain_text("“ibuprofan” is not known here. Did you mean")
    expect(problems.last).to_have_text("An eGFR is a number from 1 to 250.")
    expect(page.locator(".what-changed")).to_have_count(0)
    problems.first.get_by_role("button", name="ibuprofen", exact=True).click()
    expect(page.locator(".added li")).to_contain_text("ibuprofen")


def test_names_are_offered_while_typing(tab, clinic_server):
    page = tab(clinic_server)
    search(page, "PAT-2")
    page.get_by_label("Drug taken").press_sequentially("simva")
    expect(page.locator("#names-drug option").first).to_have_attribute("value", "simvastatin")


def test_a_server_that_is_gone_leaves_the_list_and_says_so(tab, clinic_server):
    page = tab(clinic_server, forgiven=("net::ERR_FAILED",))
    search(page, "PAT-2")
    page.route("**/patient/**", lambda route: route.abort())
    page.get_by_label("eGFR").fill("25")
    page.get_by_role("button", name="Try it").click()
    expect(page.locator(".adding .problem")).to_have_text(
        re.compile(r"^The live check is unavailable since \d\d:\d\d. The list shown is the last one that was checked.$")
    )
    row(page, "simvastatin").get_by_role("button", name="Accept: simvastatin").click()
    expect(row(page, "simvastatin").get_by_role("alert")).to_contain_text("The server does not answer")
    expect(page.locator(".suggestion")).to_have_count(3)

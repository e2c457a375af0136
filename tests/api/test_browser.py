"""The clinician's way in a real Chromium, against gunicorn on a real Redis."""

import re
import subprocess

import pytest
from playwright.sync_api import expect

from api import create_app
from recommender.settings import Settings
from recommender.store import open_store
from tests.api.browsing import number, search, sideways, unfold

FIRST = "7f3c0000-0000-4000-8000-000000000000"


def test_from_the_start_to_reasons_that_add_up(tab, ward_server):
    page = tab(ward_server)
    page.get_by_role("button", name="7f3c0000").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("7f3c0000")
    expect(page.locator(".unchecked")).to_contain_text("could not be checked")
    suggestions = page.locator(".suggestion")
    expect(suggestions).to_have_count(10)
    for suggestion in suggestions.all():
        score = number(suggestion.locator(".score .num").inner_text())
        said = [number(text) for text in suggestion.locator(".reasons .num").all_inner_texts()]
        assert sum(said) == score
        suggestion.locator(".parts > summary").click()
        parts = [number(text) for text in suggestion.locator("tbody td:last-child").all_inner_texts()]
        assert sum(parts) == number(suggestion.locator("tfoot td").inner_text())
        assert abs(sum(parts) - score) <= 5
    assert page.url == f"{ward_server.url}/patient"
    page.get_by_role("button", name="Show 20 suggestions").click()
    expect(suggestions).to_have_count(20)
    expect(page.locator(".lengths .choice[aria-current]")).to_have_text("20")
    page.get_by_role("button", name="Procedures", exact=True).click()
    expect(page.locator(".kinds .choice[aria-current]")).to_have_text("Procedures")
    expect(page.locator(".lengths .choice[aria-current]")).to_have_text("20")
    kinds = page.locator(".suggestion .meta > span:first-child").all_inner_texts()
    assert kinds
    assert all(kind.startswith("procedure") for kind in kinds)


def test_unknown_id_and_the_next_try(tab, ward_server):
    page = tab(ward_server, forgiven=(404,))
    search(page, "NOBODY-QQ47")
    expect(page.get_by_role("alert")).to_contain_text("No patient with that id in this version")
    assert "QQ47" not in page.url + page.content()
    search(page, FIRST)
    expect(page.locator(".suggestion")).to_have_count(10)
    assert FIRST not in page.url


def test_nothing_to_suggest(tab, ward_server):
    page = tab(ward_server)
    search(page, "EMPTY")
    expect(page.get_by_role("heading", name="Nothing to suggest")).to_be_visible()
    expect(page.get_by_text("Nothing was withheld from this list")).to_be_visible()


def test_keyboard(tab, ward_server):
    page = tab(ward_server)
    expect(page.get_by_label("Patient id")).to_be_focused()
    page.keyboard.type(f"{FIRST}")  # j, k and ? mean themselves while typing
    with page.expect_navigation():
        page.keyboard.press("Enter")
    rows = page.locator(".suggestion")
    for key, at in (("j", 0), ("j", 1), ("j", 2), ("k", 1), ("k", 0), ("k", 0)):
        page.keyboard.press(key)
        expect(rows.nth(at)).to_be_focused()
    page.keyboard.press("o")
    expect(rows.first.locator("table")).to_be_visible()
    page.keyboard.press("o")
    expect(rows.first.locator("table")).to_be_hidden()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.get_by_label("Patient id")).to_be_focused()
    page.keyboard.type("/j?")
    expect(page.get_by_label("Patient id")).to_have_value("/j?")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_tab_reaches_the_list_first(tab, ward_server):
    page = tab(ward_server)
    search(page, FIRST)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the suggestions")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#list")).to_be_focused()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_page_scrolls_sideways(tab, ward_server, dark):
    page = tab(ward_server, dark=dark, forgiven=(404,))
    assert sideways(page) == {}
    for patient_id in ("NOBODY", "EMPTY", "LONG"):
        search(page, patient_id)
        assert sideways(page) == {}
    with page.expect_navigation():
        page.get_by_role("button", name="Show 20 suggestions").click()
    unfold(page)
    assert sideways(page) == {}
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark


def test_a_name_that_is_markup_stays_a_name(tab, ward_server):
    page = tab(ward_server)
    search(page, "LONG")
    with page.expect_navigation():
        page.get_by_role("button", name="Show 20 suggestions").click()
    expect(page.locator(".suggestion h3", has_text="<script>window.hacked = 1</script>")).to_have_count(1)
    expect(page.locator(".chart li", has_text="onerror='window.hacked = 1'")).to_have_count(1)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0


def test_the_rest_of_the_record_folds_and_allergies_do_not(tab, ward_server):
    page = tab(ward_server, 360)
    search(page, FIRST)
    expect(page.locator(".fold .names").first).to_be_hidden()
    expect(page.get_by_role("heading", name="Allergies")).to_be_visible()
    expect(page.get_by_role("heading", name="Current therapy")).to_be_visible()
    page.locator(".fold > summary").click()
    expect(page.locator(".fold .names").first).to_be_visible()


def test_without_scripts_everything_is_there(chromium, ward_server):
    with chromium.new_context(java_script_enabled=False, base_url=ward_server.url) as context:
        page = context.new_page()
        page.goto("/")
        expect(page.get_by_role("button", name="Keyboard")).to_be_hidden()
        page.get_by_role("button", name="7f3c0000").click()
        expect(page.locator(".suggestion")).to_have_count(10)
        page.locator(".fold > summary").click()
        expect(page.locator(".fold .names").first).to_be_visible()


def test_on_paper(tab, ward_server):
    page = tab(ward_server)
    search(page, FIRST)
    page.emulate_media(media="print")
    expect(page.get_by_text(FIRST)).to_be_visible()  # a shortened id is no use on paper
    expect(page.locator(".unchecked")).to_be_visible()
    expect(page.get_by_label("Patient id")).to_be_hidden()
    assert len(re.findall(rb"/Type /Page\b", page.pdf(format="A4"))) == 1
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".chart li").evaluate_all("all => all.every(item => item.offsetParent !== null)")
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    expect(page.locator(".fold li").first).to_be_hidden()


def test_weight(tab, ward_server):
    page = tab(ward_server)
    search(page, FIRST)
    weights = []
    page.on("response", lambda response: weights.append(len(response.body())))
    page.get_by_role("button", name="Show 20 suggestions").click()
    expect(page.locator(".suggestion")).to_have_count(20)
    page.wait_for_load_state("networkidle")
    assert 0 < sum(weights) < 150_000


def test_no_patient_is_logged(tab, ward_server):
    page = tab(ward_server, forgiven=(404,))
    for patient_id in (FIRST, "NOBODY-QQ47", "LONG"):
        search(page, patient_id)
    log = ward_server.log.read_text()
    assert '"route":"/patient","status":200' in log
    for private in (FIRST, "QQ47", "LONG", "treatment 3", "condition 3"):
        assert private not in log


def test_store_dies_under_a_page_and_comes_back(tab, serve, start_redis, ward, tmp_path):
    redis = start_redis()
    settings = Settings(workdir=tmp_path, redis_url=redis.url)

    def publish():
        with open_store(settings) as store:
            store.publish(ward("v1"))
            store.activate("v1")

    publish()
    app = create_app(settings)
    page = tab(serve(app), forgiven=(503,))
    redis.process.kill()
    redis.process.wait()
    search(page, FIRST)
    expect(page.get_by_role("heading", level=1)).to_have_text("The suggestions cannot be reached just now")
    assert FIRST not in page.url
    again = subprocess.Popen(redis.process.args)  # on the same port, empty
    try:
        for _ in range(100):
            with page.expect_navigation():
                page.get_by_role("button", name="Try again").click()
            if "Nothing has been published yet" in page.content():
                break
        expect(page.get_by_role("heading", level=1)).to_have_text("Nothing has been published yet")
        publish()
        page.get_by_role("button", name="Try again").click()
        expect(page.locator(".suggestion")).to_have_count(10)
    finally:
        app.extensions["rxrec"].close()
        again.kill()
        again.wait()

"""The pages as HTML: states, words, escaping, and the arithmetic of the colours."""

import dataclasses
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from api.words import EN
from recommender.features import build_matrix
from recommender.models.linear import LinearModel
from recommender.ranking import top_n
from recommender.safety.charts import read_charts
from recommender.snapshot import Release, Snapshot

API = Path(__file__).parents[2] / "api"


def show(client, patient_id, **form):
    return client.post("/patient", data={"patient_id": patient_id, **form})


def test_start_page_says_what_is_served(client, published):
    page = client.get("/").text
    assert "1 Jan 2025" in page and ">v1<" in page and "Checked against 1,0" in page
    assert EN["clinical"] in page
    assert EN["start.examples"] not in page and EN["synthetic"] not in page  # real data have no patients to try


def test_examples_only_when_synthetic(client, store, ward):
    store.publish(ward("v1"))
    store.activate("v1")
    page = client.get("/").text
    assert EN["start.examples"] in page and EN["synthetic"] in page
    assert page.count('name="patient_id" value=') == 6


def test_patient_page(client, published):
    page = show(client, "PAT-3").text
    assert "female, age 60–69" in page
    assert "allergy to penicillin" in page and "diabetes" in page and "metformin" in page
    assert "Data as of 1 Jan 2025" in page and "version v1" in page
    assert EN["clinical"] in page and EN["list.what_score"] in page and EN["score.not"] in page
    assert 'title="Code rxnorm:29046"' in page


def test_allergies_that_the_data_cannot_tell_do_not_read_as_none(client, store, tiny_records, with_manifest, published):
    assert EN["chart.none"] in show(client, "PAT-1").text  # PAT-3 has one, so PAT-1 is known to have none on record
    records = dataclasses.replace(tiny_records, allergies=tiny_records.allergies.iloc[:0])
    matrix = build_matrix(records, min_target_patients=1).plain
    model = LinearModel().fit(matrix)
    charts = read_charts(records, ())
    release = Release("v2", {}, matrix.index, model, charts.known)
    snapshot = Snapshot(release, matrix.patient_ids, top_n(model, matrix, 5), matrix.rows, charts)
    store.publish(with_manifest(snapshot))
    store.activate("v2")
    page = show(client, "PAT-1").text
    assert EN["chart.absent"] in page
    assert EN["chart.none"] not in page


def test_reasons_in_words(client, published):
    text = re.sub(r"<[^>]+>", "", show(client, "PAT-3").text).replace("\xa0", " ")
    assert re.search(r"because\s.*diabetes \+\.\d\d", text)
    assert "has had metformin" in text
    assert re.search(r"allergy: allergy to penicillin", text)
    assert "how common it is overall" in text
    assert re.search(r"against .*−\.\d\d", text)


def test_patient_without_history(client, published):
    page = show(client, "PAT-6").text
    assert page.count(EN["chart.none"]) == 2  # conditions, allergies
    assert EN["chart.no_values"] in page and EN["therapy.none_taken"] in page
    assert "male, age 18–29" in page


def test_id_is_trimmed_and_needed(client, published):
    assert show(client, "  PAT-2 ").status_code == 200
    for response in (show(client, "  "), client.post("/patient")):
        assert response.status_code == 400
        assert EN["state.no-id"] in response.text


def test_unknown_patient_gets_the_search_again(client, published):
    response = show(client, "NOBODY-QQ47")
    assert response.status_code == 404
    assert EN["state.unknown-patient"] in response.text and "data-search" in response.text
    assert "QQ47" not in response.text


def test_list_lengths(client, store, ward):
    store.publish(ward("v1"))
    store.activate("v1")
    page = show(client, "LONG", n=20).text
    assert page.count('<li class="suggestion"') == 20
    assert 'value="20" aria-label="Show 20 suggestions" aria-current="true"' in page
    assert show(client, "LONG", n="0").status_code == 400
    assert EN["state.bad-parameter"] in show(client, "LONG", n="many").text


def test_one_kind_can_be_asked_for(client, store, ward):
    store.publish(ward("v1"))
    store.activate("v1")
    page = show(client, "LONG").text
    assert re.findall(r'class="choice" name="kind" value="(\w*)"( aria-current="true")?>', page) == [
        ("", ' aria-current="true"'),  # all therapies
        ("drug", ""),
        ("procedure", ""),
        ("care_plan", ""),
        ("care_resource", ""),
    ]
    assert EN["kind.care_resource"] not in page
    page = show(client, "LONG", kind="care_resource", n=20).text
    assert 'value="care_resource" aria-current="true"' in page
    assert page.count('<li class="suggestion"') == page.count(f"<span>{EN['kind.care_resource']}")
    assert '<input type="hidden" name="n" value="20">' in page
    assert '<input type="hidden" name="kind" value="care_resource">' in page
    assert show(client, "LONG", kind="device").status_code == 400


def test_departments_on_record_are_no_treatments(client, store, ward):
    store.publish(ward("v1"))
    store.activate("v1")
    page = show(client, "EMPTY").text  # has had everything
    assert EN["chart.places"] in page
    assert 'class="choices kinds"' in page  # where a list is empty, others can be asked for
    text = re.sub(
        r"<[^>]+>", "", "".join(show(client, f"7f3c{n:04d}-0000-4000-8000-00000000{n:04d}").text for n in range(9))
    )
    assert re.search(r"visit: treatment 5[789]", text)


def test_a_hospital_of_one_kind_offers_no_choice(client, published):
    assert 'class="choices kinds"' not in show(client, "PAT-2").text


def test_nothing_to_suggest(client, store, ward):
    store.publish(ward("v1"))
    store.activate("v1")
    page = show(client, "EMPTY").text
    assert EN["empty.heading"] in page and EN["empty.all_on_record"] in page and EN["withheld.heading"] in page


def test_nothing_published(client):
    for response in (client.get("/"), show(client, "PAT-2")):
        assert response.status_code == 503
        assert "rxrec nightly" in response.text


def test_coming_back_to_the_patients_address_starts_again(client, published):
    response = client.get("/patient")
    assert (response.status_code, response.headers["Location"]) == (302, "/")


def test_page_that_is_not_there(client, published):
    response = client.get("/PAT-QQ47")
    assert response.status_code == 404
    assert EN["state.not-found"] in response.text and "QQ47" not in response.text


def test_a_thin_manifest_still_makes_pages(client, store, tiny_snapshot):
    store.publish(tiny_snapshot("v1"))  # nothing but a source and a date
    store.activate("v1")
    assert client.get("/").status_code == 200
    assert show(client, "PAT-2").status_code == 200


class Elements(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture
def pages(client, store, ward):
    """Every state of the pages that a published ward can show."""
    store.publish(ward("v1"))
    store.activate("v1")
    asked = [client.get("/"), client.get("/none"), *(show(client, i) for i in ("LONG", "EMPTY", "NOBODY", ""))]
    return [response.text for response in asked]


def test_names_from_the_data_are_inert(pages):
    for page in pages:
        for tag, attributes in Elements(page).found:
            assert not (tag == "script" and "src" not in attributes)
            assert not any(name.startswith("on") or name == "style" for name in attributes)
            assert tag != "img"
    assert "&lt;script&gt;window.hacked" in pages[2]


def test_structure_for_screen_readers(pages):
    for page in pages:
        elements = Elements(page).found
        ids = [a["id"] for _, a in elements if "id" in a]
        assert len(ids) == len(set(ids))
        levels = [int(tag[1]) for tag, _ in elements if re.fullmatch(r"h[1-6]", tag)]
        assert levels.count(1) == 1 and levels[0] == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        labelled = {a["for"] for tag, a in elements if tag == "label"}
        assert all(a["id"] in labelled for tag, a in elements if tag == "input" and a.get("type") != "hidden")
        pointed = {
            i for _, a in elements for k in ("aria-labelledby", "aria-describedby") for i in a.get(k, "").split()
        }
        assert pointed <= set(ids)
        assert all(a.get("aria-hidden") == "true" for tag, a in elements if tag == "svg")
        assert next(a for tag, a in elements if tag == "html")["lang"] == "en"


def test_the_catalogue_is_whole_and_holds_nothing_unused():
    sources = "".join(f.read_text() for f in [*API.rglob("*.py"), *API.glob("templates/*")] if f.parent.name != "words")
    called = set(re.findall(r"[\"\']([a-z]+(?:\.[a-z_\-]+)*)[\"\']", sources))
    made = "state signin problem reason reason_code kind kinds sex severity measure language nav help therapy answer"
    made += " whatif attribute group formulary event span route"
    made = set(made.split())  # keys of these are put together
    keys = {key.removesuffix(".one").removesuffix(".other").removesuffix(".0") for key in EN}
    unused = {key for key in keys if key not in called and key.partition(".")[0] not in made}
    assert not unused
    words_in_templates = re.findall(r'\bt\("([^"]+)"', "".join(f.read_text() for f in API.glob("templates/*")))
    assert {key for key in words_in_templates if not key.endswith(".")} <= set(EN)


# --- colours ----------------------------------------------------------------------------------------------------------


def colours():
    sheet = (API / "static" / "page.css").read_text()
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", sheet, re.S)[:2]
    )
    return {"light": light, "dark": {**light, **dark}}


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_on_white_is_21():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "ink, paper",
    [
        ("ink", "paper"),
        ("ink", "panel"),
        ("ink", "accent-soft"),
        ("soft", "paper"),
        ("soft", "panel"),
        ("accent", "paper"),
        ("accent", "panel"),
        ("accent", "accent-soft"),
        ("accent-ink", "accent"),
        ("unchecked", "unchecked-paper"),
        ("unchecked", "paper"),
        ("unchecked", "panel"),
        ("ink", "serious-paper"),
        ("serious", "paper"),
        ("serious", "panel"),
        ("serious", "serious-paper"),
        ("caution", "paper"),
        ("caution", "panel"),
        ("clear", "paper"),
        ("accent", "serious-paper"),
        ("soft", "serious-paper"),
        ("soft", "unchecked-paper"),
        ("accent", "unchecked-paper"),
        ("paper", "serious"),
    ],
)
def test_text_can_be_read(theme, ink, paper):
    assert contrast(colours()[theme][ink], colours()[theme][paper]) >= 4.5


def as_seen_without_green(colour):
    """Deuteranopia: Viénot, Brettel and Mollon, Color Res. Appl. 1999, in linear light."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    yellow = 0.29275 * red + 0.70725 * green
    seen = (yellow, yellow, min(1, max(0, -0.02234 * red + 0.02234 * green + blue)))
    return "#" + "".join(
        f"{round(255 * (12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055)):02x}" for c in seen
    )


def test_without_green_white_stays_white_and_red_is_dark_yellow():
    assert as_seen_without_green("#ffffff") == "#ffffff"
    assert as_seen_without_green("#ff0000") == "#939300"  # (0.29275 of the light) ** (1 / 2.4) * 1.055 - 0.055 = 0.577


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ink", ["serious", "caution", "unchecked", "accent", "clear"])
def test_severity_can_be_read_without_green(theme, ink):
    seen = {name: as_seen_without_green(colour) for name, colour in colours()[theme].items()}
    assert contrast(seen[ink], seen["paper"]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("shape", ["bar", "line-strong", "accent"])
def test_shapes_can_be_seen(theme, shape):
    assert contrast(colours()[theme][shape], colours()[theme]["paper"]) >= 3

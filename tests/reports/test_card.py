"""The model card: all 31 attributes, each figure as it was measured, groups as counted in the export itself."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from html import unescape
from itertools import pairwise

import pytest

from recommender.errors import InputError
from recommender.features import AGE_BANDS
from recommender.reports.card import card_of
from recommender.reports.card_attributes import ASKED
from recommender.reports.card_page import plots_of
from recommender.reports.plots import Row, Series, bars, grid, intervals, lines


@pytest.fixture(scope="session")
def evaluation(hospital):
    """`rxrec evaluate` on the hospital that the served version was made from."""
    words = ["evaluate", "--source", "synthea", "--input", hospital.settings.workdir / "sample4"]
    hospital.asked(*words, "--model", "directed", "--model", "popularity", "--folds", 2, "--report", "evaluation")
    return json.loads((hospital.settings.workdir / "evaluation" / "evaluation.json").read_text())


@pytest.fixture(scope="session")
def manifest(hospital):
    return hospital.desk.release.manifest


def tens(count: int) -> int:
    """To the ten, halves up; never below 20."""
    return max(20, 10 * ((count + 5) // 10))


def by_key(card):
    return {one.asked.key: one for one in card.attributes}


def test_the_rule_asks_for_31_attributes_in_nine_parts():
    assert len(ASKED) == len({asked.key for asked in ASKED}) == 31
    parts = Counter(re.search(r"\(B\)\((\d)\)", asked.cite)[1] for asked in ASKED)
    assert parts == {"1": 4, "2": 4, "3": 2, "4": 4, "5": 2, "6": 4, "7": 5, "8": 4, "9": 2}


def test_every_attribute_is_filled_or_plainly_not_assessed(manifest):
    card = card_of("v", manifest)
    assert [one.asked for one in card.attributes] == list(ASKED)
    for one in card.attributes:
        assert one.text
        assert (one.state == "not assessed") == one.text.startswith("Not assessed")
    assert {one.asked.key for one in card.not_assessed} == {
        *("developer", "funding", "outcomes", "external_source", "external_tester", "external_representativeness"),
        *("external_process", "validity_external", "fairness_external"),
    }


def test_what_was_not_counted_of_those_it_should_represent_is_said(manifest):
    """(b)(11)(iv)(A)(5) to (13)."""
    text = by_key(card_of("v", manifest))["representativeness"].text
    assert text == (
        "Counted by sex, age, race: see the table. Not assessed: ethnicity, language, sexual orientation, gender "
        "identity, social determinants, health status surveys."
    )


def test_a_version_that_tells_nothing_claims_nothing():
    card = by_key(card_of("v", {}))
    for key in ("validity_same", "validity_local", "fairness_same", "fairness_local", "representativeness"):
        assert card[key].state == "not assessed"
    assert not any(one.figures for one in card.values())
    assert "was screened" in card["known_risks"].text


def test_figures_are_those_of_the_version(manifest):
    card, quality = by_key(card_of("v", manifest)), manifest["quality"]
    first = card["validity_same"].figures[0]
    assert (first.name, first.value, first.low, first.high) == (
        quality["metric"],
        *(quality[name] for name in ("value", "low", "high")),
    )
    told = {figure.name: figure.value for figure in card["fairness_same"].figures}
    rows = {f"{row['attribute']}: {row['group']}": row for row in quality["groups"]}
    behind = {f"{name}, behind the best": row["gap"] for name, row in rows.items() if row["gap"] is not None}
    assert behind
    assert told == {name: row["value"] for name, row in rows.items()} | behind


def test_the_card_of_an_update_says_what_its_model_learned_from(manifest):
    update = {**manifest, "update": {"base": "v1", "base_as_of": "2026-05-06T00:00:00+00:00"}}
    assert "those of version v1, from data up to 2026-05-06." in by_key(card_of("v", update))["criteria"].text
    assert "update" not in by_key(card_of("v", manifest))["criteria"].text


def test_groups_are_counted_as_the_export_has_them(hospital, manifest):
    """The second path: the patients' file itself."""
    with (hospital.settings.workdir / "sample4" / "patients.csv").open() as file:
        people = list(csv.DictReader(file))
    groups = {group.attribute: group.cells for group in card_of("v", manifest).groups}
    sexes = Counter({"F": "female", "M": "male"}[one["GENDER"]] for one in people)
    races = Counter(one["RACE"] for one in people)
    assert {name: cell.number for name, cell in groups["sex"].items()} == {s: tens(n) for s, n in sexes.items()}
    for name, cell in groups["race"].items():
        assert cell.hidden or cell.number == tens(races[name])
        assert cell.hidden or cell.percent == f"{100 * tens(races[name]) / 400:.0f}%" or cell.share < 0.1
    assert all(count >= 11 for name, count in races.items() if name in groups["race"])
    told = {name: cell.number for name, cell in groups["age"].items() if not cell.hidden}
    ages = [entry.chart.age for entry in hospital.entries.values()]
    edges = [*AGE_BANDS, 1_000]
    counted = {f"{low} to {high - 1}": sum(low <= age < high for age in ages) for low, high in pairwise(edges)}
    shared = told.keys() & counted.keys()
    assert len(shared) > 4
    assert all(told[name] == tens(counted[name]) for name in shared)


def test_no_group_of_few_patients_follows_from_the_card(manifest):
    """Counts told, the total known: what is left of each attribute is nothing, or more than one may subtract."""
    card = card_of("v", manifest)
    for group in card.groups:
        counts = [count for name, count in manifest["inputs"][group.attribute].items()]
        assert any(0 < count < 11 for count in counts) is False  # the manifest itself has none
        small = [cell for cell in group.cells.values() if cell.text == "<11"]
        hidden = [cell for cell in group.cells.values() if cell.text == "hidden"]
        assert bool(hidden) >= bool(small)
        assert all(cell.number % 10 == 0 for cell in group.cells.values())


def test_an_evaluation_adds_its_figures_and_plots(manifest, evaluation):
    card = card_of("v", manifest, evaluation=evaluation)
    model = evaluation["models"][evaluation["first"]]
    told = {figure.name: figure.value for figure in by_key(card)["validity_same"].figures}
    assert told[f"recall at {evaluation['k']}, rxrec evaluate"] == model["recall"]["value"]
    assert len(plots_of(card)["validity_same"]) == 3 + bool(manifest["chances"])
    assert len(plots_of(card_of("v", manifest)).get("validity_same", ())) <= 1


def test_an_external_evaluation_must_be_external(manifest, evaluation):
    with pytest.raises(InputError, match="other patients of the same source"):
        card_of("v", manifest, external=evaluation)
    card = by_key(card_of("v", manifest, external={**evaluation, "by": "hospital"}))
    assert card["validity_external"].state == card["external_process"].state == "measured"
    ndcg = evaluation["models"][evaluation["first"]]["ndcg"]
    assert ndcg["value"] in {figure.value for figure in card["validity_external"].figures}
    assert card["external_tester"].state == "not assessed"


def test_the_sites_words_stand_as_the_sites(hospital, manifest, tmp_path):
    card = by_key(card_of("v", manifest, site={"funding": "The hospital."}))
    assert (card["funding"].state, card["funding"].text) == ("stated by the site", "The hospital.")
    with pytest.raises(InputError, match="fundings: none of"):
        card_of("v", manifest, site={"fundings": "x"})
    (tmp_path / "site.json").write_text(json.dumps({"developer": "病院 <b>IT</b>"}))
    told = hospital.asked("report", "card", "--out", tmp_path / "card", "--site", tmp_path / "site.json")
    assert "developer" not in told["not_assessed"]
    page = (tmp_path / "card" / "card.html").read_text()
    assert "病院 &lt;b&gt;IT&lt;/b&gt;" in page
    written = json.loads((tmp_path / "card" / "card.json").read_text())
    assert [one["number"] for one in written["attributes"]] == list(range(1, 32))
    for one in written["attributes"]:  # the page says what the JSON says
        assert one["cite"] in page
        assert one["text"].removeprefix("Not assessed: ") in unescape(page)
        assert all(f"{figure['value']:.3f}" in page for figure in one["figures"])


@pytest.mark.parametrize("text", ["not json", "[1]", "\udcff"])
def test_a_broken_file_of_the_site_is_an_error_in_words(hospital, tmp_path, text):
    (tmp_path / "site.json").write_bytes(text.encode(errors="surrogateescape"))
    result = hospital.rxrec("report", "card", "--out", tmp_path / "card", "--site", tmp_path / "site.json")
    assert result.exit_code == 3
    assert not (tmp_path / "card").exists()


# --- plots ------------------------------------------------------------------------------------------------------------


def marks(svg: str, tag: str, *names: str) -> list[tuple[float, ...]]:
    found = re.findall(rf"<{tag} [^>]*>", svg)
    return [tuple(float(re.search(rf'\b{name}="([-\d.]+)"', one)[1]) for name in names) for one in found]


def test_lines_stand_where_their_figures_say():
    """Positions are read back from the drawing, by the ticks that are drawn beside them."""
    points = ((1.0, 0.1), (5.0, 0.35), (10.0, 0.4))
    svg = lines("t", "d", [Series("a", points)], "x", "y")
    drawn = marks(svg, "circle", "cx", "cy")
    xs, ys = zip(*drawn, strict=True)
    assert (xs[1] - xs[0]) / (xs[2] - xs[0]) == pytest.approx(4 / 9, abs=0.01)
    labels = {float(text): float(y) - 4 for y, text in re.findall(r'y="([\d.]+)"[^>]*>(\d+(?:\.\d+)?)%<', svg)}
    low, high = min(labels), max(labels)
    for (_, value), y in zip(points, ys, strict=True):
        read = low + (high - low) * (y - labels[low]) / (labels[high] - labels[low])
        assert read == pytest.approx(100 * value, abs=0.5)


def test_bars_are_as_long_as_their_figures():
    svg = bars("t", "d", [Row("a", 10, "10"), Row("b", 5, "5"), Row("c", 0, "0")])
    (a,), (b,), (c,) = marks(svg, "rect", "width")
    assert (b / a, c) == (pytest.approx(0.5, abs=0.01), 0)


def test_an_interval_reaches_from_low_to_high():
    svg = intervals("t", "d", [Row("a", 2.0, "2", 1.0, 3.0), Row("b", 4.0, "4", 3.5, 4.5)], 2.0, "all")
    (a,), (b,) = marks(svg, "circle", "cx")
    ends = [pair for pair in marks(svg, "line", "x1", "x2") if pair[0] != pair[1]]
    per_unit = (b - a) / 2
    assert [(end - a) / per_unit + 2 for pair in ends for end in pair] == pytest.approx([1, 3, 3.5, 4.5], abs=0.02)


@pytest.mark.parametrize("name", ["<script>x</script>", "高血压" * 30, "a" * 200, ""])
def test_every_plot_escapes_shortens_and_says_its_title(name):
    for svg in (
        bars("title", "said", [Row(name, 1, "1")]),
        intervals("title", "said", [Row(name, 1, "1", 0, 2)]),
        grid("title", "said", [name, "b"], [[1, 0.5], [None, 1]]),
        lines("title", "said", [Series(name, ((0, 0),)), Series("b", ())], "x", "y"),
    ):
        assert "<script" not in svg
        assert svg.startswith('<figure><figcaption>title</figcaption><svg class="plot"')
        assert "<title>title</title><desc>said</desc>" in svg
        assert svg.count("<svg") == svg.count("</svg>") == 1


def test_every_night_leaves_its_card(hospital):
    for one in hospital.store.versions():
        folder = hospital.settings.workdir / "runs" / one.version / "reports" / "card"
        written = json.loads((folder / "card.json").read_text())
        assert written["version"] == one.version
        assert len(written["attributes"]) == 31
        assert folder.stat().st_mode & 0o777 == 0o700

"""Every treatment is found, by any of its names, in one order, and a page never loses or repeats one."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.catalogue import BadCursor, Catalogue
from recommender.matrix import Block, Column, ColumnIndex
from recommender.safety import Rules
from recommender.support import count_support
from recommender.vocabulary import DrugVocabulary


@pytest.fixture(scope="module")
def vocabulary():
    return DrugVocabulary.load()


@pytest.fixture(scope="module")
def rules(vocabulary):
    return Rules.load(vocabulary=vocabulary)


@pytest.fixture(scope="module")
def catalogue(tiny_matrix, vocabulary, rules):
    return Catalogue("v1", tiny_matrix.index, vocabulary, rules, count_support(tiny_matrix))


def names(hits):
    return [hit.treatment.name for hit in hits]


def test_the_whole_vocabulary_is_there_and_what_was_given_is_marked(catalogue, vocabulary, tiny_matrix):
    assert {one.code for one in catalogue.treatments} == set(vocabulary.drugs)
    given = [one.name for one in catalogue.treatments if one.on_record]
    assert given == ["amoxicillin", "lisinopril", "metformin", "simvastatin", "warfarin"]
    metformin, sirolimus = catalogue.find("rxnorm:6809"), catalogue.search("sirolimus")[0].treatment
    assert metformin.suggestable and metformin.patients.text == "<11"
    assert not sirolimus.on_record and not sirolimus.suggestable and sirolimus.patients is None
    assert (metformin.group, metformin.chapter) == ("Biguanide", "Endocrine and metabolic")
    assert "Glucophage" in metformin.brands and metformin.synonyms == ()


def test_without_counts_none_is_told(tiny_matrix, vocabulary, rules):
    assert Catalogue("v1", tiny_matrix.index, vocabulary, rules).find("6809").patients is None


@pytest.mark.parametrize(
    ("text", "first", "matched"),
    [
        ("metf", "metformin", "name"),
        ("METFORMIN", "metformin", "name"),
        ("glucoph", "metformin", "brand"),
        ("adrenaline", "epinephrine", "name"),
        ("rxnorm:6809", "metformin", "code"),
        ("6809", "metformin", "code"),
        ("rxnorm:5487+29046", "hydrochlorothiazide / lisinopril", "code"),
        ("warfrin", "warfarin", "typo"),
        ("metropolol", "metoprolol", "typo"),
        ("asprin", "aspirin", "typo"),
        ("eliquiss", "apixaban", "typo"),
    ],
)
def test_found_by_any_name(catalogue, text, first, matched):
    hit = catalogue.search(text)[0]
    assert (hit.treatment.name, hit.matched) == (first, matched)


def test_what_begins_with_it_comes_before_what_has_it_in_a_later_word(catalogue):
    found = names(catalogue.search("lisin"))
    assert found[0] == "lisinopril" and "hydrochlorothiazide / lisinopril" in found
    assert names(catalogue.search("insulin"))[0] == "insulin"  # the very name first


@pytest.mark.parametrize("text", ["xyzzy", "blood pressure", "qqqq", "!!", "wrf", "rxnorm:999999999", "999999999"])
def test_what_is_like_nothing_finds_nothing(catalogue, text):
    assert catalogue.search(text) == ()


def test_a_guess_is_made_only_where_nothing_begins_with_the_text(catalogue):
    assert {hit.matched for hit in catalogue.search("warfarin")} == {"name"}
    assert catalogue.search("metformin", lambda one: one.kind == "procedure") == ()


def test_filters(catalogue):
    hits = catalogue.search(keep=lambda one: one.group == "Biguanide")
    assert names(hits) == ["metformin"] and hits[0].matched is None
    assert names(catalogue.search("6809", lambda one: False)) == []


def test_classes_by_any_spelling(catalogue):
    assert catalogue.classes("hmg coa reductase inhibitor STATIN") == {"HMG-CoA reductase inhibitor (statin)"}
    assert (
        catalogue.classes("Endocrine and metabolic") and not catalogue.classes("") and not catalogue.classes("statin")
    )


def test_alternatives_are_of_the_same_class(catalogue):
    statins = [one.name for one in catalogue.alternatives(catalogue.find("rxnorm:36567"))]
    assert "atorvastatin" in statins and "simvastatin" not in statins and "metformin" not in statins


def test_kinds_that_share_a_code_and_drugs_that_nobody_knows(vocabulary, rules):
    columns = (
        Column("snomed:1", "procedure", "walking", ""),
        Column("snomed:1", "care_plan", "walking", ""),
        Column("text:home brew", "drug", "Home brew", ""),
        Column("rxnorm:6809+11289", "drug", "metformin / warfarin", ""),  # a mixture that no table names
        Column("rxnorm:6809", "drug", "", "Biguanide"),
    )
    catalogue = Catalogue("v1", ColumnIndex(columns, (Block("treatments", 0, 5),), np.array([0, 2])), vocabulary, rules)
    assert [hit.treatment.kind for hit in catalogue.search("walking")] == ["care_plan", "procedure"]
    assert catalogue.find("text:home brew").ingredients == ()
    assert catalogue.find("rxnorm:6809+11289").ingredients == ("rxnorm:6809", "rxnorm:11289")
    assert catalogue.find("rxnorm:6809").name == "rxnorm:6809"
    assert [catalogue.of_target(ix).code for ix in (0, 1)] == ["snomed:1", "text:home brew"]


# --- pages -----------------------------------------------------------------------------------------------------------

common = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@common
@given(text=st.sampled_from(["", "a", "in", "met", "warfrin", "hydro"]), limit=st.integers(1, 700))
def test_pages_hold_every_item_once_in_the_same_order(catalogue, text, limit):
    hits = catalogue.search(text)
    if limit < 20:
        hits = hits[:200]
    seen, cursor, pages = [], "", 0
    while True:
        page = catalogue.page(hits, limit, cursor, [text])
        assert page.total == len(hits) and len(page.hits) <= limit
        seen += page.hits
        pages += 1
        cursor = page.cursor
        if not cursor:
            break
        assert len(page.hits) == limit
    assert tuple(seen) == tuple(hits)
    assert pages == max(1, -(-len(hits) // limit))
    assert catalogue.search(text)[: len(hits)] == tuple(hits)


@common
@given(text=st.one_of(st.text(max_size=30), st.from_regex(r"[A-Za-z0-9_-]{16}", fullmatch=True)))
def test_a_cursor_that_was_not_given_is_refused(catalogue, text):
    hits = catalogue.search()
    if text:
        with pytest.raises(BadCursor):
            catalogue.page(hits, 10, text)


def test_a_cursor_is_bound_to_its_version_and_query(catalogue, tiny_matrix, vocabulary, rules):
    hits = catalogue.search()
    cursor = catalogue.page(hits, 10, query=["a"]).cursor
    assert catalogue.page(hits, 20, cursor, ["a"]).hits == hits[10:30]
    other = Catalogue("v2", tiny_matrix.index, vocabulary, rules)
    for there, query in ((catalogue, ["b"]), (other, ["a"])):
        with pytest.raises(BadCursor, match="begin again"):
            there.page(hits, 10, cursor, query)


def test_the_fingerprint_is_of_what_is_said(catalogue, tiny_matrix, vocabulary, rules):
    same = Catalogue("v1", tiny_matrix.index, vocabulary, rules, count_support(tiny_matrix))
    assert same.fingerprint == catalogue.fingerprint
    assert Catalogue("v1", tiny_matrix.index, vocabulary, rules).fingerprint != catalogue.fingerprint

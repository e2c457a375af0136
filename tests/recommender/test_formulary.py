"""A formulary is read as it is written, or refused with the row and the field; nothing in it is guessed."""

import pytest

from recommender.errors import InputError
from recommender.formulary import Formulary, Listing, Unknown
from recommender.vocabulary import DrugVocabulary

TEXT = """drug,tier,restriction,status
rxnorm:6809,1,,
LISINOPRIL 10 MG TABS,1,,formulary
warfarin,2,haematology only,
Lipitor,3,,Non-Formulary
hydrochlorothiazide / lisinopril,2,,
"""


@pytest.fixture(scope="module")
def vocabulary():
    return DrugVocabulary.load()


@pytest.fixture
def load(tmp_path, vocabulary):
    def load(text, **how):
        path = tmp_path / "formulary.csv"
        path.write_bytes(text.encode(**how) if isinstance(text, str) else text)
        return Formulary.load(path, vocabulary)

    return load


def test_codes_names_and_brands(load):
    formulary = load(TEXT)
    assert formulary and formulary.lines == 5 and not formulary.unknown
    assert formulary.listings["rxnorm:6809"] == Listing("formulary", "1", "", (2,))
    assert formulary.listings["rxnorm:29046"] == Listing("formulary", "1", "", (3,))
    assert formulary.listings["rxnorm:11289"] == Listing("restricted", "2", "haematology only", (4,))
    assert formulary.status("rxnorm:83367") == "non_formulary"  # atorvastatin
    assert formulary.status("rxnorm:5487+29046") == "formulary"
    assert formulary.status("rxnorm:36567") == "non_formulary"  # no line names simvastatin


def test_what_is_not_on_it_may_be_moved_below_the_rest(load):
    formulary = load(TEXT)
    ranked = ["rxnorm:36567", "rxnorm:6809", "rxnorm:83367", "rxnorm:11289", "text:home brew"]
    assert sorted(ranked, key=formulary.order_key) == [
        *("rxnorm:6809", "rxnorm:11289", "rxnorm:36567", "rxnorm:83367", "text:home brew")
    ]
    assert formulary.order_key("snomed:1", "procedure") == 0
    assert formulary.status("snomed:1", "procedure") == "unknown"


def test_without_a_formulary_nothing_is_said():
    none = Formulary()
    assert not none
    assert none.status("rxnorm:6809") == "unknown" and none.order_key("rxnorm:6809") == 0


def test_a_drug_is_as_available_as_its_best_line(load):
    formulary = load(
        "drug,tier,restriction,status\nmetformin 500 mg,2,,non-formulary\nmetformin 850 mg tablets,1,,\n"
        "metformin ER 1000 mg tablet,3,,formulary\nwarfarin 1 mg,1,A,\nwarfarin 5 mg,1,B,\n"
    )
    assert formulary.listings["rxnorm:6809"] == Listing("formulary", "1; 3", "", (2, 3, 4))
    assert formulary.listings["rxnorm:11289"] == Listing("restricted", "1", "A; B", (5, 6))


def test_what_is_not_understood_is_kept_and_told(load):
    formulary = load(
        "drug,tier,restriction\nward mouthwash no 5,1,\nwarfrin,1,\nrxnorm:999999999,1,\nsaline flush,1,\n"
    )
    assert [one.row for one in formulary.unknown] == [2, 3, 4, 5]
    assert formulary.unknown[1] == Unknown(3, "warfrin", "may be a misspelling of warfarin")
    assert formulary.status("rxnorm:11289") == "non_formulary"  # not guessed
    assert formulary.status("text:ward mouthwash no 5") == "formulary"  # as the hospital's own records call it


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "row 1, field drug"),
        ("drug,tier\nx,1\n", "row 1, field restriction"),
        ("drug,tier,restriction,staus\n", "row 1, field staus"),
        ("drug,tier,restriction,status\nmetformin,1,,maybe\n", "row 2, field status"),
        ("drug,tier,restriction\nmetformin,1,\n ,1,\n", "row 3, field drug"),
        ("drug,tier,restriction\nmetformin,1\n", "row 2"),
        ("drug,tier,restriction\nmetformin,1,,4\n", "row 2"),
        ("drug,tier,restriction\nmetformin," + "x" * 501 + ",\n", "row 2, field tier"),
        ('drug,tier,restriction\nmetformin,1,"a" b\n', "row 2"),
    ],
)
def test_a_broken_table_is_refused_with_its_place(load, text, where):
    with pytest.raises(InputError) as refused:
        load(text)
    assert str(refused.value).startswith(f"formulary.csv, {where}: ")


def test_encodings_and_separators(load, tmp_path, vocabulary):
    expected = load(TEXT).listings
    assert load(TEXT, encoding="utf-8-sig").listings == expected
    assert load(TEXT.replace(",", ";")).listings == expected
    assert load(TEXT.replace("\n", "\r\n").replace("drug,tier", "Drug, Tier")).listings == expected
    with pytest.raises(InputError, match="UTF-8"):
        load("drug,tier,restriction\nmétformine,1,\n".encode("latin-1"))
    with pytest.raises(InputError, match="RXREC_FORMULARY"):
        Formulary.load(tmp_path / "none.csv", vocabulary)


def test_the_version_is_the_files(load):
    assert load(TEXT).version == load(TEXT).version != load(TEXT + "\n").version

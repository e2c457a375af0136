"""The shipped tables are whole and agree with RxNorm; a broken table is named by file, row and field."""

from __future__ import annotations

import csv
import gzip
import importlib.resources
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from recommender.errors import InputError
from recommender.vocabulary import DrugVocabulary, Tables
from recommender.vocabulary.importing import import_vocabulary
from recommender.vocabulary.text import key

FIXTURES = Path(__file__).parents[1] / "fixtures"
SHIPPED = Path(str(importlib.resources.files("data.vocabulary")))
CLINICAL_DRUG = "STY/T200"  # the semantic type of RxNorm's names with dose or form

# Every drug that SAFETY.md names, US and international names alike.
SAFETY_DRUGS = """\
tranylcypromine, phenelzine, isocarboxazid, procarbazine, selegiline, ritonavir, nelfinavir, atazanavir, indinavir,
saquinavir, amprenavir, darunavir, lopinavir, tipranavir, fosamprenavir, clarithromycin, erythromycin,
telithromycin, dexmethylphenidate, dextroamphetamine, methylphenidate, lisdexamfetamine, methamphetamine,
phendimetrazine, pseudoephedrine, amphetamine, benzphetamine, diethylpropion, phentermine, atomoxetine, omeprazole,
lansoprazole, pantoprazole, rabeprazole, esomeprazole, dexlansoprazole, febuxostat, azathioprine, mercaptopurine,
fluoxetine, paroxetine, citalopram, escitalopram, sertraline, fluvoxamine, duloxetine, nefazodone, desvenlafaxine,
milnacipran, venlafaxine, irinotecan, amiodarone, verapamil, diltiazem, ketoconazole, itraconazole, fluconazole,
voriconazole, aprepitant, cimetidine, meperidine, methadone, tapentadol, fentanyl, tramadol, dextromethorphan,
amitriptyline, clomipramine, desipramine, doxepin, imipramine, nortriptyline, protriptyline, trimipramine,
ramelteon, ticlopidine, ciprofloxacin, bosentan, rifapentine, carbamazepine, rifabutin, rifampin, St John's wort,
simvastatin, lovastatin, ergotamine, methylergonovine, dihydroergotamine, ergonovine, tizanidine, mexiletine,
propafenone, zileuton, sumatriptan, zolmitriptan, rizatriptan, moclobamide, methylene blue, rifampicin, pethidine,
paracetamol, salbutamol, methylergometrine, glibenclamide, adrenaline, warfarin, aliskiren, clopidogrel,
methotrexate, trimethoprim, digoxin, lithium, sildenafil, allopurinol, linezolid, aztreonam, aspirin, metformin,
bupropion, potassium chloride, spironolactone, midazolam, oxycodone"""


def _rows(folder: Path, file: str) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / file).read_text(encoding="utf-8").splitlines()))


@pytest.fixture(scope="module", params=["shipped", "imported"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped tables, and those that an import adds to: what is asked of the one is asked of the other."""
    if request.param == "shipped":
        return SHIPPED
    output = tmp_path_factory.mktemp("vocabulary") / "imported"
    import_vocabulary(FIXTURES / "rxnorm", FIXTURES / "medrt", output)
    return output


@pytest.fixture(scope="module")
def tables(folder: Path) -> Tables:
    return Tables.load(folder)


def test_the_tables_are_large_enough(tables: Tables) -> None:
    assert len(tables.ingredients) >= 900
    assert sum(drug.code.startswith("rxnorm:") for drug in tables.ingredients) >= 600
    assert len(tables.combinations) >= 200


def test_codes_are_unique_and_combinations_sort_their_parts_by_number(tables: Tables) -> None:
    codes = [drug.code for drug in (*tables.ingredients, *tables.combinations)]
    assert len(codes) == len(set(codes))
    for drug in tables.combinations:
        if drug.code.startswith("rxnorm:"):
            numbers = [int(number) for number in drug.code.removeprefix("rxnorm:").split("+")]
            assert numbers == sorted(numbers) and len(numbers) > 1


def test_no_spelling_names_two_drugs(tables: Tables) -> None:
    owners: dict[str, set[str]] = {}
    for drug in (*tables.ingredients, *tables.combinations):
        for spelling, _ in drug.terms:
            owners.setdefault(key(spelling), set()).add(drug.code)
    assert {spelling: codes for spelling, codes in owners.items() if len(codes) > 1} == {}


def test_no_spelling_is_listed_twice_for_a_drug(folder: Path) -> None:
    for row in _rows(folder, "ingredients.csv") + _rows(folder, "combinations.csv"):
        for column in ("brands", "synonyms"):
            spellings = Counter(key(part) for part in row[column].split("|"))
            assert spellings.most_common(1)[0][1] == 1, row


def test_every_class_is_used_and_has_a_group(folder: Path, tables: Tables) -> None:
    used = {drug.drug_class for drug in (*tables.ingredients, *tables.combinations)}
    assert set(tables.classes) == used - {""}
    assert all(re.fullmatch(r"[a-z0-9-]+", row["id"]) for row in _rows(folder, "classes.csv"))


def test_every_shipped_ingredient_has_a_class() -> None:
    assert [drug.name for drug in Tables.load().ingredients if not drug.drug_class] == []


def test_a_drug_word_is_never_also_a_word_to_ignore(tables: Tables) -> None:
    """'INH' once meant both isoniazid and inhaled: no spelling is a drug and a word, but for salts such as calcium."""
    drugs = {key(spelling) for drug in (*tables.ingredients, *tables.combinations) for spelling, _ in drug.terms}
    assert {word for word in drugs & set(tables.words) if tables.words[word].kind != "salt"} == set()


def test_error_prone_abbreviations_are_no_names(folder: Path) -> None:
    """Short forms that are known to have been taken for another drug (ISMP's list) stay unmapped."""
    vocabulary = DrugVocabulary.load(folder)
    for text in ("MSO4", "MgSO4", "MS", "AZT", "HCT", "MTX", "INH", "TAC", "T3", "T4", "CPZ", "PIT", "TNK", "ddI"):
        assert vocabulary.match(text).status == "unmapped", text


def test_every_drug_of_the_safety_rules_is_there(folder: Path) -> None:
    vocabulary = DrugVocabulary.load(folder)
    for name in SAFETY_DRUGS.replace("\n", " ").split(", "):
        match = vocabulary.match(name)
        assert (match.status, match.method in ("exact", "synonym"), bool(match.drug_class)) == ("mapped", True, True), (
            name
        )


@pytest.fixture(scope="module")
def rxnorm(real_data: Path) -> dict[str, dict[str, str]]:
    with gzip.open(real_data / "vocabulary" / "RXNORM_bioportal_2015.csv.gz", "rt", encoding="utf-8") as file:
        return {row["Class ID"].rpartition("/")[2]: row for row in csv.DictReader(file)}


@pytest.mark.real_data
@pytest.mark.xdist_group("rxnorm")  # one worker reads the list
def test_every_rxcui_is_that_ingredient_in_the_2015_list(rxnorm: dict[str, dict[str, str]]) -> None:
    """The list's label or synonym is the name, the international name or a synonym, and it is no clinical drug."""
    checked = 0
    for row in _rows(SHIPPED, "ingredients.csv"):
        if not row["rxcui"]:
            continue
        if row["newer"]:
            assert row["rxcui"] not in rxnorm, f"{row['name']} is in the list: not newer"
            continue
        entry = rxnorm[row["rxcui"]]
        labels = {key(label) for label in (entry["Preferred Label"], *entry["Synonyms"].split("|"))}
        names = {key(name) for name in (row["name"], row["inn"], *row["synonyms"].split("|"))}
        assert labels & names - {""}, (row["name"], entry["Preferred Label"])
        assert CLINICAL_DRUG not in entry["Semantic Types"], row["name"]
        checked += 1
    assert checked >= 600


def test_well_known_rxcuis() -> None:
    vocabulary = DrugVocabulary.load()
    known = {
        "metformin": 6809, "lisinopril": 29046, "hydrochlorothiazide": 5487, "acetaminophen": 161, "aspirin": 1191,
        "warfarin": 11289, "simvastatin": 36567, "atorvastatin": 83367, "amoxicillin": 723, "insulin glargine": 274783,
        "furosemide": 4603, "metoprolol": 6918, "heparin": 5224, "morphine": 7052, "vancomycin": 11124,
    }  # fmt: skip
    assert {name: vocabulary.match(name).code for name in known} == {n: f"rxnorm:{code}" for n, code in known.items()}


@pytest.mark.real_data
@pytest.mark.xdist_group("rxnorm")  # one worker reads the list
def test_brands_are_those_of_rxnorm(rxnorm: dict[str, dict[str, str]]) -> None:
    """RxNorm writes 'lisinopril 10 MG Oral Tablet [Zestril]': the brand must mean what stands before it.

    Sampled (every 20th of 96,000 names) for time. The rest are products that RxNorm spells out by components and the
    tables name as one (bowel preparations, multivitamins, artificial tears, dialysis fluids), or brands with variants.
    """
    vocabulary = DrugVocabulary.load()
    agree, differ = 0, set()
    labels = sorted(row["Preferred Label"] for row in rxnorm.values() if CLINICAL_DRUG in row["Semantic Types"])
    for label in labels[::20]:
        branded = re.fullmatch(r"([^{[]+)\[([^]]+)\]", label)
        if branded is None:
            continue
        body, brand = (vocabulary.match(part) for part in branded.groups())
        if body.status == brand.status == "mapped":
            agree += body.code == brand.code
            if body.code != brand.code:
                differ.add((branded[2], brand.name, body.name))
    assert agree > 500
    assert len(differ) <= 15, sorted(differ)


@pytest.mark.real_data
@pytest.mark.xdist_group("rxnorm")  # one worker reads the list
def test_no_real_drug_name_is_taken_for_a_misspelling(rxnorm: dict[str, dict[str, str]]) -> None:
    """Of all one-word names in RxNorm only spelling variants and typing errors of the list itself are 'misspelt'."""
    vocabulary = DrugVocabulary.load()
    variants = {
        "belladona", "camphora", "carbapentane", "carbocysteine", "chlopheniramine", "guafacine", "ibadronate",
        "levabuterol", "phenylehrine", "protamines", "solfenacin", "terazosine", "benzonidazole", "tumeric",
    }  # fmt: skip
    labels = {row["Preferred Label"].casefold() for row in rxnorm.values()}
    names = {label for label in labels if re.fullmatch("[a-z]{7,}", label)}
    taken = {name for name in names if vocabulary.match(name).method == "fuzzy"}
    assert taken <= variants


# --- broken tables ---------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """`broken("classes.csv", old, new)`: a copy of the shipped tables with one replacement."""

    def copy(file: str, old: str, new: str) -> Path:
        for path in SHIPPED.glob("*.csv"):
            shutil.copy(path, tmp_path / path.name)
        text = (tmp_path / file).read_text(encoding="utf-8")
        assert old in text
        (tmp_path / file).write_text(text.replace(old, new, 1), encoding="utf-8")
        return tmp_path

    return copy


@pytest.mark.parametrize(
    ("file", "old", "new", "row", "field"),
    [
        ("classes.csv", "ace-inhibitor,", ",", 3, "id"),
        ("classes.csv", ",cardiovascular\n", ",nowhere\n", 3, "parent"),
        ("ingredients.csv", "rxcui,", "code,", 1, "rxcui"),
        ("ingredients.csv", "6809,", "metformin,", None, "rxcui"),
        ("ingredients.csv", ",Biguanide,", ",Biguanid,", None, "drug_class"),
        ("ingredients.csv", "6809,metformin", "29046,metformin", None, "rxcui"),
        ("combinations.csv", "\nacetaminophen|", "\nacetaminofen|", None, "ingredients"),
        ("words.csv", ",salt,", ",pepper,", None, "kind"),
        ("words.csv", ",form,oral", ",form,orally", None, "route_class"),
        ("not_therapy.csv", "\nheparin,", "\nheparine,", None, "drugs"),
        ("not_therapy.csv", "test dose,test dose", "test dose,", None, "reason"),
    ],
)
def test_a_broken_table_is_named(
    broken: Callable[[str, str, str], Path], file: str, old: str, new: str, row: int | None, field: str
) -> None:
    with pytest.raises(InputError) as error:
        DrugVocabulary.load(broken(file, old, new))
    assert error.value.file == file
    assert error.value.field == field
    assert error.value.row == row if row is not None else error.value.row is not None


def test_a_spelling_of_two_drugs_is_refused(broken: Callable[[str, str, str], Path]) -> None:
    with pytest.raises(InputError, match="'Lasix' names both"):
        DrugVocabulary.load(broken("ingredients.csv", "Demadex", "Lasix"))


def test_a_missing_or_unreadable_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"classes\.csv"):
        DrugVocabulary.load(tmp_path)
    (tmp_path / "classes.csv").write_bytes(b"id,name,parent\n\xff\xfe,x,\n")
    with pytest.raises(InputError, match="not UTF-8"):
        DrugVocabulary.load(tmp_path)
    (tmp_path / "classes.csv").write_text("id,name,parent\na,b\n")
    with pytest.raises(InputError, match="row 2"):
        DrugVocabulary.load(tmp_path)

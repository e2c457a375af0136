"""RxNorm's files as a site downloads them; the release in tests/fixtures is made by hand, with invented drugs in it."""

from __future__ import annotations

import csv
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommender.errors import InputError
from recommender.vocabulary import DrugVocabulary
from recommender.vocabulary.codes import SCHEMA, Codes, ndc_forms, write
from recommender.vocabulary.importing import Imported, import_vocabulary
from recommender.vocabulary.rxnorm import RxNorm

FIXTURES = Path(__file__).parents[1] / "fixtures"
RELEASE = FIXTURES / "rxnorm"
FILES = ("RXNCONSO.RRF", "RXNREL.RRF", "RXNSAT.RRF")


@pytest.fixture(scope="module")
def release() -> RxNorm:
    return RxNorm.read(RELEASE)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Imported]:
    """An import of the fixtures: its folder and what it did."""
    folder = tmp_path_factory.mktemp("import") / "vocabulary"
    return folder, import_vocabulary(RELEASE, FIXTURES / "medrt", folder)


@pytest.fixture(scope="module")
def imported(done: tuple[Path, Imported]) -> DrugVocabulary:
    return DrugVocabulary.load(done[0])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- what the files say ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rxcui", "ingredients"),
    [
        ("6809", "6809"),  # an ingredient is made of itself
        ("235743", "6809"),  # precise ingredient: form_of
        ("860974", "6809"),  # component: has_ingredient
        ("860975", "6809"),  # clinical drug: consists_of
        ("860977", "6809"),  # branded drug: tradename_of
        ("151827", "6809"),  # brand: by its branded drugs
        ("214618", "5487 29046"),  # combination: has_part
        ("9000010", "9000001 9000002"),  # ... one part of it a precise ingredient
        ("9000038", "5487 29046"),
        ("9000013", "9000001 9000002"),  # has_ingredients
        ("9000040", "9000001 748794"),  # pack: contains
        ("9000041", "9000001 748794"),
        ("9000033", "6809"),  # obsolete, and still what it was
        ("9000022", ""),  # a brand of two different products means neither
        ("9000035", ""),  # a part of it is not in the release
        ("9000034", ""),  # withdrawn by an editor
    ],
)
def test_what_a_concept_is_made_of(release: RxNorm, rxcui: str, ingredients: str) -> None:
    assert release.ingredients.get(rxcui, frozenset()) == set(ingredients.split())


def test_names_synonyms_and_merged_codes(release: RxNorm) -> None:
    assert release.concepts["860975"].name == '24 HR metformin hydrochloride 500 MG "XR" Oral Tablet'
    assert release.concepts["6809"].name == "metformin"  # not the name that another source gives it
    assert (release.concepts["82819"].current, release.concepts["6809"].current) == (False, True)
    assert release.synonyms["9000001"] == ["examplumab-abcd", "EXB", "exampLUMab"]
    assert release.merged == {"149": {"9000004"}, "777001": {"860975"}}


def test_ndcs_are_those_of_rxnorm_in_use(release: RxNorm) -> None:
    assert release.ndcs == {
        "00093721401": {"860975"},
        "00087606005": {"860977"},
        "12345678901": {"9000012"},
        "00000000101": {"860975", "9000012"},
        "00000000404": {"9000042"},
        "11111111100": {"860975"},
        "01111111110": {"9000012"},
    }


# --- the vocabulary that is made of them -----------------------------------------------------------------------------


def test_codes_are_corrected_and_doubts_told(done: tuple[Path, Imported]) -> None:
    lines = {(row["what"], row["drug"], row["before"], row["after"]) for row in _rows(done[0] / "report.csv")}
    assert lines >= {
        ("code added", "evolocumab", "", "1665684"),
        ("code corrected", "abacavir", "190521", "9000003"),
        ("code corrected", "albuterol", "435", "9000005"),  # by its international name
        ("code was merged into another", "acebutolol", "149", "9000004"),
        ("code is obsolete", "acamprosate", "82819", ""),
        ("code has another name in RxNorm", "acarbose", "16681", "otherbose"),
        ("code is not in this release", "zonisamide", "39998", ""),
        ("has no code in RxNorm", "abemaciclib", "", ""),
        ("brand left out: ours means another drug", "furosemide", "Lasix", "examplumab"),
        ("ingredient left out: its name is a word that may stand beside any", "", "11295", "water"),
    }
    assert done[1].reported["code corrected"] == 2


def test_our_tables_stay_and_gain(imported: DrugVocabulary) -> None:
    shipped = DrugVocabulary.load()
    codes = {drug.name: drug for drug in imported.drugs.values()}
    for drug in shipped.drugs.values():
        assert drug.drug_class == codes[drug.name].drug_class
        assert set(drug.terms) <= set(codes[drug.name].terms)
    assert codes.keys() - {drug.name for drug in shipped.drugs.values()} == {
        "examplumab",
        "inventolol",
        "examplumab / inventolol",
    }


@pytest.mark.parametrize(
    ("text", "code", "method"),
    [
        ("examplumab 1 mg/ml injection", "rxnorm:9000001", "parsed"),
        ("Examplix", "rxnorm:9000001", "brand"),
        ("examplumab-abcd", "rxnorm:9000001", "synonym"),
        ("inventolol tartrate", "rxnorm:9000002", "synonym"),  # its precise ingredient
        ("inventolol / examplumab", "rxnorm:9000001+9000002", "exact"),
        ("evolocumab", "rxnorm:1665684", "exact"),
        ("rxnorm:6809", "rxnorm:6809", "rxcui"),
        ("rxnorm:860975", "rxnorm:6809", "rxnorm product"),
        (" rxnorm:860977 ", "rxnorm:6809", "rxnorm product"),
        ("rxnorm:9000038", "rxnorm:5487+29046", "rxnorm product"),
        ("rxnorm:9000013", "rxnorm:9000001+9000002", "rxnorm product"),
        ("rxnorm:9000040", "rxnorm:9000001", "rxnorm product"),  # the inert tablets of a pack are no drug
        ("rxnorm:9000043", "rxnorm:8591", "rxnorm product"),  # saline beside potassium chloride is its vehicle
        ("rxnorm:777001", "rxnorm:6809", "rxnorm product"),  # merged into another
        ("rxnorm:9000004", "rxnorm:149", "rxnorm product"),
        ("ndc:00093-7214-01", "rxnorm:6809", "ndc"),
        ("ndc:0093-7214-01", "rxnorm:6809", "ndc"),
        ("ndc:00093721401", "rxnorm:6809", "ndc"),
        ("ndc:0093721401", "rxnorm:6809", "ndc"),  # ten digits: only one of the three forms is known
    ],
)
def test_what_is_known_after_the_import(imported: DrugVocabulary, text: str, code: str, method: str) -> None:
    match = imported.match(text)
    assert (match.status, match.code, match.method) == ("mapped", code, method)
    assert set(match.ingredients) <= set(imported.drugs)


@pytest.mark.parametrize(
    "text",
    [
        "EXB",  # an abbreviation is no name
        "Duplico",  # sold as two different products
        "otherbose",  # our acarbose has this code: one of the two is wrong
        "rxnorm:9000022", "rxnorm:9000034", "rxnorm:9000035", "rxnorm:9000042", "rxnorm:9000039", "rxnorm:1",
        "ndc:00000-0001-01",  # of two drugs
        "ndc:1111111110",  # ten digits that may be either of two drugs
        "ndc:00000000202", "ndc:0", "ndc:", "rxnorm:", "rxnorm:99999999999999999999", "ndc:99999-9999-99", "cvx:860975",
    ],
)  # fmt: skip
def test_what_is_not_certain_stays_unmapped(imported: DrugVocabulary, text: str) -> None:
    assert imported.match(text).status == "unmapped"


def test_the_shipped_vocabulary_has_no_codes_of_products() -> None:
    assert DrugVocabulary.load().match("rxnorm:860975").status == "unmapped"


def test_what_is_no_therapy_stays_so(imported: DrugVocabulary) -> None:
    assert imported.match("Sterile Water").method == "rule:diluent"
    assert imported.match("Sodium Chloride 0.9%  Flush").status == "not_therapy"


def test_the_folder_says_whose_data_it_holds(done: tuple[Path, Imported]) -> None:
    words = " ".join((done[0] / "README.md").read_text(encoding="utf-8").replace("> ", "").split())
    assert "courtesy of the U.S. National Library of Medicine (NLM), National Institutes of Health" in words
    assert "NLM is not responsible for the product and does not endorse or recommend this or any other product" in words


# --- where it may come from ------------------------------------------------------------------------------------------


def _zip(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def _whole(prefix: str = "rrf/") -> dict[str, bytes]:
    return {prefix + file: (RELEASE / "rrf" / file).read_bytes() for file in FILES}


def test_a_zip_is_read_where_it_is_and_its_subset_left_alone(tmp_path: Path, release: RxNorm) -> None:
    subset = dict.fromkeys(_whole("prescribe/rrf/"), b"not this one")
    path = _zip(tmp_path / "RxNorm_full_01052026.zip", **subset, **_whole())
    read = RxNorm.read(path)
    assert (read.concepts, read.ingredients, read.ndcs) == (release.concepts, release.ingredients, release.ndcs)
    assert read.merged == {}  # the prescribable subset comes without an archive
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_progress_counts_the_rows_of_all_files() -> None:
    told: list[int] = []
    RxNorm.read(RELEASE, told.append)
    assert sum(told) == sum(len(file.read_bytes().splitlines()) for file in (RELEASE / "rrf").iterdir())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p, "no such file or folder"),
        (lambda p: (p.mkdir(), p)[1], r"no file RXNCONSO\.RRF here"),
        (lambda p: _zip(p, **{"rrf/RXNREL.RRF": b""}), r"no file RXNCONSO\.RRF here"),
        (lambda p: (p.write_bytes(b"PK\x03\x04 cut off"), p)[1], "cut off or damaged"),
        (lambda p: _zip(p, **_whole(), **_whole("again/")), "name the folder that holds the one"),
        (lambda p: _zip(p, **{"rrf/RXNCONSO.RRF": b"0" * (65 << 20)}), "over 200 times its size"),
    ],
    ids=["nothing", "empty folder", "other zip", "damaged", "twice", "bomb"],
)
def test_a_download_that_is_none_is_refused(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    with pytest.raises(InputError, match=words):
        RxNorm.read(make(tmp_path / "RxNorm.zip"))


def test_a_zip_damaged_inside_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "RxNorm.zip", **_whole())
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)
    path.write_bytes(data)
    with pytest.raises(InputError, match="cut off or damaged"):
        RxNorm.read(path)


CONSO_ROW = b"1|ENG||||||1|1|1||RXNORM|IN|1|name||N|4096|\n"


@pytest.mark.parametrize(
    ("file", "data", "row", "field", "words"),
    [
        ("RXNCONSO.RRF", b"", None, "", "empty"),
        ("RXNCONSO.RRF", CONSO_ROW + b"2|ENG|\n", 2, "", "has 2 fields, not 18"),
        ("RXNCONSO.RRF", CONSO_ROW.replace(b"|4096|", b"|4096"), 1, "", "has 17 fields, not 18"),
        ("RXNCONSO.RRF", CONSO_ROW * 3 + CONSO_ROW.replace(b"name", b"na\xefme"), 4, "STR", "not UTF-8"),
        ("RXNCONSO.RRF", CONSO_ROW.decode().encode("utf-16"), 2, "", "has 0 fields, not 18"),
        ("RXNCONSO.RRF", CONSO_ROW + CONSO_ROW.replace(b"1|ENG", b"C12|ENG"), 2, "RXCUI", "no RxCUI"),
        ("RXNCONSO.RRF", CONSO_ROW.replace(b"RXNORM", b"MMSL"), None, "TTY", "is this RxNorm"),
        ("RXNCONSO.RRF", CONSO_ROW + b"1|" + b"x" * (17 << 20), None, "", "longer than 8 MB"),
        ("RXNREL.RRF", b"1||CUI|RO|x||CUI|form_of|||RXNORM|||||4096|\n", 1, "RXCUI2", "no RxCUI"),
        ("RXNREL.RRF", CONSO_ROW, 1, "", "has 18 fields, not 16"),
        ("RXNSAT.RRF", b"0|||1|AUI|1|||NDC|RXNORM|00093721401|N|4096|\n", 1, "RXCUI", "no RxCUI"),
    ],
)
def test_a_broken_file_is_named(
    tmp_path: Path, file: str, data: bytes, row: int | None, field: str, words: str
) -> None:
    shutil.copytree(RELEASE / "rrf", tmp_path / "rrf")
    (tmp_path / "rrf" / file).write_bytes(data)
    with pytest.raises(InputError, match=words) as error:
        RxNorm.read(tmp_path)
    assert (error.value.file, error.value.row, error.value.field) == (file, row, field)


# --- codes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        ("0093-7214-01", ("00093721401",)),  # 4-4-2
        ("50242-040-62", ("50242004062",)),  # 5-3-2
        ("60574-4114-1", ("60574411401",)),  # 5-4-1
        ("00093-7214-01", ("00093721401",)),  # 5-4-2
        ("00093721401", ("00093721401",)),
        ("0093721401", ("00093721401", "00937021401", "00937214001")),
        ("0093-721-01", ()),  # nine digits
        ("0", ()), ("", ()), ("093721401", ()), ("0*093721401", ()), ("000093721401", ()), ("٠٠٠٩٣٧٢١٤٠١", ()),
    ],
)  # fmt: skip
def test_forms_of_an_ndc(text: str, forms: tuple[str, ...]) -> None:
    assert ndc_forms(text) == forms


@given(st.dictionaries(st.integers(1, 10**9 - 1), st.sampled_from(["a", "b", "c"]), max_size=50))
def test_every_code_written_is_found_and_no_other(rows: dict[int, str]) -> None:
    table = [{"system": "rxnorm", "code": str(code), "drug": drug} for code, drug in rows.items()]
    codes = Codes(pa.Table.from_pylist(table, SCHEMA))
    for code, drug in rows.items():
        assert codes.find(f"rxnorm:{code}") == (drug, "rxnorm product")
        assert (codes.find(f"rxnorm:{code + 1}") is None) == (code + 1 not in rows)


@given(st.text(), st.sampled_from(["", "ndc:", "rxnorm:"]))
def test_any_text_may_be_looked_up(text: str, prefix: str) -> None:
    assert Codes(SCHEMA.empty_table()).find(prefix + text) is None


@pytest.mark.parametrize(
    ("rows", "row", "field"),
    [
        ([("rxnorm", "1", "a"), ("cvx", "1", "a")], 1, "system"),  # written in order: cvx comes first
        ([("rxnorm", "1", "a"), ("rxnorm", "x1", "a")], 2, "code"),
        ([("ndc", "93721401", "a")], 1, "code"),
        ([("rxnorm", "1", "b")], 1, "drug"),
        ([("rxnorm", "1", "a"), ("rxnorm", "1", "a")], None, "code"),
    ],
)
def test_a_broken_table_of_codes_is_named(
    tmp_path: Path, rows: list[tuple[str, str, str]], row: int | None, field: str
) -> None:
    write(tmp_path, rows)
    with pytest.raises(InputError) as error:
        Codes.load(tmp_path, {"a"})
    assert (error.value.file, error.value.row, error.value.field) == ("codes.parquet", row, field)


def test_what_is_no_table_of_codes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "codes.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(InputError, match=r"codes\.parquet"):
        Codes.load(tmp_path, set())
    pq.write_table(pa.table({"system": ["rxnorm"]}), tmp_path / "codes.parquet")
    with pytest.raises(InputError, match=r"codes\.parquet"):
        Codes.load(tmp_path, set())


# --- properties ------------------------------------------------------------------------------------------------------

FIELD = st.text(st.characters(exclude_characters="|\n\r", exclude_categories=["Cs"]), max_size=12)
NAME = FIELD | st.sampled_from(
    ["aspirin", "Aspirin ", "water", "oral tablet", "a / b", "flush", "x\u2028y", '"q"', "a\x85b"]
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.sampled_from(FILES))
def test_no_bytes_break_it(tmp_path: Path, data: bytes, file: str) -> None:
    for name in FILES:
        (tmp_path / name).write_bytes((RELEASE / "rrf" / name).read_bytes())
    (tmp_path / file).write_bytes(data)
    try:
        RxNorm.read(tmp_path)
    except InputError as error:
        assert error.file == file


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAME, st.sampled_from("NOEY")), min_size=1, max_size=9))
def test_every_name_is_read_as_it_stands(tmp_path: Path, names: list[tuple[str, str]]) -> None:
    rows = [f"{n}|ENG||||||1|1|1||RXNORM|IN|1|{name}||{how}|4096|\n" for n, (name, how) in enumerate(names, 10)]
    (tmp_path / "RXNCONSO.RRF").write_text("".join([CONSO_ROW.decode(), *rows]), encoding="utf-8", newline="")
    for file in FILES[1:]:
        (tmp_path / file).write_bytes((RELEASE / "rrf" / file).read_bytes())
    read = RxNorm.read(tmp_path).concepts
    wanted = {str(n): (name, how == "N") for n, (name, how) in enumerate(names, 10) if how != "Y"}
    assert {n: (c.name, c.current) for n, c in read.items() if n != "1"} == wanted


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(NAME, st.sampled_from(["IN", "PIN", "BN", "MIN", "SY"])), min_size=1, max_size=30))
def test_whatever_rxnorm_names_the_vocabulary_is_whole(tmp_path: Path, names: list[tuple[str, str]]) -> None:
    """Loading the folder proves the tables: no spelling of two drugs, no broken line. Ours read as before."""
    rows, links = [CONSO_ROW.decode()], []
    for n, (name, tty) in enumerate(names, 10):
        rows.append(f"{1 if tty == 'SY' else n}|ENG||||||1|1|1||RXNORM|{tty}|1|{name}||N|4096|\n")
        links += [
            f"{m}||CUI|RO|{n}||CUI|tradename_of|||RXNORM|||||4096|\n" for m in {1, n - 1} if tty not in ("IN", "SY")
        ]
    (tmp_path / "RXNCONSO.RRF").write_text("".join(rows), encoding="utf-8", newline="")
    (tmp_path / "RXNREL.RRF").write_text("".join(links) or "1||||1||||||||||||\n", encoding="utf-8")
    (tmp_path / "RXNSAT.RRF").write_bytes((RELEASE / "rrf" / "RXNSAT.RRF").read_bytes())
    import_vocabulary(tmp_path, None, tmp_path / "out")
    vocabulary = DrugVocabulary.load(tmp_path / "out")
    for text, meaning in {
        "Lasix 40 mg oral tablet": "furosemide",
        "ASA": "aspirin",
        "HCTZ": "hydrochlorothiazide",
    }.items():
        assert vocabulary.match(text).name == meaning
    assert vocabulary.match("sterile water").status == "not_therapy"

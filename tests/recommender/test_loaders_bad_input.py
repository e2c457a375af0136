"""Everything that can be wrong with an export: a clear error naming file, row and field, or a counted rejection."""

import datetime
import gzip
import io
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recommender.errors import InputError
from recommender.loaders import load
from recommender.records import Records

SECRET = "Meyer-1957"  # stands for a patient's id in every file below: no message may repeat it
HEADER = "patient_id,code,start\n"
GOOD = f"{HEADER}{SECRET},A,2020-01-01\n{SECRET},B,2020-01-02\n"


def read(folder: Path, content: str | bytes, name: str = "treatments.csv") -> Records:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return load("csv", folder, vocabulary=None)


def refused(folder: Path, content: str | bytes, name: str = "treatments.csv") -> InputError:
    with pytest.raises(InputError) as caught:
        read(folder, content, name)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None  # and no traceback of a library that might
    return caught.value


def rejected(records: Records) -> dict[str, tuple[int, ...]]:
    assert not any(SECRET in str(finding) for finding in records.log.findings)
    return {f.reason: f.first_rows for f in records.log.findings if f.outcome == "rejected"}


# --- files and folders -----------------------------------------------------------------------------------------------


def test_a_missing_file_names_the_folder_and_what_was_expected(tmp_path):
    with pytest.raises(InputError) as caught:
        load("csv", tmp_path, vocabulary=None)
    assert caught.value.file == str(tmp_path)
    assert "treatments.csv, treatments.csv.gz, treatments.parquet" in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere", "a_file.csv"])
def test_the_folder_must_be_one(tmp_path, name):
    (tmp_path / "a_file.csv").write_text(GOOD)
    with pytest.raises(InputError, match="name the folder that holds the export"):
        load("csv", tmp_path / name, vocabulary=None)


def test_a_folder_in_place_of_a_file(tmp_path):
    (tmp_path / "treatments.csv").mkdir()
    with pytest.raises(
        InputError, match=r"treatments.csv: this is a folder without a table in it, but a file is needed"
    ):
        load("csv", tmp_path, vocabulary=None)


def test_two_files_of_one_table(tmp_path):
    (tmp_path / "treatments.csv.gz").write_bytes(gzip.compress(GOOD.encode()))
    assert "hold the same table" in str(refused(tmp_path, GOOD))


def test_the_case_of_file_and_column_names_does_not_matter(tmp_path):
    assert len(read(tmp_path, GOOD.replace("code", " Code "), "TREATMENTS.CSV").treatments) == 2


def test_an_unreadable_file(tmp_path, monkeypatch):
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "treatments.csv").write_text(GOOD)
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(InputError, match=r"treatments.csv: the file cannot be read: Permission denied"):
        load("csv", tmp_path, vocabulary=None)


# --- headers ---------------------------------------------------------------------------------------------------------


def test_an_empty_file(tmp_path):
    assert "the file is empty (0 bytes)" in str(refused(tmp_path, ""))
    assert "the file starts with no header" in str(refused(tmp_path, gzip.compress(b"")))
    assert "the file starts with no header" in str(refused(tmp_path, "\n" + GOOD))


def test_an_export_without_rows(tmp_path):
    assert "treatments.csv" in str(refused(tmp_path, HEADER))
    assert "treatments.csv" in str(refused(tmp_path, HEADER.strip()))
    (tmp_path / "patients.csv").write_text("patient_id\n1\n")
    assert "without any row: treatments.csv" in str(refused(tmp_path, HEADER))


def test_an_export_of_which_nothing_is_left_says_why(tmp_path):
    error = refused(tmp_path, HEADER + f"{SECRET},A,1.1.2020\n" * 3)
    assert "not a date or time such as 2021-03-05" in str(error)
    assert "(rows 2, 3, 4)" in str(error)


def test_context_alone_is_nothing_to_learn_from(tmp_path):
    (tmp_path / "patients.csv").write_text("patient_id\n1\n")
    (tmp_path / "conditions.csv").write_text("patient_id,code,start\n1,C,2020-01-01\n")
    assert "no usable treatment" in str(refused(tmp_path, HEADER))


def test_visits_alone_are_nothing_to_learn_from(tmp_path):
    rows = "patient_id,code,start,kind\n1,surgery,2020-01-01,care resource\n"
    assert "no usable treatment" in str(refused(tmp_path, rows))


def test_a_missing_column_lists_those_that_are_there(tmp_path):
    error = refused(tmp_path, GOOD.replace("code", "item"))
    assert (error.file, error.row, error.field) == ("treatments.csv", 1, "code")
    assert "the columns are patient_id, item, start" in str(error)


def test_a_file_without_header_does_not_leak_its_first_row(tmp_path):
    error = refused(tmp_path, GOOD.removeprefix(HEADER))
    assert "is it a header?" in str(error)
    assert "2020" not in str(error)


def test_a_column_that_is_there_twice(tmp_path):
    error = refused(tmp_path, GOOD.replace("start", "Code"))
    assert (error.row, error.field) == (1, "code")


@pytest.mark.parametrize(("delimiter", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
def test_a_wrong_delimiter_is_named(tmp_path, delimiter, word):
    error = refused(tmp_path, GOOD.replace(",", delimiter))
    assert f"treatments.csv, row 1: the fields are separated by {word}: separate them with commas" == str(error)


@pytest.mark.parametrize("content", [GOOD.replace("\n", "\r"), "x" * (2 << 20), HEADER.strip() + '"' * 200_001])
def test_what_is_no_header_line(tmp_path, content):
    assert refused(tmp_path, content).row == 1


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_bytes_that_are_not_utf8(tmp_path):
    error = refused(tmp_path, GOOD.encode() + f"{SECRET},Ros\xe9,2020-01-01\n".encode("latin-1"))
    assert (error.file, error.row, error.field) == ("treatments.csv", 4, "code")
    assert "iconv -f WINDOWS-1252" in str(error)
    assert refused(tmp_path, "r\xe9,patient_id,code\n".encode("latin-1")).row == 1
    assert list(rejected(read(tmp_path, GOOD.encode() + b"p,A,20\xe9\np,B\xe9\n")).values()) == [(5,), (4,)]


def test_characters_that_blocks_cut_in_two(tmp_path):
    """Many megabytes of three-byte characters: wherever a block ends, each must arrive whole."""
    code = "\u20ac" * 999
    content = HEADER + f"p,{code},2020-01-01\n" * 9000
    assert list(read(tmp_path, content).concepts["code"]) == [code]
    assert list(read(tmp_path, HEADER + "p,A\u20ac,2020-01-01").concepts["code"]) == ["A\u20ac"]
    assert refused(tmp_path, (HEADER + "p,A,2020-01-01\np,A\u20ac").encode()[:-1] + b",2020-01-01").row == 3


def test_bytes_in_columns_that_are_not_read_do_no_harm(tmp_path):
    assert len(read(tmp_path, b"note," + GOOD.encode().replace(SECRET.encode(), b"\xff,1")).treatments) == 2


def test_nul_bytes(tmp_path):
    error = refused(tmp_path, GOOD + f"{SECRET},A\0B,2020-01-01\n")
    assert (error.row, error.field) == (4, "code")
    assert "NUL bytes" in str(error)
    assert "UTF-16" in str(refused(tmp_path, GOOD.encode("utf-16")))


def test_a_byte_order_mark_crlf_and_quotes_are_fine(tmp_path):
    content = ('"' + GOOD.replace(",", '","').replace("\n", '"\r\n"')).removesuffix('"')
    assert len(read(tmp_path, b"\xef\xbb\xbf" + content.encode()).treatments) == 2


@pytest.mark.parametrize("keep", [12, 40, -9, -1])
def test_a_truncated_gzip(tmp_path, keep):
    whole = gzip.compress((GOOD + f"{SECRET},C,2020-01-03\n" * 1000).encode())
    error = refused(tmp_path, whole[:keep], "treatments.csv.gz")
    assert error.file == "treatments.csv.gz"
    assert "cut off or damaged" in str(error)


def test_a_gzip_with_a_wrong_checksum(tmp_path):
    whole = gzip.compress(GOOD.encode())
    assert "damaged" in str(refused(tmp_path, whole[:-8] + b"\0" * 8, "treatments.csv.gz"))


def test_a_gzip_is_known_by_its_bytes(tmp_path):
    assert len(read(tmp_path, gzip.compress(GOOD.encode()), "treatments.csv").treatments) == 2
    (tmp_path / "treatments.csv").unlink()
    assert len(read(tmp_path, GOOD, "treatments.csv.gz").treatments) == 2


def test_a_zip_or_excel_file(tmp_path):
    assert "save the sheet as CSV UTF-8" in str(refused(tmp_path, b"PK\x03\x04" + b"\0" * 100))


# --- rows ------------------------------------------------------------------------------------------------------------


def test_rows_with_a_wrong_number_of_fields_are_counted(tmp_path):
    records = read(tmp_path, GOOD + f"{SECRET},C\n{SECRET},C,2020-01-03,,\n{SECRET},D,not a date\n")
    assert rejected(records) == {
        "not as many fields as the header has": (4, 5),
        "not a date or time such as 2021-03-05 or 2021-03-05T06:07:08Z": (6,),
    }


def test_row_numbers_hold_across_blocks(tmp_path):
    """Nine megabytes are two blocks; malformed rows before, in and after the first must not shift the numbers."""
    good = f"{SECRET},{'x' * 800},2020-01-01\n"
    lines = [good] * 12_000
    for row in (7, 9_000, 11_000):
        lines[row - 2] = "too,few\n"
        lines[row - 1] = f"{SECRET},A,nodate\n"
    assert rejected(read(tmp_path, HEADER + "".join(lines)))["not as many fields as the header has"] == (
        7,
        9_000,
        11_000,
    )
    findings = rejected(read(tmp_path, HEADER + "".join(lines)))
    assert findings["not a date or time such as 2021-03-05 or 2021-03-05T06:07:08Z"] == (8, 9_001, 11_001)


def test_an_unclosed_quotation_mark_is_no_silent_loss(tmp_path):
    for broken in (f'{SECRET},"C,2020-01-03\n', f'{SECRET},C,"2020-01-03\n', f'"{SECRET},C,2020-01-03\n'):
        error = refused(tmp_path, GOOD + broken + f"{SECRET},D,2020-01-04\n" * 3)
        assert error.row == 4
        assert "a quotation mark is opened" in str(error)


def test_a_quotation_mark_that_joins_lines_is_counted(tmp_path):
    joined = f'{SECRET},"C,2020-01-03\n{SECRET},D,2020-01-04\n{SECRET},E"'
    assert rejected(read(tmp_path, GOOD + joined + ",2020-01-05\n")) == {
        "over several lines or longer than 1,000 characters (a quotation mark missing?)": (4,)
    }
    assert rejected(read(tmp_path, GOOD + joined + "\n")) == {
        "lines run together by a stray quotation mark, with a wrong number of fields": (4,)
    }


def test_a_line_break_in_a_name_is_fine_and_a_row_is_a_record(tmp_path):
    records = read(tmp_path, f'patient_id,code,name,start\n{SECRET},A,"long\nname",2020-01-01\n{SECRET},A,,nodate\n')
    assert len(records.treatments) == 1
    assert list(rejected(records).values()) == [(3,)]


def test_huge_fields(tmp_path):
    records = read(tmp_path, GOOD + f"{SECRET},{'x' * (1 << 20)},2020-01-01\n{SECRET},A,nodate\n")
    assert list(rejected(records).values()) == [(4,), (5,)]
    error = refused(tmp_path, GOOD + f"{SECRET},{'x' * (40 << 20)},2020-01-01\n")
    assert "is longer than 8 MB" in str(error)


def test_words_for_no_date(tmp_path):
    words = ["", "NULL", "\\N", "NaN", "NA", " "]
    rows = "".join(f"p,{code},2020-01-01,{word}\n" for code, word in enumerate(words))
    records = read(tmp_path, f"patient_id,code,start,stop\n{rows}p,B,2020-01-01,x\n")
    assert records.treatments["stop"].isna().all()
    assert len(records.treatments) == len(words)


@pytest.mark.parametrize("years", [0.5, 900])
def test_one_slip_of_the_pen_does_not_age_everybody(tmp_path, years):
    slip = datetime.date.today() + datetime.timedelta(days=365 * years)
    records = read(tmp_path, GOOD + f"{SECRET},C,{slip}\n")
    assert rejected(records) == {"date lies in the future": (4,)}
    assert str(records.as_of.date()) == "2020-01-02"


def test_dates_shifted_into_the_future_are_believed(tmp_path):
    assert len(read(tmp_path, GOOD.replace("2020", "2150")).treatments) == 2


# --- Parquet ---------------------------------------------------------------------------------------------------------


def parquet(**columns: pa.Array) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


PEOPLE = pa.array(["1", "2"])
DAYS = pa.array([1, 2], pa.date32())


@pytest.mark.parametrize(
    ("ids", "read_as"),
    [
        (pa.array([-7, 2**62], pa.int64()), ["-7", "4611686018427387904"]),
        (pa.array([7.0, None]), ["7"]),
        (pa.array(["007", " 8 "], pa.large_string()), ["007", "8"]),
        (pa.array(["007", "007"]).dictionary_encode(), ["007"]),
        (pa.array([b"a", b"b"]), ["a", "b"]),
    ],
)
def test_parquet_ids_become_text(tmp_path, ids, read_as):
    content = parquet(patient_id=ids, code=pa.array(["A", "B"]), start=DAYS)
    assert list(read(tmp_path, content, "treatments.parquet").patients["patient_id"]) == read_as


@pytest.mark.parametrize(
    "days",
    [
        DAYS,
        pa.array([86_400_000_000_000, 172_800_000_000_000], pa.timestamp("ns")),
        pa.array([86_400, 172_800], pa.timestamp("s", "America/New_York")),
        pa.array(["1970-01-02", "1970-01-03"]),
    ],
)
def test_parquet_times(tmp_path, days):
    content = parquet(patient_id=PEOPLE, code=pa.array(["A", "B"]), start=days)
    starts = read(tmp_path, content, "treatments.parquet").treatments["start"]
    assert list(starts) == [pd.Timestamp("1970-01-02", tz="UTC"), pd.Timestamp("1970-01-03", tz="UTC")]


def test_parquet_columns_of_the_wrong_type(tmp_path):
    content = parquet(patient_id=PEOPLE, code=pa.array([["A"], ["B"]]), start=DAYS)
    assert "holds list<" in str(refused(tmp_path, content, "treatments.parquet"))
    content = parquet(patient_id=PEOPLE, code=PEOPLE, start=pa.array([["A"], ["B"]]))
    error = refused(tmp_path, content, "treatments.parquet")
    assert (error.field, error.row) == ("start", None)


def test_parquet_without_rows_or_column(tmp_path):
    content = parquet(patient_id=PEOPLE[:0], code=PEOPLE[:0])
    assert "without any row" in str(refused(tmp_path, content, "treatments.parquet"))
    assert refused(tmp_path, parquet(patient_id=PEOPLE), "treatments.parquet").field == "code"


def test_damaged_parquet(tmp_path):
    whole = parquet(patient_id=PEOPLE, code=PEOPLE, start=DAYS)
    assert "this is no Parquet file" in str(refused(tmp_path, GOOD, "treatments.parquet"))
    assert "damaged" in str(refused(tmp_path, whole[:-20], "treatments.parquet"))
    assert "damaged" in str(refused(tmp_path, whole[:8] + b"\xff" * 40 + whole[48:], "treatments.parquet"))

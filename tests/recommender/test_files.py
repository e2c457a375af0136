"""Which files hold a table: one, its numbered or dated parts, a folder of them; and never a near miss."""

import pytest

from recommender.errors import InputError
from recommender.loaders import files, load

ROWS = "patient_id,code,start\n{},A,2020-01-01\n"


@pytest.mark.parametrize(
    "names",
    [
        ["drug.csv"],
        ["drug.000.csv", "drug.001.csv.gz", "drug.002.parquet"],
        ["drug-2026-11-21.csv", "drug-2026-11-22T0130.csv"],
        ["DRUG.part-1.CSV", "drug.PART2.csv"],
        ["drug.csv", "drug-2026-11-22.csv"],
        ["drug/part-00000-7f.snappy.parquet", "drug/part-00001-7f.snappy.parquet"],
        ["drug.parquet/part-0.parquet"],
    ],
)
def test_found(tmp_path, names):
    for name in [*names, "drug_era.csv", "drugs.csv", "drug.old.csv", "drug-backup.csv", "drug.csv.bak", "a.drug.csv"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for beside in ("_SUCCESS", ".part-0.parquet.crc"):
        if "/" in names[0]:
            ((tmp_path / names[0]).parent / beside).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in files.find(tmp_path, "drug")] == sorted(names)


@pytest.mark.parametrize("names", [["drug.csv", "drug.csv.gz"], ["drug.1.csv", "DRUG.1.parquet"]])
def test_the_same_part_twice_is_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="hold the same table: keep the one that is up to date"):
        files.find(tmp_path, "drug")


def test_rows_of_a_table_in_parts_are_told_by_file(tmp_path):
    (tmp_path / "treatments.1.csv").write_text(ROWS.format("P1") + "P1,,\n")
    (tmp_path / "treatments.2.csv").write_text(ROWS.format("P2") + "P2,B\n")
    (tmp_path / "patients.1.csv").write_text("patient_id,sex\nP1,F\nP1,M\n")
    (tmp_path / "patients.2.csv").write_text("patient_id,sex\nP2,F\n,\nP1,M\n")
    log = load("csv", tmp_path, vocabulary=None).log
    assert {(f.file, f.reason[:10]): f.first_rows for f in log.findings} == {
        ("treatments.1.csv", "neither a "): (3,),
        ("treatments.2.csv", "not as man"): (3,),
        ("patients.1.csv to patients.2.csv", "blank, or "): (5,),  # counted on: row 3 of the second file
        ("patients.1.csv to patients.2.csv", "the same p"): (3, 6),
    }
    assert log.read == {"patients.1.csv to patients.2.csv": 5, "treatments.1.csv": 2, "treatments.2.csv": 2}

"""The path of an export in, the source that it comes from and one sentence why out.

A source is recognised by tables that no other source has, and by columns in their headers; what the files hold is not
looked at. Where nothing or more than one thing fits, nothing is guessed.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from recommender.errors import InputError
from recommender.loaders import files
from recommender.loaders.archive import is_zip, unpacked
from recommender.loaders.database import is_url
from recommender.loaders.fhir_files import paths as fhir_paths

# source -> table -> columns that it must have there
SIGNS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "csv": {"treatments": ("patient_id",)},
    "eicu": {"patient": ("patientunitstayid", "uniquepid"), "medication": ("patientunitstayid",)},
    "mimic": {"prescriptions": ("subject_id", "drug_type"), "diagnoses_icd": ("subject_id", "icd_version")},
    "mimic3": {"prescriptions": ("subject_id", "drug_type"), "diagnoses_icd": ("subject_id", "icd9_code")},
    "omop": {"person": ("person_id",), "drug_exposure": ("person_id",)},
    "synthea": {"patients": ("id", "birthdate"), "medications": ("patient", "start")},
}
SUBFOLDERS = {"mimic": "hosp"}  # where a source's tables may also lie
FHIR_SIGN = b'"resourceType"'
HEAD = 1 << 16  # bytes in which the first resource says what it is


def recognise(path: str | Path) -> tuple[str, str]:
    """(source, why) of a folder, a zip, one FHIR file or the URL of a database.

    Raises InputError that lists what was looked for when no source fits, and those that fit when several do.
    """
    if is_url(str(path)):
        return "omop", "omop: this is a database"
    if is_zip(Path(path)):
        with unpacked(Path(path)) as folder:
            return _one(folder)
    return _one(Path(path))


def _one(path: Path) -> tuple[str, str]:
    fitting, missed = {}, []
    if path.is_dir():
        for source, tables in SIGNS.items():
            found, why_not = _tables(path, source, tables)
            if why_not:
                missed.append(f"{source}: {why_not}")
            elif found:
                fitting[source] = f"{source}: {' and '.join(found)} {'is' if len(found) == 1 else 'are'} there"
    elif not path.exists():
        raise InputError("no such folder or file", file=str(path))
    if (resource := _resource(path)) is not None:
        fitting["fhir"] = f"fhir: {resource.name} holds FHIR resources"
    if len(fitting) == 1:
        return fitting.popitem()
    if fitting:
        all_of_them = "; ".join(why for _, why in sorted(fitting.items()))
        raise InputError(f"more than one format fits ({all_of_them}): name the one to read as source", file=str(path))
    if missed:
        raise InputError(f"no format quite fits. {'; '.join(missed)}: mend this, or name the source", file=str(path))
    looked_for = "; ".join(f"{source}: {' and '.join(tables)}" for source, tables in SIGNS.items())
    raise InputError(
        f"no known format: looked for {looked_for} (each .csv, .csv.gz or .parquet); fhir: *.ndjson or *.json. "
        "Name the source, or the folder that holds the tables",
        file=str(path),
    )


def _tables(folder: Path, source: str, tables: Mapping[str, tuple[str, ...]]) -> tuple[list[str], str]:
    """The files of `tables` with their columns, and what is wrong with the others if any file of them is there."""
    subfolder = folder / SUBFOLDERS.get(source, ".")
    where, prefix = (subfolder, f"{subfolder.name}/") if source in SUBFOLDERS and subfolder.is_dir() else (folder, "")
    found, wrong, absent = [], [], []
    for table, columns in tables.items():
        file = next(_files(where, table), None)
        if file is None:
            absent.append(f"there is no {table}")
            continue
        try:
            next(files.batches(file, {column: (column,) for column in columns}, columns, files.Malformed()), None)
            found.append(prefix + file.name)
        except InputError as error:
            wrong.append(str(error))
    return found, "; ".join([*wrong, *absent]) if found or wrong else ""


def _files(folder: Path, table: str) -> Iterator[Path]:
    names = {table + suffix for suffix in files.SUFFIXES}
    with suppress(OSError):
        yield from sorted(path for path in folder.iterdir() if path.name.lower() in names and path.is_file())


def _resource(path: Path) -> Path | None:
    """The first FHIR file of the folder, or the file itself, if it holds resources."""
    with suppress(InputError, OSError, EOFError, zlib.error):
        for file in fhir_paths(path):
            with file.open("rb") as raw:
                compressed = raw.read(2) == b"\x1f\x8b"
                raw.seek(0)
                head = (gzip.GzipFile(fileobj=raw) if compressed else raw).read(HEAD)
            if FHIR_SIGN in head:
                return file
    return None

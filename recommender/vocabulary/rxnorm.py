"""RxNorm's RRF files in, an `RxNorm` out: its concepts, of which ingredients each is made, its names and its NDCs.

Layouts: RxNorm Technical Documentation, sections 12.4 (RXNCONSO), 12.5 (RXNSAT), 12.7 (RXNREL), 12.10
(RXNATOMARCHIVE). The files have no header and no quoting, and end each row with a bar. In RXNREL a row reads
"RXCUI2 RELA RXCUI1". Only what RxNorm itself says (SAB=RXNORM) is read: other sources have licences of their own.

SUPPRESS: N is in use. O (obsolete) and E (no longer prescribed in this form) keep their meaning in older records, so
they count as codes but give no names. Y was withdrawn by an editor and counts for nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from recommender.errors import InputError
from recommender.vocabulary.download import has, opened

COLUMNS = {
    "RXNCONSO.RRF": "RXCUI LAT TS LUI STT SUI ISPREF RXAUI SAUI SCUI SDUI SAB TTY CODE STR SRL SUPPRESS CVF",
    "RXNREL.RRF": "RXCUI1 RXAUI1 STYPE1 REL RXCUI2 RXAUI2 STYPE2 RELA RUI SRUI SAB SL DIR RG SUPPRESS CVF",
    "RXNSAT.RRF": "RXCUI LUI SUI RXAUI STYPE CODE ATUI SATUI ATN SAB ATV SUPPRESS CVF",
    "RXNATOMARCHIVE.RRF": (
        "RXAUI AUI STR ARCHIVE_TIMESTAMP CREATED_TIMESTAMP UPDATED_TIMESTAMP CODE IS_BRAND LAT LAST_RELEASED SAUI "
        "VSAB RXCUI SAB TTY MERGED_TO_RXCUI"
    ),
}
BLOCK = 8 << 20  # bytes parsed at a time: also the longest row that can be read
INGREDIENT, PRECISE, BRAND, BRANDED = "IN", "PIN", "BN", "SBD"
# Term types from the ingredient up: what one is made of stands before it, so each is told by those already told.
PRODUCTS = (
    PRECISE, "MIN", "SCDC", "SCDG", "SCDF", "SCD", "GPCK", "SBDC", "SBDG", "SBDF", BRANDED, "BPCK",
)  # fmt: skip
SYNONYMS = ("SY", "TMSY")
# What leads from a concept to what it is made of
MADE_OF = ("form_of", "has_part", "has_ingredient", "has_ingredients", "consists_of", "contains", "tradename_of")
RXCUI = "[1-9][0-9]{0,8}"
NDC = "[0-9]{11}"

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Concept:
    """A concept of RxNorm under its own name."""

    tty: str
    name: str
    current: bool  # SUPPRESS=N


@dataclass(frozen=True)
class RxNorm:
    """What is used of a release. Codes are RxCUIs."""

    concepts: Mapping[str, Concept]
    ingredients: Mapping[str, frozenset[str]]  # concept -> its ingredients, all of them; absent where one is not known
    synonyms: Mapping[str, Sequence[str]]  # concept -> RxNorm's other names of it
    merged: Mapping[str, frozenset[str]]  # retired concept -> what took its place
    ndcs: Mapping[str, frozenset[str]]  # 11 digits -> its concepts; more than one is a contradiction

    @classmethod
    def read(cls, path: Path, progress: Progress = lambda rows: None) -> RxNorm:
        """Read the folder or zip of a release, full or Current Prescribable Content.

        `progress` is told the number of rows newly read. Raises InputError naming file, row and field.
        """
        concepts, synonyms = _concepts(path, progress)
        return cls(
            concepts, _ingredients(path, concepts, progress), synonyms, _merged(path, progress), _ndcs(path, progress)
        )


def _concepts(path: Path, progress: Progress) -> tuple[dict[str, Concept], dict[str, list[str]]]:
    concepts: dict[str, Concept] = {}
    synonyms: dict[str, list[str]] = defaultdict(list)
    wanted = {"SAB": ("RXNORM",), "TTY": (INGREDIENT, BRAND, *PRODUCTS, *SYNONYMS), "SUPPRESS": ("N", "O", "E")}
    for batch in _rows(path, "RXNCONSO.RRF", ("RXCUI", "TTY", "STR", "SUPPRESS"), wanted, progress):
        for rxcui, tty, name, suppress in batch:
            if tty not in SYNONYMS:
                concepts[rxcui] = Concept(tty, name, suppress == "N")
            elif suppress == "N":
                synonyms[rxcui].append(name)
    if not any(concept.tty == INGREDIENT for concept in concepts.values()):
        raise InputError("holds no ingredient (SAB RXNORM, TTY IN): is this RxNorm?", file="RXNCONSO.RRF", field="TTY")
    return concepts, synonyms


def _ingredients(path: Path, concepts: Mapping[str, Concept], progress: Progress) -> dict[str, frozenset[str]]:
    """Of which ingredients each concept is made; nothing is said of one that has a part which is not known."""
    parts: dict[str, list[str]] = defaultdict(list)
    brands: dict[str, list[str]] = defaultdict(list)  # brand -> branded drugs of that name
    wanted = {"SAB": ("RXNORM",), "RELA": MADE_OF, "SUPPRESS": ("", "N", "O", "E")}
    for batch in _rows(path, "RXNREL.RRF", ("RXCUI1", "RXCUI2"), wanted, progress):
        for target, source in batch:
            if source in concepts and target in concepts and concepts[target].tty == BRAND:
                brands[target].append(source)
            elif source in concepts:
                parts[source].append(target)
    found = {rxcui: frozenset([rxcui]) for rxcui, concept in concepts.items() if concept.tty == INGREDIENT}
    by_type: dict[str, list[str]] = defaultdict(list)
    for rxcui, concept in concepts.items():
        by_type[concept.tty].append(rxcui)
    for tty in (*PRODUCTS, BRAND):
        for rxcui in by_type[tty]:
            told = [found.get(part) for part in parts[rxcui]]
            if told and None not in told:
                found[rxcui] = frozenset[str]().union(*(part for part in told if part))
    for brand, drugs in brands.items():  # one name over several products ("Dristan") means none of them for certain
        sold = [drug for drug in drugs if concepts[drug].tty == BRANDED and concepts[drug].current]
        products = {found.get(drug) for drug in sold} or {found.get(brand)}
        product = products.pop() if len(products) == 1 else None
        found.pop(brand, None)
        if product is not None:
            found[brand] = product
    return found


def _merged(path: Path, progress: Progress) -> dict[str, frozenset[str]]:
    """Which concepts were merged into others. The prescribable subset comes without this file."""
    found: dict[str, set[str]] = defaultdict(set)
    if has(path, _pattern("RXNATOMARCHIVE.RRF")):
        wanted = {"SAB": ("RXNORM",)}
        for batch in _rows(path, "RXNATOMARCHIVE.RRF", ("RXCUI", "MERGED_TO_RXCUI"), wanted, progress):
            for old, new in batch:
                if old != new:
                    found[old].add(new)
    return {old: frozenset(new) for old, new in found.items()}


def _ndcs(path: Path, progress: Progress) -> dict[str, frozenset[str]]:
    """RxNorm's own NDCs, which it has brought to 11 digits. Only those in use: an NDC may be given to another drug."""
    found: dict[str, frozenset[str]] = {}
    wanted = {"ATN": ("NDC",), "SAB": ("RXNORM",), "SUPPRESS": ("N",)}
    for batch in _rows(path, "RXNSAT.RRF", ("RXCUI", "ATV"), wanted, progress):
        for rxcui, ndc in batch:
            if re.fullmatch(NDC, ndc):
                found[ndc] = found.get(ndc, frozenset()) | {rxcui}
    return found


# ---- files


def _pattern(file: str) -> str:
    return file.replace(".", r"\.")


def _rows(
    path: Path, file: str, columns: Sequence[str], wanted: Mapping[str, Sequence[str]], progress: Progress
) -> Iterator[Iterator[tuple[str, ...]]]:
    """Batches of rows with one of the `wanted` values in each of these columns; every RxCUI among `columns` is one."""
    names = COLUMNS[file].split()
    codes = [column for column in columns if "RXCUI" in column]
    number = 1  # of the batch's first row
    with opened(path, _pattern(file)) as (stream, name), _damage_told(name, names):
        reader = pa.csv.open_csv(
            pa.PythonFile(stream, mode="r"),
            # one thread: only then does Arrow say which row is malformed
            pa.csv.ReadOptions(column_names=[*names, "(after the last bar)"], use_threads=False, block_size=BLOCK),
            pa.csv.ParseOptions(delimiter="|", quote_char=False, ignore_empty_lines=False),
            pa.csv.ConvertOptions(
                include_columns=[*dict.fromkeys([*columns, *wanted])],
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
            ),
        )
        for batch in reader:
            # a relation of two atoms has no RxCUI, nor has what an archived atom was merged into when that is nothing
            conditions = [pc.is_in(batch.column(column), pa.array(values)) for column, values in wanted.items()]
            conditions += [pc.not_equal(batch.column(column), "") for column in codes]
            mask = reduce(pc.and_, conditions)
            chosen = batch.filter(mask)
            for column in codes:
                right = pc.match_substring_regex(chosen.column(column), f"^{RXCUI}$")
                if not pc.all(right, min_count=0).as_py():
                    row = number + pc.indices_nonzero(mask)[pc.index(right, False).as_py()].as_py()
                    raise InputError("is no RxCUI (a number of 1 to 9 digits)", file=name, row=row, field=column)
            yield zip(*(chosen.column(column).to_pylist() for column in columns), strict=True)
            number += len(batch)
            progress(len(batch))


@contextmanager
def _damage_told(file: str, names: Sequence[str]) -> Iterator[None]:
    """What Arrow says of a malformed file, as an InputError without the file's own words."""
    try:
        yield
    except pa.ArrowInvalid as error:
        words = str(error)
        row = re.search(r"Row #(\d+)", words)
        number = int(row[1]) if row else None
        column = re.search(r"In CSV column #(\d+)", words)
        count = re.search(r"Expected (\d+) columns, got (\d+)", words)
        if count:
            told = f"has {int(count[2]) - 1} fields, not {int(count[1]) - 1}: is it {file} as NLM publishes it?"
            raise InputError(told, file=file, row=number) from None
        if column:
            told = "not UTF-8: unpack the download again, without converting it"
            raise InputError(told, file=file, row=number, field=names[int(column[1])]) from None
        if "Empty CSV" in words:
            raise InputError("the file is empty (0 bytes): unpack the download again", file=file) from None
        raise InputError(f"a row is longer than {BLOCK >> 20} MB: this is no RRF file", file=file) from None

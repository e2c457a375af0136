"""`codes.parquet` of a vocabulary folder in, the drug of a coded product out: RxCUIs of products, and NDCs.

One row is a code: `system` (rxnorm or ndc), `code` (digits; 11 of them for an NDC), `drug` (a code of the tables).
A third of a million codes are kept as sorted numbers: 12 bytes and some microseconds a look-up each.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recommender.errors import InputError

FILE = "codes.parquet"
METHODS = {"rxnorm": "rxnorm product", "ndc": "ndc"}  # system -> how a drug is said to be found by it
SCHEMA = pa.schema([(name, pa.string()) for name in ("system", "code", "drug")])
_PATTERN = {"rxnorm": "[1-9][0-9]{0,8}", "ndc": "[0-9]{11}"}


class Codes:
    """Codes of products, each with its drug."""

    def __init__(self, table: pa.Table) -> None:
        """`table` of SCHEMA, no code in it twice."""
        drugs = table.column("drug").combine_chunks().dictionary_encode()
        self._drugs: Sequence[str] = drugs.dictionary.to_pylist()
        index = drugs.indices.to_numpy().astype(np.int32)
        self._sorted: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # system -> codes (n,) int64, drugs (n,) int32
        for system in METHODS:
            mine = pc.equal(table.column("system"), system).to_numpy()
            codes = pc.cast(table.column("code").filter(pa.array(mine)), pa.int64()).to_numpy()
            order = np.argsort(codes)
            self._sorted[system] = codes[order], index[mine][order]

    @classmethod
    def load(cls, folder: Path, known: Collection[str]) -> Codes | None:
        """The codes of a vocabulary folder, None when it has none. `known`: the drugs of its tables.

        Raises InputError naming file, row and field.
        """
        if not (folder / FILE).exists():
            return None
        try:
            table = pq.ParquetFile(folder / FILE).read().select(SCHEMA.names).cast(SCHEMA)
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise InputError("this is no table of codes, or it is damaged: import it again", file=FILE) from error
        for field, wrong in _faults(table, known):
            if pc.any(wrong, min_count=0).as_py():
                row = pc.index(wrong, True).as_py() + 1
                raise InputError("has no place in this table: import it again", file=FILE, row=row, field=field)
        codes = cls(table)
        if any((np.diff(numbers) == 0).any() for numbers, _ in codes._sorted.values()):
            raise InputError("holds a code twice: import it again", file=FILE, field="code")
        return codes

    def find(self, text: str) -> tuple[str, str] | None:
        """'ndc:0093-7214-01' -> (its drug's code, "ndc"); None when the code is not known."""
        system, _, code = text.strip().partition(":")
        if system not in METHODS:
            return None
        forms = ndc_forms(code) if system == "ndc" else (code,) if re.fullmatch(_PATTERN[system], code) else ()
        found = {drug for form in forms if (drug := self._drug(system, int(form))) is not None}
        return (found.pop(), METHODS[system]) if len(found) == 1 else None

    def _drug(self, system: str, code: int) -> str | None:
        codes, drugs = self._sorted[system]
        at = int(np.searchsorted(codes, code))
        return self._drugs[drugs[at]] if at < len(codes) and codes[at] == code else None


def write(folder: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    """Write `codes.parquet`: rows of system, code and drug."""
    columns = [list(column) for column in zip(*sorted(rows), strict=True)] or [[], [], []]
    pq.write_table(pa.table(columns, schema=SCHEMA), folder / FILE, compression="zstd")


def ndc_forms(text: str) -> tuple[str, ...]:
    """The 11 digits (5-4-2) that an NDC may mean: '0093-7214-01' and '00093721401' -> ('00093721401',).

    Ten digits without hyphens leave open where the zero is missing: three forms, of which one drug may know one.
    """
    parts = re.fullmatch(r"([0-9]{4,5})-([0-9]{3,4})-([0-9]{1,2})", text)
    if parts and len(text) >= 12:
        return ("".join(part.zfill(size) for part, size in zip(parts.groups(), (5, 4, 2), strict=True)),)
    if re.fullmatch("[0-9]{11}", text):
        return (text,)
    if re.fullmatch("[0-9]{10}", text):
        return f"0{text}", f"{text[:5]}0{text[5:]}", f"{text[:9]}0{text[9:]}"
    return ()


def _faults(table: pa.Table, known: Collection[str]) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Field, and which rows are wrong in it."""
    system, code, drug = (table.column(name) for name in SCHEMA.names)
    yield "system", pc.invert(pc.is_in(system, pa.array(list(METHODS))))
    right = pa.chunked_array([pa.array(np.zeros(len(table), dtype=bool))])
    for name, pattern in _PATTERN.items():
        fits = pc.and_(pc.equal(system, name), pc.match_substring_regex(code, f"^{pattern}$"))
        right = pc.or_(right, pc.fill_null(fits, False))
    yield "code", pc.invert(right)
    yield "drug", pc.invert(pc.is_in(drug, pa.array(list(known), pa.string())))

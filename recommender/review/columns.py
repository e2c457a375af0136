"""A matrix and the charts beside it in, the same patients in other columns out, in which conditions are the targets.

The columns: treatments, allergies, age and sex as they are; each coded condition as its most specific clinical group;
and patterns of laboratory values (`data/vocabulary/lab_patterns.csv`) by the newest value of each. A condition that
lies in no group has no column: in many exports it says what a group says in other words ('CHF' beside a code of heart
failure), and would give the answer away. What can be suggested are the groups.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

import numpy as np
from scipy import sparse

from recommender.errors import InputError
from recommender.matrix import Block, Column, ColumnIndex, PatientMatrix
from recommender.safety.charts import Charts
from recommender.vocabulary import ConditionVocabulary

TABLE = "lab_patterns.csv"
PLAIN = ("treatments", "conditions", "allergies", "demographics")  # blocks of the matrix that are read
LABS = "labs"


@dataclass(frozen=True)
class Pattern:
    """A value below or above a usual adult limit. codes: of the observations that measure it."""

    code: str
    name: str
    codes: frozenset[str]
    below: bool
    limit: float


def patterns(codes_of: Mapping[str, Sequence[str]]) -> tuple[Pattern, ...]:
    """The shipped table; codes_of: measure -> codes of its observations. Raises InputError for a broken row."""
    text = files("data.vocabulary").joinpath(TABLE).read_text(encoding="utf-8")
    found = []
    for number, row in enumerate(csv.DictReader(text.splitlines()), start=2):
        if row["measure"] not in codes_of or row["comparison"] not in "<>":
            raise InputError("no such measure or comparison", file=TABLE, row=number)
        code = f"lab:{row['measure']}{row['comparison']}{row['value']}"
        codes = frozenset(codes_of[row["measure"]])
        found.append(Pattern(code, row["name"], codes, row["comparison"] == "<", float(row["value"])))
    return tuple(found)


@dataclass(frozen=True)
class Reading:
    """How rows of one index are read into another. place (n_source,) int64: the column that each source column counts
    in, -1 for none."""

    index: ColumnIndex
    place: np.ndarray
    patterns: tuple[Pattern, ...]

    def rows(self, rows: sparse.csr_matrix, charts: Charts) -> sparse.csr_matrix:
        """rows (n, n_source) and as many charts -> (n, n_columns) CSR float32, weights at most 1."""
        found = sparse.csr_matrix(rows @ self._mapped + self._labs(charts) + self._baseline(rows.shape[0]))
        found.data = np.minimum(found.data, 1).astype(np.float16).astype(np.float32)
        found.sort_indices()
        return found

    @cached_property
    def _mapped(self) -> sparse.csr_matrix:
        used = np.flatnonzero(self.place >= 0)
        shape = (len(self.place), len(self.index))
        return sparse.csr_matrix((np.ones(len(used), np.float32), (used, self.place[used])), shape=shape)

    def _baseline(self, n: int) -> sparse.csr_matrix:
        column = self.index.block("baseline").start
        ones = np.ones(n, dtype=np.float32)
        return sparse.csr_matrix((ones, (np.arange(n), np.full(n, column))), shape=(n, len(self.index)))

    def _labs(self, charts: Charts) -> sparse.csr_matrix:
        """1 where the newest of the values of a pattern is beyond its limit."""
        start = self.index.block(LABS).start
        row_of = np.repeat(np.arange(len(charts)), np.diff(charts.indptr))
        row, column = [], []
        codes = np.array([c.code if c.kind == "observation" else "" for c in charts.known.concepts], dtype=object)
        for number, pattern in enumerate(self.patterns):
            concepts = np.flatnonzero(np.isin(codes, list(pattern.codes)))
            mine = np.flatnonzero(np.isin(charts.concept, concepts))
            newest = mine[np.lexsort((charts.days[mine], row_of[mine]))]
            newest = newest[np.unique(row_of[newest], return_index=True)[1]]
            value = charts.value[newest]
            beyond = newest[value < pattern.limit if pattern.below else value > pattern.limit]
            row.append(row_of[beyond])
            column.append(np.full(len(beyond), start + number))
        rows, columns = (np.concatenate([np.empty(0, dtype=np.int64), *parts]) for parts in (row, column))
        shape = (len(charts), len(self.index))
        return sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)


def group_of(code: str, vocabulary: ConditionVocabulary) -> str:
    """The most specific group of a coded condition; "" for none."""
    return next(iter(vocabulary.groups(code)), "")


def review_index(index: ColumnIndex, vocabulary: ConditionVocabulary, known: tuple[Pattern, ...]) -> ColumnIndex:
    """The columns that a matrix of this index has when conditions are its targets."""
    columns: list[Column] = []
    blocks: list[Block] = []

    def add(name: str, more: Sequence[Column]) -> None:
        blocks.append(Block(name, len(columns), len(columns) + len(more)))
        columns.extend(more)

    add("treatments", index.columns[index.block("treatments")])
    codes = (column.code for column in index.columns[index.block("conditions")])
    groups = sorted({group_of(code, vocabulary) for code in codes} - {""})
    add("conditions", [Column(group, "condition", vocabulary.name(group), "") for group in groups])
    add("allergies", index.columns[index.block("allergies")])
    add("demographics", index.columns[index.block("demographics")])
    add(LABS, [Column(pattern.code, "lab", pattern.name, "") for pattern in known])
    add("baseline", index.columns[index.block("baseline")])
    start = blocks[1].start
    targets = np.arange(start, start + len(groups), dtype=np.int32)
    return ColumnIndex(tuple(columns), tuple(blocks), targets)


def reading(
    source: ColumnIndex, index: ColumnIndex, vocabulary: ConditionVocabulary, known: tuple[Pattern, ...]
) -> Reading:
    """How rows of `source` are read into `index`, which may be of another night."""
    place = np.full(len(source), -1, dtype=np.int64)
    for ix, column in enumerate(source.columns):
        if source.block_of(ix) not in PLAIN:
            continue
        code = group_of(column.code, vocabulary) if column.kind == "condition" else column.code
        place[ix] = index.place.get((column.kind, code), -1)
    return Reading(index, place, known)


def review_matrix(
    matrix: PatientMatrix, charts: Charts, vocabulary: ConditionVocabulary, known: tuple[Pattern, ...]
) -> PatientMatrix:
    """`charts`: of the same patients at the same moments."""
    plain = matrix.plain
    index = review_index(plain.index, vocabulary, known)
    rows = reading(plain.index, index, vocabulary, known).rows(plain.rows, charts)
    return PatientMatrix(rows, index, matrix.patient_ids)

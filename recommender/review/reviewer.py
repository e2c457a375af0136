"""A chart in, the conditions to review that its record suggests and its problem list lacks out, with exact reasons.

The score is the linear model's (`models/linear.py`) with conditions as targets, so its parts add up. A condition is
told where its score is above the one found best on held-out patients, where none of the chart's codes lies in its
group, and where drugs and laboratory values make up at least half of what speaks for it: a condition that others on
the list suggest is no gap of the record. None of it is a diagnosis, and none of it stands in a list of treatments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy import sparse

from recommender.errors import TrainingError
from recommender.matrix import Column, ColumnIndex, PatientMatrix
from recommender.model_files import ModelFiles
from recommender.models.linear import PENALTIES, LinearModel
from recommender.review.columns import LABS, Pattern, Reading, reading
from recommender.safety.charts import Chart, Charts, Known
from recommender.safety.indications import Indications
from recommender.vocabulary import ConditionVocabulary

FOLDER, NAME = "review", "conditions"
STRENGTH = 4.0  # see docs/evaluation.md
MOST = 5  # conditions told of a patient
REASONS = 3
RELEASES = 2  # of which the reading is held: the one served, and the one before it
FOUND_IN = ("drug", "lab")  # kinds of columns whose parts make it a gap of the record: a visit tells too little
SMALLEST = 0.005  # a part that would read 0.00 is not told
SHARE = 0.5  # of what speaks for a condition, that these must make up


def usual_model() -> LinearModel:
    return LinearModel(penalties={**PENALTIES, LABS: 10.0}, strength=STRENGTH)


@dataclass(frozen=True)
class Part:
    """What one thing known of the patient adds. `labelled`: it is a drug that is labelled for the condition."""

    column: Column
    value: float
    labelled: bool


@dataclass(frozen=True)
class Suspected:
    """One condition to review: its clinical group, its score, and the largest parts that speak for it."""

    code: str
    name: str
    score: float
    parts: tuple[Part, ...]


@dataclass(frozen=True, eq=False)
class Reviewer:
    """`threshold`: scores below it are not told."""

    version: str
    index: ColumnIndex
    model: LinearModel
    threshold: float
    patterns: tuple[Pattern, ...]
    vocabulary: ConditionVocabulary
    indications: Indications
    manifest: Mapping[str, Any] = field(default_factory=dict)
    _held: list[tuple[ColumnIndex, Reading]] = field(default_factory=list)

    def suspected(
        self, source: ColumnIndex, columns: np.ndarray, weights: np.ndarray, chart: Chart, known: Known
    ) -> tuple[Suspected, ...]:
        """source: the index of the release; columns (k,) and weights (k,): the patient's row; the best first."""
        shape = (1, len(source))
        row = sparse.csr_matrix((weights, columns, [0, len(columns)]), shape=shape, dtype=np.float32)
        read = self._reading(source).rows(row, Charts.of_one(known, chart))
        codes = [source.columns[ix].code for ix in columns.tolist() if source.columns[ix].kind == "condition"]
        recorded = {group for code in codes for group in self.vocabulary.groups(code)}
        scores = self.model.score(read)[0]
        found: list[Suspected] = []
        for target in np.argsort(-scores, kind="stable").tolist():
            if scores[target] < self.threshold or len(found) == MOST:
                break
            column = self.index.columns[self.index.targets[target]]
            parts = self._parts(read, target, column.code)
            if column.code not in recorded and parts:
                found.append(Suspected(column.code, column.name, float(scores[target]), parts))
        return tuple(found)

    def _reading(self, source: ColumnIndex) -> Reading:
        """How rows of a release are read; worked out once for each release that is served."""
        for of, found in self._held:
            if of is source:
                return found
        found = reading(source, self.index, self.vocabulary, self.patterns)
        self._held[:] = [(source, found), *self._held[: RELEASES - 1]]
        return found

    def _parts(self, read: sparse.csr_matrix, target: int, group: str) -> tuple[Part, ...]:
        """The largest parts for it; none where the record beside the problem list says too little."""
        index = self.index
        columns, values = self.model.contributions(read.indices, read.data, target)
        speaks = [
            (index.columns[ix], value)
            for value, ix in sorted(zip((-values).tolist(), columns.tolist(), strict=True))
            if value < 0 and index.block_of(ix) != "baseline"
        ]
        record = [(column, -value) for column, value in speaks if column.kind in FOUND_IN]
        if not record or sum(value for _, value in record) < SHARE * -sum(value for _, value in speaks):
            return ()
        drugs = self.indications.drugs_for(group)
        return tuple(
            Part(column, value, column.code in drugs) for column, value in record[:REASONS] if value >= SMALLEST
        )


class ReviewFiles:
    """The reviewer of one installation."""

    def __init__(self, workdir: Path) -> None:
        self.files = ModelFiles(workdir / FOLDER, "rxrec conditions train")

    def save(self, matrix: PatientMatrix, threshold: float, told: Mapping[str, Any]) -> dict[str, Any]:
        """Fit to everybody and write a new version, not in service yet; its manifest. Raises TrainingError."""
        if not np.isfinite(threshold):
            raise TrainingError("no hidden condition was found again, so there is nothing that could be told")
        model = usual_model().fit(matrix)
        manifest = {
            **told,
            "columns": matrix.index.as_dict(),
            "threshold": threshold,
            "model": {"name": model.name, "parameters": model.parameters()},
        }
        return self.files.save(NAME, manifest, model.state())

    def current(
        self, patterns: Sequence[Pattern], vocabulary: ConditionVocabulary, indications: Indications
    ) -> Reviewer:
        """The version in service. Raises NothingPublished without one, StoreCorrupt where it was altered."""
        version = self.files.current(NAME)
        manifest, state = self.files.load(NAME, version)
        try:
            index = ColumnIndex.from_dict(manifest["columns"])
            model = LinearModel.from_state(manifest["model"]["parameters"], state)
            of_index = {index.columns[ix].code for ix in range(*index.block(LABS).indices(len(index)))}
            kept = tuple(pattern for pattern in patterns if pattern.code in of_index)
            if [pattern.code for pattern in kept] != [c.code for c in index.columns[index.block(LABS)]]:
                raise KeyError(LABS)
            threshold = float(manifest["threshold"])
        except (KeyError, TypeError, ValueError) as error:
            raise self.files.altered(NAME, version) from error
        return Reviewer(version, index, model, threshold, kept, vocabulary, indications, manifest)


@dataclass(frozen=True)
class Served:
    """The version in service as the gate compares it."""

    version: str
    manifest: Mapping[str, Any]

    @classmethod
    def of(cls, files: ModelFiles) -> Self:
        version = files.current(NAME)
        return cls(version, files.load(NAME, version)[0])

"""What a night may have in memory in; blocks of patients that keep to it, and a word before a stage that cannot, out.

Bytes here were measured of nights of the sample (docs/data-engineers.md, "Memory") and are meant to be above what is
taken: a night that is refused can be given more, one that is ended by the system has cost its hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recommender.access import seal_of
from recommender.blocks import LEAST_PATIENTS, TABLES, Blocks, patient_bytes
from recommender.examples import CHARTED
from recommender.matrix import PatientMatrix
from recommender.memory import MIB, Memory
from recommender.models.base import Model
from recommender.models.linear import LinearModel
from recommender.moments import MOST, RESOURCE
from recommender.ranking import DEPTH, PER_KIND
from recommender.records import TREATMENT_KINDS, Records
from recommender.settings import Settings

ID = 128  # a patient's id as it is worked with, and where it stands
PUBLISHED = 640  # of a patient while lists are published: the id again, its name in the store and its sealed form
UPDATED = 640  # of a patient while those who changed are looked for
ENTRY = 8  # of an entry of the matrix
JUDGED, LEARNED = 4, 3  # copies of the examples, while a model is judged on them and while one is fitted to them
LISTED = 12 * (DEPTH + PER_KIND * len(TREATMENT_KINDS))  # of a patient's list, and of putting lists together
FACT = 16  # of an event, as a chart has it
WHOLE, FACTORS = 4, 1_024  # copies of the whole matrix where a model learns from it, and what it learns of a patient


@dataclass(frozen=True)
class Work:
    """`scratch`: where what is made of blocks lies, None where nothing may lie on the disk in clear."""

    memory: Memory
    scratch: Path | None

    @classmethod
    def of(cls, settings: Settings) -> Work:
        return cls(Memory.of(settings.memory), None if seal_of(settings) else settings.workdir / "cache")

    def blocks(self, records: Records) -> Blocks:
        return Blocks.within(self.memory, records, self.scratch)

    def matrix(self, records: Records) -> str:
        """A warning, or "", as of all of these; raises NotEnoughMemory."""
        rows = 0 if self.scratch else _rows(records)
        return self.memory.needs("the matrix", self._least(records) + records.n_patients * ID + rows)

    def judging(self, records: Records, matrix: PatientMatrix) -> str:
        examples = JUDGED * _examples(records, matrix)
        if not examples:  # half of each chart is hidden, of all at once
            examples = _whole(matrix) + records.n_patients * patient_bytes(records)
        return self.memory.needs("evaluation", self._least(records) + examples + _squares(matrix))

    def scoring(self, records: Records, matrix: PatientMatrix, model: Model) -> str:
        if model.needs_later:
            learned = LEARNED * _examples(records, matrix)
        else:
            learned = 0 if isinstance(model, LinearModel) else _whole(matrix)
        lists = 0 if self.scratch else _rows(records) + _charts(records) + records.n_patients * LISTED
        more = self._least(records) + learned + lists + _squares(matrix)
        return self.memory.needs(f"fitting {model.name} and scoring", more)

    def publishing(self, patients: int) -> str:
        return self.memory.needs(f"publishing {patients:,} patients", patients * PUBLISHED)

    def updating(self, records: Records) -> str:
        today = 0 if self.scratch else _rows(records) + _charts(records)
        return self.memory.needs("the update", self._least(records) + records.n_patients * UPDATED + today)

    def _least(self, records: Records) -> int:
        return 3 * LEAST_PATIENTS * patient_bytes(records)  # `Memory.in_work` gives a third


def _rows(records: Records) -> int:
    """Bytes of a matrix of all while it is put together: at most an entry for each event that it is made of."""
    return 2 * ENTRY * sum(len(getattr(records, name)) for name in CHARTED)


def _charts(records: Records) -> int:
    return FACT * sum(len(getattr(records, name)) for name in TABLES)


def _examples(records: Records, matrix: PatientMatrix) -> int:
    """Bytes of the rows of the moments that are learned from; 0 where no visit is known."""
    visits = (records.concepts["kind"] == RESOURCE).any()
    return min(MOST, len(records.treatments)) * _row(matrix) if visits else 0


def _whole(matrix: PatientMatrix) -> int:
    """Bytes where all rows are learned from, and each patient may have factors of its own."""
    return matrix.n_patients * (WHOLE * _row(matrix) + FACTORS)


def _row(matrix: PatientMatrix) -> int:
    return ENTRY * (1 + matrix.rows.nnz // max(matrix.n_patients, 1))


def _squares(matrix: PatientMatrix) -> int:
    """What a linear model is solved in: three matrices of columns by columns."""
    return 3 * 8 * len(matrix.index) ** 2 + 64 * MIB

"""What happened to each row of an export: rows read, kept, rejected and repaired, by file, field and reason.

Nothing is dropped in silence: for each file, rows read = rows kept + rows rejected (`IngestLog.check` holds it).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from recommender.errors import EngineError

Outcome = Literal["rejected", "set aside"]
FIRST_ROWS = 5  # row numbers kept as examples for each finding


@dataclass(frozen=True)
class Finding:
    """Rows of one file with one thing wrong in one field; `rejected` rows are not used, `set aside` loses one value."""

    file: str
    field: str
    reason: str
    outcome: Outcome
    count: int
    first_rows: tuple[int, ...]

    def __str__(self) -> str:
        rows = ", ".join(map(str, self.first_rows)) + (", ..." if self.count > len(self.first_rows) else "")
        return f"{self.file}, {self.field}: {self.reason}: {self.count:,} {self.outcome} (rows {rows})"


@dataclass
class IngestLog:
    """The running account that a loader fills in; row numbers count as a spreadsheet does (the header is row 1)."""

    read: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    _findings: dict[tuple[str, str, str, Outcome], tuple[int, tuple[int, ...]]] = field(default_factory=dict)

    def count_read(self, file: str, rows: int) -> None:
        self.read[file] = self.read.get(file, 0) + rows

    def count_kept(self, file: str, rows: int) -> None:
        self.kept[file] = self.kept.get(file, 0) + rows

    def add(self, file: str, field_name: str, reason: str, rows: Iterable[int], outcome: Outcome = "rejected") -> None:
        """Count the given row numbers under (file, field, reason); nothing is recorded for no rows."""
        numbers = [int(row) for row in rows]
        if not numbers:
            return
        key = (file, field_name, reason, outcome)
        count, first = self._findings.get(key, (0, ()))
        self._findings[key] = (count + len(numbers), tuple(sorted((*first, *numbers[:FIRST_ROWS]))[:FIRST_ROWS]))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Most frequent first, then by file, field and reason."""
        found = [Finding(*key, *value) for key, value in self._findings.items()]
        return tuple(sorted(found, key=lambda f: (-f.count, f.file, f.field, f.reason)))

    def rejected(self, file: str) -> int:
        return sum(f.count for f in self.findings if f.file == file and f.outcome == "rejected")

    def check(self) -> None:
        """Raise EngineError if a row of any file is unaccounted for: a loader that loses rows is a fault of ours."""
        for file, read in self.read.items():
            kept, rejected = self.kept.get(file, 0), self.rejected(file)
            if read != kept + rejected:
                raise EngineError(
                    f"{file}: {read:,} rows read but {kept:,} kept and {rejected:,} rejected. "
                    "This is a fault of the loader, not of the file: please report it."
                )

    def as_dict(self) -> dict[str, Any]:
        return {
            "files": {
                file: {"read": read, "kept": self.kept.get(file, 0), "rejected": self.rejected(file)}
                for file, read in self.read.items()
            },
            "findings": [asdict(finding) for finding in self.findings],
        }

"""What happened to each row of an export: rows read, kept, rejected and repaired, by file, field and reason.

Nothing is dropped in silence: for each file, rows read = rows kept + rows rejected (`IngestLog.check` holds it).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any, Literal

import numpy as np

from recommender.errors import EngineError

Outcome = Literal["rejected", "set aside"]
FIRST_ROWS = 5  # row numbers kept as examples for each finding
_ONE_AT_A_TIME = Lock()  # the next rows are read while the last ones are worked on
TOP_UNMAPPED = 50  # drug names listed in the report; they are no patient content


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
        said = f"{self.file}, {self.field}: {self.reason}: {self.count:,} {self.outcome}"
        rows = ", ".join(map(str, self.first_rows)) + (", ..." if self.count > len(self.first_rows) else "")
        return f"{said} (rows {rows})" if self.first_rows else said


@dataclass
class IngestLog:
    """The running account that a loader fills in; row numbers count as a spreadsheet does (the header is row 1).

    `mapped`: drug rows by how the vocabulary knew them ("none": it did not). `unmapped`: the rows of each name that it
    did not know and that stays as it is. `absent`: tables that the export could have but has not.
    """

    read: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    mapped: dict[str, int] = field(default_factory=dict)
    unmapped: dict[str, int] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    _findings: dict[tuple[str, str, str, Outcome], tuple[int, tuple[int, ...]]] = field(default_factory=dict)

    def count_read(self, file: str, rows: int) -> None:
        self.read[file] = self.read.get(file, 0) + rows

    def count_kept(self, file: str, rows: int) -> None:
        self.kept[file] = self.kept.get(file, 0) + rows

    def count_mapped(self, method: str, rows: int) -> None:
        self.mapped[method] = self.mapped.get(method, 0) + rows

    def count_unmapped(self, name: str, rows: int) -> None:
        self.unmapped[name] = self.unmapped.get(name, 0) + rows

    def add(
        self, file: str, field_name: str, reason: str, rows: Collection[int], outcome: Outcome = "rejected"
    ) -> None:
        """Count the given row numbers under (file, field, reason); nothing is recorded for no rows."""
        numbers = np.array(rows if isinstance(rows, np.ndarray) else list(rows), dtype=np.int64)  # may be millions
        if not len(numbers):
            return
        key = (file, field_name, reason, outcome)
        earliest = np.partition(numbers, min(FIRST_ROWS, len(numbers)) - 1)[:FIRST_ROWS].tolist()
        with _ONE_AT_A_TIME:
            count, first = self._findings.get(key, (0, ()))
            self._findings[key] = (count + len(numbers), tuple(sorted((*first, *earliest))[:FIRST_ROWS]))

    def absorb(self, account: IngestLog, file: str | None = None, after: int = 0) -> None:
        """Take over the rows read and the findings of another account: of `file`, with rows counted from `after` on."""
        for name, rows in account.read.items():
            self.count_read(file or name, rows)
        with _ONE_AT_A_TIME:
            for (name, field_name, reason, outcome), (count, first) in account._findings.items():
                key = (file or name, field_name, reason, outcome)
                so_far, earliest = self._findings.get(key, (0, ()))
                told = sorted((*earliest, *(row + after for row in first)))
                self._findings[key] = (so_far + count, tuple(told[:FIRST_ROWS]))

    def join(self, account: IngestLog, but: Collection[str] = ()) -> None:
        """Take over all of another account, of some of the same files' rows, `but` that of these files. Where the rows
        stand in their file is not known of a part, so no examples of them are kept."""
        for mine, theirs in (
            (self.read, account.read),
            (self.kept, account.kept),
            (self.mapped, account.mapped),
            (self.unmapped, account.unmapped),
        ):
            for name, rows in theirs.items():
                if name not in but:
                    mine[name] = mine.get(name, 0) + rows
        for key, (count, _) in account._findings.items():
            if key[0] not in but:
                self._findings[key] = (self._findings.get(key, (0, ()))[0] + count, ())
        self.absent.extend(name for name in account.absent if name not in self.absent)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Most frequent first, then by file, field and reason."""
        found = [Finding(*key, *value) for key, value in self._findings.items()]
        return tuple(sorted(found, key=lambda f: (-f.count, f.file, f.field, f.reason)))

    def rejected(self, file: str) -> int:
        return sum(f.count for f in self.findings if f.file == file and f.outcome == "rejected")

    @property
    def main_reason(self) -> str:
        """What to add to the message that nothing is left: the most frequent rejection, or the files without rows."""
        empty = [file for file, rows in self.read.items() if not rows]
        none = f"; without any row: {', '.join(empty)}" if empty else ""
        return next((f"; most often: {finding}" for finding in self.findings if finding.outcome == "rejected"), none)

    def check(self) -> None:
        """Raise EngineError if a row of any file is unaccounted for: a loader that loses rows is a fault of ours."""
        for file, read in self.read.items():
            kept, rejected = self.kept.get(file, 0), self.rejected(file)
            if read != kept + rejected:
                raise EngineError(
                    f"{file}: {read:,} rows read but {kept:,} kept and {rejected:,} rejected. "
                    "This is a fault of the loader, not of the file: please report it."
                )

    @classmethod
    def from_dict(cls, account: dict[str, Any]) -> IngestLog:
        """The rows read and the findings of what `as_dict` gave."""
        log = cls(read={file: rows["read"] for file, rows in account["files"].items()})
        for found in account["findings"]:
            finding = Finding(**found)
            key = (finding.file, finding.field, finding.reason, finding.outcome)
            log._findings[key] = (finding.count, tuple(finding.first_rows))
        return log

    def as_dict(self) -> dict[str, Any]:
        return {
            "files": {
                file: {"read": read, "kept": self.kept.get(file, 0), "rejected": self.rejected(file)}
                for file, read in self.read.items()
            },
            "findings": [asdict(finding) for finding in self.findings],
            "absent": self.absent,
            "mapped": dict(sorted(self.mapped.items(), key=lambda item: (-item[1], item[0]))),
            "unmapped_names": len(self.unmapped),
            "unmapped": dict(sorted(self.unmapped.items(), key=lambda item: (-item[1], item[0]))[:TOP_UNMAPPED]),
        }

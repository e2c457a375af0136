"""The engine's errors: each says what is wrong, where, and what to do, and never carries patient content.

Every error that a user can cause or mend is an `EngineError`. `exit_code` is what the command line returns for it, so a
scheduler can tell a broken file (mend the export) from a store that is down (try again later).
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of every error that has an explanation for its reader."""

    exit_code = 1


class InputError(EngineError):
    """The input cannot be used: names file, row and field where they are known.

    `row` counts as a spreadsheet does: the header is row 1.
    """

    exit_code = 3

    def __init__(self, message: str, *, file: str = "", row: int | None = None, field: str = "") -> None:
        self.file, self.row, self.field = file, row, field
        where = ", ".join(
            part for part in (file, f"row {row}" if row is not None else "", f"field {field}" if field else "") if part
        )
        super().__init__(f"{where}: {message}" if where else message)


class StoreUnavailable(EngineError):
    """The Redis server cannot be reached or refuses to work: try again later; what was published is untouched."""

    exit_code = 4


class StoreCorrupt(EngineError):
    """What the store holds was not written by this engine, or was altered: nothing is guessed from it."""

    exit_code = 5


class NothingPublished(EngineError):
    """No version is being served yet: run `rxrec nightly` first."""

    exit_code = 6


class UnknownVersion(EngineError):
    """The store holds no whole version of that name."""

    exit_code = 6


class UnknownPatient(EngineError):
    """The version being served has no patient of that id. The id itself is never part of the message."""

    exit_code = 7


class TrainingError(EngineError):
    """The records are readable but too small or too empty to fit a model on."""

    exit_code = 8


class GateRefused(EngineError):
    """A new version is worse than the one being served, which stays in service; the message says in what."""

    exit_code = 9


class RulesMissing(EngineError):
    """There are no safety rules where they should be: nothing is screened, so nothing may be published or served."""

    exit_code = 10


class FeedbackUnavailable(EngineError):
    """The log of feedback cannot be read or written: nothing new was stored, and what was there is as it was."""

    exit_code = 11


class AuditUnavailable(EngineError):
    """An access to a patient's data cannot be written into the audit log, so the data are not given."""

    exit_code = 12


class AuditBroken(EngineError):
    """The audit log is not what was written: lines were removed, altered, reordered or put in; it says where."""

    exit_code = 13


class ReportsFailed(EngineError):
    """A night has published its version, which is being served, but could not write all of its reports."""

    exit_code = 14


class NotEnoughMemory(EngineError):
    """What is asked for does not fit into the memory that the setting allows; the message says what would do."""

    exit_code = 15

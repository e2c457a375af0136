"""`rxrec feedback`: the log of feedback in, its sum (nothing of few patients) or all its events as a file out."""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import orjson

from jobs.console import Console
from recommender.errors import EngineError, FeedbackUnavailable
from recommender.feedback import HIDDEN, OFF, REASONS, FeedbackEvent, FeedbackLog, FeedbackUse, publishable, summarise

_SINCE = click.option(
    "--since", type=click.DateTime(["%Y-%m-%d"]), help="The first day that counts, such as 2026-11-01 (UTC)."
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins so is run by spreadsheets, not shown


@click.group()
def feedback() -> None:
    """Sum up and export what clinicians made of suggestions."""


@feedback.command()
@_SINCE
@click.pass_obj
def summary(console: Console, since: datetime | None) -> None:
    """Tell what was accepted, rejected and overridden, why, and which rules are always overridden.

    Numbers of fewer than 11 patients, and those from which one could be worked out, are not told.
    """
    told = publishable(FeedbackLog(console.settings.workdir).summary(_utc(since)))
    told = {"since": None if since is None else since.date().isoformat(), **told}
    console.result(told, in_words(told))


@feedback.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="A .csv file, or .jsonl for one JSON object a line; replaced if it is there.",
)
@_SINCE
@click.pass_obj
def export(console: Console, out: Path, since: datetime | None) -> None:
    """Write every event into a file, readable by its owner only: it names patients."""
    if out.suffix not in (".csv", ".jsonl"):
        raise click.UsageError("--out must end in .csv or .jsonl")
    events = FeedbackLog(console.settings.workdir).events(_utc(since))
    text = _csv(events) if out.suffix == ".csv" else b"".join(orjson.dumps(e.as_dict()) + b"\n" for e in events)
    _write(out, text)
    console.result({"file": str(out), "events": len(events)}, f"{len(events):,} events written to {out}")


def heard(workdir: Path, how: str) -> tuple[FeedbackUse, dict[str, Any]]:
    """What a night learns from, and what its report and manifest may tell of the log.

    Raises FeedbackUnavailable when the log cannot be read and is to be learned from; else that is told.
    """
    try:
        events = FeedbackLog(workdir).events()
    except FeedbackUnavailable as error:
        if how != OFF:
            raise
        return FeedbackUse(), {"used": OFF, "not_read": str(error)}
    return FeedbackUse(how, tuple(events) if how != OFF else ()), {"used": how, **publishable(summarise(events))}


def in_words(told: dict[str, Any]) -> str:
    """The summary, for people."""
    outcomes, because = told["outcomes"], told["reasons"]
    lines = [f"{_number(told['events'])} events, {_number(told['undone'])} taken back"]
    lines.append("  " + ", ".join(f"{_number(count)} {name}" for name, count in outcomes.items()))
    if told["with_reason"]:
        lines.append(f"reasons of {_number(told['with_reason'])}:")
        lines += [f"  {_number(count):>8}  {REASONS[name]}" for name, count in because.items() if count]
    for title, rows, name, share in (
        ("treatments", told["treatments"], "code", "accepted"),
        ("rules, where a warning was shown", told["rules"], "rule_id", "overridden"),
    ):
        lines += [f"{title}:"] if rows else []
        lines += [f"  {row[name]}: {row['events']}, {row[share]} {share}" for row in rows]
    return "\n".join([*lines, _to_review(told)])


def night_in_words(told: dict[str, Any]) -> str:
    """A line of the night's report."""
    if "not_read" in told:
        return f"feedback was not read: {told['not_read']}"
    used = "not used" if told["used"] == OFF else f"used as {told['used']}"
    return f"feedback: {_number(told['events'])} events, {used}; {_to_review(told)}"


def _to_review(told: dict[str, Any]) -> str:
    rules = ", ".join(told["always_overridden"])
    return f"always overridden, review: {rules}" if rules else "no rule is always overridden"


def _number(count: int | str) -> str:
    return f"{count:,}" if isinstance(count, int) else f"({HIDDEN})" if count == HIDDEN else count


def _utc(day: datetime | None) -> datetime | None:
    return None if day is None else day.replace(tzinfo=UTC)


def _csv(events: Iterable[FeedbackEvent]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow([field.name for field in fields(FeedbackEvent)])
    for event in events:
        cells = [*({**event.as_dict(), "rule_ids": "|".join(event.rule_ids)}).values()]
        writer.writerow([f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in cells])
    return stream.getvalue().encode()


def _write(out: Path, content: bytes) -> None:
    """The whole file or none, and never readable by others."""
    new = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:  # noqa: PTH123
            file.write(content)
        new.replace(out)
    except OSError as error:
        raise EngineError(f"{out} cannot be written: {error.strerror}") from error
    finally:
        new.unlink(missing_ok=True)

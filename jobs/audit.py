"""`rxrec audit`: the log of who saw whom in; whether it is whole, and who saw one patient, out."""

from __future__ import annotations

import sys

import click
import orjson

from jobs.console import Console
from recommender.audit import AuditLog


@click.group()
def audit() -> None:
    """Verify the log of who saw which patient's data, and ask it."""


def _log(console: Console) -> AuditLog:
    settings = console.settings
    return AuditLog(settings.workdir, settings.secret_file)


@audit.command()
@click.option("--head", default="", help="A line that `rxrec audit head` told earlier, and that was noted elsewhere.")
@click.pass_obj
def verify(console: Console, head: str) -> None:
    """Read every line; exit code 13 at the first that was removed, altered, reordered or put in."""
    found = _log(console).verify(head)
    said = f"whole: {found.lines:,} lines in {found.files} files"
    if found.torn:
        said += f"; {found.torn} times a process was killed while it wrote, before its answer had left"
    told = {"lines": found.lines, "torn": found.torn, "files": found.files, "head": found.head}
    console.result(told, f"{said}\nhead {found.head}")


@audit.command()
@click.pass_obj
def head(console: Console) -> None:
    """Tell the last line's number and seal, to be noted where nobody who can change the log can change it."""
    found = _log(console).head()
    text = "0:" if found is None else f"{found[0]}:{found[1]}"
    console.result({"head": text}, text)


@audit.command()
@click.option("--patient", default="", help="Whose accesses; `-` reads the id from stdin, so that no shell keeps it.")
@click.option("--events", is_flag=True, help="The whole AuditEvents as JSON lines, to be sent on.")
@click.pass_obj
def who(console: Console, patient: str, events: bool) -> None:
    """Tell who asked for a patient's data, when, from where, and whether they were given them."""
    if patient in ("", "-"):
        patient = click.prompt("Patient id", err=True) if not patient else sys.stdin.readline().strip()
    found = list(_log(console).of_patient(patient))
    if events:
        for event in found:
            click.echo(orjson.dumps(event).decode())
        return
    told = [
        {
            "recorded": event["recorded"],
            "outcome": {"0": "given", "4": "refused", "8": "failed"}[event["outcome"]],
            "action": event["action"],
            "who": event["agent"][0]["who"]["display"],
            "id": event["agent"][0]["who"]["identifier"]["value"],
            "role": event["agent"][0]["role"][0]["text"],
            "address": event["agent"][0]["network"]["address"],
            "route": event["entity"][1]["name"],
        }
        for event in found
    ]
    lines = [
        f"{one['recorded'][:19]}Z  {one['outcome']:<7} {one['role']:<10} {one['who']} ({one['id']}) from "
        f"{one['address']}  {one['route']}"
        for one in told
    ]
    console.result({"accesses": told}, "\n".join(lines) or "nobody has asked for that patient's data")

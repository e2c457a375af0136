"""The options that say where records come from, shared by every command that reads an export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jobs.console import Console
from recommender.loaders import SOURCES, load
from recommender.records import Records
from recommender.vocabulary import DrugVocabulary


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --source, --input and --vocabulary to a command."""
    for option in (
        click.option(
            "--vocabulary",
            type=click.Choice(["default", "none"]),
            default="default",
            show_default=True,
            help="How drugs are named: by the shipped vocabulary, or codes as they are.",
        ),
        click.option("--input", "path", type=click.Path(path_type=Path), required=True, help="The export's folder."),
        click.option("--source", type=click.Choice(sorted(SOURCES)), required=True, help="The export's format."),
    ):
        command = option(command)
    return command


def read(console: Console, source: str, path: Path, vocabulary: str) -> Records:
    """Load the export with a progress bar and tell what was rejected. Raises InputError when it cannot be used."""
    with console.progress("read", None, "rows") as progress:
        records = load(
            source, path, vocabulary=DrugVocabulary.load() if vocabulary == "default" else None, progress=progress
        )
    log = records.log
    console.say(f"read {sum(log.read.values()):,} rows of {len(log.read)} files, {records.n_patients:,} patients")
    for finding in log.findings:
        console.say(f"  {finding}")
    return records

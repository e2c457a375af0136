"""`rxrec ingest`: an export in, the account of its data quality out as a summary, JSON and a page."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
from jinja2 import Environment, PackageLoader, select_autoescape

from jobs.console import Console
from jobs.source import Source, source_options
from recommender.data_quality import describe


@click.command()
@source_options
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data-quality"),
    show_default=True,
    help="Folder for data_quality.html and data_quality.json, below the working directory.",
)
@click.pass_obj
def ingest(console: Console, source: Source, report: Path) -> None:
    """Read an export and report on its data quality, without publishing anything."""
    os.umask(0o077)  # it tells much of a hospital: readable by its owner only
    quality = describe(source.read(console), source.vocabulary.nearest if source.vocabulary else None)
    folder = console.settings.workdir / report
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data_quality.json").write_text(json.dumps(quality, indent=2), encoding="utf-8")
    templates = Environment(
        loader=PackageLoader("jobs"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
    )
    page = templates.get_template("data_quality.html").render(quality, format=source.format)
    (folder / "data_quality.html").write_text(page, encoding="utf-8")
    console.result(quality, _summary(quality, folder / "data_quality.html"))


def _summary(quality: dict[str, Any], page: Path) -> str:
    rows = {key: sum(file[key] for file in quality["files"].values()) for key in ("read", "kept", "rejected")}
    methods = quality["drug_names"]["rows_by_method"]
    lines = [
        "{read:,} rows read, {kept:,} kept, {rejected:,} rejected".format(**rows),
        "{count:,} patients, {without_treatment:,} without any drug, procedure or care plan".format(
            **quality["patients"]
        ),
    ]
    lines += [
        f"{name}: {table['events']:,} events of {table['concepts']:,} kinds, {table['first']} to {table['last']}"
        for name, table in quality["tables"].items()
        if table["events"]
    ]
    by_kind = quality["treatments_by_kind"].items()
    lines.append("treatments by kind: " + ", ".join(f"{counts['events']:,} {kind}" for kind, counts in by_kind))
    if methods:
        known = 1 - methods.get("none", 0) / sum(methods.values())
        unknown = quality["drug_names"]["unmapped_names"]
        lines.append(f"{known:.2%} of drug rows have a known drug; distinct names that are not known: {unknown:,}")
    return "\n".join([*lines, f"report: {page}"])

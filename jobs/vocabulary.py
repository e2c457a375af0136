"""`rxrec vocabulary import`: a site's downloads of RxNorm and MED-RT in, a vocabulary folder for `--vocabulary` out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from jobs.console import Console
from recommender.vocabulary.importing import REPORT, import_vocabulary


@click.group()
def vocabulary() -> None:
    """Make a drug vocabulary of your own."""


@vocabulary.command("import")
@click.option(
    "--rxnorm",
    type=click.Path(path_type=Path),
    required=True,
    help="RxNorm_full_MMDDYYYY.zip (or the prescribable subset's), or the folder of its RRF files.",
)
@click.option(
    "--medrt",
    type=click.Path(path_type=Path),
    help="Core_MEDRT_XML.zip, or its XML file: classes for drugs that have none, and what drugs treat.",
)
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="The vocabulary folder to write."
)
@click.pass_obj
def import_(console: Console, rxnorm: Path, medrt: Path | None, output: Path) -> None:
    """Make a vocabulary of RxNorm's drugs, brands, product codes and NDCs.

    Ours is its core: RxNorm corrects its codes and adds to it, and never changes what a spelling means. A vocabulary
    that an earlier import wrote there is replaced; any other folder is left alone and refused.
    """
    with console.progress("import", None, "rows") as progress:
        done = import_vocabulary(rxnorm, medrt, output, progress)
    lines = [f"{output}: " + ", ".join(f"{count:,} {what}" for what, count in done.counts.items())]
    lines += [f"  {what}: {count:,}" for what, count in done.reported.items()]
    if done.reported:
        lines.append(f"each of these is a line of {output / REPORT}: read the codes that changed")
    lines.append(f"use it with --vocabulary {output}")
    console.result({"output": str(output), **asdict(done)}, "\n".join(lines))

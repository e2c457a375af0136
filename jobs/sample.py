"""`rxrec sample`: a number of patients and a seed in, a synthetic hospital's export out."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from data.synthetic import write_hospital
from data.synthetic.writer import Format
from jobs.console import Console


@click.command()
@click.option("--patients", type=click.IntRange(min=1), default=5_000, show_default=True, help="How many patients.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same bytes.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write.")
@click.option("--format", "fmt", type=click.Choice(get_args(Format)), default="csv", show_default=True)
@click.option("--processes", type=click.IntRange(min=1), help="Worker processes (default: one a core).")
@click.pass_obj
def sample(console: Console, patients: int, seed: int, out: Path, fmt: Format, processes: int | None) -> None:
    """Write a synthetic hospital's export.

    In Synthea's layout (csv, parquet), as a FHIR R4 bulk export (fhir), or as OMOP CDM 5.4 (omop, CSV).
    No record is of a real person. A previous sample in the folder is replaced; anything else there is left alone and
    refused.
    """
    with console.progress("sample", patients, "patients") as progress:
        rows = write_hospital(
            out,
            patients=patients,
            seed=seed,
            fmt=fmt,
            processes=processes,
            progress=progress,
        )
    listed = ", ".join(f"{count:,} {table}" for table, count in rows.items())
    console.result({"out": str(out), "seed": seed, "rows": rows}, f"{out}: {listed}")

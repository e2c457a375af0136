"""Words of the command line in, a command run and an exit code out: `rxrec`, the same as `python -m jobs`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from jobs.audit import audit
from jobs.conditions import conditions
from jobs.console import Console, Group
from jobs.evaluate import evaluate
from jobs.feedback import feedback
from jobs.fit import fit
from jobs.forget import forget
from jobs.ingest import ingest
from jobs.keys import keys
from jobs.nightly import nightly
from jobs.report import report
from jobs.risk import risk
from jobs.rules import rules
from jobs.sample import sample
from jobs.secret import secret
from jobs.serve import serve
from jobs.versions import rollback, versions
from jobs.vocabulary import vocabulary
from jobs.watch import events, watch
from recommender import __version__
from recommender.settings import Settings


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--workdir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where runs are written (default: current folder).",
)
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document, for machines.")
@click.version_option(__version__, prog_name="rxrec")
@click.pass_context
def main(ctx: click.Context, workdir: Path | None, quiet: bool, as_json: bool) -> None:
    """From a hospital's export to a served, explained list of suggested treatments.

    \b
    Exit codes: 0 done, 1 a fault or a bad setting, 2 wrong usage, 3 the input cannot be used,
    4 the Redis server is not available, 5 its contents are not ours, 6 no such version is
    published, 8 too little data to learn from, 9 the new version is worse than the served one,
    10 there are no safety rules, 11 the log of feedback cannot be read or written,
    12 the audit log cannot be written, 13 the audit log was tampered with, 14 published, but not
    all reports were written, 15 it needs more memory than RXREC_MEMORY allows.
    """
    settings = Settings.from_environment()
    if workdir is not None:
        settings = replace(settings, workdir=workdir.resolve())
    ctx.obj = Console(settings, quiet, as_json)


for command in (
    sample,
    ingest,
    fit,
    nightly,
    serve,
    watch,
    events,
    evaluate,
    versions,
    rollback,
    vocabulary,
    rules,
    feedback,
    keys,
    secret,
    audit,
    forget,
    report,
    risk,
    conditions,
):
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="rxrec")

"""The examples for schedulers: each runs a command that exists, with options that exist, and knows every exit code."""

import re
from pathlib import Path

import click
import pytest

from jobs.__main__ import main
from jobs.nightly import nightly
from recommender import errors

FOLDER = Path(__file__).parents[2] / "docs" / "deploy"
AGAIN = {1, 4}  # what trying again can mend


def commands() -> list[tuple[str, list[str]]]:
    found = []
    for file in ("rxrec-nightly.service", "crontab", "cronjob.yaml"):
        text = (FOLDER / file).read_text()
        text = re.sub(r"args: \[(.*)\]", lambda words: words[1].replace(",", ""), text)
        lines = re.findall(r"rxrec((?: --quiet)? --workdir .*? nightly [^&\n]*)", text)
        assert lines, file
        found += [(file, line.split()) for line in lines]
    return found


@pytest.mark.parametrize(("file", "words"), commands())
def test_the_command_can_be_parsed(file, words):
    at = words.index("nightly")
    with click.Context(main) as ctx:
        main.parse_args(ctx, [*words[:at], "nightly"])
    with click.Context(nightly) as ctx:
        nightly.parse_args(ctx, words[at + 1 :])
    assert ctx.params["resume"]
    assert ctx.params["events_file"]


@pytest.mark.parametrize(
    ("file", "pattern"),
    [("rxrec-nightly.service", r"RestartPreventExitStatus=(.*)"), ("cronjob.yaml", r"values: \[(.*)\]")],
)
def test_every_exit_code_is_known(file, pattern):
    (listed,) = re.findall(pattern, (FOLDER / file).read_text())
    ours = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    served_only = {7}  # of one patient's request
    assert (ours | {2}) - AGAIN - served_only <= {int(code) for code in re.findall(r"\d+", listed)}

"""`rxrec evaluate`: an export in, the model's figures beside the baseline on hidden treatments out."""

from __future__ import annotations

import click

from jobs.console import Console
from jobs.source import Source, source_options
from recommender.evaluation.compare import Evaluation, K
from recommender.evaluation.compare import evaluate as run_evaluation
from recommender.features import build_matrix
from recommender.models import MODELS


@click.command()
@source_options
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Draws patients and treatments.")
@click.pass_obj
def evaluate(console: Console, source: Source, seed: int) -> None:
    """Judge the models on treatments hidden from them.

    A quarter of the patients are held out and half of each one's treatments hidden. Intervals are 95%, by bootstrap
    over patients; differences are paired.
    """
    matrix = build_matrix(source.read(console))
    with console.progress("evaluate", len(MODELS), "models") as progress:
        evaluation = run_evaluation([model() for model in MODELS.values()], matrix, seed=seed, progress=progress)
    console.result(evaluation.as_dict(), as_table(evaluation))


def as_table(evaluation: Evaluation) -> str:
    """A few aligned lines for a terminal."""
    lines = [
        f"{evaluation.protocol}; {evaluation.patients:,} patients tested, "
        f"{evaluation.skipped:,} had under two treatments",
        f"{'model':<12}{f'NDCG@{K} (95% interval)':<28}{f'recall@{K} (95% interval)':<28}fit, s",
    ]
    lines += [
        f"{name:<12}{evaluation.ndcg[name]!s:<28}{evaluation.recall[name]!s:<28}{evaluation.fit_seconds[name]:.2f}"
        for name in evaluation.ndcg
    ]
    first = next(iter(evaluation.ndcg))
    lines += [f"{first} - {other}: {gain} in NDCG@{K}, paired" for other, gain in evaluation.gain.items()]
    return "\n".join(lines)

"""`make bench-safety`: open data in, how unsafe lists are before and after the screen, and what screening costs, out.

The served model's lists of the protocol `started`, drugs, five folds by patient. What the documentation says of safety
is copied from `results/`, which this writes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from recommender.evaluation.compare import K, evaluate
from recommender.evaluation.safety import TOLD, as_markdown, safety_table
from recommender.evaluation.split import FOLDS, folds_of
from recommender.evaluation.trial import make_trial
from recommender.loaders import load
from recommender.models.directed import DirectedModel
from recommender.safety.rules import FAMILIES
from recommender.safety.screen import Screen
from recommender.settings import Settings

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("RXREC_TEST_DATA", ROOT.parent / "shared" / "data"))
PAIRS = ("pairs contraindicated", "pairs serious", "pair rate")
INTERVALS = "gains are against the unscreened list, paired; 95% intervals, bootstrap over patients"
SETS = {"eicu": "eicu_demo", "mimic": "mimic_iv_demo"}


def measured(source: str, screen: Screen) -> str:
    records = load(source, str(DATA / SETS[source]), vocabulary=screen.vocabulary)
    trial = make_trial(records, "started", ["drug"])
    evaluation = evaluate([DirectedModel()], trial, folds_of(trial.person, FOLDS))
    table = safety_table(evaluation, DirectedModel.name, records, screen)
    people = len(np.unique(evaluation.person))
    head = f"## {SETS[source]}: {len(evaluation.tested):,} lists of {people:,} patients, rules {screen.rules.version}"
    families = table[
        table["list"].isin(["truly begun", "unscreened", f"screened, cost {Settings().interaction_cost:g}"])
    ]
    by_family = [f"{family} {severity}" for family in FAMILIES for severity in TOLD]
    return "\n\n".join(
        [
            head,
            "As many drugs as were truly begun. Of 100 lists: drugs that the chart speaks against, by the strictest "
            "rule; pairs of drugs within a list that interact.",
            as_markdown(table, "as begun", ["drugs", *TOLD, *PAIRS]),
            f"Of ten drugs, and what they find ({INTERVALS}):",
            as_markdown(table, str(K), [*TOLD, *PAIRS, "ndcg", "ndcg gain", "recall gain"]),
            "By family of rules, as many drugs as were truly begun, of 100 lists:",
            as_markdown(families, "as begun", by_family),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", action="append", choices=list(SETS), help="one of them; both by default")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    given = parser.parse_args()
    screen = Screen.load()
    text = "\n\n".join(measured(source, screen) for source in given.source or SETS) + "\n"
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "safety.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""`make bench-quality`: every model on the eICU demo in, a table of how well each foresees what was started out.

The protocol `started` for drugs, five folds by patient, or with BY=hospital by hospital. What the documentation says of
models is copied from `results/`, which this writes.
"""

from __future__ import annotations

import argparse
import os
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recommender.evaluation.compare import MAIN, Evaluation, K, evaluate
from recommender.evaluation.split import FOLDS, folds_of
from recommender.evaluation.trial import make_trial
from recommender.loaders import load
from recommender.models import MODELS
from recommender.sequence import with_visits
from recommender.vocabulary import DrugVocabulary

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("RXREC_TEST_DATA", ROOT.parent / "shared" / "data")) / "eicu_demo"
COLUMNS = {
    MAIN: f"NDCG@{K}",
    "recall": f"recall@{K}, of all",
    "capped_recall": f"recall@{K}, of what fits in",
    "pr_auc": "PR-AUC",
    "jaccard": "Jaccard",
}


def measured(by: str, names: list[str], seed: int) -> Evaluation:
    records = load("eicu", str(DATA), vocabulary=DrugVocabulary.load())
    trial = make_trial(records, "started", ["drug"])
    folds = folds_of(trial.person if by == "patient" else trial.site, FOLDS, seed)
    models = [MODELS[name]() for name in names]
    if any(model.reads_visits for model in models):
        matrix = with_visits(records, trial.moments, trial.taught)
        trial = replace(trial, taught=matrix, asked=matrix)
    with tqdm(total=len(models), unit=" models") as bar:
        return evaluate(models, trial, folds, seed=seed, progress=lambda done: (bar.update(done), None)[1])


def as_markdown(evaluation: Evaluation, by: str) -> str:
    trial, judged = evaluation.trial, evaluation.judged
    first = next(iter(judged))
    summaries = {name: evaluation.summary(name) for name in judged}
    lines = [
        f"# How well each model foresees what is started: eICU demo 2.0, {len(evaluation.frequency)} folds by {by}",
        "",
        f"{trial.said}. {len(evaluation.tested):,} lists of {len(np.unique(evaluation.person)):,} patients tested; "
        f"means over lists with 95% intervals, bootstrap over patients; gain: {COLUMNS[MAIN]} of {first} less that of "
        f"the model, paired. Seed {evaluation.seed}, Python {platform.python_version()}, {os.cpu_count()} cores; "
        "seconds for all folds together.",
        "",
        "| model | " + " | ".join(COLUMNS.values()) + f" | gain of {first} | fit, s | score, s |",
        "|---" * (len(COLUMNS) + 4) + "|",
    ]
    for name in sorted(judged, key=lambda name: -summaries[name][MAIN].value):
        cells = [name, *(str(summaries[name][metric]) for metric in COLUMNS)]
        gain = evaluation.gain(first, name)
        cells.append("" if name == first else f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})")
        cells += [f"{judged[name].fit_seconds:.2f}", f"{judged[name].score_seconds:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--by", choices=["patient", "hospital"], default="patient")
    parser.add_argument("--model", action="append", choices=list(MODELS), help="one of them; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    given = parser.parse_args()
    names = given.model or [name for name in MODELS if MODELS[name].is_available()]
    text = as_markdown(measured(given.by, names, given.seed), given.by)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / f"quality-{given.by}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

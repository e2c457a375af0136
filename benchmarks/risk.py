"""`make bench-risk`: hospital deaths of the eICU demo in, how well each risk model foresees them out, and whether the
risk helps the recommender.

One row a hospital stay, of its first unit stay that has APACHE variables: these (worst of the first 24 hours; -1 is
missing), age and sex. Outcome: `hospitaldischargestatus` Expired. Split by patient, five folds. The same models on the
synthetic sample show that the road from Records works; prescribing and illness there follow scripts.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd

from data.synthetic import write_hospital
from recommender.evaluation.outcomes import Foreseen
from recommender.evaluation.split import folds_of
from recommender.evaluation.trial import make_trial
from recommender.loaders import load
from recommender.risk.context import gain_of_column
from recommender.risk.csv_table import learn_csv
from recommender.risk.judge import all_models, foreseen, tested
from recommender.risk.models import BoostedRisk, LogisticRisk
from recommender.risk.odds import odds_ratios
from recommender.risk.records_table import learn_records, outcome_of
from recommender.risk.table import Outcome, RiskTable
from recommender.vocabulary import DrugVocabulary

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("RXREC_TEST_DATA", ROOT.parent / "shared" / "data")) / "eicu_demo"
DIED = Outcome("death in hospital", "died")
APACHE = (
    *("intubated", "vent", "dialysis", "eyes", "motor", "verbal", "urine", "wbc", "temperature", "respiratoryrate"),
    *("sodium", "heartrate", "meanbp", "ph", "hematocrit", "creatinine", "albumin", "pao2", "pco2", "bun", "glucose"),
    *("bilirubin", "fio2"),
)
SAMPLE = (("type-2-diabetes", 3 * 365), ("hypertension", 3 * 365), ("chronic-kidney-disease", 3 * 365))
PATIENTS = 5_000


def apache_table(folder: Path = DATA) -> pd.DataFrame:
    """patient_id, hospital, ethnicity, age, gender, the APACHE variables, died: text, "" where missing."""
    stays = pd.read_csv(folder / "patient.csv.gz", dtype=str, keep_default_na=False)
    values = pd.read_csv(folder / "apacheApsVar.csv.gz", dtype=str, keep_default_na=False)
    frame = stays.merge(values, on="patientunitstayid").sort_values(["patienthealthsystemstayid", "unitvisitnumber"])
    frame = frame.drop_duplicates("patienthealthsystemstayid").reset_index(drop=True)
    status = frame["hospitaldischargestatus"].map({"Expired": "1", "Alive": "0"}).fillna("")
    return pd.DataFrame(
        {
            "patient_id": frame["uniquepid"],
            "hospital": frame["hospitalid"],
            "ethnicity": frame["ethnicity"],
            "age": frame["age"].replace("> 89", "90"),
            "gender": frame["gender"],
            **{name: frame[name].where(pd.to_numeric(frame[name], errors="coerce") >= 0, "") for name in APACHE},
            "died": status,
        }
    )


def eicu_table() -> RiskTable:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "apache.csv"
        apache_table().to_csv(file, index=False)
        return learn_csv(file, DIED)


def judged(table: RiskTable, groups: np.ndarray, seed: int) -> tuple[Foreseen, list[str], float]:
    """What was foreseen, and a markdown row for each model."""
    folds, rows, began = folds_of(groups, seed=seed), [], perf_counter()
    found = foreseen(table, all_models(), folds, seed=seed)
    seconds = perf_counter() - began
    for name in found.probability:
        summary = found.summary(name)
        gain = "" if name == LogisticRisk.name else _signed(found.gain(LogisticRisk.name, name))
        cells = [name, *map(str, (summary[one] for one in ("auc", "pr_auc", "brier", "accuracy"))), gain]
        rows.append("| " + " | ".join([*cells, f"{found.error(name):.3f}"]) + " |")
    return found, rows, seconds


def _signed(one: object) -> str:
    value, low, high = (getattr(one, name) for name in ("value", "low", "high"))
    return f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


HEAD = [
    "| model | AUC | PR-AUC | Brier | accuracy at 0.5 | AUC that `logistic` is ahead by, paired | calibration error |",
    "|---|---|---|---|---|---|---|",
]


def about(table: RiskTable, seconds: float) -> str:
    n = len(np.unique(table.person.astype(str)))
    return (
        f"{table.said}: {len(table):,} examples of {n:,} patients, {table.outcome.sum():,} with the outcome "
        f"({table.outcome.mean():.1%}), {len(table.inputs.features)} inputs; {seconds:.1f} s for all fits."
    )


def eicu(seed: int) -> list[str]:
    lines = ["## eICU demo 2.0: death in hospital, from the APACHE variables of the first day", ""]
    table = eicu_table()
    hospital = table.groups["hospital"].to_numpy()
    for by, groups in (("patient", table.person.astype(str)), ("hospital", hospital)):
        found, rows, seconds = judged(table, groups, seed)
        lines += [f"Five folds by {by}. {about(table, seconds)}", "", *HEAD, *rows, ""]
        if by == "patient":
            lines += calibration(found) + subgroups(table, found, folds_of(groups, seed=seed))
    fitted = LogisticRisk().fit(table.inputs.values, table.outcome)
    lines += ["Odds ratios of the logistic model, fitted to all; the ten strongest:", ""]
    lines += ["| input | per | odds ratio |", "|---|---|---|"]
    for row in odds_ratios(fitted, table).head(10).itertuples():
        lines.append(f"| {row.feature} | {row.per} | {row.odds_ratio:.2f} ({row.low:.2f} to {row.high:.2f}) |")
    return lines


def calibration(found: Foreseen) -> list[str]:
    lines = ["Calibration, ten bins of one size: predicted, observed:", ""]
    lines += ["| model | " + " | ".join(map(str, range(1, 11))) + " | observed / expected |", "|---" * 12 + "|"]
    for name in (LogisticRisk.name, BoostedRisk.name):
        table = found.calibration(name)
        cells = [f"{row.predicted:.3f}, {row.value:.3f}" for row in table.itertuples()]
        cells += [""] * (10 - len(cells))
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {found.summary(name)['observed_to_expected']} |")
    return [*lines, ""]


def subgroups(table: RiskTable, found: Foreseen, folds: Sequence[object]) -> list[str]:
    of = table.groups.iloc[tested(folds)].reset_index(drop=True).drop(columns="hospital")  # type: ignore[arg-type]
    lines = ["| group | patients | events | AUC | observed | predicted | AUC behind the best group |", "|---" * 7 + "|"]
    for row in found.by_group(of, LogisticRisk.name).dropna(subset="value").itertuples():
        gap = "" if np.isnan(row.gap) else f"{row.gap:.3f} ({row.gap_low:.3f} to {row.gap_high:.3f})"
        auc = f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})"
        lines.append(
            f"| {row.attribute} {row.group} | {row.patients} | {row.events} | {auc} | {row.observed:.3f} | "
            f"{row.predicted:.3f} | {gap} |"
        )
    return ["Logistic model, by group:", "", *lines, ""]


def context(seed: int) -> list[str]:
    """The risk of death as context of the recommender, for patients with a single hospital stay."""
    table = eicu_table()
    records = load("eicu", str(DATA), vocabulary=DrugVocabulary.load())
    trial = make_trial(records, "started", ["drug"])
    person = records.patients["patient_id"].to_numpy(dtype=str)[trial.person]
    rows = pd.Series(range(len(table)), index=table.person.astype(str))
    alone = rows[~rows.index.duplicated(keep=False)]
    place = alone.reindex(person).to_numpy()
    known = ~np.isnan(place) & (trial.earlier == 0)
    values = np.full((len(trial), len(table.inputs.features)), np.nan)
    values[known] = table.inputs.values[place[known].astype(int)]
    ndcg, gain = gain_of_column(table, LogisticRisk(), values, trial, person, seed)
    return [
        "## The risk of death as context of the recommender (eICU demo, `started`, drugs)",
        "",
        f"`directed` with the bands of the risk, fitted out of fold: NDCG@10 {ndcg}; ahead of the same without by "
        f"{_signed(gain)}, paired.",
    ]


def sample(seed: int, patients: int) -> list[str]:
    lines = [f"## Synthetic sample, {patients:,} patients: conditions that begin within three years", ""]
    with tempfile.TemporaryDirectory() as folder:
        write_hospital(Path(folder) / "sample", patients=patients, seed=0)
        records = load("synthea", str(Path(folder) / "sample"), vocabulary=DrugVocabulary.load())
    for code, days in SAMPLE:
        table = learn_records(records, outcome_of(records, code, days))
        _, rows, seconds = judged(table, table.person.astype(str), seed)
        lines += [about(table, seconds), "", *HEAD, *rows, ""]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--patients", type=int, default=PATIENTS)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    given = parser.parse_args()
    text = "\n".join(
        [
            "# Risk models",
            "",
            f"95% intervals, bootstrap over patients; ranks within folds; seed {given.seed}, Python "
            f"{platform.python_version()}, {os.cpu_count()} cores.",
            "",
            *eicu(given.seed),
            "",
            *context(given.seed),
            "",
            *sample(given.seed, given.patients),
        ]
    )
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "risk.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

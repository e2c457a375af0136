"""An `Evaluation` in, for whom and for what it holds out: tables by list length, rarity, repeats and group of patients.

Every table has a row for each figure: value, and low to high, its 95% interval over patients.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from recommender.evaluation import metrics
from recommender.evaluation.bootstrap import Interval, intervals, resampled
from recommender.evaluation.compare import MAIN, Evaluation, K
from recommender.features import DAYS_PER_YEAR
from recommender.moments import MISSING
from recommender.ranking import places
from recommender.records import Records

LENGTHS = (1, 3, 5, 10, 20)
RARITIES = {"under 10": (0, 10), "10 to 99": (10, 100), "100 or more": (100, np.iinfo(np.int64).max)}
AGES = (0, 18, 40, 65, 80)  # lower edges, years: fewer bands than the model has, so that each has enough patients
RARE = 0.02  # of the examples; a condition that fewer share is rare
MIN_PATIENTS = 20  # a smaller group is named and not compared
SEX = {"F": "female", "M": "male"}
UNKNOWN = "unknown"


def by_length(evaluation: Evaluation, lengths: Sequence[int] = LENGTHS) -> pd.DataFrame:
    """model, k, metric: recall, capped recall and NDCG of lists cut at each of `lengths`."""
    keys, figures = [], []
    relevant = evaluation.given.sum(axis=1)
    for model, judged in evaluation.judged.items():
        hit = metrics.hits(places(judged.scores, max(lengths)), evaluation.given)
        for k in lengths:
            for name in ("recall", "capped_recall", "ndcg"):
                keys.append({"model": model, "k": k, "metric": name})
                figures.append(metrics.LIST_METRICS[name](hit[:, :k], relevant))
    return _table(keys, intervals(np.stack(figures, axis=1), evaluation.person, evaluation.seed))


def by_rarity(evaluation: Evaluation) -> pd.DataFrame:
    """model, trained (how many training examples had the treatment), treatments, patients, relevant, found.

    value: found in the K first out of relevant, all examples together. treatments: how many are so, in the median fold.
    """
    frequency = evaluation.frequency[evaluation.fold]  # (n_tested, n_targets)
    keys, found, relevant = [], [], []
    for name, (least, below) in RARITIES.items():
        treatments = np.median(((evaluation.frequency >= least) & (evaluation.frequency < below)).sum(axis=1))
        counted = evaluation.given & (frequency >= least) & (frequency < below)
        if not counted.any():
            continue
        for model, judged in evaluation.judged.items():
            relevant.append(counted.sum(axis=1))
            found.append(metrics.hits(places(judged.scores, K), counted).sum(axis=1))
            counts = {"treatments": treatments, "patients": len(np.unique(evaluation.person[relevant[-1] > 0]))}
            counts |= {"relevant": relevant[-1].sum(), "found": found[-1].sum()}
            keys.append({"model": model, "trained": name, **{n: int(count) for n, count in counts.items()}})
    values, out_of = np.stack(found, axis=1), np.stack(relevant, axis=1)
    return _table(keys, intervals(values, evaluation.person, evaluation.seed, out_of))


def by_repeat(evaluation: Evaluation) -> pd.DataFrame:
    """model, visits, part (of what was given), patients, relevant, found: in the one list of repeats and new starts.

    value: recall of that part, the mean over the examples that have any of it.
    """
    trial = evaluation.trial
    stood = trial.asked.had[evaluation.tested].toarray() > 0
    first = trial.earlier[evaluation.tested] == 0
    keys, values, out_of = [], [], []
    for visits, asked in (("all", np.ones_like(first)), ("first", first), ("later", ~first)):
        for part, of in (("repeats", stood), ("new starts", ~stood)):
            given = evaluation.given & of
            relevant = given.sum(axis=1)
            counted = asked & (relevant > 0)
            if not counted.any():
                continue
            for model, judged in evaluation.judged.items():
                found = metrics.hits(places(judged.scores, K), given).sum(axis=1)
                counts = {"patients": len(np.unique(evaluation.person[counted])), "relevant": relevant[counted].sum()}
                counts |= {"found": found[counted].sum()}
                keys.append({"model": model, "visits": visits, "part": part, **{n: int(c) for n, c in counts.items()}})
                values.append(np.where(counted, found / np.maximum(relevant, 1), 0))
                out_of.append(counted)
    return _table(keys, intervals(np.stack(values, 1), evaluation.person, evaluation.seed, np.stack(out_of, 1)))


def groups(evaluation: Evaluation, records: Records) -> pd.DataFrame:
    """The group of each tested example by each attribute, as words, a column each; attributes of one group left out."""
    trial, tested = evaluation.trial, evaluation.tested
    people = records.patients.iloc[evaluation.person]
    born = people["birth_date"].to_numpy("datetime64[s]").astype(np.int64)
    years = np.where(born == MISSING, np.nan, (trial.when[tested] - born) / (86_400 * DAYS_PER_YEAR))
    found = pd.DataFrame(
        {
            "sex": people["sex"].replace(SEX).to_numpy(),
            "age": age_words(years),
            "race": people["race"].to_numpy(),
            "ethnicity": people["ethnicity"].to_numpy(),
            "hospital": trial.site[tested],
            "visit": np.where(trial.earlier[tested] == 0, "first", "later"),
            "leading condition": _leading(evaluation),
        }
    ).replace("", UNKNOWN)
    return found.loc[:, found.nunique() > 1]


def age_words(years: np.ndarray) -> np.ndarray:
    """The band of each age, as words (n,); years (n,) float64, NaN where unknown."""
    between = (f"{low} to {high - 1}" for low, high in pairwise(AGES[1:]))
    bands = np.array([UNKNOWN, f"under {AGES[1]}", *between, f"{AGES[-1]} or older"], dtype=object)
    return bands[np.searchsorted(AGES, np.nan_to_num(years, nan=-1.0), side="right")]


def _leading(evaluation: Evaluation) -> np.ndarray:
    """Whether the condition on the chart that most examples share is itself rare."""
    asked = evaluation.trial.asked
    conditions = asked.rows[:, asked.index.block("conditions")]
    share = np.bincount(conditions.indices, minlength=conditions.shape[1]) / conditions.shape[0]
    most = np.zeros(conditions.shape[0])
    np.maximum.at(most, conditions.nonzero()[0], share[conditions.indices])
    most = most[evaluation.tested]
    return np.select([most == 0, most < RARE], ["none on the chart", "rare"], "common")


def by_group(
    evaluation: Evaluation, of: pd.DataFrame, model: str, names: Iterable[str] = (MAIN, "recall")
) -> pd.DataFrame:
    """metric, attribute, group, examples, patients; of each group that has MIN_PATIENTS: value, and `gap`, how far it
    stays behind the `best` group of the attribute. `of`: as `groups` gives.

    gap_low to gap_high holds at 95% for all pairs of groups of the attribute together (single-step max-T, Westfall &
    Young 1993): the best group is found on the same figures, and one of many pairs always looks far apart. So a gap is
    `distinguishable` from chance when that interval excludes zero.
    """
    person, figures = evaluation.person, evaluation.judged[model].figures
    rows = []
    for attribute in of:
        sizes = pd.DataFrame({"group": of[attribute], "person": person}).groupby("group")["person"]
        counted = pd.DataFrame({"examples": sizes.size(), "patients": sizes.nunique()}).reset_index()
        large = counted["patients"].to_numpy() >= MIN_PATIENTS
        member = of[attribute].to_numpy()[:, None] == counted["group"].to_numpy()[None, large]
        for name in names:
            table = counted.assign(metric=name, attribute=attribute)
            if large.any():
                values = figures[name].to_numpy()[:, None] * member
                for column, found in _compared(values, member, person, evaluation.seed, table["group"][large]).items():
                    table.loc[large, column] = found
            rows.append(table)
    columns = ["metric", "attribute", "group", "examples", "patients", "value", "low", "high"]
    columns += ["best", "gap", "gap_low", "gap_high", "distinguishable"]
    return pd.concat(rows or [pd.DataFrame()], ignore_index=True).reindex(columns=columns)


def _compared(
    values: np.ndarray, member: np.ndarray, person: np.ndarray, seed: int, named: pd.Series
) -> dict[str, object]:
    """Columns of `by_group` for groups (n, n_groups) bool of which values (n, n_groups) are the members' figures."""
    found = intervals(values, person, seed, member)
    value = np.array([one.value for one in found])
    columns: dict[str, object] = {name: [getattr(one, name) for one in found] for name in ("value", "low", "high")}
    if len(found) < 2:
        return columns
    return columns | gaps(value, resampled(values, person, seed, member) - value, named)


def gaps(value: np.ndarray, deviation: np.ndarray, named: pd.Series) -> dict[str, object]:
    """Columns best to distinguishable of `by_group`. value (n_groups,); deviation (RESAMPLES, n_groups): of each draw
    from it, NaN where a draw tells nothing of a group."""
    best = int(value.argmax())
    widest = np.zeros(len(deviation))
    spread = np.empty(len(value))  # standard error of each group's difference to the best
    for group in range(len(value)):
        difference = deviation - deviation[:, [group]]
        error = np.nanstd(difference, axis=0)
        with np.errstate(invalid="ignore"):
            widest = np.fmax(widest, np.nanmax(np.abs(difference) / np.where(error > 0, error, np.inf), axis=1))
        if group == best:
            spread = error
    gap, half = value[best] - value, np.quantile(widest, 0.95) * spread
    other = np.arange(len(value)) != best
    return {
        "best": named.iloc[best],
        "gap": np.where(other, gap, np.nan),
        "gap_low": np.where(other, gap - half, np.nan),
        "gap_high": np.where(other, gap + half, np.nan),
        "distinguishable": pd.array(np.where(other, gap - half > 0, None), dtype="boolean"),
    }


def largest_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """The row of `by_group` with the largest gap of each metric and attribute; none where nothing was compared."""
    compared = table.dropna(subset="gap")
    return compared.loc[compared.groupby(["metric", "attribute"], sort=False)["gap"].idxmax()].reset_index(drop=True)


def _table(keys: list[dict[str, object]], found: list[Interval]) -> pd.DataFrame:
    rows = [{**key, "value": one.value, "low": one.low, "high": one.high} for key, one in zip(keys, found, strict=True)]
    return pd.DataFrame(rows)

"""What was measured of a new version and of the one being served in, why not to publish the new one out.

Both sides are what their manifests hold, so the served version is judged as it was on its own night. Only accuracy can
also be compared on the same patients; not with the served model as it stands, which has learned from those patients and
would win by it, but with the served configuration fitted anew on the same training examples (`gain`). That shows a
worse model and hides worse data, from which both would learn; so the figures of the two nights are compared as well.

Reasons are words and figures of 11 patients or more: nothing of one patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy import special

from recommender.blocks import CHUNK, Blocks
from recommender.evaluation.bootstrap import Interval, intervals
from recommender.evaluation.breakdown import by_group, groups
from recommender.evaluation.compare import MAIN, Evaluation, K, evaluate
from recommender.evaluation.split import Fold
from recommender.evaluation.trial import Trial
from recommender.features import AGE_BANDS, DAYS_PER_YEAR
from recommender.matrix import ColumnIndex
from recommender.models.base import Model
from recommender.moments import MISSING
from recommender.ranking import TopN
from recommender.records import Records
from recommender.support import in_tens

MAX_FALL = 0.2  # share that may be lost of patients, events, catalogue or lists between two nights
MAX_INDEX = 0.25  # population stability index from which on a distribution counts as another (Siddiqi 2006)
CHANCE = 0.001  # a larger index is not heeded where this large a share of unchanged populations would reach it
MIN_CELL = 11  # patients; smaller counts are not told
MOST_CODES = 500  # the most common of each table are counted one by one
ATTRIBUTES = ("sex", "age", "race", "ethnicity", "hospital")


GAP = ("gap", "gap_low", "gap_high")
SMALLEST_SHARE = 1e-4  # keeps the logarithm of an empty category finite


# --- what is measured of a version, for its manifest ----------------------------------------------------------------


def quality_of(evaluation: Evaluation, model: str, baseline: str, records: Records) -> dict[str, Any]:
    """NDCG of the model beside the baseline's, and of each group of patients that is large enough to be told.

    Patients to the ten: from all and the groups that are told would follow how many are left.
    """
    of = groups(evaluation, records)
    table = by_group(evaluation, of[[name for name in ATTRIBUTES if name in of]], model, [MAIN])
    told = table.dropna(subset="value")[["attribute", "group", "patients", "value", "low", "high", *GAP]].copy()
    told["patients"] = [in_tens(count) for count in told["patients"]]
    return {
        "metric": f"NDCG@{K}",
        "protocol": evaluation.trial.said,
        "patients": in_tens(len(np.unique(evaluation.person))),
        **asdict(evaluation.summary(model)[MAIN]),
        "baseline": {"model": baseline, **asdict(evaluation.summary(baseline)[MAIN])},
        "groups": told.astype(object).where(told.notna(), None).to_dict("records"),
    }


def coverage_of(index: ColumnIndex, top: TopN) -> dict[str, int]:
    """How many treatments can be suggested, how many of them stand in a list, and how many patients have one."""
    return {
        "suggestable": len(index.targets),
        "listed": int(_listed(index, top).sum()),
        "patients_with_list": int((np.diff(top.indptr) > 0).sum()),
    }


def _listed(index: ColumnIndex, top: TopN) -> np.ndarray:  # (n_columns,) bool
    listed = np.zeros(len(index), dtype=bool)
    for at in range(0, len(top.columns), CHUNK):
        listed[top.columns[at : at + CHUNK]] = True
    return listed


def inputs_of(records: Records, blocks: Blocks = Blocks()) -> dict[str, dict[str, int]]:  # noqa: B008  (frozen)
    """How many patients have each treatment and condition, and are of each sex and age band; small counts folded."""
    whole: dict[str, pd.Series] = {}
    for _, part in blocks.of(records, ("treatments", "conditions")):
        found = inputs_in(part)
        whole = {name: one.add(found[name], fill_value=0).astype(np.int64) for name, one in whole.items()} or found
    return {name: folded(count) for name, count in whole.items()}


def inputs_in(records: Records) -> dict[str, pd.Series]:
    """The counts of `inputs_of` as they are."""
    people = records.patients
    born, read = (people[name].to_numpy("datetime64[s]").astype(np.int64) for name in ("birth_date", "as_of"))
    years = np.where(born == MISSING, -1, (read - born) / (86_400 * DAYS_PER_YEAR))
    band = np.searchsorted(AGE_BANDS, years, side="right").astype(str)
    return {
        "treatments": _patients_with(records, records.treatments),
        "conditions": _patients_with(records, records.conditions),
        "sex": people["sex"].value_counts(),
        "age": pd.Series(band).value_counts(),
        "race": people["race"].value_counts(),
    }


def _patients_with(records: Records, events: pd.DataFrame) -> pd.Series:
    pairs = events[["patient_ix", "concept_ix"]].drop_duplicates()
    count = pairs["concept_ix"].value_counts()
    named = records.concepts.iloc[count.index]
    return pd.Series(count.to_numpy(), index=named["kind"].str.cat(named["code"], sep=" "))


def folded(count: pd.Series) -> dict[str, int]:
    """The MOST_CODES largest counts, of two as large the one that comes first in the alphabet, and the others together
    under ""; nothing below MIN_CELL is told."""
    told = count[count >= MIN_CELL].sort_index().sort_values(kind="stable", ascending=False)[:MOST_CODES]
    others = int(count.sum() - told.sum())
    return {**{str(code): int(n) for code, n in told.items()}, "": others if others >= MIN_CELL else 0}


def paired_gain(evaluation: Evaluation, model: str, served: Model, as_served: Trial, folds: Sequence[Fold]) -> Interval:
    """By how much `model` beats the served configuration, fitted on the same training examples, on those it was tested
    by. `as_served`: the trial of `evaluation`, weighted as the served version was. Raises TrainingError."""
    other = evaluate([served], as_served, folds, seed=evaluation.seed).judged[served.name].figures[MAIN]
    difference = evaluation.judged[model].figures[MAIN] - other
    return intervals(difference.to_numpy()[:, None], evaluation.person, evaluation.seed)[0]


# --- what speaks against publishing ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """`served`: the version compared with, or why there is none; `reasons` not to publish; `measured`: by what."""

    served: str
    reasons: tuple[str, ...]
    measured: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        said = {"compared_with": self.served, "passed": not self.reasons, "reasons": list(self.reasons)}
        return {**said, **self.measured}


class Served(Protocol):
    """A published version of whatever is judged by its manifest: a release, a risk model."""

    @property
    def version(self) -> str: ...

    @property
    def manifest(self) -> Mapping[str, Any]: ...


def compared(new: Mapping[str, Any], served: Served | None, gain: Interval | None, why_alone: str) -> Verdict:
    """`new`: the manifest of what is to be published. What only one manifest tells is not compared."""
    if served is None:
        return Verdict(f"nothing to compare with: {why_alone}", (), {})
    old = served.manifest
    indices = stability(new.get("inputs", {}), old.get("inputs", {}))
    reasons = [*_accuracy(new, old, gain), *_subgroups(new, old), *_falls(new, old), *_jumps(indices)]
    measured = {
        "gain": None if gain is None else asdict(gain),
        "population_stability": indices,
        **{part: {"new": new.get(part), "served": old.get(part)} for part in ("quality", "counts", "coverage")},
    }
    return Verdict(served.version, tuple(reasons), measured)


def _accuracy(new: Mapping[str, Any], old: Mapping[str, Any], gain: Interval | None) -> Iterator[str]:
    metric = new.get("quality", {}).get("metric", f"{MAIN.upper()}@{K}")
    if gain is not None and gain.high < 0:
        yield f"{metric} is worse than the served configuration's on the same patients: by {gain}"
    now, then = new.get("quality", {}), old.get("quality", {})
    if "value" in then and "value" not in now:
        yield f"quality could not be measured, as it was for the served version: {now.get('not_assessed', '')}"
    elif "value" in then and now.get("protocol") == then.get("protocol") and now["high"] < then["low"]:
        yield (
            f"{metric} fell from {_interval(then)} on the night of the served version to {_interval(now)}: "
            "the model or the data are worse"
        )


def _subgroups(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[str]:
    then = {(one["attribute"], one["group"]): one for one in old.get("quality", {}).get("groups", ())}
    for now in new.get("quality", {}).get("groups", ()):
        before = then.get((now["attribute"], now["group"]))
        if before is None or now["gap"] is None:
            continue
        # the best group stays behind nobody; what it could not have done better than is its own upper limit
        limit = before["high"] - before["value"] if before["gap"] is None else before["gap_high"]
        if now["gap_low"] > limit:
            yield (
                f"the group {now['attribute']} {now['group']} stays behind the best group by "
                f"{now['gap']:.3f} ({now['gap_low']:.3f} to {now['gap_high']:.3f}), in the served version by "
                f"{before['gap'] or 0.0:.3f} ({limit:.3f} at most)"
            )


def _falls(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[str]:
    counted = {
        "counts": {
            "patients": "patients",
            "treatments_events": "treatment events",
            "conditions_events": "condition events",
            "allergies_events": "allergy events",
        },
        "coverage": {
            "suggestable": "treatments that can be suggested",
            "listed": "treatments that stand in a list",
            "patients_with_list": "patients with a list",
        },
    }
    for part, names in counted.items():
        for name, words in names.items():
            now, then = new.get(part, {}).get(name), old.get(part, {}).get(name)
            if now is not None and then is not None and then >= MIN_CELL and now < (1 - MAX_FALL) * then:
                if name.startswith("patients") or now < MIN_CELL:
                    now, then = in_tens(now), in_tens(then)
                few = f"{now:,}, {1 - now / then:.0%} fewer" if now else f"fewer than {MIN_CELL}, far fewer"
                yield f"{words}: {few} than the {then:,} of the served version"


def _jumps(indices: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    for name, one in indices.items():
        if one["index"] > one["limit"]:
            yield (
                f"{name} are distributed otherwise than on the night of the served version: population stability index "
                f"{one['index']:.2f}, over {one['limit']:.2f}"
            )


def stability(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The population stability index of each distribution that both tell, and the one that is too large.

    sum_i (p_i - q_i) log(p_i / q_i) over the categories i; without any change it is about chi-squared times
    (1 / n + 1 / m) of the two numbers counted (Yurdakul & Naranjo, J. Risk Model Validation 2020). What one side alone
    tells is put at the most that the other keeps to itself.
    """
    found = {}
    for name in sorted(new.keys() & old.keys()):
        codes = sorted({*new[name], *old[name]} - {""})
        if not codes:
            continue
        counts = np.array([[side[name].get(code, MIN_CELL - 1) for code in [*codes, ""]] for side in (new, old)])
        totals = counts.sum(axis=1)
        share = np.maximum(counts / totals[:, None], SMALLEST_SHARE)
        index = float(((share[0] - share[1]) * np.log(share[0] / share[1])).sum())
        # the quantile of chi-squared; scipy.stats has it by name and takes half a second of every command to import
        chance = special.chdtri(len(codes), CHANCE) * (1 / totals).sum()
        found[name] = {"index": index, "limit": max(MAX_INDEX, float(chance))}
    return found


def _interval(quality: Mapping[str, Any]) -> str:
    return str(Interval(quality["value"], quality["low"], quality["high"]))

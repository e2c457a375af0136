"""A fitted logistic risk and its examples in, odds ratios with intervals out: what the model says, to be read.

The odds ratio of feature j is exp(b_j / spread_j) for yes against no, exp(b_j) for one standard deviation of a number.
Its 95% interval is exp(b +- 1.96 s) with s from the sandwich (Huber 1967; Liang & Zeger 1986)

    H^-1 (sum over persons of u u') H^-1,  H = sum_i p_i (1 - p_i) z_i z_i' + penalty,  u = sum of a person's (y - p) z

so that several rows of one person do not count as several people. The penalty draws ratios towards 1, and the
uncertainty of what was imputed is not in the interval. A ratio is an association in these patients, never an effect.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from recommender.risk.models import LogisticRisk
from recommender.risk.table import RiskTable

NORMAL = 1.959964  # 97.5% of the standard normal distribution


def odds_ratios(model: LogisticRisk, table: RiskTable) -> pd.DataFrame:
    """feature, per, known (share of the examples in which it is), odds_ratio, low, high; the strongest first."""
    z, values = model.standardised(table.inputs.values), table.inputs.values
    z = np.hstack([z, np.ones((len(z), 1))])
    p = model.probability(values)
    bread = (z * (p * (1 - p))[:, None]).T @ z
    n_slopes = len(model.slopes)
    bread[np.arange(n_slopes), np.arange(n_slopes)] += model.used[0]
    _, who = np.unique(table.person.astype(str), return_inverse=True)
    scores = np.zeros((int(who.max()) + 1, z.shape[1]))
    np.add.at(scores, who, z * (table.outcome - p)[:, None])
    inverse = np.linalg.pinv(bread)
    error = np.sqrt(np.diag(inverse @ (scores.T @ scores) @ inverse).clip(min=0))
    features = table.inputs.features
    known = 1 - np.isnan(values).mean(axis=0)
    names = [(f.name, _per(f.kind, model.spread[j], f.unit), known[j]) for j, f in enumerate(features)]
    yes = [f.kind != "number" for f in features]
    for j in model.marked:
        names.append((f"{features[j].name}: not known", "yes against no", 1.0))
        yes.append(True)
    rows = []
    for j, (name, per, share) in enumerate(names):
        if not model.spread[j] > 0 or (error[j] == 0 and model.slopes[j] == 0):
            continue  # it was the same of everybody
        scale = 1 / model.spread[j] if yes[j] else 1.0
        slope, s = model.slopes[j] * scale, error[j] * scale
        rows.append(
            {"feature": name, "per": per, "known": share, "odds_ratio": np.exp(slope)}
            | {"low": np.exp(slope - NORMAL * s), "high": np.exp(slope + NORMAL * s), "strength": abs(model.slopes[j])}
        )
    columns = ["feature", "per", "known", "odds_ratio", "low", "high", "strength"]
    found = pd.DataFrame(rows, columns=columns).sort_values("strength", ascending=False, kind="stable")
    return found.drop(columns="strength").reset_index(drop=True)


def _per(kind: str, spread: float, unit: str) -> str:
    return f"{spread:.3g}{' ' + unit if unit else ''} more (one SD)" if kind == "number" else "yes against no"

"""The risk models: values (n, n_features) with NaN where missing in, log-odds and their exact parts out.

`logistic`: each missing value is put at the median and marked (scikit-learn's SimpleImputer), all is brought to mean
0 and spread 1 (StandardScaler), and log-odds = intercept + sum_j z_j b_j are fitted by maximum likelihood with an L2
penalty on b (LogisticRegression), chosen by the log-loss on inner folds. `boosted`, its challenger: gradient boosting
of small trees (Friedman, Annals of Statistics 2001; GradientBoostingClassifier) on the same imputed values.
`one-variable` and `constant` are what they must beat. scikit-learn (Pedregosa et al., JMLR 2011) fits; what is kept and
scored with are plain arrays, never a pickle, and a test holds both to the same figures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, ClassVar, Self

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from recommender.evaluation.split import folds_of
from recommender.models.base import Fields, unlearned

PENALTIES = (
    1.0,
    3.0,
    10.0,
    30.0,
    100.0,
    300.0,
)  # of squared coefficients of standardised inputs: see docs/evaluation.md
INNER_FOLDS = 5
FEW = 0.5  # added to both sides of the odds, so that they stay finite


def none_learned() -> np.ndarray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class RiskModel(Fields, ABC):
    """Fields after `KW_ONLY` are what was learned, those before the settings; `fit` gives a new model."""

    name: ClassVar[str]

    @abstractmethod
    def fit(self, values: np.ndarray, outcome: np.ndarray, person: np.ndarray | None = None) -> Self:
        """values (n, n_features) float64, outcome (n,) bool, both of which occur; person (n,): whose each row is, None:
        each of another."""

    @abstractmethod
    def parts(self, values: np.ndarray) -> tuple[float, np.ndarray]:
        """The log-odds where nothing is known apart from the average, and what each feature of each row adds to it:
        (n, n_features) float64. Together they are the log-odds."""

    def probability(self, values: np.ndarray) -> np.ndarray:  # (n,) float64
        base, parts = self.parts(values)
        return _sigmoid(base + parts.sum(axis=1))


@dataclass(frozen=True, eq=False)
class ConstantRisk(RiskModel):
    """The share of the training examples that had the outcome, for everybody."""

    name: ClassVar[str] = "constant"
    _: KW_ONLY
    base: np.ndarray = field(default_factory=unlearned)  # (1,) float64

    def fit(self, values: np.ndarray, outcome: np.ndarray, person: np.ndarray | None = None) -> Self:
        return replace(self, base=np.array([np.log((outcome.sum() + FEW) / ((~outcome).sum() + FEW))]))

    def parts(self, values: np.ndarray) -> tuple[float, np.ndarray]:
        return float(self.base[0]), np.zeros(values.shape)


@dataclass(frozen=True, eq=False)
class ImputedRisk(RiskModel):
    """medians (n_features,): what a missing value is taken for, 0 where all are missing; marked (m,): the features
    that were missing of some and not of others, of which a column says so."""

    _: KW_ONLY
    medians: np.ndarray = field(default_factory=unlearned)
    marked: np.ndarray = field(default_factory=none_learned)

    def _prepared(self, values: np.ndarray) -> np.ndarray:
        """(n, n_features + m): the values without gaps, then the marks."""
        missing = np.isnan(values)
        return np.hstack([np.where(missing, self.medians, values), missing[:, self.marked]])

    def _by_feature(self, parts: np.ndarray) -> np.ndarray:
        """(n, n_features + m) -> (n, n_features): that it was not measured belongs to the feature."""
        found = parts[:, : len(self.medians)].copy()
        found[:, self.marked] += parts[:, len(self.medians) :]
        return found

    def _imputed(self, values: np.ndarray) -> tuple[Self, np.ndarray]:
        """With what was learned of gaps; and the values prepared by scikit-learn, which a test compares."""
        from sklearn.impute import SimpleImputer  # a second to import, only needed to fit

        imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True).fit(values)
        medians = np.nan_to_num(imputer.statistics_).astype(np.float64)
        missing = np.isnan(values).mean(axis=0)
        marked = np.flatnonzero((missing > 0) & (missing < 1))
        learned = replace(self, medians=medians, marked=marked)
        return learned, learned._prepared(values)


@dataclass(frozen=True, eq=False)
class LogisticRisk(ImputedRisk):
    """`penalty` is 1 / C: that of the squared coefficients of standardised inputs; None: the one of PENALTIES with the
    least log-loss on inner folds. used (1,): the one fitted with; centre, spread, slopes (n_features + m,) float64;
    intercept (1,)."""

    name: ClassVar[str] = "logistic"
    penalty: float | None = None
    _: KW_ONLY
    used: np.ndarray = field(default_factory=unlearned)
    centre: np.ndarray = field(default_factory=unlearned)
    spread: np.ndarray = field(default_factory=unlearned)
    slopes: np.ndarray = field(default_factory=unlearned)
    intercept: np.ndarray = field(default_factory=unlearned)

    def fit(self, values: np.ndarray, outcome: np.ndarray, person: np.ndarray | None = None) -> Self:
        from sklearn.preprocessing import StandardScaler  # a second to import, only needed to fit

        learned, prepared = self._imputed(values)
        scaler = StandardScaler().fit(prepared)
        z = scaler.transform(prepared)
        penalty = self.penalty or _best_penalty(z, outcome, np.arange(len(z)) if person is None else person)
        slopes, intercept = _fitted(z, outcome, penalty)
        return replace(
            learned,
            used=np.array([penalty]),
            centre=scaler.mean_,
            spread=scaler.scale_,
            slopes=slopes,
            intercept=intercept,
        )

    def standardised(self, values: np.ndarray) -> np.ndarray:  # (n, n_features + m)
        return np.asarray((self._prepared(values) - self.centre) / self.spread)

    def parts(self, values: np.ndarray) -> tuple[float, np.ndarray]:
        return float(self.intercept[0]), self._by_feature(self.standardised(values) * self.slopes)


@dataclass(frozen=True, eq=False)
class OneVariableRisk(LogisticRisk):
    """The same from the one feature that tells most in the training examples (by its AUC, either way)."""

    name: ClassVar[str] = "one-variable"
    _: KW_ONLY
    chosen: np.ndarray = field(default_factory=none_learned)  # (1,)

    def fit(self, values: np.ndarray, outcome: np.ndarray, person: np.ndarray | None = None) -> Self:
        from sklearn.metrics import roc_auc_score

        prepared = self._imputed(values)[1]
        tells = [abs(roc_auc_score(outcome, column) - 0.5) for column in prepared[:, : values.shape[1]].T]
        best = int(np.argmax(tells))
        alone = np.full_like(values, np.nan)
        alone[:, best] = values[:, best]
        return replace(super().fit(alone, outcome, person), chosen=np.array([best]))

    def _prepared(self, values: np.ndarray) -> np.ndarray:
        if len(self.chosen):
            alone = np.full_like(values, np.nan)
            alone[:, self.chosen] = values[:, self.chosen]
            values = alone
        return super()._prepared(values)


@dataclass(frozen=True, eq=False)
class BoostedRisk(ImputedRisk):
    """`trees` of `depth` levels, each fitted to half of the examples, drawn by the seed, and shrunk by `rate`.

    left, right, feature (n_trees, n_nodes) int32, left -1 at a leaf; threshold, mean (n_trees, n_nodes) float64: mean
    of what the leaves below add, weighted by their examples; base (1,).
    """

    name: ClassVar[str] = "boosted"
    trees: int = 200
    depth: int = 3
    rate: float = 0.05
    leaf: int = 20
    seed: int = 0
    _: KW_ONLY
    left: np.ndarray = field(default_factory=none_learned)
    right: np.ndarray = field(default_factory=none_learned)
    feature: np.ndarray = field(default_factory=none_learned)
    threshold: np.ndarray = field(default_factory=unlearned)
    mean: np.ndarray = field(default_factory=unlearned)
    base: np.ndarray = field(default_factory=unlearned)

    def fit(self, values: np.ndarray, outcome: np.ndarray, person: np.ndarray | None = None) -> Self:
        from sklearn.ensemble import GradientBoostingClassifier  # a second to import, only needed to fit

        learned, prepared = self._imputed(values)
        fitted = GradientBoostingClassifier(
            n_estimators=self.trees,
            max_depth=self.depth,
            learning_rate=self.rate,
            min_samples_leaf=min(self.leaf, max(1, len(outcome) // 10)),
            subsample=0.5,
            random_state=self.seed,
        ).fit(prepared, outcome)
        trees = [one.tree_ for one in fitted.estimators_[:, 0]]
        shape = (len(trees), max(tree.node_count for tree in trees))
        left, right, feature = (np.full(shape, -1, dtype=np.int32) for _ in range(3))
        threshold, mean = np.zeros(shape), np.zeros(shape)
        for place, tree in enumerate(trees):
            n = tree.node_count
            left[place, :n], right[place, :n] = tree.children_left, tree.children_right
            feature[place, :n], threshold[place, :n] = tree.feature, tree.threshold
            mean[place, :n] = self.rate * _means(tree)
        share = outcome.mean()
        base = np.array([np.log(share / (1 - share))])
        return replace(learned, left=left, right=right, feature=feature, threshold=threshold, mean=mean, base=base)

    def parts(self, values: np.ndarray) -> tuple[float, np.ndarray]:
        """What a feature adds: the changes of the mean at the splits by it, from the root to the leaf (Saabas 2014)."""
        prepared = self._prepared(values).astype(np.float32)  # as scikit-learn compares
        found = np.zeros(prepared.shape)
        _walk(prepared, self.left, self.right, self.feature, self.threshold, self.mean, found)
        return float(self.base[0] + self.mean[:, 0].sum()), self._by_feature(found)


def _fitted(z: np.ndarray, outcome: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (n_columns,) and intercept (1,)."""
    from sklearn.linear_model import LogisticRegression

    with threadpool_limits(1):  # the same bytes on any number of cores
        fitted = LogisticRegression(C=1 / penalty, max_iter=5_000, tol=1e-8).fit(z, outcome)
    return fitted.coef_[0], fitted.intercept_


def _best_penalty(z: np.ndarray, outcome: np.ndarray, person: np.ndarray) -> float:
    """The strongest of equals; the strongest of all where the examples cannot be split so that both outcomes are in."""
    folds = folds_of(person, INNER_FOLDS) if len(np.unique(person)) >= INNER_FOLDS else []
    folds = [fold for fold in folds if outcome[fold.train].any() and not outcome[fold.train].all()]
    loss = dict.fromkeys(sorted(PENALTIES, reverse=True), 0.0)
    for penalty in loss:
        for fold in folds:
            slopes, intercept = _fitted(z[fold.train], outcome[fold.train], penalty)
            log_odds = (z[fold.test] @ slopes + intercept) * np.where(outcome[fold.test], -1, 1)
            loss[penalty] += float(np.logaddexp(0, log_odds).sum())
    return min(loss, key=loss.__getitem__)


def _means(tree: Any) -> np.ndarray:  # (n_nodes,) float64
    """What the leaves below each node say, on average over the examples that fell there; children follow parents."""
    mean, weight = tree.value[:, 0, 0].astype(np.float64), tree.weighted_n_node_samples
    for node in range(tree.node_count - 1, -1, -1):
        left, right = tree.children_left[node], tree.children_right[node]
        if left >= 0:
            mean[node] = (mean[left] * weight[left] + mean[right] * weight[right]) / (weight[left] + weight[right])
    return mean


@numba.njit(cache=True, nogil=True)
def _walk(
    values: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    mean: np.ndarray,
    parts: np.ndarray,
) -> None:
    for row in range(len(values)):
        for tree in range(len(left)):
            node = 0
            while left[tree, node] >= 0:
                at = feature[tree, node]
                child = left[tree, node] if values[row, at] <= threshold[tree, node] else right[tree, node]
                parts[row, at] += mean[tree, child] - mean[tree, node]
                node = child


def _sigmoid(log_odds: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -500, 500))))


RISK_MODELS: dict[str, type[RiskModel]] = {
    model.name: model for model in (LogisticRisk, BoostedRisk, OneVariableRisk, ConstantRisk)
}

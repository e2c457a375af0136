"""Ranked targets, or scores, and what was truly given in; one figure an example out.

An example is one patient at one moment. What was given later (or was hidden) is called relevant, and every relevant
treatment counts, also one that the model cannot suggest. k is the length at which a list is cut.
"""

from __future__ import annotations

import numpy as np


def hits(places: np.ndarray, given: np.ndarray) -> np.ndarray:  # (n, k) bool
    """Whether the target at each place was relevant. places (n, k) int: targets best first, -1 beyond the end of a
    list; given (n, n_targets) bool."""
    return np.take_along_axis(given, np.maximum(places, 0), axis=1) & (places >= 0)


# --- of lists: hit (n, k) bool, relevant (n,) int of 1 or more -> (n,) float64 ---------------------------------------


def recall(hit: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Hits over all that was relevant, which can be more than k: then even a perfect list stays below 1."""
    return np.asarray(hit.sum(axis=1) / relevant)


def capped_recall(hit: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Hits over min(k, relevant): a perfect list has 1. Papers call either of the two recall@k."""
    return np.asarray(hit.sum(axis=1) / np.minimum(hit.shape[1], relevant))


def precision(hit: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Hits over k, also where the list is shorter."""
    return np.asarray(hit.mean(axis=1))


def hit_rate(hit: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    return np.asarray(hit.any(axis=1), dtype=np.float64)


def reciprocal_rank(hit: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """1 / place of the first hit, 0 without one."""
    return np.where(hit.any(axis=1), 1 / (hit.argmax(axis=1) + 1), 0.0)


def average_precision(hit: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Precision at the place of each hit, added up, over min(k, relevant). Its mean is MAP@k."""
    place = np.arange(1, hit.shape[1] + 1)
    return np.asarray((hit * hit.cumsum(axis=1) / place).sum(axis=1) / np.minimum(hit.shape[1], relevant))


def ndcg(hit: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Jarvelin & Kekalainen (2002): gain 1, discount log2(place + 1); ideal: min(k, relevant) hits first."""
    discount = 1 / np.log2(np.arange(2, hit.shape[1] + 2))
    ideal = np.cumsum(discount)[np.minimum(relevant, hit.shape[1]) - 1]
    return np.asarray(hit @ discount / ideal)


LIST_METRICS = {
    "ndcg": ndcg,
    "recall": recall,
    "capped_recall": capped_recall,
    "precision": precision,
    "map": average_precision,
    "mrr": reciprocal_rank,
    "hit_rate": hit_rate,
}


def weighted_recall(places: np.ndarray, given: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Recall in which a treatment counts 1 / `frequency` (n_targets,): the rare ones decide. Unseen ones count 1."""
    weight = 1 / np.maximum(frequency, 1)
    found = (hits(places, given) * weight[np.maximum(places, 0)]).sum(axis=1)
    return np.asarray(found / (given @ weight))


# --- of scores (n, n_targets), -inf where nothing may be suggested; given (n, n_targets) bool ----------------------


def pr_auc(scores: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve of each example: precision at the place of each relevant target, added up,
    over all that was relevant. Ties go to the lower target."""
    order = np.argsort(-scores, axis=1, kind="stable")
    hit = np.take_along_axis(given, order, axis=1) & np.isfinite(np.take_along_axis(scores, order, axis=1))
    place = np.arange(1, scores.shape[1] + 1)
    return np.asarray((hit * hit.cumsum(axis=1) / place).sum(axis=1) / given.sum(axis=1))


def set_metrics(chosen: np.ndarray, given: np.ndarray) -> dict[str, np.ndarray]:
    """Of the sets chosen (n, n_targets) bool: Jaccard, F1 and size. Of two empty sets there is nothing to compare, but
    every example has something relevant."""
    both, size, relevant = (chosen & given).sum(axis=1), chosen.sum(axis=1), given.sum(axis=1)
    return {
        "jaccard": both / (size + relevant - both),
        "f1": 2 * both / (size + relevant),
        "size": size.astype(np.float64),
    }


def best_threshold(scores: np.ndarray, given: np.ndarray, steps: int = 50) -> float:
    """The score above which choosing gives the best mean Jaccard: of `steps` quantiles of the relevant targets' scores.

    To be looked for on examples other than those that are then judged. Without any relevant target it is infinite.
    """
    of_given = scores[given & np.isfinite(scores)]
    if not len(of_given):
        return float("inf")
    candidates = np.unique(np.quantile(of_given, np.linspace(0, 1, steps)))
    jaccards = [set_metrics(scores >= at, given)["jaccard"].mean() for at in candidates]
    return float(candidates[int(np.argmax(jaccards))])

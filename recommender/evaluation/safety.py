"""An `Evaluation` and a screen in; how unsafe what was given and what is listed is, and what screening costs, out.

Lists are compared at two lengths: as long as what was truly begun (so that none has more chances to be wrong), and of
ten. What a chart holds against a listed drug is counted by family of rules, and pairs within a list apart. A rate is
over all lists; a pair rate pools the pairs of all lists, those of fewer than two drugs add none, and without any pair
it is undefined (NaN), never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import pandas as pd

from recommender.evaluation import metrics
from recommender.evaluation.bootstrap import Interval, intervals
from recommender.evaluation.compare import Evaluation, K
from recommender.matrix import Column
from recommender.moments import Moments
from recommender.ranking import DEPTH, SPARE, places
from recommender.records import Records
from recommender.safety.charts import Charts, read_charts
from recommender.safety.kernel import CONTRAINDICATED
from recommender.safety.kinds import RANK
from recommender.safety.rules import FAMILIES
from recommender.safety.screen import Read, Screen
from recommender.safety.sets import WEIGHTS, greedy, pair_rank
from recommender.safety.tables import ragged

COSTS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
TOLD = ("contraindicated", "serious")
LONGEST = 60  # of a list of what was begun


@dataclass(frozen=True)
class Bench:
    """What lists are judged with: the charts at the moments of the tested lists, and the drugs that may be listed.

    columns (n_targets,): what the targets are; ptr, parts: the ingredients of those that can interact with others.
    """

    screen: Screen
    read: Read
    charts: Charts
    columns: tuple[Column, ...]
    ptr: np.ndarray
    parts: np.ndarray


def bench_of(evaluation: Evaluation, records: Records, screen: Screen) -> Bench:
    trial, tested = evaluation.trial, evaluation.tested
    moments = Moments(trial.person, trial.when, trial.until, trial.earlier)
    charts = _at(records, screen, moments, tested)
    columns = tuple(trial.taught.index.columns[ix] for ix in trial.taught.index.targets)
    drugs = screen.candidates(columns, charts.known)
    in_body = ragged(
        () if local else drugs.parts[first:end].tolist()
        for first, end, local in zip(drugs.ptr[:-1], drugs.ptr[1:], drugs.local, strict=True)
    )
    return Bench(screen, screen.read(charts.known), charts, columns, *in_body)


def _at(records: Records, screen: Screen, moments: Moments, tested: np.ndarray) -> Charts:
    """Charts in the order of the tested examples; moments must be in order of patient to be read."""
    order = np.argsort(tested, kind="stable")
    charts = read_charts(records, screen.observed, moments.take(tested[order]))
    return charts.take(np.argsort(order, kind="stable"))


def safety_table(evaluation: Evaluation, model: str, records: Records, screen: Screen) -> pd.DataFrame:
    """A row for each list at each length: its figures by the names of `figures_of`, and what it finds."""
    bench = bench_of(evaluation, records, screen)
    scores = evaluation.judged[model].scores
    given = evaluation.given
    drug = np.array([column.kind == "drug" for column in bench.columns])
    given, scores = given & drug, np.where(drug, scores, -np.inf)
    begun = given.sum(axis=1)
    longest = int(min(LONGEST, max(K, begun.max(initial=0))))
    ranked = places(scores.astype(np.float32), DEPTH + SPARE)
    tiers = _ranks(bench, ranked)
    lists = {"unscreened": ranked[:, :longest]}
    for cost in COSTS:
        lists[f"screened, cost {cost:g}"] = served(bench, ranked, scores, tiers, longest, cost)
    rows = []
    truth = _truth(given, longest)
    for length, cut in (("as begun", np.minimum(begun, longest)), (f"{K}", np.full(len(begun), K))):
        named = {"truly begun": truth, **lists} if length == "as begun" else lists
        for name, chosen in named.items():
            shown = np.where(np.arange(longest) < cut[:, None], chosen, -1)
            rows.append({"length": length, "list": name, **figures_of(bench, shown)})
            if length != "as begun":
                rows[-1] |= _found(evaluation, shown[:, :K], ranked[:, :K], given)
    return pd.DataFrame(rows)


def served(
    bench: Bench, ranked: np.ndarray, scores: np.ndarray, tiers: np.ndarray, longest: int, cost: float
) -> np.ndarray:
    """The lists (n, longest) as they would be served; -1 beyond their end. ranked (n, depth): candidates best first;
    scores (n, n_targets); tiers (n, depth) uint8."""
    inter = bench.screen.arrays.inter
    return _served(inter, bench.ptr, bench.parts, ranked, scores.astype(np.float64), tiers, longest, DEPTH, cost,
                   WEIGHTS)  # fmt: skip


def figures_of(bench: Bench, shown: np.ndarray) -> dict[str, float]:
    """Per 100 lists: drugs with a warning by severity and family, and pairs within a list by severity; and the share of
    all pairs that is serious or contraindicated. shown (n, k): targets, -1 beyond the end."""
    n = len(shown)
    figures: dict[str, float] = {"drugs": float((shown >= 0).sum() / n)}
    for family in ("", *FAMILIES):
        rank = _ranks(bench, shown, family)
        for severity in TOLD:
            figures[f"{family} {severity}".strip()] = float(100 * (rank == RANK[severity]).sum() / n)
    pairs, counts = _pairs(bench.screen.arrays.inter, bench.ptr, bench.parts, shown)
    for severity in TOLD:
        figures[f"pairs {severity}"] = float(100 * counts[RANK[severity]] / n)
    figures["pair rate"] = float(sum(counts[RANK[name]] for name in TOLD) / pairs) if pairs else float("nan")
    return figures


def _found(evaluation: Evaluation, shown: np.ndarray, unscreened: np.ndarray, given: np.ndarray) -> dict[str, Interval]:
    """What the lists find of what was begun, and what screening costs, paired."""
    relevant = evaluation.given.sum(axis=1)
    figures = []
    for chosen in (shown, unscreened):
        hit = metrics.hits(chosen, given)
        figures.append(np.stack([metrics.ndcg(hit, relevant), metrics.recall(hit, relevant)], axis=1))
    mine, plain = figures
    told = intervals(np.hstack([mine, mine - plain]), evaluation.person, evaluation.seed)
    return dict(zip(("ndcg", "recall", "ndcg gain", "recall gain"), told, strict=True))


def _ranks(bench: Bench, shown: np.ndarray, family: str = "") -> np.ndarray:
    """The strictest rank (n, k) uint8 of what a chart holds against each listed drug; 0 beyond the end of a list."""
    real = shown >= 0
    list_ptr = np.concatenate([[0], np.cumsum(real.sum(axis=1))])
    tiers = bench.screen.tiers(bench.read, bench.charts, bench.columns, list_ptr, shown[real], family=family)
    rank = np.zeros(shown.shape, dtype=np.uint8)
    rank[real] = tiers.rank
    return rank


def _truth(given: np.ndarray, longest: int) -> np.ndarray:
    """What was begun (n, longest) as lists; their order means nothing."""
    found = np.full((len(given), longest), -1)
    row, target = given.nonzero()
    place = np.arange(len(row)) - np.concatenate([[0], np.cumsum(given.sum(axis=1))])[row]
    fits = place < longest
    found[row[fits], place[fits]] = target[fits]
    return found


@numba.njit(cache=True, nogil=True)
def _served(
    inter: np.ndarray,
    parts_ptr: np.ndarray,
    parts: np.ndarray,
    ranked: np.ndarray,
    scores: np.ndarray,
    tiers: np.ndarray,
    longest: int,
    depth: int,
    cost: float,
    weights: np.ndarray,
) -> np.ndarray:
    found = np.full((len(ranked), longest), -1)
    for row in range(len(ranked)):
        free = np.flatnonzero((ranked[row] >= 0) & (tiers[row] < CONTRAINDICATED))[:depth]
        chosen = ranked[row][free]
        ptr, of = np.zeros(len(free) + 1, np.int64), np.empty(8 * len(free), np.int32)
        for k, target in enumerate(chosen):
            mine = parts[parts_ptr[target] : parts_ptr[target + 1]][:8]
            ptr[k + 1] = ptr[k] + len(mine)
            of[ptr[k] : ptr[k + 1]] = mine
        none = np.zeros(len(free), np.bool_)
        order, _ = greedy(inter, scores[row][chosen], tiers[row][free], none, ptr, of, longest, cost, weights)
        found[row, : len(order)] = chosen[order]
    return found


@numba.njit(cache=True, nogil=True)
def _pairs(inter: np.ndarray, parts_ptr: np.ndarray, parts: np.ndarray, shown: np.ndarray) -> tuple[int, np.ndarray]:
    """All pairs of drugs within the lists, and how many interact with each rank (4,)."""
    pairs, counts = 0, np.zeros(4, np.int64)
    for row in range(len(shown)):
        mine = shown[row][shown[row] >= 0]
        for a in range(len(mine)):
            for b in range(a):
                one, other = (
                    parts[parts_ptr[mine[a]] : parts_ptr[mine[a] + 1]],
                    parts[parts_ptr[mine[b]] : parts_ptr[mine[b] + 1]],
                )
                pairs += 1
                counts[pair_rank(inter, one, other)] += 1
    return pairs, counts


def as_markdown(table: pd.DataFrame, length: str, columns: Sequence[str]) -> str:
    """The rows of one length for people; a change comes with its interval."""
    rows = table[table["length"] == length][["list", *columns]]
    lines = ["| " + " | ".join(rows.columns) + " |", "|---" * len(rows.columns) + "|"]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows.itertuples(index=False)]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "undefined" if np.isnan(value) else f"{value:.1f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3f}"
    return str(value)

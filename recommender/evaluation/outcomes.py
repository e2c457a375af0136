"""Probabilities of an event in, how well they foresaw it out: AUC, PR-AUC, Brier, accuracy, by group of patients.

Ranks are compared within a fold alone, where one fitted model gave all of them: pooled, even a model that says the same
of everybody would seem worse than chance, as its share is low in just those folds whose training patients had few
events. A fold counts by its pairs (AUC) or its events (PR-AUC).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from recommender.evaluation.bootstrap import Interval, draws, intervals
from recommender.evaluation.breakdown import MIN_PATIENTS, gaps
from recommender.evaluation.calibrate import equal_mass, expected_error, reliability_of

MAIN = "auc"
MIN_EVENTS = 10  # events, and as many without: below it a group's AUC says nothing
CUT = 0.5  # of accuracy
RANKED = ("auc", "pr_auc")


@dataclass(frozen=True)
class Foreseen:
    """What models said of the same held-out examples. outcome (n,) bool; person (n,): whose; fold (n,) int;
    probability: model -> (n,) float64."""

    outcome: np.ndarray
    person: np.ndarray
    fold: np.ndarray
    seed: int
    probability: Mapping[str, np.ndarray]

    def summary(self, model: str) -> dict[str, Interval]:
        """auc, pr_auc, brier, accuracy (at CUT), and observed_to_expected: events over the sum of probabilities."""
        probability = self.probability[model]
        means = np.stack([(probability - self.outcome) ** 2, (probability >= CUT) == self.outcome], axis=1)
        brier, accuracy = intervals(means, self.person, self.seed)
        ratio = intervals(self.outcome[:, None], self.person, self.seed, probability[:, None])[0]
        ranked = {name: self._interval(name, model) for name in RANKED}
        return {**ranked, "brier": brier, "accuracy": accuracy, "observed_to_expected": ratio}

    def gain(self, model: str, other: str, metric: str = MAIN) -> Interval:
        """How much higher the AUC or PR-AUC of `model` is than that of `other`, paired."""
        everyone = np.ones((len(self.outcome), 1), dtype=bool)
        mine, theirs = (self._figures(metric, name, everyone)[:, 0] for name in (model, other))
        return _interval(mine - theirs)

    def calibration(self, model: str) -> pd.DataFrame:
        """pairs, patients, predicted, value, low, high of ten bins of one size."""
        probability = self.probability[model]
        return reliability_of(equal_mass(probability), probability, self.outcome, self.person, self.seed).drop(
            columns="bin"
        )

    def error(self, model: str) -> float:
        """Expected calibration error in ten bins of one size."""
        return expected_error(self.probability[model], self.outcome)

    def by_group(self, of: pd.DataFrame, model: str) -> pd.DataFrame:
        """attribute, group, examples, patients, events; of each group with MIN_PATIENTS, and MIN_EVENTS with and
        without the event: value (AUC) to distinguishable as in `breakdown.by_group`, brier, observed, predicted."""
        probability, rows = self.probability[model], []
        for attribute in of:
            frame = pd.DataFrame({"group": of[attribute], "person": self.person, "event": self.outcome})
            sizes = frame.groupby("group")
            table = pd.DataFrame(
                {"examples": sizes.size(), "patients": sizes["person"].nunique(), "events": sizes["event"].sum()}
            ).reset_index()
            few = np.minimum(table["events"], table["examples"] - table["events"])
            large = ((table["patients"] >= MIN_PATIENTS) & (few >= MIN_EVENTS)).to_numpy()
            table = table.assign(attribute=attribute)
            if large.any():
                member = of[attribute].to_numpy()[:, None] == table["group"].to_numpy()[None, large]
                figures = self._figures(MAIN, model, member)
                found = [_interval(one) for one in figures.T]
                for name in ("value", "low", "high"):
                    table.loc[large, name] = [getattr(one, name) for one in found]
                table.loc[large, "brier"] = [((probability - self.outcome)[one] ** 2).mean() for one in member.T]
                table.loc[large, "observed"] = [self.outcome[one].mean() for one in member.T]
                table.loc[large, "predicted"] = [probability[one].mean() for one in member.T]
                if large.sum() > 1:
                    value = figures[0]
                    for name, column in gaps(value, figures[1:] - value, table["group"][large]).items():
                        table.loc[large, name] = column
            rows.append(table)
        columns = ["attribute", "group", "examples", "patients", "events", "value", "low", "high", "brier", "observed"]
        columns += ["predicted", "best", "gap", "gap_low", "gap_high", "distinguishable"]
        return pd.concat(rows or [pd.DataFrame()], ignore_index=True).reindex(columns=columns)

    def _interval(self, metric: str, model: str) -> Interval:
        return _interval(self._figures(metric, model, np.ones((len(self.outcome), 1), dtype=bool))[:, 0])

    def _figures(self, metric: str, model: str, member: np.ndarray) -> np.ndarray:
        """(1 + RESAMPLES, n_groups): the figure of each group, member (n, n_groups) bool, and that of each draw."""
        _, who = np.unique(self.person, return_inverse=True)
        n_persons = int(who.max()) + 1
        ranking = [
            Ranking.of(self.probability[model][self.fold == k], self.outcome[self.fold == k])
            for k in np.unique(self.fold)
        ]
        mine = [(who[self.fold == k], member[self.fold == k]) for k in np.unique(self.fold)]
        found = []
        for times in (np.ones((1, n_persons)), *draws(n_persons, self.seed)):
            block = np.empty((len(times), member.shape[1]))
            for group in range(member.shape[1]):
                parts = [
                    one.figure(metric, times[:, people] * inside[:, group])
                    for one, (people, inside) in zip(ranking, mine, strict=True)
                ]
                block[:, group] = _together(parts)
            found.append(block)
        return np.concatenate(found)


@dataclass(frozen=True)
class Ranking:
    """Examples in order of their score. order (n,); event (n,) float64 in that order; starts: of runs of equals."""

    order: np.ndarray
    event: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, outcome: np.ndarray) -> Ranking:
        order = np.argsort(scores, kind="stable")
        starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
        return cls(order, outcome[order].astype(np.float64), starts)

    def figure(self, metric: str, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The figure times what it counts by, and what it counts by, both (n_draws,); weight (n_draws, n)."""
        weight = weight[:, self.order]
        events = np.add.reduceat(weight * self.event, self.starts, axis=1)
        others = np.add.reduceat(weight * (1 - self.event), self.starts, axis=1)
        if metric == "auc":  # pairs in the right order, a tie as half of one (Hanley & McNeil 1982)
            below = others.cumsum(axis=1) - others
            return (events * (below + others / 2)).sum(axis=1), events.sum(axis=1) * others.sum(axis=1)
        found, shown = (part[:, ::-1].cumsum(axis=1) for part in (events, events + others))
        precision = np.divide(found, shown, out=np.zeros_like(found), where=shown > 0)
        return (events[:, ::-1] * precision).sum(axis=1), events.sum(axis=1)  # average precision


def _together(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    above, below = (np.sum([part[place] for part in parts], axis=0) for place in (0, 1))
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def _interval(figures: np.ndarray) -> Interval:
    """The first is the figure, the others are its draws."""
    low, high = np.nanpercentile(figures[1:], [2.5, 97.5])
    return Interval(float(figures[0]), float(low), float(high))

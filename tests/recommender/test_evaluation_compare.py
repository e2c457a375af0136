"""Models side by side on the same examples: who can get full marks, who gets none, and what chance explains."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
from scipy import sparse

from recommender.errors import TrainingError
from recommender.evaluation import bootstrap
from recommender.evaluation.bootstrap import Interval, intervals, resampled
from recommender.evaluation.compare import evaluate
from recommender.evaluation.split import Fold, folds_of
from recommender.evaluation.trial import Trial
from recommender.matrix import Block, Column, ColumnIndex, PatientMatrix
from recommender.models.base import AdditiveModel
from recommender.models.directed import DirectedModel
from recommender.models.popularity import PopularityModel

N_DRUGS = 6


def trial_of(known, later, person=None, repeats=False):
    """known, later (n, N_DRUGS) 0 or 1. What will follow stands in the rows as conditions, for whoever can read it."""
    later, known = np.asarray(later, dtype=np.float32), np.asarray(known, dtype=np.float32)
    n = len(later)
    columns = [Column(f"d{i}", "drug", f"d{i}", "") for i in range(N_DRUGS)]
    columns += [Column(f"c{i}", "condition", f"c{i}", "") for i in range(N_DRUGS)]
    columns += [Column("baseline", "baseline", "", "")]
    blocks = (
        Block("treatments", 0, N_DRUGS),
        Block("conditions", N_DRUGS, 2 * N_DRUGS),
        Block("baseline", 2 * N_DRUGS, 2 * N_DRUGS + 1),
    )
    index = ColumnIndex(tuple(columns), blocks, np.arange(N_DRUGS, dtype=np.int32))
    rows = sparse.csr_matrix(np.hstack([known, later, np.ones((n, 1), dtype=np.float32)]))
    new = sparse.csr_matrix(later * (known == 0) if not repeats else later)
    person = np.arange(n) if person is None else np.asarray(person)
    matrix = PatientMatrix(rows, index, person.astype(str).astype(object), new, sparse.csr_matrix(later))
    relevant = sparse.csr_matrix((new.data.astype(bool), new.indices, new.indptr), shape=rows.shape)
    zeros = np.zeros(n, dtype=np.int64)
    site = np.full(n, "", dtype=object)
    return Trial("started", "", matrix, matrix, relevant, person, zeros, zeros, zeros, site, repeats)


def two_wards(n=300, seed=0):
    """Each ward has its own three drugs and tells which ward it is by the conditions."""
    rng = np.random.default_rng(seed)
    ward = rng.integers(0, 2, n)
    later = np.zeros((n, N_DRUGS))
    for row, of in enumerate(ward):
        later[row, 3 * of : 3 * of + 3] = rng.random(3) < 0.7
    return trial_of(np.zeros((n, N_DRUGS)), later)


@dataclass(frozen=True, eq=False)
class Told(AdditiveModel):
    """Reads the answers, and scores them by `sign`; `blind` targets get `value` instead."""

    name: ClassVar[str] = "told"
    blind: tuple[int, ...] = ()
    value: float = np.nan
    fitted: list = field(default_factory=list)

    def fit(self, matrix):
        self.fitted.append(matrix)
        return self

    def score(self, rows):
        found = rows[:, N_DRUGS : 2 * N_DRUGS].toarray()
        found[:, list(self.blind)] = self.value
        return np.ascontiguousarray(found[:, self.fitted[-1].index.targets])


class TestEvaluate:
    def test_who_knows_the_answers_gets_full_marks(self):
        trial = two_wards()
        told = evaluate([Told()], trial, folds_of(trial.person)).summary("told")
        assert {told[name].value for name in ("ndcg", "recall", "capped_recall", "map", "mrr", "pr_auc")} == {1}
        assert {told[name].value for name in ("rare_recall", "jaccard", "f1", "hit_rate")} == {1}

    def test_context_beats_popularity_where_conditions_decide(self):
        trial = two_wards()
        evaluation = evaluate([DirectedModel(), PopularityModel()], trial, folds_of(trial.person))
        gain = evaluation.gain("directed", "popularity")
        assert gain.low > 0
        assert gain.excludes_zero
        summaries = [evaluation.summary(name)["ndcg"].value for name in ("directed", "popularity")]
        assert gain.value == pytest.approx(summaries[0] - summaries[1])
        assert evaluation.gain("popularity", "directed").value == pytest.approx(-gain.value)

    def test_the_seed_decides_and_nothing_else(self):
        trial = two_wards()
        models = [DirectedModel(), PopularityModel()]
        one, same, other = (
            evaluate(models, trial, folds_of(trial.person, seed=seed), seed=seed).summary("directed")
            for seed in (1, 1, 2)
        )
        assert one == same
        assert one != other

    def test_examples_with_nothing_to_find_are_set_aside_and_scored(self):
        later = np.eye(N_DRUGS)[np.arange(60) % N_DRUGS]
        later[::3] = 0
        trial = trial_of(np.zeros_like(later), later)
        evaluation = evaluate([Told()], trial, folds_of(trial.person))
        assert sorted([*evaluation.tested, *evaluation.idle]) == list(range(60))
        assert np.array_equal(np.sort(evaluation.idle), np.arange(0, 60, 3))
        assert len(evaluation.judged["told"].figures) == len(evaluation.fold) == len(evaluation.given) == 40
        assert evaluation.judged["told"].idle_scores.shape == (20, N_DRUGS)
        assert len(evaluation.idle_fold) == 20

    def test_what_training_hardly_had_is_not_suggested_and_still_counts(self):
        later = np.zeros((40, N_DRUGS))
        later[:, 0] = 1
        later[:2, 1] = 1  # two examples in all: never three in training
        trial = trial_of(np.zeros_like(later), later)
        evaluation = evaluate([Told()], trial, folds_of(trial.person))
        judged = evaluation.judged["told"]
        assert (judged.scores[:, 1:] == -np.inf).all()
        first = np.isin(evaluation.tested, [0, 1])
        assert judged.figures["recall"][first].tolist() == [0.5, 0.5]
        assert judged.figures["recall"][~first].unique().tolist() == [1]
        assert evaluation.frequency[:, 1].max() == 2
        assert judged.coverage == 1 / N_DRUGS

    def test_a_score_that_is_no_number_never_ranks(self):
        trial = two_wards()
        for value in (np.nan, np.inf, -np.inf):
            judged = evaluate([Told((0, 1), value)], trial, folds_of(trial.person)).judged["told"]
            assert (judged.scores[:, :2] == -np.inf).all()
        blind = evaluate([Told(tuple(range(N_DRUGS)))], trial, folds_of(trial.person))
        assert {one.value for one in blind.summary("told").values()} == {0}
        assert blind.judged["told"].coverage == 0

    @pytest.mark.parametrize("repeats", [False, True])
    def test_what_stands_on_the_chart_is_named_only_where_repeats_count(self, repeats):
        known = np.zeros((60, N_DRUGS))
        known[:, 0] = 1
        later = np.zeros((60, N_DRUGS))
        later[:, :2] = 1
        trial = trial_of(known, later, repeats=repeats)
        evaluation = evaluate([Told()], trial, folds_of(trial.person))
        named = np.isfinite(evaluation.judged["told"].scores[:, 0])
        assert named.all() if repeats else not named.any()
        assert evaluation.given[:, 0].all() == repeats
        assert evaluation.summary("told")["recall"].value == 1

    def test_a_model_learns_from_the_training_examples_alone(self):
        trial = two_wards(50)
        model, folds = Told(), folds_of(trial.person, 2)
        evaluate([model], trial, folds)
        assert [set(seen.patient_ids) for seen in model.fitted] == [set(fold.train.astype(str)) for fold in folds]

    def test_the_threshold_of_a_single_fold_comes_from_other_people(self):
        later = np.eye(N_DRUGS)[np.arange(60) % 3]
        trial = trial_of(np.zeros_like(later), later, person=2 * np.arange(60))  # all even
        evaluation = evaluate([Told()], trial, [Fold(np.arange(30), np.arange(30, 60))])
        assert evaluation.summary("told")["jaccard"].value == 1
        part = evaluation.apart(np.array([4, 4, 8, 10]), np.zeros(4))
        assert part[0] == part[1]
        assert set(part) == {0, 1}

    def test_nothing_to_find_is_an_error_in_words(self):
        trial = trial_of(np.zeros((20, N_DRUGS)), np.zeros((20, N_DRUGS)))
        with pytest.raises(TrainingError, match="anything to find"):
            evaluate([Told()], trial, folds_of(trial.person))

    def test_the_account_is_whole(self):
        trial = two_wards(60)
        done = []
        models = [PopularityModel(), Told()]
        account = evaluate(models, trial, folds_of(trial.person), progress=done.append).as_dict()
        assert done == [1, 1]
        assert account["tested"] + account["nothing_to_find"] == account["examples"] == 60
        assert account["patients"] == account["tested"]
        assert account["folds"] == 5
        assert list(account["gain"]) == ["told"]
        assert account["models"]["told"]["ndcg"] == {"value": 1.0, "low": 1.0, "high": 1.0}


class TestBootstrap:
    def test_it_agrees_with_the_central_limit_theorem(self):
        values = np.random.default_rng(0).normal(1.0, 2.0, (1_000, 1))
        (interval,) = intervals(values, np.arange(1_000), seed=5)
        half_width = 1.96 * values.std() / np.sqrt(1_000)
        assert interval.value == pytest.approx(values.mean())
        assert interval.high - interval.value == pytest.approx(half_width, rel=0.1)
        assert interval.value - interval.low == pytest.approx(half_width, rel=0.1)

    def test_it_is_seeded(self):
        values, person = np.random.default_rng(0).random((50, 2)), np.arange(50)
        assert intervals(values, person, 1) == intervals(values, person, 1)
        assert intervals(values, person, 1) != intervals(values, person, 2)

    def test_two_persons_by_hand(self):
        # one has a 0, the other three 1s: drawn twice the one 0, twice the other 1, once each 3 of 4
        drawn = resampled(np.array([[0.0], [1.0], [1.0], [1.0]]), np.array([7, 3, 3, 3]), seed=0)
        assert set(drawn.ravel().tolist()) == {0.0, 0.75, 1.0}
        shares = [(drawn == value).mean() for value in (0.0, 0.75, 1.0)]
        assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.04)

    def test_examples_of_a_person_are_drawn_together(self):
        rng = np.random.default_rng(0)
        of_person = rng.normal(size=100)
        ten_each = np.repeat(of_person, 10)[:, None]
        (alone,) = intervals(of_person[:, None], np.arange(100), 0)
        (together,) = intervals(ten_each, np.repeat(np.arange(100), 10), 0)
        (naive,) = intervals(ten_each, np.arange(1_000), 0)
        assert together == Interval(*(pytest.approx(v) for v in (alone.value, alone.low, alone.high)))
        assert naive.high - naive.low < 0.5 * (together.high - together.low)

    def test_draws_are_paired(self):
        rng = np.random.default_rng(0)
        values = rng.normal(size=(200, 1))
        person = rng.integers(0, 60, 200)
        one, other = resampled(values, person, 3), resampled(values + 0.1, person, 3)
        assert np.allclose(other - one, 0.1)
        both = resampled(np.hstack([values, values + 0.1]), person, 3)
        assert np.allclose(both, np.hstack([one, other]))

    def test_a_share_is_of_what_counts(self):
        values = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
        out_of = np.array([[1.0, 0.0], [1.0, 4.0], [0.0, 4.0]])
        found = intervals(values, np.arange(3), 0, out_of)
        assert [one.value for one in found] == [0.5, 0.25]
        drawn = resampled(values, np.arange(3), 0, out_of)
        assert np.isnan(drawn[:, 0]).mean() == pytest.approx(1 / 27, abs=0.02)  # the last person three times
        ones = np.ones_like(values)
        assert np.array_equal(resampled(values, np.arange(3), 0, ones), resampled(values, np.arange(3), 0))

    def test_the_number_of_draws(self):
        assert resampled(np.ones((2, 1)), np.arange(2), 0).shape == (bootstrap.RESAMPLES, 1)
        assert str(Interval(0.5, 0.25, 0.75)) == "0.500 (0.250 to 0.750)"
        assert not Interval(0.5, 0.0, 0.75).excludes_zero
        assert Interval(-0.5, -0.75, -0.25).excludes_zero

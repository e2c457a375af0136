"""What the gate refuses, with the reason in words, and what it lets pass; and the figures that it goes by, by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from data.synthetic import write_hospital
from recommender.evaluation.bootstrap import Interval
from recommender.evaluation.compare import evaluate
from recommender.evaluation.split import folds_of
from recommender.evaluation.trial import make_trial
from recommender.features import build_matrix
from recommender.gate import compared, coverage_of, folded, inputs_of, paired_gain, quality_of
from recommender.loaders import load
from recommender.models.directed import DirectedModel
from recommender.models.popularity import PopularityModel
from recommender.pipeline import make_snapshot
from recommender.safety.charts import Known
from recommender.safety.screen import Screen
from recommender.snapshot import Release

SCREEN = Screen.load()


class ShuffledModel(DirectedModel):
    """Learns what followed of someone else."""

    def fit(self, matrix):
        other = np.random.default_rng(0).permutation(matrix.n_patients)
        return super().fit(replace(matrix, later=matrix.later[other], began=None))


class BlindToMen(DirectedModel):
    """Has been given no man's history, and says the contrary of what it knows of them."""

    column: int

    def fit(self, matrix):
        codes = [column.code for column in matrix.index.columns]
        object.__setattr__(self, "column", codes.index("sex:M"))
        fitted = super().fit(matrix)
        object.__setattr__(fitted, "column", self.column)
        return fitted

    def score(self, rows):
        scores = super().score(rows)
        return np.where(rows[:, [self.column]].toarray() > 0, -scores, scores)


class Night:
    """A night of one hospital: its records, and the manifest of each model that could be published."""

    def __init__(self, records):
        self.records = records
        self.trial = make_trial(records, "started")
        self.folds = folds_of(self.trial.person)

    def evaluation(self, model):
        return evaluate([model, PopularityModel()], self.trial, self.folds)

    def manifest(self, model, records=None, matrix=None, evaluation=None):
        records = records or self.records
        evaluation = evaluation or self.evaluation(model)
        provenance = {
            "quality": quality_of(evaluation, model.name, "popularity", records),
            "inputs": inputs_of(records),
        }
        matrix = build_matrix(records) if matrix is None else matrix
        snapshot = make_snapshot(records, matrix, model, "v2", provenance, SCREEN)
        coverage = coverage_of(snapshot.release.index, snapshot.top)
        return {**snapshot.release.manifest, "coverage": coverage}

    def gain(self, model, served):
        return paired_gain(self.evaluation(model), model.name, served, self.trial, self.folds)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hospital") / "sample"
    write_hospital(folder, patients=500, seed=11)
    return Night(load("synthea", folder, vocabulary=None))


@pytest.fixture(scope="module")
def served(night):
    model = DirectedModel()
    return Release("v1", night.manifest(model), night.trial.taught.index, model, Known(()))


def reasons(manifest, served, gain=None):
    return compared(manifest, served, gain, "").reasons


def without(records, **tables):
    return replace(records, **tables)


class TestWholeNights:
    def test_a_model_as_good_passes_and_everything_measured_is_told(self, night, served):
        model = DirectedModel(strength=0.9)
        verdict = compared(night.manifest(model), served, night.gain(model, served.model), "")
        assert verdict.reasons == ()
        told = verdict.as_dict()
        assert (told["compared_with"], told["passed"]) == ("v1", True)
        assert told["gain"]["low"] < told["gain"]["high"]
        assert set(told["population_stability"]) == {"treatments", "conditions", "sex", "age", "race"}
        assert {"quality", "counts", "coverage"} <= set(told)

    def test_one_that_learned_from_shuffled_data_is_refused(self, night, served):
        model = ShuffledModel()
        found = reasons(night.manifest(model), served, night.gain(model, served.model))
        assert any("worse than the served configuration's on the same patients: by -0." in one for one in found)
        assert any("fell from 0." in one for one in found)

    def test_one_that_leaves_a_group_behind_is_refused(self, night, served):
        found = reasons(night.manifest(BlindToMen()), served)
        assert any("the group sex male stays behind the best group by 0." in one for one in found)
        assert not any("sex female" in one for one in found)

    def test_one_with_half_its_catalogue_missing_is_refused(self, night, served):
        matrix = build_matrix(night.records)
        half = matrix.with_targets(np.arange(0, len(matrix.index.targets), 2))
        manifest = night.manifest(DirectedModel(), matrix=half, evaluation=night.evaluation(DirectedModel()))
        n = len(matrix.index.targets)
        found = reasons(manifest, served)
        assert any(one.startswith(f"treatments that can be suggested: {(n + 1) // 2}, 50% fewer") for one in found)

    def test_another_kind_of_patients_is_refused(self, night, served):
        old = night.records.patients.assign(birth_date=night.records.patients["birth_date"].min())
        manifest = {**served.manifest, "inputs": inputs_of(replace(night.records, patients=old))}
        assert [one.split(":")[0] for one in reasons(manifest, served)] == [
            "age are distributed otherwise than on the night of the served version"
        ]

    def test_conditions_that_came_under_other_codes_are_refused(self, night, served):
        concepts = night.records.concepts.copy()
        other = (concepts["kind"] == "condition") & (concepts.index % 2 == 0)
        concepts["code"] = concepts["code"].where(~other, "new:" + concepts["code"])
        manifest = {**served.manifest, "inputs": inputs_of(replace(night.records, concepts=concepts))}
        assert [one.split()[0] for one in reasons(manifest, served)] == ["conditions"]

    def test_the_first_version_passes(self, served):
        verdict = compared(served.manifest, None, None, "this is the first version")
        assert verdict.as_dict() == {
            "compared_with": "nothing to compare with: this is the first version",
            "passed": True,
            "reasons": [],
        }

    def test_a_version_from_before_there_was_a_gate_is_compared_by_what_it_tells(self, served):
        bare = {"counts": served.manifest["counts"], "quality": {"value": 0.3, "low": 0.2, "high": 0.4}}
        assert reasons(served.manifest, replace(served, manifest=bare)) == ()

    def test_no_small_cell_is_told(self, served):
        for counts in served.manifest["inputs"].values():
            assert all(count == 0 or count >= 11 for count in counts.values())
        assert all(group["patients"] >= 20 for group in served.manifest["quality"]["groups"])


OLD = {
    "quality": {"protocol": "p", "value": 0.3, "low": 0.28, "high": 0.32, "groups": []},
    "counts": {"patients": 1_000, "treatments_events": 5_000},
    "coverage": {"suggestable": 100, "listed": 80, "patients_with_list": 1_000},
}


def group(gap, low, high, value=0.3):
    return {
        "attribute": "race",
        "group": "asian",
        "patients": 50,
        "value": value,
        "low": value - 0.02,
        "high": value + 0.02,
        "gap": gap,
        "gap_low": low,
        "gap_high": high,
    }


class TestByHand:
    served = Release("v1", OLD, None, None, None)

    def refused(self, gain=None, **parts):
        return reasons({**OLD, **parts}, self.served, gain)

    def with_group(self, now, then):
        served = replace(self.served, manifest={**OLD, "quality": {**OLD["quality"], "groups": [then]}})
        return reasons({**OLD, "quality": {**OLD["quality"], "groups": [now]}}, served)

    @pytest.mark.parametrize(
        ("gain", "n"), [((-0.02, -0.03, -0.01), 1), ((-0.02, -0.05, 0.01), 0), ((0.1, 0.0, 0.2), 0)]
    )
    def test_worse_beyond_the_paired_interval(self, gain, n):
        assert len(self.refused(Interval(*gain))) == n

    @pytest.mark.parametrize(("value", "n"), [(0.25, 1), (0.27, 0), (0.4, 0)])
    def test_worse_than_on_the_night_of_the_served_version(self, value, n):
        now = {**OLD["quality"], "value": value, "low": value - 0.02, "high": value + 0.02}
        assert len(self.refused(quality=now)) == n
        assert not self.refused(quality={**now, "protocol": "another question"})

    def test_quality_that_can_no_longer_be_measured(self):
        assert "was for the served version: no visits" in self.refused(quality={"not_assessed": "no visits"})[0]

    @pytest.mark.parametrize(
        ("now", "then", "n"),
        [
            (group(0.08, 0.06, 0.10), group(0.02, 0.00, 0.05), 1),  # grew beyond what it may have been
            (group(0.08, 0.04, 0.12), group(0.02, 0.00, 0.05), 0),
            (group(0.01, -0.02, 0.03), group(0.08, 0.06, 0.10), 0),  # shrank
            (group(0.08, 0.03, 0.10), group(None, None, None), 1),  # was the best; could have been 0.02 less
            (group(0.08, 0.01, 0.10), group(None, None, None), 0),
            (group(None, None, None), group(0.08, 0.06, 0.10), 0),  # is the best now
        ],
    )
    def test_a_gap_that_grew(self, now, then, n):
        assert len(self.with_group(now, then)) == n

    @pytest.mark.parametrize(
        ("part", "name", "now", "n"),
        [
            ("counts", "patients", 799, 1),
            ("counts", "patients", 800, 0),
            ("counts", "treatments_events", 3_999, 1),
            ("coverage", "suggestable", 79, 1),
            ("coverage", "listed", 63, 1),
            ("coverage", "listed", 64, 0),
            ("coverage", "patients_with_list", 500, 1),
            ("counts", "patients", 100_000, 0),
        ],
    )
    def test_a_fall_of_more_than_a_fifth(self, part, name, now, n):
        found = self.refused(**{part: {**OLD[part], name: now}})
        assert len(found) == n
        told = round(now, -1) if name.startswith("patients") else now
        assert not n or f"{told:,}, " in found[0]

    def test_population_stability_index(self):
        """(0.6 - 0.4) ln(0.6 / 0.4) + (0.4 - 0.6) ln(0.4 / 0.6) = 0.4 ln 1.5 = 0.162; of 0.8 and 0.4: 0.717."""

        def index(women, men):
            served = replace(self.served, manifest={"inputs": {"sex": {"F": 4_000, "M": 6_000, "": 0}}})
            verdict = compared({"inputs": {"sex": {"F": women, "M": men, "": 0}}}, served, None, "")
            return verdict.measured["population_stability"]["sex"]["index"], len(verdict.reasons)

        assert index(6_000, 4_000) == (pytest.approx(0.4 * np.log(1.5)), 0)
        expected = 0.4 * np.log(0.8 / 0.4) + 0.4 * np.log(0.6 / 0.2)
        assert index(8_000, 2_000) == (pytest.approx(expected), 1)

    def test_few_patients_are_not_taken_at_their_word(self):
        rng = np.random.default_rng(0)
        draws = [rng.multinomial(120, [1 / 60] * 60) + 11 for _ in range(2)]
        old, new = ({"inputs": {"conditions": {f"c{i}": int(n) for i, n in enumerate(draw)}}} for draw in draws)
        verdict = compared(new, replace(self.served, manifest=old), None, "")
        assert verdict.reasons == ()

    def test_where_all_isfolded_nothing_is_compared(self):
        verdict = compared(
            {"inputs": {"sex": {"": 0}}}, replace(self.served, manifest={"inputs": {"sex": {"": 12}}}), None, ""
        )
        assert verdict.measured["population_stability"] == {}

    def test_small_cells_arefolded(self):
        assert folded(pd.Series({"a": 30, "b": 11, "c": 10, "d": 3})) == {"a": 30, "b": 11, "": 13}
        assert folded(pd.Series({"a": 30, "c": 10})) == {"a": 30, "": 0}

"""A chart sent live gives the list that the night published for it; a "what if" changes what it should, and no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from data.synthetic import write_hospital
from recommender.features import build_matrix
from recommender.live import Told, entry_of, records_of, with_added
from recommender.loaders import load
from recommender.models.directed import DirectedModel
from recommender.offer import Desk
from recommender.pipeline import make_snapshot
from recommender.records import Records
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen
from recommender.vocabulary import DrugVocabulary

THERAPIES = ("drug", "procedure", "care_plan")
SCREEN = Screen.load()
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def alone(records: Records, patient_ix: int) -> Records:
    """One patient's records, as a request would bring them."""

    def mine(events: pd.DataFrame) -> pd.DataFrame:
        part = events[events["patient_ix"] == patient_ix]
        return part.assign(patient_ix=np.zeros(len(part), dtype=np.int32)).reset_index(drop=True)

    people = records.patients.iloc[[patient_ix]].reset_index(drop=True)
    tables = {name: mine(getattr(records, name)) for name in ("treatments", "conditions", "allergies", "observations")}
    return Records(patients=people, concepts=records.concepts, log=records.log, **tables)


class Hospital:
    def __init__(self, records: Records):
        self.records = records
        self.snapshot = make_snapshot(records, build_matrix(records), DirectedModel(), "v1", {}, SCREEN)
        self.desk = Desk(self.snapshot.release, SCREEN, Indications.load(), 0.2)

    def same_list_live(self, patient_ix: int) -> bool:
        """Item for item, score for score, warning for warning."""
        entry = self.snapshot.entry(patient_ix)
        cached = self.desk.offer(entry, self.desk.reading(entry.chart), 10, THERAPIES)
        sent, reading = entry_of(self.desk, alone(self.records, patient_ix), self.desk.release.known.untold)
        live = self.desk.offer(sent, reading, 10, THERAPIES)
        assert np.array_equal(sent.columns, entry.columns) and np.array_equal(sent.scores, entry.scores)
        assert live.items == cached.items
        assert live.withheld == cached.withheld
        assert live.therapy == cached.therapy
        return True


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    folder = tmp_path_factory.mktemp("hospital") / "sample"
    write_hospital(folder, patients=400, seed=5)
    return Hospital(load("synthea", folder, vocabulary=DrugVocabulary.load()))


def test_a_chart_sent_live_gives_the_published_list(sample: Hospital) -> None:
    assert all(sample.same_list_live(patient_ix) for patient_ix in range(0, 400, 4))


@pytest.mark.real_data
def test_the_charts_of_mimic_iv_sent_live_give_the_published_lists(real_data) -> None:
    hospital = Hospital(load("mimic", real_data / "mimic_iv_demo", vocabulary=DrugVocabulary.load()))
    assert all(hospital.same_list_live(patient_ix) for patient_ix in range(hospital.records.n_patients))


def told(*entries: Told) -> Records:
    return records_of(entries, NOW, SCREEN.vocabulary, birth_date=datetime(1956, 1, 1, tzinfo=UTC), sex="F")


def test_a_chart_of_names_and_codes_is_understood() -> None:
    records = told(
        Told("drug", "", "Warfarin 5 mg tablet"),
        Told("condition", "icd10cm:E11.9", ""),
        Told("allergy", "", "penicillin"),
        Told("observation", "loinc:2160-0", "", start=NOW - timedelta(days=3), value=106.1, unit="umol/L"),
    )
    assert records.concepts["code"].tolist() == ["text:penicillin", "icd10cm:E11.9", "rxnorm:11289", "loinc:2160-0"]
    assert records.observations["value"].tolist() == pytest.approx([1.2], abs=0.01)  # mg/dL
    assert records.patients["as_of"].tolist() == [pd.Timestamp(NOW)]


def test_a_chart_without_anything_usable_is_refused() -> None:
    nobody_knows_when = Told("drug", "rxnorm:6809", "metformin", start=datetime(1900, 1, 1, tzinfo=UTC))
    assert not len(told(nobody_knows_when).treatments)


def test_an_allergy_added_withholds_what_it_forbids_and_changes_no_other_score(sample: Hospital) -> None:
    desk = sample.desk
    amoxicillin = next(ix for ix, c in enumerate(desk.release.index.columns) if c.name == "amoxicillin")
    tried = 0
    for patient_ix in range(400):
        entry = sample.snapshot.entry(patient_ix)
        before = desk.offer(entry, desk.reading(entry.chart), 50, ("drug",))
        if amoxicillin not in [item.column_ix for item in before.items]:
            continue
        changed, reading = with_added(desk, entry, told(Told("allergy", "", "penicillin")), 0)
        after = desk.offer(changed, reading, 50, ("drug",))
        assert amoxicillin not in [item.column_ix for item in after.items]
        (withheld,) = [one for one in after.withheld if one.candidate.column_ix == amoxicillin]
        assert withheld.candidate.verdict.alerts[0].rule.id == "allergy-penicillin"
        scores = {item.column_ix: item.score for item in before.items}
        assert all(scores.get(item.column_ix, item.score) == item.score for item in after.items)
        tried += 1
    assert tried >= 5


def test_a_value_added_counts_instead_of_the_old_one_and_is_as_old_as_it_is_told_to_be(sample: Hospital) -> None:
    desk, metformin = sample.desk, "metformin"
    column = next(c for c in desk.release.index.columns if c.name == metformin)
    for patient_ix in range(20):
        entry = sample.snapshot.entry(patient_ix)
        for value, outcome in ((25.0, "withheld"), (90.0, "kept")):
            egfr = Told("observation", "loinc:98979-8", "", start=NOW - timedelta(days=2), value=value)
            _, reading = with_added(desk, entry, told(egfr), elapsed=500)
            verdict = reading.verdict(column)
            mine = [alert for alert in verdict.alerts if alert.rule.id == "egfr-metformin-30"]
            assert [alert.because.endswith("2 days old") for alert in mine] == ([True] if outcome == "withheld" else [])
            assert not any("filtration" in gap.about for gap in verdict.gaps)


def test_a_drug_added_moves_the_list_and_is_no_longer_suggested(sample: Hospital) -> None:
    desk = sample.desk
    entry = sample.snapshot.entry(3)
    offer = desk.offer(entry, desk.reading(entry.chart), 10, ("drug",))
    first = desk.release.index.columns[offer.items[0].column_ix]
    changed, reading = with_added(desk, entry, told(Told("drug", first.code, first.name)), 0)
    after = desk.offer(changed, reading, 10, ("drug",))
    assert offer.items[0].column_ix not in [item.column_ix for item in after.items]
    assert first.code in [verdict.drug.code for verdict in after.therapy]

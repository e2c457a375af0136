"""The shipped safety rules are whole and say what their sources say; a table that is broken in any way is refused."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import data.safety
from recommender.errors import EngineError, InputError, RulesMissing
from recommender.safety import FAMILIES, Rules
from recommender.safety.renal import ckd_epi_2021, cockcroft_gault
from recommender.safety.table import COLUMNS, SHIPPED
from recommender.vocabulary import ConditionVocabulary, DrugVocabulary

FOLDER = Path(data.safety.__file__).parent

# The fifteen pairs of SAFETY.md, written out by hand: what must fire, and nothing else.
MAOI = "tranylcypromine phenelzine isocarboxazid procarbazine selegiline"
PI = "ritonavir nelfinavir atazanavir indinavir saquinavir amprenavir darunavir lopinavir tipranavir"
MAC = "clarithromycin erythromycin telithromycin"
SLOW = "amiodarone verapamil diltiazem ketoconazole itraconazole fluconazole voriconazole nefazodone"
ONC = {
    "onc-01": (
        "dexmethylphenidate dextroamphetamine methylphenidate lisdexamfetamine methamphetamine phendimetrazine"
        " pseudoephedrine amphetamine benzphetamine diethylpropion phentermine atomoxetine",
        MAOI,
    ),
    "onc-02": ("atazanavir", "omeprazole lansoprazole pantoprazole rabeprazole esomeprazole dexlansoprazole"),
    "onc-03": ("febuxostat", "azathioprine mercaptopurine"),
    "onc-04": (
        "fluoxetine paroxetine citalopram escitalopram sertraline fluvoxamine duloxetine nefazodone desvenlafaxine"
        " milnacipran venlafaxine",
        MAOI,
    ),
    "onc-05": ("irinotecan", f"{PI} fosamprenavir {MAC} {SLOW} aprepitant cimetidine"),
    "onc-06": ("meperidine methadone tapentadol fentanyl tramadol dextromethorphan", MAOI),
    "onc-07": (
        "amitriptyline clomipramine desipramine doxepin imipramine nortriptyline protriptyline trimipramine",
        MAOI,
    ),
    "onc-09": ("ramelteon", "fluvoxamine amiodarone ticlopidine ciprofloxacin"),
    "onc-10": (
        f"{PI} fosamprenavir",
        "bosentan rifapentine carbamazepine rifabutin rifampin St_John's_wort",
    ),
    "onc-11": ("simvastatin lovastatin", f"{PI} {MAC} {SLOW}"),
    "onc-12": (
        "ergotamine methylergonovine dihydroergotamine ergonovine",
        f"{PI} {MAC} ketoconazole itraconazole voriconazole",
    ),
    "onc-13": ("tizanidine", "ciprofloxacin fluvoxamine mexiletine propafenone zileuton amiodarone ticlopidine"),
    "onc-14": ("tranylcypromine", "procarbazine"),
    "onc-15": (
        "sumatriptan zolmitriptan rizatriptan",
        "tranylcypromine phenelzine isocarboxazid moclobemide methylene_blue",
    ),
}


@pytest.fixture(scope="module")
def vocabulary() -> DrugVocabulary:
    return DrugVocabulary.load()


@pytest.fixture(scope="module")
def rules(vocabulary: DrugVocabulary) -> Rules:
    return Rules.load(vocabulary=vocabulary)


@pytest.fixture(scope="module")
def load(vocabulary: DrugVocabulary) -> Callable[..., Rules]:
    conditions = ConditionVocabulary.load()
    return lambda folder=None, site=None: Rules.load(folder, site=site, vocabulary=vocabulary, conditions=conditions)


def code(vocabulary: DrugVocabulary, name: str) -> str:
    match = vocabulary.match(name.replace("_", " "))
    assert match.status == "mapped" and match.method in ("exact", "synonym"), name
    return match.code


def rule_starting(rules: Rules, start: str):
    found = [rule for rule in rules.interactions if rule.id.startswith(start + "-")]
    assert len(found) == 1
    return found[0]


class TestShipped:
    def test_every_table_loads_and_there_is_enough(self, rules: Rules) -> None:
        assert sum(not rule.id.startswith("onc-") for rule in rules.interactions) >= 150
        assert len(rules.conditions) >= 60
        assert len(rules.populations) >= 60 and len(rules.labs) >= 100
        assert len(rules.allergies) >= 40 and len(rules.duplicates) >= 50
        assert rules.counts["pairs"] == rules.pairs.severity.nnz // 2 > 10_000
        assert rules.reviewed == (date(2026, 11, 22), date(2026, 11, 22))
        assert re.fullmatch(r"[0-9a-f]{16}", rules.version)

    def test_every_rule_says_what_to_know_and_to_do_in_sentences(self, rules: Rules) -> None:
        for rule in rules.by_id.values():
            for text in (rule.message, rule.management):
                assert text[0].isupper() or text[0].isdigit() or text.startswith("eGFR"), rule.id
                assert text.endswith(".") and len(text) <= 200, rule.id
            assert len(rule.source) >= 4
            if isinstance(rule.source, str) and "doi" in rule.source:
                assert re.search(r"doi 10\.\d{4,}/\S+", rule.source), rule.id

    def test_every_set_and_measure_is_used(self, rules: Rules) -> None:
        text = "".join((FOLDER / name).read_text() for name in SHIPPED)
        assert [name for name in rules.sets if not re.search(rf"set:{name}(?![a-z0-9-])", text)] == []
        assert {rule.measure for rule in rules.labs} == set(rules.measures)
        assert {rule.state for rule in rules.populations} == {"", *rules.states}

    @pytest.mark.parametrize("pair", ONC)
    def test_an_onc_pair_is_exactly_its_members_and_fires_in_both_orders(
        self, rules: Rules, vocabulary: DrugVocabulary, pair: str
    ) -> None:
        left, right = ({code(vocabulary, name) for name in side.split()} for side in ONC[pair])
        rule = rule_starting(rules, pair)
        assert (rule.left, rule.right) == (left, right)
        assert rule.severity == "contraindicated" and "PMC3422823" in rule.source
        for one in left:
            for other in right - {one}:
                for first, second in ((one, other), (other, one)):
                    strictest = rules.between(first, second)[0]
                    assert strictest.severity == "contraindicated"
                    assert rule in rules.between(first, second) or strictest.effect == rule.effect

    def test_qt_is_drugs_that_a_label_names_against_each_other(self, rules: Rules, vocabulary: DrugVocabulary) -> None:
        rule = rule_starting(rules, "onc-08")
        assert rule.left == rule.right and len(rule.left) > 80 and rule.severity == "serious"
        for name in ("haloperidol", "ondansetron", "amiodarone", "azithromycin", "citalopram", "methadone"):
            assert code(vocabulary, name) in rule.left
        assert code(vocabulary, "palonosetron") not in rule.left

    @pytest.mark.parametrize(
        ("one", "other"), [("rifampicin", "darunavir"), ("pethidine", "phenelzine"), ("salbutamol", "levalbuterol")]
    )
    def test_us_and_international_names_are_one(self, rules: Rules, vocabulary: DrugVocabulary, one, other) -> None:
        codes = code(vocabulary, one), code(vocabulary, other)
        same = [rule for rule in rules.duplicates if set(codes) <= rule.drugs]
        assert rules.between(*codes) or same

    def test_a_drug_and_its_own_pairs(self, rules: Rules, vocabulary: DrugVocabulary) -> None:
        warfarin, ibuprofen = code(vocabulary, "warfarin"), code(vocabulary, "ibuprofen")
        assert rules.interactions_of(warfarin)[ibuprofen][0] == "anticoagulant-nsaid"
        assert rules.interactions_of(ibuprofen)[warfarin][0] == "anticoagulant-nsaid"
        assert rules.interactions_of("drug:nobody") == {}
        assert warfarin not in rules.interactions_of(warfarin)

    def test_the_pair_table_is_symmetrical_and_agrees_with_the_rules(self, rules: Rules) -> None:
        severity = rules.pairs.severity
        assert (severity != severity.T).nnz == 0 and severity.diagonal().sum() == 0
        rng = np.random.default_rng(5)
        rows, columns = severity.nonzero()
        for k in rng.choice(len(rows), 300, replace=False):
            one, other = rules.pairs.ingredients[rows[k]], rules.pairs.ingredients[columns[k]]
            found = rules.between(one, other)
            assert max(rule.rank for rule in found) == severity[rows[k], columns[k]]
            assert all((one in r.left and other in r.right) or (other in r.left and one in r.right) for r in found)

    def test_products_are_taken_apart(self, rules: Rules, vocabulary: DrugVocabulary) -> None:
        entresto = vocabulary.match("sacubitril/valsartan")
        assert set(rules.ingredients_of(entresto.code)) == set(entresto.ingredients)
        mixture = vocabulary.match("warfarin / metformin")  # no product of the tables
        assert set(rules.ingredients_of(mixture.code)) == {code(vocabulary, "warfarin"), code(vocabulary, "metformin")}
        assert rules.ingredients_of("text:blue pill") == ()

    def test_what_is_frozen_stays(self, rules: Rules) -> None:
        with pytest.raises(ValueError, match="read-only"):
            rules.pairs.rule[0] = 1
        with pytest.raises(TypeError):
            rules.sets["new"] = frozenset()  # type: ignore[index]


class TestAllergyRecords:
    @pytest.mark.parametrize(
        ("text", "groups"),
        [
            ("PENICILLINS", {"penicillins"}),
            ("Allergy to penicillin (finding)", {"penicillins"}),
            ("pcn", {"penicillins"}),
            ("snomed:91936005", {"penicillins"}),
            ("snomed:294505008", {"penicillins", "aminopenicillins", "amoxicillin"}),
            ("Sulfa drugs", {"sulfonamide-antibiotics"}),
            ("penicillin, sulfa", {"penicillins", "sulfonamide-antibiotics"}),
            ("shellfish", {"shellfish"}),
            ("NKDA", {"none-known"}),
        ],
    )
    def test_what_words_and_codes_mean(self, rules: Rules, vocabulary: DrugVocabulary, text: str, groups) -> None:
        found = rules.allergy(text, text, vocabulary)
        assert found is not None and found.complete and found.groups == groups

    def test_what_nobody_understands_is_no_all_clear(self, rules: Rules, vocabulary: DrugVocabulary) -> None:
        assert rules.allergy("text:see cerner", "see cerner", vocabulary) is None
        half = rules.allergy("", "penicillin and xqzzol", vocabulary)
        assert half is not None and not half.complete


class TestKidneys:
    def test_values_worked_out_by_hand(self) -> None:
        # man of 60, creatinine 3.0: 142 * (3/0.9)^-1.2 * 0.9938^60 = 142 * 0.2358 * 0.6886 = 23.1
        assert ckd_epi_2021(3.0, 60, False) == pytest.approx(23.1, abs=0.1)
        # woman of 50, creatinine 0.7: 142 * 1 * 0.9938^50 * 1.012 = 142 * 0.7328 * 1.012 = 105.3
        assert ckd_epi_2021(0.7, 50, True) == pytest.approx(105.3, abs=0.1)
        # man of 60, 72 kg, creatinine 1: (140 - 60) * 72 / 72 = 80; a woman 85% of it
        assert cockcroft_gault(1.0, 60, 72, False) == pytest.approx(80)
        assert cockcroft_gault(1.0, 60, 72, True) == pytest.approx(68)

    def test_what_cannot_be_worked_out_is_nan(self) -> None:
        assert np.isnan(ckd_epi_2021([np.nan, 1.0], [50, 12], [True, True])).all()
        assert np.isnan(cockcroft_gault(1.0, 60, np.nan, False))


# --- broken tables ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "rules"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


ENDING = ["A message.", "Do this.", "FDA label X, section 4", "2026-11-22"]
PAIR = ["x-1", "serious", "metformin", "docusate", "bleeding", "Why.", *ENDING]
BROKEN: list[tuple[str, list[str], str, str]] = [
    # file, row to add, field that the error names, what it says
    ("interactions.csv", [*PAIR[:2], "metforminx", *PAIR[3:]], "left", "no ingredient"),
    ("interactions.csv", [*PAIR[:2], "Glucophage", *PAIR[3:]], "left", "no ingredient"),
    ("interactions.csv", [*PAIR[:2], "class:Biguanides", *PAIR[3:]], "left", "no class"),
    ("interactions.csv", [*PAIR[:2], "set:nobody", *PAIR[3:]], "left", "no set"),
    ("interactions.csv", [*PAIR[:2], "group:x", *PAIR[3:]], "left", "only class: and set:"),
    ("interactions.csv", [*PAIR[:2], "", *PAIR[3:]], "left", "names no drug"),
    ("interactions.csv", [*PAIR[:2], "metformin|!warfarin", *PAIR[3:]], "left", "takes out"),
    ("interactions.csv", [*PAIR[:3], "metformin", *PAIR[4:]], "right", "interact with itself"),
    ("interactions.csv", ["x-1", "bad", *PAIR[2:]], "severity", "none of"),
    ("interactions.csv", ["X 1", *PAIR[1:]], "id", "no id"),
    ("interactions.csv", ["onc-11-statin-cyp3a4", *PAIR[1:]], "id", "there twice"),
    ("interactions.csv", [*PAIR[:4], "boom", *PAIR[5:]], "effect", "none of"),
    ("interactions.csv", [*PAIR[:5], "", *PAIR[6:]], "mechanism", "empty"),
    ("interactions.csv", [*PAIR[:6], "", *PAIR[7:]], "message", "empty"),
    ("interactions.csv", [*PAIR[:7], "", *PAIR[8:]], "management", "empty"),
    ("interactions.csv", [*PAIR[:8], "", *PAIR[9:]], "source", "empty"),
    ("interactions.csv", [*PAIR[:9], "22.11.2026"], "reviewed", "no date"),
    ("interactions.csv", [*PAIR[:9], "2026-02-30"], "reviewed", "no date"),
    ("interactions.csv", PAIR[:-1], "", "as many fields"),
    # the same pair again, in the other order, through a set, with another severity, and one that never counts
    ("interactions.csv", ["x-1", "serious", "clopidogrel", "esomeprazole|omeprazole", "loss-of-effect", "W.", *ENDING],
     "id", "says the same"),
    ("interactions.csv", ["x-1", "serious", "esomeprazole|omeprazole", "clopidogrel", "loss-of-effect", "W.", *ENDING],
     "id", "says the same"),
    ("interactions.csv", ["x-1", "caution", "warfarin", "ibuprofen", "bleeding", "W.", *ENDING], "id", "never counts"),
    ("interactions.csv", ["x-1", "serious", "set:onc-hiv-pi", "simvastatin|lovastatin", "muscle", "W.", *ENDING],
     "severity", "contradicts"),
    ("interactions.csv", ["x-1", "contraindicated", "clarithromycin|erythromycin", "set:statins", "muscle", "W.",
     *ENDING], "id", "says the same"),
    ("drug_sets.csv", ["x-1", "Empty", "", "FDA", "2026-11-22"], "members", "names no drug"),
    ("drug_sets.csv", ["x-1", "Gone", "warfarin|!warfarin", "FDA", "2026-11-22"], "members", "names no drug"),
    ("drug_sets.csv", ["nsaids", "Twice", "warfarin", "FDA", "2026-11-22"], "id", "there twice"),
    ("drug_sets.csv", ["x-1", "", "warfarin", "FDA", "2026-11-22"], "name", "empty"),
    ("allergies.csv", ["x-1", "serious", "nobody", "warfarin", *ENDING], "group", "allergic to"),
    ("allergies.csv", ["x-1", "serious", "none-known", "warfarin", *ENDING], "group", "allergic to"),
    ("allergies.csv", ["x-1", "serious", "*", "warfarin", *ENDING], "drugs", "both columns"),
    ("allergies.csv", ["x-1", "caution", "penicillins", "amoxicillin", *ENDING], "id", "never counts"),
    ("allergy_groups.csv", ["x-1", "X", "wrong", "warfarin", "xx", "", "S", "2026-11-22"], "kind", "none of"),
    ("allergy_groups.csv", ["x-1", "X", "class", "warfarin", "pcn", "", "S", "2026-11-22"], "words", "already means"),
    ("allergy_groups.csv", ["x-1", "X", "class", "warfarin", "", "", "S", "2026-11-22"], "words", "words or codes"),
    ("allergy_groups.csv", ["x-1", "X", "class", "warfarin", "", "snomed:91936006", "S", "2026-11-22"], "codes", "no "),
    ("allergy_groups.csv", ["x-1", "X", "other", "warfarin", "xx", "", "S", "2026-11-22"], "drugs", "has no drugs"),
    ("duplicates.csv", ["x-1", "serious", "warfarin", "1", "", *ENDING], "drugs", "too few"),
    ("duplicates.csv", ["x-1", "serious", "warfarin|metformin", "0", "", *ENDING], "most", "no number"),
    ("duplicates.csv", ["x-1", "serious", "warfarin|metformin", "1", "warfarin + warfarin", *ENDING], "accepted",
     "beside itself"),
    ("duplicates.csv", ["x-1", "serious", "warfarin|metformin", "1", "warfarin + docusate", *ENDING], "accepted",
     "not in this rule"),
    ("duplicates.csv", ["x-1", "serious", "warfarin|metformin", "1", "warfarin", *ENDING], "accepted", "no pair"),
    ("duplicates.csv", ["x-1", "serious", "warfarin|metformin", "1", "warfarin + metformin", *ENDING], "accepted",
     "can never hold"),
    ("conditions.csv", ["x-1", "serious", "docusate", "asthmatic", "", "", *ENDING], "conditions", "no condition"),
    ("conditions.csv", ["x-1", "serious", "docusate", "icd10cm:asthma", "", "", *ENDING], "conditions", "no condition"),
    ("conditions.csv", ["x-1", "serious", "docusate", "snomed:195967002", "", "", *ENDING], "conditions", "no cond"),
    ("conditions.csv", ["x-1", "serious", "docusate", "", "", "", *ENDING], "conditions", "names no condition"),
    ("conditions.csv", ["x-1", "serious", "docusate", "asthma", "soon", "", *ENDING], "days", "no number"),
    ("conditions.csv", ["x-1", "serious", "docusate", "asthma", "", "asthma", *ENDING], "unless", "lifts"),
    ("conditions.csv", ["x-1", "serious", "propranolol", "asthma", "", "", *ENDING], "id", "never counts"),
    ("conditions.csv", ["x-1", "serious", "propranolol|nadolol", "asthma", "", "", *ENDING], "severity", "contradicts"),
    ("patient_states.csv", ["x-1", "X", "nobody", "", "", "S", "2026-11-22"], "conditions", "no condition group"),
    ("patient_states.csv", ["x-1", "X", "asthma", "", "asthma", "S", "2026-11-22"], "ended_by", "end it"),
    ("populations.csv", ["x-1", "serious", "docusate", "", "", "", "", *ENDING], "state", "everyone"),
    ("populations.csv", ["x-1", "serious", "docusate", "expecting", "", "", "", *ENDING], "state", "no 'expecting'"),
    ("populations.csv", ["x-1", "serious", "docusate", "", "female", "", "", *ENDING], "sex", "neither"),
    ("populations.csv", ["x-1", "serious", "docusate", "", "", "65", "18", *ENDING], "age_below", "never hold"),
    ("populations.csv", ["x-1", "serious", "docusate", "", "", "old", "", *ENDING], "age_from", "no number"),
    ("populations.csv", ["x-1", "caution", "lorazepam", "", "", "70", "", *ENDING], "id", "never counts"),
    ("measures.csv", ["x-1", "X", "99999-9", "mg/dL", "", "30", "S", "2026-11-22"], "loinc", "has no"),
    ("measures.csv", ["x-1", "X", "2160-0", "umol/L", "", "30", "S", "2026-11-22"], "unit", "is in"),
    ("measures.csv", ["x-1", "X", "", "mg/dL", "", "30", "S", "2026-11-22"], "loinc", "code or a formula"),
    ("measures.csv", ["x-1", "X", "2160-0", "mg/dL", "guess", "30", "S", "2026-11-22"], "derived", "none of"),
    ("measures.csv", ["x-1", "X", "2160-0", "mg/dL", "", "", "S", "2026-11-22"], "days", "needs"),
    ("labs.csv", ["x-1", "serious", "docusate", "gfr", "<", "30", "", *ENDING], "measure", "has no"),
    ("labs.csv", ["x-1", "serious", "docusate", "egfr", "below", "30", "", *ENDING], "comparison", "none of"),
    ("labs.csv", ["x-1", "serious", "docusate", "egfr", "<", "", "", *ENDING], "value", "empty"),
    ("labs.csv", ["x-1", "serious", "docusate", "egfr", "<", "-3", "", *ENDING], "value", "no number"),
    ("labs.csv", ["x-1", "serious", "docusate", "potassium", ">", "55", "", *ENDING], "value", "no possible"),
    ("labs.csv", ["x-1", "serious", "metformin", "egfr", "<", "25", "", *ENDING], "id", "never counts"),
    ("labs.csv", ["x-1", "serious", "metformin", "egfr", "<", "30", "", *ENDING], "severity", "contradicts"),
]  # fmt: skip


def add(folder: Path, file: str, row: list[str]) -> int:
    """Append a row; its number as a spreadsheet counts."""
    with (folder / file).open("a", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerow(row)
    return len(list(csv.reader((folder / file).read_text().splitlines())))


class TestBroken:
    @pytest.mark.parametrize(("file", "row", "field", "says"), BROKEN)
    def test_a_broken_row_is_named(self, folder: Path, load: Callable[..., Rules], file, row, field, says) -> None:
        number = add(folder, file, row)
        with pytest.raises(InputError, match=re.escape(says)) as error:
            load(folder)
        assert (error.value.file, error.value.row, error.value.field) == (file, number, field)

    @pytest.mark.parametrize("file", SHIPPED)
    def test_an_absent_table_disarms_nothing_silently(self, folder: Path, load, file: str) -> None:
        (folder / file).unlink()
        with pytest.raises(RulesMissing, match=re.escape(file)):
            load(folder)

    def test_an_absent_folder(self, tmp_path: Path, load) -> None:
        for arguments in ((tmp_path / "no",), (None, tmp_path / "no")):
            with pytest.raises(RulesMissing):
                load(*arguments)

    @pytest.mark.parametrize("file", SHIPPED)
    def test_a_slip_in_the_header(self, folder: Path, load, file: str) -> None:
        text = (folder / file).read_text()
        (folder / file).write_text(text.replace("reviewed", "revised", 1))
        with pytest.raises(InputError, match=r"revised|reviewed") as error:
            load(folder)
        assert error.value.row == 1
        (folder / file).write_text(text.replace("\n", ",\n", 1))
        with pytest.raises(InputError, match="no column"):
            load(folder)

    def test_bytes_that_are_no_text(self, folder: Path, load) -> None:
        (folder / "labs.csv").write_bytes(b"id,\xff\xfe")
        with pytest.raises(InputError, match="UTF-8"):
            load(folder)


class TestSite:
    def site(self, tmp_path: Path, file: str, *rows: list[str]) -> Path:
        folder = tmp_path / "site"
        folder.mkdir(exist_ok=True)
        with (folder / file).open("w", newline="") as handle:
            csv.writer(handle, lineterminator="\n").writerows([COLUMNS[file], *rows])
        return folder

    def test_rules_are_added_and_the_version_tells(self, tmp_path: Path, load, rules: Rules, vocabulary) -> None:
        found = load(None, self.site(tmp_path, "interactions.csv", PAIR))
        assert found.version != rules.version and len(found.interactions) == len(rules.interactions) + 1
        pair = code(vocabulary, "metformin"), code(vocabulary, "docusate")
        assert [rule.id for rule in found.between(*pair)] == ["x-1"] and found.by_id["x-1"].origin == "site"

    def test_the_stricter_counts_whoever_wrote_it(self, tmp_path: Path, load, vocabulary) -> None:
        pair = code(vocabulary, "warfarin"), code(vocabulary, "ibuprofen")
        for severity, expected, idle in (
            ("caution", "anticoagulant-nsaid", ("x-1",)),
            ("serious", "x-1", ()),
            ("contraindicated", "x-1", ()),
        ):
            row = ["x-1", severity, "warfarin", "ibuprofen", "bleeding", "Why.", *ENDING]
            found = load(None, self.site(tmp_path, "interactions.csv", row))
            assert [rule.id for rule in found.between(*pair)] == [expected]
            assert found.without_effect == idle

    def test_a_shipped_rule_is_switched_off_by_its_id(self, tmp_path: Path, load, rules: Rules, vocabulary) -> None:
        found = load(None, self.site(tmp_path, "off.csv", ["anticoagulant-nsaid", "Our committee", "2026-11-22"]))
        pair = code(vocabulary, "warfarin"), code(vocabulary, "ibuprofen")
        assert found.between(*pair) == () and found.switched_off == ("anticoagulant-nsaid",)
        assert found.version != rules.version

    @pytest.mark.parametrize(
        ("row", "field"),
        [
            (["nobody", "Why", "2026-11-22"], "id"),
            (["onc-11-statin-cyp3a4", "", "2026-11-22"], "reason"),
            (["onc-11-statin-cyp3a4", "Why", "soon"], "reviewed"),
        ],
    )
    def test_a_slip_when_switching_off(self, tmp_path: Path, load, row, field) -> None:
        with pytest.raises(InputError) as error:
            load(None, self.site(tmp_path, "off.csv", row))
        assert (error.value.file, error.value.row, error.value.field) == ("off.csv", 2, field)

    def test_a_file_that_is_no_table_is_refused(self, tmp_path: Path, load) -> None:
        folder = self.site(tmp_path, "interactions.csv", PAIR)
        (folder / "interaction.csv").write_text("id\n")
        with pytest.raises(InputError, match=r"interaction\.csv"):
            load(None, folder)
        empty = tmp_path / "empty"
        empty.mkdir()
        with pytest.raises(InputError, match="holds none"):
            load(None, empty)


NAMES = ["warfarin", "ibuprofen", "metformin", "simvastatin", "set:nsaids", "class:Loop diuretic", "nobody", "", "!x|y"]
CELLS = st.one_of(
    st.sampled_from(NAMES), st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n"), max_size=12)
)


class TestAnyRow:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(file=st.sampled_from(sorted(FAMILIES)), cells=st.lists(CELLS, min_size=14, max_size=14))
    def test_any_row_is_read_or_refused_with_its_place(self, tmp_path: Path, load, file: str, cells) -> None:
        columns = COLUMNS[f"{file}.csv"]
        site = tmp_path / "any"
        site.mkdir(exist_ok=True)
        for old in site.iterdir():
            old.unlink()
        with (site / f"{file}.csv").open("w", newline="", encoding="utf-8") as handle:
            csv.writer(handle, lineterminator="\n").writerows([columns, cells[: len(columns)]])
        try:
            found = load(None, site)
        except InputError as error:
            assert error.file == f"{file}.csv"
        except EngineError:
            raise
        else:
            assert cells[0].strip() in found.by_id

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        left=st.sets(st.sampled_from(["docusate", "senna", "bisacodyl", "lactulose"]), min_size=1),
        right=st.sets(st.sampled_from(["simethicone", "psyllium", "senna", "lactulose"]), min_size=1),
        severity=st.sampled_from(["contraindicated", "serious", "caution"]),
    )
    def test_a_rule_holds_for_its_pairs_in_both_orders_and_no_other(
        self, tmp_path: Path, load, vocabulary, left, right, severity
    ) -> None:
        site = tmp_path / "pairs"
        site.mkdir(exist_ok=True)
        row = ["x-1", severity, "|".join(sorted(left)), "|".join(sorted(right)), "gut", "Why.", *ENDING]
        with (site / "interactions.csv").open("w", newline="") as handle:
            csv.writer(handle, lineterminator="\n").writerows([COLUMNS["interactions.csv"], row])
        if left == right and len(left) == 1:
            with pytest.raises(InputError, match="itself"):
                load(None, site)
            return
        found = load(None, site)
        codes = {name: code(vocabulary, name) for name in left | right}
        for one in codes:
            for other in codes:
                meant = one != other and ((one in left and other in right) or (other in left and one in right))
                assert any(r.id == "x-1" for r in found.between(codes[one], codes[other])) == meant

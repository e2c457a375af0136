"""Drug names as hospitals write them, each with the drug that a pharmacist reads in it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.errors import InputError
from recommender.vocabulary import DrugVocabulary

VOCABULARY = DrugVocabulary.load()

# (text, the drug's name)
NAMES = [
    # RxNorm clinical drugs
    ("24 HR metoprolol succinate 50 MG Extended Release Oral Tablet [Toprol]", "metoprolol"),
    ("Fentanyl 0.025 MG/HR Transdermal Patch", "fentanyl"),
    ("NDA020503 200 ACTUAT albuterol 0.09 MG/ACTUAT Metered Dose Inhaler", "albuterol"),
    (
        "{21 (ethinyl estradiol 0.035 MG / norethindrone 1 MG Oral Tablet) / 7 (inert ingredients 1 MG Oral Tablet) } "
        "Pack [Ortho-Novum 1/35 28 Day]",
        "ethinyl estradiol / norethindrone",
    ),
    ("Amoxicillin 250 MG / Clavulanate 125 MG Oral Tablet", "amoxicillin / clavulanate"),
    ("Acetaminophen 325 MG / Oxycodone Hydrochloride 10 MG Oral Tablet [Percocet]", "acetaminophen / oxycodone"),
    (
        "insulin isophane, human 70 UNT/ML / insulin, regular, human 30 UNT/ML Injectable Suspension [Humulin]",
        "insulin isophane (NPH) human / insulin regular human",
    ),
    ("lisinopril 10 MG Oral Tablet [a brand that nobody here knows]", "lisinopril"),
    ("Mirena 52 MG Intrauterine System", "levonorgestrel"),
    ("NuvaRing 0.12/0.015 MG per 24HR 21 Day Vaginal System", "ethinyl estradiol / etonogestrel"),
    ("Alendronic acid 10 MG Oral Tablet", "alendronate"),
    # local names
    ("ACETAMINOPHEN 325 MG PO TABS", "acetaminophen"),
    ("HEPARIN (PORCINE) IN D5W", "heparin"),
    ("Metoprolol Succinate XL", "metoprolol"),
    ("PredniSONE", "prednisone"),
    ("amLODIPine", "amlodipine"),
    ("OxyCODONE (Immediate Release)", "oxycodone"),
    ("Piperacillin-Tazobactam", "piperacillin / tazobactam"),
    ("Calcium Gluconate sliding scale (Critical Care-Ionized calcium)", "calcium gluconate"),
    ("NEO*IV*Gentamicin", "gentamicin"),
    ("Magnesium Sulfate (Replacement - Oncology)", "magnesium sulfate"),
    ("Potassium Chloride Replacement (Critical Care and Oncology)", "potassium chloride"),
    ("Insulin - Sliding Scale", "insulin"),
    ("Insulin (Humalog)", "insulin lispro"),
    ("1000 ML  -  LACTATED RINGERS IV SOLN", "lactated Ringer's"),
    ("0.9% Sodium Chloride", "sodium chloride"),
    ("DEXT 5%-NACL 0.45% 1000 ML LVP", "dextrose / sodium chloride"),
    ("LEVOFLOXACIN 750 mg in D5W 150mL", "levofloxacin"),
    ("KCL 40 MEQ/100ML STERILE WATER BAG", "potassium chloride"),
    ("10 ML VIAL: INSULIN GLARGINE 100 UNIT/ML SC SOLN", "insulin glargine"),
    ("furosemide (LASIX) inj 40 mg", "furosemide"),
    ("NORMODYNE;TRANDATE", "labetalol"),
    ("SoluMedrol", "methylprednisolone"),
    ("dexamethasone sodium phosphate 4 mg/ml", "dexamethasone"),
    ("Maalox/Lidocaine", "aluminum hydroxide / lidocaine / magnesium hydroxide / simethicone"),
    ("Lidocaine 1% with Epinephrine 1:100,000", "epinephrine / lidocaine"),
    ("MVI, ADULT NO.4 WITH VIT K 3300 UNIT-150 MCG/10 ML IV 10 ML VIAL", "multivitamin"),
    ("Alteplase (Catheter Clearance)", "alteplase"),
    ("Influenza Vaccine Quadrivalent", "influenza vaccine"),
    ("IOHEXOL 350 MG IODINE/ML IV SOLN", "iohexol"),
    # calcium is a salt next to its drug, else a drug
    ("atorvastatin calcium 10 mg", "atorvastatin"),
    ("calcium phosphate / melatonin", "calcium phosphate / melatonin"),
    ("Vitamin D 400 unit + calcium 600 mg", "calcium / vitamin D"),
    ("CALCIUM CARBONATE 200 MG CALCIUM (500 MG) ORAL CHEW TAB", "calcium carbonate"),
    # 'INH' is inhaled here, and once was read as isoniazid
    ("ALBUTEROL 2.5 MG/3 ML UD INH SOLN", "albuterol"),
    # other countries' names, abbreviations
    ("Paracetamol 500mg", "acetaminophen"), ("Salbutamol", "albuterol"), ("glibenclamide", "glyburide"),
    ("pethidine", "meperidine"), ("rifampicin", "rifampin"), ("Adrenaline", "epinephrine"),
    ("co-trimoxazole", "sulfamethoxazole / trimethoprim"), ("ASA 81", "aspirin"), ("HCTZ", "hydrochlorothiazide"),
    ("5-ASA", "mesalamine"), ("5-FU", "fluorouracil"), ("PCN", "penicillin"),
    # misspelt
    ("metropolol", "metoprolol"), ("furosimide 40 mg tab", "furosemide"), ("acetominophen", "acetaminophen"),
    ("clorpromazine", "chlorpromazine"), ("hydroxyzin", "hydroxyzine"), ("ciprofloxin", "ciprofloxacin"),
    # look-alike pairs: each is itself
    ("hydroxyzine", "hydroxyzine"), ("hydralazine", "hydralazine"), ("prednisone", "prednisone"),
    ("prednisolone", "prednisolone"), ("chlorpropamide", "chlorpropamide"), ("chlorpromazine", "chlorpromazine"),
    ("clonidine", "clonidine"), ("Klonopin", "clonazepam"), ("vinblastine", "vinblastine"),
    ("vincristine", "vincristine"), ("Celebrex", "celecoxib"), ("Celexa", "citalopram"), ("dopamine", "dopamine"),
    ("dobutamine", "dobutamine"), ("quinine", "quinine"), ("quinidine", "quinidine"), ("cycloserine", "cycloserine"),
    ("cyclosporine", "cyclosporine"), ("tramadol", "tramadol"), ("trazodone", "trazodone"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "name"), NAMES)
def test_it_reads_what_a_pharmacist_reads(text: str, name: str) -> None:
    match = VOCABULARY.match(text)
    assert (match.status, match.name) == ("mapped", name)
    assert match.code and match.ingredients
    assert len(match.ingredients) == name.count(" / ") + 1


@pytest.mark.parametrize(
    "text",
    [
        "lisinopril or losartan",  # one of two is not both
        "Heparin (Lovenox)",  # contradicts itself
        "celecoxib celexa",
        "Lidocaine without epinephrine",
        "lisinopril with",  # cut off: with what?
        "Tylenol Sinus",  # a line extension holds other drugs
        "Mucinex Cough",
        "Interferon",  # which one?
        "clotiazepam",  # a real drug that is not in the tables and one letter from clonazepam
        "tetrazepam",
        "dopexamine",
        "cysteamine",
        "Lactate 26.4 MG/ML Topical Solution",  # a substance, not an empty bag
        "Lactate / Urea Topical Cream",  # the first part is no drug of the tables: not urea alone
        "Excedrin Aspirin Free",
        "Insulin lente xyz",
        "Orthopedic Solution",
        "abx",
        "see comments",
        "",
        "   ",
        "???",
        "日本",
        "x" * 10_000,
    ],
)
def test_what_is_not_certain_stays_unmapped(text: str) -> None:
    match = VOCABULARY.match(text)
    assert (match.status, match.method, match.ingredients) == ("unmapped", "none", ())
    assert match.code.startswith("text:")


def test_unmapped_names_keep_their_own_words() -> None:
    match = VOCABULARY.match("  Zaubertrank   FORTE 5% ")
    assert (match.name, match.code) == ("Zaubertrank FORTE 5%", "text:zaubertrank forte 5")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Sodium Chloride 0.9%  Flush", "saline flush or lock"),
        ("NORMAL SALINE FLUSH", "saline flush or lock"),
        ("5 ML SYRINGE : HEPARIN SODIUM LOCK FLUSH 10 UNIT/ML IV SOLN", "heparin flush or catheter lock"),
        ("Heparin (CRRT Machine Priming)", "circuit priming"),
        ("NaCl 0.9% MBP", "diluent or carrier bag"),
        ("Syringe (0.9% Sodium Chloride)", "saline flush syringe"),
        ("Sterile Water", "diluent"),
        ("SW", "diluent"),
        ("Vial", "container or supply, no drug named"),
        ("Yellow CADD Cassette", "container or supply, no drug named"),
        ("Soln.", "base solution, no drug named"),
        ("amphotericin B test dose", "test dose"),
    ],
)
def test_what_is_no_therapy_says_why(text: str, reason: str) -> None:
    match = VOCABULARY.match(text)
    assert (match.status, match.code, match.method, match.ingredients) == ("not_therapy", "", f"rule:{reason}", ())


@pytest.mark.parametrize(
    "text",
    [
        "furosemide syringe", "morphine 2 mg/ml syringe", "vancomycin flush", "Potassium chloride vial", "insulin pump",
        "heparin 5000 unit vial", "gentamicin lock", "alteplase flush", "ceftriaxone mini bag plus", "lidocaine kit",
    ],
)  # fmt: skip
def test_no_rule_swallows_a_drug(text: str) -> None:
    assert VOCABULARY.match(text).status == "mapped"


def test_only_a_drug_that_a_rule_names_can_be_no_therapy() -> None:
    """Every ingredient with every marker word: the rules reach sodium chloride, dextrose and heparin, no other drug."""
    words = (
        "flush",
        "lock",
        "syringe",
        "mbp",
        "mini bag plus",
        "diluent",
        "priming",
        "vial",
        "sterile water",
        "solution",
    )
    reached = {
        drug.name
        for drug in VOCABULARY.drugs.values()
        for word in words
        if VOCABULARY.match(f"{drug.name} {word}").status == "not_therapy"
    }
    # and "insulin syringe", which is sold empty: a filled one names its insulin
    assert reached == {"sodium chloride", "dextrose", "heparin", "dextrose / sodium chloride", "insulin"}


def test_how_a_name_was_found() -> None:
    methods = {
        "rxnorm:6809": "rxcui", "metformin": "exact", "rifampicin": "exact", "asa": "synonym", "Lasix": "brand",
        "furosemide 40 mg": "parsed", "furosimide": "fuzzy", "SW": "rule:diluent", "abx": "none",
    }  # fmt: skip
    assert {text: VOCABULARY.match(text).method for text in methods} == methods


def test_codes_of_single_drugs_combinations_and_new_drugs() -> None:
    assert VOCABULARY.match("metformin").code == "rxnorm:6809"
    both = VOCABULARY.match("lisinopril / hydrochlorothiazide")
    assert (both.code, both.name) == ("rxnorm:5487+29046", "hydrochlorothiazide / lisinopril")
    assert both.ingredients == ("rxnorm:5487", "rxnorm:29046")
    assert VOCABULARY.match("evolocumab").code == "drug:evolocumab"
    assert VOCABULARY.match("Entresto").code == "drug:sacubitril+valsartan"
    assert VOCABULARY.match("HCTZ + lisinopril") == VOCABULARY.match("lisinopril-HCTZ")


@pytest.mark.parametrize(
    ("text", "route", "route_class"),
    [
        ("Ciprofloxacin 0.3% Ophth Soln", "", "ophthalmic"), ("Hydrocortisone (Rectal) 2.5% Cream", "", "rectal"),
        ("Clotrimazole Vaginal Cream", "", "vaginal"), ("Fluticasone Propionate NASAL", "", "nasal"),
        ("Ipratropium Bromide Neb", "", "inhaled"), ("Lidocaine 5% Patch", "", "transdermal"),
        ("Nystatin Cream", "", "topical"), ("Insulin lispro 100 unit/ml SC soln", "", "subcutaneous"),
        ("Carbamide peroxide otic", "", "otic"),
        ("Vancomycin", "", ""), ("Vancomycin", "PO", "oral"), ("Vancomycin", "RECTAL", "rectal"),
        ("tobramycin", "BOTH EYES", "ophthalmic"), ("Nystatin Cream", "PO", "oral"),
        # a dose form tells it where the order does not
        ("Metformin 500 MG Oral Tablet", "", "oral"), ("Nitroglycerin 0.4 MG Sublingual Tablet", "", "sublingual"),
        ("1 ML Epoetin Alfa 4000 UNT/ML Injection", "", "injected"), ("Buprenorphine Buccal Film", "", "sublingual"),
        # what may be swallowed or go down a tube is swallowed; what may go into a vein or a muscle is injected; what
        # may be swallowed or injected tells neither
        ("Vancomycin", "PO/NG", "oral"), ("Vancomycin", "NG", "enteral"), ("Vancomycin", "IV", "intravenous"),
        ("Haloperidol", "IM/IV", "injected"), ("Haloperidol", "PO or IV", "systemic"),
        ("Haloperidol", "Implant", "systemic"), ("Haloperidol", "IV DRIP", "intravenous"),
        ("Haloperidol", "no such word", ""),
    ],
)  # fmt: skip
def test_route(text: str, route: str, route_class: str) -> None:
    assert VOCABULARY.match(text, route=route).route_class == route_class


def test_nearest_names_are_guesses_for_a_person() -> None:
    guesses = VOCABULARY.nearest("Metropolol xyz 50 mg tab")
    assert len(guesses) == 3 and guesses[0][0] == "metoprolol"
    assert all(0 <= likeness <= 1 for _, likeness in guesses)
    assert VOCABULARY.nearest("", 2) != [("", 0.0)]


# --- a site's own map ------------------------------------------------------------------------------------------------


def test_a_site_map_overrides_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("source,target\nRED MIX,furosemide\n4711,rxnorm:6809\nVancomycin Consult,not therapy: message\n")
    vocabulary = DrugVocabulary.load(site_map=path)
    assert vocabulary.match("red  mix", route="IV").name == "furosemide"
    assert vocabulary.match("red mix", route="IV").route_class == "intravenous"
    assert vocabulary.match("4711").code == "rxnorm:6809"
    assert vocabulary.match("4711").method == "rule:site map"
    assert vocabulary.match("vancomycin consult").method == "rule:message"
    assert vocabulary.match("vancomycin").status == "mapped"


@pytest.mark.parametrize(
    ("text", "row", "field"),
    [
        ("source,target\nRED MIX,no such drug\n", 2, "target"),
        ("source,target\nRED,furosemide\n,furosemide\n", 3, "target"),
        ("source,target\nRED MIX,furosimide\n", 2, "target"),  # a guess is not good enough for a map
        ("name,target\n", 1, "source"),
    ],
)
def test_a_broken_site_map_is_named(tmp_path: Path, text: str, row: int, field: str) -> None:
    path = tmp_path / "map.csv"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        DrugVocabulary.load(site_map=path)
    assert (error.value.file, error.value.row, error.value.field) == ("map.csv", row, field)


def test_a_missing_site_map_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv"):
        DrugVocabulary.load(site_map=tmp_path / "none.csv")


# --- properties ------------------------------------------------------------------------------------------------------

TEXTS = st.sampled_from([text for text, _ in NAMES])


@given(TEXTS, st.sampled_from([str.upper, str.lower, str.title, str.swapcase]))
def test_case_does_not_matter(text: str, change: object) -> None:
    assert VOCABULARY.match(change(text)).code == VOCABULARY.match(text).code  # type: ignore[operator]


@given(TEXTS, st.integers(1, 4), st.sampled_from([" ", "\t", "\n", " ", "  "]))
def test_white_space_does_not_matter(text: str, times: int, gap: str) -> None:
    assert VOCABULARY.match(gap + text.replace(" ", gap * times) + gap).code == VOCABULARY.match(text).code


@given(TEXTS, st.sampled_from(["*", "_", "!", ":", '"', "=", "~"]), st.data())
def test_punctuation_does_not_matter(text: str, mark: str, data: st.DataObject) -> None:
    gaps = [position for position, letter in enumerate(text) if letter == " "] or [len(text)]
    at = data.draw(st.sampled_from([0, len(text), *gaps]))
    assert VOCABULARY.match(text[:at] + mark + text[at:]).code == VOCABULARY.match(text).code


@settings(max_examples=300)
@given(st.text(max_size=80), st.text(max_size=10))
def test_no_text_breaks_it(text: str, route: str) -> None:
    match = VOCABULARY.match(text, route=route)
    assert match == DrugVocabulary.match(VOCABULARY, text, route=route)
    assert (match.status == "mapped") == bool(match.ingredients)
    VOCABULARY.nearest(text)


def test_every_standard_name_and_spelling_means_its_own_drug() -> None:
    for drug in VOCABULARY.drugs.values():
        assert VOCABULARY.match(drug.code).name == drug.name
        for spelling, _ in drug.terms:
            match = VOCABULARY.match(spelling)
            assert (match.status, match.code) == ("mapped", drug.code), spelling


def test_one_slip_never_turns_one_drug_into_another() -> None:
    """Swap two letters anywhere in a one-word name (every 5th): the answer is that drug, or none, or an exact name."""
    wrong = []
    for drug in [drug for drug in VOCABULARY.drugs.values() if drug.name.isalpha() and len(drug.name) >= 7][::5]:
        for at in range(1, len(drug.name) - 1):
            slip = drug.name[:at] + drug.name[at + 1] + drug.name[at] + drug.name[at + 2 :]
            match = VOCABULARY.match(slip)
            if match.status == "mapped" and match.code != drug.code and match.method == "fuzzy":
                wrong.append((slip, match.name, drug.name))
    assert wrong == []


def test_it_is_fast() -> None:
    """A floor, far below what is measured (README): 2 million a second from the cache, 10,000 a second anew."""
    names = [text for text, _ in NAMES]
    fresh = [f"{text} {number}" for number in range(10) for text in names]
    started = time.perf_counter()
    for text in fresh:
        VOCABULARY.match(text)
    assert len(fresh) / (time.perf_counter() - started) > 500
    started = time.perf_counter()
    for _ in range(200):
        for text in names:
            VOCABULARY.match(text)
    assert 200 * len(names) / (time.perf_counter() - started) > 50_000

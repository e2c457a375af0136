"""FHIR's words in, ours out: code systems, statuses that are no history, vaccines, and the US Core races."""

from __future__ import annotations

# URI of a code system -> our prefix. Where a concept is coded in several, the one that stands first here is taken.
SYSTEMS: dict[str, str] = {
    "http://www.nlm.nih.gov/research/umls/rxnorm": "rxnorm",
    "urn:oid:2.16.840.1.113883.6.88": "rxnorm",
    "http://hl7.org/fhir/sid/cvx": "cvx",
    "urn:oid:2.16.840.1.113883.12.292": "cvx",
    "http://loinc.org": "loinc",
    "urn:oid:2.16.840.1.113883.6.1": "loinc",
    "http://snomed.info/sct": "snomed",
    "urn:oid:2.16.840.1.113883.6.96": "snomed",
    "http://hl7.org/fhir/sid/icd-10-cm": "icd10cm",
    "urn:oid:2.16.840.1.113883.6.90": "icd10cm",
    "http://hl7.org/fhir/sid/icd-10": "icd10",
    "urn:oid:2.16.840.1.113883.6.3": "icd10",
    "http://hl7.org/fhir/sid/icd-9-cm": "icd9cm",
    "urn:oid:2.16.840.1.113883.6.103": "icd9cm",
    "http://www.cms.gov/medicare/coding/icd10": "icd10pcs",
    "http://hl7.org/fhir/sid/icd-10-pcs": "icd10pcs",
    "urn:oid:2.16.840.1.113883.6.4": "icd10pcs",
    "urn:oid:2.16.840.1.113883.6.104": "icd9pcs",
    "http://www.ama-assn.org/go/cpt": "cpt",
    "urn:oid:2.16.840.1.113883.6.12": "cpt",
    "http://www.cms.gov/medicare/coding/hcpcsreleasecodesets": "hcpcs",
    "https://www.cms.gov/medicare/coding/hcpcsreleasecodesets": "hcpcs",
    "urn:oid:2.16.840.1.113883.6.285": "hcpcs",
    "http://www.whocc.no/atc": "atc",
    "urn:oid:2.16.840.1.113883.6.73": "atc",
    "http://hl7.org/fhir/sid/ndc": "ndc",
    "urn:oid:2.16.840.1.113883.6.69": "ndc",
    "http://terminology.hl7.org/codesystem/service-type": "service-type",
    "http://terminology.hl7.org/codesystem/v3-actcode": "v3-actcode",
    "http://hl7.org/fhir/v3/actcode": "v3-actcode",
}
RANK = {prefix: rank for rank, prefix in enumerate(dict.fromkeys(SYSTEMS.values()))}
# a coding in one of these says why there is no code, or which profile is followed: nothing about the patient
NO_CODES = frozenset(
    {
        "http://terminology.hl7.org/codesystem/data-absent-reason",
        "http://terminology.hl7.org/codesystem/v3-nullflavor",
        "http://hl7.org/fhir/us/core/codesystem/careplan-category",
    }
)
UCUM = "http://unitsofmeasure.org"

MISTAKE = "recorded by mistake (entered-in-error)"
# resource type -> status -> why such a resource is no history
NOT_HISTORY: dict[str, dict[str, str]] = {
    "MedicationRequest": {
        "entered-in-error": MISTAKE,
        "cancelled": "the order was withdrawn before anything was given (cancelled)",
        "draft": "the order was never made (draft)",
    },
    "MedicationStatement": {
        "entered-in-error": MISTAKE,
        "intended": "not taken yet (intended)",
        "not-taken": "not taken (not-taken)",
    },
    "MedicationAdministration": {"entered-in-error": MISTAKE, "not-done": "not given (not-done)"},
    "MedicationDispense": {
        "entered-in-error": MISTAKE,
        "preparation": "not handed out yet (preparation)",
        "in-progress": "not handed out yet (in-progress)",
        "on-hold": "not handed out (on-hold)",
        "cancelled": "not handed out (cancelled)",
        "declined": "not handed out (declined)",
    },
    "Immunization": {"entered-in-error": MISTAKE, "not-done": "not given (not-done)"},
    "Procedure": {
        "entered-in-error": MISTAKE,
        "preparation": "not begun (preparation)",
        "not-done": "not done (not-done)",
    },
    "CarePlan": {"entered-in-error": MISTAKE, "draft": "the plan was never put into action (draft)"},
    "Observation": {
        "entered-in-error": MISTAKE,
        "registered": "no result yet (registered)",
        "cancelled": "never measured (cancelled)",
    },
    "Encounter": {
        "entered-in-error": MISTAKE,
        "planned": "it has not taken place (planned)",
        "cancelled": "it did not take place (cancelled)",
    },
    "Medication": {"entered-in-error": MISTAKE},
}
NO_ORDER = {
    "proposal": "a suggestion, not an order (proposal)",
    "plan": "an intention, not an order (plan)",
    "option": "one choice among several, not an order (option)",
}
NO_PLAN = {intent: why for intent, why in NO_ORDER.items() if intent != "plan"}  # a care plan's usual intent is "plan"
NOT_VERIFIED = {
    "entered-in-error": MISTAKE,
    "refuted": "ruled out (refuted)",
    "differential": "one possibility among several (differential)",
}
ALLERGY_OVER = {
    "inactive": "the allergy is no longer there (inactive)",
    "resolved": "the allergy is no longer there (resolved)",
}
# what states that there is no allergy (SNOMED CT): 'No known allergy' and its kin
NO_ALLERGY = frozenset(
    f"snomed:{code}" for code in ("716186003", "409137002", "429625007", "428607008", "428197003", "1003774007")
)

# classes of an Encounter, which often come without their names
ENCOUNTER_CLASSES = {
    "v3-actcode:ACUTE": "inpatient acute",
    "v3-actcode:AMB": "ambulatory",
    "v3-actcode:EMER": "emergency",
    "v3-actcode:FLD": "field",
    "v3-actcode:HH": "home health",
    "v3-actcode:IMP": "inpatient encounter",
    "v3-actcode:NONAC": "inpatient non-acute",
    "v3-actcode:OBSENC": "observation encounter",
    "v3-actcode:PRENC": "pre-admission",
    "v3-actcode:SS": "short stay",
    "v3-actcode:VR": "virtual",
}

# the usual routes of HL7's example value set (hl7.org/fhir/R5/valueset-route-codes.html), where a code has no display
ROUTE_NAMES: dict[str, str] = {
    "snomed:6064005": "topical",
    "snomed:10547007": "otic",
    "snomed:16857009": "vaginal",
    "snomed:26643006": "oral",
    "snomed:34206005": "subcutaneous",
    "snomed:37161004": "rectal",
    "snomed:37839007": "sublingual",
    "snomed:45890007": "transdermal",
    "snomed:46713006": "nasal",
    "snomed:47625008": "intravenous",
    "snomed:54485002": "ophthalmic",
    "snomed:72607000": "intrathecal",
    "snomed:78421000": "intramuscular",
}

# CVX codes of the US Centers for Disease Control whose display the vocabulary cannot read word by word -> its vaccine
VACCINES: dict[str, str] = {
    f"cvx:{code}": name
    for name, codes in {
        "COVID-19 vaccine": "207 208 210 211 212 213 217 218 219 221 228 229 230 300 301 302 308 309 310 311 312 313",
        "DTaP vaccine": "20 106 107",
        "Haemophilus influenzae type b vaccine": "17 46 47 48 49",
        "hepatitis A vaccine": "52 83 84 85",
        "hepatitis B vaccine": "08 42 43 44 45 189",
        "human papillomavirus vaccine": "62 118 137 165",
        "influenza vaccine": "15 16 88 111 135 140 141 144 149 150 151 153 155 158 161 166 168 171 185 186 197 205",
        "measles, mumps and rubella vaccine": "03",
        "meningococcal vaccine": "32 108 114 136 147 162 163 164 203",
        "pneumococcal conjugate vaccine": "100 133 152 215 216",
        "pneumococcal polysaccharide vaccine": "33",
        "polio vaccine": "02 10 89",
        "rabies vaccine": "18 40 90 175 176",
        "rotavirus vaccine": "116 119 122",
        "RSV vaccine": "303 305",
        "Tdap vaccine": "115",
        "tetanus and diphtheria toxoids": "09 113 138 139 196",
        "typhoid vaccine": "25 41 53 91 101",
        "varicella vaccine": "21",
        "yellow fever vaccine": "37 183 184",
        "zoster vaccine": "121 187 188",
    }.items()
    for code in codes.split()
}

# OMB categories of the US Core extensions
RACES = {
    "2106-3": "white",
    "2054-5": "black",
    "2028-9": "asian",
    "1002-5": "native",
    "2076-8": "hawaiian",
    "2131-1": "other",
}
ETHNICITIES = {"2135-2": "hispanic", "2186-5": "nonhispanic"}

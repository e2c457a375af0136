"""MIMIC-IV's own codes in, ours out: laboratory items and readings in LOINC and UCUM, ICD codes with their dot."""

from __future__ import annotations

from typing import NamedTuple


class Lab(NamedTuple):
    """A laboratory test; `source_unit` as MIMIC writes it, `unit` the same in UCUM."""

    loinc: str
    name: str
    source_unit: str
    unit: str


class Reading(NamedTuple):
    """One number of an outpatient reading; `factor` turns MIMIC's unit into the UCUM `unit`."""

    loinc: str
    name: str
    unit: str
    factor: float = 1.0


# itemid of d_labitems -> what it is. Blood, serum and plasma only.
LABS: dict[str, Lab] = {
    "50912": Lab("2160-0", "Creatinine", "mg/dL", "mg/dL"),
    "50971": Lab("2823-3", "Potassium", "mEq/L", "mmol/L"),
    "50822": Lab("6298-4", "Potassium, whole blood", "mEq/L", "mmol/L"),
    "50983": Lab("2951-2", "Sodium", "mEq/L", "mmol/L"),
    "50824": Lab("2947-0", "Sodium, whole blood", "mEq/L", "mmol/L"),
    "50882": Lab("1963-8", "Bicarbonate", "mEq/L", "mmol/L"),
    "51006": Lab("3094-0", "Urea nitrogen", "mg/dL", "mg/dL"),
    "50893": Lab("17861-6", "Calcium", "mg/dL", "mg/dL"),
    "50960": Lab("19123-9", "Magnesium", "mg/dL", "mg/dL"),
    "50931": Lab("2345-7", "Glucose", "mg/dL", "mg/dL"),
    "50809": Lab("2339-0", "Glucose, whole blood", "mg/dL", "mg/dL"),
    "50852": Lab("4548-4", "Haemoglobin A1c", "%", "%"),
    "50907": Lab("2093-3", "Cholesterol", "mg/dL", "mg/dL"),
    "50905": Lab("13457-7", "LDL cholesterol, calculated", "mg/dL", "mg/dL"),
    "50906": Lab("18262-6", "LDL cholesterol, measured", "mg/dL", "mg/dL"),
    "50904": Lab("2085-9", "HDL cholesterol", "mg/dL", "mg/dL"),
    "51000": Lab("2571-8", "Triglycerides", "mg/dL", "mg/dL"),
    "51237": Lab("6301-6", "INR", "", "{INR}"),
    "51222": Lab("718-7", "Haemoglobin", "g/dL", "g/dL"),
    "51265": Lab("777-3", "Platelets", "K/uL", "10*3/uL"),
    "51301": Lab("6690-2", "Leukocytes", "K/uL", "10*3/uL"),
    "50861": Lab("1742-6", "Alanine aminotransferase", "IU/L", "U/L"),
    "50878": Lab("1920-8", "Aspartate aminotransferase", "IU/L", "U/L"),
    "50885": Lab("1975-2", "Bilirubin", "mg/dL", "mg/dL"),
    "50862": Lab("1751-7", "Albumin", "g/dL", "g/dL"),
    "50813": Lab("32693-4", "Lactate, whole blood", "mmol/L", "mmol/L"),
    "50993": Lab("3016-3", "Thyrotropin", "uIU/mL", "u[IU]/mL"),
}

SYSTOLIC = Reading("8480-6", "Systolic blood pressure", "mm[Hg]")
DIASTOLIC = Reading("8462-4", "Diastolic blood pressure", "mm[Hg]")
# result_name -> the numbers in it, separated by a stroke. Pressures one and three minutes after standing up test
# something else and are not read.
READINGS: dict[str, tuple[Reading, ...]] = {
    "BMI (kg/m2)": (Reading("39156-5", "Body mass index", "kg/m2"),),
    "Weight (Lbs)": (Reading("29463-7", "Body weight", "kg", 0.45359237),),
    "Height (Inches)": (Reading("8302-2", "Body height", "cm", 2.54),),
    "Blood Pressure": (SYSTOLIC, DIASTOLIC),
    "Blood Pressure Sitting": (SYSTOLIC, DIASTOLIC),
    "Blood Pressure Lying": (SYSTOLIC, DIASTOLIC),
}


# curr_service of `services`: the clinical service that looks after the patient, wherever they lie
SERVICE_NAMES = {
    "CMED": "Cardiology service",
    "CSURG": "Cardiac surgery service",
    "DENT": "Dental service",
    "ENT": "Ear, nose and throat service",
    "EYE": "Ophthalmology service",
    "GU": "Urology service",
    "GYN": "Gynecology service",
    "MED": "General medicine service",
    "NB": "Newborn service",
    "NBB": "Newborn baby service",
    "NMED": "Neurology service",
    "NSURG": "Neurosurgery service",
    "OBS": "Obstetrics service",
    # "orthopaedic medicine" in one edition of MIMIC's documentation, but the demo's lie on the oncology wards
    "OMED": "Oncology service",
    "ORTHO": "Orthopedic surgery service",
    "PSURG": "Plastic surgery service",
    "PSYCH": "Psychiatry service",
    "SURG": "General surgery service",
    "TRAUM": "Trauma service",
    "TSURG": "Thoracic surgery service",
    "VSURG": "Vascular surgery service",
}
# units that MIMIC-III abbreviates; MIMIC-IV writes them out
UNIT_NAMES = {
    "CCU": "Coronary Care Unit (CCU)",
    "CSRU": "Cardiac Surgery Recovery Unit (CSRU)",
    "MICU": "Medical Intensive Care Unit (MICU)",
    "NICU": "Neonatal Intensive Care Unit (NICU)",
    "NWARD": "Newborn Ward",
    "SICU": "Surgical Intensive Care Unit (SICU)",
    "TSICU": "Trauma SICU (TSICU)",
}


def diagnosis_code(icd: str, version: str) -> str:
    """4139, 9 -> icd9cm:413.9; E119, 10 -> icd10cm:E11.9. ICD-9's external causes (E8809) have the dot after four."""
    return f"icd{version}cm:{_dotted(icd, 4 if version == '9' and icd.startswith('E') else 3)}"


def procedure_code(icd: str, version: str) -> str:
    """3961, 9 -> icd9pcs:39.61; ICD-10-PCS has no dot."""
    return f"icd{version}pcs:{_dotted(icd, 2) if version == '9' else icd}"


def _dotted(icd: str, front: int) -> str:
    return f"{icd[:front]}.{icd[front:]}" if len(icd) > front else icd

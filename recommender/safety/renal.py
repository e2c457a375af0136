"""Creatinine, age, sex and weight in, kidney function out: what dosing thresholds are compared with.

NaN in, NaN out: what cannot be worked out is not checked, never normal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ckd_epi_2021(creatinine: ArrayLike, age: ArrayLike, female: ArrayLike) -> NDArray[np.float64]:
    """eGFR in mL/min/1.73 m2 of adults; creatinine in mg/dL, age in years. NaN below 18 years.

    CKD-EPI 2021, without race: Inker et al., N Engl J Med 2021, doi 10.1056/NEJMoa2102953.
    """
    scr, years, woman = np.broadcast_arrays(
        np.asarray(creatinine, np.float64), np.asarray(age, np.float64), np.asarray(female, bool)
    )
    ratio = scr / np.where(woman, 0.7, 0.9)
    alpha = np.where(woman, -0.241, -0.302)
    egfr = 142 * np.minimum(ratio, 1) ** alpha * np.maximum(ratio, 1) ** -1.2 * 0.9938**years
    return np.where(years >= 18, egfr * np.where(woman, 1.012, 1.0), np.nan)


def cockcroft_gault(creatinine: ArrayLike, age: ArrayLike, weight: ArrayLike, female: ArrayLike) -> NDArray[np.float64]:
    """Creatinine clearance in mL/min of adults, by actual weight in kg. NaN below 18 years.

    Cockcroft and Gault, Nephron 1976, doi 10.1159/000180580; labels of renally cleared drugs were written with it.
    """
    scr, years, kilograms, woman = np.broadcast_arrays(
        np.asarray(creatinine, np.float64),
        np.asarray(age, np.float64),
        np.asarray(weight, np.float64),
        np.asarray(female, bool),
    )
    clearance = (140 - years) * kilograms / (72 * scr) * np.where(woman, 0.85, 1.0)
    return np.where(years >= 18, clearance, np.nan)

"""What is known of each hospital stay in, the same beside each event of the stay out; and January 1st of a year.

For sources whose people have a clock of their own, set by their stays.
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def of_stay(values: pd.Series, stay: pd.Series) -> pd.Series:
    """The value of each row's (categorical) `stay`, missing where there is none. `values` is indexed by stay."""
    per_category = values.reindex(stay.cat.categories).array
    return pd.Series(per_category.take(stay.cat.codes.to_numpy(), allow_fill=True), index=stay.index)


def january(year: pd.Series) -> pd.Series:
    """January 1st of each year; missing for what is no year."""
    real = year.where((year >= 1) & (year <= 9999) & (year % 1 == 0))
    dates = (real.fillna(1970).to_numpy().astype(np.int64) - 1970).astype("M8[Y]").astype("M8[s]")
    return pd.Series(dates, index=year.index).where(real.notna()).dt.tz_localize("UTC")

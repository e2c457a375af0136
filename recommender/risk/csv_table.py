"""A plain CSV (or Parquet) of one row an example in, a `RiskTable` to learn from, or `Inputs` to be scored, out.

Such as `age,gender,bmi,cholesterol,blood_pressure,diabetes,heart_disease`: a column of numbers is a number; of two
values that mean yes and no, one of those; of up to MOST_LEVELS words, a yes or no for each but the most common.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recommender.errors import InputError
from recommender.evaluation.breakdown import age_words
from recommender.risk.table import NEVER, Feature, Inputs, Outcome, RiskTable

YES = frozenset({"1", "1.0", "yes", "y", "true", "t", "positive", "present"})
NO = frozenset({"0", "0.0", "no", "n", "false", "f", "negative", "absent"})
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "unknown", "?"})
MOST_LEVELS = 12
IDS = ("patient_id", "id")
SUFFIXES = (".csv", ".csv.gz", ".parquet")


def is_table(path: str | Path) -> bool:
    """Whether it is one file of a table, rather than an export."""
    return str(path).lower().endswith(SUFFIXES) and Path(path).is_file()


def learn_csv(
    path: Path, outcome: Outcome, *, id_column: str = "", groups: Sequence[str] = (), without: Sequence[str] = ()
) -> RiskTable:
    """`outcome.code` names a column of yes and no. id_column: whose row it is (rows of one person are never on both
    sides of a split); without one every row is a person of its own. groups: further columns that are measured by only;
    without: columns that are not used. Rows whose outcome is missing are left out. Raises InputError."""
    frame = _read(path)
    if outcome.code not in frame:
        raise InputError(f"no such column; there are {', '.join(frame)}", file=path.name, field=outcome.code)
    for name in (*groups, *without):
        if name not in frame:
            raise InputError("no such column", file=path.name, field=name)
    happened = _yes_no(frame[outcome.code])
    if happened is None:
        raise InputError("an outcome has yes and no, or 1 and 0, only", file=path.name, field=outcome.code)
    known = ~np.isnan(happened)
    notes = [f"{(~known).sum():,} rows without an outcome are left out"] if not known.all() else []
    frame, happened = frame[known].reset_index(drop=True), happened[known]
    id_column, ids = _ids(frame, id_column, path)
    apart = [name for name in frame if name.lower() in NEVER or name in groups]
    unused = {outcome.code, id_column, *apart, *without}
    features: list[Feature] = []
    for name in (name for name in frame if name not in unused):
        found, why_not = _features(name, frame[name])
        features += found
        if why_not:
            notes.append(f"column {name} is not used: {why_not}")
    inputs = Inputs(tuple(features), ids, _values(frame, features))
    told = pd.DataFrame({name: frame[name].where(~_missing(frame[name]), "unknown") for name in apart})
    told = told.join(_usual_groups(frame, apart)) if len(told.columns) else _usual_groups(frame, apart)
    return RiskTable(outcome, inputs, happened > 0, told.set_axis(frame.index), outcome.name, tuple(notes))


def read_csv(path: Path, features: Sequence[Feature], *, id_column: str = "") -> Inputs:
    """The rows of a table, in the columns that a model knows. Raises InputError where one is not there."""
    frame = _read(path)
    for name in dict.fromkeys(feature.source for feature in features):
        if name not in frame:
            raise InputError("the model needs this column", file=path.name, field=name)
    id_column, ids = _ids(frame, id_column, path)
    return Inputs(tuple(features), ids, _values(frame, features))


def _read(path: Path) -> pd.DataFrame:
    """All as text, so that nothing is guessed."""
    try:
        if path.suffix.lower() == ".parquet":
            frame = pd.read_parquet(path)
            frame = frame.astype(object).where(frame.notna(), "").astype(str)
        else:
            frame = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as a table: {type(error).__name__}", file=path.name) from error
    if frame.empty:
        raise InputError("has no rows", file=path.name)
    return frame.rename(columns=str.strip)


def _ids(frame: pd.DataFrame, name: str, path: Path) -> tuple[str, np.ndarray]:
    """The column of ids and its values; each row's number where there is none."""
    if name and name not in frame:
        raise InputError("no such column", file=path.name, field=name)
    name = name or next((column for column in frame if column.lower() in IDS), "")
    if not name:
        return "", np.arange(1, len(frame) + 1).astype(str).astype(object)
    missing = _missing(frame[name])
    if missing.any():
        raise InputError("the id is missing", file=path.name, row=int(np.flatnonzero(missing)[0]) + 2, field=name)
    return name, frame[name].str.strip().to_numpy(dtype=object)


def _missing(values: pd.Series) -> np.ndarray:
    return values.str.strip().str.lower().isin(MISSING).to_numpy()


def _yes_no(values: pd.Series) -> np.ndarray | None:
    """1, 0 or NaN (n,) float64; None where another value is there."""
    words = values.str.strip().str.lower()
    yes, no, missing = (words.isin(known).to_numpy() for known in (YES, NO, MISSING))
    return np.where(yes, 1.0, np.where(no, 0.0, np.nan)) if (yes | no | missing).all() else None


def _numbers(values: pd.Series) -> np.ndarray:
    """(n,) float64; NaN for what is no finite number."""
    found = pd.to_numeric(values.str.strip(), errors="coerce").to_numpy(dtype=np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def _features(name: str, values: pd.Series) -> tuple[list[Feature], str]:
    """What a column gives, or why it gives nothing."""
    missing = _missing(values)
    if missing.all():
        return [], "it is empty"
    if values[~missing].str.strip().nunique() == 1:
        return [], "it says the same of everybody"
    if _yes_no(values) is not None:
        return [Feature(name, name, "yes")], ""
    if not np.isnan(_numbers(values)[~missing]).any():
        return [Feature(name, name, "number")], ""
    levels = values[~missing].str.strip().value_counts()
    if len(levels) > MOST_LEVELS:
        return [], f"{len(levels):,} different words, over {MOST_LEVELS}"
    common = sorted(levels.index, key=lambda level: (-levels[level], level))
    return [Feature(f"{name} {level}", name, "level", level) for level in common[1:]], ""


def _values(frame: pd.DataFrame, features: Sequence[Feature]) -> np.ndarray:
    """(n, n_features) float64. A level that was not seen in learning is none of the known ones."""
    found = np.full((len(frame), len(features)), np.nan)
    for place, feature in enumerate(features):
        values = frame[feature.source]
        if feature.kind == "number":
            found[:, place] = _numbers(values)
        elif feature.kind == "yes":
            yes_no = _yes_no(values)
            if yes_no is None:
                raise InputError("has other values than yes and no, which it had in learning", field=feature.source)
            found[:, place] = yes_no
        else:
            found[:, place] = np.where(_missing(values), np.nan, values.str.strip() == feature.level)
    return found


def _usual_groups(frame: pd.DataFrame, taken: Sequence[str]) -> pd.DataFrame:
    """Sex and age band, where the table has such columns."""
    found = {}
    for name in (name for name in frame if name not in taken):
        if name.lower() in ("sex", "gender"):
            found["sex"] = frame[name].where(~_missing(frame[name]), "unknown").to_numpy()
        elif name.lower() == "age":
            found["age"] = age_words(_numbers(frame[name]))
    return pd.DataFrame(found, index=frame.index)

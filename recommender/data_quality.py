"""`Records` in, what a data engineer must know of the export out: one JSON-able description, which the report shows.

Counts of patients are of distinct people. Nothing here names a patient.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, get_args

import numpy as np
import pandas as pd

from recommender.records import KINDS, TABLE_OF_KIND, THERAPIES, TREATMENT_KINDS, Records, Table
from recommender.vocabulary import ConditionVocabulary

TOP = 20  # most given concepts of each kind
NEAR = 0.75  # likeness from which a guess is worth a look
AGE_EDGES = range(0, 100, 10)


def describe(records: Records, nearest: Callable[[str], list[tuple[str, float]]] | None = None) -> dict[str, Any]:
    """The whole account: rows, people, tables, most given, measurements, drug names.

    nearest: a name -> known names close to it with their likeness (0 to 1), asked for each drug name left unmapped.
    """
    account = records.log.as_dict()
    unmapped = account.pop("unmapped")
    return {
        "as_of": records.as_of.isoformat(),
        "patients": _people(records),
        "tables": {name: _table(records, name) for name in get_args(Table)},
        "treatments_by_kind": {kind: _counted(records, kind) for kind in TREATMENT_KINDS},
        "most_given": {kind: _most_given(records, kind) for kinds in KINDS.values() for kind in kinds},
        "conditions_by_chapter": _chapters(records),
        "measurements": _measurements(records),
        "drug_names": {
            "rows_by_method": account.pop("mapped"),
            "unmapped_names": account.pop("unmapped_names"),
            "unmapped": [
                {"name": name, "rows": rows, "nearest": _guesses(name, nearest)} for name, rows in unmapped.items()
            ],
        },
        **account,
    }


def _guesses(name: str, nearest: Callable[[str], list[tuple[str, float]]] | None) -> list[str]:
    return [guess for guess, likeness in nearest(name) if likeness >= NEAR] if nearest else []


def _people(records: Records) -> dict[str, Any]:
    people = records.patients
    years = ((people["as_of"] - people["birth_date"]).dt.days / 365.2425).dropna()
    decades = np.clip((years // 10).astype(int), 0, len(AGE_EDGES) - 1).value_counts()
    therapies = _of_kinds(records, "treatments", THERAPIES)
    treated = np.bincount(therapies["patient_ix"], minlength=len(people))
    return {
        "count": len(people),
        "without_treatment": int((treated == 0).sum()),
        "treatments_each": {f"p{q}": float(np.percentile(treated, q)) for q in (10, 50, 90, 99)},
        "sex": {str(sex): int(count) for sex, count in people["sex"].value_counts().items()},
        "age": {
            f"{low}-{low + 9}" if low < AGE_EDGES[-1] else f"{low}+": int(decades.get(ix, 0))
            for ix, low in enumerate(AGE_EDGES)
        },
        "missing": {
            "birth date": int(people["birth_date"].isna().sum()),
            "sex": int((people["sex"] == "unknown").sum()),
            **{name: int(people[name].isin(["", "unknown"]).sum()) for name in ("race", "ethnicity")},
        },
    }


def _of_kinds(records: Records, table: Table, kinds: Collection[str]) -> pd.DataFrame:
    events: pd.DataFrame = getattr(records, table)
    return events[records.concepts["kind"].isin(kinds).to_numpy()[events["concept_ix"]]]


def _counted(records: Records, kind: str) -> dict[str, int]:
    events = _of_kinds(records, TABLE_OF_KIND[kind], [kind])
    distinct = {"patients": "patient_ix", "concepts": "concept_ix"}
    return {"events": len(events)} | {what: int(events[column].nunique()) for what, column in distinct.items()}


def _table(records: Records, name: Table) -> dict[str, Any]:
    events = getattr(records, name)
    if events.empty:
        return {"events": 0, "patients": 0, "concepts": 0}
    per_year = events["start"].dt.year.value_counts().sort_index()
    return {
        "events": len(events),
        "patients": int(events["patient_ix"].nunique()),
        "concepts": int(events["concept_ix"].nunique()),
        "first": events["start"].min().date().isoformat(),
        "last": events["start"].max().date().isoformat(),
        "still going on": int(events["stop"].isna().sum()),
        "per_year": {str(year): int(count) for year, count in per_year.items()},
    }


def _most_given(records: Records, kind: str) -> list[dict[str, Any]]:
    events = _of_kinds(records, TABLE_OF_KIND[kind], [kind])
    counts = events.groupby("concept_ix")["patient_ix"].agg(patients="nunique", events="size")
    top = counts.sort_values(["patients", "events"], ascending=False, kind="stable").head(TOP).join(records.concepts)
    return [
        {"code": row.code, "name": row.name, "patients": int(row.patients), "events": int(row.events)}
        for row in top[["code", "name", "patients", "events"]].itertuples(index=False, name="Given")
    ]


def _chapters(records: Records) -> dict[str, int]:
    """Condition events by the chapter of their code, most first; "no chapter known" for codes of other systems."""
    known = ConditionVocabulary.load()
    events = records.conditions["concept_ix"].value_counts()
    chapters = [known.chapter(code) for code in records.concepts["code"].loc[events.index]]
    names = [known.name(chapter) if chapter else "no chapter known" for chapter in chapters]
    counted = events.groupby(np.array(names, dtype=object)).sum().sort_values(ascending=False, kind="stable")
    return {str(name): int(count) for name, count in counted.items()}


def _measurements(records: Records) -> list[dict[str, Any]]:
    observations = records.observations
    if observations.empty:
        return []
    by_code = observations.groupby("concept_ix")
    found = by_code["value"].quantile([0.01, 0.5, 0.99]).unstack()
    found = found.set_axis(["p1", "median", "p99"], axis=1)
    found = found.assign(values=by_code.size(), patients=by_code["patient_ix"].nunique()).join(records.concepts)
    columns = ["code", "name", "unit", "values", "patients", "p1", "median", "p99"]
    listed: pd.DataFrame = found.sort_values(["values", "code"], ascending=[False, True])[columns]
    return [{str(key): value for key, value in row.items()} for row in listed.to_dict("records")]

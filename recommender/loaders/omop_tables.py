"""An OMOP table as read in, the same with clean ids, one start and stop, codes and names out; columns they all have."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from recommender.loaders import omop_codes as codes
from recommender.loaders.columns import chosen, distinct, per_distinct
from recommender.loaders.tabular import Column, Table, text, time

Coder = Callable[[str | None, str | None, str | None, codes.Concepts], codes.Coded]


def coded(domain: str) -> dict[str, Column]:
    return {
        "patient_id": text("person_id"),
        "standard": text(f"{domain}_concept_id"),
        "source": text(f"{domain}_source_concept_id", required=False),
        "source_value": text(f"{domain}_source_value", required=False, lines=True),
    }


def when(ours: str, table: str) -> dict[str, Column]:
    """The date, and the same with the time of day, which may be missing or unreadable."""
    return {
        f"{ours}_date": time(f"{table}_date", required=ours == "start"),
        f"{ours}_time": time(f"{table}_datetime", required=False, unreadable="set aside"),
    }


CONCEPTS = ("standard", "source", "unit_concept", "route_concept", "cause")
IDS = (*CONCEPTS, "type", "visit", "provider")


def ready(table: Table) -> Table:
    """With one `start` and `stop`, and ids without the '.0' that a missing neighbour gave them; concept 0 is none."""
    frame = table.frame
    ids = {name: _ids(frame[name]) for name in IDS if name in frame}
    if "start_date" not in frame:  # an era
        return table.assign(**ids)
    start = frame["start_time"].fillna(frame["start_date"])
    if "stop_date" not in frame:
        return table.assign(**ids, start=start)
    return table.assign(**ids, start=start, stop=that_day(start, frame["stop_time"].fillna(frame["stop_date"])))


def that_day(start: pd.Series, stop: pd.Series) -> pd.Series:
    """`stop`, but `start` where that is later on the day that a stop at midnight stands for: it ended that day."""
    return stop.where(~((stop < start) & (start.dt.floor("D") == stop)), start)


def _ids(column: pd.Series) -> pd.Series:
    texts = column.cat.categories
    if not (texts.str.endswith(".0") | (texts == "0")).any():
        return column
    return per_distinct(lambda text: None if text in (None, "0", "0.0") else text.removesuffix(".0"), column)


def named(table: Table, coder: Coder, concepts: codes.Concepts) -> Table:
    columns = table.frame["standard"], table.frame["source"], table.frame["source_value"]
    position, combinations = distinct(*columns)
    coded = [coder(standard, source, value, concepts) for standard, source, value in combinations]
    return table.assign(
        code=chosen([code for code, _ in coded], position, table.frame.index),
        name=chosen([name for _, name in coded], position, table.frame.index),
    )

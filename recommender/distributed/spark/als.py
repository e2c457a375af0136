"""Parts of `Records` in, the points of a factor model's columns out, found by Spark MLlib where the parts are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame

from recommender.distributed.night import Reading, Today
from recommender.distributed.parts import Shared
from recommender.distributed.reading import Part
from recommender.distributed.spark.cluster import SparkParts, values_in
from recommender.matrix import ColumnIndex
from recommender.models.base import item_rows
from recommender.models.factors import FactorModel

COLUMN = 10.0
ENTRIES = "patient int, item int, weight float"


def als_points(model: FactorModel, today: Today, index: ColumnIndex) -> np.ndarray:
    """Points (n_columns, k) float32 of the columns, of everybody's rows."""
    parts = today.parts
    assert isinstance(parts, SparkParts)  # noqa: S101
    sizes = [0 if gist is None else gist.seen.n_patients for gist in today.gists]
    reading, first = today.shared(model), parts.share(np.cumsum([0, *sizes]))
    entries = parts.frame.mapInArrow(partial(_entries, reading, first), ENTRIES).persist(StorageLevel.DISK_ONLY)
    found = points_of(entries, model, entries.count() / max(today.n_patients, 1), len(index))
    entries.unpersist()
    return found


def points_of(entries: DataFrame, model: FactorModel, mean: float, n_columns: int) -> np.ndarray:
    """By MLlib's ALS for implicit feedback. `entries`: patient, item (a column), weight; `mean`: entries of a patient.

    Its objective is that of Hu, Koren & Volinsky with one difference: the ridge of each point is multiplied by how many
    entries it has (Zhou et al., AAIM 2008), and a column has many more than a patient. So `ridge` is divided by `mean`
    and by COLUMN (docs/spark.md has what was tried). Points are others than those of `implicit`: lists agree in how
    good they are, not item for item.
    """
    als = ALS(
        rank=model.factors,
        maxIter=model.iterations,
        regParam=model.ridge / (COLUMN * max(mean, 1.0)),
        alpha=model.alpha,
        implicitPrefs=True,
        userCol="patient",
        itemCol="item",
        ratingCol="weight",
        seed=model.seed,
        checkpointInterval=-1,
    )
    points = np.zeros((n_columns, model.factors), dtype=np.float32)
    for row in als.fit(entries).itemFactors.collect():
        points[row["id"]] = row["features"]
    return points


def _entries(
    reading: Shared[Reading], first: Shared[Any], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    for _, part in values_in(batches):
        yield from _entries_of(reading.value, int(first.value[part.number]), part)


def _entries_of(reading: Reading, first: int, part: Part) -> Iterator[pa.RecordBatch]:
    if not part.records.n_patients:
        return
    rows = item_rows(reading.matrix(part.records), reading.model.context)  # type: ignore[attr-defined]
    patient = np.repeat(np.arange(rows.shape[0], dtype=np.int32) + np.int32(first), np.diff(rows.indptr))
    for start in range(0, rows.nnz, 1 << 20):
        part_of = slice(start, start + (1 << 20))
        arrays = (patient[part_of], rows.indices[part_of].astype(np.int32), rows.data[part_of])
        yield pa.record_batch(list(map(pa.array, arrays)), names=["patient", "item", "weight"])

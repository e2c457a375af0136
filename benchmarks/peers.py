"""The name of a peer and rows of patients (an .npz) in, seconds that its EASE takes out, as JSON: run by
benchmarks/run.py.

The peers want other versions than ours, so they stand in an environment of their own, .venv/peers, which `make bench`
makes; this file imports nothing of ours.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import pandas as pd

Told = dict[str, Any]


def rectools(rows: pd.DataFrame, treatments: int, n: int, penalty: float, patients: int) -> Told:
    from rectools.dataset import Dataset
    from rectools.models import EASEModel

    rows["datetime"] = pd.Timestamp("2025-01-01")
    dataset = Dataset.construct(rows)
    began = time.perf_counter()
    model = EASEModel(regularization=penalty).fit(dataset)
    fitted = time.perf_counter()
    lists = model.recommend(np.arange(patients), dataset, n, filter_viewed=True, items_to_recommend=range(treatments))
    done = time.perf_counter()
    first = lists[lists["user_id"] == 0]
    return {"fit": fitted - began, "lists": done - fitted, "scores": first["score"].tolist()}


def lenskit(rows: pd.DataFrame, treatments: int, n: int, penalty: float, patients: int) -> Told:
    """It ranks all columns, and patients one by one in Python: as many as are asked for."""
    from lenskit.batch import recommend
    from lenskit.data import from_interactions_df
    from lenskit.knn import EASEScorer
    from lenskit.pipeline import topn_pipeline

    dataset = from_interactions_df(rows[["user_id", "item_id"]])
    pipeline = topn_pipeline(EASEScorer(regularization=penalty), n=n)
    began = time.perf_counter()
    pipeline.train(dataset)
    fitted = time.perf_counter()
    lists = recommend(pipeline, list(range(patients)), n=n, n_jobs=1)
    done = time.perf_counter()
    first = lists.lookup(user_id=0).to_df()
    return {"fit": fitted - began, "lists": done - fitted, "scores": first["score"].tolist()}


def main() -> None:
    with np.load(sys.argv[2]) as given:
        patients = np.repeat(np.arange(len(given["indptr"]) - 1), np.diff(given["indptr"]))
        rows = pd.DataFrame({"user_id": patients, "item_id": given["indices"], "weight": given["data"]})
        about = {name: given[name].item() for name in ("treatments", "n", "penalty", "patients")}
    told = {"rectools": rectools, "lenskit": lenskit}[sys.argv[1]](rows, **about)
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()

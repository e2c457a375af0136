"""Rows of patients (an .npz) in, seconds that RecTools' EASE takes out, as JSON: run by benchmarks/run.py.

RecTools wants other versions than ours, so it stands in an environment of its own, .venv/peers, which `make bench`
makes; this file imports nothing of ours.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd
from rectools.dataset import Dataset
from rectools.models import EASEModel


def main() -> None:
    with np.load(sys.argv[1]) as given:
        patients = np.repeat(np.arange(len(given["indptr"]) - 1), np.diff(given["indptr"]))
        rows = pd.DataFrame({"user_id": patients, "item_id": given["indices"], "weight": given["data"]})
        treatments, n, penalty = int(given["treatments"]), int(given["n"]), float(given["penalty"])
    rows["datetime"] = pd.Timestamp("2025-01-01")
    dataset = Dataset.construct(rows)
    began = time.perf_counter()
    model = EASEModel(regularization=penalty).fit(dataset)
    fitted = time.perf_counter()
    lists = model.recommend(np.unique(patients), dataset, n, filter_viewed=True, items_to_recommend=range(treatments))
    done = time.perf_counter()
    first = lists[lists["user_id"] == 0]
    told = {"fit": fitted - began, "lists": done - fitted, "scores": first["score"].tolist()}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()

"""In: clean event columns; out: the same with a little of what real exports contain, as much as `RATES` states."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

RATES = {
    "free_text": 0.004,  # medications: the drug as typed text, without a code
    "missing_date": 0.003,  # medications: no START
    "stop_before_start": 0.002,  # medications: STOP some days before START
    "odd_case": 0.004,  # medications: DESCRIPTION shouted or whispered
    "duplicate": 0.003,  # medications and observations: the row stands there twice
    "implausible": 0.003,  # observations: a slipped decimal point or a zero
}
AS_IS, UPPER, LOWER, TYPED = range(4)  # how a drug is spelt


@dataclass(frozen=True)
class Orders:
    """Medication rows before they become text."""

    patient: np.ndarray  # (m,) int32
    start: np.ndarray  # (m,) int32 day, -1 for a missing date
    stop: np.ndarray  # (m,) int32 day, -1 for an active order
    seen: np.ndarray  # (m,) int32 day of the encounter
    drug: np.ndarray  # (m,) int32 row of drugs.csv
    reason: np.ndarray  # (m,) int32 row of conditions.csv, -1 without
    acute: np.ndarray  # (m,) bool
    spelling: np.ndarray  # (m,) int32, AS_IS to TYPED


def twice(table: pa.Table, rng: np.random.Generator) -> pa.Table:
    """The table with some rows standing there twice, cell for cell."""
    return table.take(np.repeat(np.arange(table.num_rows), 1 + (rng.random(table.num_rows) < RATES["duplicate"])))


def soil_orders(orders: Orders, rng: np.random.Generator) -> Orders:
    m = len(orders.patient)
    draw = rng.random(m)
    bounds = np.cumsum([RATES[k] for k in ("free_text", "odd_case", "missing_date", "stop_before_start")])
    spelling = np.where(draw < bounds[0], TYPED, AS_IS)
    spelling = np.where((draw >= bounds[0]) & (draw < bounds[1]), UPPER + (rng.random(m) < 0.5), spelling)
    start = np.where((draw >= bounds[1]) & (draw < bounds[2]), -1, orders.start)
    early = (draw >= bounds[2]) & (draw < bounds[3])
    stop = np.where(early, orders.start - rng.integers(1, 40, m), orders.stop)
    return replace(orders, start=start, stop=stop.astype(np.int32), spelling=spelling.astype(np.int32))


def soil_values(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(m,) float64 -> (m,) float64"""
    factor = rng.choice([10.0, 100.0, 0.0], len(value), p=[0.6, 0.2, 0.2])
    return np.where(rng.random(len(value)) < RATES["implausible"], value * factor, value)

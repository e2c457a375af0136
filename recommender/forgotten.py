"""`Records` in, the same without the people who were to be forgotten out; and the list of those, which names nobody.

An export can hold a person again, so who was forgotten must be known for ever without being named: the list has an HMAC
of each id under the site's secret. Who has the list alone can try no ids against it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import orjson
import pandas as pd

from recommender.access.secret import SiteSecret, locked, replace_private
from recommender.errors import EngineError, InputError
from recommender.memory import Growing, let_go
from recommender.records import SCHEMA, TIME, Records, Table

FILE = "forgotten.json"
EVENTS = 1 << 20  # looked at at a time


@dataclass(frozen=True)
class Marked:
    """The list as it can be sent to where the people are; `keys`: by the number of the secret that they come from."""

    marks: frozenset[str]
    keys: Mapping[int, bytes]

    def left_out(self, records: Records, scratch: Path | None = None) -> Records:
        """The records without the people of the list; of nobody, where all of them are on it. `scratch`: a folder for
        their events, None: in memory."""
        stays = ~self.named(records.patients["patient_id"])
        if stays.all():
            return records
        new_ix = (np.cumsum(stays) - 1).astype(np.int32)  # (n_patients,): valid where they stay
        tables = {name: _without(getattr(records, name), name, stays, new_ix, scratch) for name in get_args(Table)}
        people = records.patients[stays].reset_index(drop=True)
        return dataclasses.replace(records, patients=people, **tables)

    def named(self, patient_ids: Collection[str] | np.ndarray) -> np.ndarray:
        """Which of these people (n,) bool are of the list."""
        if not self.marks:
            return np.zeros(len(patient_ids), dtype=bool)
        found = [
            any(f"{number}:{_mark(key, patient_id)}" in self.marks for number, key in self.keys.items())
            for patient_id in patient_ids
        ]
        return np.array(found, dtype=bool)


class Forgotten:
    """The list of one installation. Raises EngineError where it cannot be read: then nothing is learned."""

    def __init__(self, workdir: Path, secret_file: Path) -> None:
        self.file, self._secret_file = workdir / FILE, secret_file

    def add(self, patient_id: str) -> None:
        """From now on; written before anything else is removed, so that a night that runs meanwhile sees it."""
        secret = SiteSecret.load(self._secret_file)
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(self.file.parent):
                mark = f"{secret.number}:{_mark(secret.derive('forgotten'), patient_id)}"
                marks = sorted({*self._marks(), mark})
                replace_private(self.file, orjson.dumps(marks, option=orjson.OPT_INDENT_2))
        except OSError as error:
            raise EngineError(f"{self.file} cannot be written: {os.strerror(error.errno or 0)}") from error

    @property
    def fingerprint(self) -> str:
        """Changes when the list does."""
        return hashlib.sha256("\n".join(self._marks()).encode()).hexdigest()

    def left_out(self, records: Records, scratch: Path | None = None) -> Records:
        """As `Marked.left_out`. Raises InputError where nobody is left."""
        left = self.marked().left_out(records, scratch)
        if not left.n_patients:
            raise InputError("everybody in this export was to be forgotten")
        return left

    def marked(self) -> Marked:
        """The list with the keys to try ids against it."""
        marks = self._marks()
        if not marks:
            return Marked(frozenset(), {})
        secret = SiteSecret.load(self._secret_file)
        numbers = {int(one.partition(":")[0]) for one in marks}
        return Marked(frozenset(marks), {number: secret.derive("forgotten", number) for number in numbers})

    def _marks(self) -> list[str]:
        try:
            marks = orjson.loads(self.file.read_bytes())
            if not isinstance(marks, list) or not all(isinstance(one, str) and ":" in one for one in marks):
                raise ValueError
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise EngineError(f"{self.file} cannot be read: put a backup in its place") from error
        return marks


def _without(
    table: pd.DataFrame, name: Table, stays: np.ndarray, new_ix: np.ndarray, scratch: Path | None
) -> pd.DataFrame:
    """A column after the other, some events at a time: a table that lies in files does not come into memory whole."""
    patient_ix, columns = table["patient_ix"].to_numpy(), {}
    for column, dtype in SCHEMA[name].items():
        left = Growing(np.int64 if dtype == TIME else np.dtype(dtype).type, scratch)
        for at in range(0, len(table), EVENTS):
            who, told = patient_ix[at : at + EVENTS], table[column].iloc[at : at + EVENTS]
            numbers = told.to_numpy("datetime64[s]").view(np.int64) if dtype == TIME else told.to_numpy()
            left.append((new_ix[who] if column == "patient_ix" else numbers)[stays[who]])
            if scratch is not None:
                let_go()
        whole = left.whole()
        columns[column] = pd.array(whole, dtype=TIME, copy=False) if dtype == TIME else whole
    return pd.DataFrame(columns, copy=False)


def _mark(key: bytes, patient_id: str) -> str:
    return hmac.digest(key, patient_id.encode(errors="surrogatepass"), hashlib.sha256).hex()

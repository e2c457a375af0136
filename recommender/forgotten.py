"""`Records` in, the same without the people who were to be forgotten out; and the list of those, which names nobody.

An export can hold a person again, so who was forgotten must be known for ever without being named: the list has an HMAC
of each id under the site's secret. Who has the list alone can try no ids against it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import numpy as np
import orjson
import pandas as pd

from recommender.access.secret import SiteSecret, locked, replace_private
from recommender.errors import EngineError, InputError
from recommender.records import Records, Table

FILE = "forgotten.json"


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

    def left_out(self, records: Records) -> Records:
        """The records without the people of the list. Raises InputError where nobody is left."""
        stays = ~self.named(records.patients["patient_id"])
        if stays.all():
            return records
        if not stays.any():
            raise InputError("everybody in this export was to be forgotten")
        new_ix = (np.cumsum(stays) - 1).astype(np.int32)  # (n_patients,): valid where they stay
        tables = {name: _without(getattr(records, name), stays, new_ix) for name in get_args(Table)}
        people = records.patients[stays].reset_index(drop=True)
        return dataclasses.replace(records, patients=people, **tables)

    def named(self, patient_ids: Iterable[str]) -> np.ndarray:
        """Which of these people (n,) bool are of the list."""
        known = set(self._marks())
        secret = SiteSecret.load(self._secret_file) if known else None
        numbers = {int(one.partition(":")[0]) for one in known}
        keys = {number: secret.derive("forgotten", number) for number in numbers} if secret else {}
        return np.array(
            [
                any(f"{number}:{_mark(key, patient_id)}" in known for number, key in keys.items())
                for patient_id in patient_ids
            ],
            dtype=bool,
        )

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


def _without(table: pd.DataFrame, stays: np.ndarray, new_ix: np.ndarray) -> pd.DataFrame:
    patient_ix = table["patient_ix"].to_numpy()
    kept = table[stays[patient_ix]].reset_index(drop=True)
    return kept.assign(patient_ix=new_ix[patient_ix[stays[patient_ix]]])


def _mark(key: bytes, patient_id: str) -> str:
    return hmac.digest(key, patient_id.encode(errors="surrogatepass"), hashlib.sha256).hex()

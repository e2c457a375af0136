"""Risks of everybody in, a file of them out, and one patient's from it: what the page shows beside the chart.

The file names nobody: a patient is found by a keyed hash of the id, under a key of the site's secret. It is bound to
the version that it was scored by; after another one is in service nothing is shown until `rxrec risk score` ran again.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recommender.access.secret import SiteSecret, replace_private
from recommender.errors import EngineError
from recommender.risk.registry import RiskRelease
from recommender.risk.table import Inputs

FILE = "scores.npz"
DIGEST = 16  # bytes; among a million patients two share one with a chance of 1e-27
REASONS = 3  # features told of a patient
PURPOSE = "risk scores"


@dataclass(frozen=True)
class Told:
    """One patient's risk. reasons: (feature, what it adds to the log-odds), the largest first."""

    probability: float
    reasons: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Scores:
    """digests (n,) S16 ascending; probability (n,) float32, NaN: has it already; reasons (n, REASONS) int16, -1
    beyond the last, and parts (n, REASONS) float32. `as_of`: the day of the charts, as text."""

    version: str
    key: int
    as_of: str
    names: tuple[str, ...]
    digests: np.ndarray
    probability: np.ndarray
    reasons: np.ndarray
    parts: np.ndarray

    def of(self, patient_id: str, secret: SiteSecret) -> Told | None:
        """None for whoever was not scored, or has the condition already. Raises EngineError without the secret."""
        digest = np.array([_digest(secret, self.key, patient_id)], dtype=f"S{DIGEST}")
        place = int(np.searchsorted(self.digests, digest[0]))
        if place == len(self.digests) or self.digests[place] != digest[0] or np.isnan(self.probability[place]):
            return None
        told = zip(self.reasons[place].tolist(), self.parts[place].tolist(), strict=True)
        reasons = tuple((self.names[ix], part) for ix, part in told if ix >= 0)
        return Told(float(self.probability[place]), reasons)


def save_scores(
    file: Path, release: RiskRelease, inputs: Inputs, has: np.ndarray, as_of: str, secret: SiteSecret
) -> None:
    """has (n,) bool: who has the condition already and is told nothing. An id that comes twice is told by its last
    row."""
    last = np.sort(len(has) - 1 - np.unique(inputs.ids.astype(str)[::-1], return_index=True)[1])
    ids, values, has = inputs.ids[last], inputs.values[last], has[last]
    _, parts = release.model.parts(values)
    order = np.argsort(-np.abs(parts), axis=1, kind="stable")[:, :REASONS]
    largest = np.take_along_axis(parts, order, axis=1)
    reasons = np.full((len(ids), REASONS), -1, dtype=np.int16)
    told = np.zeros((len(ids), REASONS), dtype=np.float32)
    reasons[:, : order.shape[1]] = np.where(largest != 0, order, -1)
    told[:, : order.shape[1]] = largest
    digests = np.array([_digest(secret, secret.number, one) for one in ids], dtype=f"S{DIGEST}")
    probability = np.where(has, np.nan, release.model.probability(values)).astype(np.float32)
    by = np.argsort(digests, kind="stable")
    about = {
        "version": release.version,
        "key": secret.number,
        "as_of": as_of,
        "names": [feature.name for feature in release.features],
    }
    written = io.BytesIO()
    arrays = {"digests": digests[by], "probability": probability[by], "reasons": reasons[by], "parts": told[by]}
    np.savez(written, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)
    try:
        replace_private(file, written.getvalue())
    except OSError as error:
        raise EngineError(f"{file} cannot be written: {error.strerror}") from error


def load_scores(file: Path) -> Scores | None:
    """None where nothing was scored. Raises EngineError where the file is not ours."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            names = ("digests", "probability", "reasons", "parts")
            return Scores(
                about["version"],
                int(about["key"]),
                about["as_of"],
                tuple(about["names"]),
                *(arrays[name] for name in names),
            )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise EngineError(f"{file} is not what was written: run `rxrec risk score` again") from error


def _digest(secret: SiteSecret, number: int, patient_id: str) -> bytes:
    # S16 drops closing zero bytes, the same on both sides
    key = secret.derive(PURPOSE, number)
    return hashlib.blake2b(patient_id.encode(errors="surrogatepass"), digest_size=DIGEST, key=key).digest()

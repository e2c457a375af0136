"""A fitted risk in, files in a folder out, and the same risk from them again; which version of each is in service.

`risk/{name}/{version}/` holds `manifest.json` (what it foresees, from what, how good it is, and the hash of the
arrays), `state.npz` (arrays, read without pickle) and the card. `risk/{name}/current` names the version in service and
is replaced whole, so a reader sees the old one or the new one.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from recommender.access.secret import replace_private
from recommender.errors import EngineError, NothingPublished, StoreCorrupt
from recommender.risk.models import RISK_MODELS, RiskModel
from recommender.risk.table import Feature, Outcome

FOLDER = "risk"
CURRENT = "current"
FORMAT = 1
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")


@dataclass(frozen=True)
class RiskRelease:
    """One version of one risk. `manifest` is JSON-able: figures only, nothing of one patient."""

    name: str
    version: str
    asked: Outcome
    features: tuple[Feature, ...]
    model: RiskModel
    manifest: Mapping[str, Any]


class Registry:
    """The risks of one installation. Raises EngineError where files cannot be used, and says which."""

    def __init__(self, workdir: Path) -> None:
        self.folder = workdir / FOLDER

    def names(self) -> list[str]:
        """The risks that have a version in service."""
        return sorted(file.parent.name for file in self.folder.glob(f"*/{CURRENT}"))

    def current(self, name: str) -> RiskRelease:
        """The version in service. Raises NothingPublished without one, StoreCorrupt where it was altered."""
        file = self._of(name) / CURRENT
        try:
            version = file.read_text().strip()
        except FileNotFoundError:
            known = ", ".join(self.names()) or "none"
            raise NothingPublished(f"no risk {name!r} is in service (there are: {known}): `rxrec risk train`") from None
        except OSError as error:
            raise EngineError(f"{file} cannot be read: {error.strerror}") from error
        return self._load(name, version)

    def save(
        self, name: str, asked: Outcome, features: tuple[Feature, ...], model: RiskModel, told: Mapping[str, Any]
    ) -> RiskRelease:
        """Write a new version, which is not in service before `activate`."""
        version = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        arrays = io.BytesIO()
        np.savez(arrays, allow_pickle=False, **model.state())
        manifest = {
            **told,
            "format": FORMAT,
            "name": name,
            "version": version,
            "outcome": asked.as_dict(),
            "features": [asdict(feature) for feature in features],
            "model": {"name": model.name, "parameters": model.parameters()},
            "state_sha256": hashlib.sha256(arrays.getvalue()).hexdigest(),
        }
        folder = self.path(name, version)
        try:
            folder.mkdir(parents=True, mode=0o700)
            replace_private(folder / "state.npz", arrays.getvalue())
            replace_private(folder / "manifest.json", json.dumps(manifest, indent=2, allow_nan=False).encode())
        except OSError as error:
            raise EngineError(f"{folder} cannot be written: {error.strerror}") from error
        return RiskRelease(name, version, asked, features, model, manifest)

    def activate(self, release: RiskRelease) -> None:
        """Serve this version from now on. What was scored by another is no longer shown."""
        self._load(release.name, release.version)  # what cannot be read again is not served
        replace_private(self._of(release.name) / CURRENT, f"{release.version}\n".encode())

    def path(self, name: str, version: str) -> Path:
        return self._of(name) / version

    def _of(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise EngineError("a risk's name has small letters, digits and hyphens only, 60 at most")
        return self.folder / name

    def _load(self, name: str, version: str) -> RiskRelease:
        folder = self.path(name, version)
        again = f"train it anew (`rxrec risk train --name {name}`)"
        try:
            manifest = json.loads((folder / "manifest.json").read_text())
            state = (folder / "state.npz").read_bytes()
            if manifest["format"] != FORMAT or hashlib.sha256(state).hexdigest() != manifest["state_sha256"]:
                raise ValueError
            with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
                model = RISK_MODELS[manifest["model"]["name"]].from_state(
                    manifest["model"]["parameters"], {key: arrays[key] for key in arrays.files}
                )
            features = tuple(Feature(**feature) for feature in manifest["features"])
            return RiskRelease(name, version, Outcome(**manifest["outcome"]), features, model, manifest)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreCorrupt(f"version {version} of the risk {name!r} is not what was written: {again}") from error

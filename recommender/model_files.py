"""A model's arrays and manifest in, a version in a folder out, and the same from it again; which version is in service.

`{folder}/{name}/{version}/` holds `manifest.json` (with the hash of the arrays) and `state.npz` (read without pickle).
`{folder}/{name}/current` names the version in service and is replaced whole, so a reader sees the old or the new one.
For models that are served beside the recommender, whose versions are in the store.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from recommender.access.secret import replace_private
from recommender.errors import EngineError, NothingPublished, StoreCorrupt

CURRENT = "current"
FORMAT = 1
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")


class ModelFiles:
    """`again`: the command that makes such a model, for messages. Raises EngineError where files cannot be used."""

    def __init__(self, folder: Path, again: str) -> None:
        self.folder, self._again = folder, again

    def names(self) -> list[str]:
        """The models that have a version in service."""
        return sorted(file.parent.name for file in self.folder.glob(f"*/{CURRENT}"))

    def path(self, name: str, inside: str) -> Path:
        if not NAME.fullmatch(name):
            raise EngineError("a name has small letters, digits and hyphens only, 60 at most")
        return self.folder / name / inside

    def current(self, name: str) -> str:
        """The version in service. Raises NothingPublished without one."""
        file = self.path(name, CURRENT)
        try:
            return file.read_text().strip()
        except FileNotFoundError:
            known = ", ".join(self.names()) or "none"
            raise NothingPublished(f"no {name!r} is in service (there are: {known}): `{self._again}`") from None
        except OSError as error:
            raise EngineError(f"{file} cannot be read: {error.strerror}") from error

    def save(self, name: str, manifest: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Write a new version, which is not in service before `activate`; its manifest, `version` in it."""
        version = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        arrays = io.BytesIO()
        np.savez(arrays, allow_pickle=False, **state)
        digest = hashlib.sha256(arrays.getvalue()).hexdigest()
        whole = {**manifest, "format": FORMAT, "name": name, "version": version, "state_sha256": digest}
        folder = self.path(name, version)
        try:
            folder.mkdir(parents=True, mode=0o700)
            replace_private(folder / "state.npz", arrays.getvalue())
            replace_private(folder / "manifest.json", json.dumps(whole, indent=2, allow_nan=False).encode())
        except OSError as error:
            raise EngineError(f"{folder} cannot be written: {error.strerror}") from error
        return whole

    def load(self, name: str, version: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Manifest and arrays. Raises StoreCorrupt where they were altered."""
        folder = self.path(name, version)
        try:
            manifest = json.loads((folder / "manifest.json").read_text())
            state = (folder / "state.npz").read_bytes()
            if manifest["format"] != FORMAT or hashlib.sha256(state).hexdigest() != manifest["state_sha256"]:
                raise ValueError
            with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
                return manifest, {key: arrays[key] for key in arrays.files}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self.altered(name, version) from error

    def altered(self, name: str, version: str) -> StoreCorrupt:
        return StoreCorrupt(f"version {version} of {name!r} is not what was written: `{self._again}` makes it anew")

    def activate(self, name: str, version: str) -> None:
        """Serve this version from now on. What cannot be read again is not served."""
        self.load(name, version)
        replace_private(self.path(name, CURRENT), f"{version}\n".encode())

"""The risks of one installation: a fitted one in, files of a version out, and the same risk from them again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recommender.model_files import CURRENT, ModelFiles
from recommender.risk.models import RISK_MODELS, RiskModel
from recommender.risk.table import Feature, Outcome

__all__ = ["CURRENT", "Registry", "RiskRelease"]

FOLDER = "risk"


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
    """Raises EngineError where files cannot be used, and says which."""

    def __init__(self, workdir: Path) -> None:
        self._files = ModelFiles(workdir / FOLDER, "rxrec risk train")

    def names(self) -> list[str]:
        """The risks that have a version in service."""
        return self._files.names()

    def path(self, name: str, inside: str) -> Path:
        return self._files.path(name, inside)

    def current(self, name: str) -> RiskRelease:
        """The version in service. Raises NothingPublished without one, StoreCorrupt where it was altered."""
        return self._load(name, self._files.current(name))

    def save(
        self, name: str, asked: Outcome, features: tuple[Feature, ...], model: RiskModel, told: Mapping[str, Any]
    ) -> RiskRelease:
        """Write a new version, which is not in service before `activate`."""
        manifest = {
            **told,
            "outcome": asked.as_dict(),
            "features": [asdict(feature) for feature in features],
            "model": {"name": model.name, "parameters": model.parameters()},
        }
        whole = self._files.save(name, manifest, model.state())
        return RiskRelease(name, whole["version"], asked, features, model, whole)

    def activate(self, release: RiskRelease) -> None:
        """Serve this version from now on. What was scored by another is no longer shown."""
        self._load(release.name, release.version)
        self._files.activate(release.name, release.version)

    def _load(self, name: str, version: str) -> RiskRelease:
        manifest, state = self._files.load(name, version)
        try:
            model = RISK_MODELS[manifest["model"]["name"]].from_state(manifest["model"]["parameters"], state)
            features = tuple(Feature(**feature) for feature in manifest["features"])
            return RiskRelease(name, version, Outcome(**manifest["outcome"]), features, model, manifest)
        except (KeyError, TypeError) as error:
            raise self._files.altered(name, version) from error

"""The folder of runs and what the store holds in, one line a version with its figures out, newest first.

Every night leaves its manifest in `runs/`, also one that the gate refused; the store holds the last few.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recommender.store import PublishedVersion
from recommender.support import in_tens


@dataclass(frozen=True)
class Night:
    """One version. patients: to the ten, so that two nights cannot be subtracted. quality: its metric and the figure
    with its interval, {} where it was not measured. state: "served", "published" (it can
    be gone back to), "refused" by the gate, or "past"."""

    version: str
    created: str
    state: str
    model: str
    patients: int
    suggestable: int
    quality: Mapping[str, Any]
    reasons: tuple[str, ...]
    rules: str


def history(runs: Path, published: Iterable[PublishedVersion]) -> tuple[list[Night], list[str]]:
    """The nights, and the names of folders whose manifest cannot be read."""
    whole = {one.version: one.served for one in published}
    nights, unread = [], []
    for file in sorted(runs.glob("*/release/manifest")):
        version = file.parent.parent.name
        try:
            nights.append(_night(version, json.loads(file.read_bytes())["manifest"], whole))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            unread.append(version)
    nights.sort(key=lambda night: (night.created, night.version), reverse=True)
    return nights, unread


def _night(version: str, manifest: Mapping[str, Any], whole: Mapping[str, bool]) -> Night:
    reasons = tuple(manifest.get("gate", {}).get("reasons", ()))
    state = "past"
    if version in whole:
        state = "served" if whole[version] else "published"
    elif reasons:
        state = "refused"
    counts = manifest["counts"]
    return Night(
        version=version,
        created=str(manifest["created"])[:16].replace("T", " "),
        state=state,
        model=str(manifest["model"]["name"]),
        patients=in_tens(counts["patients"]),
        suggestable=int(counts["suggestable"]),
        quality=_quality(manifest.get("quality", {})),
        reasons=reasons,
        rules=str(manifest.get("safety", {}).get("rules", {}).get("version", "")),
    )


def _quality(quality: Mapping[str, Any]) -> dict[str, Any]:
    if "value" not in quality:
        return {}
    return {"metric": quality["metric"], **{name: round(quality[name], 3) for name in ("value", "low", "high")}}

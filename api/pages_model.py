"""The release being served, the versions before it and the feedback in, the model's page out: how good it is, for whom.

Everything on it is of this hospital and this version: measured by the night that published it, or said by those who use
it. What was not measured is said so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response

from api import frame
from api.dates import date_in_words
from api.feedback import log
from api.observe import log_failure
from api.plots import Calibrated, Interval, calibration, interval
from api.serving import serving
from api.words import Words
from recommender.errors import EngineError, FeedbackUnavailable
from recommender.feedback import publishable
from recommender.offer import Desk
from recommender.support import tens_told

blueprint = Blueprint("model", __name__)
SHOWN_TALLIES = 20  # treatments or rules of which feedback is shown


@dataclass(frozen=True)
class Group:
    """How good the lists of one group of patients are, and how far behind those of the best group of its sort."""

    name: str
    patients: str
    quality: Interval
    gap: str
    behind: bool  # the whole interval of the gap lies above nothing


@blueprint.get("/model")
def show() -> Response:
    """What is served, its quality, whom it serves worse, its calibration, its limits, its history, and its use."""
    t = frame.words()
    try:
        desk = serving().desk()
        manifest = desk.release.manifest
        return frame.page(
            "model.html",
            desk=desk,
            room="model",
            manifest=manifest,
            quality=quality_of(manifest, t),
            groups=groups_of(manifest, t),
            calibration=calibration_of(desk),
            limits=limits_of(manifest, t),
            versions=versions(t),
            heard=heard(),
            names=names_of(desk),
        )
    except EngineError as error:
        return frame.state(error)


def quality_of(manifest: Mapping[str, Any], t: Words) -> list[tuple[str, Interval]]:
    """The model and the baseline, as intervals on one scale; [] where it was not measured."""
    quality = manifest.get("quality") or {}
    if not isinstance(quality, Mapping) or not {"value", "low", "high"} <= quality.keys():
        return []
    found = [(t("model.this"), interval(quality))]
    baseline = quality.get("baseline")
    if isinstance(baseline, Mapping) and {"value", "low", "high"} <= baseline.keys():
        found.append((t("model.baseline_name"), interval(baseline)))
    return found


def groups_of(manifest: Mapping[str, Any], t: Words) -> list[tuple[str, list[Group]]]:
    """By attribute (sex, age ...), each with its groups."""
    quality = manifest.get("quality") or {}
    by_attribute: dict[str, list[Group]] = {}
    for one in quality.get("groups", ()) if isinstance(quality, Mapping) else ():
        gap = one.get("gap")
        if gap is None:
            said = t("model.gap.none")
        else:
            figures = {"gap": gap, "low": one["gap_low"], "high": one["gap_high"]}
            said = t("model.gap", **{key: f"{figure:.2f}".replace("-", "−") for key, figure in figures.items()})
        name = t.or_else(f"group.{one['group'].replace(' ', '_')}", one["group"])
        group = Group(name, f"{one['patients']:,}", interval(one), said, gap is not None and one["gap_low"] > 0)
        by_attribute.setdefault(one["attribute"], []).append(group)
    return [(t.or_else(f"attribute.{name}", name), groups) for name, groups in by_attribute.items()]


def calibration_of(desk: Desk) -> Calibrated | None:
    chances = desk.release.manifest.get("chances")
    return calibration(chances) if chances and desk.release.chances is not None else None


def limits_of(manifest: Mapping[str, Any], t: Words) -> list[str]:
    """Where it is weak: what it does not see, and what this version's own figures show."""
    found = [t("limit.habits"), t("limit.sees"), t("limit.rare"), t("limit.rules")]
    behind = [
        f"{attribute}{t('colon')}{group.name}"
        for attribute, groups in groups_of(manifest, t)
        for group in groups
        if group.behind
    ]
    if behind:
        found.append(t("limit.groups", names=t("list.comma").join(behind)))
    if not manifest.get("chances"):
        found.append(t("limit.no_chances"))
    if manifest.get("synthetic") is True:
        found.append(t("limit.synthetic"))
    return found


def versions(t: Words) -> list[dict[str, Any]]:
    """Those that the store holds, the newest first."""
    return [
        {
            "version": one.version,
            "created": date_in_words(one.created.isoformat(), t),
            "patients": tens_told(one.patients),
            "served": one.served,
        }
        for one in serving().versions()
    ]


def heard() -> dict[str, Any] | None:
    """What may be published of the feedback; None where its log cannot be read."""
    try:
        return publishable(log().summary())
    except FeedbackUnavailable as error:
        log_failure(error)
        return None


def names_of(desk: Desk) -> dict[tuple[str, str], str]:
    return {(column.kind, column.code): column.name for column in desk.release.index.columns}

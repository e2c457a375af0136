"""Nothing in; out, what is being served and how good it is, and which versions there are: for those who must know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response
from msgspec import Struct

from api.operations import operation
from api.serving import serving
from api.typed import etag, reply
from recommender.snapshot import Release
from recommender.support import in_tens

blueprint = Blueprint("about", __name__, url_prefix="/v1")
LIMITS = (
    "It suggests what clinicians here began for patients with similar charts; it does not know whether that did good.",
    "Doses, routes of what is suggested, and anything that is not on the chart are neither suggested nor checked.",
    "A score orders one patient's list and nothing else.",
    "Treatments that few patients had are hardly ever suggested.",
)


class Figure(Struct, frozen=True):
    """A mean over tested lists with its 95% interval, by bootstrap over patients."""

    value: float
    low: float
    high: float


class Group(Struct, frozen=True):
    """A group of patients. `gap`: how far behind the best group it is."""

    attribute: str
    group: str
    patients: int
    figure: Figure
    gap: Figure | None


class Quality(Struct, frozen=True):
    """How well lists foresee what was begun, on held-out patients, beside always suggesting the most common."""

    metric: str
    question: str
    patients: int
    figure: Figure
    baseline: str
    baseline_figure: Figure
    groups: tuple[Group, ...]


class Screened(Struct, frozen=True):
    """The rules by which the night screened its lists, and what they found in all suggested drugs."""

    rules_version: str
    rules_reviewed: str
    rules: int
    drugs: int
    withheld: int
    serious: int
    caution: int
    not_checked: int


class Served(Struct, frozen=True):
    """The version being served. `quality`: null where it could not be measured, and then `not_assessed` says why.

    `counts`: patients, events and distinct treatments of its data. `compared_with`: what the gate held it against.
    `limits`: what it cannot do.
    """

    version: str
    created: str
    data_as_of: str
    source: str
    synthetic: bool
    model: str
    chosen: str
    feedback: str
    counts: dict[str, int]
    quality: Quality | None
    not_assessed: str
    screened: Screened | None
    compared_with: str
    limits: tuple[str, ...]


class Version(Struct, frozen=True):
    """One version in the store. patients: to the ten, 0 for fewer than 11. `served`: is it the one being served."""

    version: str
    created: str
    patients: int
    served: bool


class Versions(Struct, frozen=True):
    """The newest first."""

    versions: tuple[Version, ...]


@blueprint.get("/model")
@operation("What is being served, and how good it is", answer=Served)
def model() -> Response:
    """Version, dates of the data, the model and why it was chosen, its measured quality in all and by group, limits."""
    release = serving().release()
    return reply(served(release), etag(release.version))


@blueprint.get("/versions")
@operation("The versions in the store", answer=Versions, cached=False)
def versions() -> Response:
    """What `rxrec versions` lists: what is served, and what `rxrec rollback` can go back to."""
    found = serving().versions()
    listed = tuple(Version(one.version, one.created.isoformat(), in_tens(one.patients), one.served) for one in found)
    return reply(Versions(listed))


def served(release: Release) -> Served:
    """What the manifest says; what an older night did not say is empty."""
    manifest = release.manifest
    chosen, quality = manifest.get("chosen", {}), manifest.get("quality", {})
    return Served(
        version=release.version,
        created=str(manifest.get("created", "")),
        data_as_of=str(manifest.get("as_of", "")),
        source=str(manifest.get("source", "")),
        synthetic=manifest.get("synthetic") is True,
        model=release.model.name,
        chosen=str(chosen.get("why", "")),
        feedback=str(manifest.get("feedback", {}).get("used", "")),
        counts={str(name): _told(str(name), int(count)) for name, count in manifest.get("counts", {}).items()},
        quality=_quality(quality) if "value" in quality else None,
        not_assessed=str(quality.get("not_assessed", "")),
        screened=_screened(manifest.get("safety")),
        compared_with=str(manifest.get("gate", {}).get("compared_with", "")),
        limits=LIMITS,
    )


def _told(name: str, count: int) -> int:
    """Patients and their events to the ten, as reports tell them: two nights could be subtracted from each other."""
    return in_tens(count) if name == "patients" or name.endswith("_events") else count


def _figure(of: Mapping[str, Any], prefix: str = "") -> Figure:
    names = (prefix, f"{prefix}_low", f"{prefix}_high") if prefix else ("value", "low", "high")
    value, low, high = (float(of[name]) for name in names)
    return Figure(value, low, high)


def _quality(of: Mapping[str, Any]) -> Quality:
    groups = (
        Group(one["attribute"], str(one["group"]), int(one["patients"]), _figure(one), _gap(one))
        for one in of["groups"]
    )
    baseline = of["baseline"]
    told = (of["metric"], of["protocol"], of["patients"], _figure(of), baseline["model"], _figure(baseline))
    return Quality(*told, groups=tuple(groups))


def _gap(one: Mapping[str, Any]) -> Figure | None:
    return None if one.get("gap") is None else _figure(one, "gap")


def _screened(of: Any) -> Screened | None:
    if not isinstance(of, Mapping) or of.get("checked") is not True:
        return None
    rules, found = of["rules"], of["by_severity"]
    counted = sum(count for family, count in rules["counts"].items() if family != "pairs")
    held = (found["contraindicated"], found["serious"], found["caution"])
    return Screened(rules["version"], rules["reviewed"][1], counted, of["drugs"], *held, of["not_checked"])

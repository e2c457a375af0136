"""Each request in, counts and times of routes out at /metrics, for Prometheus, with what is being served.

Labels are a route's template, method and status: no path, id, name or other content of a chart ever becomes one. With
several worker processes the numbers are those of all, through files in the folder PROMETHEUS_MULTIPROC_DIR, which
`rxrec serve` makes and empties; without that variable each worker tells its own.
"""

from __future__ import annotations

import time
from datetime import datetime
from functools import lru_cache
from typing import Any

from flask import Blueprint, Flask, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector

from api.exchange import exchange
from api.observe import METHODS, NO_ROUTE
from api.operations import operation
from api.serving import serving
from recommender.errors import EngineError
from recommender.snapshot import Release

OWN = CollectorRegistry()
BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
REQUESTS = Counter("rxrec_requests", "Requests answered.", ("route", "method", "status"), registry=OWN)
SECONDS = Histogram("rxrec_request_seconds", "Time to answer.", ("route",), registry=OWN, buckets=BUCKETS)
blueprint = Blueprint("metrics", __name__)


def measure(app: Flask) -> None:
    """Count every request of `app`."""
    app.after_request(_count)


@blueprint.get("/metrics")
@operation("Counts and times, for Prometheus", answer=str, mimetype="text/plain", cached=False, usual=(500,))
def metrics() -> Response:
    """Requests by route and status, how long they took, and what is being served, in Prometheus's text format."""
    text = generate_latest(_requests()) + generate_latest(_served())
    return Response(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _count(response: Response) -> Response:
    asked = exchange()
    requests, seconds = _of(asked.route or NO_ROUTE, asked.method, response.status_code)
    requests.inc()
    seconds.observe(time.perf_counter() - asked.began)
    return response


@lru_cache(maxsize=1024)
def _of(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    """What counts such requests."""
    told = method if method in METHODS else "other"
    return REQUESTS.labels(route, told, str(status)), SECONDS.labels(route)


def _requests() -> CollectorRegistry:
    """Of all workers where they share a folder, else of this one."""
    shared = CollectorRegistry()
    try:
        MultiProcessCollector(shared)
    except ValueError:  # the folder is not set, or is not there
        return OWN
    return shared


def _served() -> CollectorRegistry:
    """Gauges of the version being served; of a store that is down, that alone."""
    told = CollectorRegistry()
    up = Gauge("rxrec_up", "Whether a version can be served (1) or not (0).", registry=told)
    try:
        release = serving().release()
    except EngineError:
        up.set(0)
        return told
    up.set(1)
    model = str(release.manifest.get("model", {}).get("name", ""))
    info = Gauge("rxrec_version_info", "The version being served.", ("version", "model"), registry=told)
    info.labels(release.version, model).set(1)
    for name, words, value in _figures(release):
        if value is not None:
            Gauge(name, words, registry=told).set(value)
    return told


def _figures(release: Release) -> list[tuple[str, str, float | None]]:
    manifest = release.manifest
    quality, counts, gate = (manifest.get(part) or {} for part in ("quality", "counts", "gate"))
    safety = manifest.get("safety") or {}
    return [
        ("rxrec_version_created_timestamp_seconds", "When it was made.", _seconds(manifest.get("created"))),
        ("rxrec_version_data_timestamp_seconds", "Up to when its data reach.", _seconds(manifest.get("as_of"))),
        ("rxrec_version_patients", "Patients, to the ten.", _tens(counts.get("patients"))),
        ("rxrec_version_suggestable", "Treatments that can be suggested.", _number(counts.get("suggestable"))),
        ("rxrec_version_quality", "Its figure of quality (the manifest names it).", _number(quality.get("value"))),
        ("rxrec_version_quality_low", "Lower end of its 95% interval.", _number(quality.get("low"))),
        ("rxrec_version_gate_passed", "Whether nothing spoke against publishing it.", _number(gate.get("passed"))),
        ("rxrec_version_not_checked", "Suggested drugs that no rule could check.", _number(safety.get("not_checked"))),
    ]


def _seconds(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _tens(value: Any) -> float | None:
    return 10.0 * round(value / 10) if isinstance(value, int) else None

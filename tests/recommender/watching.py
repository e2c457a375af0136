"""What the tests of streamed readings share: readings, a tiny hospital read this night, and a consumer of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from recommender.observations import Observation, milliseconds
from recommender.safety.indications import Indications
from recommender.safety.screen import Screen
from recommender.settings import Settings
from recommender.snapshot import Snapshot
from recommender.store import Store
from recommender.stream import Place, Readings
from recommender.watching.watcher import Watcher

CREATININE, EGFR, POTASSIUM, SPO2 = "loinc:2160-0", "loinc:33914-3", "loinc:2823-3", "loinc:59408-5"
NAMES = {CREATININE: "Creatinine", EGFR: "eGFR (MDRD)", POTASSIUM: "Potassium", SPO2: "Oxygen saturation"}
UNITS = {CREATININE: "mg/dL", EGFR: "mL/min/{1.73_m2}", POTASSIUM: "mmol/L", SPO2: "%"}
NIGHT = datetime.now(UTC) - timedelta(hours=6)
NOON = milliseconds(NIGHT) + 3_600_000  # an hour after the night
MINUTE = 60_000


@cache
def safety() -> tuple[Screen, Indications]:
    """Read once: most of a second."""
    screen = Screen.load()
    return screen, Indications.load(vocabulary=screen.vocabulary, conditions=screen.conditions)


def reading(id_: str, patient_id: str, code: str, value: float, minutes: float = 0) -> Observation:
    """Taken so many minutes after NOON."""
    taken = NOON + round(minutes * MINUTE)
    return Observation(id_, patient_id, code, NAMES[code], value, UNITS[code], taken, taken)


def of_this_night(snapshot: Snapshot, night: datetime = NIGHT) -> Snapshot:
    told = {"created": night.isoformat(), "as_of": night.isoformat()}
    return dataclasses.replace(snapshot, release=dataclasses.replace(snapshot.release, manifest=told))


def served(store: Store, tiny_snapshot: Callable[..., Snapshot], version: str = "v1", **how: Any) -> None:
    store.publish(of_this_night(tiny_snapshot(version), **how))
    store.activate(version)


def place(settings: Settings) -> Place:
    return Place(settings.redis_url, settings.key_prefix, settings.workdir / "site.key")


def watcher(store: Store, readings: Readings, name: str = "one", **how: Any) -> Watcher:
    made = Watcher(store, readings, *safety(), name, **how)
    made.begin()
    return made

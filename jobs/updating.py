"""An update: kept as the files of a stage, and told in words."""

from __future__ import annotations

import json
from typing import Any

from jobs.stages import Run, Telling
from recommender.publication import Onto
from recommender.run_files import load_snapshot, save_snapshot
from recommender.sealing import Place
from recommender.update import Update

FILE = "onto.json"
WHOLE = "whole_night_because"  # in run.json and in what a night says


def save_update(update: Update, place: Place) -> None:
    save_snapshot(update.changed, place)
    onto = update.onto
    told = {"base": onto.base, "gone": [name.hex() for name in onto.gone], "new": onto.new}
    place.write(FILE, json.dumps(told).encode())


def load_update(version: str, place: Place) -> Update:
    told = json.loads(place.read(FILE))
    onto = Onto(told["base"], tuple(bytes.fromhex(name) for name in told["gone"]), told["new"])
    return Update(load_snapshot(version, place), onto)


def told_whole(console: Telling, run: Run, why: str) -> None:
    """Say why a night that was to be an update is a whole one, wherever who asked for it may look. "": it is not."""
    run.note(WHOLE, why)
    if why:
        console.warn(f"a whole night, because {why}")
        run.events.tell("stage", stage="update", state="not possible", why=why)


def in_words(update: dict[str, Any], patients: int) -> str:
    """What the manifest of an update tells of it."""
    later = f", read {update['days']} days later" if update["days"] else ""
    left = f"; {update['columns_unknown']:,} new codes wait for a whole night" if update["columns_unknown"] else ""
    return (
        f"an update of version {update['base']}{later}: of {patients:,} patients {update['changed']:,} have changed, "
        f"{update['new']:,} are new; {update['gone']:,} are no more{left}"
    )

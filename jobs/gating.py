"""The gate's verdict on a model that is served beside the recommender in: refused, or what is worse told, out."""

from __future__ import annotations

from pathlib import Path

from jobs.console import Console
from recommender.errors import GateRefused
from recommender.gate import Verdict


def heed(console: Console, verdict: Verdict, gate: str, folder: Path) -> None:
    """`folder`: where everything measured is. Raises GateRefused where something is worse and `gate` is "on"."""
    if verdict.reasons and gate == "on":
        raise GateRefused(
            f"not served, version {verdict.served} stays in service: {'; '.join(verdict.reasons)}. Everything measured "
            f"is in {folder}; `--gate warn` serves it all the same"
        )
    for reason in verdict.reasons:
        console.say(f"  worse than version {verdict.served}: {reason}")

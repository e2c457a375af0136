"""A release and the gate's verdict in; the version served, or refused, and what the night has to say out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.console import Console
from jobs.feedback import night_in_words as feedback_in_words
from jobs.stages import Run
from jobs.updating import in_words
from recommender.errors import GateRefused, NothingPublished, StoreCorrupt
from recommender.gate import Verdict
from recommender.ingest_log import IngestLog
from recommender.reports.card import card_of
from recommender.reports.card_page import write_card
from recommender.snapshot import Release, pack_release
from recommender.store import Store


def served_version(store: Store, synthetic: bool) -> tuple[Release | None, str]:
    """The version being served, or why there is nothing to compare with."""
    try:
        served = store.release(store.current())
    except NothingPublished:
        return None, "this is the first version"
    except StoreCorrupt:  # of an earlier program, say: to refuse would leave it in service
        return None, "the served version cannot be read"
    if served.manifest.get("synthetic") and not synthetic:
        return None, "the served version is of synthetic patients"
    return served, ""


def conclude(
    console: Console,
    run: Run,
    store: Store,
    gate: str,
    release: Release,
    log: IngestLog,
    verdict: Verdict,
    publish: Callable[[Callable[[int], None]], None],
) -> dict[str, Any]:
    """Publish and switch over, or refuse; what the night has to say. `publish`: writes the version, and tells of the
    patients newly written."""
    manifest = release.manifest
    _write_run(run.folder, release, log)
    if verdict.reasons and gate == "on":
        run.end("refused")
        raise GateRefused(
            f"not published, version {verdict.served} stays in service: {'; '.join(verdict.reasons)}. Everything "
            f"measured is in {run.folder}/gate.json; `--gate warn` publishes all the same"
        )
    for reason in verdict.reasons:
        console.say(f"  worse than version {verdict.served}: {reason}")
    console.say("publish ...")
    with run.timed("publish") as cost, console.progress("publish", None, "patients") as progress:
        # a run that was killed between the two is there already, whole
        if release.version not in {there.version for there in store.versions()}:
            publish(progress)
        store.activate(release.version)
    run.add("publish", cost)
    run.end("published")
    told = {"update": manifest["update"]} if "update" in manifest else {}
    return {
        "version": release.version,
        "run": str(run.folder),
        **told,
        **{part: manifest[part] for part in ("counts", "safety", "chosen", "quality", "gate", "feedback")},
        "seconds": run.costs(),
    }


def _write_run(run: Path, release: Release, log: IngestLog) -> None:
    """`runs/{version}/`: the release as it is published, the account of every row, the gate's, and the card."""
    for name, asset in pack_release(release).items():
        file = run / "release" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(asset)
    (run / "ingest.json").write_text(json.dumps(log.as_dict(), indent=2))
    (run / "gate.json").write_text(json.dumps(release.manifest["gate"], indent=2))
    (run / "card").mkdir(exist_ok=True)
    write_card(run / "card", card_of(release.version, release.manifest))


def _screened(safety: dict[str, Any]) -> str:
    found, rules = safety["by_severity"], safety["rules"]
    return (
        f"screened by rules {rules['version']}, reviewed {' to '.join(rules['reviewed'])}: of {safety['drugs']:,} "
        f"suggested drugs {found['contraindicated']:,} are withheld, {found['serious']:,} carry a serious warning and "
        f"{found['caution']:,} a caution; {safety['not_checked']:,} could not be checked"
    )


def night_in_words(summary: dict[str, Any]) -> str:
    counts, quality, chosen, gate = (summary[part] for part in ("counts", "quality", "chosen", "gate"))
    if "not_assessed" in quality:
        judged = f"quality not assessed: {quality['not_assessed']}"
    else:
        judged = "{metric} {value:.3f} (95% interval {low:.3f} to {high:.3f}, {patients:,} patients)".format(**quality)
        judged += ", popularity {value:.3f}".format(**quality["baseline"])
    worse = "" if gate["passed"] else ", and worse: see the lines above"
    timed = ", ".join(f"{name} {taken:.1f} s" for name, taken in summary["seconds"].items())
    update = f"{in_words(summary['update'], counts['patients'])}\n" if "update" in summary else ""
    return update + (
        f"version {summary['version']} is being served: {counts['patients']:,} patients, "
        f"{counts['suggestable']:,} treatments that can be suggested\n"
        f"model {chosen['model']['name']}: {chosen['why']}\n{judged}\n"
        f"compared with {gate['compared_with']}{worse}\n{timed}\n"
        f"{_screened(summary['safety'])}\n{feedback_in_words(summary['feedback'])}"
    )

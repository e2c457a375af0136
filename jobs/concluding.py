"""A release and the gate's verdict in; the version served, or refused, and what the night has to say out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from jobs.feedback import night_in_words as feedback_in_words
from jobs.night_reports import Wanted, write_card_of_refused, write_reports
from jobs.night_reports import in_words as reports_in_words
from jobs.stages import Run, Telling
from jobs.updating import WHOLE, in_words
from recommender.errors import GateRefused, NothingPublished, StoreCorrupt
from recommender.gate import Verdict
from recommender.ingest_log import IngestLog
from recommender.safety.screen import Screen
from recommender.sealing import Place
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
        return None, "the served version is of synthetic patients, and these are not"
    return served, ""


def conclude(
    console: Telling,
    run: Run,
    store: Store,
    screen: Screen,
    gate: str,
    wanted: Wanted,
    release: Release,
    log: IngestLog,
    verdict: Verdict,
    patients: int,
    publish: Callable[[Callable[[int], None]], None],
) -> dict[str, Any]:
    """Publish and switch over, or refuse; what the night has to say. `publish`: writes the version of so many
    `patients`, and tells of those newly written."""
    manifest = release.manifest
    _write_run(run, release, log)
    if verdict.reasons and gate == "on":
        run.end("refused")
        write_card_of_refused(console, console.events, run, release, wanted)
        raise GateRefused(
            f"not published, version {verdict.served} stays in service: {'; '.join(verdict.reasons)}. Everything "
            f"measured is in {run.folder}/gate.json; `--gate warn` publishes all the same"
        )
    for reason in verdict.reasons:
        console.say(f"  worse than version {verdict.served}: {reason}")
    console.say("publish ...")
    with run.timed("publish") as cost, console.progress("publish", patients, "patients") as progress:
        # a run that was killed between the two is there already, whole
        if release.version not in {there.version for there in store.versions()}:
            publish(progress)
        store.activate(release.version)
    run.add("publish", cost)
    run.end("published")
    written = write_reports(console, console.events, run, store, wanted, screen)
    told = {"update": manifest["update"]} if "update" in manifest else {}
    told |= {WHOLE: run.state[WHOLE]} if WHOLE in run.state else {}
    return {
        "version": release.version,
        "run": str(run.folder),
        **told,
        **{part: manifest[part] for part in ("counts", "safety", "chosen", "quality", "gate", "feedback")},
        "reports": asdict(written),
        "seconds": run.costs(),
    }


def _write_run(run: Run, release: Release, log: IngestLog) -> None:
    """`runs/{version}/`: the release as it is published, the account of every row, and the gate's.

    What a model learned may hold patients' rows, so of a sealed run only the rest lies there in clear.
    """
    for name, asset in pack_release(release).items():
        (Place(run.folder) if name == "manifest" else run.place).write(f"release/{name}", asset)
    (run.folder / "ingest.json").write_text(json.dumps(log.as_dict(), indent=2))
    (run.folder / "gate.json").write_text(json.dumps(release.manifest["gate"], indent=2))


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
    update += f"a whole night, because {summary[WHOLE]}\n" if WHOLE in summary else ""
    return update + (
        f"version {summary['version']} is being served: {counts['patients']:,} patients, "
        f"{counts['suggestable']:,} treatments that can be suggested\n"
        f"model {chosen['model']['name']}: {chosen['why']}\n{judged}\n"
        f"compared with {gate['compared_with']}{worse}\n{timed}\n"
        f"{_screened(summary['safety'])}\n{feedback_in_words(summary['feedback'])}\n"
        f"{reports_in_words(summary['reports'])}"
    )
